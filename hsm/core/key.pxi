# Keys as the commands see them: a label, one usage, and either a handle in the token or a secret in locked memory.

cdef enum Usage:
    PIN_KEY = 0
    MAC_KEY = 1
    KEY_TRANSPORT = 2
    SIGNING = 3
    SEALING = 4
    HASHING = 5
    KEY_STORAGE = 6

cdef tuple USAGES = ("PIN_KEY", "MAC_KEY", "KEY_TRANSPORT", "SIGNING", "SEALING", "HASHING", "KEY_STORAGE")

PERMISSIONS = {
    "PIN_KEY": MAY_ENCRYPT | MAY_DECRYPT,
    "KEY_TRANSPORT": MAY_ENCRYPT | MAY_DECRYPT,  # encrypts zeros for its check value, nothing else
    "SEALING": MAY_ENCRYPT | MAY_DECRYPT,
    "HASHING": MAY_SIGN,
    "KEY_STORAGE": MAY_ENCRYPT | MAY_DECRYPT,
}

cdef struct HostSecret:
    CK_BYTE value[24]
    int length  # 8, 16 or 24
    DES_key_schedule schedules[3]

# How to run one block. `host` set: locked memory. Else the token: with the kept-open sessions where a key has them.
cdef struct Cipher:
    HostSecret *host
    CK_ULONG handle
    CK_ULONG mechanism
    CK_ULONG encrypt_session
    CK_ULONG decrypt_session
    int block_length


cdef class Key:
    cdef readonly str label
    cdef Usage use
    cdef Cipher cipher

    def __cinit__(self, str label not None, usage, *arguments):
        memset(&self.cipher, 0, sizeof(Cipher))
        self.label = label
        self.use = <Usage><int>USAGES.index(usage)

    @property
    def usage(self):
        return USAGES[self.use]

    def __repr__(self):
        return f"<{type(self).__name__} {self.label} {self.usage}>"


cdef class TokenKey(Key):
    """A key in the token. `kind`: "DES", "AES", "HMAC" or "RSA"; `handle`: its session copy."""

    cdef readonly str kind

    def __init__(self, str label, usage, Token token not None, str kind not None, CK_ULONG handle):
        self.kind = kind
        self.cipher.handle = handle
        self.cipher.mechanism = CKM_AES_ECB if kind == "AES" else CKM_DES3_ECB
        self.cipher.block_length = 16 if kind == "AES" else 8
        if self.use == PIN_KEY:
            self._open_ecb(token)

    cdef int _open_ecb(self, Token token) except -1:
        """ECB keeps no state between blocks: initialise once per direction, then only update (ten times faster)."""
        self.cipher.encrypt_session = token.open_session()
        self.cipher.decrypt_session = token.open_session()
        token.enter()
        try:
            check("C_EncryptInit", start_ecb(&self.cipher, True))
            check("C_DecryptInit", start_ecb(&self.cipher, False))
        finally:
            token.leave()
        return 0

    def check_value(self, Token token not None):
        """KCV, upper-case hex: DES: 3 bytes of E(0) (X9.24-1); AES: 5 bytes of CMAC(0) (X9.24-1:2017 annex A);
        HMAC: 3 bytes of HMAC of the empty message (X9.143)."""
        cdef CK_BYTE *work = token.scratch.output
        token.enter()
        try:
            memset(work, 0, 48)
            if self.kind == "HMAC":
                check("C_Sign", hmac_sha256(&token.work, self.cipher.handle, work, 0, work))
                return work[:3].hex().upper()
            check("C_Encrypt", ecb_once(&token.work, &self.cipher, True, work, self.cipher.block_length))
            if self.kind == "AES":
                double_block(work)
                check("C_Encrypt", ecb_once(&token.work, &self.cipher, True, work, 16))
                return work[:5].hex().upper()
            return work[:3].hex().upper()
        finally:
            token.leave()


cdef class HostKey(Key):
    """A DES key of 8, 16 or 24 bytes in locked memory: what SoftHSM cannot use (retail MAC) or what arrives wrapped."""

    def __cinit__(self, str label, usage, *arguments):
        self.cipher.host = <HostSecret *>locked_page()
        self.cipher.block_length = 8

    def __dealloc__(self):
        locked_page_free(self.cipher.host)

    cdef int fill(self, const CK_BYTE *value, Py_ssize_t length) except -1:
        """Set the value; the schedules are K1 K2 K1 for a double-length key, K K K for a single one."""
        cdef HostSecret *secret = self.cipher.host
        cdef CK_BYTE *part
        cdef int index
        if length not in (8, 16, 24):
            raise InvalidCommand("a DES key has 8, 16 or 24 bytes")
        memcpy(secret.value, value, length)
        secret.length = <int>length
        for index in range(3):
            part = &secret.value[8 * index % <int>length]
            DES_set_key_unchecked(<DES_cblock *>part, &secret.schedules[index])
        return 0

    @property
    def length(self):
        """In bytes."""
        return self.cipher.host.length

    def check_value(self):
        """KCV: the first 3 bytes of E(0), upper-case hex."""
        cdef CK_BYTE block[8]
        memset(block, 0, 8)
        host_ecb(self.cipher.host, True, block)
        return block[:3].hex().upper()


