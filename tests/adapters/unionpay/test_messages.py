"""What each operation says to the network."""

from dataclasses import replace
from typing import Any

import pytest

from adapters.unionpay._codec import Header, decode, encode
from adapters.unionpay.messages import NotExpressible, financial_fields, message_kind
from adapters.unionpay.settings import UnionPaySettings
from switch.domain.authorization import CardCredential, CodeCredential
from switch.domain.sensitive import Pan, PaymentCode, Sensitive
from switch.domain.states import EntryMode, Operation

TRACE = {
    "stan": "046875",
    "transmission": "1123120000",
    "rrn": "32EZ0C046875",
    "local_time": "120000",
    "local_date": "1123",
}
CARD = CardCredential(Pan("6225880000000010"), expiry_yymm="3012")


def test_tap_with_chip_and_pin(make_request: Any, settings: UnionPaySettings) -> None:
    card = CardCredential(
        Pan("6225880000000010"), "3012", "001", Sensitive("6225880000000010=30122010000000000"), bytes.fromhex("9F2608")
    )
    request = make_request(card, 12_345, pin_block=b"\x01" * 8, trace=dict(TRACE))
    mti, fields = financial_fields(request, settings)
    assert mti == "0200"
    assert fields == {
        2: "6225880000000010", 3: "000000", 4: "000000012345", 7: "1123120000", 11: "046875", 12: "120000",
        13: "1123", 14: "3012", 18: "5812", 19: "156", 22: "071", 23: "001", 25: "00", 26: "12", 32: "00010000",
        33: "44190440", 35: "6225880000000010=30122010000000000", 37: "32EZ0C046875", 41: "T0000001",
        42: "104110554110001", 43: "Noodle House             Shanghai    CHN", 49: "156", 52: b"\x01" * 8,
        53: "2600000000000000", 55: bytes.fromhex("9F2608"), 60: "00000600030000",
    }  # fmt: skip
    assert decode(encode(Header("1", "2"), mti, fields))[2] == fields


@pytest.mark.parametrize(
    ("operation", "of", "captured", "expected"),
    [
        (Operation.SALE, None, 0, ("0200", "000000", "00")),
        (Operation.PRE_AUTHORIZATION, None, 0, ("0100", "030000", "06")),
        (Operation.CAPTURE, Operation.PRE_AUTHORIZATION, 0, ("0200", "000000", "06")),
        (Operation.VOID, Operation.SALE, 0, ("0200", "200000", "00")),
        (Operation.VOID, Operation.PRE_AUTHORIZATION, 0, ("0100", "200000", "06")),
        (Operation.VOID, Operation.PRE_AUTHORIZATION, 500, ("0200", "200000", "06")),
        (Operation.REFUND, Operation.SALE, 0, ("0220", "200000", "00")),
        (Operation.REVERSAL, Operation.SALE, 0, ("0420", "000000", "00")),
        (Operation.REVERSAL, Operation.PRE_AUTHORIZATION, 0, ("0420", "030000", "06")),
    ],
)
def test_kinds(make_request: Any, operation: Operation, of: Operation | None, captured: int, expected: Any) -> None:
    original = None if of is None else make_request(CARD, operation=of, trace=dict(TRACE))
    request = make_request(CARD, operation=operation, original=original)
    request.authorization.captured_minor = captured
    assert message_kind(request) == expected
    request.repeat = 2
    assert message_kind(request) == (expected[0][:3] + "1", *expected[1:])


def test_a_reversal_carries_the_original(make_request: Any, settings: UnionPaySettings) -> None:
    original = make_request(CARD, trace=dict(TRACE))
    request = make_request(CARD, operation=Operation.REVERSAL, original=original)
    request.trace = TRACE | {"stan": "046876"}
    request.authorization.approval_code = "12345"
    _, fields = financial_fields(request, settings)
    assert fields[90] == "0200" + "046875" + "1123120000" + "00000010000" + "00044190440"
    assert fields[37] == "32EZ0C046875"
    assert fields[38] == "12345 "
    assert fields[60] == "40210600030000"
    assert fields[11] == "046876"


