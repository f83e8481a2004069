"""The part of OpenSSL's libcrypto the command core uses: DES, ciphers, HMAC, randomness, wiping, comparison.

Low-level DES because its schedules can lie in memory of ours; AES and SM4 through EVP, whose code takes the same time for
all keys and data.
"""

cdef extern from "openssl/des.h" nogil:
    ctypedef unsigned char DES_cblock[8]
    ctypedef struct DES_key_schedule:
        pass
    void DES_set_odd_parity(DES_cblock *key)
    void DES_set_key_unchecked(DES_cblock *key, DES_key_schedule *schedule)
    void DES_ecb_encrypt(DES_cblock *data, DES_cblock *output, DES_key_schedule *schedule, int encrypt)
    void DES_ecb3_encrypt(DES_cblock *data, DES_cblock *output, DES_key_schedule *first, DES_key_schedule *second,
                          DES_key_schedule *third, int encrypt)
    unsigned int DES_cbc_cksum(const unsigned char *data, DES_cblock *output, long length, DES_key_schedule *schedule,
                               DES_cblock *initial)

cdef extern from "openssl/rand.h" nogil:
    int RAND_bytes(unsigned char *buffer, int length)

cdef extern from "openssl/crypto.h" nogil:
    void OPENSSL_cleanse(void *buffer, size_t length)
    int CRYPTO_memcmp(const void *left, const void *right, size_t length)

cdef extern from "openssl/evp.h" nogil:
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MD:
        pass
    const EVP_CIPHER *EVP_aes_128_ecb()
    const EVP_CIPHER *EVP_aes_192_ecb()
    const EVP_CIPHER *EVP_aes_256_ecb()
    const EVP_CIPHER *EVP_sm4_ecb()
    const EVP_MD *EVP_sha256()
    const EVP_MD *EVP_sm3()
    EVP_CIPHER_CTX *EVP_CIPHER_CTX_new()
    void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *context)
    int EVP_CIPHER_CTX_set_padding(EVP_CIPHER_CTX *context, int padding)
    int EVP_CipherInit_ex(EVP_CIPHER_CTX *context, const EVP_CIPHER *cipher, void *engine, const unsigned char *key,
                          const unsigned char *iv, int encrypt)
    int EVP_CipherUpdate(EVP_CIPHER_CTX *context, unsigned char *output, int *output_length,
                         const unsigned char *data, int length)

cdef extern from "openssl/hmac.h" nogil:
    unsigned char *HMAC(const EVP_MD *digest, const void *key, int key_length, const unsigned char *data,
                        size_t length, unsigned char *mac, unsigned int *mac_length)