def generate_host_key(str label, usage, int length):
    """A random DES key (8, 16 or 24 bytes) with odd parity."""
    cdef HostKey key = HostKey(label, usage)
    cdef CK_BYTE *page
    cdef int index
    if length not in (8, 16, 24):
        raise InvalidCommand("a DES key has 8, 16 or 24 bytes")
    page = <CK_BYTE *>locked_page()
    try:
        if RAND_bytes(page, length) != 1:
            raise HsmUnavailable("no randomness")
        for index in range(0, length, 8):
            DES_set_odd_parity(<DES_cblock *>&page[index])
        key.fill(page, length)
    finally:
        locked_page_free(page)
    return key


def combine_host_key(str label, usage, components):
    """A DES key from the exclusive or of its components."""
    cdef HostKey key = HostKey(label, usage)
    cdef CK_BYTE *page = <CK_BYTE *>locked_page()
    try:
        key.fill(page, combine(components, page))
    finally:
        locked_page_free(page)
    return key


def unwrap_host_key(str label, usage, Token token not None, TokenKey transport not None, bytes wrapped not None):
    """A DES key that came under a transport key in ECB: decrypted from the token straight into locked memory."""
    cdef HostKey key = HostKey(label, usage)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(wrapped)
    cdef CK_RV rv
    if transport.use != KEY_TRANSPORT:
        raise usage_error(transport, KEY_TRANSPORT)
    if length not in (8, 16, 24):
        raise InvalidCommand("a wrapped DES key has 8, 16 or 24 bytes")
    if length % transport.cipher.block_length:
        raise InvalidCommand("the wrapped key does not fit the transport key's block")
    token.enter()
    try:
        memcpy(token.scratch.key, PyBytes_AS_STRING(wrapped), length)
        rv = ecb_once(&token.work, &transport.cipher, False, token.scratch.key, <int>length)
        check("C_Decrypt", rv)
        key.fill(token.scratch.key, length)
    finally:
        token.leave()
    return key


def seal_host_key(Token token not None, TokenKey storage not None, HostKey key not None, bytes context not None):
    """The key under AES-256-GCM of the token's storage key, for a file: nonce ‖ ciphertext ‖ tag."""
    cdef HostSecret *secret = key.cipher.host
    cdef bytes sealed = PyBytes_FromStringAndSize(NULL, secret.length + GCM_OVERHEAD)
    cdef CK_RV rv
    if storage.use != KEY_STORAGE:
        raise usage_error(storage, KEY_STORAGE)
    token.enter()
    try:
        rv = gcm_seal(&token.work, storage.cipher.handle, secret.value, secret.length,
                      <const CK_BYTE *>PyBytes_AS_STRING(context), PyBytes_GET_SIZE(context),
                      <CK_BYTE *>PyBytes_AS_STRING(sealed))
        check("C_Encrypt", rv)
    finally:
        token.leave()
    return sealed


def open_host_key(str label, usage, Token token not None, TokenKey storage not None, bytes sealed not None,
                  bytes context not None):
    """What `seal_host_key` sealed, straight into locked memory. Raises MacMismatch if it was changed."""
    cdef HostKey key = HostKey(label, usage)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(sealed)
    cdef CK_RV rv
    if storage.use != KEY_STORAGE:
        raise usage_error(storage, KEY_STORAGE)
    if length not in (8 + GCM_OVERHEAD, 16 + GCM_OVERHEAD, 24 + GCM_OVERHEAD):
        raise MacMismatch("a stored key is broken")
    token.enter()
    try:
        rv = gcm_unseal(&token.work, storage.cipher.handle, <const CK_BYTE *>PyBytes_AS_STRING(sealed), length,
                        <const CK_BYTE *>PyBytes_AS_STRING(context), PyBytes_GET_SIZE(context), token.scratch.key)
        if rv != CKR_OK:
            raise gcm_error(rv)
        key.fill(token.scratch.key, length - GCM_OVERHEAD)
    finally:
        token.leave()
    return key


