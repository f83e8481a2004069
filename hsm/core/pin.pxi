# PIN blocks of ISO 9564-1:2017, and translation as one section: decipher, check, reformat, encipher, wipe.
#
# Formats 0, 1, 3 and 4 travel under PIN keys. Format 2 is what a card is given in a script: it is only ever made here.

cdef bint pin_format_fits(int pin_format, int block_length) noexcept nogil:
    return block_length == (16 if pin_format == 4 else 8) and pin_format in (0, 1, 3, 4)


cdef bint translation_permitted(int source_format, int target_format) noexcept nogil:
    """PCI PIN Security, requirement 3-3: a block bound to a PAN is not translated to format 1."""
    return target_format != 1 or source_format == 1


cdef void unpack_nibbles(const CK_BYTE *packed, int length, CK_BYTE *nibbles) noexcept nogil:
    cdef int index
    for index in range(length):
        nibbles[2 * index] = packed[index] >> 4
        nibbles[2 * index + 1] = packed[index] & 15


cdef void pack_nibbles(const CK_BYTE *nibbles, int length, CK_BYTE *packed) noexcept nogil:
    cdef int index
    for index in range(length):
        packed[index] = <CK_BYTE>(nibbles[2 * index] << 4) | nibbles[2 * index + 1]


cdef void mix_account_number(PinJob *job, int pin_format, CK_BYTE *field) noexcept nogil:
    """Formats 0 and 3: XOR with 0000 and the rightmost 12 digits of the PAN without its check digit."""
    cdef int index, digit, last = job.pan_length - 2
    if pin_format != 0 and pin_format != 3:
        return
    for index in range(12):
        digit = job.pan[last - index] if index <= last else 0
        field[7 - index // 2] ^= <CK_BYTE>(digit << 4 if index & 1 else digit)


cdef void mix_account_field(PinJob *job, CK_BYTE *field, CK_BYTE *nibbles, CK_BYTE *pan_field) noexcept nogil:
    """Format 4: XOR with the PAN field: digits beyond 12, the PAN right-justified to 12 at least, zeros."""
    cdef int index, length = job.pan_length
    cdef int lead = 12 - length if length < 12 else 0
    memset(nibbles, 0, 32)
    nibbles[0] = <CK_BYTE>(length - 12 if length > 12 else 0)
    for index in range(length):
        nibbles[1 + lead + index] = job.pan[index]
    pack_nibbles(nibbles, 16, pan_field)
    for index in range(16):
        field[index] ^= pan_field[index]


cdef bint decode_pin(Scratch *scratch, int pin_format) noexcept nogil:
    """PIN out of the clear field. Looks at every nibble whatever it finds: no timing tells which one was wrong."""
    cdef CK_BYTE *nibbles = scratch.nibbles
    cdef int index, nibble, length
    cdef bint bad
    unpack_nibbles(scratch.field, 8, nibbles)
    length = nibbles[1]
    bad = (nibbles[0] != pin_format) | (length < 4) | (length > 12)
    for index in range(14):
        nibble = nibbles[2 + index]
        if index < length:
            bad |= nibble > 9
            scratch.pin[index if index < 12 else 11] = <CK_BYTE>nibble
        elif pin_format == 0:
            bad |= nibble != 15
        elif pin_format == 3:
            bad |= nibble < 10
        elif pin_format == 4:
            bad |= nibble != 10
    scratch.pin_length = length
    return not bad


cdef bint encode_pin(Scratch *scratch, int pin_format) noexcept nogil:
    """The clear field of the format from the PIN; false if there is no randomness."""
    cdef CK_BYTE *nibbles = scratch.nibbles
    cdef CK_BYTE *noise = scratch.random
    cdef int index
    if pin_format != 0 and pin_format != 2 and RAND_bytes(noise, 32) != 1:
        return False
    nibbles[0] = <CK_BYTE>pin_format
    nibbles[1] = <CK_BYTE>scratch.pin_length
    for index in range(14):
        if index < scratch.pin_length:
            nibbles[2 + index] = scratch.pin[index]
        elif pin_format == 0 or pin_format == 2:
            nibbles[2 + index] = 15
        elif pin_format == 1:
            nibbles[2 + index] = noise[index] & 15
        elif pin_format == 3:  # A to F; two bytes, so that the remainder's bias is below 1 in 10,000
            nibbles[2 + index] = <CK_BYTE>(10 + ((noise[2 * index] << 8) | noise[2 * index + 1]) % 6)
        else:
            nibbles[2 + index] = 10
    pack_nibbles(nibbles, 8, scratch.field)
    if pin_format == 4:
        memcpy(&scratch.field[8], noise, 8)
    return True


cdef CK_RV decipher_field(PinJob *job, Scratch *scratch) noexcept nogil:
    cdef CK_RV rv
    memcpy(scratch.field, job.block, job.source.block_length)
    rv = run_block(job.source, False, scratch.field, scratch.output)
    if rv == CKR_OK and job.source_format == 4:
        mix_account_field(job, scratch.field, scratch.nibbles, scratch.pan_field)
        rv = run_block(job.source, False, scratch.field, scratch.output)
    mix_account_number(job, job.source_format, scratch.field)
    return rv


cdef CK_RV encipher_field(PinJob *job, Scratch *scratch) noexcept nogil:
    cdef CK_RV rv
    mix_account_number(job, job.target_format, scratch.field)
    if job.target_format == 4:
        rv = run_block(job.target, True, scratch.field, scratch.output)
        if rv != CKR_OK:
            return rv
        mix_account_field(job, scratch.field, scratch.nibbles, scratch.pan_field)
    rv = run_block(job.target, True, scratch.field, scratch.output)
    if rv == CKR_OK:
        memcpy(job.block, scratch.field, job.target.block_length)
    return rv


cdef void translate_pin(PinJob *job, Scratch *scratch) noexcept nogil:
    """One translation under the token's lock. The scratch is wiped before it returns."""
    job.rv = decipher_field(job, scratch)
    if job.rv != CKR_OK:
        job.outcome = PIN_TOKEN_FAILED
    elif not decode_pin(scratch, job.source_format):
        job.outcome = PIN_REFUSED
    elif not encode_pin(scratch, job.target_format):
        job.rv = CKR_GENERAL_ERROR
        job.outcome = PIN_TOKEN_FAILED
    else:
        job.rv = encipher_field(job, scratch)
        job.outcome = PIN_DONE if job.rv == CKR_OK else PIN_TOKEN_FAILED
    OPENSSL_cleanse(scratch, sizeof(Scratch))


cdef int read_job_pan(PinJob *job, str pan, bint may_be_missing) except -1:
    cdef Py_ssize_t length = 0, index
    cdef const char *digits
    if pan is None:
        raise TypeError("text is expected, not None")
    digits = PyUnicode_AsUTF8AndSize(pan, &length)
    if not 12 <= length <= 19 and not (may_be_missing and length == 0):
        raise PinFormatError("the PAN must have 12 to 19 digits")
    for index in range(length):
        if not 48 <= digits[index] <= 57:
            raise PinFormatError("the PAN must have 12 to 19 digits")
        job.pan[index] = <CK_BYTE>(digits[index] - 48)
    job.pan_length = <int>length
    return 0


cdef int prepare_pin_job(PinJob *job, Key source, int source_format, Key target, int target_format, bytes block,
                         str pan) except -1:
    if not (pin_format_fits(source_format, source.cipher.block_length)
            and pin_format_fits(target_format, target.cipher.block_length)
            and translation_permitted(source_format, target_format)
            and bounded(block) == source.cipher.block_length):
        raise PinFormatError("PIN block, formats and keys do not fit, or this translation is not permitted")
    read_job_pan(job, pan, source_format == 1 and target_format == 1)
    job.source = &source.cipher
    job.target = &target.cipher
    job.source_format = source_format
    job.target_format = target_format
    memcpy(job.block, PyBytes_AS_STRING(block), source.cipher.block_length)
    return 0
