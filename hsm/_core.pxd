"""What the other extension modules of this package may use of the command core.

The rule for all of them: a clear key, PIN or derived key exists only in a `Secret` or a locked page, is wiped before the
function returns, and never becomes a Python object. Commands take lists; an item that fails yields its `HsmError`.
"""

from cpython.pythread cimport PyThread_type_lock

from hsm._libcrypto cimport DES_key_schedule, EVP_CIPHER_CTX
from hsm._libcrypto_ec cimport BIGNUM, EC_GROUP
from hsm._pkcs11 cimport CK_BYTE, CK_RV, CK_ULONG

cdef extern from "locked.h" nogil:
    enum:
        LOCKED_PAGE_BYTES
    void *locked_page_new()
    void locked_page_free(void *page)

cdef void *locked_page() except NULL

# The places of `hsm.usages.KeyUsage`, in its order.
cdef enum Usage:
    PIN_KEY
    MAC_KEY
    KEY_TRANSPORT
    SIGNING
    SEALING
    HASHING
    KEY_STORAGE
    PVV_KEY
    IBM3624_KEY
    CARD_VERIFICATION
    EMV_CRYPTOGRAM
    EMV_CONFIDENTIALITY
    EMV_INTEGRITY
    EMV_DYNAMIC_NUMBER
    DUKPT_BASE
    DUKPT_INITIAL
    DATA_KEY
    FPE_KEY
    KEY_BLOCK
    ENVELOPE
    KEY_WRAPPING

# What a key's mode of use allows (X9.143:2022, table 5). Bits.
cdef enum Ability:
    MAY_ENCIPHER = 1
    MAY_DECIPHER = 2
    MAY_GENERATE = 4
    MAY_CHECK = 8
    MAY_DERIVE = 16

cdef enum Family:
    DES  # 8, 16 or 24 bytes; runs as triple DES K1 K2 K1 or K K K where it is shorter
    AES  # 16, 24 or 32
    SM4  # 16
    HMAC_FAMILY  # 1 to 64
    SM2  # 32: the private scalar, big-endian

# A clear key and what OpenSSL made of it. Lives in locked pages only.
cdef struct Secret:
    CK_BYTE value[64]
    int length
    Family family
    DES_key_schedule schedules[3]
    EVP_CIPHER_CTX *encipher  # AES and SM4: ECB without padding, kept open
    EVP_CIPHER_CTX *decipher
    CK_BYTE public_point[65]  # of an SM2 scalar: 04 ‖ x ‖ y

# How to run one block. `host` set: a key on the host. Else the token: with kept-open sessions where a key has them.
cdef struct Cipher:
    Secret *host
    CK_ULONG handle
    CK_ULONG mechanism
    CK_ULONG encrypt_session
    CK_ULONG decrypt_session
    int block_length

# Working space of the commands, in locked memory; used under the token's lock, wiped after each use.
cdef struct Scratch:
    CK_BYTE field[32]
    CK_BYTE output[48]
    CK_BYTE pan_field[16]
    CK_BYTE nibbles[32]
    CK_BYTE random[32]
    CK_BYTE pin[12]
    int pin_length
    CK_BYTE key[128]

# One-shot operations: their session and the last nonce of AES-GCM. Under the lock.
cdef struct Work:
    CK_ULONG session
    CK_ULONG slot
    CK_BYTE nonce[12]
    bint nonce_ready

cdef class Token:
    cdef CK_ULONG slot
    cdef CK_ULONG home  # session objects live as long as this session
    cdef Work work
    cdef PyThread_type_lock lock
    cdef Scratch *scratch
    cdef bint closed
    cdef object signing  # SimpleQueue of sessions for RSA, which run without the lock; None once closed
    cdef CK_ULONG open_session(self) except? 0
    cdef int enter(self) except -1
    cdef void leave(self) noexcept nogil
    cdef bytes attribute(self, CK_ULONG handle, CK_ULONG kind)
    cdef CK_ULONG take_signing_session(self) except? 0
    cdef object copy(self, CK_ULONG handle, void *template)
    # ECDH without the lock: `point` (65 bytes, on the curve) -> the x coordinate, 32 bytes of locked memory.
    cdef CK_RV agree(self, CK_ULONG session, CK_ULONG handle, const CK_BYTE *point, CK_BYTE *shared) noexcept nogil

cdef class Key:
    """A label, one usage, one mode; `cipher` runs blocks with it, wherever it lives."""
    cdef readonly str label
    cdef readonly str mode
    cdef Usage use
    cdef unsigned int abilities
    cdef Cipher cipher

cdef class TokenKey(Key):
    """A key in the token. `kind`: "DES", "AES", "HMAC", "RSA" or "EC"; `handle`: its session copy."""
    cdef readonly str kind
    cdef readonly bytes public_point  # of an EC key: 04 ‖ x ‖ y; else None
    cdef int _open_ecb(self, Token token) except -1

cdef class HostKey(Key):
    """A key in locked memory."""
    cdef readonly str kind
    cdef int fill(self, const CK_BYTE *value, Py_ssize_t length) except -1

# --- looking keys up --------------------------------------------------------------------------------------------------

cdef Key find_key(dict keys, str label)
# Raises KeyNotFound; KeyUsageError unless the key has this usage and its mode allows every wanted Ability.
cdef Key find_key_for(dict keys, str label, Usage usage, unsigned int wanted)
# The same, and the key must be on the host. Its secret is `key.cipher.host`; hold the Key while you use it.
cdef HostKey find_host_key_for(dict keys, str label, Usage usage, unsigned int wanted)
cdef object usage_error(Key key, Usage wanted)

