# MACs over DES on the host: ISO/IEC 9797-1 algorithms 1 and 3 with padding methods 1, 2, 3, and UnionPay's two shapes.

cdef enum MacShape:
    WHOLE  # all 8 bytes
    CUP_FINANCIAL  # first 4 bytes as 8 upper-case hex characters
    CUP_KEY_RESET  # first 4 bytes, then the first 4 bytes of E(key, 0)

cdef struct MacAlgorithm:
    int number  # of ISO/IEC 9797-1; 0: 3, or 1 for a single-length key (ANSI X9.19, X9.9)
    int padding  # method of ISO/IEC 9797-1
    MacShape shape


cdef int find_mac_algorithm(str name, MacAlgorithm *algorithm) except -1:
    """Names are documented in hsm.algorithms. The two of UnionPay stand first: they are the ones on the hot path."""
    algorithm.padding = 1
    algorithm.number = 0
    algorithm.shape = WHOLE
    if name == "cup-financial":
        algorithm.shape = CUP_FINANCIAL
    elif name == "cup-key-reset":
        algorithm.shape = CUP_KEY_RESET
    elif name[:12] == "iso9797-alg1" or name[:12] == "iso9797-alg3":
        algorithm.number = 1 if name[11] == "1" else 3
        if name[12:] not in ("-pad1", "-pad2", "-pad3"):
            raise InvalidCommand(f"unknown MAC algorithm {name[:32]}")
        algorithm.padding = ord(name[16]) - 48
    else:
        raise InvalidCommand(f"unknown MAC algorithm {name[:32]}")
    return 0


cdef void chain(Secret *secret, bint triple, const CK_BYTE *data, long length, CK_BYTE *state) noexcept nogil:
    """CBC over whole blocks (the last one zero-padded) with K1 alone or with the triple key."""
    cdef long offset, index, here
    if not triple:
        if length:
            DES_cbc_cksum(data, <DES_cblock *>state, length, &secret.schedules[0], <DES_cblock *>state)
        return
    for offset in range(0, length, 8):
        here = length - offset if length - offset < 8 else 8
        for index in range(here):
            state[index] ^= data[offset + index]
        host_block(secret, True, state)


cdef void compute_mac(Secret *secret, MacAlgorithm algorithm, const CK_BYTE *data, long length,
                      CK_BYTE *mac) noexcept nogil:
    """All 8 bytes of the MAC. Empty data counts as one block of zeros under padding method 1."""
    cdef CK_BYTE tail[8]
    cdef long whole = length & ~7
    cdef int index
    cdef bint triple = algorithm.number == 1 and secret.length > 8
    memset(mac, 0, 8)
    memset(tail, 0, 8)
    if algorithm.padding == 3:
        for index in range(8):
            tail[7 - index] = <CK_BYTE>((<unsigned long>length * 8) >> (8 * index))
        chain(secret, triple, tail, 8, mac)
        memset(tail, 0, 8)
    if algorithm.padding == 2:
        memcpy(tail, data + whole, length - whole)
        tail[length - whole] = 0x80
        chain(secret, triple, data, whole, mac)
        chain(secret, triple, tail, 8, mac)
    elif length == 0 and algorithm.padding == 1:
        chain(secret, triple, tail, 8, mac)
    else:
        chain(secret, triple, data, length, mac)
    if secret.length > 8 and not triple:
        DES_ecb_encrypt(<DES_cblock *>mac, <DES_cblock *>mac, &secret.schedules[1], 0)
        DES_ecb_encrypt(<DES_cblock *>mac, <DES_cblock *>mac, &secret.schedules[2], 1)


cdef bytes shape_mac(Secret *secret, MacShape shape, CK_BYTE *mac):
    cdef CK_BYTE zeros[8]
    cdef bytes shaped = PyBytes_FromStringAndSize(<char *>mac, 8)
    cdef CK_BYTE *out = <CK_BYTE *>PyBytes_AS_STRING(shaped)
    cdef int index
    cdef const char *hexadecimal = b"0123456789ABCDEF"
    if shape == CUP_FINANCIAL:
        for index in range(4):
            out[2 * index] = hexadecimal[mac[index] >> 4]
            out[2 * index + 1] = hexadecimal[mac[index] & 15]
    elif shape == CUP_KEY_RESET:
        memset(zeros, 0, 8)
        host_block(secret, True, zeros)
        memcpy(&out[4], zeros, 4)
    return shaped


cdef Key find_mac_key(dict keys, str label, MacAlgorithm *algorithm):
    """A MAC_KEY; for a key reset also a PIN_KEY that is pending, since UnionPay has a new PIK prove itself by a MAC."""
    cdef Key key = find_key(keys, label)
    if key.cipher.host is NULL or key.cipher.host.family != DES or key.use != MAC_KEY and not (
        key.use == PIN_KEY and algorithm.shape == CUP_KEY_RESET and label.endswith("?pending")
    ):
        raise usage_error(key, MAC_KEY)
    if algorithm.number == 3 and key.cipher.host.length == 8:
        raise InvalidCommand("ISO 9797-1 algorithm 3 needs a double-length key")
    return key


cdef bytes mac_of(dict keys, str label, str name, bytes data):
    cdef MacAlgorithm algorithm
    cdef CK_BYTE mac[8]
    cdef Key key
    cdef Py_ssize_t length = bounded(data)
    find_mac_algorithm(name, &algorithm)
    key = find_mac_key(keys, label, &algorithm)
    compute_mac(key.cipher.host, algorithm, <const CK_BYTE *>PyBytes_AS_STRING(data), length, mac)
    return shape_mac(key.cipher.host, algorithm.shape, mac)


cdef int mac_with(Secret *secret, str algorithm, bytes data, CK_BYTE *mac) except -1:
    cdef MacAlgorithm chosen
    cdef Py_ssize_t length = bounded(data)
    find_mac_algorithm(algorithm, &chosen)
    if secret.family != DES or chosen.number == 3 and secret.length == 8:
        raise InvalidCommand("this algorithm needs another key")
    compute_mac(secret, chosen, <const CK_BYTE *>PyBytes_AS_STRING(data), length, mac)
    return 8
