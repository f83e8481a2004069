# Keys as the commands see them: a label, one usage, and either a handle in the token or a secret in locked memory.

cdef tuple USAGES = (
    "PIN_KEY", "MAC_KEY", "KEY_TRANSPORT", "SIGNING", "SEALING", "HASHING", "KEY_STORAGE", "PVV_KEY", "IBM3624_KEY",
    "CARD_VERIFICATION", "EMV_CRYPTOGRAM", "EMV_CONFIDENTIALITY", "EMV_INTEGRITY", "EMV_DYNAMIC_NUMBER", "DUKPT_BASE",
    "DUKPT_INITIAL", "DATA_KEY", "FPE_KEY", "KEY_BLOCK", "ENVELOPE",
    "KEY_WRAPPING",
)

# Usages that run whole blocks in the token, through operations that are kept open.
cdef frozenset BLOCK_USAGES = frozenset((
    "PIN_KEY", "PVV_KEY", "IBM3624_KEY", "EMV_CRYPTOGRAM", "EMV_CONFIDENTIALITY", "EMV_INTEGRITY", "EMV_DYNAMIC_NUMBER",
    "DUKPT_BASE", "DUKPT_INITIAL",
))

PERMISSIONS = {
    **{usage: MAY_ENCRYPT | MAY_DECRYPT for usage in BLOCK_USAGES},
    "KEY_TRANSPORT": MAY_ENCRYPT | MAY_DECRYPT,  # encrypts new working keys, and zeros for its check value
    "SEALING": MAY_ENCRYPT | MAY_DECRYPT,
    "HASHING": MAY_SIGN,
    "KEY_STORAGE": MAY_ENCRYPT | MAY_DECRYPT,
    "KEY_WRAPPING": MAY_ENCRYPT | MAY_DECRYPT,
}

cdef dict FAMILIES = {"DES": DES, "AES": AES, "SM4": SM4, "HMAC": HMAC_FAMILY, "SM2": SM2}

cdef dict ABILITIES = {
    "B": MAY_ENCIPHER | MAY_DECIPHER, "C": MAY_GENERATE | MAY_CHECK, "D": MAY_DECIPHER, "E": MAY_ENCIPHER,
    "G": MAY_GENERATE, "N": 31, "S": MAY_GENERATE, "T": MAY_GENERATE | MAY_DECIPHER, "V": MAY_CHECK, "X": MAY_DERIVE,
    "Y": MAY_DERIVE,
}


cdef class Key:
    def __cinit__(self, str label not None, usage, *arguments, str mode="N", **others):
        memset(&self.cipher, 0, sizeof(Cipher))
        self.label = label
        self.use = <Usage><int>USAGES.index(usage)
        if mode not in ABILITIES:
            raise InvalidCommand("no such mode of use")
        self.mode = mode
        self.abilities = ABILITIES[mode]

    @property
    def usage(self):
        return USAGES[self.use]

    def __repr__(self):
        return f"<{type(self).__name__} {self.label} {self.usage}>"


