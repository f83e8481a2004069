"""The codec of the UnionPay dialect once more, in plain Python, from the same table of fields: the oracle.

Written as the layout is told, without a thought for speed, and sharing no line with `_codec.pyx`. It accepts and
refuses the same, and names the same field and reason.
"""

from adapters.unionpay.format import (
    FIELDS,
    HEADER_LENGTH,
    LARGEST_MESSAGE_LENGTH,
    VERSIONS,
    FieldFormat,
    Fields,
    Kind,
    MalformedMessage,
)

_DIGITS = frozenset(b"0123456789")
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz ")
_ALLOWED = {
    Kind.N: _DIGITS,
    Kind.AN: _DIGITS | _LETTERS,
    Kind.ANS: frozenset(range(0x20, 0x100)) - {0x7F},
    Kind.Z: _DIGITS | frozenset(b"=D"),
    Kind.B: frozenset(range(0x100)),
}


def _is_number(raw: bytes) -> bool:
    return set(raw) <= _DIGITS


def _fits(kind: Kind, raw: bytes) -> bool:
    if kind is Kind.XN:
        return raw[:1] in (b"C", b"D") and _is_number(raw[1:])
    return set(raw) <= _ALLOWED[kind]


def decode(message: bytes) -> tuple[bytes, str, Fields]:
    """(the header with four zeros for its total length, MTI, fields). Raises MalformedMessage."""
    if len(message) < HEADER_LENGTH:
        raise MalformedMessage(None, "truncated")
    header, body = message[:HEADER_LENGTH], message[HEADER_LENGTH:]
    if len(body) < 4 + 8:
        raise MalformedMessage(0, "truncated")
    if header[2:6] != b"%04d" % len(message) or len(message) > LARGEST_MESSAGE_LENGTH:
        raise MalformedMessage(None, "its total length is not the message's")
    check_header(header)
    mti, rest = body[:4], body[4:]
    if not _is_number(mti):
        raise MalformedMessage(0, "the MTI is not four digits")
    width = 16 if rest[0] & 0x80 else 8
    if len(rest) < width:
        raise MalformedMessage(0, "truncated")
    bits, rest = "".join(f"{byte:08b}" for byte in rest[:width]), rest[width:]
    fields: Fields = {}
    for number in range(2, len(bits) + 1):
        if bits[number - 1] == "1":
            raw, rest = _take(number, rest)
            fields[number] = raw if FIELDS[number].kind is Kind.B else raw.decode("latin-1")
    if rest:
        raise MalformedMessage(0, "bytes follow the last field")
    return header[:2] + b"0000" + header[6:], mti.decode("ascii"), fields


def _take(number: int, rest: bytes) -> tuple[bytes, bytes]:
    form = FIELDS.get(number)
    if form is None:
        raise MalformedMessage(number, "not a field of this dialect")
    length = form.length
    if form.prefix:
        prefix, rest = rest[: form.prefix], rest[form.prefix :]
        if len(prefix) < form.prefix:
            raise MalformedMessage(number, "truncated")
        if not _is_number(prefix) or not 1 <= int(prefix) <= form.length:
            raise MalformedMessage(number, "its length is out of bounds")
        length = int(prefix)
    if len(rest) < length:
        raise MalformedMessage(number, "truncated")
    if not _fits(form.kind, rest[:length]):
        raise MalformedMessage(number, "it holds a byte that its kind does not allow")
    return rest[:length], rest[length:]


def check_header(header: bytes) -> None:
    if header[0] != HEADER_LENGTH:
        raise MalformedMessage(None, "its length is not 46")
    if header[1] not in VERSIONS:
        raise MalformedMessage(None, "unknown version")
    if not set(header[6:28]) <= _DIGITS | _LETTERS:
        raise MalformedMessage(None, "an institution id holds other than letters and digits")
    if not _is_number(header[32:40] + header[41:46]):
        raise MalformedMessage(None, "transaction information or reject code holds other than digits")


def encode(header: bytes, mti: str, fields: Fields) -> bytes:
    """header: 46 bytes, of which those of the total length count for nothing. Raises MalformedMessage."""
    if any(not 2 <= number <= 128 for number in fields):
        raise MalformedMessage(0, "a field number is out of bounds")
    if len(mti) != 4 or not set(mti) <= set("0123456789"):
        raise MalformedMessage(0, "the MTI is not four digits")
    width = 16 if max(fields, default=0) > 64 else 8
    bits = ["1" if number in fields else "0" for number in range(1, width * 8 + 1)]
    if width == 16:
        bits[0] = "1"
    message = header + mti.encode("ascii") + int("".join(bits), 2).to_bytes(width, "big")
    for number in sorted(fields):
        message += _said(number, fields[number])
        if len(message) > LARGEST_MESSAGE_LENGTH:
            raise MalformedMessage(number, "the message grows too long")
    return message[:2] + b"%04d" % len(message) + message[6:]


def _said(number: int, value: object) -> bytes:
    form = FIELDS.get(number)
    if form is None:
        raise MalformedMessage(number, "not a field of this dialect")
    raw = _as_bytes(number, form, value)
    if not 1 <= len(raw) <= form.length or (not form.prefix and len(raw) != form.length):
        raise MalformedMessage(number, "its length is out of bounds")
    if not _fits(form.kind, raw):
        raise MalformedMessage(number, "it holds a byte that its kind does not allow")
    return (str(len(raw)).zfill(form.prefix).encode("ascii") if form.prefix else b"") + raw


def _as_bytes(number: int, form: FieldFormat, value: object) -> bytes:
    if form.kind is Kind.B:
        if not isinstance(value, bytes):
            raise MalformedMessage(number, "not bytes")
        return value
    try:
        if isinstance(value, str):
            return value.encode("latin-1")
    except UnicodeEncodeError:
        pass
    raise MalformedMessage(number, "not text of one byte a character")
