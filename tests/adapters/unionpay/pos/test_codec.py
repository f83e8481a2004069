"""The terminals' codec against the published message, an oracle that shares nothing with it, and a kept corpus."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.unionpay.pos.codec import Header, decode, encode, encode_covered, frame, sealed
from adapters.unionpay.pos.format import FIELDS, LARGEST_MESSAGE, Kind, MalformedMessage, PosField
from adapters.unionpay.pos.frame import Framer

VECTORS = Path(__file__).parents[3] / "vectors"
PUBLISHED = json.loads((VECTORS / "unionpay.json").read_text())["pos_ecb_mac"]
CORPUS = json.loads((VECTORS / "pos_corpus.json").read_text())["entries"]
HEADER = Header("0003", "0102", "603100311008")
_ALPHABETS = {
    Kind.N: "0123456789",
    Kind.AN: "0123456789ABCXYZabcxyz ",
    Kind.ANS: "".join(chr(byte) for byte in range(0x20, 0x100) if byte != 0x7F),
    Kind.Z: "0123456789=",
}


def oracle_body(mti: str, fields: dict[int, Any]) -> str:
    """In hexadecimal, as the specification tells it."""
    bits = "".join("1" if number in fields else "0" for number in range(1, 65))
    text = mti + f"{int(bits, 2):016X}"
    for number in sorted(fields):
        form, value = FIELDS[number], fields[number]
        if form.prefix == 2:
            text += f"{len(value):02d}"
        elif form.prefix == 3:
            text += f"{len(value):04d}"
        if form.kind in (Kind.N, Kind.Z):
            digits = value.replace("=", "D")
            if len(digits) % 2:
                digits = "0" + digits if number == 23 else digits + "0"
            text += digits
        else:
            text += (value if isinstance(value, bytes) else value.encode("latin-1")).hex().upper()
    return text


def values(form: PosField) -> st.SearchStrategy[Any]:
    least, most = (1, min(form.length, 60)) if form.prefix else (form.length, form.length)
    if form.kind is Kind.B:
        return st.binary(min_size=least, max_size=most)
    return st.text(_ALPHABETS[form.kind], min_size=least, max_size=most)


MESSAGES = st.fixed_dictionaries({}, optional={number: values(form) for number, form in FIELDS.items()})
MTIS = st.text("0123456789", min_size=4, max_size=4)


def published() -> bytes:
    return bytes.fromhex("6000030102603100311008" + PUBLISHED["data_hex"]) + PUBLISHED["de64_ascii"].encode()


def test_the_published_message_is_read() -> None:
    message = decode(published())
    assert (message.header, message.mti) == (HEADER, "0200")
    assert message.fields == {
        3: "000000", 4: "000000000051", 11: "001834", 22: "021", 25: "00", 26: "06",
        35: "4392260009942820=131210112008439", 41: "16688014", 42: "000000000000001", 49: "156",
        52: bytes.fromhex("ACF46E73838A82F9"), 53: "2600000000000000", 60: "22000001", 64: b"8A9E91B8",
    }  # fmt: skip
    assert message.covered == bytes.fromhex(PUBLISHED["data_hex"])


def test_the_published_message_is_written() -> None:
    message = decode(published())
    fields = {number: value for number, value in message.fields.items() if number != 64}
    covered = encode_covered(message.mti, fields)
    assert covered == bytes.fromhex(PUBLISHED["data_hex"])
    assert sealed(HEADER, covered, b"8A9E91B8") == published() == encode(HEADER, "0200", message.fields)


@given(MTIS, MESSAGES)
@settings(max_examples=200, deadline=None)
def test_round_trip_and_oracle(mti: str, fields: dict[int, Any]) -> None:
    body = oracle_body(mti, fields)
    message = encode(HEADER, mti, fields)
    assert message.hex().upper() == "6000030102603100311008" + body
    read = decode(message)
    assert (read.header, read.mti, read.fields) == (HEADER, mti, fields)
    assert read.covered == (bytes.fromhex(body)[:-8] if 64 in fields else b"")


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_refused_or_read_exactly(junk: bytes) -> None:
    message = encode(HEADER, "0200", {})[:11] + junk
    try:
        read = decode(message)
    except MalformedMessage:
        return
    assert encode(read.header, read.mti, read.fields) == message


def test_every_truncation_and_every_changed_byte() -> None:
    """None may crash, none may be read as something it does not say."""
    rng = random.Random(64)
    message = published()
    for length in range(len(message)):
        with pytest.raises(MalformedMessage):
            decode(message[:length])
    for _ in range(5_000):
        changed = bytearray(message)
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            read = decode(bytes(changed))
        except MalformedMessage:
            continue
        assert encode(read.header, read.mti, read.fields) == bytes(changed)


@pytest.mark.parametrize("entry", CORPUS, ids=[each["why"] for each in CORPUS])
def test_the_kept_corpus(entry: dict[str, str]) -> None:
    """What was once feared: refused at the field it names, or read. What is near it never crashes."""
    data = bytes.fromhex(entry["hex"])
    if entry["outcome"] == "read":
        read = decode(data)
        assert encode(read.header, read.mti, read.fields) == data
    else:
        with pytest.raises(MalformedMessage) as caught:
            decode(data)
        assert str(caught.value) == entry["outcome"]
    for at in range(len(data)):
        for other in (0x00, 0x7F, 0x80, 0xFF, data[at] ^ 1):
            near = data[:at] + bytes([other]) + data[at + 1 :]
            try:
                read = decode(near)
            except MalformedMessage:
                continue
            assert encode(read.header, read.mti, read.fields) == near


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({3: "00000"}, 3),
        ({3: "00000x"}, 3),
        ({2: ""}, 2),
        ({2: "6" * 20}, 2),
        ({4: "00000000000¹"}, 4),
        ({22: "0210"}, 22),
        ({35: "6225^3012"}, 35),
        ({35: "6225D3012"}, 35),
        ({38: "12-456"}, 38),
        ({41: "tab\t    "}, 41),
        ({42: "字".ljust(15)}, 42),
        ({52: "12345678"}, 52),
        ({52: b"1234567"}, 52),
        ({37: b"123456789012"}, 37),
        ({55: b""}, 55),
        ({62: bytes(513)}, 62),
        ({7: "1127080000"}, 7),
        ({1: "x"}, 1),
        ({65: "x"}, 65),
    ],
)
def test_fields_that_do_not_fit(fields: dict[int, Any], field: int) -> None:
    with pytest.raises(MalformedMessage) as caught:
        encode(HEADER, "0200", fields)
    assert caught.value.field == field


@pytest.mark.parametrize("mti", ["", "020", "02000", "02a0", "０２００"])
def test_mti_is_four_digits(mti: str) -> None:
    with pytest.raises(MalformedMessage):
        encode(HEADER, mti, {3: "000000"})


@pytest.mark.parametrize("header", [Header("00", "0102"), Header("000g", "0102"), Header(text="60"), Header("0" * 6)])
def test_headers_that_do_not_fit(header: Header) -> None:
    with pytest.raises(MalformedMessage):
        encode(header, "0200", {})


def test_a_mac_has_eight_bytes() -> None:
    with pytest.raises(MalformedMessage):
        sealed(HEADER, encode_covered("0200", {}), b"8A9E91B")


def test_errors_and_reprs_hold_no_data() -> None:
    message = bytearray(published())
    at = bytes(message).index(bytes.fromhex("4392260009942820"))
    assert "4392260009942820" not in repr(decode(bytes(message)))
    message[at] = 0xAB
    with pytest.raises(MalformedMessage) as caught:
        decode(bytes(message))
    assert str(caught.value) == "field 35: it holds a character that its kind does not allow"


# --- frames -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=21, max_size=90), min_size=1, max_size=6), st.data())
@settings(max_examples=100, deadline=None)
def test_frames_arrive_in_any_pieces(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame(each) for each in messages)
    framer, found, at = Framer(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        found += framer.feed(stream[at : at + step])
        at += step
    assert found == messages
    assert (framer.pending, framer.broken) == (0, False)


def test_one_byte_at_a_time() -> None:
    framer = Framer()
    found = [framer.feed(bytes([each])) for each in frame(published())]
    assert found[-1] == [published()]
    assert not any(found[:-1])


@pytest.mark.parametrize("length", [0, 1, 20, LARGEST_MESSAGE + 1, 0xFFFF])
def test_an_impossible_length_breaks_the_stream(length: int) -> None:
    framer = Framer()
    assert framer.feed(frame(published()) + length.to_bytes(2) + b"rest") == [published()]
    assert framer.broken
    assert framer.pending == 0
    assert framer.feed(frame(published())) == []


def test_the_largest_message_is_a_setting() -> None:
    framer = Framer(largest=50)
    framer.feed(frame(published()))
    assert framer.broken