cdef class TokenKey(Key):
    def __init__(self, str label, usage, Token token not None, str kind not None, CK_ULONG handle, *, str mode="N"):
        self.kind = kind
        self.cipher.handle = handle
        self.cipher.mechanism = CKM_AES_ECB if kind == "AES" else CKM_DES3_ECB
        self.cipher.block_length = 16 if kind == "AES" else 8
        if usage in BLOCK_USAGES:
            self._open_ecb(token)
        if kind == "EC":
            self.public_point = token.ec_public_point(handle)

    cdef int _open_ecb(self, Token token) except -1:
        """ECB keeps no state between blocks: initialise once per direction, then only update (ten times faster)."""
        self.cipher.encrypt_session = token.open_session()
        self.cipher.decrypt_session = token.open_session()
        token.enter()
        try:
            check("C_EncryptInit", start_ecb(&self.cipher, True))
            check("C_DecryptInit", start_ecb(&self.cipher, False))
        finally:
            token.leave()
        return 0

    def check_value(self, Token token not None):
        """KCV, upper-case hex: DES: 3 bytes of E(0) (X9.24-1); AES: 5 bytes of CMAC(0) (X9.24-1:2017 annex A);
        HMAC: 3 bytes of HMAC of the empty message (X9.143)."""
        cdef CK_BYTE *work = token.scratch.output
        token.enter()
        try:
            memset(work, 0, 48)
            if self.kind == "HMAC":
                check("C_Sign", hmac_sha256(&token.work, self.cipher.handle, work, 0, work))
                return work[:3].hex().upper()
            check("C_Encrypt", ecb_once(&token.work, &self.cipher, True, work, self.cipher.block_length))
            if self.kind == "AES":
                double_block(work, 16)
                check("C_Encrypt", ecb_once(&token.work, &self.cipher, True, work, 16))
                return work[:5].hex().upper()
            return work[:3].hex().upper()
        finally:
            token.leave()

    def discard(self, Token token not None):
        """End the sessions and the session copy of a key that left service. A command that still holds it fails."""
        token.enter()
        try:
            if self.cipher.encrypt_session:
                pkcs11.C_CloseSession(self.cipher.encrypt_session)
                pkcs11.C_CloseSession(self.cipher.decrypt_session)
            check("C_DestroyObject", pkcs11.C_DestroyObject(token.home, self.cipher.handle))
        finally:
            token.leave()


cdef class HostKey(Key):
    """`kind`: "DES", "AES", "SM4", "HMAC" or "SM2"."""

    def __cinit__(self, str label, usage, str kind="DES", **others):
        if kind not in FAMILIES:
            raise InvalidCommand("no such family of keys")
        self.kind = kind
        if kind == "SM2":
            sm2_curve()
        self.cipher.host = new_secret()
        self.cipher.host.family = <Family><int>FAMILIES[kind]
        self.cipher.block_length = 16 if kind in ("AES", "SM4") else 8 if kind == "DES" else 0  # 0: not a block cipher

    def __init__(self, str label, usage, str kind="DES", *, str mode="N"):
        pass

    def __dealloc__(self):
        discard_secret(self.cipher.host)

    cdef int fill(self, const CK_BYTE *value, Py_ssize_t length) except -1:
        if not set_secret(self.cipher.host, self.cipher.host.family, value, <int>length):
            if self.kind == "SM2" and length == 32:
                raise InvalidCommand("an SM2 key is a number from 1 to n - 2")
            raise InvalidCommand(f"no {self.kind} key has {length} bytes")
        return 0

    @property
    def length(self):
        """In bytes."""
        return self.cipher.host.length

    def check_value(self):
        """KCV, upper-case hex: as `TokenKey.check_value`; SM4: 3 bytes of E(0); SM2: 3 bytes of SM3 of 04 ‖ x ‖ y,
        the public point."""
        cdef Secret *secret = self.cipher.host
        cdef CK_BYTE block[32]
        cdef unsigned int length = 32
        check_not_inherited()
        memset(block, 0, 32)
        if secret.family == HMAC_FAMILY:
            HMAC(EVP_sha256(), secret.value, secret.length, block, 0, block, &length)
        elif secret.family == AES:
            host_cmac(secret, block, 16, block)
            return block[:5].hex().upper()
        elif secret.family == SM2:
            if EVP_Digest(secret.public_point, 65, block, &length, EVP_sm3(), NULL) != 1:
                raise HsmUnavailable("no SM3")
        else:
            host_block(secret, True, block)
        return block[:3].hex().upper()

    def same_value(self, HostKey other not None):
        """Whether both hold the same key; compared in constant time. Lets a derived key be checked without showing it."""
        cdef Secret *left = self.cipher.host
        cdef Secret *right = other.cipher.host
        check_not_inherited()
        return left.length == right.length and CRYPTO_memcmp(left.value, right.value, left.length) == 0


