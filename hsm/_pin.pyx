# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""PIN verification, generation and change. The typed face is `_pin.pyi`; what they mean is in `hsm.commands.pin`.

Each item is one section under the token's lock: the PIN is deciphered into the token's scratch, used there, and wiped
with it by `leave`. A block that is not valid runs through the same steps as one that is, and ends as a wrong PIN does.
"""

from hsm.errors import HsmError, InvalidCommand, PinFormatError, PinMismatch

from libc.string cimport memcpy, memset

from hsm._core cimport *
from hsm._libcrypto cimport CRYPTO_memcmp, OPENSSL_cleanse, RAND_bytes
from hsm._pkcs11 cimport CK_BYTE, CK_RV, CKR_GENERAL_ERROR, CKR_OK

include "core/digits.pxi"

cdef enum:
    LEAST_PIN = 4
    MOST_PIN = 12
    PVV_DIGITS = 4
    MOST_VALIDATION = 16

# What stands beside a PVV: the account's digits are in the job, these are the rest.
cdef struct Pvv:
    Cipher *cipher
    CK_BYTE index  # PVKI
    CK_BYTE given[PVV_DIGITS]
    CK_BYTE computed[16]  # room for `take_digits`

cdef struct Ibm3624:
    Cipher *cipher
    CK_BYTE table[16]
    CK_BYTE validation[8]
    CK_BYTE given[MOST_PIN]
    CK_BYTE computed[MOST_PIN]
    int check_length

INVALID = "the PIN block is not valid for its format, PAN and key"


# --- what all of them share -------------------------------------------------------------------------------------------

cdef Key read_block(PinJob *job, dict keys, str label, int pin_format, bytes block, str pan):
    """The PIN key of a block, and the job filled to open it. Hold the key while the job is used."""
    cdef Key key = find_key_for(keys, label, PIN_KEY, MAY_DECIPHER)
    memset(job, 0, sizeof(PinJob))
    if not pin_format_fits(pin_format, key.cipher.block_length) or bounded(block) != key.cipher.block_length:
        raise PinFormatError("PIN block, format and key do not fit")
    read_job_pan(job, pan, False)
    job.source = &key.cipher
    job.source_format = pin_format
    memcpy(job.block, <const char *>block, key.cipher.block_length)
    return key


cdef Key find_triple_des_key(dict keys, str label, Usage usage, unsigned int wanted):
    cdef Key key = find_key_for(keys, label, usage, wanted)
    if key.cipher.block_length != 8 or key.cipher.host is not NULL and key.cipher.host.length == 8:
        raise InvalidCommand("PINs are verified under double-length or triple-length DES keys")
    return key


cdef CK_RV open_pin(PinJob *job, Scratch *scratch, bint *valid) noexcept nogil:
    """job.block -> scratch.pin, with zeros behind it. The digits of a block that is not valid mean nothing, but are
    there to go on with."""
    cdef CK_RV rv = decipher_field(job, scratch)
    memset(scratch.pin, 0, MOST_PIN)
    valid[0] = decode_pin(scratch, job.source_format) and rv == CKR_OK
    return rv


cdef str text_of(const CK_BYTE *digits, int length):
    cdef char characters[MOST_PIN]
    cdef int index
    for index in range(length):
        characters[index] = 48 + digits[index]
    return characters[:length].decode("ascii")


# --- Visa PIN verification value --------------------------------------------------------------------------------------

cdef Key read_pvv_key(Pvv *pvv, dict keys, str label, unsigned int wanted, str index):
    cdef Key key = find_triple_des_key(keys, label, PVV_KEY, wanted)
    pvv.cipher = &key.cipher
    read_digits(index, 1, 1, &pvv.index, "the PVKI")
    return key


cdef CK_RV compute_pvv(PinJob *job, Pvv *pvv, Scratch *scratch) noexcept nogil:
    """scratch.pin -> pvv.computed, over 11 digits of the account, the PVKI and 4 of the PIN."""
    cdef CK_BYTE *nibbles = scratch.nibbles
    cdef CK_RV rv
    cdef int index
    memcpy(nibbles, &job.pan[job.pan_length - 12], 11)
    nibbles[11] = pvv.index
    memcpy(&nibbles[12], scratch.pin, 4)
    for index in range(8):
        scratch.field[index] = nibbles[2 * index] << 4 | nibbles[2 * index + 1]
    rv = run_block(pvv.cipher, True, scratch.field, scratch.output)
    take_digits(scratch.field, PVV_DIGITS, pvv.computed)
    return rv


def generate_pvvs(Token token not None, dict keys not None, items):
    """See `hsm.commands.pin.generate_pvvs`."""
    cdef list results = []
    for pin_key, pin_format, block, pan, pvv_key, index in items:
        try:
            results.append(generate_pvv(token, keys, pin_key, pin_format, block, pan, pvv_key, index))
        except HsmError as error:
            results.append(error)
    return results


cdef str generate_pvv(Token token, dict keys, str pin_label, int pin_format, bytes block, str pan, str pvv_label,
                      str index):
    cdef PinJob job
    cdef Pvv pvv
    cdef bint valid = False
    cdef CK_RV rv
    cdef Key pin_key = read_block(&job, keys, pin_label, pin_format, block, pan)
    cdef Key pvv_key = read_pvv_key(&pvv, keys, pvv_label, MAY_GENERATE, index)
    token.enter()
    rv = open_pin(&job, token.scratch, &valid)
    if rv == CKR_OK and valid:
        rv = compute_pvv(&job, &pvv, token.scratch)
    token.leave()
    if rv != CKR_OK:
        raise unavailable("PVV generation", rv)
    if not valid:
        raise PinFormatError(INVALID)
    return text_of(pvv.computed, PVV_DIGITS)


def verify_pins_pvv(Token token not None, dict keys not None, items):
    """See `hsm.commands.pin.verify_pins_pvv`."""
    cdef list results = []
    for pin_key, pin_format, block, pan, pvv_key, index, pvv in items:
        try:
            verify_pin_pvv(token, keys, pin_key, pin_format, block, pan, pvv_key, index, pvv)
            results.append(None)
        except HsmError as error:
            results.append(error)
    return results


cdef CK_RV check_pvv(PinJob *job, Pvv *pvv, Scratch *scratch, bint *matches) noexcept nogil:
    cdef bint valid = False
    cdef CK_RV rv = open_pin(job, scratch, &valid)
    if rv == CKR_OK:
        rv = compute_pvv(job, pvv, scratch)
    matches[0] = (CRYPTO_memcmp(pvv.computed, pvv.given, PVV_DIGITS) == 0) & valid
    return rv


cdef int verify_pin_pvv(Token token, dict keys, str pin_label, int pin_format, bytes block, str pan, str pvv_label,
                        str index, str given) except -1:
    cdef PinJob job
    cdef Pvv pvv
    cdef bint matches = False
    cdef CK_RV rv
    cdef Key pin_key = read_block(&job, keys, pin_label, pin_format, block, pan)
    cdef Key pvv_key = read_pvv_key(&pvv, keys, pvv_label, MAY_CHECK, index)
    read_digits(given, PVV_DIGITS, PVV_DIGITS, pvv.given, "the PVV")
    token.enter()
    rv = check_pvv(&job, &pvv, token.scratch, &matches)
    token.leave()
    OPENSSL_cleanse(&pvv, sizeof(Pvv))  # the right PVV of a wrong guess
    if rv != CKR_OK:
        raise unavailable("PIN verification", rv)
    if not matches:
        raise PinMismatch(f"a PIN does not verify under {pvv_label}")
    return 0


def change_pins(Token token not None, dict keys not None, items):
    """See `hsm.commands.pin.change_pins`."""
    cdef list results = []
    for pin_key, pin_format, block, new_block, pan, pvv_key, index, pvv in items:
        try:
            results.append(change_pin(token, keys, pin_key, pin_format, block, new_block, pan, pvv_key, index, pvv))
        except HsmError as error:
            results.append(error)
    return results


cdef str change_pin(Token token, dict keys, str pin_label, int pin_format, bytes block, bytes new_block, str pan,
                    str pvv_label, str index, str given):
    """The new block is judged first and whatever the old one holds, so that its error says nothing about the old PIN."""
    cdef PinJob job, new_job
    cdef Pvv pvv, new_pvv
    cdef bint matches = False, valid = False
    cdef CK_RV rv
    cdef Key pin_key = read_block(&job, keys, pin_label, pin_format, block, pan)
    cdef Key new_key = read_block(&new_job, keys, pin_label, pin_format, new_block, pan)
    cdef Key pvv_key = read_pvv_key(&pvv, keys, pvv_label, MAY_CHECK | MAY_GENERATE, index)
    read_digits(given, PVV_DIGITS, PVV_DIGITS, pvv.given, "the PVV")
    new_pvv = pvv
    token.enter()
    rv = open_pin(&new_job, token.scratch, &valid)
    if rv == CKR_OK:
        rv = compute_pvv(&new_job, &new_pvv, token.scratch)
    if rv == CKR_OK:
        rv = check_pvv(&job, &pvv, token.scratch, &matches)
    token.leave()
    OPENSSL_cleanse(&pvv, sizeof(Pvv))
    try:
        if rv != CKR_OK:
            raise unavailable("PIN change", rv)
        if not valid:
            raise PinFormatError(INVALID)
        if not matches:
            raise PinMismatch(f"a PIN does not verify under {pvv_label}")
        return text_of(new_pvv.computed, PVV_DIGITS)
    finally:
        OPENSSL_cleanse(&new_pvv, sizeof(Pvv))


# --- IBM 3624 ---------------------------------------------------------------------------------------------------------

cdef Key read_ibm3624(Ibm3624 *method, PinJob *job, dict keys, str label, unsigned int wanted, str table, int start,
                      int length, str pad):
    """Key, table and validation data: `length` digits of the job's PAN from `start` on, filled up with `pad`."""
    cdef CK_BYTE nibbles[MOST_VALIDATION]
    cdef int index
    cdef Key key = find_triple_des_key(keys, label, IBM3624_KEY, wanted)
    method.cipher = &key.cipher
    read_digits(table, 16, 16, method.table, "the decimalisation table")
    if start < 0 or not LEAST_PIN <= length <= MOST_VALIDATION or start > job.pan_length - length:
        raise InvalidCommand("the validation data are 4 to 16 digits of the PAN")
    if len(pad) != 1 or pad not in "0123456789ABCDEF":
        raise InvalidCommand("the pad of the validation data is a hexadecimal digit")
    memset(nibbles, int(pad, 16), MOST_VALIDATION)
    memcpy(nibbles, &job.pan[start], length)
    for index in range(8):
        method.validation[index] = nibbles[2 * index] << 4 | nibbles[2 * index + 1]
    return key


