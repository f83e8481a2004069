# Derivation of one DUKPT key at a time, in locked memory. Part of `hsm._dukpt`.

cdef enum:
    TDES_KSN_BYTES = 10
    TDES_COUNTER_MASK = 0x1FFFFF
    TDES_COUNTER_ONES = 10
    AES_KSN_BYTES = 12
    AES_COUNTER_ONES = 16

# Key usages of X9.24-3:2017, 6.3.2, table 2. MAC and data: of the request; + 1: of the response; + 2: of both.
cdef enum:
    USE_KEY_ENCRYPTION = 0x0002
    USE_PIN = 0x1000
    USE_MAC = 0x2000
    USE_DATA = 0x3000
    USE_DERIVATION = 0x8000
    USE_INITIAL = 0x8001

cdef enum Stage:
    INITIAL_KEY
    TRANSACTION_KEY
    WORKING_KEY

# Type of a derived key → (X9.24-3:2017 algorithm indicator, bytes, family).
cdef dict KEY_TYPES = {
    "TDES-2": (0, 16, DES), "TDES-3": (1, 24, DES), "AES-128": (2, 16, AES), "AES-192": (3, 24, AES),
    "AES-256": (4, 32, AES), "HMAC-128": (5, 16, HMAC_FAMILY), "HMAC-192": (5, 24, HMAC_FAMILY),
    "HMAC-256": (5, 32, HMAC_FAMILY),
}

cdef struct KeyType:
    int algorithm
    int length
    Family family

# The chain of keys. In a locked page.
cdef struct Steps:
    Cipher *base  # runs the steps of AES until a key has been derived, then NULL
    int length  # of the chain's AES keys; 0: no AES
    CK_BYTE key[32]  # the last key that was derived
    CK_BYTE derived[32]
    CK_BYTE block[16]
    CK_BYTE output[48]
    DES_key_schedule schedule


# --- what derives, and what is derived --------------------------------------------------------------------------------

cdef int find_key_type(str name, KeyType *kind) except -1:
    found = KEY_TYPES.get(name)
    if found is None:
        raise InvalidCommand("no such type of derived keys")
    kind.algorithm, kind.length, kind.family = found[0], found[1], <Family><int>found[2]
    return 0


cdef int check_base(Key key) except -1:
    """A base or an initial key that this module can derive from, and whose mode lets it."""
    cdef Secret *host = key.cipher.host
    if key.use != DUKPT_BASE and key.use != DUKPT_INITIAL:
        raise usage_error(key, DUKPT_BASE)
    if not key.abilities & MAY_DERIVE:
        raise KeyUsageError(f"key {key.label} may not derive: its mode of use is {key.mode}")
    if host is NULL and key.cipher.block_length == 8:
        raise KeyUsageError(f"key {key.label} is in the token, which cannot do TDES DUKPT")
    if host is not NULL and host.family != AES and (host.family != DES or host.length != 16):
        raise InvalidCommand("a key of DUKPT is AES or double-length DES")
    return 0


# --- derivation -------------------------------------------------------------------------------------------------------

