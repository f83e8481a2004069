# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""SM2 signatures (GB/T 32918.2-2016) and encryption (GB/T 32918.4-2016) with keys on the host, and SM3. See `_sm.pyi`.

One operation takes about half a millisecond and runs without the GIL. Where secrets lie: `core/sm2.pxi`. Multiplication
of points takes the same time for every scalar; the few divisions and inversions of a signature are not made to, and run
on numbers blinded by a random factor, so their time says nothing about key or nonce.
"""

from hsm.errors import HsmError, HsmUnavailable, InvalidCommand, KeyUsageError, MacMismatch, SignatureMismatch

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from hsm._core cimport (
    ENVELOPE,
    MAY_DECIPHER,
    MAY_GENERATE,
    SIGNING,
    SM2,
    HostKey,
    Usage,
    bounded,
    check_not_inherited,
    find_host_key_for,
    locked_page,
    locked_page_free,
    read_sm2_scalar,
    sm2_curve,
)
from hsm._libcrypto cimport CRYPTO_memcmp, EVP_sm3, OPENSSL_cleanse
from hsm._libcrypto_ec cimport *
from hsm._pkcs11 cimport CK_BYTE

cdef enum:
    POINT_BYTES = 65  # 04 ‖ x ‖ y
    DIGEST_BYTES = 32
    OVERHEAD_BYTES = POINT_BYTES + DIGEST_BYTES  # of a ciphertext: C1 ‖ C3
    MAX_IDENTIFIER_BYTES = 8191  # its length in bits is written into two bytes
    MAX_SIGNATURE_BYTES = 72
    TRIES = 16  # a nonce is refused with a probability of about 2^-256
    RELEASE_FROM_BYTES = 16384  # of a digest

# a ‖ b ‖ xG ‖ yG (GB/T 32918.5-2016)
cdef bytes CURVE = bytes.fromhex(
    "FFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFC"
    "28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93"
    "32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7"
    "BC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0"
)
cdef const CK_BYTE *CURVE_BYTES = <const CK_BYTE *>PyBytes_AS_STRING(CURVE)

cdef enum Outcome:
    DONE
    REFUSED  # the input is not what it should be
    FAILED  # OpenSSL has no memory or no randomness


cdef class Workspace:
    """What the operations of one batch use in turn; wiped at its end. Not shared between threads."""
    cdef const EC_GROUP *curve
    cdef const BIGNUM *order
    cdef BN_CTX *numbers
    cdef EC_POINT *point
    cdef EC_POINT *other
    cdef EVP_MD_CTX *digest

    def __cinit__(self):
        check_not_inherited()
        self.curve = sm2_curve()
        self.order = EC_GROUP_get0_order(self.curve)
        self.numbers = BN_CTX_secure_new()
        self.point = EC_POINT_new(self.curve)
        self.other = EC_POINT_new(self.curve)
        self.digest = EVP_MD_CTX_new()
        if self.numbers is NULL or self.point is NULL or self.other is NULL or self.digest is NULL:
            raise MemoryError

    def __dealloc__(self):
        EVP_MD_CTX_free(self.digest)
        EC_POINT_clear_free(self.other)
        EC_POINT_clear_free(self.point)
        BN_CTX_free(self.numbers)


# --- keys -------------------------------------------------------------------------------------------------------------

def generate_key(str label not None, usage, *, str mode="N"):
    """A random SM2 key (GB/T 32918.1-2016, 6.1), a HostKey."""
    cdef HostKey key = HostKey(label, usage, "SM2", mode=mode)
    cdef const BIGNUM *order = EC_GROUP_get0_order(sm2_curve())
    cdef BIGNUM *scalar = BN_secure_new()
    cdef CK_BYTE *page = NULL
    try:
        page = <CK_BYTE *>locked_page()
        if scalar is NULL:
            raise MemoryError
        for _ in range(TRIES):
            if BN_priv_rand_range(scalar, order) != 1 or BN_bn2binpad(scalar, page, 32) != 32:
                raise failure()
            if read_sm2_scalar(page, scalar):
                key.fill(page, 32)
                return key
        raise failure()
    finally:
        BN_clear_free(scalar)
        locked_page_free(page)


def public_key(HostKey key not None):
    """The public point: 04 ‖ x ‖ y, 65 bytes."""
    check_not_inherited()
    return <bytes>sm2_key(key).cipher.host.public_point[:POINT_BYTES]


cdef HostKey sm2_key(HostKey key):
    if key.cipher.host.family != SM2:
        raise KeyUsageError(f"key {key.label} is not an SM2 key")
    return key


cdef HostKey find_sm2_key(dict keys, str label, Usage usage, unsigned int wanted):
    return sm2_key(find_host_key_for(keys, label, usage, wanted))


cdef object failure():
    ERR_clear_error()
    return HsmUnavailable("OpenSSL could not do its part of SM2")


# --- digests ----------------------------------------------------------------------------------------------------------

def digests(items):
    """(data,) -> SM3 (GB/T 32905-2016), 32 bytes."""
    cdef list results = []
    for (data,) in items:
        try:
            results.append(digest_of(data))
        except HsmError as error:
            results.append(error)
    return results


cdef bytes digest_of(bytes data):
    cdef Py_ssize_t length = bounded(data)
    cdef CK_BYTE digest[DIGEST_BYTES]
    cdef const CK_BYTE *pointer = <const CK_BYTE *>PyBytes_AS_STRING(data)
    cdef int done
    if length >= RELEASE_FROM_BYTES:
        with nogil:
            done = EVP_Digest(pointer, length, digest, NULL, EVP_sm3(), NULL)
    else:
        done = EVP_Digest(pointer, length, digest, NULL, EVP_sm3(), NULL)
    if done != 1:
        raise failure()
    return PyBytes_FromStringAndSize(<char *>digest, DIGEST_BYTES)


def identity_digest(bytes point not None, bytes identifier not None):
    """ZA of a public point and an identifier (GB/T 32918.2-2016, 5.5)."""
    cdef CK_BYTE digest[DIGEST_BYTES]
    cdef Workspace workspace = Workspace()
    check_lengths(point, identifier)
    if not digest_identity(workspace.digest, <const CK_BYTE *>PyBytes_AS_STRING(point),
                           <const CK_BYTE *>PyBytes_AS_STRING(identifier), PyBytes_GET_SIZE(identifier), digest):
        raise failure()
    return PyBytes_FromStringAndSize(<char *>digest, DIGEST_BYTES)


def message_digest(bytes point not None, bytes identifier not None, bytes data not None):
    """e, what is signed: SM3(ZA ‖ data) (GB/T 32918.2-2016, 6.1, A2)."""
    cdef CK_BYTE digest[DIGEST_BYTES]
    cdef Workspace workspace = Workspace()
    bounded(data)
    check_lengths(point, identifier)
    if not digest_message(workspace.digest, <const CK_BYTE *>PyBytes_AS_STRING(point), identifier, data, digest):
        raise failure()
    return PyBytes_FromStringAndSize(<char *>digest, DIGEST_BYTES)


cdef int check_lengths(bytes point, bytes identifier) except -1:
    if point is None or identifier is None:
        raise TypeError("bytes are expected, not None")
    if PyBytes_GET_SIZE(point) != POINT_BYTES or point[0] != 4:
        raise InvalidCommand("an SM2 public key is a point of 65 bytes, 04 ‖ x ‖ y")
    if PyBytes_GET_SIZE(identifier) > MAX_IDENTIFIER_BYTES:
        raise InvalidCommand(f"an SM2 identifier has at most {MAX_IDENTIFIER_BYTES} bytes")
    return 0


cdef bint digest_identity(EVP_MD_CTX *digest, const CK_BYTE *point, const CK_BYTE *identifier, size_t length,
                          CK_BYTE *output) noexcept nogil:
    cdef CK_BYTE bits[2]
    bits[0] = <CK_BYTE>(8 * length >> 8)
    bits[1] = <CK_BYTE>(8 * length)
    return (
        EVP_DigestInit_ex(digest, EVP_sm3(), NULL) == 1
        and EVP_DigestUpdate(digest, bits, 2) == 1
        and EVP_DigestUpdate(digest, identifier, length) == 1
        and EVP_DigestUpdate(digest, CURVE_BYTES, 128) == 1
        and EVP_DigestUpdate(digest, point + 1, 64) == 1
        and EVP_DigestFinal_ex(digest, output, NULL) == 1
    )


cdef bint digest_message(EVP_MD_CTX *digest, const CK_BYTE *point, bytes identifier, bytes data, CK_BYTE *output):
    cdef const CK_BYTE *name = <const CK_BYTE *>PyBytes_AS_STRING(identifier)
    cdef const CK_BYTE *pointer = <const CK_BYTE *>PyBytes_AS_STRING(data)
    cdef size_t name_length = PyBytes_GET_SIZE(identifier), length = PyBytes_GET_SIZE(data)
    cdef bint done
    with nogil:
        done = (
            digest_identity(digest, point, name, name_length, output)
            and EVP_DigestInit_ex(digest, EVP_sm3(), NULL) == 1
            and EVP_DigestUpdate(digest, output, DIGEST_BYTES) == 1
            and EVP_DigestUpdate(digest, pointer, length) == 1
            and EVP_DigestFinal_ex(digest, output, NULL) == 1
        )
    return done


# --- signatures (GB/T 32918.2-2016) -----------------------------------------------------------------------------------

def sign(dict keys not None, items):
    """(key, identifier, data) -> signature, DER of (r, s) (GM/T 0009-2012, 7.3)."""
    cdef Workspace workspace = Workspace()
    cdef list results = []
    for label, identifier, data in items:
        try:
            results.append(sign_one(workspace, find_sm2_key(keys, label, SIGNING, MAY_GENERATE), identifier, data))
        except HsmError as error:
            results.append(error)
    return results


cdef bytes sign_one(Workspace workspace, HostKey key, bytes identifier, bytes data):
    cdef CK_BYTE digest[DIGEST_BYTES]
    cdef CK_BYTE numbers[64]
    cdef const CK_BYTE *scalar = key.cipher.host.value
    cdef bint signed
    bounded(data)
    check_lengths(public_key(key), identifier)
    signed = digest_message(workspace.digest, key.cipher.host.public_point, identifier, data, digest)
    if signed:
        with nogil:
            BN_CTX_start(workspace.numbers)
            signed = make_signature(workspace, scalar, digest, numbers)
            BN_CTX_end(workspace.numbers)
    if not signed:
        raise failure()
    return encode_signature(numbers)


cdef bint make_signature(Workspace workspace, const CK_BYTE *scalar, const CK_BYTE *digest,
                         CK_BYTE *signature) noexcept nogil:
    """Section 6.1. With s = (1 + d)⁻¹ (k - r·d) = (1 + d)⁻¹ (k + r) - r; all but the multiplication k·G is blinded."""
    cdef BN_CTX *context = workspace.numbers
    cdef const BIGNUM *order = workspace.order
    cdef BIGNUM *private = BN_CTX_get(context)
    cdef BIGNUM *message = BN_CTX_get(context)
    cdef BIGNUM *nonce = BN_CTX_get(context)
    cdef BIGNUM *blinding = BN_CTX_get(context)
    cdef BIGNUM *r = BN_CTX_get(context)
    cdef BIGNUM *s = BN_CTX_get(context)
    cdef BIGNUM *work = BN_CTX_get(context)
    cdef int tries
    if (
        work is NULL or not read_sm2_scalar(scalar, private) or BN_add_word(private, 1) != 1
        or BN_bin2bn(digest, DIGEST_BYTES, message) is NULL
    ):
        return False
    for tries in range(TRIES):
        if not (draw(nonce, order) and draw(blinding, order)):
            return False
        if not (
            EC_POINT_mul(workspace.curve, workspace.point, nonce, NULL, NULL, context) == 1
            and EC_POINT_get_affine_coordinates(workspace.curve, workspace.point, work, NULL, context) == 1
            and BN_mod_add(r, message, work, order, context) == 1
            and BN_add(work, r, nonce) == 1
        ):
            return False
        if BN_is_zero(r) or BN_cmp(work, order) == 0:
            continue
        BN_set_flags(work, BN_FLG_CONSTTIME)
        if not (
            BN_mod_mul(work, private, blinding, order, context) == 1
            and BN_mod_inverse(work, work, order, context) is not NULL
            and BN_mod_mul(nonce, nonce, blinding, order, context) == 1
            and BN_mod_mul(s, r, blinding, order, context) == 1
            and BN_mod_add(s, s, nonce, order, context) == 1
            and BN_mod_mul(s, s, work, order, context) == 1
            and BN_mod_sub(s, s, r, order, context) == 1
        ):
            return False
        if not BN_is_zero(s):
            return BN_bn2binpad(r, signature, 32) == 32 and BN_bn2binpad(s, signature + 32, 32) == 32
    return False


cdef bint draw(BIGNUM *number, const BIGNUM *order) noexcept nogil:
    """A random number from 1 to n - 1."""
    cdef int tries
    for tries in range(TRIES):
        if BN_priv_rand_range(number, order) != 1:
            return False
        if not BN_is_zero(number):
            return True
    return False


cdef bytes encode_signature(const CK_BYTE *numbers):
    cdef ECDSA_SIG *signature = ECDSA_SIG_new()
    cdef BIGNUM *r = BN_bin2bn(numbers, 32, NULL)
    cdef BIGNUM *s = BN_bin2bn(numbers + 32, 32, NULL)
    try:
        if signature is NULL or r is NULL or s is NULL or ECDSA_SIG_set0(signature, r, s) != 1:
            raise MemoryError
        r = s = NULL  # the signature owns them now
        return der(signature)
    finally:
        BN_free(r)
        BN_free(s)
        ECDSA_SIG_free(signature)


cdef bytes der(ECDSA_SIG *signature):
    """Of numbers from 0 to n - 1; b"" for others."""
    cdef CK_BYTE encoded[MAX_SIGNATURE_BYTES]
    cdef CK_BYTE *end = encoded
    cdef int length = i2d_ECDSA_SIG(signature, NULL)
    if not 0 < length <= MAX_SIGNATURE_BYTES:
        return b""
    i2d_ECDSA_SIG(signature, &end)
    return PyBytes_FromStringAndSize(<char *>encoded, length)


def verify(items):
    """(public point, identifier, data, signature in DER) -> None, or SignatureMismatch."""
    cdef Workspace workspace = Workspace()
    cdef list results = []
    for point, identifier, data, signature in items:
        try:
            verify_one(workspace, point, identifier, data, signature)
            results.append(None)
        except HsmError as error:
            results.append(error)
    return results


cdef int verify_one(Workspace workspace, bytes point, bytes identifier, bytes data, bytes encoded) except -1:
    cdef CK_BYTE digest[DIGEST_BYTES]
    cdef const CK_BYTE *start
    cdef ECDSA_SIG *signature
    cdef Outcome outcome = REFUSED
    bounded(data)
    bounded(encoded)
    check_lengths(point, identifier)
    if not read_point(workspace, <const CK_BYTE *>PyBytes_AS_STRING(point)):
        raise InvalidCommand("an SM2 public key is a point of its curve")
    if not digest_message(workspace.digest, <const CK_BYTE *>PyBytes_AS_STRING(point), identifier, data, digest):
        raise failure()
    start = <const CK_BYTE *>PyBytes_AS_STRING(encoded)
    signature = d2i_ECDSA_SIG(NULL, &start, PyBytes_GET_SIZE(encoded))
    try:
        if signature is not NULL and der(signature) == encoded:  # d2i takes BER as well, and what follows
            with nogil:
                BN_CTX_start(workspace.numbers)
                outcome = check_signature(workspace, digest, signature)
                BN_CTX_end(workspace.numbers)
    finally:
        ECDSA_SIG_free(signature)
        ERR_clear_error()
    if outcome == FAILED:
        raise failure()
    if outcome == REFUSED:
        raise SignatureMismatch("a signature does not verify")
    return 0


cdef bint read_point(Workspace workspace, const CK_BYTE *encoded) noexcept nogil:
    """65 bytes into `workspace.point`; False if they are no point of the curve (GB/T 32918.1-2016, 6.2)."""
    return encoded[0] == 4 and EC_POINT_oct2point(
        workspace.curve, workspace.point, encoded, POINT_BYTES, workspace.numbers) == 1


cdef Outcome check_signature(Workspace workspace, const CK_BYTE *digest, ECDSA_SIG *signature) noexcept nogil:
    """Section 7.1, with the public key in `workspace.point`."""
    cdef BN_CTX *context = workspace.numbers
    cdef const BIGNUM *order = workspace.order
    cdef const BIGNUM *r = ECDSA_SIG_get0_r(signature)
    cdef const BIGNUM *s = ECDSA_SIG_get0_s(signature)
    cdef BIGNUM *message = BN_CTX_get(context)
    cdef BIGNUM *work = BN_CTX_get(context)
    if not (in_range(r, order) and in_range(s, order)):
        return REFUSED
    if work is NULL or BN_bin2bn(digest, DIGEST_BYTES, message) is NULL or BN_mod_add(work, r, s, order, context) != 1:
        return FAILED
    if BN_is_zero(work):
        return REFUSED
    if EC_POINT_mul(workspace.curve, workspace.other, s, workspace.point, work, context) != 1:
        return FAILED
    if EC_POINT_get_affine_coordinates(workspace.curve, workspace.other, work, NULL, context) != 1:
        return REFUSED  # the point at infinity
    if BN_mod_add(work, message, work, order, context) != 1:
        return FAILED
    return DONE if BN_cmp(work, r) == 0 else REFUSED


cdef bint in_range(const BIGNUM *number, const BIGNUM *order) noexcept nogil:
    return not BN_is_negative(number) and not BN_is_zero(number) and BN_cmp(number, order) < 0


# --- encryption (GB/T 32918.4-2016) -----------------------------------------------------------------------------------

def encipher(items):
    """(public point, plaintext) -> C1 (65) ‖ C3 (32) ‖ C2."""
    cdef Workspace workspace = Workspace()
    cdef list results = []
    for point, plaintext in items:
        try:
            results.append(encipher_one(workspace, point, plaintext))
        except HsmError as error:
            results.append(error)
    return results


cdef bytes encipher_one(Workspace workspace, bytes point, bytes plaintext):
    cdef Py_ssize_t length = bounded(plaintext)
    cdef bytes output
    cdef const CK_BYTE *data = <const CK_BYTE *>PyBytes_AS_STRING(plaintext)
    cdef CK_BYTE *ciphertext
    cdef bint done
    check_lengths(point, b"")
    if length == 0:
        raise InvalidCommand("SM2 enciphers one byte or more")
    if not read_point(workspace, <const CK_BYTE *>PyBytes_AS_STRING(point)):
        ERR_clear_error()
        raise InvalidCommand("an SM2 public key is a point of its curve")
    output = PyBytes_FromStringAndSize(NULL, OVERHEAD_BYTES + length)
    ciphertext = <CK_BYTE *>PyBytes_AS_STRING(output)
    with nogil:
        BN_CTX_start(workspace.numbers)
        done = make_ciphertext(workspace, data, length, ciphertext)
        BN_CTX_end(workspace.numbers)
    if not done:
        raise failure()
    return output


cdef bint make_ciphertext(Workspace workspace, const CK_BYTE *data, Py_ssize_t length,
                          CK_BYTE *ciphertext) noexcept nogil:
    """Section 6.1, with the public key in `workspace.point`."""
    cdef BIGNUM *nonce = BN_CTX_get(workspace.numbers)
    cdef CK_BYTE shared[64]
    cdef Outcome outcome = FAILED
    cdef int tries
    if nonce is NULL:
        return False
    for tries in range(TRIES):
        if not (
            draw(nonce, workspace.order)
            and EC_POINT_mul(workspace.curve, workspace.other, nonce, NULL, NULL, workspace.numbers) == 1
            and EC_POINT_point2oct(workspace.curve, workspace.other, POINT_CONVERSION_UNCOMPRESSED, ciphertext,
                                   POINT_BYTES, workspace.numbers) == POINT_BYTES
            and share_point(workspace, nonce, shared)
        ):
            break
        outcome = mask(workspace.digest, shared, data, length, ciphertext + OVERHEAD_BYTES)
        if outcome == DONE and not digest_plaintext(workspace.digest, shared, data, length, ciphertext + POINT_BYTES):
            outcome = FAILED
        if outcome != REFUSED:
            break
    OPENSSL_cleanse(shared, sizeof(shared))
    return outcome == DONE


def decipher(dict keys not None, items):
    """(key, C1 ‖ C3 ‖ C2) -> plaintext, or MacMismatch."""
    cdef Workspace workspace = Workspace()
    cdef list results = []
    for label, ciphertext in items:
        try:
            results.append(decipher_one(workspace, find_sm2_key(keys, label, ENVELOPE, MAY_DECIPHER), ciphertext))
        except HsmError as error:
            results.append(error)
    return results


cdef bytes decipher_one(Workspace workspace, HostKey key, bytes ciphertext):
    cdef Py_ssize_t length = bounded(ciphertext) - OVERHEAD_BYTES
    cdef bytes output
    cdef const CK_BYTE *data = <const CK_BYTE *>PyBytes_AS_STRING(ciphertext)
    cdef const CK_BYTE *scalar = key.cipher.host.value
    cdef CK_BYTE *plaintext
    cdef Outcome outcome = REFUSED
    if length > 0:
        output = PyBytes_FromStringAndSize(NULL, length)
        plaintext = <CK_BYTE *>PyBytes_AS_STRING(output)
        with nogil:
            BN_CTX_start(workspace.numbers)
            outcome = open_ciphertext(workspace, scalar, data, length, plaintext)
            BN_CTX_end(workspace.numbers)
            if outcome != DONE:
                OPENSSL_cleanse(plaintext, length)
    if outcome == FAILED:
        raise failure()
    if outcome == REFUSED:
        ERR_clear_error()
        raise MacMismatch("an SM2 ciphertext does not verify")
    return output


cdef Outcome open_ciphertext(Workspace workspace, const CK_BYTE *scalar, const CK_BYTE *ciphertext, Py_ssize_t length,
                             CK_BYTE *plaintext) noexcept nogil:
    """Section 7.1. The whole of it runs before C3 is compared, in constant time."""
    cdef BIGNUM *private = BN_CTX_get(workspace.numbers)
    cdef CK_BYTE shared[64]
    cdef CK_BYTE digest[DIGEST_BYTES]
    cdef Outcome outcome
    if private is NULL or not read_sm2_scalar(scalar, private):
        return FAILED
    if not read_point(workspace, ciphertext):
        return REFUSED
    outcome = FAILED
    if share_point(workspace, private, shared):
        outcome = mask(workspace.digest, shared, ciphertext + OVERHEAD_BYTES, length, plaintext)
    if outcome == DONE:
        if not digest_plaintext(workspace.digest, shared, plaintext, length, digest):
            outcome = FAILED
        elif CRYPTO_memcmp(digest, ciphertext + POINT_BYTES, DIGEST_BYTES) != 0:
            outcome = REFUSED
    OPENSSL_cleanse(shared, sizeof(shared))
    OPENSSL_cleanse(digest, sizeof(digest))
    return outcome


cdef bint share_point(Workspace workspace, const BIGNUM *scalar, CK_BYTE *shared) noexcept nogil:
    """x2 ‖ y2 of scalar · `workspace.point`. The cofactor is 1, so no point of the curve but infinity is refused."""
    cdef BIGNUM *x = BN_CTX_get(workspace.numbers)
    cdef BIGNUM *y = BN_CTX_get(workspace.numbers)
    return (
        y is not NULL
        and EC_POINT_mul(workspace.curve, workspace.other, NULL, workspace.point, scalar, workspace.numbers) == 1
        and EC_POINT_get_affine_coordinates(workspace.curve, workspace.other, x, y, workspace.numbers) == 1
        and BN_bn2binpad(x, shared, 32) == 32 and BN_bn2binpad(y, shared + 32, 32) == 32
    )


cdef Outcome mask(EVP_MD_CTX *digest, const CK_BYTE *shared, const CK_BYTE *data, Py_ssize_t length,
                  CK_BYTE *output) noexcept nogil:
    """Data exclusive or the key stream KDF(x2 ‖ y2) (section 5.4.3). REFUSED if the stream is all zeros."""
    cdef CK_BYTE block[DIGEST_BYTES]
    cdef CK_BYTE counter[4]
    cdef CK_BYTE any_bit = 0
    cdef Py_ssize_t offset = 0
    cdef int index
    cdef unsigned int number = 0
    while offset < length:
        number += 1
        for index in range(4):
            counter[index] = <CK_BYTE>(number >> 8 * (3 - index))
        if not (
            EVP_DigestInit_ex(digest, EVP_sm3(), NULL) == 1 and EVP_DigestUpdate(digest, shared, 64) == 1
            and EVP_DigestUpdate(digest, counter, 4) == 1 and EVP_DigestFinal_ex(digest, block, NULL) == 1
        ):
            OPENSSL_cleanse(block, DIGEST_BYTES)
            return FAILED
        for index in range(<int>min(length - offset, DIGEST_BYTES)):
            any_bit |= block[index]
            output[offset + index] = data[offset + index] ^ block[index]
        offset += DIGEST_BYTES
    OPENSSL_cleanse(block, DIGEST_BYTES)
    return DONE if any_bit else REFUSED


cdef bint digest_plaintext(EVP_MD_CTX *digest, const CK_BYTE *shared, const CK_BYTE *plaintext, Py_ssize_t length,
                           CK_BYTE *output) noexcept nogil:
    """C3: SM3(x2 ‖ plaintext ‖ y2)."""
    return (
        EVP_DigestInit_ex(digest, EVP_sm3(), NULL) == 1
        and EVP_DigestUpdate(digest, shared, 32) == 1
        and EVP_DigestUpdate(digest, plaintext, length) == 1
        and EVP_DigestUpdate(digest, shared + 32, 32) == 1
        and EVP_DigestFinal_ex(digest, output, NULL) == 1
    )