cdef CK_RV compute_intermediate(Ibm3624 *method, Scratch *scratch) noexcept nogil:
    """validation -> the 16 digits of the intermediate PIN in scratch.nibbles: encipher, then all through the table."""
    cdef int index
    cdef CK_RV rv
    memcpy(scratch.field, method.validation, 8)
    rv = run_block(method.cipher, True, scratch.field, scratch.output)
    for index in range(8):
        scratch.nibbles[2 * index] = method.table[scratch.field[index] >> 4]
        scratch.nibbles[2 * index + 1] = method.table[scratch.field[index] & 15]
    return rv


cdef CK_RV compute_offset(PinJob *job, Ibm3624 *method, Scratch *scratch, bint *valid) noexcept nogil:
    """method.computed: PIN less intermediate PIN, digit by digit modulo 10; its last `check_length` digits."""
    cdef int index, place, length
    cdef CK_RV rv = open_pin(job, scratch, valid)
    if rv == CKR_OK:
        rv = compute_intermediate(method, scratch)
    length = scratch.pin_length if scratch.pin_length < MOST_PIN else MOST_PIN
    if length < method.check_length:
        valid[0] = False
        length = method.check_length
    for index in range(method.check_length):
        place = length - method.check_length + index
        method.computed[index] = (scratch.pin[place] + 10 - scratch.nibbles[place]) % 10
    return rv


