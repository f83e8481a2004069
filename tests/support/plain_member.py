"""A member of the UnionPay network as anybody would write one from the documents: sockets, `cryptography`, and nothing
of the project's. One message at a time."""

import asyncio
import hmac
from collections.abc import Mapping
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

_SHANGHAI = ZoneInfo("Asia/Shanghai")
Fields = dict[int, bytes]

# Field -> length, or "LL"/"LLL" for that many digits of length before it.
_FIXED = {
    3: 6, 4: 12, 7: 10, 11: 6, 12: 6, 13: 4, 14: 4, 15: 4, 18: 4, 19: 3, 22: 3, 23: 3, 25: 2, 26: 2, 28: 9, 37: 12,
    38: 6, 39: 2, 41: 8, 42: 15, 43: 40, 49: 3, 50: 3, 51: 3, 52: 8, 53: 16, 70: 3, 90: 42, 96: 8, 128: 8,
}  # fmt: skip
_LL = {2, 32, 33, 35, 44, 45, 100, 102, 103}
_LLL = {36, 48, 54, 55, 57, 59, 60, 61, 62, 63, 104, 121, 122, 123}
_FINANCIAL_MAC = (2, 3, 4, 7, 11, 18, 25, 28, 32, 33, 38, 39, 41, 42, 90, 102, 103)
_RESET_MAC = (7, 11, 39, 53, 70, 100)


def packed(mti: str, fields: Mapping[int, bytes]) -> bytes:
    body = b""
    for number in sorted(fields):
        digits = 2 if number in _LL else 3 if number in _LLL else 0
        body += (str(len(fields[number])).zfill(digits).encode() if digits else b"") + fields[number]
    present = sum(1 << (128 - number) for number in fields)
    long = any(number > 64 for number in fields)
    bitmap = (present | 1 << 127).to_bytes(16, "big") if long else (present >> 64).to_bytes(8, "big")
    return mti.encode() + bitmap + body


def unpacked(body: bytes) -> tuple[str, Fields]:
    long = body[4] >> 7
    present = int.from_bytes(body[4 : 20 if long else 12], "big") << (0 if long else 64)
    place, fields = 20 if long else 12, {}
    for number in range(2, 129):
        if present >> (128 - number) & 1:
            digits = 2 if number in _LL else 3 if number in _LLL else 0
            length = int(body[place : place + digits]) if digits else _FIXED[number]
            place += digits
            fields[number] = body[place : place + length]
            place += length
    assert place == len(body)
    return body[:4].decode(), fields


def des(key: bytes, data: bytes, *, decrypt: bool = False) -> bytes:
    """ECB under a single- or double-length key."""
    cipher = Cipher(TripleDES(key * 3 if len(key) == 8 else key + key[:8]), modes.ECB())
    return (cipher.decryptor() if decrypt else cipher.encryptor()).update(data)


def retail_mac(key: bytes, text: bytes) -> bytes:
    """X9.19: eight bytes."""
    block = bytes(8)
    for start in range(0, len(text), 8):
        chunk = text[start : start + 8].ljust(8, b"\0")
        block = des(key[:8], bytes(a ^ b for a, b in zip(block, chunk, strict=True)))
    return des(key[:8], des(key[8:], block, decrypt=True))


def _listed(mti: str, fields: Mapping[int, bytes], numbers: tuple[int, ...]) -> bytes:
    parts = [mti.encode()]
    for number in numbers:
        if number in fields:
            value = fields[number][:20] if number == 90 else fields[number]
            parts.append((str(len(value)).zfill(2).encode() if number in _LL else b"") + value)
    return b" ".join(parts)


