# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Envelope encryption: data under data keys, data keys under a KEY_WRAPPING key of the token. See `commands/data_key.py`.

A data key is clear in one locked page, for the length of one item. OpenSSL's context of it lies in OpenSSL's heap and is
wiped when it is freed.
"""

from hsm.errors import HsmError, HsmUnavailable, InvalidCommand, MacMismatch

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from hsm._core cimport (
    KEY_WRAPPING,
    LOCKED_PAGE_BYTES,
    MAY_DECIPHER,
    MAY_ENCIPHER,
    Key,
    Token,
    TokenKey,
    bounded,
    find_key_for,
    gcm_error,
    gcm_seal,
    gcm_unseal,
    locked_page,
    unavailable,
)
from hsm._libcrypto cimport EVP_CIPHER, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, OPENSSL_cleanse, RAND_bytes
from hsm._pkcs11 cimport CK_BYTE, CK_RV, CK_ULONG


cdef extern from "openssl/evp.h" nogil:
    enum:
        EVP_CTRL_AEAD_GET_TAG
        EVP_CTRL_AEAD_SET_TAG
    const EVP_CIPHER *EVP_aes_256_gcm()
    int EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *context, int command, int number, void *pointer)
    int EVP_CipherInit_ex(EVP_CIPHER_CTX *context, const EVP_CIPHER *cipher, void *engine, const unsigned char *key,
                          const unsigned char *iv, int encrypt)
    int EVP_CipherUpdate(EVP_CIPHER_CTX *context, unsigned char *output, int *output_length,
                         const unsigned char *data, int length)
    int EVP_CipherFinal_ex(EVP_CIPHER_CTX *context, unsigned char *output, int *output_length)

cdef enum:
    KEY_BYTES = 32
    NONCE_BYTES = 12
    TAG_BYTES = 16
    OVERHEAD = 28
    WRAPPED_BYTES = 60

cdef bytes WRAPPING_CONTEXT = b"payswitch data key, version 1"

# The clear data key of the item at hand; used with the GIL and the token's lock, or the GIL alone.
cdef CK_BYTE *page = <CK_BYTE *>locked_page()


cdef CK_ULONG wrapping_key(dict keys, str label, unsigned int wanted) except 0:
    cdef Key key = find_key_for(keys, label, KEY_WRAPPING, wanted)
    if not isinstance(key, TokenKey) or not key.cipher.handle:
        raise InvalidCommand(f"key {label} is not in the token")
    return key.cipher.handle


cdef bytes wrap(Token token, CK_ULONG handle):
    """The key in `page`, wrapped. The caller wipes."""
    cdef bytes wrapped = PyBytes_FromStringAndSize(NULL, WRAPPED_BYTES)
    cdef CK_RV rv
    token.enter()
    try:
        rv = gcm_seal(&token.work, handle, page, KEY_BYTES, <const CK_BYTE *>PyBytes_AS_STRING(WRAPPING_CONTEXT),
                      PyBytes_GET_SIZE(WRAPPING_CONTEXT), <CK_BYTE *>PyBytes_AS_STRING(wrapped))
    finally:
        token.leave()
    if rv != 0:
        raise unavailable("C_Encrypt", rv)
    return wrapped


cdef int unwrap(Token token, CK_ULONG handle, bytes wrapped) except -1:
    """The data key, into `page`. The caller wipes. Raises MacMismatch."""
    cdef CK_RV rv
    if bounded(wrapped) != WRAPPED_BYTES:
        raise MacMismatch("a wrapped data key is broken")
    token.enter()
    try:
        rv = gcm_unseal(&token.work, handle, <const CK_BYTE *>PyBytes_AS_STRING(wrapped), WRAPPED_BYTES,
                        <const CK_BYTE *>PyBytes_AS_STRING(WRAPPING_CONTEXT), PyBytes_GET_SIZE(WRAPPING_CONTEXT), page)
    finally:
        token.leave()
    if rv != 0:
        raise gcm_error(rv)
    return 0


cdef object each(items, one):
    """Run `one(*item)` per item; its HsmError takes the item's place."""
    cdef list results = []
    for item in items:
        try:
            results.append(one(item))
        except HsmError as error:
            results.append(error)
        finally:
            OPENSSL_cleanse(page, LOCKED_PAGE_BYTES)
    return results


