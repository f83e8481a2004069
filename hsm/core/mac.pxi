# MACs with keys on the host: ISO/IEC 9797-1 algorithms 1 and 3 with padding methods 1, 2, 3, CMAC, HMAC, and UnionPay's
# three shapes. The names are documented in `hsm.algorithms`.

cdef enum MacKind:
    CHAINED  # ISO/IEC 9797-1
    CMAC
    HMAC_SHA256
    HMAC_SM3
    CUP_ECB  # UnionPay's terminals: the exclusive or of all blocks, enciphered as hexadecimal characters

cdef enum MacShape:
    WHOLE  # bytes, all or the first ones
    CUP_CHARACTERS  # first 4 bytes as 8 upper-case hex characters
    CUP_KEY_RESET  # first 4 bytes, then the first 4 bytes of E(key, 0)


@cython.final
cdef class MacAlgorithm:
    """What a name stands for."""
    cdef MacKind kind
    cdef int number  # of ISO/IEC 9797-1; 0: 3, or 1 for a single-length key (ANSI X9.19, X9.9)
    cdef int padding  # method of ISO/IEC 9797-1
    cdef MacShape shape
    cdef int longest  # bytes; a longer MAC is cut to its first ones

    def __cinit__(self, MacKind kind, int number=0, int padding=1, MacShape shape=WHOLE, int longest=32):
        self.kind = kind
        self.number = number
        self.padding = padding
        self.shape = shape
        self.longest = longest


cdef dict mac_algorithms():
    cdef dict named = {
        "cup-financial": MacAlgorithm(CHAINED, 0, 1, CUP_CHARACTERS),
        "cup-key-reset": MacAlgorithm(CHAINED, 0, 1, CUP_KEY_RESET),
        "cup-ecb": MacAlgorithm(CUP_ECB, 0, 1, CUP_CHARACTERS),
        "cup-ecb-binary": MacAlgorithm(CUP_ECB),
    }
    for ending, longest in (("", 32), ("-8", 8), ("-4", 4)):
        for number in (1, 3):
            for padding in (1, 2, 3):
                named[f"iso9797-alg{number}-pad{padding}{ending}"] = MacAlgorithm(
                    CHAINED, number, padding, WHOLE, longest)
        named[f"cmac{ending}"] = MacAlgorithm(CMAC, 0, 1, WHOLE, longest)
    for name, kind in (("hmac-sha256", HMAC_SHA256), ("hmac-sm3", HMAC_SM3)):
        named[name] = MacAlgorithm(kind)
        named[f"{name}-16"] = MacAlgorithm(kind, 0, 1, WHOLE, 16)
    return named


cdef dict MAC_ALGORITHMS = mac_algorithms()


cdef MacAlgorithm find_mac_algorithm(str name):
    found = MAC_ALGORITHMS.get(name)
    if found is None:
        raise InvalidCommand(f"unknown MAC algorithm {name[:32]}")
    return <MacAlgorithm>found


cdef int check_fit(MacAlgorithm algorithm, Secret *secret) except -1:
    cdef bint fits
    if algorithm.kind == HMAC_SHA256 or algorithm.kind == HMAC_SM3:
        fits = secret.family == HMAC_FAMILY
    elif algorithm.kind == CMAC:
        fits = secret.family == AES or secret.family == SM4 or secret.family == DES and secret.length > 8
    elif algorithm.kind == CHAINED and algorithm.number == 1:
        fits = secret.family == DES or secret.family == AES or secret.family == SM4
    else:
        fits = secret.family == DES and (algorithm.number != 3 or secret.length > 8)
    if not fits:
        raise InvalidCommand("this MAC algorithm needs another kind of key, or a longer one")
    return 0


# --- block by block ---------------------------------------------------------------------------------------------------

cdef inline void add_block(CK_BYTE *state, const CK_BYTE *block, int size) noexcept nogil:
    """state ^= block, 8 or 16 bytes, in words: a loop over bytes costs as much as the AES beside it."""
    cdef unsigned long long left[2]
    cdef unsigned long long right[2]
    if size == 8:
        memcpy(left, state, 8)
        memcpy(right, block, 8)
        left[0] ^= right[0]
        memcpy(state, left, 8)
    else:
        memcpy(left, state, 16)
        memcpy(right, block, 16)
        left[0] ^= right[0]
        left[1] ^= right[1]
        memcpy(state, left, 16)


cdef void chain(Secret *secret, bint triple, const CK_BYTE *data, Py_ssize_t length, CK_BYTE *state) noexcept nogil:
    """CBC over whole blocks (the last one zero-padded): single DES with K1, or the key's own cipher."""
    cdef int size = 16 if secret.family == AES or secret.family == SM4 else 8
    cdef Py_ssize_t offset = 0, index
    if not triple:
        if length:
            DES_cbc_cksum(data, <DES_cblock *>state, length, &secret.schedules[0], <DES_cblock *>state)
        return
    while length - offset >= size:
        add_block(state, data + offset, size)
        host_block(secret, True, state)
        offset += size
    if offset < length:
        for index in range(length - offset):
            state[index] ^= data[offset + index]
        host_block(secret, True, state)


