# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Format-preserving encryption: FF1 and FF3-1. The typed face is `_fpe.pyi`.

Both are Feistel networks over two halves of the text, each a number below radix^length. Here a half is at most 2^96,
which FF3-1 demands and FF1 does not: so numbers fit 128 bits and one AES block makes a round. AES runs over kept-open
ECB contexts; FF3-1 enciphers under the key's bytes in reverse order, in a context that lives as long as one command.
The arithmetic on the text takes a time that depends on the text; what is done with the key does not.
"""

from hsm.errors import HsmError, HsmUnavailable, InvalidCommand

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcpy, memset

from hsm._core cimport (
    AES, FPE_KEY, MAY_DECIPHER, MAY_ENCIPHER, HostKey, Secret, bounded, check_not_inherited, find_host_key_for,
)
from hsm._libcrypto cimport (
    EVP_CIPHER_CTX, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CIPHER_CTX_set_padding, EVP_CipherInit_ex,
    EVP_CipherUpdate, EVP_aes_128_ecb, EVP_aes_192_ecb, EVP_aes_256_ecb, OPENSSL_cleanse,
)
from hsm._pkcs11 cimport CK_BYTE

cdef extern from *:
    """
    typedef unsigned __int128 uint128;
    """
    ctypedef unsigned long long uint128

cdef enum:
    FF1_ROUNDS = 10
    FF3_ROUNDS = 8
    HALF_BITS = 96
    MAX_NUMERALS = 192  # two halves of 96 bits in radix 2
    MAX_RADIX = 256
    MAX_TWEAK = 256
    FF3_TWEAK = 7
    LEAST_DOMAIN = 1000000

# One text on its way through the rounds.
cdef struct Feistel:
    EVP_CIPHER_CTX *cipher
    bint failed  # libcrypto did not encipher: the outcome would be no secret
    int rounds
    uint128 halves[2]
    uint128 moduli[2]  # of the half that an even and an odd round changes
    int number_bytes  # FF1: of a half in the round's block
    int sum_bytes  # FF1: of the round's output
    CK_BYTE state[16]  # FF1: the CBC-MAC up to the last block
    CK_BYTE template[16]  # FF1: the last block before round and half are written
    CK_BYTE tweaks[2][4]  # FF3-1: of even and odd rounds

cdef str DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


# --- commands ---------------------------------------------------------------------------------------------------------

def encipher(dict keys not None, items):
    """See `hsm.commands.fpe.fpe_encipher`."""
    return run(keys, items, True)


def decipher(dict keys not None, items):
    """See `hsm.commands.fpe.fpe_decipher`."""
    return run(keys, items, False)


@cython.final
cdef class ReversedKey:
    """AES under a key's bytes in reverse order; the schedule is wiped with this object."""
    cdef EVP_CIPHER_CTX *cipher
    cdef HostKey key

    def __dealloc__(self):
        EVP_CIPHER_CTX_free(self.cipher)

    cdef EVP_CIPHER_CTX *of(self, HostKey key) except NULL:
        """The context for a key; made anew only where the key is another than before."""
        if self.key is not key:
            self.key = None
            if self.cipher is NULL:
                self.cipher = EVP_CIPHER_CTX_new()
            if self.cipher is NULL or not open_reversed(self.cipher, key.cipher.host):
                raise HsmUnavailable("libcrypto cannot take the key")
            self.key = key
        return self.cipher


cdef list run(dict keys, items, bint encrypt):
    cdef list results = []
    cdef ReversedKey reversed_key = ReversedKey()
    check_not_inherited()
    for label, algorithm, tweak, alphabet, text in items:
        try:
            results.append(run_one(keys, reversed_key, encrypt, label, algorithm, tweak, alphabet, text))
        except HsmError as error:
            results.append(error)
    return results


cdef str run_one(dict keys, ReversedKey reversed_key, bint encrypt, str label, str algorithm, bytes tweak, alphabet,
                 str text):
    cdef HostKey key = find_host_key_for(keys, label, FPE_KEY, MAY_ENCIPHER if encrypt else MAY_DECIPHER)
    cdef CK_BYTE numerals[MAX_NUMERALS]
    cdef Feistel feistel
    cdef int length, radix, left
    cdef bint reverse = algorithm == "ff3-1"
    if key.cipher.host.family != AES:
        raise InvalidCommand("format-preserving encryption needs an AES key")
    if not reverse and algorithm != "ff1":
        raise InvalidCommand("no such format-preserving encryption")
    radix = check_alphabet(alphabet)
    length = read_numerals(text, alphabet, radix, numerals)
    left = (length + 1) // 2 if reverse else length // 2
    memset(&feistel, 0, sizeof(Feistel))
    try:
        set_moduli(&feistel, radix, left, length - left)
        if reverse:
            feistel.cipher = reversed_key.of(key)
            start_ff3(&feistel, tweak)
        else:
            feistel.cipher = key.cipher.host.encipher
            start_ff1(&feistel, radix, length, tweak)
        feistel.halves[0] = to_number(numerals, left, radix, reverse)
        feistel.halves[1] = to_number(numerals + left, length - left, radix, reverse)
        run_rounds(&feistel, encrypt)
        if feistel.failed:
            raise HsmUnavailable("libcrypto does not encipher")
        to_numerals(feistel.halves[0], numerals, left, radix, reverse)
        to_numerals(feistel.halves[1], numerals + left, length - left, radix, reverse)
        return write_numerals(numerals, length, alphabet)
    finally:
        OPENSSL_cleanse(&feistel, sizeof(Feistel))
        OPENSSL_cleanse(numerals, sizeof(numerals))


