"""The part of OpenSSL's libcrypto this package uses: low-level DES, randomness, wiping, constant-time comparison."""

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