cdef object usage_error(Key key, Usage wanted):
    return KeyUsageError(f"key {key.label} is a {USAGES[key.use]}, not a {USAGES[wanted]}")


# --- one block at a time ---------------------------------------------------------------------------------------------

cdef inline void host_ecb(HostSecret *secret, bint encrypt, CK_BYTE *block) noexcept nogil:
    DES_ecb3_encrypt(<DES_cblock *>block, <DES_cblock *>block, &secret.schedules[0], &secret.schedules[1],
                     &secret.schedules[2], encrypt)


cdef CK_RV start_ecb(Cipher *cipher, bint encrypt) noexcept nogil:
    cdef CK_MECHANISM mechanism
    mechanism.mechanism = cipher.mechanism
    mechanism.pParameter = NULL
    mechanism.ulParameterLen = 0
    if encrypt:
        return pkcs11.C_EncryptInit(cipher.encrypt_session, &mechanism, cipher.handle)
    return pkcs11.C_DecryptInit(cipher.decrypt_session, &mechanism, cipher.handle)


cdef CK_RV update_ecb(Cipher *cipher, bint encrypt, CK_BYTE *block, CK_BYTE *output) noexcept nogil:
    cdef CK_ULONG length = 48
    cdef CK_RV rv
    if encrypt:
        rv = pkcs11.C_EncryptUpdate(cipher.encrypt_session, block, cipher.block_length, output, &length)
    else:
        rv = pkcs11.C_DecryptUpdate(cipher.decrypt_session, block, cipher.block_length, output, &length)
    if rv == CKR_OK and length != <CK_ULONG>cipher.block_length:
        return CKR_GENERAL_ERROR  # a module that holds blocks back is not fit for kept-open operations
    return rv


cdef CK_RV run_block(Cipher *cipher, bint encrypt, CK_BYTE *block, CK_BYTE *output) noexcept nogil:
    """En- or decipher one block in place; `output` is working space of 48 bytes."""
    cdef CK_RV rv
    if cipher.host is not NULL:
        host_ecb(cipher.host, encrypt, block)
        return CKR_OK
    rv = update_ecb(cipher, encrypt, block, output)
    if rv != CKR_OK:  # an error ends the kept-open operation: begin a new one, once
        start_ecb(cipher, encrypt)
        rv = update_ecb(cipher, encrypt, block, output)
    if rv == CKR_OK:
        memcpy(block, output, cipher.block_length)
    return rv


cdef CK_RV ecb_once(Work *work, Cipher *cipher, bint encrypt, CK_BYTE *data, int length) noexcept nogil:
    """One-shot ECB of at most 48 bytes in place, for keys without kept-open sessions."""
    cdef CK_BYTE output[48]
    cdef CK_ULONG output_length = 48
    cdef CK_MECHANISM mechanism
    cdef CK_RV rv
    mechanism.mechanism = cipher.mechanism
    mechanism.pParameter = NULL
    mechanism.ulParameterLen = 0
    rv = begin(pkcs11.C_EncryptInit if encrypt else pkcs11.C_DecryptInit, work, &mechanism, cipher.handle)
    if rv == CKR_OK and encrypt:
        rv = pkcs11.C_Encrypt(work.session, data, length, output, &output_length)
    elif rv == CKR_OK:
        rv = pkcs11.C_Decrypt(work.session, data, length, output, &output_length)
    if rv == CKR_OK:
        memcpy(data, output, length)
    OPENSSL_cleanse(output, sizeof(output))
    return rv


cdef CK_RV begin(start_operation_function start, Work *work, CK_MECHANISM *mechanism, CK_ULONG handle) noexcept nogil:
    """Begin a one-shot operation. One that a module left open would block the session for ever: take a new session."""
    cdef CK_RV rv = start(work.session, mechanism, handle)
    if rv == CKR_OPERATION_ACTIVE:
        pkcs11.C_CloseSession(work.session)
        rv = pkcs11.C_OpenSession(work.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &work.session)
        if rv == CKR_OK:
            rv = start(work.session, mechanism, handle)
    return rv


cdef void double_block(CK_BYTE *block) noexcept nogil:
    """The CMAC subkey K1 of E(0): doubling in GF(2^128) (NIST SP 800-38B, 6.1)."""
    cdef int index
    cdef CK_BYTE carry = block[0] >> 7
    for index in range(15):
        block[index] = <CK_BYTE>(block[index] << 1) | (block[index + 1] >> 7)
    block[15] = <CK_BYTE>(block[15] << 1) ^ <CK_BYTE>(0x87 * carry)