def financial_mac(key: bytes, mti: str, fields: Mapping[int, bytes]) -> bytes:
    text = _listed(mti, fields, _FINANCIAL_MAC).upper()
    kept = bytes(byte for byte in text if chr(byte) in " ,.ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    return retail_mac(key, b" ".join(kept.split()))[:4].hex().upper().encode()


def reset_mac(key: bytes, mti: str, fields: Mapping[int, bytes]) -> bytes:
    return retail_mac(key, _listed(mti, fields, _RESET_MAC))[:4] + des(key, bytes(8))[:4]


class PlainMember:
    """`await sign_on()` brings the working keys; then `pay`, `reverse`. config: `unionpay` of the client config."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._master_key = bytes.fromhex(Path(config["key_file"]).read_text().strip())
        self._institution = config["institution_id"].encode()
        # From the time, so that a member that starts anew repeats no number of the same second.
        self._stans = count(datetime.now(_SHANGHAI).microsecond)
        self._keys: dict[str, bytes] = {}
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def sign_on(self) -> None:
        """Connect, sign on and take over the MAC key and the PIN key that the network hands out."""
        self._reader, self._writer = await asyncio.open_connection(self._config["host"], self._config["port"])
        self._send("0820", self._named() | {33: self._institution, 70: b"001"})
        answered = False
        while not (answered and len(self._keys) == 2):
            mti, fields = await self._receive()
            if mti == "0830":
                assert fields[39] == b"00", fields[39]
                answered = True
            else:
                self._take_key(mti, fields)
        # Links are read in order: once this is answered, the network has seen the confirmations before it.
        assert (await self.manage("301"))[39] == b"00"

    async def manage(self, code: str) -> Fields:
        self._send("0820", self._named() | {33: self._institution, 70: code.encode()})
        _, fields = await self._receive()
        return fields

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    def sale(self, behaviour: str, amount_minor: int, pin: str = "") -> Fields:
        pan = self._config["pans"][behaviour].encode()
        now, named = datetime.now(_SHANGHAI), self._named()
        fields = named | {
            2: pan, 3: b"000000", 4: b"%012d" % amount_minor, 12: f"{now:%H%M%S}".encode(),
            13: f"{now:%m%d}".encode(), 14: b"3012", 18: b"5411", 19: b"156", 22: b"012", 25: b"00",
            32: self._institution, 33: self._institution, 37: named[7][-6:] + named[11], 41: b"T0000001",
            42: b"M00000000000001", 43: b"TEA SHOP".ljust(40), 49: b"156", 60: b"000001000000000",
        }  # fmt: skip
        if pin:
            fields |= {22: b"011", 26: b"06", 52: self._pin_block(pin, pan), 53: b"2600000000000000"}
        return fields

    async def ask(self, mti: str, fields: Fields, timeout_s: float = 10.0) -> Fields:
        """Send with a MAC; the answer, its MAC verified. Raises TimeoutError."""
        mak = self._keys["2"]
        self._send(mti, fields | {128: financial_mac(mak, mti, fields)})
        async with asyncio.timeout(timeout_s):
            reply_mti, reply = await self._receive()
        assert (reply_mti, reply[11]) == (f"{mti[:2]}{int(mti[2]) + 1}0", fields[11])
        assert hmac.compare_digest(reply.pop(128), financial_mac(mak, reply_mti, reply))
        return reply

    def reversal(self, original: Fields) -> Fields:
        named = b"0200" + original[11] + original[7] + original[32].rjust(11, b"0") + original[33].rjust(11, b"0")
        kept = {number: value for number, value in original.items() if number not in (7, 11, 26, 52, 53, 128)}
        return kept | self._named() | {90: named}

    def refund(self, original: Fields, amount_minor: int) -> Fields:
        fields = self.reversal(original) | {3: b"200000", 4: b"%012d" % amount_minor}
        return fields | {37: fields[7][-6:] + fields[11]}

    # --- parts --------------------------------------------------------------------------------------------------------

    def _named(self) -> Fields:
        stan = f"{next(self._stans) % 1_000_000:06d}".encode()
        return {7: f"{datetime.now(_SHANGHAI):%m%d%H%M%S}".encode(), 11: stan}

    def _take_key(self, mti: str, fields: Fields) -> None:
        assert (mti, fields[70]) == ("0800", b"101")
        assert fields[48][:2] == b"NK"
        key = des(self._master_key, fields[48][2:], decrypt=True)
        assert hmac.compare_digest(fields.pop(128), reset_mac(key, "0800", fields))
        answer = {number: fields[number] for number in (7, 11, 53, 70, 100)} | {33: self._institution, 39: b"00"}
        self._send("0810", answer | {128: reset_mac(key, "0810", answer)})
        self._keys[chr(fields[53][0])] = key

    def _pin_block(self, pin: str, pan: bytes) -> bytes:
        """ISO 9564-1 format 0 under the PIN key."""
        field = int(f"0{len(pin)}{pin}".ljust(16, "F"), 16) ^ int(pan[-13:-1].decode(), 16)
        return des(self._keys["1"], field.to_bytes(8, "big"))

    def _send(self, mti: str, fields: Mapping[int, bytes]) -> None:
        body = packed(mti, fields)
        total = f"{46 + len(body):04d}".encode()
        header = b"\x2e\x02" + total + self._config["network_id"].ljust(11).encode() + self._institution.ljust(11)
        self._writer.write(total + header + b"0000" + b"00000000" + b"0" + b"00000" + body)

    async def _receive(self) -> tuple[str, Fields]:
        while True:
            length = int(await self._reader.readexactly(4))
            if length:  # 0000 keeps the link alive
                message = await self._reader.readexactly(length)
                assert message[17:28].rstrip() == self._config["network_id"].encode()
                return unpacked(message[46:])
