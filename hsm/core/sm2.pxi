# SM2 keys (GB/T 32918.1-2016, 6.1): a private scalar d from 1 to n - 2 and its public point d·G. Signatures and
# encryption are in `hsm/_sm.pyx`.
#
# Scalars are numbers of OpenSSL's secure heap: locked, left out of core dumps, wiped when freed. What OpenSSL copies:
# its multiplication (a Montgomery ladder, which takes the same time for every scalar) keeps two padded copies of the
# scalar in numbers of the BN_CTX it is given, hence in the secure heap as well; coordinates of points lie in its
# ordinary heap and are wiped by EC_POINT_clear_free; words of a running multiplication pass over its stack, which it
# does not wipe.

cdef enum:
    SECURE_HEAP_BYTES = 131072
    SECURE_HEAP_LEAST_BYTES = 32

cdef EC_GROUP *sm2_group = NULL


cdef const EC_GROUP *sm2_curve() except NULL:
    global sm2_group
    if sm2_group is NULL:
        open_secure_heap()
        sm2_group = EC_GROUP_new_by_curve_name(NID_sm2)
        if sm2_group is NULL:
            raise HsmUnavailable("OpenSSL has no SM2")
    return sm2_group


cdef int open_secure_heap() except -1:
    """The heap belongs to all users of libcrypto in this process: one that somebody opened before stays as it is."""
    cdef int opened
    if CRYPTO_secure_malloc_initialized():
        return 0
    opened = CRYPTO_secure_malloc_init(SECURE_HEAP_BYTES, SECURE_HEAP_LEAST_BYTES)
    if opened != 1:
        if opened == 2:  # it is there, but could not be locked
            CRYPTO_secure_malloc_done()
        raise HsmUnavailable("cannot lock memory for a secret; raise the limit (ulimit -l, RLIMIT_MEMLOCK)")
    return 0


cdef bint read_sm2_scalar(const CK_BYTE *value, BIGNUM *number) noexcept nogil:
    cdef const BIGNUM *order = EC_GROUP_get0_order(sm2_group)
    cdef BIGNUM *above = BN_secure_new()
    cdef bint read = (
        above is not NULL and BN_bin2bn(value, 32, number) is not NULL and not BN_is_zero(number)
        and BN_bin2bn(value, 32, above) is not NULL and BN_add_word(above, 1) == 1 and BN_cmp(above, order) < 0
    )
    BN_clear_free(above)
    return read


cdef bint find_sm2_point(const CK_BYTE *value, CK_BYTE *encoded) noexcept nogil:
    """The public point of a private scalar, 65 bytes; False if the scalar is out of range."""
    cdef BN_CTX *numbers
    cdef BIGNUM *scalar
    cdef EC_POINT *point
    cdef bint found
    if sm2_group is NULL:
        return False
    numbers = BN_CTX_secure_new()
    scalar = BN_secure_new()
    point = EC_POINT_new(sm2_group)
    found = (
        numbers is not NULL and scalar is not NULL and point is not NULL and read_sm2_scalar(value, scalar)
        and EC_POINT_mul(sm2_group, point, scalar, NULL, NULL, numbers) == 1
        and EC_POINT_point2oct(sm2_group, point, POINT_CONVERSION_UNCOMPRESSED, encoded, 65, numbers) == 65
    )
    EC_POINT_clear_free(point)
    BN_clear_free(scalar)
    BN_CTX_free(numbers)
    return found
