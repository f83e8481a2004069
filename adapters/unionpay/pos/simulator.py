"""A simulated payment terminal: it signs on, pays, voids, refunds, reverses and settles, and believes nothing unproved.

It shares the codec and the framing with the switch (the published message stands beside both) and nothing else: keys,
check values, MACs and PIN blocks are its own, on `cryptography`.
"""

import asyncio
import contextlib
import hmac
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from adapters.unionpay.pos.codec import Header, Message, decode, encode, encode_covered, frame, sealed
from adapters.unionpay.pos.format import Fields
from adapters.unionpay.pos.messages import (
    CHIP,
    CONTACTLESS,
    KEYED,
    REPLY_MTI,
    STRIPE,
    Reference,
    Totals,
    original_field,
    private_field,
    totals_field,
    working_keys_of,
)

__all__ = ["CHIP", "CONTACTLESS", "KEYED", "STRIPE", "Card", "Sent", "SimulatedTerminal", "TerminalFault", "ecb_mac"]

PATIENCE_S = 20.0


class TerminalFault(Exception):
    """The switch broke the protocol: what a real terminal would not have taken. The text holds no data."""


@dataclass(frozen=True, slots=True)
class Card:
    """A test card."""

    pan: str = field(repr=False)
    expiry_yymm: str
    pin: str = field(default="", repr=False)

    @property
    def track2(self) -> str:
        return f"{self.pan}={self.expiry_yymm}2011234567890"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was sent, to be repeated, reversed or referred to."""

    name: Reference
    mti: str
    fields: Fields = field(repr=False)
    data: bytes = field(repr=False)

    @property
    def amount_minor(self) -> int:
        return int(str(self.fields[4]))


def des(key: bytes, data: bytes, encrypt: bool = True) -> bytes:
    """ECB under a key of 8, 16 or 24 bytes."""
    cipher = Cipher(TripleDES({8: key * 3, 16: key + key[:8], 24: key}[len(key)]), modes.ECB())  # noqa: S305
    work = cipher.encryptor() if encrypt else cipher.decryptor()
    return work.update(data) + work.finalize()


def ecb_mac(key: bytes, data: bytes) -> bytes:
    """UnionPay's ECB MAC, 8 hexadecimal characters.

    >>> ecb_mac(bytes.fromhex("2222222222222222"), bytes.fromhex("1234567890ABCDEFABCDEF1234567890"))
    b'E267B6E2'
    """
    padded = data + bytes(-len(data) % 8)
    total = 0
    for at in range(0, len(padded), 8):
        total ^= int.from_bytes(padded[at : at + 8])
    text = f"{total:016X}".encode()
    inner = int.from_bytes(des(key, text[:8])) ^ int.from_bytes(text[8:])
    return des(key, inner.to_bytes(8)).hex().upper()[:8].encode()


def pin_block(key: bytes, pin: str, pan: str) -> bytes:
    """ISO 9564-1 format 0 under the terminal's PIN key."""
    pin_field = int(f"0{len(pin)}{pin}".ljust(16, "F"), 16)
    return des(key, (pin_field ^ int(pan[-13:-1], 16)).to_bytes(8))


def chip_data(amount_minor: int, currency: str = "156") -> bytes:
    """DE55 of a card that wants to go online. Its cryptogram is random: the network's simulator verifies none."""
    elements = {
        "9F26": secrets.token_hex(8), "9F27": "80", "9F10": "07010103A0A802010A", "9F37": secrets.token_hex(4),
        "9F36": secrets.token_hex(2), "95": "0000000000", "9A": "261127", "9C": "00", "9F02": f"{amount_minor:012d}",
        "5F2A": f"0{currency}", "82": "7C00", "9F1A": "0156", "9F03": "000000000000", "9F33": "E0E1C8",
    }  # fmt: skip
    return bytes.fromhex("".join(f"{tag}{len(value) // 2:02X}{value}" for tag, value in elements.items()))