# --- secrets ----------------------------------------------------------------------------------------------------------

# A zeroed Secret in a page of its own; `discard_secret` wipes and frees it. For keys derived within a command: take
# one per command or per module, refill it per item, never free it while another thread may use it.
cdef Secret *new_secret() except NULL
cdef void discard_secret(Secret *secret) noexcept nogil
# Set key and schedules. False where the length does not fit the family or OpenSSL refuses. Refilling is allowed.
cdef bint set_secret(Secret *secret, Family family, const CK_BYTE *value, int length) noexcept nogil
# One block in place (8 bytes of DES, 16 of AES and SM4).
cdef void host_block(Secret *secret, bint encrypt, CK_BYTE *block) noexcept nogil
# Single DES with the first, second or third part of a DES secret: part 0, 1 or 2.
cdef void single_des_block(Secret *secret, int part, bint encrypt, CK_BYTE *block) noexcept nogil

# --- SM2 -------------------------------------------------------------------------------------------------------------

# The curve, with OpenSSL's locked heap ready for its secrets. Raises HsmUnavailable if memory cannot be locked.
cdef const EC_GROUP *sm2_curve() except NULL
# A private scalar of 32 bytes into a number of the secure heap; False unless it is from 1 to n - 2.
cdef bint read_sm2_scalar(const CK_BYTE *value, BIGNUM *number) noexcept nogil

# --- running blocks, wherever the key lives ---------------------------------------------------------------------------

# En- or decipher one block in place; `output` is working space of 48 bytes. For keys that may be in the token the caller
# holds the token's lock (enter/leave); of those only the usages in BLOCK_USAGES of key.pxi have kept-open sessions.
cdef CK_RV run_block(Cipher *cipher, bint encrypt, CK_BYTE *block, CK_BYTE *output) noexcept nogil
# CMAC (NIST SP 800-38B) of `length` bytes with a host key of DES, AES or SM4: 8 or 16 bytes.
cdef void host_cmac(Secret *secret, const CK_BYTE *data, Py_ssize_t length, CK_BYTE *mac) noexcept nogil

# MAC of `data` by a name of `hsm.algorithms`, in the shape and length it says, with a key on the host, into `mac` (32
# bytes of room); returns its length. Raises InvalidCommand where name and key do not fit.
cdef int mac_with(Secret *secret, str algorithm, bytes data, CK_BYTE *mac) except -1

# --- PIN blocks (ISO 9564-1), under the token's lock, in its scratch --------------------------------------------------

cdef enum PinOutcome:
    PIN_DONE
    PIN_REFUSED
    PIN_TOKEN_FAILED

cdef struct PinJob:
    Cipher *source
    Cipher *target
    int source_format
    int target_format
    CK_BYTE block[16]
    CK_BYTE pan[19]  # digits 0 to 9
    int pan_length
    PinOutcome outcome
    CK_RV rv

cdef bint pin_format_fits(int pin_format, int block_length) noexcept nogil
cdef bint translation_permitted(int source_format, int target_format) noexcept nogil
# Fill the job's PAN; raises PinFormatError.
cdef int read_job_pan(PinJob *job, str pan, bint may_be_missing) except -1
# job.block under job.source -> scratch.field, clear and without the PAN.
cdef CK_RV decipher_field(PinJob *job, Scratch *scratch) noexcept nogil
# scratch.field -> scratch.pin (digits), scratch.pin_length; false if the field is not valid. Constant time.
cdef bint decode_pin(Scratch *scratch, int pin_format) noexcept nogil
# scratch.pin -> scratch.field; false if there is no randomness.
cdef bint encode_pin(Scratch *scratch, int pin_format) noexcept nogil
# scratch.field -> job.block under job.target.
cdef CK_RV encipher_field(PinJob *job, Scratch *scratch) noexcept nogil
# All of it; sets job.outcome and job.rv; wipes the scratch.
cdef void translate_pin(PinJob *job, Scratch *scratch) noexcept nogil
# The block, or the error, of a finished job.
cdef object pin_result(PinJob *job)

# --- AES-256-GCM in the token, under its lock: nonce (12) ‖ ciphertext ‖ tag (16) ------------------------------------

cdef CK_RV gcm_seal(Work *work, CK_ULONG handle, const CK_BYTE *data, CK_ULONG length, const CK_BYTE *context,
                    CK_ULONG context_length, CK_BYTE *sealed) noexcept nogil
# `length`: of sealed, at least 28; the output has room for 12 bytes less.
cdef CK_RV gcm_unseal(Work *work, CK_ULONG handle, const CK_BYTE *sealed, CK_ULONG length, const CK_BYTE *context,
                      CK_ULONG context_length, CK_BYTE *output) noexcept nogil
cdef object gcm_error(CK_RV rv)

# --- odds and ends ----------------------------------------------------------------------------------------------------

cdef Py_ssize_t bounded(bytes data) except -1  # length of an item's bytes; raises InvalidCommand over MAX_DATA_BYTES
cdef bint same_bytes(bytes left, bytes right)  # in constant time
cdef int check_not_inherited() except -1  # raises HsmUnavailable in a fork: host keys are zero there
cdef object unavailable(str function, CK_RV rv)
# Decimal digits of a PAN or the like as numbers 0 to 9; raises InvalidCommand naming `what`, never the digits.
cdef int read_digits(str text, int least, int most, CK_BYTE *digits, str what) except -1