def generate_ibm3624_offsets(Token token not None, dict keys not None, items):
    """See `hsm.commands.pin.generate_ibm3624_offsets`. Any table will do here: which ones may be used is policy."""
    cdef list results = []
    for pin_key, pin_format, block, pan, key, table, start, length, pad, check_length in items:
        try:
            results.append(generate_offset(
                token, keys, pin_key, pin_format, block, pan, key, table, start, length, pad, check_length))
        except HsmError as error:
            results.append(error)
    return results


cdef str generate_offset(Token token, dict keys, str pin_label, int pin_format, bytes block, str pan, str label,
                         str table, int start, int length, str pad, int check_length):
    cdef PinJob job
    cdef Ibm3624 method
    cdef bint valid = False
    cdef CK_RV rv
    cdef Key pin_key = read_block(&job, keys, pin_label, pin_format, block, pan)
    cdef Key key = read_ibm3624(&method, &job, keys, label, MAY_GENERATE, table, start, length, pad)
    if not LEAST_PIN <= check_length <= MOST_PIN:
        raise InvalidCommand("4 to 12 digits of a PIN are checked")
    method.check_length = check_length
    token.enter()
    rv = compute_offset(&job, &method, token.scratch, &valid)
    token.leave()
    try:
        if rv != CKR_OK:
            raise unavailable("offset generation", rv)
        if not valid:
            raise PinFormatError(INVALID)
        return text_of(method.computed, check_length)
    finally:
        OPENSSL_cleanse(&method, sizeof(Ibm3624))


