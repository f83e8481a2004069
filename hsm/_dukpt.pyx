# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""DUKPT: ANSI X9.24-1:2009 annex A with triple DES, ANSI X9.24-3:2017 with AES. The typed face is `_dukpt.pyi`.

A working key lives in a `Derivation` for one item: the chain of keys in one locked page, the last one in a `Secret`.
Both are wiped before the next item. Base and initial keys of AES may be in the token; triple DES derives from variants
of a key (an exclusive or with a mask), which no token does, so those keys are on the host.

`core/dukpt.pxi` derives; the commands are here.
"""

from hsm.errors import HsmError, HsmUnavailable, InvalidCommand, KeyUsageError, MacMismatch, PinFormatError

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy, memset

from hsm._core cimport (
    AES,
    DES,
    DUKPT_BASE,
    DUKPT_INITIAL,
    HMAC_FAMILY,
    MAY_DERIVE,
    MAY_ENCIPHER,
    PIN_KEY,
    Cipher,
    Family,
    HostKey,
    Key,
    PinJob,
    Secret,
    Token,
    bounded,
    check_not_inherited,
    discard_secret,
    find_key,
    find_key_for,
    host_block,
    locked_page,
    locked_page_free,
    mac_with,
    new_secret,
    pin_format_fits,
    pin_result,
    read_job_pan,
    run_block,
    same_bytes,
    set_secret,
    translate_pin,
    translation_permitted,
    unavailable,
    usage_error,
)
from hsm._libcrypto cimport (
    DES_cblock,
    DES_ecb_encrypt,
    DES_key_schedule,
    DES_set_key_unchecked,
    EVP_aes_128_ecb,
    EVP_aes_192_ecb,
    EVP_aes_256_ecb,
    EVP_CIPHER,
    EVP_CIPHER_CTX,
    EVP_CIPHER_CTX_free,
    EVP_CIPHER_CTX_new,
    EVP_CIPHER_CTX_set_padding,
    EVP_CipherInit_ex,
    EVP_CipherUpdate,
    OPENSSL_cleanse,
)
from hsm._pkcs11 cimport CK_BYTE, CK_RV, CK_ULONG, CKA_VALUE_LEN, CKR_OK

cdef extern from "openssl/evp.h" nogil:
    int EVP_CIPHER_CTX_reset(EVP_CIPHER_CTX *context)

cdef enum:
    RELEASE_FROM_BYTES = 2048  # triple DES takes about 70 µs for them

include "core/dukpt.pxi"

# What a working key is called → (X9.24-3 key usage, usage of the key).
cdef dict PURPOSES = {
    "pin": (USE_PIN, "PIN_KEY"),
    "mac-request": (USE_MAC, "MAC_KEY"),
    "mac-response": (USE_MAC + 1, "MAC_KEY"),
    "mac-both": (USE_MAC + 2, "MAC_KEY"),
    "data-request": (USE_DATA, "DATA_KEY"),
    "data-response": (USE_DATA + 1, "DATA_KEY"),
    "data-both": (USE_DATA + 2, "DATA_KEY"),
    "key-encryption": (USE_KEY_ENCRYPTION, "KEY_TRANSPORT"),
    "key-derivation": (USE_DERIVATION, "DUKPT_INITIAL"),
}
cdef dict FAMILY_NAMES = {DES: "DES", AES: "AES", HMAC_FAMILY: "HMAC"}
cdef dict DIRECTIONS = {"request": 0, "response": 1, "both": 2}


# --- keys for key management and for vectors --------------------------------------------------------------------------
# Mode E for a key that is part of a chain but not its beginning: as an initial key it would derive what no device has.

def derive_initial_key(Token token not None, Key base not None, bytes ksn, str label not None):
    if base.use != DUKPT_BASE:
        raise usage_error(base, DUKPT_BASE)
    return derived_host_key(token, base, ksn, INITIAL_KEY, None, 0, label, "DUKPT_INITIAL", "X")


def derive_transaction_key(Token token not None, Key base not None, bytes ksn, str label not None):
    return derived_host_key(token, base, ksn, TRANSACTION_KEY, None, 0, label, "DUKPT_INITIAL", "E")


def derive_working_key(Token token not None, Key base not None, bytes ksn, str key_type, str purpose,
                       str label not None):
    found = PURPOSES.get(purpose)
    if found is None:
        raise InvalidCommand("a working key has no such purpose")
    mode = "E" if found[0] == USE_DERIVATION else "N"
    return derived_host_key(token, base, ksn, WORKING_KEY, key_type, found[0], label, found[1], mode)


cdef HostKey derived_host_key(Token token, Key base, bytes ksn, Stage stage, str key_type, int purpose, str label,
                              str usage, str mode):
    cdef Derivation derivation = take()
    cdef HostKey key
    cdef bint tdes = base.cipher.block_length == 8
    try:
        check_base(base)
        if stage == WORKING_KEY:
            find_key_type(key_type, &derivation.kind)
        derivation.derive(token, base, ksn, stage, purpose)
        if stage == WORKING_KEY:
            key = HostKey(label, usage, FAMILY_NAMES[derivation.kind.family], mode=mode)
            key.fill(derivation.steps.key, derivation.kind.length)
        else:
            key = HostKey(label, usage, "DES" if tdes else "AES", mode=mode)
            key.fill(derivation.steps.key, 16 if tdes else derivation.steps.length)
        return key
    finally:
        give_back(derivation)


# --- the commands: documented in hsm.commands.dukpt -------------------------------------------------------------------

# One item; `derivation` is wiped after it.
ctypedef object (*run_item)(Derivation derivation, Token token, dict keys, object item)


cdef list run_items(Token token, dict keys, object items, run_item run):
    cdef list results = []
    cdef Derivation derivation = take()
    try:
        for item in items:
            try:
                results.append(run(derivation, token, keys, item))
            except HsmError as error:
                results.append(error)
            finally:
                derivation.wipe()
    finally:
        give_back(derivation)
    return results


def translate_dukpt_pins(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, translate_to_static)


def translate_pins_between_dukpt(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, translate_between)


def dukpt_macs(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, make_mac)


def verify_dukpt_macs(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, verify_mac)


def dukpt_encipher(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, encipher)


def dukpt_decipher(Token token not None, dict keys not None, items):
    return run_items(token, keys, items, decipher)


cdef int directed(int purpose, str direction) except -1:
    found = DIRECTIONS.get(direction)
    if found is None:
        raise InvalidCommand("a direction is request, response or both")
    return purpose + <int>found


cdef int derive_for(Derivation derivation, Token token, dict keys, str label, bytes ksn, str key_type,
                    int purpose) except -1:
    """The working key of an item, into `derivation.cipher`."""
    cdef Key base = find_key(keys, label)
    check_base(base)
    return derivation.working_key(token, base, ksn, key_type, purpose)


# --- PINs -------------------------------------------------------------------------------------------------------------

cdef object translate_to_static(Derivation derivation, Token token, dict keys, object item):
    base, ksn, key_type, source_format, target_label, target_format, block, pan = item
    cdef Key target = find_key_for(keys, target_label, PIN_KEY, MAY_ENCIPHER)
    derive_for(derivation, token, keys, base, ksn, key_type, USE_PIN)
    return translated(token, &derivation.cipher, source_format, &target.cipher, target_format, block, pan)


cdef object translate_between(Derivation derivation, Token token, dict keys, object item):
    base, ksn, key_type, source_format, target_base, target_ksn, target_type, target_format, block, pan = item
    cdef Derivation target = take()
    try:
        derive_for(derivation, token, keys, base, ksn, key_type, USE_PIN)
        derive_for(target, token, keys, target_base, target_ksn, target_type, USE_PIN)
        return translated(token, &derivation.cipher, source_format, &target.cipher, target_format, block, pan)
    finally:
        give_back(target)


cdef object translated(Token token, Cipher *source, int source_format, Cipher *target, int target_format, bytes block,
                       str pan):
    """The block under the target key, or PinFormatError."""
    cdef PinJob job
    if not (pin_format_fits(source_format, source.block_length)
            and pin_format_fits(target_format, target.block_length)
            and translation_permitted(source_format, target_format)
            and bounded(block) == source.block_length):
        raise PinFormatError("PIN block, formats and keys do not fit, or this translation is not permitted")
    read_job_pan(&job, pan, source_format == 1 and target_format == 1)
    job.source, job.target = source, target
    job.source_format, job.target_format = source_format, target_format
    memcpy(job.block, PyBytes_AS_STRING(block), source.block_length)
    try:
        token.enter()
        translate_pin(&job, token.scratch)
        token.leave()
        return pin_result(&job)
    finally:
        OPENSSL_cleanse(&job, sizeof(PinJob))


# --- MACs -------------------------------------------------------------------------------------------------------------

cdef object make_mac(Derivation derivation, Token token, dict keys, object item):
    base, ksn, key_type, direction, algorithm, data = item
    derive_for(derivation, token, keys, base, ksn, key_type, directed(USE_MAC, direction))
    return mac_under(derivation, algorithm, data)


cdef object verify_mac(Derivation derivation, Token token, dict keys, object item):
    base, ksn, key_type, direction, algorithm, data, mac = item
    derive_for(derivation, token, keys, base, ksn, key_type, directed(USE_MAC, direction))
    check_mac(base, mac_under(derivation, algorithm, data), mac)


cdef bytes mac_under(Derivation derivation, str algorithm, bytes data):
    cdef CK_BYTE mac[32]
    cdef int length
    if algorithm is None or not algorithm.startswith(("iso9797-", "cmac", "hmac-")):
        raise InvalidCommand("there is no such MAC algorithm for this type of key")
    length = mac_with(derivation.secret, algorithm, data, mac)
    return PyBytes_FromStringAndSize(<char *>mac, length)


cdef int check_mac(str label, bytes expected, bytes mac) except -1:
    bounded(mac)
    if same_bytes(expected, mac):
        return 0
    raise MacMismatch(f"a MAC does not verify under {label}")


# --- data -------------------------------------------------------------------------------------------------------------

cdef object encipher(Derivation derivation, Token token, dict keys, object item):
    return run_data(derivation, token, keys, item, True)


cdef object decipher(Derivation derivation, Token token, dict keys, object item):
    return run_data(derivation, token, keys, item, False)


cdef bytes run_data(Derivation derivation, Token token, dict keys, object item, bint encrypt):
    base, ksn, key_type, direction, chaining, iv, data = item
    derive_for(derivation, token, keys, base, ksn, key_type, directed(USE_DATA, direction))
    return data_under(derivation, encrypt, chaining, iv, data)


cdef bytes data_under(Derivation derivation, bint encrypt, str chaining, bytes iv, bytes data):
    cdef int size = derivation.cipher.block_length
    cdef Py_ssize_t length = bounded(data)
    cdef bint chained = chaining == "CBC"
    cdef CK_BYTE state[16]
    cdef const CK_BYTE *source
    cdef CK_BYTE *target
    cdef bytes output
    if chaining != "CBC" and chaining != "ECB":
        raise InvalidCommand("data is enciphered in CBC or ECB")
    if bounded(iv) != (size if chained else 0):
        raise InvalidCommand("CBC needs an IV of one block, ECB takes none")
    if length == 0 or length % size:
        raise InvalidCommand("data must be whole blocks, one at least")
    output = PyBytes_FromStringAndSize(NULL, length)
    source, target = <const CK_BYTE *>PyBytes_AS_STRING(data), <CK_BYTE *>PyBytes_AS_STRING(output)
    memset(state, 0, 16)
    memcpy(state, PyBytes_AS_STRING(iv), PyBytes_GET_SIZE(iv))
    if length >= RELEASE_FROM_BYTES:
        with nogil:
            run_blocks(derivation.secret, encrypt, chained, size, state, source, target, length)
    else:
        run_blocks(derivation.secret, encrypt, chained, size, state, source, target, length)
    return output


cdef void run_blocks(Secret *secret, bint encrypt, bint chained, int size, CK_BYTE *state, const CK_BYTE *source,
                     CK_BYTE *target, Py_ssize_t length) noexcept nogil:
    """ECB or CBC (NIST SP 800-38A). `state`: the IV."""
    cdef Py_ssize_t offset = 0
    while offset < length:
        memcpy(&target[offset], &source[offset], size)
        if chained and encrypt:
            mix(&target[offset], state, size)
        host_block(secret, encrypt, &target[offset])
        if chained and encrypt:
            memcpy(state, &target[offset], size)
        elif chained:
            mix(&target[offset], state, size)
            memcpy(state, &source[offset], size)
        offset += size


cdef void mix(CK_BYTE *block, const CK_BYTE *other, int size) noexcept nogil:
    cdef int index
    for index in range(size):
        block[index] ^= other[index]