cdef int chained_mac(Secret *secret, int number, int padding, const CK_BYTE *data, Py_ssize_t length,
                     CK_BYTE *mac) noexcept nogil:
    """ISO/IEC 9797-1; returns the length of the whole MAC. Empty data is one block of zeros under padding method 1."""
    cdef CK_BYTE tail[16]
    cdef int size = 16 if secret.family == AES or secret.family == SM4 else 8
    cdef Py_ssize_t whole = length & ~(<Py_ssize_t>size - 1)
    cdef int index
    cdef bint triple = size == 16 or number == 1 and secret.length > 8
    memset(mac, 0, size)
    memset(tail, 0, size)
    if padding == 3:
        for index in range(8):
            tail[size - 1 - index] = <CK_BYTE>((<unsigned long>length * 8) >> (8 * index))
        chain(secret, triple, tail, size, mac)
        memset(tail, 0, size)
    if padding == 2:
        memcpy(tail, data + whole, length - whole)
        tail[length - whole] = 0x80
        chain(secret, triple, data, whole, mac)
        chain(secret, triple, tail, size, mac)
    elif length == 0 and padding == 1:
        chain(secret, triple, tail, size, mac)
    else:
        chain(secret, triple, data, length, mac)
    if secret.length > 8 and not triple:
        single_des_block(secret, 1, False, mac)
        single_des_block(secret, 2, True, mac)
    return size


cdef void write_hexadecimal(const CK_BYTE *data, int length, CK_BYTE *characters) noexcept nogil:
    """Two upper-case ASCII characters a byte."""
    cdef const char *digits = b"0123456789ABCDEF"
    cdef int index
    for index in range(length):
        characters[2 * index] = digits[data[index] >> 4]
        characters[2 * index + 1] = digits[data[index] & 15]


cdef int terminal_mac(Secret *secret, const CK_BYTE *data, Py_ssize_t length, CK_BYTE *mac) noexcept nogil:
    """UnionPay's ECB MAC: all 8-byte blocks combined, written as 16 hex characters A ‖ B, then E(K, E(K, A) xor B)."""
    cdef CK_BYTE characters[16]
    cdef Py_ssize_t index
    memset(mac, 0, 8)
    for index in range(length):
        mac[index & 7] ^= data[index]
    write_hexadecimal(mac, 8, characters)
    host_block(secret, True, characters)
    add_block(characters, &characters[8], 8)
    host_block(secret, True, characters)
    memcpy(mac, characters, 8)
    OPENSSL_cleanse(characters, 16)
    return 8


cdef int keyed_hash(Secret *secret, const EVP_MD *digest, const CK_BYTE *data, Py_ssize_t length,
                    CK_BYTE *mac) except -1:
    cdef unsigned int size = 32
    if HMAC(digest, secret.value, secret.length, data, length, mac, &size) is NULL:
        raise HsmUnavailable("libcrypto made no HMAC")
    return <int>size


# --- by name ----------------------------------------------------------------------------------------------------------

cdef int compute_mac(Secret *secret, MacAlgorithm algorithm, const CK_BYTE *data, Py_ssize_t length,
                     CK_BYTE *mac) except -1:
    """The MAC in the shape its name says, into 32 bytes of room; returns its length. The key must fit: `check_fit`."""
    cdef CK_BYTE block[8]
    cdef int size
    if algorithm.kind == CHAINED:
        size = chained_mac(secret, algorithm.number, algorithm.padding, data, length, mac)
    elif algorithm.kind == CMAC:
        host_cmac(secret, data, length, mac)
        size = 8 if secret.family == DES else 16
    elif algorithm.kind == CUP_ECB:
        size = terminal_mac(secret, data, length, mac)
    else:
        size = keyed_hash(secret, EVP_sm3() if algorithm.kind == HMAC_SM3 else EVP_sha256(), data, length, mac)
    if algorithm.shape == CUP_CHARACTERS:
        memcpy(block, mac, 8)
        write_hexadecimal(block, 4, mac)
    elif algorithm.shape == CUP_KEY_RESET:
        memset(block, 0, 8)
        host_block(secret, True, block)
        memcpy(&mac[4], block, 4)
    return size if size < algorithm.longest else algorithm.longest


cdef Key find_mac_key(dict keys, str label, MacAlgorithm algorithm, unsigned int wanted):
    """A MAC_KEY; for a key reset also a PIN_KEY that is pending, since UnionPay has a new PIK prove itself by a MAC."""
    cdef Key key = find_key(keys, label)
    if key.use == PIN_KEY and algorithm.shape == CUP_KEY_RESET and label.endswith("?pending"):
        if key.cipher.host is NULL:
            raise usage_error(key, MAC_KEY)
    else:
        key = find_host_key_for(keys, label, MAC_KEY, wanted)
    check_fit(algorithm, key.cipher.host)
    return key


cdef bytes mac_of(dict keys, str label, str name, bytes data, unsigned int wanted):
    """`wanted`: the Ability the key must have, to generate or to check."""
    cdef MacAlgorithm algorithm = find_mac_algorithm(name)
    cdef CK_BYTE mac[32]
    cdef Py_ssize_t length = bounded(data)
    cdef Key key = find_mac_key(keys, label, algorithm, wanted)
    cdef int size = compute_mac(key.cipher.host, algorithm, <const CK_BYTE *>PyBytes_AS_STRING(data), length, mac)
    return PyBytes_FromStringAndSize(<char *>mac, size)


cdef int mac_with(Secret *secret, str algorithm, bytes data, CK_BYTE *mac) except -1:
    cdef MacAlgorithm chosen = find_mac_algorithm(algorithm)
    cdef Py_ssize_t length = bounded(data)
    check_fit(chosen, secret)
    return compute_mac(secret, chosen, <const CK_BYTE *>PyBytes_AS_STRING(data), length, mac)