def verify_pins_ibm3624(Token token not None, dict keys not None, items):
    """See `hsm.commands.pin.verify_pins_ibm3624`. Any table will do here: which ones may be used is policy."""
    cdef list results = []
    for pin_key, pin_format, block, pan, key, table, start, length, pad, offset in items:
        try:
            verify_offset(token, keys, pin_key, pin_format, block, pan, key, table, start, length, pad, offset)
            results.append(None)
        except HsmError as error:
            results.append(error)
    return results


cdef int verify_offset(Token token, dict keys, str pin_label, int pin_format, bytes block, str pan, str label,
                       str table, int start, int length, str pad, str given) except -1:
    cdef PinJob job
    cdef Ibm3624 method
    cdef bint matches = False
    cdef CK_RV rv
    cdef Key pin_key = read_block(&job, keys, pin_label, pin_format, block, pan)
    cdef Key key = read_ibm3624(&method, &job, keys, label, MAY_CHECK, table, start, length, pad)
    method.check_length = read_digits(given, LEAST_PIN, MOST_PIN, method.given, "the offset")
    token.enter()
    rv = compute_offset(&job, &method, token.scratch, &matches)
    token.leave()
    matches = (CRYPTO_memcmp(method.computed, method.given, method.check_length) == 0) & matches
    OPENSSL_cleanse(&method, sizeof(Ibm3624))
    if rv != CKR_OK:
        raise unavailable("PIN verification", rv)
    if not matches:
        raise PinMismatch(f"a PIN does not verify under {label}")
    return 0


# --- blocks against blocks, and new blocks ----------------------------------------------------------------------------

def compare_pins(Token token not None, dict keys not None, items):
    """See `hsm.commands.pin.compare_pins`."""
    cdef list results = []
    for left_key, left_format, left, right_key, right_format, right, pan in items:
        try:
            compare_pin(token, keys, left_key, left_format, left, right_key, right_format, right, pan)
            results.append(None)
        except HsmError as error:
            results.append(error)
    return results


