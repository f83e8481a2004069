# Card verification codes that change with every transaction: Visa's dCVV and MasterCard's CVC3.

cdef int cvc3_under(Secret *card, bytes track, bytes un, bytes atc, CK_BYTE *digits) except -1:
    """Five digits, as numbers: the last 2 bytes of E(last 2 bytes of the track's MAC ‖ UN ‖ ATC), in decimal."""
    cdef CK_BYTE block[8]
    cdef CK_BYTE mac[8]
    cdef int value, index
    if not bounded(track):
        raise InvalidCommand("a CVC3 is made over a track's data")
    wanted_length(un, 4, "the unpredictable number")
    wanted_length(atc, 2, "the ATC")
    mac_with(card, "iso9797-alg3-pad2", track, mac)
    memcpy(block, &mac[6], 2)
    memcpy(&block[2], PyBytes_AS_STRING(un), 4)
    memcpy(&block[6], PyBytes_AS_STRING(atc), 2)
    host_block(card, True, block)
    value = 256 * block[6] + block[7]
    OPENSSL_cleanse(mac, 8)  # more of both than a card tells
    OPENSSL_cleanse(block, 8)
    for index in range(5):
        digits[4 - index] = value % 10
        value //= 10
    return 0


cdef int dcvv_under(Secret *card, str pan, str atc, str expiry, str service_code, CK_BYTE *digits) except -1:
    """Three digits, as numbers: a CVV under the card's key; the ATC stands for the first four digits of the PAN."""
    cdef CK_BYTE clear[32]
    cdef CK_BYTE *packed = work.text  # wiped: what single DES makes of known digits would give half the key away
    cdef CK_BYTE code[2]
    cdef int index, length
    memset(clear, 0, 32)
    length = read_digits(pan, 12, 19, clear, "the PAN")
    read_digits(atc, 4, 4, clear, "the ATC")
    read_digits(expiry, 4, 4, clear + length, "the expiry date")
    read_digits(service_code, 3, 3, clear + length + 4, "the service code")
    for index in range(32):
        put_nibble(packed, index, clear[index])
    single_des_block(card, 0, True, packed)
    for index in range(8):
        packed[index] ^= packed[8 + index]
    host_block(card, True, packed)
    decimalise(packed, 16, code, 3)
    for index in range(3):
        digits[index] = nibble_at(code, index)
    return 0


cdef str digits_text(const CK_BYTE *digits, int count):
    return "".join([chr(48 + digits[index]) for index in range(count)])


cdef int check_code(const CK_BYTE *expected, int count, str code, int least, str label) except -1:
    """The given digits are the last ones of the code, in constant time."""
    cdef CK_BYTE given[5]
    cdef int length = read_digits(code, least, count, given, "the code")
    if CRYPTO_memcmp(expected + count - length, given, length):
        raise CardCodeMismatch(f"a card code does not verify under {label}")
    return 0
