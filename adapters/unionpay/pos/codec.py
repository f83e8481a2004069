"""Bytes to messages and back, driven by `adapters.unionpay.pos.format.FIELDS`. No I/O, no state.

A message is the TPDU (5 bytes: `60`, destination, source), a header of 6 bytes, the MTI as BCD, a bitmap of 8 bytes and
the fields. On the wire two bytes of length, big-endian, come before it (`frame`).
"""

from dataclasses import dataclass, field, replace

from adapters.unionpay.pos.format import (
    BITMAP_LENGTH,
    FIELDS,
    HEADER_LENGTH,
    LARGEST_MESSAGE,
    LENGTH_BYTES,
    MAC_FIELD,
    MAC_LENGTH,
    PAD,
    SEPARATOR,
    SHORTEST_MESSAGE,
    TPDU_ID,
    TPDU_LENGTH,
    Fields,
    Kind,
    MalformedMessage,
    PosField,
)

_HEAD = TPDU_LENGTH + HEADER_LENGTH
_AN = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz ")
_PACKED = frozenset({Kind.N, Kind.Z})


@dataclass(frozen=True, slots=True)
class Header:
    """TPDU and header. destination, source: 4 hexadecimal digits each; text: the header's 12.

    text is application (2), version (2), terminal state (1), what the terminal is to do next (1), software (6).
    """

    destination: str = "0000"
    source: str = "0000"
    text: str = "603100000000"

    def reply(self) -> "Header":
        """Of the answer: the TPDU's addresses swapped, nothing for the terminal to do.

        >>> Header("0003", "0102", "603100311008").reply()
        Header(destination='0102', source='0003', text='603100311008')
        """
        return replace(self, destination=self.source, source=self.destination, text=f"{self.text[:5]}0{self.text[6:]}")


@dataclass(frozen=True, slots=True)
class Message:
    """fields: DE64 among them. covered: the bytes that its MAC covers, MTI to the field before it; b"" without one."""

    header: Header
    mti: str
    fields: Fields = field(repr=False)
    covered: bytes = field(default=b"", repr=False)


def decode(message: bytes) -> Message:
    """message: without the length before it. Raises MalformedMessage, whose text never holds the message's data."""
    if not SHORTEST_MESSAGE <= len(message) <= LARGEST_MESSAGE:
        raise MalformedMessage(None, "no message has this length")
    if message[0] != TPDU_ID:
        raise MalformedMessage(None, "the TPDU does not begin with 60")
    header = Header(message[1:3].hex().upper(), message[3:5].hex().upper(), message[5:_HEAD].hex().upper())
    mti = message[_HEAD : _HEAD + 2].hex()
    if not _is_digits(mti):
        raise MalformedMessage(0, "the MTI is not four digits")
    bitmap = int.from_bytes(message[_HEAD + 2 : _HEAD + 2 + BITMAP_LENGTH])
    if bitmap >> 63:
        raise MalformedMessage(0, "a second bitmap is not of this dialect")
    at = _HEAD + 2 + BITMAP_LENGTH
    fields: Fields = {}
    for number in range(2, 65):
        if bitmap >> (64 - number) & 1:
            fields[number], at = _read(message, at, number)
    if at != len(message):
        raise MalformedMessage(None, "bytes are left behind the last field")
    covered = message[_HEAD:-MAC_LENGTH] if MAC_FIELD in fields else b""
    return Message(header, mti, fields, covered)


def encode_covered(mti: str, fields: Fields) -> bytes:
    """MTI to DE63 of a message that will end in a MAC: what the MAC is made over. Raises MalformedMessage.

    The `pos_ecb_mac` vector (Q/CUP 009's sample) begins so:

    >>> encode_covered("0200", {3: "000000", 4: "000000000051", 11: "001834", 22: "021"}).hex()
    '020030200400000000010000000000000000510018340210'
    """
    return _body(mti, {**fields, MAC_FIELD: bytes(MAC_LENGTH)})[:-MAC_LENGTH]


def encode(header: Header, mti: str, fields: Fields) -> bytes:
    """A whole message. Raises MalformedMessage."""
    return _head(header) + _body(mti, fields)


def sealed(header: Header, covered: bytes, mac: bytes) -> bytes:
    """A whole message of what `encode_covered` gave and its MAC, 8 bytes."""
    if len(mac) != MAC_LENGTH:
        raise MalformedMessage(MAC_FIELD, f"a MAC has {MAC_LENGTH} bytes")
    return _head(header) + covered + mac


