"""The simulated issuer's card keys: PVV, CVV, chip cryptograms. Shares nothing with the switch's HSM."""

import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

CHIP_SERVICE_CODE = "999"  # what takes the service code's place in the CVV of a chip's track 2 (iCVV)

_COMPLEMENT = bytes([0xFF] * 8)


@dataclass(frozen=True, slots=True)
class CardKeys:
    """An issuer's double-length keys, 16 bytes each. ac: application cryptograms (IMK-AC); pvki: index of the PVK."""

    ac: bytes = field(repr=False)
    cvv: bytes = field(repr=False)
    pvv: bytes = field(repr=False)
    pvki: str = "1"


def pin_verification_value(key: bytes, pvki: str, pan: str, pin: str) -> str:
    """Visa PVV: four digits of the encrypted transformed security parameter (eleven of PAN, PVKI, four of PIN).

    >>> pin_verification_value(bytes.fromhex("8ACB4CBFECC243FD3DC119234C57F76D"), "4", "534381372266022193", "4835")
    '4174'
    """
    parameter = f"{pan[-12:-1]}{pvki}{pin[:4]}"
    return _decimalized(_encrypt(key, bytes.fromhex(parameter)).hex(), 4)


def card_verification_value(key: bytes, pan: str, expiry: str, service_code: str) -> str:
    """CVV, three digits; with service code 000 CVV2, with 999 iCVV. expiry: YYMM, as it stands on track 2.

    >>> card_verification_value(bytes.fromhex("266783B59DF19820672A2385C819AD38"), "577694129456268", "2905", "101")
    '667'
    """
    data = bytes.fromhex(f"{pan}{expiry}{service_code}".ljust(32, "0"))
    first = _single(key[:8], data[:8], encrypt=True)
    return _decimalized(_encrypt(key, _xor(first, data[8:])).hex(), 3)


def card_key(issuer_key: bytes, pan: str, sequence_number: str) -> bytes:
    """EMV Book 2 A1.4.1, option A: the master key of one card. sequence_number: two digits, "00" if it has none.

    >>> card_key(bytes.fromhex("A81FFDA19DC4BC758616DCCE02F2BF37"), "582050977939477183", "92").hex()
    'dca1b3762364cd0bd9d04c86ad2f9e3d'
    """
    block = bytes.fromhex(f"{pan}{sequence_number}"[-16:].zfill(16))
    return _odd(_encrypt(issuer_key, block) + _encrypt(issuer_key, _xor(block, _COMPLEMENT)))


def session_key(master_key: bytes, counter: bytes) -> bytes:
    """EMV Book 2 A1.3.1, common session key derivation. counter: the ATC, two bytes.

    >>> session_key(bytes.fromhex("DCA1B3762364CD0BD9D04C86AD2F9E3D"), bytes.fromhex("92B9")).hex()
    'cb98970e91739df4ea80d523929e100e'
    """
    left, right = (counter + bytes([mark]) + bytes(5) for mark in (0xF0, 0x0F))
    return _odd(_encrypt(master_key, left) + _encrypt(master_key, right))


def application_cryptogram(key: bytes, data: bytes) -> bytes:
    """ISO/IEC 9797-1 MAC algorithm 3 with padding method 2, eight bytes."""
    padded = data + b"\x80"
    padded += bytes(-len(padded) % 8)
    chained = bytes(8)
    for start in range(0, len(padded) - 8, 8):
        chained = _single(key[:8], _xor(chained, padded[start : start + 8]), encrypt=True)
    return _encrypt(key, _xor(chained, padded[-8:]))


def response_cryptogram(key: bytes, cryptogram: bytes, response_code: bytes) -> bytes:
    """ARPC by EMV Book 2 method 1 over the ARQC and the authorization response code, two bytes."""
    return _encrypt(key, _xor(cryptogram, response_code + bytes(6)))


def is_equal(one: bytes | str, other: bytes | str) -> bool:
    """In constant time."""
    one, other = (each.encode() if isinstance(each, str) else each for each in (one, other))
    return hmac.compare_digest(one, other)


def _decimalized(hexadecimal: str, digits: int) -> str:
    """The decimal digits in order, then the letters less ten."""
    numbers = [each for each in hexadecimal if each.isdigit()]
    letters = [str(int(each, 16) - 10) for each in hexadecimal if not each.isdigit()]
    return "".join((numbers + letters)[:digits])


def _encrypt(key: bytes, block: bytes) -> bytes:
    return _des3(key + key[:8]).encryptor().update(block)


def _single(key: bytes, block: bytes, *, encrypt: bool) -> bytes:
    cipher = _des3(key * 3)
    return (cipher.encryptor() if encrypt else cipher.decryptor()).update(block)


def _des3(key: bytes) -> Cipher[modes.ECB]:
    return Cipher(TripleDES(key), modes.ECB())  # noqa: S305 - single blocks, as the card schemes have it


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _odd(key: bytes) -> bytes:
    """With odd parity in each byte."""
    return bytes(each & 0xFE | (bin(each >> 1).count("1") + 1) % 2 for each in key)
