# Keys of a card and of a transaction, derived into locked memory (EMV 4.3, Book 2, A1.3 and A1.4).

cdef extern from "openssl/sha.h" nogil:
    unsigned char *SHA1(const unsigned char *data, size_t length, unsigned char *digest)


cdef bint is_double_length_des(Key key):
    """In the token "DES" says enough: its DES keys have two parts or three."""
    if key.cipher.host is not NULL:
        return key.cipher.host.family == DES and key.cipher.host.length == 16
    return key.cipher.block_length == 8


cdef int derive_card_key(Token token, Key issuer, str option, str pan, str psn) except -1:
    """Into `card_key`: the ICC master key of A1.4.1 (option A) or A1.4.2 (option B), with odd parity.

    The token's lock is held: the issuer's key may be in the token."""
    cdef CK_BYTE *key = work.key
    cdef CK_RV rv
    cdef int index
    if not is_double_length_des(issuer):
        raise KeyUsageError(f"key {issuer.label} is not a double-length DES key")
    diversify(option, pan, psn, key)
    for index in range(8):
        key[8 + index] = key[index] ^ 0xFF
    rv = run_block(&issuer.cipher, True, key, work.output)
    if rv == CKR_OK:
        rv = run_block(&issuer.cipher, True, key + 8, work.output)
    if rv != CKR_OK:
        raise unavailable("C_EncryptUpdate", rv)
    set_key(card_key, key)
    return 0


cdef int diversify(str option, str pan, str psn, CK_BYTE *field) except -1:
    """Y: 16 digits of PAN and PAN sequence number; for option B and more than 16 digits of PAN, of their hash."""
    cdef CK_BYTE digits[22]
    cdef int length, index, count
    if option != "A" and option != "B":
        raise InvalidCommand("the option of a card's master key is A or B")
    memset(digits, 0, 22)
    length = read_digits(pan, 12, 19, digits + 1, "the PAN")
    if psn:
        read_digits(psn, 2, 2, digits + 1 + length, "the PAN sequence number")
    count = length + 2
    if option == "B" and length > 16:
        hash_digits(digits + 1 - (count & 1), count + (count & 1), field)
        return 0
    for index in range(16):
        put_nibble(field, index, digits[1 + count - 16 + index] if index >= 16 - count else 0)
    return 0