def make(Token token not None, dict keys not None, items):
    """See `commands.data_key.make_data_keys`."""
    def one(item):
        (label,) = item
        cdef CK_ULONG handle = wrapping_key(keys, label, MAY_ENCIPHER)
        if RAND_bytes(page, KEY_BYTES) != 1:
            raise HsmUnavailable("no randomness")
        return wrap(token, handle)

    return each(items, one)


def rewrap(Token token not None, dict keys not None, items):
    """See `commands.data_key.rewrap_data_keys`."""
    def one(item):
        source, target, wrapped = item
        cdef CK_ULONG source_handle = wrapping_key(keys, source, MAY_DECIPHER)
        cdef CK_ULONG target_handle = wrapping_key(keys, target, MAY_ENCIPHER)
        unwrap(token, source_handle, wrapped)
        return wrap(token, target_handle)

    return each(items, one)


def seal(Token token not None, dict keys not None, items):
    """See `commands.data_key.seal_with_data_keys`."""
    def one(item):
        label, wrapped, data, context = item
        cdef Py_ssize_t length = bounded(data)
        bounded(context)
        unwrap(token, wrapping_key(keys, label, MAY_DECIPHER), wrapped)
        return gcm_encipher(data, length, context)

    return each(items, one)


def unseal(Token token not None, dict keys not None, items):
    """See `commands.data_key.unseal_with_data_keys`."""
    def one(item):
        label, wrapped, sealed, context = item
        cdef Py_ssize_t length = bounded(sealed)
        bounded(context)
        if length < OVERHEAD:
            raise MacMismatch("sealed data is cut short")
        unwrap(token, wrapping_key(keys, label, MAY_DECIPHER), wrapped)
        return gcm_decipher(sealed, length, context)

    return each(items, one)


cdef bytes gcm_encipher(bytes data, Py_ssize_t length, bytes context):
    """nonce ‖ ciphertext ‖ tag. Random nonces: the vault changes its data key long before 2^32 uses (SP 800-38D, 8.3)."""
    cdef bytes sealed = PyBytes_FromStringAndSize(NULL, length + OVERHEAD)
    cdef CK_BYTE *output = <CK_BYTE *>PyBytes_AS_STRING(sealed)
    cdef EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new()
    cdef bint done
    try:
        done = RAND_bytes(output, NONCE_BYTES) == 1 and run_gcm(
            cipher, output, data, 0, length, context, output + NONCE_BYTES, True) and EVP_CIPHER_CTX_ctrl(
            cipher, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, output + NONCE_BYTES + length) == 1
    finally:
        EVP_CIPHER_CTX_free(cipher)
    if not done:
        raise HsmUnavailable("AES-GCM failed")
    return sealed


cdef bytes gcm_decipher(bytes sealed, Py_ssize_t length, bytes context):
    cdef bytes data = PyBytes_FromStringAndSize(NULL, length - OVERHEAD)
    cdef EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new()
    cdef bint done
    try:
        done = run_gcm(cipher, <const CK_BYTE *>PyBytes_AS_STRING(sealed), sealed, NONCE_BYTES, length - OVERHEAD, context,
                       <CK_BYTE *>PyBytes_AS_STRING(data), False)
    finally:
        EVP_CIPHER_CTX_free(cipher)
    if not done:
        raise MacMismatch("sealed data does not verify")
    return data


cdef bint run_gcm(EVP_CIPHER_CTX *cipher, const CK_BYTE *nonce, bytes data, Py_ssize_t offset, Py_ssize_t length,
                  bytes context, CK_BYTE *output, bint encrypt):
    """Under the key in `page`. To decipher, the tag is taken from behind the data."""
    cdef const CK_BYTE *source = <const CK_BYTE *>PyBytes_AS_STRING(data) + offset
    cdef const CK_BYTE *tag = source + length
    cdef CK_BYTE nothing[16]
    cdef int written = 0
    if cipher is NULL or EVP_CipherInit_ex(cipher, EVP_aes_256_gcm(), NULL, page, nonce, encrypt) != 1:
        return False
    if EVP_CipherUpdate(cipher, NULL, &written, <const CK_BYTE *>PyBytes_AS_STRING(context),
                        <int>PyBytes_GET_SIZE(context)) != 1:
        return False
    if length and EVP_CipherUpdate(cipher, output, &written, source, <int>length) != 1:
        return False
    if not encrypt and EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, <void *>tag) != 1:
        return False
    return EVP_CipherFinal_ex(cipher, nothing, &written) == 1
