"""The part of OpenSSL's libcrypto that curves need: big numbers, points, digests in pieces, the secure heap.

What is secret is a number of the secure heap (`BN_secure_new`, `BN_CTX_secure_new`), freed by `BN_clear_free`.
"""

from hsm._libcrypto cimport EVP_MD

cdef extern from "openssl/crypto.h" nogil:
    int CRYPTO_secure_malloc_init(size_t size, size_t least)
    int CRYPTO_secure_malloc_initialized()
    int CRYPTO_secure_malloc_done()

cdef extern from "openssl/err.h" nogil:
    void ERR_clear_error()

cdef extern from "openssl/bn.h" nogil:
    ctypedef struct BIGNUM:
        pass
    ctypedef struct BN_CTX:
        pass
    enum:
        BN_FLG_CONSTTIME
    BN_CTX *BN_CTX_new()
    BN_CTX *BN_CTX_secure_new()
    void BN_CTX_free(BN_CTX *context)
    void BN_CTX_start(BN_CTX *context)
    void BN_CTX_end(BN_CTX *context)
    BIGNUM *BN_CTX_get(BN_CTX *context)
    BIGNUM *BN_secure_new()
    BIGNUM *BN_new()
    void BN_clear_free(BIGNUM *number)
    void BN_free(BIGNUM *number)
    BIGNUM *BN_bin2bn(const unsigned char *bytes, int length, BIGNUM *number)
    int BN_bn2binpad(const BIGNUM *number, unsigned char *bytes, int length)
    int BN_is_zero(const BIGNUM *number)
    int BN_is_negative(const BIGNUM *number)
    int BN_cmp(const BIGNUM *left, const BIGNUM *right)
    int BN_add(BIGNUM *result, const BIGNUM *left, const BIGNUM *right)
    int BN_add_word(BIGNUM *number, unsigned long word)
    int BN_mod_add(BIGNUM *result, const BIGNUM *left, const BIGNUM *right, const BIGNUM *modulus, BN_CTX *context)
    int BN_mod_sub(BIGNUM *result, const BIGNUM *left, const BIGNUM *right, const BIGNUM *modulus, BN_CTX *context)
    int BN_mod_mul(BIGNUM *result, const BIGNUM *left, const BIGNUM *right, const BIGNUM *modulus, BN_CTX *context)
    BIGNUM *BN_mod_inverse(BIGNUM *result, const BIGNUM *number, const BIGNUM *modulus, BN_CTX *context)
    int BN_priv_rand_range(BIGNUM *number, const BIGNUM *range)
    void BN_set_flags(BIGNUM *number, int flags)

cdef extern from "openssl/obj_mac.h" nogil:
    enum:
        NID_sm2
        NID_X9_62_prime256v1

cdef extern from "openssl/ec.h" nogil:
    ctypedef struct EC_GROUP:
        pass
    ctypedef struct EC_POINT:
        pass
    ctypedef struct ECDSA_SIG:
        pass
    enum point_conversion_form_t:
        POINT_CONVERSION_UNCOMPRESSED
    EC_GROUP *EC_GROUP_new_by_curve_name(int nid)
    void EC_GROUP_free(EC_GROUP *group)
    const BIGNUM *EC_GROUP_get0_order(const EC_GROUP *group)
    const EC_POINT *EC_GROUP_get0_generator(const EC_GROUP *group)
    EC_POINT *EC_POINT_new(const EC_GROUP *group)
    void EC_POINT_free(EC_POINT *point)
    void EC_POINT_clear_free(EC_POINT *point)
    int EC_POINT_oct2point(const EC_GROUP *group, EC_POINT *point, const unsigned char *bytes, size_t length,
                           BN_CTX *context)
    size_t EC_POINT_point2oct(const EC_GROUP *group, const EC_POINT *point, point_conversion_form_t form,
                              unsigned char *bytes, size_t length, BN_CTX *context)
    int EC_POINT_get_affine_coordinates(const EC_GROUP *group, const EC_POINT *point, BIGNUM *x, BIGNUM *y,
                                        BN_CTX *context)
    int EC_POINT_set_compressed_coordinates(const EC_GROUP *group, EC_POINT *point, const BIGNUM *x, int y_bit,
                                            BN_CTX *context)
    int EC_POINT_mul(const EC_GROUP *group, EC_POINT *result, const BIGNUM *generator_times, const EC_POINT *point,
                     const BIGNUM *point_times, BN_CTX *context)
    ECDSA_SIG *ECDSA_SIG_new()
    void ECDSA_SIG_free(ECDSA_SIG *signature)
    int ECDSA_SIG_set0(ECDSA_SIG *signature, BIGNUM *r, BIGNUM *s)
    const BIGNUM *ECDSA_SIG_get0_r(const ECDSA_SIG *signature)
    const BIGNUM *ECDSA_SIG_get0_s(const ECDSA_SIG *signature)
    int i2d_ECDSA_SIG(const ECDSA_SIG *signature, unsigned char **output)
    ECDSA_SIG *d2i_ECDSA_SIG(ECDSA_SIG **signature, const unsigned char **data, long length)

cdef extern from "openssl/evp.h" nogil:
    ctypedef struct EVP_MD_CTX:
        pass
    EVP_MD_CTX *EVP_MD_CTX_new()
    void EVP_MD_CTX_free(EVP_MD_CTX *context)
    int EVP_Digest(const void *data, size_t length, unsigned char *digest, unsigned int *digest_length,
                   const EVP_MD *kind, void *engine)
    int EVP_DigestInit_ex(EVP_MD_CTX *context, const EVP_MD *digest, void *engine)
    int EVP_DigestUpdate(EVP_MD_CTX *context, const void *data, size_t length)
    int EVP_DigestFinal_ex(EVP_MD_CTX *context, unsigned char *digest, unsigned int *length)
