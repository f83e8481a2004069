# The commands: lists in, lists out. An item that fails yields an exception in its place; a bug (a tuple of the wrong
# shape) raises. The GIL is let go for batches only: for a single command of a few µs giving it up costs more.

cdef enum:
    MAX_DATA_BYTES = 65536
    GCM_OVERHEAD = 28  # nonce 12 + tag 16
    RELEASE_FROM_PINS = 16
    RELEASE_FROM_TOKEN = 4

# One operation of the token over caller's bytes, prepared so that a batch of them runs without the GIL.
cdef struct TokenJob:
    CK_ULONG handle  # 0: the item failed already
    const CK_BYTE *data
    CK_ULONG length
    const CK_BYTE *context
    CK_ULONG context_length
    CK_BYTE *output
    CK_RV rv

ctypedef CK_RV (*run_job)(Work *work, TokenJob *job) noexcept nogil


cdef Py_ssize_t bounded(bytes data) except -1:
    """Length of an item's bytes. Cython lets None pass as bytes: here it is what it is, a bug of the caller."""
    if data is None:
        raise TypeError("bytes are expected, not None")
    if PyBytes_GET_SIZE(data) > MAX_DATA_BYTES:
        raise InvalidCommand("too much data")
    return PyBytes_GET_SIZE(data)


cdef Key find_key(dict keys, str label):
    found = keys.get(label)
    if found is None:
        raise KeyNotFound(f"no key {label}")
    return <Key?>found


cdef Key find_key_for(dict keys, str label, Usage usage, unsigned int wanted):
    cdef Key key = find_key(keys, label)
    if key.use != usage:
        raise usage_error(key, usage)
    if key.abilities & wanted != wanted:
        raise KeyUsageError(f"key {label} may not do this: its mode of use is {key.mode}")
    return key


cdef HostKey find_host_key_for(dict keys, str label, Usage usage, unsigned int wanted):
    cdef Key key = find_key_for(keys, label, usage, wanted)
    if not isinstance(key, HostKey):
        raise KeyUsageError(f"key {label} is in the token, which cannot do this")
    return <HostKey>key


cdef int read_digits(str text, int least, int most, CK_BYTE *digits, str what) except -1:
    cdef Py_ssize_t length = 0, index
    cdef const char *characters
    if text is None:
        raise TypeError("text is expected, not None")
    characters = PyUnicode_AsUTF8AndSize(text, &length)
    if not least <= length <= most:
        raise InvalidCommand(f"{what} must have {least} to {most} digits")
    for index in range(length):
        if not 48 <= characters[index] <= 57:
            raise InvalidCommand(f"{what} must have {least} to {most} digits")
        digits[index] = <CK_BYTE>(characters[index] - 48)
    return <int>length


def translate_pins(Token token not None, dict keys not None, items):
    """See `ports.Hsm.translate_pins`."""
    cdef list given = list(items), held = []  # a copy: nobody lengthens it meanwhile
    cdef Py_ssize_t count = len(given), index = 0
    cdef list results = [None] * count
    cdef Key source_key, target_key
    cdef PinJob *jobs
    check_process()
    jobs = <PinJob *>PyMem_Malloc((count or 1) * sizeof(PinJob))
    if jobs is NULL:
        raise MemoryError
    try:
        for source, source_format, target, target_format, block, pan in given:
            jobs[index].source = NULL
            try:
                source_key = find_key_for(keys, source, PIN_KEY, MAY_DECIPHER)
                target_key = find_key_for(keys, target, PIN_KEY, MAY_ENCIPHER)
                prepare_pin_job(&jobs[index], source_key, source_format, target_key, target_format, block, pan)
                held.append((source_key, target_key))  # another thread may replace a key meanwhile
            except HsmError as error:
                jobs[index].source = NULL
                results[index] = error
            index += 1
        run_pin_jobs(token, jobs, count)
        for index in range(count):
            if jobs[index].source is not NULL:
                results[index] = pin_result(&jobs[index])
    finally:
        OPENSSL_cleanse(jobs, count * sizeof(PinJob))
        PyMem_Free(jobs)
    return results