# --- text and numerals ------------------------------------------------------------------------------------------------

cdef int check_alphabet(alphabet) except -1:
    """The radix: the alphabet itself if it is a number, which stands for the first of DIGITS, else its length."""
    if isinstance(alphabet, int):
        if not 2 <= alphabet <= 36:
            raise InvalidCommand("a radix without an alphabet is 2 to 36")
        return alphabet
    if not isinstance(alphabet, str):
        raise TypeError("a radix or an alphabet is expected")
    if not 2 <= len(alphabet) <= MAX_RADIX or len(set(alphabet)) != len(alphabet):
        raise InvalidCommand(f"an alphabet has 2 to {MAX_RADIX} different characters")
    return <int>len(alphabet)


cdef int read_numerals(str text, alphabet, int radix, CK_BYTE *numerals) except -1:
    cdef Py_ssize_t length = len(text), index = 0, place
    cdef str characters = None if isinstance(alphabet, int) else alphabet
    cdef Py_UCS4 character
    if length > MAX_NUMERALS:
        raise InvalidCommand("the text is too long for its alphabet")
    for character in text:
        if characters is not None:
            place = characters.find(character)
        elif c"0" <= character <= c"9":
            place = <Py_ssize_t>character - 48
        else:
            place = <Py_ssize_t>character - 97 + 10 if c"a" <= character <= c"z" else -1
        if not 0 <= place < radix:
            raise InvalidCommand("the text has a character that its alphabet has not")
        numerals[index] = <CK_BYTE>place
        index += 1
    return <int>length


cdef str write_numerals(const CK_BYTE *numerals, int length, alphabet):
    cdef str characters = DIGITS if isinstance(alphabet, int) else alphabet
    cdef char text[MAX_NUMERALS]
    cdef int index
    if characters is not DIGITS:
        return "".join([characters[numerals[index]] for index in range(length)])
    for index in range(length):
        text[index] = <char>(48 + numerals[index] if numerals[index] < 10 else 87 + numerals[index])
    return text[:length].decode("ascii")


cdef int set_moduli(Feistel *feistel, int radix, int left, int right) except -1:
    """SP 800-38G Rev. 1, 5.2 and 5.3: at least 10^6 texts; and no half beyond 2^96."""
    cdef uint128 left_modulus, right_modulus
    if left + right < 2 or left > HALF_BITS or right > HALF_BITS:
        raise InvalidCommand("the text is too short or too long for its alphabet")
    left_modulus = power(radix, left)
    right_modulus = power(radix, right)
    if left_modulus == 0 or right_modulus == 0:
        raise InvalidCommand("the text is too long for its alphabet")
    if left_modulus < LEAST_DOMAIN and left_modulus * right_modulus < LEAST_DOMAIN:
        raise InvalidCommand("the text is too short for its alphabet: fewer than a million texts have its length")
    feistel.moduli[0] = left_modulus
    feistel.moduli[1] = right_modulus
    return 0


cdef uint128 power(int radix, int exponent) noexcept nogil:
    """radix^exponent; 0 beyond 2^96."""
    cdef uint128 result = 1
    cdef int index
    for index in range(exponent):
        result *= <uint128>radix
        if result > (<uint128>1 << HALF_BITS):
            return 0
    return result


cdef uint128 to_number(const CK_BYTE *numerals, int length, int radix, bint reverse) noexcept nogil:
    """NUM_radix of the numerals, the most significant first; last if `reverse`."""
    cdef uint128 number = 0
    cdef int index
    for index in range(length):
        number = number * <uint128>radix + numerals[length - 1 - index if reverse else index]
    return number


cdef void to_numerals(uint128 number, CK_BYTE *numerals, int length, int radix, bint reverse) noexcept nogil:
    cdef int index
    for index in range(length):
        numerals[index if reverse else length - 1 - index] = <CK_BYTE>(number % <uint128>radix)
        number = number // <uint128>radix


# --- rounds -----------------------------------------------------------------------------------------------------------