cdef class Derivation:
    """Derives one key at a time, for one user at a time, into `steps.key`; `cipher` runs blocks with a working key."""

    cdef Steps *steps
    cdef Secret *secret
    cdef Cipher cipher
    cdef KeyType kind  # of the working key
    cdef EVP_CIPHER_CTX *contexts[3]  # of the chain: AES-128, AES-192, AES-256; a new key is cheaper than a new context
    cdef CK_BYTE ksn[AES_KSN_BYTES]
    cdef unsigned int counter

    def __cinit__(self):
        cdef const EVP_CIPHER *ciphers[3]
        cdef CK_BYTE zeros[32]
        cdef int index
        memset(zeros, 0, 32)
        memset(&self.cipher, 0, sizeof(Cipher))
        self.steps = <Steps *>locked_page()
        self.secret = self.cipher.host = new_secret()
        ciphers[0], ciphers[1], ciphers[2] = EVP_aes_128_ecb(), EVP_aes_192_ecb(), EVP_aes_256_ecb()
        for index in range(3):
            self.contexts[index] = EVP_CIPHER_CTX_new()
            if self.contexts[index] is NULL or EVP_CipherInit_ex(
                    self.contexts[index], ciphers[index], NULL, zeros, NULL, 1) != 1:
                raise HsmUnavailable("AES is not available")
            EVP_CIPHER_CTX_set_padding(self.contexts[index], 0)

    def __dealloc__(self):
        cdef int index
        for index in range(3):
            EVP_CIPHER_CTX_free(self.contexts[index])
        discard_secret(self.secret)
        locked_page_free(self.steps)

    cdef void wipe(self) noexcept nogil:
        """No key stays, neither here nor in what OpenSSL made of it."""
        cdef CK_BYTE zeros[32]
        cdef int length = self.steps.length
        memset(zeros, 0, 32)
        OPENSSL_cleanse(self.steps, sizeof(Steps))
        OPENSSL_cleanse(self.secret.value, sizeof(self.secret.value))
        OPENSSL_cleanse(self.secret.schedules, sizeof(self.secret.schedules))
        if self.secret.encipher is not NULL:
            EVP_CIPHER_CTX_reset(self.secret.encipher)
        if self.secret.decipher is not NULL:
            EVP_CIPHER_CTX_reset(self.secret.decipher)
        if length:  # a zero key of the same length overwrites the whole schedule
            EVP_CipherInit_ex(self.contexts[(length - 16) // 8], NULL, NULL, zeros, NULL, 1)

    cdef int working_key(self, Token token, Key base, bytes ksn, str key_type, int purpose) except -1:
        """A working key, ready to run blocks: `cipher`."""
        find_key_type(key_type, &self.kind)
        self.derive(token, base, ksn, WORKING_KEY, purpose)
        if not set_secret(self.secret, self.kind.family, self.steps.key, self.kind.length):
            raise HsmUnavailable("a derived key cannot be set")
        self.cipher.block_length = 16 if self.kind.family == AES else 8
        return 0

    cdef int derive(self, Token token, Key base, bytes ksn, Stage stage, int purpose) except -1:
        """The key of a stage, into steps.key."""
        if base.cipher.block_length == 8:
            self.read_ksn(ksn, TDES_KSN_BYTES, stage)
            return self.derive_tdes(base, stage, purpose)
        self.read_ksn(ksn, AES_KSN_BYTES, stage)
        if base.cipher.host is not NULL:
            return self.derive_aes(base, base.cipher.host.length, stage, purpose)
        token.enter()
        try:
            return self.derive_aes(base, token_key_length(token, base), stage, purpose)
        finally:
            token.leave()

    cdef int read_ksn(self, bytes ksn, int length, Stage stage) except -1:
        """The KSN and its counter. An initial key belongs to all counters, so then the counter is not looked at."""
        cdef const CK_BYTE *tail
        cdef int index, ones = 0
        if bounded(ksn) != length:
            raise InvalidCommand(f"a KSN under this key has {length} bytes")
        memcpy(self.ksn, PyBytes_AS_STRING(ksn), length)
        tail = &self.ksn[length - 4]
        self.counter = (<unsigned int>tail[0] << 24) | (tail[1] << 16) | (tail[2] << 8) | tail[3]
        if length == TDES_KSN_BYTES:
            self.counter &= TDES_COUNTER_MASK
        for index in range(32):
            ones += (self.counter >> index) & 1
        if stage != INITIAL_KEY and not 1 <= ones <= (
                TDES_COUNTER_ONES if length == TDES_KSN_BYTES else AES_COUNTER_ONES):
            raise InvalidCommand("no device uses this KSN: its counter is zero or has too many one bits")
        return 0

    # --- X9.24-1:2009, annex A ---

    cdef int derive_tdes(self, Key base, Stage stage, int purpose) except -1:
        if stage == WORKING_KEY and (self.kind.family != DES or self.kind.length != 16):
            raise InvalidCommand("TDES DUKPT derives keys of type TDES-2 only")
        if base.use == DUKPT_INITIAL:
            memcpy(self.steps.key, base.cipher.host.value, 16)
        else:
            self.derive_tdes_initial(base.cipher.host)
        if stage != INITIAL_KEY:
            self.run_tdes_counter()
        if stage == WORKING_KEY:
            self.take_variant(purpose)
        return 0

    cdef void derive_tdes_initial(self, Secret *base) noexcept nogil:
        """A.6: the KSN's first 59 bits, enciphered under the base key and under its variant."""
        cdef Steps *steps = self.steps
        memcpy(steps.derived, self.ksn, 8)
        steps.derived[7] &= 0xE0
        memcpy(&steps.derived[8], steps.derived, 8)
        host_block(base, True, steps.derived)
        memcpy(steps.key, base.value, 16)
        mask_halves(steps.key)
        set_secret(self.secret, DES, steps.key, 16)
        host_block(self.secret, True, &steps.derived[8])
        memcpy(steps.key, steps.derived, 16)

    cdef void run_tdes_counter(self) noexcept nogil:
        """A.2, A.3: one non-reversible step for each one bit of the counter, from the left."""
        cdef Steps *steps = self.steps
        cdef int bit
        memcpy(steps.block, &self.ksn[2], 8)
        steps.block[5] &= 0xE0
        steps.block[6] = steps.block[7] = 0
        for bit in range(20, -1, -1):
            if (self.counter >> bit) & 1:
                steps.block[7 - bit // 8] |= <CK_BYTE>(1 << (bit % 8))
                derive_half(steps, &steps.derived[8])
                mask_halves(steps.key)
                derive_half(steps, steps.derived)
                memcpy(steps.key, steps.derived, 16)

    cdef int take_variant(self, int purpose) except -1:
        """A.4.1: the transaction key's variant; a data key is enciphered under itself on top."""
        cdef CK_BYTE *key = self.steps.key
        cdef int place
        if purpose == USE_PIN:
            place = 7
        elif purpose == USE_MAC or purpose == USE_MAC + 2:
            place = 6
        elif purpose == USE_MAC + 1:
            place = 4
        elif purpose == USE_DATA or purpose == USE_DATA + 2:
            place = 5
        elif purpose == USE_DATA + 1:
            place = 3
        else:
            raise InvalidCommand("TDES DUKPT has keys for PINs, MACs and data only")
        key[place] ^= 0xFF
        key[8 + place] ^= 0xFF
        if place == 5 or place == 3:
            set_secret(self.secret, DES, key, 16)
            host_block(self.secret, True, key)
            host_block(self.secret, True, &key[8])
        return 0

    # --- X9.24-3:2017, clause 6 ---

    cdef int derive_aes(self, Key base, int length, Stage stage, int purpose) except -1:
        """6.3, 6.4. Under the token's lock where the base key is in the token."""
        cdef CK_BYTE place[8]
        cdef int bit
        if stage == WORKING_KEY:
            self.check_kind(length, purpose)
        self.steps.base = &base.cipher
        self.steps.length = length
        if base.use == DUKPT_BASE:
            self.next_key(USE_INITIAL, 2 + (length - 16) // 8, length, self.ksn)
        if stage == INITIAL_KEY:
            return 0
        memcpy(place, &self.ksn[4], 4)
        memset(&place[4], 0, 4)
        for bit in range(31, -1, -1):
            if (self.counter >> bit) & 1:
                place[7 - bit // 8] |= <CK_BYTE>(1 << (bit % 8))
                self.next_key(USE_DERIVATION, 2 + (length - 16) // 8, length, place)
        if stage == WORKING_KEY:
            self.next_key(purpose, self.kind.algorithm, self.kind.length, place)
        return 0

    cdef int check_kind(self, int length, int purpose) except -1:
        """`length`: of the base key."""
        if self.kind.family != DES and self.kind.length > length:
            raise InvalidCommand("a derived key may not be stronger than the key it is derived from")
        if self.kind.family == HMAC_FAMILY and purpose & 0xF000 != USE_MAC:
            raise InvalidCommand("an HMAC key makes MACs only")
        if purpose == USE_DERIVATION and self.kind.family != AES:
            raise InvalidCommand("only AES keys derive")
        return 0

    cdef int next_key(self, int usage, int algorithm, int length, const CK_BYTE *place) except -1:
        """6.3.1: derivation data enciphered under the key before. `place`: the data's last 8 bytes."""
        cdef Steps *steps = self.steps
        cdef EVP_CIPHER_CTX *context = self.contexts[(steps.length - 16) // 8]
        cdef int offset, written = 0
        cdef CK_RV rv = CKR_OK
        if steps.base is NULL and EVP_CipherInit_ex(context, NULL, NULL, steps.key, NULL, 1) != 1:
            raise HsmUnavailable("AES is not available")
        for offset in range(0, length, 16):
            fill_derivation_data(steps.block, 1 + offset // 16, usage, algorithm, length, place)
            if steps.base is not NULL:
                rv = run_block(steps.base, True, steps.block, steps.output)
            else:
                EVP_CipherUpdate(context, steps.block, &written, steps.block, 16)
            if rv != CKR_OK:
                raise unavailable("C_EncryptUpdate", rv)
            memcpy(&steps.derived[offset], steps.block, 16)
        memcpy(steps.key, steps.derived, length)
        steps.base = NULL
        return 0


cdef void fill_derivation_data(CK_BYTE *data, int number, int usage, int algorithm, int length,
                               const CK_BYTE *place) noexcept nogil:
    """X9.24-3:2017, 6.3.2, tables 2 and 3. `length` in bytes; the data has it in bits."""
    data[0] = 1  # version
    data[1] = <CK_BYTE>number
    data[2] = <CK_BYTE>(usage >> 8)
    data[3] = <CK_BYTE>usage
    data[4] = 0
    data[5] = <CK_BYTE>algorithm
    data[6] = <CK_BYTE>(8 * length >> 8)
    data[7] = <CK_BYTE>(8 * length)
    memcpy(&data[8], place, 8)


cdef void mask_halves(CK_BYTE *key) noexcept nogil:
    cdef int index
    for index in range(4):
        key[index] ^= 0xC0
        key[8 + index] ^= 0xC0


cdef void derive_half(Steps *steps, CK_BYTE *half) noexcept nogil:
    """Single DES of the register in `block`, with the right half of the key mixed in before and after."""
    cdef int index
    for index in range(8):
        half[index] = steps.block[index] ^ steps.key[8 + index]
    DES_set_key_unchecked(<DES_cblock *>steps.key, &steps.schedule)
    DES_ecb_encrypt(<DES_cblock *>half, <DES_cblock *>half, &steps.schedule, 1)
    for index in range(8):
        half[index] ^= steps.key[8 + index]


cdef int token_key_length(Token token, Key key) except -1:
    """In bytes. The caller holds the token's lock."""
    cdef bytes value = token.attribute(key.cipher.handle, CKA_VALUE_LEN)
    return <int>(<CK_ULONG *>PyBytes_AS_STRING(value))[0]


# Derivations at rest: taking one costs no system call. As many as commands ever ran at once.
cdef list resting = []


cdef Derivation take():
    check_not_inherited()
    return <Derivation>resting.pop() if resting else Derivation()


cdef void give_back(Derivation derivation) except *:
    derivation.wipe()
    resting.append(derivation)