cdef int run_pin_jobs(Token token, PinJob *jobs, Py_ssize_t count) except -1:
    cdef Scratch *scratch = token.scratch
    cdef Py_ssize_t index
    token.enter()
    if count >= RELEASE_FROM_PINS:
        with nogil:
            for index in range(count):
                if jobs[index].source is not NULL:
                    translate_pin(&jobs[index], scratch)
    else:
        for index in range(count):
            if jobs[index].source is not NULL:
                translate_pin(&jobs[index], scratch)
    PyThread_release_lock(token.lock)
    return 0


cdef object pin_result(PinJob *job):
    if job.outcome == PIN_DONE:
        return PyBytes_FromStringAndSize(<char *>job.block, job.target.block_length)
    if job.outcome == PIN_REFUSED:
        return PinFormatError("the PIN block is not valid for its format, PAN and key")
    return unavailable("PIN translation", job.rv)


def macs(dict keys not None, items):
    """See `ports.Hsm.macs`."""
    cdef list results = []
    check_not_inherited()
    for label, algorithm, data in items:
        try:
            results.append(mac_of(keys, label, algorithm, data, MAY_GENERATE))
        except HsmError as error:
            results.append(error)
    return results


def verify_macs(dict keys not None, items):
    """See `ports.Hsm.verify_macs`: the current key, then the previous one."""
    cdef list results = []
    check_not_inherited()
    for label, algorithm, data, mac in items:
        try:
            verify_mac(keys, label, algorithm, data, mac)
            results.append(None)
        except HsmError as error:
            results.append(error)
    return results


cdef int verify_mac(dict keys, str label, str algorithm, bytes data, bytes mac) except -1:
    bounded(mac)
    if same_bytes(mac_of(keys, label, algorithm, data, MAY_CHECK), mac):
        return 0
    previous = label + "?previous"
    if previous in keys and same_bytes(mac_of(keys, previous, algorithm, data, MAY_CHECK), mac):
        return 0
    raise MacMismatch(f"a MAC does not verify under {label}")


cdef bint same_bytes(bytes left, bytes right):
    cdef Py_ssize_t length = PyBytes_GET_SIZE(left)
    return PyBytes_GET_SIZE(right) == length and CRYPTO_memcmp(
        PyBytes_AS_STRING(left), PyBytes_AS_STRING(right), length) == 0


cdef int check_not_inherited() except -1:
    if inherited:  # host keys are wiped in a fork: their MACs would be those of a zero key
        check_process()
    return 0


def keyed_hashes(Token token not None, dict keys not None, items):
    """See `ports.Hsm.keyed_hashes`."""
    return run_token_jobs(token, keys, [(label, data, b"") for label, data in items], HASHING, hash_job)


def seal(Token token not None, dict keys not None, items):
    """See `ports.Hsm.seal`: nonce (12) ‖ ciphertext ‖ tag (16)."""
    return run_token_jobs(token, keys, list(items), SEALING, seal_job)


def unseal(Token token not None, dict keys not None, items):
    """See `ports.Hsm.unseal`: the current key, then the previous one. MacMismatch where data, associated data or key are
    not those of `seal`."""
    cdef list given = list(items)
    cdef list results = run_token_jobs(token, keys, given, SEALING, unseal_job)
    cdef list places = [
        index for index, result in enumerate(results)
        if isinstance(result, MacMismatch) and given[index][0] + "?previous" in keys
    ]
    if places:
        again = [(given[index][0] + "?previous", given[index][1], given[index][2]) for index in places]
        for index, result in zip(places, run_token_jobs(token, keys, again, SEALING, unseal_job)):
            results[index] = result
    return results


cdef list run_token_jobs(Token token, dict keys, list items, Usage usage, run_job run):
    """Prepare each (label, data, context), run all under the lock, collect."""
    cdef Py_ssize_t count = len(items), index = 0
    cdef list results = [None] * count
    cdef bytes output
    cdef TokenJob *jobs
    check_process()
    jobs = <TokenJob *>PyMem_Malloc((count or 1) * sizeof(TokenJob))
    if jobs is NULL:
        raise MemoryError
    try:
        for label, data, context in items:  # `items` keeps the bytes alive while the GIL is let go
            jobs[index].handle = 0
            try:
                output = output_for(data, context, run)
                prepare_token_job(&jobs[index], find_key_for(keys, label, usage, 0), data, context, output)
                results[index] = output
            except HsmError as error:
                results[index] = error
            index += 1
        run_prepared(token, jobs, count, run)
        for index in range(count):
            if jobs[index].handle:
                results[index] = collect(&jobs[index], results[index], run)
    finally:
        PyMem_Free(jobs)
    return results


