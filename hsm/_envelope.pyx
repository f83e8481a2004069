# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""HPKE (RFC 9180) mode base, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-GCM: opening one message. See `_envelope.pyi`.

The private key stays in the token, which only computes the Diffie-Hellman secret; what follows from that secret (HKDF,
AES-GCM) runs here, in one locked page that is wiped after each envelope. OpenSSL's contexts for HMAC and AES hold what
is keyed in its ordinary heap while they run, and wipe it when they end.
"""

from hsm.errors import HsmError, InvalidCommand, KeyUsageError, MacMismatch

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy, memset

from hsm._core cimport (
    ENVELOPE,
    MAY_DECIPHER,
    Key,
    Token,
    TokenKey,
    bounded,
    check_not_inherited,
    find_key_for,
    locked_page,
    locked_page_free,
    unavailable,
)
from hsm._libcrypto cimport (
    EVP_MD,
    EVP_CIPHER,
    EVP_CIPHER_CTX,
    EVP_CIPHER_CTX_free,
    EVP_CIPHER_CTX_new,
    EVP_CipherInit_ex,
    EVP_CipherUpdate,
    EVP_sha256,
    OPENSSL_cleanse,
)
from hsm._libcrypto_ec cimport *
from hsm._pkcs11 cimport CK_BYTE, CK_RV, CK_ULONG, CKR_OK

cdef extern from "openssl/evp.h" nogil:
    enum:
        EVP_CTRL_GCM_SET_TAG
    const EVP_CIPHER *EVP_aes_128_gcm()
    const EVP_CIPHER *EVP_aes_256_gcm()
    int EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *context, int kind, int number, void *pointer)
    int EVP_CipherFinal_ex(EVP_CIPHER_CTX *context, unsigned char *output, int *output_length)

cdef extern from "openssl/hmac.h" nogil:
    ctypedef struct HMAC_CTX:
        pass
    HMAC_CTX *HMAC_CTX_new()
    void HMAC_CTX_free(HMAC_CTX *context)
    int HMAC_Init_ex(HMAC_CTX *context, const void *key, int length, const EVP_MD *digest, void *engine)
    int HMAC_Update(HMAC_CTX *context, const unsigned char *data, size_t length)
    int HMAC_Final(HMAC_CTX *context, unsigned char *mac, unsigned int *length)

cdef enum:
    POINT_BYTES = 65
    TAG_BYTES = 16

# Suite identifiers (RFC 9180, 4.1 and 5.1): KEM 0x0010, KDF 0x0001, and the AEAD, 0x0001 or 0x0002.
cdef const CK_BYTE *KEM_SUITE = b"KEM\x00\x10"
cdef const CK_BYTE *AES_128_SUITE = b"HPKE\x00\x10\x00\x01\x00\x01"
cdef const CK_BYTE *AES_256_SUITE = b"HPKE\x00\x10\x00\x01\x00\x02"

# What is secret while one envelope is opened.
cdef struct Secrets:
    CK_BYTE agreed[32]  # the Diffie-Hellman secret: an x coordinate
    CK_BYTE extracted[32]
    CK_BYTE shared[32]
    CK_BYTE key[32]
    CK_BYTE nonce[32]  # 12 bytes count
    CK_BYTE expanded[32]

cdef struct Envelope:
    CK_ULONG handle
    int key_length  # 16 or 32
    CK_BYTE points[130]  # the sender's ephemeral one, then ours: the KEM's context (4.1)
    const CK_BYTE *info
    size_t info_length
    const CK_BYTE *aad
    int aad_length
    const CK_BYTE *ciphertext
    int length  # without the tag
    CK_BYTE *plaintext

# One labelled input of HKDF (4): the suite's identifier and the label.
cdef struct Labelled:
    const CK_BYTE *suite
    size_t suite_length
    const char *label
    size_t label_length


cdef class Workspace:
    """What the envelopes of one batch use in turn; wiped at its end. Not shared between threads."""
    cdef EC_GROUP *curve
    cdef EC_POINT *point
    cdef HMAC_CTX *hmac
    cdef EVP_CIPHER_CTX *cipher
    cdef Secrets *secrets

    def __cinit__(self):
        self.secrets = <Secrets *>locked_page()
        self.curve = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1)
        self.hmac = HMAC_CTX_new()
        self.cipher = EVP_CIPHER_CTX_new()
        if self.curve is NULL or self.hmac is NULL or self.cipher is NULL:
            raise MemoryError
        self.point = EC_POINT_new(self.curve)
        if self.point is NULL:
            raise MemoryError

    def __dealloc__(self):
        EC_POINT_free(self.point)
        EC_GROUP_free(self.curve)
        HMAC_CTX_free(self.hmac)
        EVP_CIPHER_CTX_free(self.cipher)
        locked_page_free(self.secrets)


def open_envelopes(Token token not None, dict keys not None, items):
    """(key, AEAD, encapsulated key, info, associated data, ciphertext) -> plaintext, or MacMismatch.

    A third of a millisecond an item, without the GIL and without the token's lock: call it in a thread.
    """
    cdef list results = []
    cdef Workspace workspace
    cdef CK_ULONG session
    check_not_inherited()
    workspace = Workspace()
    session = token.take_signing_session()
    try:
        for label, aead, encapsulated, info, aad, ciphertext in items:
            try:
                results.append(open_one(workspace, token, session, find_envelope_key(keys, label), aead, encapsulated,
                                        info, aad, ciphertext))
            except HsmError as error:
                results.append(error)
    finally:
        token.signing.put(session)
    return results


cdef TokenKey find_envelope_key(dict keys, str label):
    cdef Key key = find_key_for(keys, label, ENVELOPE, MAY_DECIPHER)
    if not isinstance(key, TokenKey) or (<TokenKey>key).kind != "EC":
        raise KeyUsageError(f"key {label} is not an EC key of the token")
    return <TokenKey>key


cdef bytes open_one(Workspace workspace, Token token, CK_ULONG session, TokenKey key, int aead, bytes encapsulated,
                    bytes info, bytes aad, bytes ciphertext):
    cdef Envelope envelope
    cdef Py_ssize_t length = bounded(ciphertext) - TAG_BYTES
    cdef bytes ours, plaintext
    cdef CK_RV rv = CKR_OK
    cdef bint opened = False
    bounded(encapsulated)
    if aead not in (1, 2):
        raise InvalidCommand("the AEAD of an envelope is 1 (AES-128-GCM) or 2 (AES-256-GCM)")
    envelope.info_length = bounded(info)
    envelope.aad_length = <int>bounded(aad)
    if PyBytes_GET_SIZE(encapsulated) == POINT_BYTES and length >= 0:
        ours = key.public_point
        plaintext = PyBytes_FromStringAndSize(NULL, length)
        envelope.handle = key.cipher.handle
        envelope.key_length = 16 if aead == 1 else 32
        envelope.info = <const CK_BYTE *>PyBytes_AS_STRING(info)
        envelope.aad = <const CK_BYTE *>PyBytes_AS_STRING(aad)
        envelope.ciphertext = <const CK_BYTE *>PyBytes_AS_STRING(ciphertext)
        envelope.length = <int>length
        envelope.plaintext = <CK_BYTE *>PyBytes_AS_STRING(plaintext)
        memcpy(envelope.points, PyBytes_AS_STRING(encapsulated), POINT_BYTES)
        memcpy(envelope.points + POINT_BYTES, PyBytes_AS_STRING(ours), POINT_BYTES)
        with nogil:
            if is_on_curve(workspace, envelope.points):
                rv = token.agree(session, envelope.handle, envelope.points, workspace.secrets.agreed)
                opened = rv == CKR_OK and open_agreed(workspace, &envelope)
                OPENSSL_cleanse(workspace.secrets, sizeof(Secrets))
            if not opened:
                OPENSSL_cleanse(envelope.plaintext, length)
                ERR_clear_error()
    if rv != CKR_OK:
        raise unavailable("C_DeriveKey", rv)
    if not opened:
        raise MacMismatch("an envelope does not verify")
    return plaintext


cdef bint is_on_curve(Workspace workspace, const CK_BYTE *encoded) noexcept nogil:
    """Validation of the sender's key (7.1.4): 04 ‖ x ‖ y of a point of the curve, hence not infinity. A token need not
    check it, and with a point of another curve it would tell about its key."""
    return encoded[0] == 4 and EC_POINT_oct2point(workspace.curve, workspace.point, encoded, POINT_BYTES, NULL) == 1


cdef bint open_agreed(Workspace workspace, Envelope *envelope) noexcept nogil:
    """Decap, the key schedule of mode base and Open for the first message (4.1, 5.1, 5.2)."""
    cdef Secrets *secrets = workspace.secrets
    cdef const CK_BYTE *suite = AES_128_SUITE if envelope.key_length == 16 else AES_256_SUITE
    cdef CK_BYTE context[65]  # mode ‖ digest of the PSK's identifier ‖ digest of info
    context[0] = 0
    return (
        extract(workspace, labelled(KEM_SUITE, 5, b"eae_prk", 7), NULL, secrets.agreed, 32, secrets.extracted)
        and expand(workspace, labelled(KEM_SUITE, 5, b"shared_secret", 13), secrets.extracted, envelope.points, 130, 32,
                   secrets.shared)
        and extract(workspace, labelled(suite, 10, b"psk_id_hash", 11), NULL, NULL, 0, context + 1)
        and extract(workspace, labelled(suite, 10, b"info_hash", 9), NULL, envelope.info, envelope.info_length,
                    context + 33)
        and extract(workspace, labelled(suite, 10, b"secret", 6), secrets.shared, NULL, 0, secrets.extracted)
        and expand(workspace, labelled(suite, 10, b"key", 3), secrets.extracted, context, 65, envelope.key_length,
                   secrets.key)
        and expand(workspace, labelled(suite, 10, b"base_nonce", 10), secrets.extracted, context, 65, 12,
                   secrets.nonce)
        and decipher(workspace, envelope)
    )


cdef Labelled labelled(const CK_BYTE *suite, size_t suite_length, const char *label, size_t length) noexcept nogil:
    cdef Labelled made
    made.suite = suite
    made.suite_length = suite_length
    made.label = label
    made.label_length = length
    return made


cdef bint extract(Workspace workspace, Labelled what, const CK_BYTE *salt, const CK_BYTE *data, size_t length,
                  CK_BYTE *output) noexcept nogil:
    """LabeledExtract (4): HMAC-SHA-256 under the salt (32 bytes; NULL: the empty one, which is zeros to HMAC)."""
    cdef CK_BYTE zeros[32]
    if salt is NULL:
        memset(zeros, 0, 32)
        salt = zeros
    return (
        HMAC_Init_ex(workspace.hmac, salt, 32, EVP_sha256(), NULL) == 1
        and update_labels(workspace.hmac, what)
        and (length == 0 or HMAC_Update(workspace.hmac, data, length) == 1)
        and HMAC_Final(workspace.hmac, output, NULL) == 1
    )


cdef bint expand(Workspace workspace, Labelled what, const CK_BYTE *key, const CK_BYTE *context, size_t length,
                 int output_length, CK_BYTE *output) noexcept nogil:
    """LabeledExpand (4) to at most 32 bytes, hence one round of HKDF-Expand (RFC 5869, 2.3)."""
    cdef CK_BYTE frame[2]
    cdef CK_BYTE *expanded = workspace.secrets.expanded
    frame[0] = 0
    frame[1] = <CK_BYTE>output_length
    if not (
        HMAC_Init_ex(workspace.hmac, key, 32, EVP_sha256(), NULL) == 1
        and HMAC_Update(workspace.hmac, frame, 2) == 1
        and update_labels(workspace.hmac, what)
        and HMAC_Update(workspace.hmac, context, length) == 1
        and HMAC_Update(workspace.hmac, <const CK_BYTE *>b"\x01", 1) == 1
        and HMAC_Final(workspace.hmac, expanded, NULL) == 1
    ):
        return False
    memcpy(output, expanded, output_length)
    return True


cdef bint update_labels(HMAC_CTX *hmac, Labelled what) noexcept nogil:
    return (
        HMAC_Update(hmac, <const CK_BYTE *>b"HPKE-v1", 7) == 1
        and HMAC_Update(hmac, what.suite, what.suite_length) == 1
        and HMAC_Update(hmac, <const CK_BYTE *>what.label, what.label_length) == 1
    )


cdef bint decipher(Workspace workspace, Envelope *envelope) noexcept nogil:
    """AES-GCM (NIST SP 800-38D); the plaintext counts only if this is true."""
    cdef EVP_CIPHER_CTX *cipher = workspace.cipher
    cdef int written = 0
    cdef CK_BYTE nothing[16]
    return (
        EVP_CipherInit_ex(cipher, EVP_aes_128_gcm() if envelope.key_length == 16 else EVP_aes_256_gcm(), NULL,
                          workspace.secrets.key, workspace.secrets.nonce, 0) == 1
        and (envelope.aad_length == 0
             or EVP_CipherUpdate(cipher, NULL, &written, envelope.aad, envelope.aad_length) == 1)
        and (envelope.length == 0
             or EVP_CipherUpdate(cipher, envelope.plaintext, &written, envelope.ciphertext, envelope.length) == 1)
        and EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, TAG_BYTES,
                                <void *>(envelope.ciphertext + envelope.length)) == 1
        and EVP_CipherFinal_ex(cipher, nothing, &written) == 1
    )