def generate_host_key(str label, usage, int length, str kind="DES", *, str mode="N"):
    """A random key; DES with odd parity. SM2 keys are made by `hsm._sm`."""
    cdef HostKey key = HostKey(label, usage, kind, mode=mode)
    cdef CK_BYTE *page
    cdef int index
    if kind == "SM2" or not 0 < length <= 64:
        raise InvalidCommand(f"no {kind} key of {length} bytes is made at random")
    page = <CK_BYTE *>locked_page()
    try:
        if RAND_bytes(page, length) != 1:
            raise HsmUnavailable("no randomness")
        if kind == "DES":
            for index in range(0, length, 8):
                DES_set_odd_parity(<DES_cblock *>&page[index])
        key.fill(page, length)
    finally:
        locked_page_free(page)
    return key


def combine_host_key(str label, usage, components, str kind="DES", *, str mode="N"):
    """A key from the exclusive or of its components."""
    cdef HostKey key = HostKey(label, usage, kind, mode=mode)
    cdef CK_BYTE *page = <CK_BYTE *>locked_page()
    try:
        key.fill(page, combine(components, page))
    finally:
        locked_page_free(page)
    return key


def unwrap_host_key(str label, usage, Token token not None, Key transport not None, bytes wrapped not None, *,
                    str mode="N"):
    """A DES key that came under a transport key in ECB: decrypted straight into locked memory."""
    cdef HostKey key = HostKey(label, usage, mode=mode)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(wrapped), offset
    cdef int size = transport.cipher.block_length
    if transport.use != KEY_TRANSPORT:
        raise usage_error(transport, KEY_TRANSPORT)
    if not transport.abilities & MAY_DECIPHER:
        raise KeyUsageError(f"key {transport.label} may not do this: its mode of use is {transport.mode}")
    if length not in (8, 16, 24):
        raise InvalidCommand("a wrapped DES key has 8, 16 or 24 bytes")
    if not size or length % size:
        raise InvalidCommand("the wrapped key does not fit the transport key's block")
    token.enter()
    try:
        memcpy(token.scratch.key, PyBytes_AS_STRING(wrapped), length)
        if transport.cipher.host is not NULL:
            for offset in range(0, length, size):
                host_block(transport.cipher.host, False, &token.scratch.key[offset])
        else:
            check("C_Decrypt", ecb_once(
                &token.work, &transport.cipher, False, token.scratch.key, <int>length))
        key.fill(token.scratch.key, length)
    finally:
        token.leave()
    return key


def wrap_host_key(Token token not None, Key transport not None, HostKey key not None):
    """(the key in ECB under a transport key, the first 4 bytes of E(key, zeros)): what a terminal is sent.

    Only a DES key for PINs or MACs leaves this way: of any other an ECB cryptogram would give the use away with it.
    """
    cdef Secret *secret = key.cipher.host
    cdef int size = transport.cipher.block_length, offset
    cdef CK_BYTE zeros[8]
    if transport.use != KEY_TRANSPORT:
        raise usage_error(transport, KEY_TRANSPORT)
    if not transport.abilities & MAY_ENCIPHER:
        raise KeyUsageError(f"key {transport.label} may not do this: its mode of use is {transport.mode}")
    if key.use not in (PIN_KEY, MAC_KEY) or secret.family != DES:
        raise KeyUsageError(f"key {key.label} may not leave: it is no DES key for PINs or MACs")
    if size != 8:
        raise InvalidCommand("a transport key of DES is needed")
    token.enter()
    try:
        memset(zeros, 0, 8)
        host_block(secret, True, zeros)
        memcpy(token.scratch.key, secret.value, secret.length)
        if transport.cipher.host is not NULL:
            for offset in range(0, secret.length, size):
                host_block(transport.cipher.host, True, &token.scratch.key[offset])
        else:
            check("C_Encrypt", ecb_once(&token.work, &transport.cipher, True, token.scratch.key, secret.length))
        return PyBytes_FromStringAndSize(<char *>token.scratch.key, secret.length), zeros[:4]
    finally:
        token.leave()