def frame(message: bytes) -> bytes:
    """With its length before it, as it goes over the wire."""
    return len(message).to_bytes(LENGTH_BYTES) + message


def _head(header: Header) -> bytes:
    text = f"{TPDU_ID:02X}{header.destination}{header.source}{header.text}"
    try:
        head = bytes.fromhex(text)
    except ValueError:
        head = b""
    if len(head) != _HEAD or len(header.destination) != 4 or len(header.source) != 4:
        raise MalformedMessage(None, "the header is not hexadecimal of its length")
    return head


def _body(mti: str, fields: Fields) -> bytes:
    if len(mti) != 4 or not _is_digits(mti):
        raise MalformedMessage(0, "the MTI is not four digits")
    bitmap, parts = 0, []
    for number in sorted(fields):
        if number not in FIELDS:
            raise MalformedMessage(number, "it is not of this dialect")
        bitmap |= 1 << (64 - number)
        parts.append(_written(number, fields[number]))
    return b"".join((bytes.fromhex(mti), bitmap.to_bytes(BITMAP_LENGTH), *parts))


# --- one field --------------------------------------------------------------------------------------------------------


def _read(message: bytes, at: int, number: int) -> tuple[str | bytes, int]:
    form = FIELDS.get(number)
    if form is None:
        raise MalformedMessage(number, "it is not of this dialect")
    length = form.length
    if form.prefix:
        text, at = _take(message, at, (form.prefix + 1) // 2, number)
        digits = text.hex()
        if not _is_digits(digits):
            raise MalformedMessage(number, "its length is not BCD")
        length = int(digits)
        if not 0 < length <= form.length:
            raise MalformedMessage(number, "its length is not permitted")
    raw, at = _take(message, at, (length + 1) // 2 if form.kind in _PACKED else length, number)
    value: str | bytes = raw
    if form.kind in _PACKED:
        value = _unpacked(raw, length, form, number)
    elif form.kind is not Kind.B:
        value = raw.decode("latin-1")
        _check_text(value, form, number)
    return value, at


def _take(message: bytes, at: int, count: int, number: int) -> tuple[bytes, int]:
    if len(message) - at < count:
        raise MalformedMessage(number, "the message ends in it")
    return message[at : at + count], at + count


def _unpacked(raw: bytes, length: int, form: PosField, number: int) -> str:
    nibbles = raw.hex().upper()
    if length % 2:
        padding, nibbles = (nibbles[0], nibbles[1:]) if form.right else (nibbles[-1], nibbles[:-1])
        if padding != PAD:
            raise MalformedMessage(number, "its padding is not zero")
    if form.kind is Kind.Z:
        nibbles = nibbles.replace(SEPARATOR, "=")
    _check_text(nibbles, form, number)
    return nibbles


def _written(number: int, value: str | bytes) -> bytes:
    form = FIELDS[number]
    if isinstance(value, bytes) is not (form.kind is Kind.B):
        raise MalformedMessage(number, "it is bytes if and only if its kind is binary")
    length = len(value)
    if not 0 < length <= form.length or (not form.prefix and length != form.length):
        raise MalformedMessage(number, "its length is not permitted")
    prefix = bytes.fromhex(f"{length:0{form.prefix + form.prefix % 2}d}") if form.prefix else b""
    if isinstance(value, bytes):
        return prefix + value
    _check_text(value, form, number)
    if form.kind not in _PACKED:
        return prefix + value.encode("latin-1")
    nibbles = value.replace("=", SEPARATOR)
    if length % 2:
        nibbles = PAD + nibbles if form.right else nibbles + PAD
    return prefix + bytes.fromhex(nibbles)


def _check_text(value: str, form: PosField, number: int) -> None:
    if form.kind is Kind.N:
        good = _is_digits(value)
    elif form.kind is Kind.Z:
        good = _is_digits(value.replace("=", "0"))
    elif form.kind is Kind.AN:
        good = value.isascii() and _AN.issuperset(value.encode())
    else:
        good = all(0x20 <= ord(each) <= 0xFF and each != "\x7f" for each in value)
    if not good:
        raise MalformedMessage(number, "it holds a character that its kind does not allow")


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
