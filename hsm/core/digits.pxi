# Decimal digits out of an enciphered block, as the PVV and the card verification value take them.

cdef void take_digits(const CK_BYTE *block, int count, CK_BYTE *digits) noexcept nogil:
    """The first `count` digits among the 16 nibbles of `block`; where those do not suffice, then A to F as 0 to 5.

    `digits` has room for 16. Every nibble is looked at, whatever it is.
    """
    cdef CK_BYTE found[17]  # one more than are ever taken: a nibble that is not taken is written, and overwritten
    cdef CK_BYTE nibble
    cdef int index, turn, taken = 0
    for turn in range(2):
        for index in range(16):
            nibble = block[index // 2] & 15 if index & 1 else block[index // 2] >> 4
            found[taken] = nibble - 10 if nibble > 9 else nibble
            taken += (nibble > 9) == (turn == 1)
    memcpy(digits, found, count)
    OPENSSL_cleanse(found, 17)