cdef int run_prepared(Token token, TokenJob *jobs, Py_ssize_t count, run_job run) except -1:
    cdef Work *work = &token.work
    cdef Py_ssize_t index
    token.enter()
    if count >= RELEASE_FROM_TOKEN:
        with nogil:
            for index in range(count):
                if jobs[index].handle:
                    jobs[index].rv = run(work, &jobs[index])
    else:
        for index in range(count):
            if jobs[index].handle:
                jobs[index].rv = run(work, &jobs[index])
    PyThread_release_lock(token.lock)
    return 0


cdef bytes output_for(bytes data, bytes context, run_job run):
    cdef Py_ssize_t length = bounded(data)
    bounded(context)
    if run == hash_job:
        return PyBytes_FromStringAndSize(NULL, 32)
    if run == seal_job:
        return PyBytes_FromStringAndSize(NULL, length + GCM_OVERHEAD)
    if length < GCM_OVERHEAD:
        raise MacMismatch("sealed data is cut short")
    return PyBytes_FromStringAndSize(NULL, length - 12)  # see gcm_unseal; cut by collect


cdef int prepare_token_job(TokenJob *job, Key key, bytes data, bytes context, bytes output) except -1:
    if key.cipher.handle == 0:
        raise KeyUsageError(f"key {key.label} is not in the token")
    job.handle = key.cipher.handle
    job.data = <const CK_BYTE *>PyBytes_AS_STRING(data)
    job.length = PyBytes_GET_SIZE(data)
    job.context = <const CK_BYTE *>PyBytes_AS_STRING(context)
    job.context_length = PyBytes_GET_SIZE(context)
    job.output = <CK_BYTE *>PyBytes_AS_STRING(output)
    job.rv = CKR_OK
    return 0


cdef object collect(TokenJob *job, bytes output, run_job run):
    if run == unseal_job:
        return output[:job.length - GCM_OVERHEAD] if job.rv == CKR_OK else gcm_error(job.rv)
    return output if job.rv == CKR_OK else unavailable("C_Sign" if run == hash_job else "C_Encrypt", job.rv)


cdef CK_RV hash_job(Work *work, TokenJob *job) noexcept nogil:
    return hmac_sha256(work, job.handle, job.data, job.length, job.output)


cdef CK_RV seal_job(Work *work, TokenJob *job) noexcept nogil:
    return gcm_seal(work, job.handle, job.data, job.length, job.context, job.context_length, job.output)


cdef CK_RV unseal_job(Work *work, TokenJob *job) noexcept nogil:
    return gcm_unseal(work, job.handle, job.data, job.length, job.context, job.context_length, job.output)


def sign(Token token not None, dict keys not None, items):
    """See `ports.Hsm.sign`. About 0.5 ms an item, without the GIL and without the token's lock: call it in a thread."""
    cdef list results = []
    cdef Work work
    memset(&work, 0, sizeof(Work))
    work.session = token.take_signing_session()
    work.slot = token.slot
    try:
        for label, data in items:
            try:
                results.append(sign_one(&work, find_key_for(keys, label, SIGNING, MAY_GENERATE), data))
            except HsmError as error:
                results.append(error)
    finally:
        token.signing.put(work.session)
    return results


cdef bytes sign_one(Work *work, Key key, bytes data):
    cdef CK_MECHANISM mechanism
    cdef CK_BYTE signature[RSA_BYTES]
    cdef CK_ULONG length = RSA_BYTES, data_length = bounded(data), handle = key.cipher.handle
    cdef const CK_BYTE *pointer = <const CK_BYTE *>PyBytes_AS_STRING(data)
    cdef CK_RV rv
    mechanism.mechanism = CKM_SHA256_RSA_PKCS
    mechanism.pParameter = NULL
    mechanism.ulParameterLen = 0
    with nogil:
        rv = begin(pkcs11.C_SignInit, work, &mechanism, handle)
        if rv == CKR_OK:
            rv = pkcs11.C_Sign(work.session, pointer, data_length, signature, &length)
    check("C_Sign", rv)
    return PyBytes_FromStringAndSize(<char *>signature, length)


