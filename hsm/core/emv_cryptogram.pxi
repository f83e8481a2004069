# Application cryptograms and the issuer's responses (EMV 4.3, Book 2, 8.1 and 8.2).

cdef bytes cryptogram_diversifier(str derivation, bytes atc, bytes un):
    """What the derivation of a cryptogram's session key takes of ATC and unpredictable number."""
    wanted_length(atc, 2, "the ATC")
    if un:
        wanted_length(un, 4, "the unpredictable number")
    if derivation == "card-key":
        return b""
    if derivation == "mastercard-skd":
        wanted_length(un, 4, "the unpredictable number")
        return atc + un
    if derivation in ("emv-common", "emv2000-tree-4-8", "emv2000-tree-2-16"):
        return atc
    raise InvalidCommand("there is no such session key derivation for cryptograms")


cdef int cryptogram_under(Secret *session, int padding, bytes data, CK_BYTE *cryptogram) except -1:
    """8.1.2 and A1.2.1: ISO/IEC 9797-1 algorithm 3 with padding method 2; Visa's older versions pad by method 1."""
    if not bounded(data):
        raise InvalidCommand("a cryptogram is made over data")
    if padding == 1:
        mac_with(session, "iso9797-alg3-pad1", data, cryptogram)
    elif padding == 2:
        mac_with(session, "iso9797-alg3-pad2", data, cryptogram)
    else:
        raise InvalidCommand("the padding of a cryptogram is method 1 or 2 of ISO/IEC 9797-1")
    return 0


cdef int check_response(int method, bytes code, bytes proprietary) except -1:
    if method == 1:
        wanted_length(code, 2, "the authorization response code")
        wanted_length(proprietary, 0, "proprietary data of ARPC method 1")
    elif method == 2:
        wanted_length(code, 4, "the card status update")
        if bounded(proprietary) > 8:
            raise InvalidCommand("proprietary authentication data has at most 8 bytes")
    else:
        raise InvalidCommand("the method of an ARPC is 1 or 2")
    return 0


cdef bytes arpc_under(Secret *session, int method, bytes cryptogram, bytes code, bytes proprietary):
    """8.2.1: E(cryptogram xor response code ‖ zeros); 8.2.2: the first 4 bytes of the MAC over all three."""
    cdef CK_BYTE block[8]
    cdef const CK_BYTE *response
    wanted_length(cryptogram, 8, "the cryptogram")
    check_response(method, code, proprietary)
    if method == 2:
        mac_with(session, "iso9797-alg3-pad2", cryptogram + code + proprietary, block)
        return PyBytes_FromStringAndSize(<char *>block, 4)
    response = <const CK_BYTE *>PyBytes_AS_STRING(code)
    memcpy(block, PyBytes_AS_STRING(cryptogram), 8)
    block[0] ^= response[0]
    block[1] ^= response[1]
    host_block(session, True, block)
    return PyBytes_FromStringAndSize(<char *>block, 8)
