# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Encryption of data under data keys, in blocks of ECB that this module chains. The typed face is `_data.pyi`.

All chaining runs over the key's own kept-open ECB context, which keeps no state between items. What `reencipher`
deciphers is in a buffer on the stack, 512 bytes at a time, and is enciphered in place. Where libcrypto fails, nothing
is given out: it would be clear.
"""

from hsm.errors import HsmError, HsmUnavailable, InvalidCommand, PaddingError

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy, memset

from hsm._core cimport (
    AES, DATA_KEY, DES, MAY_DECIPHER, MAY_ENCIPHER, SM4, HostKey, Secret, bounded, check_not_inherited,
    find_host_key_for, host_block,
)
from hsm._libcrypto cimport EVP_CipherUpdate, OPENSSL_cleanse
from hsm._pkcs11 cimport CK_BYTE

cdef enum:
    CHUNK_BYTES = 512

cdef enum Mode:
    ECB
    CBC
    CTR

cdef enum Padding:
    UNPADDED
    ONE_BIT  # ISO/IEC 9797-1 method 2: 80, then zeros
    COUNTED  # PKCS #7 (RFC 5652, 6.3): n bytes of value n

# One direction of one mode under one key, with what it carries from block to block.
cdef struct Chain:
    Secret *secret
    Mode mode
    int size  # of a block
    CK_BYTE vector[16]

cdef dict MODES = {"ecb": ECB, "cbc": CBC, "ctr": CTR}
cdef dict PADDINGS = {"none": UNPADDED, "iso9797-2": ONE_BIT, "pkcs7": COUNTED}


# --- commands ---------------------------------------------------------------------------------------------------------

def encipher(dict keys not None, items):
    """See `hsm.commands.data.encipher`."""
    cdef list results = []
    check_not_inherited()
    for label, mode, padding, iv, data in items:
        try:
            results.append(encipher_one(keys, label, mode, padding, iv, data))
        except HsmError as error:
            results.append(error)
    return results


def decipher(dict keys not None, items):
    """See `hsm.commands.data.decipher`."""
    cdef list results = []
    check_not_inherited()
    for label, mode, padding, iv, data in items:
        try:
            results.append(decipher_one(keys, label, mode, padding, iv, data))
        except HsmError as error:
            results.append(error)
    return results


def reencipher(dict keys not None, items):
    """See `hsm.commands.data.reencipher`."""
    cdef list results = []
    check_not_inherited()
    for source, source_mode, source_iv, target, target_mode, target_iv, data in items:
        try:
            results.append(
                reencipher_one(keys, source, source_mode, source_iv, target, target_mode, target_iv, data))
        except HsmError as error:
            results.append(error)
    return results


cdef bytes encipher_one(dict keys, str label, str mode, str padding, bytes iv, bytes data):
    cdef Chain chain
    cdef HostKey key = open_chain(&chain, keys, label, mode, iv, MAY_ENCIPHER)
    cdef Padding method = find_padding(padding, chain.mode)
    cdef Py_ssize_t length = bounded(data), padded = length
    cdef bytes output
    cdef CK_BYTE *pointer
    if method != UNPADDED:
        padded = (length // chain.size + 1) * chain.size
    check_whole(&chain, padded)
    output = PyBytes_FromStringAndSize(NULL, padded)
    bounded(output)  # what is enciphered can be deciphered
    pointer = <CK_BYTE *>PyBytes_AS_STRING(output)
    memcpy(pointer, PyBytes_AS_STRING(data), length)
    if method == ONE_BIT:
        memset(pointer + length, 0, padded - length)
        pointer[length] = 0x80
    elif method == COUNTED:
        memset(pointer + length, <int>(padded - length), padded - length)
    if not run_chain(&chain, True, pointer, padded):
        raise failed(pointer, padded)
    return output


cdef bytes decipher_one(dict keys, str label, str mode, str padding, bytes iv, bytes data):
    cdef Chain chain
    cdef HostKey key = open_chain(&chain, keys, label, mode, iv, MAY_DECIPHER)
    cdef Padding method = find_padding(padding, chain.mode)
    cdef Py_ssize_t length = bounded(data)
    cdef bytes output
    cdef CK_BYTE *pointer
    cdef int kept
    check_whole(&chain, length)
    if method != UNPADDED and length == 0:
        raise PaddingError(WRONG_PADDING)
    output = PyBytes_FromStringAndSize(NULL, length)
    pointer = <CK_BYTE *>PyBytes_AS_STRING(output)
    memcpy(pointer, PyBytes_AS_STRING(data), length)
    if not run_chain(&chain, False, pointer, length):
        raise failed(pointer, length)
    if method == UNPADDED:
        return output
    kept = without_padding(method, pointer + length - chain.size, chain.size)
    if kept < 0:
        OPENSSL_cleanse(pointer, length)
        raise PaddingError(WRONG_PADDING)
    return output[:length - chain.size + kept]


cdef bytes reencipher_one(dict keys, str source, str source_mode, bytes source_iv, str target, str target_mode,
                          bytes target_iv, bytes data):
    cdef Chain decipher_chain
    cdef Chain encipher_chain
    cdef HostKey source_key = open_chain(&decipher_chain, keys, source, source_mode, source_iv, MAY_DECIPHER)
    cdef HostKey target_key = open_chain(&encipher_chain, keys, target, target_mode, target_iv, MAY_ENCIPHER)
    cdef Py_ssize_t length = bounded(data), offset = 0, here
    cdef CK_BYTE clear[CHUNK_BYTES]
    cdef bytes output
    if decipher_chain.mode == CTR or encipher_chain.mode == CTR:
        raise InvalidCommand("data is not reenciphered from or to CTR")
    check_whole(&decipher_chain, length)
    check_whole(&encipher_chain, length)
    output = PyBytes_FromStringAndSize(NULL, length)
    while offset < length:
        here = length - offset if length - offset < CHUNK_BYTES else CHUNK_BYTES
        memcpy(clear, PyBytes_AS_STRING(data) + offset, here)
        if not (run_chain(&decipher_chain, False, clear, here) and run_chain(&encipher_chain, True, clear, here)):
            raise failed(clear, CHUNK_BYTES)
        memcpy(PyBytes_AS_STRING(output) + offset, clear, here)
        offset += here
    return output


cdef object failed(CK_BYTE *data, Py_ssize_t length):
    """The error for a cipher that did not run; wipes what may be clear."""
    OPENSSL_cleanse(data, length)
    return HsmUnavailable("libcrypto does not encipher")


# --- what an item says ------------------------------------------------------------------------------------------------

cdef str WRONG_PADDING = "the data does not end in this padding"


cdef HostKey open_chain(Chain *chain, dict keys, str label, str mode, bytes iv, unsigned int wanted):
    """Set a chain up and return its key, to be held while the chain is used."""
    cdef HostKey key
    cdef Secret *secret
    found = MODES.get(mode)
    if found is None:
        raise InvalidCommand("no such mode of encryption")
    chain.mode = <Mode><int>found
    if chain.mode == CTR:
        wanted = MAY_ENCIPHER | MAY_DECIPHER  # each direction is the other
    key = find_host_key_for(keys, label, DATA_KEY, wanted)
    secret = key.cipher.host
    if secret.family == AES or secret.family == SM4:
        chain.size = 16
    elif secret.family == DES and secret.length > 8 and chain.mode != CTR:
        chain.size = 8
    else:
        raise InvalidCommand("this mode of encryption needs another kind of key, or a longer one")
    chain.secret = secret
    if bounded(iv) != (0 if chain.mode == ECB else chain.size):
        raise InvalidCommand("the IV of CBC and CTR is one block long, that of ECB is empty")
    memcpy(chain.vector, PyBytes_AS_STRING(iv), PyBytes_GET_SIZE(iv))
    return key


cdef Padding find_padding(str padding, Mode mode) except *:
    found = PADDINGS.get(padding)
    if found is None or mode == CTR and found != UNPADDED:
        raise InvalidCommand("no such padding in this mode of encryption")
    return <Padding><int>found


cdef int check_whole(Chain *chain, Py_ssize_t length) except -1:
    if chain.mode != CTR and length % chain.size:
        raise InvalidCommand("the data is not a whole number of blocks")
    return 0


# --- chaining (NIST SP 800-38A), in place -----------------------------------------------------------------------------

cdef bint run_chain(Chain *chain, bint encrypt, CK_BYTE *data, Py_ssize_t length) noexcept nogil:
    """Whole blocks, but for the end of CTR. May be called again with what follows. False: libcrypto failed."""
    if chain.mode == ECB:
        return run_blocks(chain.secret, encrypt, data, length)
    if chain.mode == CTR:
        return run_counter(chain, data, length)
    return encipher_cbc(chain, data, length) if encrypt else decipher_cbc(chain, data, length)


cdef bint run_blocks(Secret *secret, bint encrypt, CK_BYTE *data, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t offset
    cdef int done = 0
    if secret.family == DES:
        for offset in range(0, length, 8):
            host_block(secret, encrypt, data + offset)
        return True
    return length == 0 or EVP_CipherUpdate(
        secret.encipher if encrypt else secret.decipher, data, &done, data, <int>length) == 1 and done == length


cdef inline void add_bytes(CK_BYTE *data, const CK_BYTE *other, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(length):
        data[index] ^= other[index]


cdef bint encipher_cbc(Chain *chain, CK_BYTE *data, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t offset = 0
    while offset < length:
        add_bytes(data + offset, chain.vector, chain.size)
        if not run_blocks(chain.secret, True, data + offset, chain.size):
            return False
        memcpy(chain.vector, data + offset, chain.size)
        offset += chain.size
    return True


cdef bint decipher_cbc(Chain *chain, CK_BYTE *data, Py_ssize_t length) noexcept nogil:
    cdef CK_BYTE before[CHUNK_BYTES + 16]  # the vector, then the chunk's own blocks as they came
    cdef Py_ssize_t offset = 0, here
    while offset < length:
        here = length - offset if length - offset < CHUNK_BYTES else CHUNK_BYTES
        memcpy(before, chain.vector, chain.size)
        memcpy(before + chain.size, data + offset, here)
        if not run_blocks(chain.secret, False, data + offset, here):
            return False
        add_bytes(data + offset, before, here)
        memcpy(chain.vector, before + here, chain.size)
        offset += here
    return True


cdef bint run_counter(Chain *chain, CK_BYTE *data, Py_ssize_t length) noexcept nogil:
    cdef CK_BYTE stream[CHUNK_BYTES]
    cdef Py_ssize_t offset = 0, here, index
    while offset < length:
        here = length - offset if length - offset < CHUNK_BYTES else CHUNK_BYTES
        for index in range(0, here, 16):
            memcpy(stream + index, chain.vector, 16)
            count_up(chain.vector)
        if not run_blocks(chain.secret, True, stream, (here + 15) & ~<Py_ssize_t>15):
            return False
        add_bytes(data + offset, stream, here)
        offset += here
    OPENSSL_cleanse(stream, sizeof(stream))
    return True


cdef void count_up(CK_BYTE *counter) noexcept nogil:
    """All 128 bits as one big-endian number."""
    cdef int index = 15
    counter[15] += 1
    while counter[index] == 0 and index > 0:
        index -= 1
        counter[index] += 1


cdef int without_padding(Padding method, const CK_BYTE *block, int size) noexcept nogil:
    """How many bytes of the last block are data, or -1. Always looks at the whole block."""
    cdef int index, count = 0, wrong
    if method == COUNTED:
        count = block[size - 1]
        wrong = (count == 0) | (count > size)
        for index in range(size):
            wrong |= (index >= size - count) & (block[index] != count)
        return -1 if wrong else size - count
    wrong = 1
    for index in range(size):  # the last byte that is not zero must be 80
        if block[index] != 0:
            count = index
            wrong = block[index] != 0x80
    return -1 if wrong else count