# --- one-shot operations of the token --------------------------------------------------------------------------------

cdef CK_RV hmac_sha256(Work *work, CK_ULONG handle, const CK_BYTE *data, CK_ULONG length,
                       CK_BYTE *output) noexcept nogil:
    cdef CK_MECHANISM mechanism
    cdef CK_ULONG output_length = 32
    cdef CK_RV rv
    mechanism.mechanism = CKM_SHA256_HMAC
    mechanism.pParameter = NULL
    mechanism.ulParameterLen = 0
    rv = begin(pkcs11.C_SignInit, work, &mechanism, handle)
    if rv == CKR_OK:
        rv = pkcs11.C_Sign(work.session, data, length, output, &output_length)
    return rv


cdef CK_RV next_nonce(Work *work) noexcept nogil:
    """64 random bits of this process and a 32-bit counter (NIST SP 800-38D, 8.2.1), so that one key may seal far more
    than the 2^32 messages that section 8.3 allows with random nonces: at 6,000 a second that would be eight days."""
    cdef int index = 11
    while index >= 8:
        work.nonce[index] += 1
        if work.nonce[index]:
            break
        index -= 1
    if work.nonce_ready and index >= 8:
        return CKR_OK
    memset(work.nonce, 0, 12)
    work.nonce_ready = RAND_bytes(work.nonce, 8) == 1
    return CKR_OK if work.nonce_ready else CKR_GENERAL_ERROR


cdef void fill_gcm(CK_MECHANISM *mechanism, CK_GCM_PARAMS *parameters, const CK_BYTE *nonce, const CK_BYTE *context,
                   CK_ULONG context_length) noexcept nogil:
    parameters.pIv = <CK_BYTE *>nonce
    parameters.ulIvLen = 12
    parameters.ulIvBits = 96
    parameters.pAAD = <CK_BYTE *>context if context_length else NULL
    parameters.ulAADLen = context_length
    parameters.ulTagBits = 128
    mechanism.mechanism = CKM_AES_GCM
    mechanism.pParameter = parameters
    mechanism.ulParameterLen = sizeof(CK_GCM_PARAMS)


cdef CK_RV gcm_seal(Work *work, CK_ULONG handle, const CK_BYTE *data, CK_ULONG length, const CK_BYTE *context,
                    CK_ULONG context_length, CK_BYTE *sealed) noexcept nogil:
    cdef CK_MECHANISM mechanism
    cdef CK_GCM_PARAMS parameters
    cdef CK_ULONG sealed_length = length + 16
    cdef CK_RV rv = next_nonce(work)
    if rv != CKR_OK:
        return rv
    memcpy(sealed, work.nonce, 12)
    fill_gcm(&mechanism, &parameters, sealed, context, context_length)
    rv = begin(pkcs11.C_EncryptInit, work, &mechanism, handle)
    if rv == CKR_OK:
        rv = pkcs11.C_Encrypt(work.session, data, length, sealed + 12, &sealed_length)
    if rv == CKR_OK and sealed_length != length + 16:
        return CKR_GENERAL_ERROR
    return rv


cdef CK_RV gcm_unseal(Work *work, CK_ULONG handle, const CK_BYTE *sealed, CK_ULONG length, const CK_BYTE *context,
                      CK_ULONG context_length, CK_BYTE *output) noexcept nogil:
    """`length`: of sealed, at least GCM_OVERHEAD. The output has 12 bytes less: SoftHSM wants room for the tag."""
    cdef CK_MECHANISM mechanism
    cdef CK_GCM_PARAMS parameters
    cdef CK_ULONG output_length = length - 12
    cdef CK_RV rv
    fill_gcm(&mechanism, &parameters, sealed, context, context_length)
    rv = begin(pkcs11.C_DecryptInit, work, &mechanism, handle)
    if rv == CKR_OK:
        rv = pkcs11.C_Decrypt(work.session, sealed + 12, length - 12, output, &output_length)
    if rv == CKR_OK and output_length != length - GCM_OVERHEAD:
        return CKR_GENERAL_ERROR
    return rv


cdef object gcm_error(CK_RV rv):
    if rv in (CKR_GENERAL_ERROR, CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE):  # SoftHSM says the first
        return MacMismatch("sealed data does not verify")
    return unavailable("C_Decrypt", rv)