def seal_host_key(Token token not None, TokenKey storage not None, HostKey key not None, bytes context not None):
    """The key under AES-256-GCM of the token's storage key, for a file: nonce ‖ ciphertext ‖ tag."""
    cdef Secret *secret = key.cipher.host
    cdef bytes sealed = PyBytes_FromStringAndSize(NULL, secret.length + GCM_OVERHEAD)
    cdef CK_RV rv
    if storage.use != KEY_STORAGE:
        raise usage_error(storage, KEY_STORAGE)
    token.enter()
    try:
        rv = gcm_seal(&token.work, storage.cipher.handle, secret.value, secret.length,
                      <const CK_BYTE *>PyBytes_AS_STRING(context), PyBytes_GET_SIZE(context),
                      <CK_BYTE *>PyBytes_AS_STRING(sealed))
        check("C_Encrypt", rv)
    finally:
        token.leave()
    return sealed


def open_host_key(str label, usage, Token token not None, TokenKey storage not None, bytes sealed not None,
                  bytes context not None, str kind="DES", *, str mode="N"):
    """What `seal_host_key` sealed, straight into locked memory. Raises MacMismatch if it was changed."""
    cdef HostKey key = HostKey(label, usage, kind, mode=mode)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(sealed)
    cdef CK_RV rv
    if storage.use != KEY_STORAGE:
        raise usage_error(storage, KEY_STORAGE)
    if not GCM_OVERHEAD < length <= 64 + GCM_OVERHEAD:
        raise MacMismatch("a stored key is broken")
    token.enter()
    try:
        rv = gcm_unseal(&token.work, storage.cipher.handle, <const CK_BYTE *>PyBytes_AS_STRING(sealed), length,
                        <const CK_BYTE *>PyBytes_AS_STRING(context), PyBytes_GET_SIZE(context), token.scratch.key)
        if rv != CKR_OK:
            raise gcm_error(rv)
        key.fill(token.scratch.key, length - GCM_OVERHEAD)
    finally:
        token.leave()
    return key


def authenticate(Token token not None, TokenKey storage not None, bytes context not None):
    """28 bytes that prove, under the token's storage key, that `context` was written here: a seal of nothing."""
    cdef bytes tag = PyBytes_FromStringAndSize(NULL, GCM_OVERHEAD)
    if storage.use != KEY_STORAGE:
        raise usage_error(storage, KEY_STORAGE)
    token.enter()
    try:
        check("C_Encrypt", gcm_seal(
            &token.work, storage.cipher.handle, token.scratch.key, 0, <const CK_BYTE *>PyBytes_AS_STRING(context),
            PyBytes_GET_SIZE(context), <CK_BYTE *>PyBytes_AS_STRING(tag)))
    finally:
        token.leave()
    return tag


def check_authentic(Token token not None, TokenKey storage not None, bytes tag not None, bytes context not None):
    """Raises MacMismatch unless `tag` is what `authenticate` gave for `context`."""
    cdef CK_RV rv
    if storage.use != KEY_STORAGE:
        raise usage_error(storage, KEY_STORAGE)
    if PyBytes_GET_SIZE(tag) != GCM_OVERHEAD:
        raise MacMismatch("sealed data does not verify")
    token.enter()
    try:
        rv = gcm_unseal(&token.work, storage.cipher.handle, <const CK_BYTE *>PyBytes_AS_STRING(tag), GCM_OVERHEAD,
                        <const CK_BYTE *>PyBytes_AS_STRING(context), PyBytes_GET_SIZE(context), token.scratch.key)
    finally:
        token.leave()
    if rv != CKR_OK:
        raise gcm_error(rv)


cdef object usage_error(Key key, Usage wanted):
    return KeyUsageError(f"key {key.label} is a {USAGES[key.use]}, not a {USAGES[wanted]}")