@pytest.mark.parametrize(
    ("entry", "credential", "mode"),
    [
        (EntryMode.NFC, CARD, "072"),
        (EntryMode.KEYED, CARD, "012"),
        (EntryMode.CHIP, replace(CARD, emv=b"\x9f"), "052"),
        (EntryMode.STRIPE, CARD, "022"),
        (EntryMode.PAYER_QR, CARD, "032"),
        (EntryMode.BLUETOOTH, replace(CARD, emv=b"\x9f"), "072"),
        (EntryMode.BLUETOOTH, CARD, "012"),
        (EntryMode.BLUETOOTH, CodeCredential("unionpay", PaymentCode("6212345678901234567")), "032"),
        (EntryMode.PAYER_CODE, CodeCredential("unionpay", PaymentCode("6212345678901234567")), "032"),
    ],
)
def test_entry_modes(make_request: Any, settings: UnionPaySettings, entry: Any, credential: Any, mode: str) -> None:
    _, fields = financial_fields(make_request(credential, entry=entry, trace=dict(TRACE)), settings)
    assert fields[22] == mode


@pytest.mark.parametrize("with_pin", [False, True])
@pytest.mark.parametrize("entry", list(EntryMode))
@pytest.mark.parametrize("emv", [b"", bytes.fromhex("9F2608")])
def test_every_presentation_is_in_the_table(
    make_request: Any, settings: UnionPaySettings, entry: EntryMode, emv: bytes, with_pin: bool
) -> None:
    pin_block = b"\x01" * 8 if with_pin else b""
    card = replace(CARD, emv=emv)
    settings = replace(settings, entry_mode_code="04", terminal_type="08", longest_pin="06")
    _, fields = financial_fields(make_request(card, entry=entry, trace=dict(TRACE), pin_block=pin_block), settings)
    by_chip = entry in (EntryMode.NFC, EntryMode.BLUETOOTH, EntryMode.KEYED) and (emv or entry is EntryMode.NFC)
    at_terminal = {EntryMode.CHIP: "05", EntryMode.STRIPE: "02", EntryMode.BLUETOOTH: "01", EntryMode.KEYED: "01"}
    mode = "07" if by_chip else at_terminal.get(entry, "04")
    assert fields[22] == mode + ("1" if with_pin else "2")
    assert fields[60] == "00000600080000"
    assert fields.get(55) == (emv or None)
    pin_fields = {26: "06", 52: pin_block, 53: "2600000000000000"} if with_pin else {}
    assert {n: fields[n] for n in (26, 52, 53) if n in fields} == pin_fields


@pytest.mark.parametrize(("number", "value"), [(59, "6212345678901234567"), (48, b"6212345678901234567")])
def test_payment_code_travels_where_the_settings_say(
    make_request: Any, settings: UnionPaySettings, number: int, value: Any
) -> None:
    code = CodeCredential("unionpay", PaymentCode("6212345678901234567"))
    request = make_request(code, trace=dict(TRACE))
    _, fields = financial_fields(request, replace(settings, code_field=number))
    assert fields[number] == value
    assert 2 not in fields


def test_names_are_cut_at_whole_characters(make_request: Any, settings: UnionPaySettings) -> None:
    request = make_request(CARD, trace=dict(TRACE))
    request.merchant = replace(request.merchant, name="老" * 13, city="上海\n", country="XX", id="m" * 20)
    request.authorization.terminal_id = "terminal-00000007"
    mti, fields = financial_fields(request, settings)
    encode(Header("1", "2"), mti, fields)
    name = fields[43].encode("latin-1")
    assert len(name) == 40
    assert name[:25].decode("gbk") == "老" * 12 + " "
    assert name[25:].decode("gbk") == "上海?".ljust(10) + "XX "
    assert fields[42] == "m" * 15
    assert fields[41] == "00000007"


@pytest.mark.parametrize(
    "change",
    [
        {"credential": None},
        {"credential": CodeCredential("alipay", PaymentCode("285012345678901234"))},
        {"operation": Operation.INQUIRY},
        {"trace": {"stan": "000001"}},
    ],
)
def test_what_cannot_be_said(make_request: Any, settings: UnionPaySettings, change: dict[str, Any]) -> None:
    request = replace(make_request(CARD, trace=dict(TRACE)), **change)
    with pytest.raises(NotExpressible) as caught:
        financial_fields(request, settings)
    assert not any(character.isdigit() for character in str(caught.value))


def test_a_follow_on_without_its_original(make_request: Any, settings: UnionPaySettings) -> None:
    request = make_request(CARD, operation=Operation.REFUND, original=make_request(CARD))
    request.trace = dict(TRACE)
    with pytest.raises(NotExpressible):
        financial_fields(request, settings)


@pytest.mark.parametrize(
    "wrong",
    [{"source": "a b"}, {"acquirer": "12a"}, {"forwarder": "1" * 12}, {"slot": 64}, {"links": 0}, {"code_field": 60}],
)
def test_settings_name_what_is_wrong(settings: UnionPaySettings, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(settings, **wrong)
