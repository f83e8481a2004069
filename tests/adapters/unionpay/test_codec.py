"""The codec against captured messages, and against the oracle in plain Python: same message or same refusal."""

import random
from collections.abc import Callable
from typing import Any

import iso8583_oracle as oracle
import pytest
from hypothesis import example, given, settings
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


def raw(header: Header) -> bytes:
    """Its 46 bytes, with zeros for the total length."""
    message = encode(header, "0000", {})[:46]
    return message[:2] + b"0000" + message[6:]


def outcome(work: Callable[[], Any]) -> Any:
    """What it gives, or which refusal: the field and the reason."""
    try:
        return work()
    except MalformedMessage as error:
        return error.field, error.reason


def read(message: bytes) -> Any:
    header, mti, fields = decode(message)
    return raw(header), mti, fields


def agree_on(message: bytes) -> Any:
    """Both codecs read it as the same, or refuse it for the same; whatever is read is written back byte for byte.

    But for a second bitmap without a bit: it may come, and is not sent.
    """
    found = outcome(lambda: read(message))
    assert found == outcome(lambda: oracle.decode(message))
    if len(found) == 3:
        written = encode(*decode(message))
        assert written == oracle.encode(*found)
        assert written == message or (message[50] & 0x80 and message[58:66] == bytes(8) and read(written) == found)
    return found


def test_captured_messages_against_the_oracle(captured: list[bytes]) -> None:
    for message in captured:
        assert len(agree_on(message)) == 3


@given(MTIS, MESSAGES)
@settings(max_examples=150, deadline=None)
def test_round_trip_and_oracle(mti: str, fields: dict[int, Any]) -> None:
    message = encode(HEADER, mti, fields)
    assert message == oracle.encode(raw(HEADER), mti, fields)
    assert encode_frame(HEADER, mti, fields) == f"{len(message):04d}".encode() + message
    assert agree_on(message) == (raw(HEADER), mti, fields)


ANYTHING = st.one_of(
    st.text(max_size=30), st.binary(max_size=30), st.text("0123456789", max_size=20), st.none(), st.integers()
)


@given(st.text("0123456789a\xb2", max_size=5), st.dictionaries(st.integers(-1, 130), ANYTHING, max_size=6), MESSAGES)
@settings(max_examples=300, deadline=None)
def test_whatever_is_to_be_encoded(mti: str, wrong: dict[int, Any], right: dict[int, Any]) -> None:
    for each in (mti, "0200"):
        for fields in (wrong, right | wrong):
            said = outcome(lambda each=each, fields=fields: encode(HEADER, each, fields))
            assert said == outcome(lambda each=each, fields=fields: oracle.encode(raw(HEADER), each, fields))


@given(MTIS, MESSAGES, st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_is_to_be_decoded(mti: str, fields: dict[int, Any], data: st.DataObject) -> None:
    """A good message with a byte changed, cut out or put in, its total length mended or not."""
    message = bytearray(encode(HEADER, mti, fields))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(message)))
        end = min(len(message), at + data.draw(st.integers(0, 3)))
        message[at:end] = data.draw(st.binary(max_size=3))
    if data.draw(st.booleans()) and len(message) >= 6:
        message[2:6] = b"%04d" % min(len(message), 9999)
    agree_on(bytes(message))


@given(st.integers(0, 127), st.integers(0, 99), st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
@example(1, 38, b"\x00")
def test_random_bitmaps(bit: int, cut: int, junk: bytes) -> None:
    bitmap = (1 << 127 | 1 << (127 - bit)).to_bytes(16, "big")
    message = raw(HEADER) + b"0200" + bitmap + b"01" * 20 + junk
    message = message[: len(message) - cut]
    agree_on(message[:2] + b"%04d" % len(message) + message[6:])


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused_or_read_exactly(junk: bytes) -> None:
    message = encode(HEADER, "0200", {})[:46] + junk
    message = message[:2] + f"{len(message):04d}".encode() + message[6:]
    agree_on(message)


def test_every_truncation_and_every_flipped_byte(captured: list[bytes]) -> None:
    """None may crash, none may be read as something it does not say."""
    rng = random.Random(8583)
    for message in captured:
        for length in range(len(message)):
            assert len(agree_on(message[:length])) == 2
        for _ in range(2_000):
            changed = bytearray(message)
            changed[rng.randrange(len(changed))] = rng.randrange(256)
            agree_on(bytes(changed))


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
