"""The codec against captured messages and against an oracle in plain Python that shares nothing with it."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.unionpay._codec import Header, decode, encode, encode_frame
from adapters.unionpay.format import FIELDS, FieldFormat, Kind, MalformedMessage

HEADER = Header("00010344", "44190440")
_ALPHABETS = {
    Kind.N: "0123456789",
    Kind.AN: "0123456789ABCXYZabcxyz ",
    Kind.ANS: "".join(chr(byte) for byte in range(0x20, 0x100) if byte != 0x7F),
    Kind.Z: "0123456789=D",
}


def oracle_encode(header: bytes, mti: str, fields: dict[int, Any]) -> bytes:
    """As the specification tells it, without a thought for speed."""
    width = 128 if max(fields, default=0) > 64 else 64
    bits = ["0"] * width
    bits[0] = "1" if width == 128 else "0"
    body = b""
    for number in sorted(fields):
        bits[number - 1] = "1"
        value = fields[number] if isinstance(fields[number], bytes) else fields[number].encode("latin-1")
        prefix = FIELDS[number].prefix
        body += (str(len(value)).zfill(prefix).encode() if prefix else b"") + value
    bitmap = int("".join(bits), 2).to_bytes(width // 8, "big")
    total = str(46 + 4 + len(bitmap) + len(body)).zfill(4).encode()
    return header[:2] + total + header[6:] + mti.encode() + bitmap + body


def oracle_decode(message: bytes) -> tuple[str, dict[int, Any]]:
    mti, rest = message[46:50].decode(), message[50:]
    width = 16 if rest[0] >> 7 else 8
    bits = "".join(f"{byte:08b}" for byte in rest[:width])
    rest = rest[width:]
    fields: dict[int, Any] = {}
    for number in range(2, width * 8 + 1):
        if bits[number - 1] == "0":
            continue
        form = FIELDS[number]
        length = int(rest[: form.prefix]) if form.prefix else form.length
        raw, rest = rest[form.prefix : form.prefix + length], rest[form.prefix + length :]
        fields[number] = raw if form.kind is Kind.B else raw.decode("latin-1")
    assert not rest
    return mti, fields


def values(form: FieldFormat) -> st.SearchStrategy[Any]:
    least, most = (1, min(form.length, 60)) if form.prefix else (form.length, form.length)
    if form.kind is Kind.B:
        return st.binary(min_size=least, max_size=most)
    if form.kind is Kind.XN:
        return st.builds("{}{}".format, st.sampled_from("CD"), st.text("0123456789", min_size=8, max_size=8))
    return st.text(_ALPHABETS[form.kind], min_size=least, max_size=most)


MESSAGES = st.fixed_dictionaries({}, optional={number: values(form) for number, form in FIELDS.items()})
MTIS = st.text("0123456789", min_size=4, max_size=4)


def test_captured_messages_come_back_byte_for_byte(captured: list[bytes]) -> None:
    assert len(captured) == 6
    for message in captured:
        assert encode(*decode(message)) == message


def test_captured_sale(captured: list[bytes]) -> None:
    header, mti, fields = decode(captured[4])
    assert (header.destination, header.source, header.version) == ("44190440", "00010344", 0x82)
    assert mti == "0200"
    assert fields[2] == "6210947000000021"
    assert fields[43] == "Testing merchant 2       ShenZhen    CHN"
    assert fields[52] == bytes.fromhex("3C77B8E654636C38")
    assert fields[53] == "2600000000000000"


def test_captured_messages_against_the_oracle(captured: list[bytes]) -> None:
    for message in captured:
        _, mti, fields = decode(message)
        assert (mti, fields) == oracle_decode(message)


@given(MTIS, MESSAGES)
@settings(max_examples=150, deadline=None)
def test_round_trip_and_oracle(mti: str, fields: dict[int, Any]) -> None:
    raw_header = encode(HEADER, "0000", {})[:46]
    message = encode(HEADER, mti, fields)
    assert message == oracle_encode(raw_header, mti, fields)
    assert encode_frame(HEADER, mti, fields) == f"{len(message):04d}".encode() + message
    header, decoded_mti, decoded = decode(message)
    assert (header, decoded_mti, decoded) == (HEADER, mti, fields)
    assert (decoded_mti, decoded) == oracle_decode(message)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused_or_read_exactly(junk: bytes) -> None:
    message = encode(HEADER, "0200", {})[:46] + junk
    message = message[:2] + f"{len(message):04d}".encode() + message[6:]
    try:
        header, mti, fields = decode(message)
    except MalformedMessage:
        return
    assert decode(encode(header, mti, fields)) == (header, mti, fields)


def test_every_truncation_and_every_flipped_byte(captured: list[bytes]) -> None:
    """None may crash, none may be read as something it does not say."""
    rng = random.Random(8583)
    for message in captured:
        for length in range(len(message)):
            with pytest.raises(MalformedMessage):
                decode(message[:length])
        for _ in range(2_000):
            changed = bytearray(message)
            changed[rng.randrange(len(changed))] = rng.randrange(256)
            try:
                header, mti, fields = decode(bytes(changed))
            except MalformedMessage:
                continue
            assert encode(header, mti, fields) == bytes(changed)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({3: "00000"}, 3),
        ({3: "00000x"}, 3),
        ({2: ""}, 2),
        ({2: "6" * 20}, 2),
        ({4: "00000000000¹"}, 4),
        ({28: "X00000000"}, 28),
        ({28: "C0000000A"}, 28),
        ({35: "6225^3012"}, 35),
        ({43: "字".ljust(40)}, 43),
        ({41: "tab\t    "}, 41),
        ({52: "12345678"}, 52),
        ({52: b"1234567"}, 52),
        ({37: b"123456789012"}, 37),
        ({55: b""}, 55),
        ({8: "12345678"}, 8),
        ({1: "x"}, 0),
        ({129: "x"}, 0),
    ],
)
def test_fields_that_do_not_fit(fields: dict[int, Any], field: int) -> None:
    with pytest.raises(MalformedMessage) as caught:
        encode(HEADER, "0200", fields)
    assert caught.value.field == field


def test_a_message_that_grows_too_long() -> None:
    """All variable fields at their longest stay below the limit; the limit holds all the same."""
    longest = {n: (b"x" if f.kind is Kind.B else "1") * f.length for n, f in FIELDS.items() if f.kind is not Kind.XN}
    message = encode(HEADER, "0200", longest)
    assert len(message) < 4096
    assert decode(message)[2] == longest


@pytest.mark.parametrize("mti", ["", "020", "02000", "02a0", "０２００"])
def test_mti_is_four_digits(mti: str) -> None:
    with pytest.raises(MalformedMessage):
        encode(HEADER, mti, {3: "000000"})


def test_errors_hold_no_data(captured: list[bytes]) -> None:
    message = bytearray(captured[4])
    at = bytes(message).index(b"6210947000000021")
    message[at] = ord("x")
    with pytest.raises(MalformedMessage) as caught:
        decode(bytes(message))
    assert str(caught.value) == "field 2: it holds a byte that its kind does not allow"


@pytest.mark.parametrize(
    ("at", "byte"), [(0, 0x2F), (1, 0x07), (2, ord("x")), (6, 0x00), (32, ord("x")), (41, ord("x")), (46, ord("x"))]
)
def test_bad_headers(at: int, byte: int) -> None:
    message = bytearray(encode(HEADER, "0820", {70: "301"}))
    message[at] = byte
    with pytest.raises(MalformedMessage):
        decode(bytes(message))


def test_header_shows_and_swaps_its_ids() -> None:
    assert HEADER.reply() == Header("44190440", "00010344")
    assert HEADER.reply().reply() == HEADER
    assert hash(HEADER.reply().reply()) == hash(HEADER)
    assert HEADER.reply() != HEADER
    assert repr(HEADER) == "Header('00010344', '44190440', reject_code='00000')"
    with pytest.raises(MalformedMessage):
        Header("0001034412345", "1")
