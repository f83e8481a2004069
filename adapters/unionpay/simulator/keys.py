"""The network's own cryptography, on `cryptography`: MACs, PIN blocks, wrapped keys. No code of the adapter's.

MAC: X9.9 under a single-length key, X9.19 under a double-length one. PIN block: ISO 9564-1 format 0 (ANSI X9.8).
"""

import hmac
import re

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from adapters.unionpay.format import Fields

_BLOCK = 8
_ZEROS = bytes(_BLOCK)
# Field -> width of the length that precedes it in the text.
_FINANCIAL = {2: 2, 3: 0, 4: 0, 7: 0, 11: 0, 18: 0, 25: 0, 28: 0, 32: 2, 33: 2, 38: 0, 39: 0, 41: 0, 42: 0}
_FINANCIAL_AFTER_ORIGINAL = {102: 2, 103: 2}
_KEY_RESET = {7: 0, 11: 0, 39: 0, 53: 0, 70: 0, 100: 2}
_SPACES = re.compile(rb" {2,}")
_LEFT_OUT = bytes(byte for byte in range(256) if re.match(rb"[^A-Z0-9 ,.]", bytes((byte,))))


def _listed(fields: Fields, widths: dict[int, int]) -> list[str]:
    listed = []
    for number, width in widths.items():
        if number in fields:
            text = str(fields[number])
            listed.append(str(len(text)).zfill(width) + text if width else text)
    return listed


def financial_text(mti: str, fields: Fields) -> bytes:
    original = [str(fields[90])[:20]] if 90 in fields else []
    parts = [mti, *_listed(fields, _FINANCIAL), *original, *_listed(fields, _FINANCIAL_AFTER_ORIGINAL)]
    text = " ".join(parts).encode("latin-1").upper().translate(None, _LEFT_OUT)
    return (_SPACES.sub(b" ", text) if b"  " in text else text).strip()


def key_reset_text(mti: str, fields: Fields) -> bytes:
    return " ".join([mti, *_listed(fields, _KEY_RESET)]).upper().encode("ascii")


class DesKey:
    """A single- or double-length DES key with its ciphers kept open: one call of `update` per step.

    The CBC chain of a kept-open cipher starts each message at the last block of the one before; XORing that block
    into the first block of the message cancels it, which makes a zero initial vector of it.
    """

    def __init__(self, clear: bytes) -> None:
        if len(clear) not in (8, 16):
            raise ValueError("a DES key has 8 or 16 bytes")
        first, last = clear[:8], clear[-8:]
        self.is_double = len(clear) == 16
        self._chain = Cipher(TripleDES(first * 3), modes.CBC(_ZEROS)).encryptor()
        self._state = 0
        self._first_encrypts = Cipher(TripleDES(first * 3), modes.ECB()).encryptor()  # noqa: S305 - one step of X9.19
        self._last_decrypts = Cipher(TripleDES(last * 3), modes.ECB()).decryptor()  # noqa: S305
        whole = Cipher(TripleDES(first + last + first), modes.ECB())  # noqa: S305 - PIN blocks and keys travel so
        self._encrypts, self._decrypts = whole.encryptor(), whole.decryptor()

    def encrypt(self, blocks: bytes) -> bytes:
        return self._encrypts.update(blocks)

    def decrypt(self, blocks: bytes) -> bytes:
        return self._decrypts.update(blocks)

    def mac(self, text: bytes) -> bytes:
        """Eight bytes; zero padding."""
        padded = text + bytes(-len(text) % _BLOCK)
        head = (int.from_bytes(padded[:_BLOCK], "big") ^ self._state).to_bytes(_BLOCK, "big")
        block = self._chain.update(head + padded[_BLOCK:])[-_BLOCK:]
        self._state = int.from_bytes(block, "big")
        return self._first_encrypts.update(self._last_decrypts.update(block)) if self.is_double else block

    def financial_mac(self, mti: str, fields: Fields) -> bytes:
        return self.mac(financial_text(mti, fields))[:4].hex().upper().encode("ascii")

    def key_reset_mac(self, mti: str, fields: Fields) -> bytes:
        return self.mac(key_reset_text(mti, fields))[:4] + self.encrypt(_ZEROS)[:4]

    def financial_mac_fits(self, mti: str, fields: Fields) -> bool:
        claimed = fields.get(128)
        return isinstance(claimed, bytes) and hmac.compare_digest(self.financial_mac(mti, fields), claimed)

    def key_reset_mac_fits(self, mti: str, fields: Fields) -> bool:
        claimed = fields.get(128)
        return isinstance(claimed, bytes) and hmac.compare_digest(self.key_reset_mac(mti, fields), claimed)


def clear_pin(key: DesKey, block: bytes, pan: str) -> str | None:
    """The PIN in a format 0 block, or None if the block under this key and PAN is none."""
    account = int.from_bytes(bytes.fromhex(pan[-13:-1].zfill(16)), "big")
    plain = (int.from_bytes(key.decrypt(block), "big") ^ account).to_bytes(_BLOCK, "big").hex()
    if plain[0] != "0":
        return None
    length = int(plain[1], 16)
    pin, fill = plain[2 : 2 + length], plain[2 + length :]
    if not 4 <= length <= 12 or not pin.isdigit() or fill.strip("f"):
        return None
    return pin