class SimulatedTerminal:
    """One terminal with one connection. Amounts are minor units of CNY.

    Each call returns the answer's `Message`, whose MAC has been verified; `last` is what was sent. `tampered` changes
    one bit of the next MAC.
    """

    def __init__(
        self, host: str, port: int, merchant_id: str, terminal_id: str, master_key: bytes, *, source: str = "0102"
    ) -> None:
        self._host = host
        self.port = port
        self._merchant = merchant_id.ljust(15)
        self._terminal = terminal_id
        self.master_key = master_key
        self._header = Header("0003", source, "603100311008")
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._pin_key = b""
        self._mac_key = b""
        self.mac_key_length = 8
        self.batch = 1
        self.stan = 0
        self.tampered = False
        self.last: Sent | None = None

    async def __aenter__(self) -> "SimulatedTerminal":
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Anew, if it is connected."""
        await self.close()
        self._reader, self._writer = await asyncio.open_connection(self._host, self.port)

    async def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def finish(self) -> None:
        """Say that nothing more is sent."""
        assert self._writer is not None
        self._writer.write_eof()

    # --- signing on ---------------------------------------------------------------------------------------------------

    async def sign_on(self) -> Message:
        """The answer; after 00 the new keys and the switch's batch number are in use. Raises TerminalFault."""
        answer = await self.exchange("0800", {60: private_field("00", self.batch, "003"), 63: "01 "}, mac=False)
        if answer.fields[39] == "00":
            self._take_keys(answer)
        return answer

    async def sign_off(self) -> Message:
        return await self.exchange("0820", {60: private_field("00", self.batch, "002")}, mac=False)

    async def echo(self) -> Message:
        return await self.exchange("0820", {60: private_field("00", self.batch, "301")}, mac=False)

    def _take_keys(self, answer: Message) -> None:
        keys = answer.fields.get(62)
        if not isinstance(keys, bytes):
            raise TerminalFault("the answer to a sign-on holds no keys")
        pin_key, mac_key = working_keys_of(keys, self.mac_key_length)
        clear = [des(self.master_key, each.wrapped, encrypt=False) for each in (pin_key, mac_key)]
        for value, sent in zip(clear, (pin_key, mac_key), strict=True):
            if des(value, bytes(8))[:4] != sent.check:
                raise TerminalFault("a working key's check value is wrong")
        self._pin_key, self._mac_key = clear
        self.batch = int(str(answer.fields[60])[2:8])

    # --- payments -----------------------------------------------------------------------------------------------------

    async def sale(self, card: Card, amount_minor: int, entry: str = KEYED, pin: str = "") -> Message:
        return await self.exchange("0200", self.payment(card, amount_minor, entry, pin))

    async def pre_authorize(self, card: Card, amount_minor: int, entry: str = KEYED, pin: str = "") -> Message:
        fields = self.payment(card, amount_minor, entry, pin)
        return await self.exchange("0100", fields | {3: "030000", 25: "06", 60: private_field("10", self.batch)})

    def payment(self, card: Card, amount_minor: int, entry: str = KEYED, pin: str = "") -> Fields:
        """A sale's fields, the card as it is read that way."""
        fields: Fields = {
            3: "000000", 4: f"{amount_minor:012d}", 22: entry + ("1" if pin else "2"), 25: "00", 49: "156",
            60: private_field("22", self.batch),
        }  # fmt: skip
        if entry == KEYED:
            fields |= {2: card.pan, 14: card.expiry_yymm}
        else:
            fields[35] = card.track2
        if entry in (CHIP, CONTACTLESS):
            fields |= {23: "001", 55: chip_data(amount_minor)}
        if pin:
            fields |= {26: "12", 52: pin_block(self._pin_key, pin, card.pan), 53: "2600000000000000"}
        return fields

    async def void(self, card: Card, original: Sent, approval_code: str = "") -> Message:
        is_sale = original.mti == "0200"
        return await self._about(
            "0200" if is_sale else "0100", "200000", "00" if is_sale else "06", card, original, original.amount_minor,
            approval_code,
        )  # fmt: skip

    async def complete(self, card: Card, original: Sent, amount_minor: int, approval_code: str = "") -> Message:
        return await self._about("0200", "000000", "06", card, original, amount_minor, approval_code)

    async def refund(self, card: Card, original: Sent, amount_minor: int) -> Message:
        return await self._about("0220", "200000", "00", card, original, amount_minor, "")

    async def _about(
        self, mti: str, processing: str, condition: str, card: Card, original: Sent, amount_minor: int, approval: str
    ) -> Message:
        fields = self.payment(card, amount_minor)
        fields |= {3: processing, 25: condition, 60: private_field("23", self.batch), 61: original_field(original.name)}
        return await self.exchange(mti, fields | ({38: approval} if approval else {}))

    async def reverse(self, original: Sent) -> Message:
        """Under the original's own STAN, with the original's data, as a terminal does that got no answer."""
        kept = {
            number: original.fields[number] for number in (2, 3, 4, 14, 22, 25, 49, 60) if number in original.fields
        }
        return await self.exchange("0400", kept | {39: "98", 61: original_field(original.name)}, original.name.stan)

    async def settle(self, totals: Totals) -> Message:
        fields: Fields = {48: totals_field(totals, Totals()), 49: "156", 60: private_field("00", self.batch, "201")}
        return await self.exchange("0500", fields)

    # --- exchange -----------------------------------------------------------------------------------------------------

    def build(self, mti: str, fields: Fields, stan: int | None = None, *, mac: bool = True) -> Sent:
        """A message that is not sent yet."""
        if stan is None:
            self.stan += 1
            stan = self.stan
        fields = {**fields, 11: f"{stan:06d}", 41: self._terminal, 42: self._merchant}
        if not mac:
            data = encode(self._header, mti, fields)
        else:
            covered = encode_covered(mti, fields)
            made = ecb_mac(self._mac_key or bytes(8), covered)
            if self.tampered:
                made, self.tampered = bytes([made[0] ^ 1]) + made[1:], False
            data = sealed(self._header, covered, made)
        return Sent(Reference(self.batch, stan), mti, fields, data)

    async def exchange(self, mti: str, fields: Fields, stan: int | None = None, *, mac: bool = True) -> Message:
        """Send and wait for the answer. Raises TerminalFault, ConnectionError, TimeoutError."""
        return await self.send(self.build(mti, fields, stan, mac=mac))

    async def send(self, sent: Sent) -> Message:
        """Also to send the same bytes again."""
        self.last = sent
        await self.send_bytes(frame(sent.data))
        answer = await self.receive()
        self._check(sent, answer)
        return answer

    async def send_bytes(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> Message:
        """The next message. Raises ConnectionError once the switch has hung up."""
        assert self._reader is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                length = int.from_bytes(await self._reader.readexactly(2))
                return decode(await self._reader.readexactly(length))
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("the switch hung up") from None

    async def hung_up(self) -> bool:
        """Wait until the switch closes the connection; False if it says something instead."""
        assert self._reader is not None
        async with asyncio.timeout(PATIENCE_S):
            try:
                return not await self._reader.read(1)
            except ConnectionError:
                return True

    def _check(self, sent: Sent, answer: Message) -> None:
        asked = self._header
        if (answer.header.destination, answer.header.source) != (asked.source, asked.destination):
            raise TerminalFault("the TPDU's addresses are not swapped")
        if answer.mti != REPLY_MTI[sent.mti]:
            raise TerminalFault("the answer is of another type")
        for number in (11, 41, 42):
            if answer.fields.get(number) != sent.fields[number]:
                raise TerminalFault(f"field {number} is not the question's")
        if 39 not in answer.fields:
            raise TerminalFault("there is no response code")
        mac = answer.fields.get(64)
        if isinstance(mac, bytes):
            if not hmac.compare_digest(mac, ecb_mac(self._mac_key, answer.covered)):
                raise TerminalFault("the answer's MAC is wrong")
        elif answer.fields[39] == "00" and sent.mti not in ("0800", "0820"):
            raise TerminalFault("an approval without a MAC")
