"""A chip card in software, with the keys that its issuer personalized it with: what a terminal reads from it.

Written apart from the simulated issuer that judges it (`adapters.issuer.simulator_card`); tests hold both against
published vectors.
"""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

SERVICE_CODE = "201"
SEQUENCE_NUMBER = "001"

# The data over which the cryptogram is made, in order; the card verification results follow.
_CRYPTOGRAM_TAGS = (0x9F02, 0x9F03, 0x9F1A, 0x95, 0x5F2A, 0x9A, 0x9C, 0x9F37, 0x82, 0x9F36)

# Not from one: a card that is made anew in another process must not count over what it has counted.
_counters = itertools.count(1 + secrets.randbelow(40_000))


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """Double-length DES keys of an issuer, 16 bytes each."""

    ac: bytes = field(repr=False)
    cvv: bytes = field(repr=False)
    pvv: bytes = field(repr=False)
    pvki: str = "1"


def next_counter() -> int:
    """An application transaction counter that no card of this process has used, 1 to 65535."""
    return next(_counters) % 65_535 + 1


@dataclass(frozen=True, slots=True)
class SoftwareCard:
    """One card, as its issuer made it. expiry_yymm: as on the track."""

    keys: IssuerKeys
    pan: str
    expiry_yymm: str
    pin: str = field(repr=False)

    @property
    def discretionary(self) -> str:
        """What follows the service code on its track 2."""
        return discretionary_data(self.keys, self.pan, self.expiry_yymm, self.pin)

    def cryptogram(self, tags: Mapping[int, bytes]) -> bytes:
        """The ARQC (tag 9F26) for what a terminal gave it."""
        return cryptogram(self.keys, self.pan, tags)


def discretionary_data(keys: IssuerKeys, pan: str, expiry_yymm: str, pin: str) -> str:
    """What follows the service code on the chip's track 2: PVKI, PVV, iCVV."""
    parameter = bytes.fromhex(pan[-12:-1] + keys.pvki + pin[:4])
    pvv = _digits(_ecb(keys.pvv, parameter), 4)
    text = (pan + expiry_yymm + "999").ljust(32, "0")
    first, second = bytes.fromhex(text[:16]), bytes.fromhex(text[16:])
    middle = _number(_ecb(keys.cvv[:8], first)) ^ _number(second)
    cvv = _digits(_ecb(keys.cvv, middle.to_bytes(8, "big")), 3)
    return keys.pvki + pvv + cvv


def cryptogram(keys: IssuerKeys, pan: str, tags: Mapping[int, bytes], sequence_number: str = SEQUENCE_NUMBER) -> bytes:
    """The ARQC over a tap's tags: option A card key, common session key, MAC of ISO/IEC 9797-1 algorithm 3."""
    data = b"".join(tags[tag] for tag in _CRYPTOGRAM_TAGS) + tags[0x9F10][3:7]
    return mac(session_key(master_key(keys.ac, pan, sequence_number[-2:]), tags[0x9F36]), data)


def master_key(issuer_key: bytes, pan: str, sequence_number: str) -> bytes:
    block = int((pan + sequence_number)[-16:], 16)
    halves = (block, block ^ 0xFFFFFFFFFFFFFFFF)
    return b"".join(_ecb(issuer_key, half.to_bytes(8, "big")) for half in halves)


def session_key(card_key: bytes, counter: bytes) -> bytes:
    return b"".join(_ecb(card_key, counter + mark + bytes(5)) for mark in (b"\xf0", b"\x0f"))


def mac(key: bytes, data: bytes) -> bytes:
    """CBC with the left half over all blocks; then the last one once down with the right half and up again."""
    message = (data + b"\x80").ljust(-(-(len(data) + 1) // 8) * 8, b"\0")
    left = TripleDES(key[:8] * 3)
    chained = Cipher(left, modes.CBC(bytes(8))).encryptor().update(message)[-8:]
    down = Cipher(TripleDES(key[8:] * 3), modes.ECB()).decryptor().update(chained)  # noqa: S305 - one block
    return Cipher(left, modes.ECB()).encryptor().update(down)  # noqa: S305 - one block


def _digits(block: bytes, count: int) -> str:
    text = block.hex()
    scan = text.translate(str.maketrans("", "", "abcdef")) + "".join(
        {"a": "0", "b": "1", "c": "2", "d": "3", "e": "4", "f": "5"}.get(each, "") for each in text
    )
    return scan[:count]


def _ecb(key: bytes, block: bytes) -> bytes:
    whole = {8: key * 3, 16: key + key[:8]}[len(key)]
    return Cipher(TripleDES(whole), modes.ECB()).encryptor().update(block)  # noqa: S305 - one block


def _number(block: bytes) -> int:
    return int.from_bytes(block, "big")