# --- one block at a time ---------------------------------------------------------------------------------------------

cdef Secret *new_secret() except NULL:
    return <Secret *>locked_page()


cdef void discard_secret(Secret *secret) noexcept nogil:
    if secret is NULL:
        return
    EVP_CIPHER_CTX_free(secret.encipher)
    EVP_CIPHER_CTX_free(secret.decipher)
    locked_page_free(secret)


cdef bint set_secret(Secret *secret, Family family, const CK_BYTE *value, int length) noexcept nogil:
    cdef int index
    if length < 1 or length > 64:
        return False
    memcpy(secret.value, value, length)
    secret.length = length
    secret.family = family
    if family == DES:
        if length != 8 and length != 16 and length != 24:
            return False
        for index in range(3):
            DES_set_key_unchecked(<DES_cblock *>&secret.value[8 * index % length], &secret.schedules[index])
        return True
    if family == AES:
        return length in (16, 24, 32) and open_ciphers(
            secret, EVP_aes_128_ecb() if length == 16 else EVP_aes_192_ecb() if length == 24 else EVP_aes_256_ecb())
    if family == SM4:
        return length == 16 and open_ciphers(secret, EVP_sm4_ecb())
    return (length == 32 and find_sm2_point(value, secret.public_point)) if family == SM2 else True


cdef bint open_ciphers(Secret *secret, const EVP_CIPHER *cipher) noexcept nogil:
    if secret.encipher is NULL:
        secret.encipher = EVP_CIPHER_CTX_new()
    if secret.decipher is NULL:
        secret.decipher = EVP_CIPHER_CTX_new()
    return (
        secret.encipher is not NULL and secret.decipher is not NULL
        and EVP_CipherInit_ex(secret.encipher, cipher, NULL, secret.value, NULL, 1) == 1
        and EVP_CIPHER_CTX_set_padding(secret.encipher, 0) == 1
        and EVP_CipherInit_ex(secret.decipher, cipher, NULL, secret.value, NULL, 0) == 1
        and EVP_CIPHER_CTX_set_padding(secret.decipher, 0) == 1
    )


cdef void host_block(Secret *secret, bint encrypt, CK_BYTE *block) noexcept nogil:
    cdef int length = 0
    if secret.family == DES:
        DES_ecb3_encrypt(<DES_cblock *>block, <DES_cblock *>block, &secret.schedules[0], &secret.schedules[1],
                         &secret.schedules[2], encrypt)
    else:
        EVP_CipherUpdate(secret.encipher if encrypt else secret.decipher, block, &length, block, 16)


cdef void single_des_block(Secret *secret, int part, bint encrypt, CK_BYTE *block) noexcept nogil:
    DES_ecb_encrypt(<DES_cblock *>block, <DES_cblock *>block, &secret.schedules[part], encrypt)


cdef void host_cmac(Secret *secret, const CK_BYTE *data, Py_ssize_t length, CK_BYTE *mac) noexcept nogil:
    cdef CK_BYTE state[16]
    cdef CK_BYTE last[16]
    cdef int size = 8 if secret.family == DES else 16
    cdef int index
    cdef Py_ssize_t offset = 0, left
    memset(state, 0, 16)
    memset(last, 0, 16)
    host_block(secret, True, last)
    double_block(last, size)
    while length - offset > size:
        for index in range(size):
            state[index] ^= data[offset + index]
        host_block(secret, True, state)
        offset += size
    left = length - offset
    if left < size:
        double_block(last, size)
        last[left] ^= 0x80
    for index in range(left):
        last[index] ^= data[offset + index]
    for index in range(size):
        state[index] ^= last[index]
    host_block(secret, True, state)
    memcpy(mac, state, size)
    OPENSSL_cleanse(state, 16)
    OPENSSL_cleanse(last, 16)


