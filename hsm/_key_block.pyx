# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Key blocks and AES key wrap: the bytes. The typed face is `_key_block.pyi`; headers and policy are in `hsm.key_block`.

A block is header ‖ enciphered payload ‖ MAC; the payload is the key's length in bits (2 bytes), the key, random padding.
Its two keys come from the protection key:

- A, C (TR-31:2018, 5.3.1): by exclusive or with 45… and 4D…; triple DES in CBC from the first 8 bytes of the header,
  CBC-MAC of 4 bytes over header and ciphertext;
- B, D (X9.143:2022, 7.2.2 and 7.2.1): by CMAC in counter mode; CMAC over header and clear payload, which then is the
  initial vector of CBC with triple DES or AES;
- E (ISO 20038:2017): as D, but AES in counter mode from the MAC, so that the payload may have any length.
"""

from hsm.errors import HsmUnavailable, InvalidCommand, KeyBlockError, KeyUsageError

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy, memset

from hsm._core cimport (
    AES,
    DES,
    Family,
    HostKey,
    KEY_BLOCK,
    KEY_TRANSPORT,
    MAY_DECIPHER,
    MAY_ENCIPHER,
    Secret,
    Usage,
    check_not_inherited,
    discard_secret,
    host_block,
    host_cmac,
    new_secret,
    set_secret,
    usage_error,
)
from hsm._libcrypto cimport CRYPTO_memcmp, OPENSSL_cleanse
from hsm._pkcs11 cimport CK_BYTE

cdef enum:
    MAX_TEXT_BYTES = 9999  # what the four digits of a block's length can say
    MAX_KEY_BYTES = 64  # of a Secret
    LENGTH_BYTES = 2
    SEMIBLOCK = 8

# What the keys of a block are derived for (X9.143:2022, 7.2; ISO 20038:2017, 6.3, table 1).
cdef enum Purpose:
    FOR_CBC = 0
    FOR_MAC = 1
    FOR_COUNTER = 2

# How one version protects its payload.
cdef struct Method:
    bint variants  # keys are variants of the protection key; else they are derived
    bint counter  # AES in counter mode; else CBC
    Family family
    int block_length
    int mac_length


cdef class BlockKeys:
    """The two keys of one block."""
    cdef Secret *encryption
    cdef Secret *authentication

    def __cinit__(self):
        self.encryption = new_secret()
        self.authentication = new_secret()

    def __dealloc__(self):
        discard_secret(self.encryption)
        discard_secret(self.authentication)


cdef class Contents:
    """What a verified block holds, in locked memory, until it is known what key it may become."""
    cdef Secret *secret  # its value only; no family, no schedules
    cdef readonly int length

    def __cinit__(self):
        self.secret = new_secret()

    def __dealloc__(self):
        discard_secret(self.secret)

    def as_key(self, str label not None, usage, str kind not None, *, str mode not None):
        """A key of this value. Raises KeyBlockError if no such key has this length."""
        cdef HostKey key = HostKey(label, usage, kind, mode=mode)
        check_not_inherited()
        try:
            key.fill(self.secret.value, self.length)
        except InvalidCommand:
            raise not_verified() from None
        return key


cdef object not_verified():
    return KeyBlockError("the key block does not verify")


cdef int enforce(HostKey key, Usage usage, unsigned int wanted) except -1:
    if key.use != usage:
        raise usage_error(key, usage)
    if key.abilities & wanted != wanted:
        raise KeyUsageError(f"key {key.label} may not do this: its mode of use is {key.mode}")
    check_not_inherited()
    return 0


# --- wrapping and unwrapping -----------------------------------------------------------------------------------------

def unwrap(HostKey protection not None, bytes header not None, bytes body not None):
    """The contents of a block: of its header, as it stands, and of its payload and MAC as bytes. One error for whatever
    is wrong behind the header."""
    cdef CK_BYTE text[MAX_TEXT_BYTES]
    cdef Method method
    cdef BlockKeys keys
    cdef Contents contents
    cdef Py_ssize_t header_length = PyBytes_GET_SIZE(header), length
    enforce(protection, KEY_BLOCK, MAY_DECIPHER)
    choose_method(header, protection, &method)
    length = PyBytes_GET_SIZE(body) - method.mac_length
    if not fits(&method, header_length, length):
        raise not_verified()
    keys = make_keys(&method, protection.cipher.host)
    contents = Contents()
    memcpy(text, PyBytes_AS_STRING(header), header_length)
    memcpy(&text[header_length], PyBytes_AS_STRING(body), length)
    try:
        if not (
            open_payload(&method, keys, text, header_length, length, <const CK_BYTE *>PyBytes_AS_STRING(body) + length)
            and take_key(contents, &text[header_length], length)
        ):
            raise not_verified()
    finally:
        OPENSSL_cleanse(text, sizeof(text))
    return contents


def wrap(HostKey protection not None, bytes header not None, HostKey key not None, bytes padding not None):
    """Enciphered payload and MAC for a header. The header's length field and the padding are the caller's affair."""
    cdef CK_BYTE text[MAX_TEXT_BYTES]
    cdef CK_BYTE mac[16]
    cdef Method method
    cdef BlockKeys keys
    cdef Secret *secret = key.cipher.host
    cdef Py_ssize_t header_length = PyBytes_GET_SIZE(header), padding_length = PyBytes_GET_SIZE(padding)
    cdef Py_ssize_t length = LENGTH_BYTES + secret.length + padding_length
    cdef CK_BYTE *payload
    enforce(protection, KEY_BLOCK, MAY_ENCIPHER)
    choose_method(header, protection, &method)
    if not secret.length or not fits(&method, header_length, length):
        raise KeyBlockError("this header and key do not make a key block")
    keys = make_keys(&method, protection.cipher.host)
    memcpy(text, PyBytes_AS_STRING(header), header_length)
    payload = &text[header_length]
    try:
        payload[0] = <CK_BYTE>(secret.length * 8 >> 8)
        payload[1] = <CK_BYTE>(secret.length * 8 & 255)
        memcpy(&payload[LENGTH_BYTES], secret.value, secret.length)
        memcpy(&payload[LENGTH_BYTES + secret.length], PyBytes_AS_STRING(padding), padding_length)
        close_payload(&method, keys, text, header_length, length, mac)
        return (PyBytes_FromStringAndSize(<char *>payload, length)
                + PyBytes_FromStringAndSize(<char *>mac, method.mac_length))
    finally:
        OPENSSL_cleanse(text, sizeof(text))


cdef int choose_method(bytes header, HostKey protection, Method *method) except -1:
    cdef CK_BYTE version = header[0] if PyBytes_GET_SIZE(header) else 0
    method.variants = version in (b'A', b'C')
    method.counter = version == b'E'
    if version in (b'A', b'B', b'C'):
        method.family = DES
        method.block_length = 8
        method.mac_length = 4 if method.variants else 8
    elif version in (b'D', b'E'):
        method.family = AES
        method.block_length = method.mac_length = 16
    else:
        raise KeyBlockError("no such version of key blocks")
    if protection.cipher.host.family != method.family or protection.cipher.host.length < 16:
        raise KeyBlockError("this version of key blocks is not protected by such a key: A, B and C take triple DES, "
                            "D and E take AES")
    return 0


cdef bint fits(Method *method, Py_ssize_t header_length, Py_ssize_t length) noexcept nogil:
    """Whether header and payload have lengths this version can have."""
    return (
        header_length >= 16 and header_length % method.block_length == 0 and length > LENGTH_BYTES
        and header_length + 2 * (length + method.mac_length) <= MAX_TEXT_BYTES
        and (method.counter or length % method.block_length == 0)
    )


cdef BlockKeys make_keys(Method *method, Secret *protection):
    cdef BlockKeys keys = BlockKeys()
    if not (
        vary(protection, 0x45, keys.encryption) and vary(protection, 0x4D, keys.authentication)
        if method.variants else
        derive(protection, FOR_COUNTER if method.counter else FOR_CBC, keys.encryption)
        and derive(protection, FOR_MAC, keys.authentication)
    ):
        raise HsmUnavailable("no cipher for a key block")
    return keys


cdef bint vary(Secret *protection, CK_BYTE mask, Secret *made) noexcept nogil:
    """TR-31:2018, 5.3.1: every byte of the protection key exclusive-or the mask."""
    cdef CK_BYTE value[24]
    cdef int index
    cdef bint done
    for index in range(protection.length):
        value[index] = protection.value[index] ^ mask
    done = set_secret(made, DES, value, protection.length)
    OPENSSL_cleanse(value, sizeof(value))
    return done


cdef bint derive(Secret *protection, Purpose purpose, Secret *made) noexcept nogil:
    """X9.143:2022, 7.2: CMACs of counter, purpose, algorithm and length, as many as the key needs."""
    cdef CK_BYTE question[8]
    cdef CK_BYTE value[32]
    cdef int step = block_bytes(protection), offset = 0
    cdef bint done
    memset(question, 0, 8)
    question[2] = <CK_BYTE>purpose
    # 0 and 1: triple DES of two and three keys; 2, 3, 4: AES-128, -192, -256
    question[5] = <CK_BYTE>(protection.length // 8 - (2 if protection.family == DES else 0))
    question[6] = <CK_BYTE>(protection.length * 8 >> 8)
    question[7] = <CK_BYTE>(protection.length * 8 & 255)
    while offset < protection.length:
        question[0] += 1
        host_cmac(protection, question, 8, &value[offset])
        offset += step
    done = set_secret(made, protection.family, value, protection.length)
    OPENSSL_cleanse(value, sizeof(value))
    return done


cdef bint open_payload(Method *method, BlockKeys keys, CK_BYTE *text, Py_ssize_t header_length, Py_ssize_t length,
                       const CK_BYTE *mac) noexcept:
    """Decipher the payload behind the header in place; whether the MAC is right."""
    cdef CK_BYTE expected[16]
    cdef bint right
    if method.variants:
        cbc_mac(keys.authentication, text, header_length + length, expected)
        right = CRYPTO_memcmp(expected, mac, method.mac_length) == 0
        if right:
            cbc_decipher(keys.encryption, text, &text[header_length], length)
    else:
        if method.counter:
            counter_mode(keys.encryption, mac, &text[header_length], length)
        else:
            cbc_decipher(keys.encryption, mac, &text[header_length], length)
        host_cmac(keys.authentication, text, header_length + length, expected)
        right = CRYPTO_memcmp(expected, mac, method.mac_length) == 0
    OPENSSL_cleanse(expected, sizeof(expected))
    return right


cdef void close_payload(Method *method, BlockKeys keys, CK_BYTE *text, Py_ssize_t header_length, Py_ssize_t length,
                        CK_BYTE *mac) noexcept:
    """Encipher the payload behind the header in place, and make the MAC."""
    if method.variants:
        cbc_encipher(keys.encryption, text, &text[header_length], length)
        cbc_mac(keys.authentication, text, header_length + length, mac)
        return
    host_cmac(keys.authentication, text, header_length + length, mac)
    if method.counter:
        counter_mode(keys.encryption, mac, &text[header_length], length)
    else:
        cbc_encipher(keys.encryption, mac, &text[header_length], length)


cdef bint take_key(Contents contents, const CK_BYTE *payload, Py_ssize_t length) noexcept nogil:
    """Take the key out of a clear payload whose MAC is right; false if its length is none a key has."""
    cdef int bits = payload[0] << 8 | payload[1]
    if bits % 8 or not 0 < bits <= 8 * MAX_KEY_BYTES or LENGTH_BYTES + bits // 8 > length:
        return False
    contents.length = bits // 8
    memcpy(contents.secret.value, &payload[LENGTH_BYTES], contents.length)
    return True


# --- modes of operation, in place ------------------------------------------------------------------------------------

cdef inline int block_bytes(Secret *secret) noexcept nogil:
    return 8 if secret.family == DES else 16


cdef void cbc_encipher(Secret *secret, const CK_BYTE *start, CK_BYTE *data, Py_ssize_t length) noexcept nogil:
    cdef const CK_BYTE *before = start
    cdef Py_ssize_t offset = 0
    cdef int size = block_bytes(secret), index
    while offset < length:
        for index in range(size):
            data[offset + index] ^= before[index]
        host_block(secret, True, &data[offset])
        before = &data[offset]
        offset += size


cdef void cbc_decipher(Secret *secret, const CK_BYTE *start, CK_BYTE *data, Py_ssize_t length) noexcept nogil:
    """From the last block to the first: each one needs the ciphertext before it."""
    cdef const CK_BYTE *before
    cdef int size = block_bytes(secret), index
    cdef Py_ssize_t offset = length - size
    while offset >= 0:
        before = start
        if offset:
            before = &data[offset - size]
        host_block(secret, False, &data[offset])
        for index in range(size):
            data[offset + index] ^= before[index]
        offset -= size


cdef void counter_mode(Secret *secret, const CK_BYTE *start, CK_BYTE *data, Py_ssize_t length) noexcept nogil:
    """AES in counter mode, either way; the whole first block is the counter."""
    cdef CK_BYTE counter[16]
    cdef CK_BYTE stream[16]
    cdef Py_ssize_t offset, index
    memcpy(counter, start, 16)
    for offset in range(0, length, 16):
        memcpy(stream, counter, 16)
        host_block(secret, True, stream)
        for index in range(min(16, length - offset)):
            data[offset + index] ^= stream[index]
        index = 15
        counter[index] += 1
        while counter[index] == 0 and index > 0:
            index -= 1
            counter[index] += 1
    OPENSSL_cleanse(stream, sizeof(stream))


cdef void cbc_mac(Secret *secret, const CK_BYTE *data, Py_ssize_t length, CK_BYTE *mac) noexcept nogil:
    """CBC-MAC with triple DES over whole blocks: 8 bytes."""
    cdef Py_ssize_t offset
    cdef int index
    memset(mac, 0, 8)
    for offset in range(0, length, 8):
        for index in range(8):
            mac[index] ^= data[offset + index]
        host_block(secret, True, mac)


# --- AES key wrap (RFC 3394) -----------------------------------------------------------------------------------------

def aes_key_wrap(HostKey transport not None, HostKey key not None):
    """A key under an AES KEY_TRANSPORT key (RFC 3394, 2.2.1): 8 bytes longer. The key has 16 to 64 bytes, in eights."""
    cdef CK_BYTE work[MAX_KEY_BYTES + SEMIBLOCK]
    cdef int length = key.cipher.host.length
    enforce(transport, KEY_TRANSPORT, MAY_ENCIPHER)
    if transport.cipher.host.family != AES or length < 16 or length % SEMIBLOCK:
        raise InvalidCommand("AES key wrap takes an AES key, and under it keys of 16 or more bytes, in eights")
    memset(work, 0xA6, SEMIBLOCK)
    memcpy(&work[SEMIBLOCK], key.cipher.host.value, length)
    wrap_rounds(transport.cipher.host, True, work, length // SEMIBLOCK)
    return PyBytes_FromStringAndSize(<char *>work, length + SEMIBLOCK)


def aes_key_unwrap(HostKey transport not None, bytes wrapped not None):
    """What `aes_key_wrap` wrapped (RFC 3394, 2.2.2). Raises KeyBlockError if it was changed or is under another key."""
    cdef CK_BYTE work[MAX_KEY_BYTES + SEMIBLOCK]
    cdef CK_BYTE expected[SEMIBLOCK]
    cdef int length
    cdef Contents contents = Contents()
    enforce(transport, KEY_TRANSPORT, MAY_DECIPHER)
    if transport.cipher.host.family != AES:
        raise InvalidCommand("AES key wrap takes an AES key")
    if not 16 + SEMIBLOCK <= PyBytes_GET_SIZE(wrapped) <= MAX_KEY_BYTES + SEMIBLOCK or len(wrapped) % SEMIBLOCK:
        raise not_verified()
    length = <int>PyBytes_GET_SIZE(wrapped) - SEMIBLOCK
    memset(expected, 0xA6, SEMIBLOCK)
    memcpy(work, PyBytes_AS_STRING(wrapped), length + SEMIBLOCK)
    try:
        wrap_rounds(transport.cipher.host, False, work, length // SEMIBLOCK)
        if CRYPTO_memcmp(work, expected, SEMIBLOCK) != 0:
            raise not_verified()
        memcpy(contents.secret.value, &work[SEMIBLOCK], length)
        contents.length = length
    finally:
        OPENSSL_cleanse(work, sizeof(work))
    return contents


cdef void wrap_rounds(Secret *secret, bint encrypt, CK_BYTE *work, int count) noexcept nogil:
    """Six rounds over `count` semiblocks behind the check value, forwards to wrap, backwards to unwrap."""
    cdef CK_BYTE block[16]
    cdef int step, number
    for step in range(6 * count):
        number = step + 1 if encrypt else 6 * count - step  # at most 48: one byte of the counter
        memcpy(block, work, SEMIBLOCK)
        memcpy(&block[SEMIBLOCK], &work[SEMIBLOCK * ((number - 1) % count + 1)], SEMIBLOCK)
        if not encrypt:
            block[7] ^= <CK_BYTE>number
        host_block(secret, encrypt, block)
        if encrypt:
            block[7] ^= <CK_BYTE>number
        memcpy(work, block, SEMIBLOCK)
        memcpy(&work[SEMIBLOCK * ((number - 1) % count + 1)], &block[SEMIBLOCK], SEMIBLOCK)
    OPENSSL_cleanse(block, sizeof(block))


# --- what a key is worth ---------------------------------------------------------------------------------------------

def independent_parts(HostKey key not None):
    """How many keys a DES key really is, parity bits aside: 1 where neighbours are equal (what is left is single DES),
    2 where the first and the third are."""
    cdef Secret *secret = key.cipher.host
    check_not_inherited()
    if secret.family != DES:
        raise InvalidCommand("only DES keys have parts")
    if secret.length == 8 or same_part(secret, 0, 8):
        return 1
    if secret.length == 16 or same_part(secret, 0, 16):
        return 2
    return 1 if same_part(secret, 8, 16) else 3


cdef bint same_part(Secret *secret, int left, int right) noexcept nogil:
    cdef CK_BYTE difference = 0
    cdef int index
    for index in range(8):
        difference |= (secret.value[left + index] ^ secret.value[right + index]) & 0xFE
    return difference == 0