cdef void run_rounds(Feistel *feistel, bint encrypt) noexcept nogil:
    """SP 800-38G Rev. 1, algorithms 7 to 10."""
    cdef int index
    cdef uint128 modulus, added, changed
    for index in range(feistel.rounds):
        if encrypt:
            modulus = feistel.moduli[index & 1]
            added = round_sum(feistel, index, feistel.halves[1]) % modulus
            changed = (feistel.halves[0] + added) % modulus
            feistel.halves[0] = feistel.halves[1]
            feistel.halves[1] = changed
        else:
            modulus = feistel.moduli[(feistel.rounds - 1 - index) & 1]
            added = round_sum(feistel, feistel.rounds - 1 - index, feistel.halves[0]) % modulus
            changed = (feistel.halves[1] + modulus - added) % modulus
            feistel.halves[1] = feistel.halves[0]
            feistel.halves[0] = changed


cdef inline void run_aes(Feistel *feistel, CK_BYTE *block) noexcept nogil:
    cdef int length = 0
    if EVP_CipherUpdate(feistel.cipher, block, &length, block, 16) != 1:
        feistel.failed = True


cdef uint128 round_sum(Feistel *feistel, int number, uint128 half) noexcept nogil:
    """What a round adds to one half on account of the other."""
    cdef CK_BYTE block[16]
    cdef uint128 result = 0
    cdef int index
    if feistel.rounds == FF1_ROUNDS:
        memcpy(block, feistel.template, 16)
        block[15 - feistel.number_bytes] = <CK_BYTE>number
        for index in range(feistel.number_bytes):
            block[15 - index] = <CK_BYTE>(half >> (8 * index))
        for index in range(16):
            block[index] ^= feistel.state[index]
        run_aes(feistel, block)
        for index in range(feistel.sum_bytes):
            result = result << 8 | block[index]
        return result
    for index in range(12):  # FF3-1 enciphers its block in reverse order, and reads it so
        block[index] = <CK_BYTE>(half >> (8 * index))
    for index in range(4):
        block[15 - index] = feistel.tweaks[number & 1][index]
    block[12] ^= <CK_BYTE>number
    run_aes(feistel, block)
    for index in range(16):
        result = result << 8 | block[15 - index]
    return result


cdef int start_ff1(Feistel *feistel, int radix, int length, bytes tweak) except -1:
    """All of P ‖ Q (algorithm 7, steps 3 to 6) that no round changes. A half has at most 12 bytes, so what the rounds
    change is in the last block, and step 6 iii never needs a second one."""
    cdef CK_BYTE data[MAX_TWEAK + 16]
    cdef uint128 largest = feistel.moduli[1] - 1
    cdef int tweak_length = <int>bounded(tweak), total, offset, index
    if tweak_length > MAX_TWEAK:
        raise InvalidCommand(f"a tweak of FF1 has at most {MAX_TWEAK} bytes")
    feistel.rounds = FF1_ROUNDS
    while largest:
        feistel.number_bytes += 1
        largest = largest >> 8
    feistel.sum_bytes = 4 * ((feistel.number_bytes + 3) // 4) + 4
    feistel.state[:] = [
        1, 2, 1, 0, radix >> 8, radix & 255, FF1_ROUNDS, length // 2 & 255, 0, 0, 0, length,
        0, 0, tweak_length >> 8, tweak_length & 255,
    ]
    run_aes(feistel, feistel.state)
    memset(data, 0, sizeof(data))
    memcpy(data, PyBytes_AS_STRING(tweak), tweak_length)
    total = (tweak_length + feistel.number_bytes + 1 + 15) & ~15
    for offset in range(0, total - 16, 16):
        for index in range(16):
            feistel.state[index] ^= data[offset + index]
        run_aes(feistel, feistel.state)
    memcpy(feistel.template, data + total - 16, 16)
    return 0


cdef int start_ff3(Feistel *feistel, bytes tweak) except -1:
    """Both halves of the tweak, 28 bits each (algorithm 9, step 3): even rounds take the right one."""
    cdef const CK_BYTE *given
    if bounded(tweak) != FF3_TWEAK:
        raise InvalidCommand(f"a tweak of FF3-1 has {FF3_TWEAK} bytes")
    given = <const CK_BYTE *>PyBytes_AS_STRING(tweak)
    feistel.rounds = FF3_ROUNDS
    memcpy(feistel.tweaks[0], given + 4, 3)
    feistel.tweaks[0][3] = <CK_BYTE>(given[3] << 4)
    memcpy(feistel.tweaks[1], given, 3)
    feistel.tweaks[1][3] = given[3] & 0xF0
    return 0


cdef bint open_reversed(EVP_CIPHER_CTX *cipher, Secret *secret) noexcept nogil:
    cdef CK_BYTE value[32]
    cdef int index
    cdef bint opened
    for index in range(secret.length):
        value[index] = secret.value[secret.length - 1 - index]
    opened = EVP_CipherInit_ex(
        cipher,
        EVP_aes_128_ecb() if secret.length == 16 else EVP_aes_192_ecb() if secret.length == 24 else EVP_aes_256_ecb(),
        NULL, value, NULL, 1,
    ) == 1 and EVP_CIPHER_CTX_set_padding(cipher, 0) == 1
    OPENSSL_cleanse(value, sizeof(value))
    return opened
