"""The terminals' dialect read and written by pyiso8583, which is told the field table and shares no code with ours."""

import json
from pathlib import Path
from typing import Any

import iso8583
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.unionpay.pos.codec import Header, decode, encode
from adapters.unionpay.pos.format import FIELDS, Kind, PosField
from adapters.unionpay.pos.simulator import CHIP, CONTACTLESS, KEYED, STRIPE, Card, SimulatedTerminal

PUBLISHED = json.loads((Path(__file__).parents[3] / "vectors" / "unionpay.json").read_text())["pos_ecb_mac"]
HEADER = Header("0003", "0102", "603100311008")
CARD = Card("6225880000000001", "4912", "123456")
_ALPHABETS = {Kind.N: "0123456789", Kind.Z: "0123456789=", Kind.AN: "09AZaz ", Kind.ANS: " !09AZaz~ÿ"}


def _described(form: PosField) -> dict[str, Any]:
    packed = form.kind in (Kind.N, Kind.Z)
    described = {
        "data_enc": "b" if packed or form.kind is Kind.B else "latin-1",
        "len_enc": "bcd",
        "len_type": {0: 0, 2: 1, 3: 2}[form.prefix],
        "max_len": form.length,
        "len_count": "nibbles" if packed else "bytes",
    }
    return described | ({"left_pad" if form.right else "right_pad": "0"} if packed else {})


SPEC: dict[str, Any] = {
    "h": {"data_enc": "b", "len_enc": "b", "len_type": 0, "max_len": 11},
    "t": {"data_enc": "b", "len_enc": "b", "len_type": 0, "max_len": 2},
    "p": {"data_enc": "b", "len_enc": "b", "len_type": 0, "max_len": 8},
    "1": {"data_enc": "b", "len_enc": "b", "len_type": 0, "max_len": 8},
    **{str(number): _described(form) for number, form in FIELDS.items()},
}
# It asks for a description of every field up to 128.
SPEC |= {str(number): SPEC["1"] for number in range(2, 129) if str(number) not in SPEC}


def theirs(number: int, value: Any) -> str:
    """A value as pyiso8583 holds it: what is not text in hexadecimal."""
    if isinstance(value, bytes):
        return value.hex().upper()
    return str(value).replace("=", "D") if FIELDS[number].kind is Kind.Z else str(value)


def read_by_theirs(message: bytes) -> tuple[str, dict[int, str]]:
    decoded, _ = iso8583.decode(message, SPEC)
    assert decoded.pop("h") == "6000030102603100311008"
    mti, _ = decoded.pop("t"), decoded.pop("p")
    return mti, {int(number): value for number, value in decoded.items()}


def written_by_theirs(mti: str, fields: dict[int, Any]) -> bytes:
    document = {"h": "6000030102603100311008", "t": mti}
    document |= {str(number): theirs(number, value) for number, value in fields.items()}
    message, _ = iso8583.encode(document, SPEC)
    return bytes(message)


def values(form: PosField) -> st.SearchStrategy[Any]:
    least, most = (1, min(form.length, 60)) if form.prefix else (form.length, form.length)
    if form.kind is Kind.B:
        return st.binary(min_size=least, max_size=most)
    return st.text(_ALPHABETS[form.kind], min_size=least, max_size=most)


@given(
    st.text("0123456789", min_size=4, max_size=4),
    st.fixed_dictionaries({}, optional={number: values(form) for number, form in FIELDS.items()}),
)
@settings(max_examples=150, deadline=None)
def test_what_either_writes_the_other_reads(mti: str, fields: dict[int, Any]) -> None:
    ours = encode(HEADER, mti, fields)
    assert read_by_theirs(ours) == (mti, {number: theirs(number, value) for number, value in fields.items()})
    message = written_by_theirs(mti, fields)
    assert message == ours
    assert (decode(message).mti, decode(message).fields) == (mti, fields)


def test_the_published_message() -> None:
    message = bytes.fromhex("6000030102603100311008" + PUBLISHED["data_hex"]) + PUBLISHED["de64_ascii"].encode()
    mti, fields = read_by_theirs(message)
    ours = decode(message)
    assert (mti, fields) == (ours.mti, {number: theirs(number, value) for number, value in ours.fields.items()})


@pytest.mark.parametrize("entry", [KEYED, STRIPE, CHIP, CONTACTLESS])
def test_the_simulated_terminals_messages(entry: str) -> None:
    terminal = SimulatedTerminal("", 0, "104110053110001", "T0000001", bytes(16))
    sent = terminal.build("0200", terminal.payment(CARD, 1200, entry))
    mti, fields = read_by_theirs(sent.data)
    assert (mti, fields[4], fields[41], fields[60]) == ("0200", "000000001200", "T0000001", "22000001")
    assert (fields.get(2) or fields[35])[:16] == CARD.pan
