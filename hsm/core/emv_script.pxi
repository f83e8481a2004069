# Issuer scripts: secure messaging for integrity and confidentiality, PIN change (EMV 4.3, Book 2, 9.2 and 9.3).

cdef bytes script_mac_under(Secret *session, bytes message, int length):
    """9.2.3 and A1.2.1: the first 4 to 8 bytes of ISO/IEC 9797-1 algorithm 3 with padding method 2."""
    cdef CK_BYTE mac[8]
    check_mac_length(length)
    if not bounded(message):
        raise InvalidCommand("a script's MAC is made over a command")
    mac_with(session, "iso9797-alg3-pad2", message, mac)
    return PyBytes_FromStringAndSize(<char *>mac, length)


cdef int check_mac_length(int length) except -1:
    if not 4 <= length <= 8:
        raise InvalidCommand("a script's MAC has 4 to 8 bytes")
    return 0


cdef int check_encipherment(str encipherment) except -1:
    if encipherment not in ("visa", "mastercard", "emv"):
        raise InvalidCommand("there is no such encipherment of script data")
    return 0


cdef bytes encipher_under(Secret *session, str encipherment, const CK_BYTE *data, int length):
    """Pad and encipher as the scheme does, see `hsm.commands.emv`. ECB for Visa, else CBC from a block of zeros."""
    cdef CK_BYTE *text = work.text
    cdef int index, filled = length
    check_encipherment(encipherment)
    memset(text, 0, 256)
    if encipherment == "visa":
        text[0] = <CK_BYTE>length
        memcpy(text + 1, data, length)
        filled = length + 1
    else:
        memcpy(text, data, length)
    if encipherment != "mastercard" or filled % 8:
        text[filled] = 0x80
        filled = (filled + 8) & ~7
    for index in range(filled):
        if index >= 8 and encipherment != "visa":
            text[index] ^= text[index - 8]
        if index % 8 == 7:
            host_block(session, True, text + index - 7)
    return PyBytes_FromStringAndSize(<char *>text, filled)


# --- PIN change ------------------------------------------------------------------------------------------------------

cdef int check_script_pin(str layout, bytes current_block) except -1:
    if layout not in ("vis", "iso-2"):
        raise InvalidCommand("a PIN goes to a card in a block of layout vis or iso-2")
    if layout == "iso-2" and bounded(current_block):
        raise InvalidCommand("a PIN block of layout iso-2 has no place for the current PIN")
    return 0


cdef int read_pin(Token token, Key key, int pin_format, str pan, bytes block) except -1:
    """The PIN of an enciphered block into the token's scratch. Raises PinFormatError."""
    cdef PinJob job
    cdef CK_RV rv
    memset(&job, 0, sizeof(PinJob))
    if not pin_format_fits(pin_format, key.cipher.block_length) or bounded(block) != key.cipher.block_length:
        raise PinFormatError("PIN block, formats and keys do not fit, or this translation is not permitted")
    read_job_pan(&job, pan, False)
    memcpy(job.block, PyBytes_AS_STRING(block), key.cipher.block_length)
    job.source = &key.cipher
    job.source_format = pin_format
    rv = decipher_field(&job, token.scratch)
    if rv != CKR_OK:
        raise unavailable("C_DecryptUpdate", rv)
    if not decode_pin(token.scratch, pin_format):
        raise PinFormatError("the PIN block is not valid for its format, PAN and key")
    return 0


cdef int build_pin_block(Token token, Key key, int pin_format, str layout, str pan, bytes block,
                         bytes current_block) except -1:
    """`work.pin_block` for the card. iso-2: ISO 9564-1 format 2. vis: the same with a control field of 0, xor
    `work.mask` in its right half, xor the current PIN, left-justified, where there is one."""
    cdef Scratch *scratch = token.scratch
    cdef bint masked = layout == "vis"
    cdef int index
    memset(work.current_pin, 0, 8)
    if bounded(current_block):
        read_pin(token, key, pin_format, pan, current_block)
        for index in range(scratch.pin_length):
            put_nibble(work.current_pin, index, scratch.pin[index])
    read_pin(token, key, pin_format, pan, block)
    work.pin_block[0] = <CK_BYTE>(scratch.pin_length | (0 if masked else 0x20))
    for index in range(14):
        put_nibble(work.pin_block, 2 + index, scratch.pin[index] if index < scratch.pin_length else 15)
    if masked:
        for index in range(8):
            work.pin_block[index] ^= work.current_pin[index] ^ (work.mask[index - 4] if index >= 4 else 0)
    return 0