cdef void hash_digits(const CK_BYTE *digits, int count, CK_BYTE *field) noexcept nogil:
    """The first 16 decimal digits of SHA-1 over the packed digits; where it has fewer, then A to F as 0 to 5."""
    cdef CK_BYTE packed[11]
    cdef CK_BYTE digest[20]
    cdef int index
    for index in range(count):
        put_nibble(packed, index, digits[index])
    SHA1(packed, count // 2, digest)
    decimalise(digest, 40, field, 16)


cdef void put_nibble(CK_BYTE *packed, int index, CK_BYTE nibble) noexcept nogil:
    if index & 1:
        packed[index // 2] = (packed[index // 2] & 0xF0) | nibble
    else:
        packed[index // 2] = <CK_BYTE>(nibble << 4)


cdef CK_BYTE nibble_at(const CK_BYTE *packed, int index) noexcept nogil:
    return packed[index // 2] & 15 if index & 1 else packed[index // 2] >> 4


cdef void decimalise(const CK_BYTE *packed, int count, CK_BYTE *digits, int wanted) noexcept nogil:
    """`wanted` packed digits: of `count` nibbles first those that are decimal, then the others less ten."""
    cdef int index, found = 0, turn
    cdef CK_BYTE nibble
    for turn in range(2):
        for index in range(count):
            nibble = nibble_at(packed, index)
            if found < wanted and (nibble > 9) == turn:
                put_nibble(digits, found, <CK_BYTE>(nibble - 10 * turn))
                found += 1


cdef void set_key(Secret *secret, CK_BYTE *key) noexcept nogil:
    DES_set_odd_parity(<DES_cblock *>key)
    DES_set_odd_parity(<DES_cblock *>(key + 8))
    set_secret(secret, DES, key, 16)


# --- session keys ----------------------------------------------------------------------------------------------------

cdef int derive_session_key(Secret *card, str derivation, bytes diversifier) except -1:
    """Into `session_key`; names and diversifiers are those of `hsm.commands.emv`."""
    cdef const CK_BYTE *given = <const CK_BYTE *>PyBytes_AS_STRING(diversifier)
    cdef CK_BYTE field[8]
    cdef Py_ssize_t length = bounded(diversifier)
    memset(field, 0, 8)
    if derivation == "emv-common" and (length == 2 or length == 8):
        memcpy(field, given, length)
        derive_common(card, field)
    elif derivation == "mastercard-skd" and length == 6:
        memcpy(field, given, 2)
        memcpy(&field[4], given + 2, 4)
        derive_common(card, field)
    elif derivation == "emv2000-tree-4-8" and length == 2:
        derive_tree(card, 256 * given[0] + given[1], 4, 8, NULL)
    elif derivation == "emv2000-tree-2-16" and length == 2:
        derive_tree(card, 256 * given[0] + given[1], 2, 16, NULL)
    elif derivation == "visa-sm" and length == 2:
        derive_visa_secure_messaging(card, given)
    elif derivation == "card-key" and length == 0:
        set_secret(session_key, DES, card.value, 16)
    else:
        raise InvalidCommand("there is no such session key derivation, or it takes a diversifier of another length")
    return 0


cdef void derive_common(Secret *card, const CK_BYTE *field) noexcept nogil:
    """A1.3.1: E(field with F0 as its third byte) ‖ E(field with 0F there)."""
    cdef CK_BYTE *key = work.key
    memcpy(key, field, 8)
    memcpy(key + 8, field, 8)
    key[2] = 0xF0
    key[10] = 0x0F
    host_block(card, True, key)
    host_block(card, True, key + 8)
    set_key(session_key, key)


cdef void derive_visa_secure_messaging(Secret *card, const CK_BYTE *atc) noexcept nogil:
    """VIS 1.5, secure messaging: the ATC into the end of the left half, its complement into that of the right half."""
    cdef CK_BYTE *key = work.key
    cdef int index
    memcpy(key, card.value, 16)
    for index in range(2):
        key[6 + index] ^= atc[index]
        key[14 + index] ^= atc[index] ^ 0xFF
    set_key(session_key, key)


cdef void derive_tree(Secret *card, int atc, int branches, int height, const CK_BYTE *start) noexcept nogil:
    """EMV 2000 (4.0), Book 2, A1.3: from the card's key down to the leaf `atc`; leaf xor its grandparent is the key.

    `start` stands above the root; NULL: zeros. Walks one level at a time with the last four nodes of the path."""
    cdef CK_BYTE *node = work.node[0]
    cdef CK_BYTE *parent = work.node[1]
    cdef CK_BYTE *grandparent = work.node[2]
    cdef CK_BYTE *great_grandparent = work.node[3]
    cdef int level, index, branch, width = 1
    memset(great_grandparent, 0, 16)
    if start is NULL:
        memset(grandparent, 0, 16)
    else:
        memcpy(grandparent, start, 16)
    memcpy(parent, card.value, 16)
    for level in range(height - 1):
        width *= branches
    for level in range(height):
        branch = atc // width % branches
        width //= branches
        set_secret(session_key, DES, parent, 16)
        memcpy(node, grandparent, 16)
        node[7] ^= <CK_BYTE>branch
        node[15] ^= <CK_BYTE>branch ^ 0xF0
        host_block(session_key, True, node)
        host_block(session_key, True, node + 8)
        memcpy(great_grandparent, grandparent, 16)
        memcpy(grandparent, parent, 16)
        memcpy(parent, node, 16)
    for index in range(16):
        node[index] = parent[index] ^ great_grandparent[index]
    set_key(session_key, node)