cdef CK_RV start_ecb(Cipher *cipher, bint encrypt) noexcept nogil:
    cdef CK_MECHANISM mechanism
    mechanism.mechanism = cipher.mechanism
    mechanism.pParameter = NULL
    mechanism.ulParameterLen = 0
    if encrypt:
        return pkcs11.C_EncryptInit(cipher.encrypt_session, &mechanism, cipher.handle)
    return pkcs11.C_DecryptInit(cipher.decrypt_session, &mechanism, cipher.handle)


cdef CK_RV update_ecb(Cipher *cipher, bint encrypt, CK_BYTE *block, CK_BYTE *output) noexcept nogil:
    cdef CK_ULONG length = 48
    cdef CK_RV rv
    if encrypt:
        rv = pkcs11.C_EncryptUpdate(cipher.encrypt_session, block, cipher.block_length, output, &length)
    else:
        rv = pkcs11.C_DecryptUpdate(cipher.decrypt_session, block, cipher.block_length, output, &length)
    if rv == CKR_OK and length != <CK_ULONG>cipher.block_length:
        return CKR_GENERAL_ERROR  # a module that holds blocks back is not fit for kept-open operations
    return rv


cdef CK_RV run_block(Cipher *cipher, bint encrypt, CK_BYTE *block, CK_BYTE *output) noexcept nogil:
    """En- or decipher one block in place; `output` is working space of 48 bytes."""
    cdef CK_RV rv
    if cipher.host is not NULL:
        host_block(cipher.host, encrypt, block)
        return CKR_OK
    rv = update_ecb(cipher, encrypt, block, output)
    if rv != CKR_OK:  # an error ends the kept-open operation: begin a new one, once
        start_ecb(cipher, encrypt)
        rv = update_ecb(cipher, encrypt, block, output)
    if rv == CKR_OK:
        memcpy(block, output, cipher.block_length)
    return rv


cdef CK_RV ecb_once(Work *work, Cipher *cipher, bint encrypt, CK_BYTE *data, int length) noexcept nogil:
    """One-shot ECB of at most 48 bytes in place, for keys without kept-open sessions."""
    cdef CK_BYTE output[48]
    cdef CK_ULONG output_length = 48
    cdef CK_MECHANISM mechanism
    cdef CK_RV rv
    mechanism.mechanism = cipher.mechanism
    mechanism.pParameter = NULL
    mechanism.ulParameterLen = 0
    rv = begin(pkcs11.C_EncryptInit if encrypt else pkcs11.C_DecryptInit, work, &mechanism, cipher.handle)
    if rv == CKR_OK and encrypt:
        rv = pkcs11.C_Encrypt(work.session, data, length, output, &output_length)
    elif rv == CKR_OK:
        rv = pkcs11.C_Decrypt(work.session, data, length, output, &output_length)
    if rv == CKR_OK:
        memcpy(data, output, length)
    OPENSSL_cleanse(output, sizeof(output))
    return rv


cdef CK_RV begin(start_operation_function start, Work *work, CK_MECHANISM *mechanism, CK_ULONG handle) noexcept nogil:
    """Begin a one-shot operation. One that a module left open would block the session for ever: take a new session."""
    cdef CK_RV rv = start(work.session, mechanism, handle)
    if rv == CKR_OPERATION_ACTIVE:
        pkcs11.C_CloseSession(work.session)
        rv = pkcs11.C_OpenSession(work.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &work.session)
        if rv == CKR_OK:
            rv = start(work.session, mechanism, handle)
    return rv


cdef void double_block(CK_BYTE *block, int size) noexcept nogil:
    """The next CMAC subkey: doubling in GF(2^64) or GF(2^128) (NIST SP 800-38B, 6.1)."""
    cdef int index
    cdef CK_BYTE carry = block[0] >> 7
    for index in range(size - 1):
        block[index] = <CK_BYTE>(block[index] << 1) | (block[index + 1] >> 7)
    block[size - 1] = <CK_BYTE>(block[size - 1] << 1) ^ <CK_BYTE>((0x87 if size == 16 else 0x1B) * carry)
