"""The simulated issuer's own reading of PIN blocks; shares nothing with the switch's HSM."""

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes


class PinFormatError(Exception):
    """The block does not decrypt to an ISO 9564-1 format 0 block of this PAN."""


def read_pin_block(key: bytes, block: bytes, pan: str) -> str:
    """The PIN in an ISO 9564-1 format 0 block. key: 8, 16 or 24 bytes of DES key.

    PIN field: control nibble 0, length, digits, fill F. PAN field: four zeros, twelve digits up to the check digit.

    >>> key = bytes.fromhex("433457CB072A29628C495D20E0E35826")  # psec 1.3.0
    >>> read_pin_block(key, bytes.fromhex("EC84CB1FD9E48D20"), "4277495056758402568")
    '0178648749'
    """
    if len(block) != 8:
        raise PinFormatError("length")
    decryptor = _cipher(key).decryptor()
    field = (_number(decryptor.update(block)) ^ _pan_field(pan)).to_bytes(8, "big").hex()
    length = int(field[1], 16)
    digits, fill = field[2 : 2 + length], field[2 + length :]
    if field[0] != "0" or not 4 <= length <= 12 or not digits.isdecimal() or fill.strip("f"):
        raise PinFormatError("format")
    return digits


def make_pin_block(key: bytes, pin: str, pan: str) -> bytes:
    """The format 0 block of a PIN under a key; what a PIN pad does.

    >>> key = bytes.fromhex("C44CF4983D62F2D632F15E7FB54A0498B6EF6E5289C1F14C")  # psec 1.3.0
    >>> make_pin_block(key, "7066607", "45151069180360").hex()
    '7720089e6204fe79'
    """
    field = int(f"0{len(pin):x}{pin}".ljust(16, "F"), 16) ^ _pan_field(pan)
    return _cipher(key).encryptor().update(field.to_bytes(8, "big"))


def _cipher(key: bytes) -> Cipher[modes.ECB]:
    whole = {8: key * 3, 16: key + key[:8], 24: key}[len(key)]
    return Cipher(TripleDES(whole), modes.ECB())  # noqa: S305 - one block, as ISO 9564-1 has it


def _pan_field(pan: str) -> int:
    return int(pan[-13:-1], 16)


def _number(block: bytes) -> int:
    return int.from_bytes(block, "big")