cdef int compare_pin(Token token, dict keys, str left_label, int left_format, bytes left, str right_label,
                     int right_format, bytes right, str pan) except -1:
    cdef PinJob left_job, right_job
    cdef Scratch *scratch = token.scratch
    cdef bint left_valid = False, right_valid = False, matches
    cdef CK_RV rv
    cdef Key left_key = read_block(&left_job, keys, left_label, left_format, left, pan)
    cdef Key right_key = read_block(&right_job, keys, right_label, right_format, right, pan)
    if left_format == 1 and right_format == 1:
        raise PinFormatError("of two PIN blocks that are compared one at least is bound to its PAN")
    token.enter()
    rv = open_pin(&left_job, scratch, &left_valid)
    memcpy(scratch.key, scratch.pin, MOST_PIN)
    scratch.key[MOST_PIN] = scratch.pin_length
    if rv == CKR_OK:
        rv = open_pin(&right_job, scratch, &right_valid)
    matches = CRYPTO_memcmp(scratch.key, scratch.pin, MOST_PIN) == 0
    matches = matches & (scratch.key[MOST_PIN] == scratch.pin_length) & left_valid & right_valid
    token.leave()
    if rv != CKR_OK:
        raise unavailable("PIN comparison", rv)
    if not matches:
        raise PinMismatch("two PIN blocks do not hold the same PIN")
    return 0


def generate_pins(Token token not None, dict keys not None, items):
    """See `hsm.commands.pin.generate_pins`."""
    cdef list results = []
    for pin_key, pin_format, length, pan in items:
        try:
            results.append(generate_pin(token, keys, pin_key, pin_format, length, pan))
        except HsmError as error:
            results.append(error)
    return results


cdef bytes generate_pin(Token token, dict keys, str label, int pin_format, int length, str pan):
    cdef PinJob job
    cdef CK_RV rv = CKR_GENERAL_ERROR
    cdef Key key = find_key_for(keys, label, PIN_KEY, MAY_ENCIPHER)
    memset(&job, 0, sizeof(PinJob))
    if pin_format == 1 or not pin_format_fits(pin_format, key.cipher.block_length):
        raise PinFormatError("a new PIN is put into a block of format 0, 3 or 4, which its key must fit")
    if not LEAST_PIN <= length <= MOST_PIN:
        raise InvalidCommand("a PIN has 4 to 12 digits")
    read_job_pan(&job, pan, False)
    job.target = &key.cipher
    job.target_format = pin_format
    token.enter()
    if choose_pin(token.scratch, length) and encode_pin(token.scratch, pin_format):
        rv = encipher_field(&job, token.scratch)
    token.leave()
    if rv != CKR_OK:
        raise unavailable("PIN generation", rv)
    return job.block[:key.cipher.block_length]


cdef bint choose_pin(Scratch *scratch, int length) noexcept nogil:
    """Digits that are all equally likely: bytes from 250 on are thrown away. False if there is no randomness."""
    cdef int index
    scratch.pin_length = 0
    while scratch.pin_length < length:
        if RAND_bytes(scratch.random, 32) != 1:
            return False
        for index in range(32):
            if scratch.random[index] < 250 and scratch.pin_length < length:
                scratch.pin[scratch.pin_length] = scratch.random[index] % 10
                scratch.pin_length += 1
    return True


def encipher_chip_pin(Token token not None, dict keys not None, str pin_key, int pin_format, bytes block not None,
                      str pan, str target):
    """A PIN block of format 2 (ISO 9564-1:2017, 9.3.3), the one a card takes in a script, under a DES PIN key.

    No command: a block of format 2 holds nothing but the PIN, so all cards with one PIN would share it. It lets the
    field that scripts carry be checked against vectors.
    """
    cdef PinJob job
    cdef bint valid = False
    cdef CK_RV rv
    cdef Key source_key = read_block(&job, keys, pin_key, pin_format, block, pan)
    cdef Key target_key = find_triple_des_key(keys, target, PIN_KEY, MAY_ENCIPHER)
    job.target = &target_key.cipher
    job.target_format = 2
    token.enter()
    rv = open_pin(&job, token.scratch, &valid)
    if rv == CKR_OK and valid:
        rv = encipher_field(&job, token.scratch) if encode_pin(token.scratch, 2) else CKR_GENERAL_ERROR
    token.leave()
    if rv != CKR_OK:
        raise unavailable("PIN translation", rv)
    if not valid:
        raise PinFormatError(INVALID)
    return job.block[:8]
