# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Card verification values over digits. The typed face is `_card.pyi`; what they mean is in `hsm.commands.card`."""

from hsm.errors import CardCodeMismatch, HsmError, InvalidCommand

from libc.string cimport memcpy, memset

from hsm._core cimport *
from hsm._libcrypto cimport CRYPTO_memcmp, OPENSSL_cleanse
from hsm._pkcs11 cimport CK_BYTE

include "core/digits.pxi"

cdef enum:
    CODE_DIGITS = 3


def card_codes(dict keys not None, items):
    """See `hsm.commands.card.card_codes`."""
    cdef list results = []
    cdef CK_BYTE code[16]
    check_not_inherited()
    for label, pan, expiry, service_code in items:
        try:
            compute_code(keys, label, MAY_GENERATE, pan, expiry, service_code, code)
            results.append(f"{code[0]}{code[1]}{code[2]}")
        except HsmError as error:
            results.append(error)
    return results


def verify_card_codes(dict keys not None, items):
    """See `hsm.commands.card.verify_card_codes`."""
    cdef list results = []
    cdef CK_BYTE given[CODE_DIGITS]
    cdef CK_BYTE code[16]
    check_not_inherited()
    for label, pan, expiry, service_code, expected in items:
        try:
            compute_code(keys, label, MAY_CHECK, pan, expiry, service_code, code)
            read_digits(expected, CODE_DIGITS, CODE_DIGITS, given, "a card code")
            if CRYPTO_memcmp(code, given, CODE_DIGITS) != 0:
                raise CardCodeMismatch(f"a card code does not verify under {label}")
            results.append(None)
        except HsmError as error:
            results.append(error)
        finally:
            OPENSSL_cleanse(code, 16)  # the right code of a wrong guess
    return results


cdef int compute_code(dict keys, str label, unsigned int wanted, str pan, str expiry, str service_code,
                      CK_BYTE *code) except -1:
    """Three digits into `code`, which has room for 16."""
    cdef CK_BYTE digits[32]
    cdef CK_BYTE block[8]
    cdef int index, length
    cdef HostKey key = find_host_key_for(keys, label, CARD_VERIFICATION, wanted)
    cdef Secret *secret = key.cipher.host
    if secret.family != DES or secret.length != 16:
        raise InvalidCommand("a card verification key is a double-length DES key")
    memset(digits, 0, 32)
    length = read_digits(pan, 12, 19, digits, "the PAN")
    length += read_digits(expiry, 4, 4, &digits[length], "the expiry date")
    read_digits(service_code, 3, 3, &digits[length], "the service code")
    for index in range(8):
        block[index] = digits[2 * index] << 4 | digits[2 * index + 1]
    single_des_block(secret, 0, True, block)
    for index in range(8):
        block[index] ^= digits[16 + 2 * index] << 4 | digits[17 + 2 * index]
    host_block(secret, True, block)
    take_digits(block, CODE_DIGITS, code)
    OPENSSL_cleanse(block, 8)
    OPENSSL_cleanse(digits, 32)
    return 0
