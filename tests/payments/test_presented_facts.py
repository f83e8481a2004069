"""What a payment says of itself to risk control."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from switch.domain.authorization import (
    AuthorizationRequest,
    CardCredential,
    ChannelOrder,
    CodeCredential,
    Holder,
    PinBlock,
)
from switch.domain.money import Money
from switch.domain.payer import Payer, Place, Posture
from switch.domain.risk import Subject
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation
from switch.entry._tlv import encode_present
from switch.payments.intake import new_record
from switch.payments.presented_facts import Moment, presented
from switch.risk.facts import BY_NAME, FactType
from switch.risk.monitor import Presented

MOMENT = Moment(22, 1)
PLACE = Place(31_230_000, 121_470_000)
USER, DEVICE = UUID(int=1), UUID(int=2)


def seen(request: AuthorizationRequest, payer_key: bytes = bytes(16)) -> Presented:
    record = new_record(request, request.transmission_time_ms)
    record.payer_key = payer_key
    return presented(request, record, MOMENT, "CNY")


def chip(tvr: str = "0000000000", cvm: str = "1F0302", counter: str = "0102") -> bytes:
    tags = {0x95: bytes.fromhex(tvr), 0x9F34: bytes.fromhex(cvm), 0x9F36: bytes.fromhex(counter)}
    return encode_present(tags, tuple(tags))


PYTHON_TYPES: dict[FactType, type] = {
    FactType.INT: int, FactType.BOOL: bool, FactType.TEXT: str, FactType.TEXTS: list
}  # fmt: skip


def test_every_fact_is_published_and_of_its_type(request_of: Callable[..., Any], pin_block: PinBlock) -> None:
    card = CardCredential(Pan("6225880000000005"), "4912", emv=chip())
    payer = Payer("acq:u", "acq:d", "192.0.2.7", PLACE, Posture.EMULATOR)
    facts = seen(request_of(credential=card, pin=pin_block, payer=payer)).facts
    assert {name: type(value) for name, value in facts.items()} == {
        name: PYTHON_TYPES[BY_NAME[name].type] for name in facts
    }
    owed = {each.name for each in BY_NAME.values() if not each.source and not each.name.endswith("_lists")} - {
        "model_known"
    }
    assert facts.keys() == owed


def test_a_tap(request_of: Callable[..., Any], pin_block: PinBlock) -> None:
    facts = seen(request_of(pin=pin_block, money=Money(1200, "CNY"))).facts
    assert facts["amount_minor"] == 1200
    assert facts["entry"] == "nfc"
    assert facts["operation"] == "sale"
    assert facts["card_range"] == "622588"
    assert (facts["hour"], facts["weekday"]) == (22, 1)
    assert facts["pin_given"] is True
    assert (facts["card_known"], facts["merchant_known"], facts["terminal_known"]) == (True, True, True)
    assert (facts["user_known"], facts["device_known"], facts["ip_known"], facts["chip_known"]) == (False,) * 4
    assert not any("device_emulator" in name or name.startswith("chip_data") for name in facts)


@pytest.mark.parametrize(
    ("tvr", "cvm", "true"),
    [
        ("0000000000", "1F0302", set()),
        ("4000000000", "1F0302", {"chip_data_authentication_failed"}),
        ("0800000000", "1F0302", {"chip_data_authentication_failed"}),
        ("0400000000", "1F0302", {"chip_data_authentication_failed"}),
        ("8000000000", "1F0302", set()),
        ("0040000000", "1F0302", {"chip_expired"}),
        ("0008000000", "1F0302", {"chip_new_card"}),
        ("0000800000", "1F0302", {"chip_cardholder_not_verified"}),
        ("0000200000", "1F0302", {"chip_pin_tries_exceeded"}),
        ("0000000000", "410302", {"chip_pin_verified"}),
        ("0000000000", "440302", {"chip_pin_verified"}),
        ("0000000000", "440301", set()),
        ("0000000000", "420302", set()),
    ],
)
def test_what_the_chip_said(request_of: Callable[..., Any], tvr: str, cvm: str, true: set[str]) -> None:
    """EMV Book 3, annex C5 (TVR) and C3 (CVM results)."""
    facts = seen(request_of(credential=CardCredential(Pan("6225880000000005"), emv=chip(tvr, cvm)))).facts
    assert {name for name, value in facts.items() if name.startswith("chip_") and value is True} == {
        *true,
        "chip_known",
    }
    assert facts["chip_counter"] == 0x0102


def test_a_wallets_code_and_an_order_are_no_card(request_of: Callable[..., Any], alipay_code: CodeCredential) -> None:
    by_code = seen(request_of(credential=alipay_code, entry=EntryMode.PAYER_CODE))
    order = seen(request_of(credential=ChannelOrder("wechat"), operation=Operation.ORDER, entry=EntryMode.MERCHANT_QR))
    for each in (by_code, order):
        assert set(each.sighting.subjects) == {Subject.MERCHANT, Subject.TERMINAL}
        assert (each.facts["card_known"], each.facts["card_range"]) == (False, "")
    assert (by_code.facts["code_scheme"], order.facts["code_scheme"]) == ("alipay", "")
    assert order.facts["operation"] == "order"


def test_the_wallet_knows_better_than_the_acquirer_whose_card_it_is(request_of: Callable[..., Any]) -> None:
    card = CardCredential(Pan("6225880000000005"), holder=Holder(USER, DEVICE))
    told = seen(request_of(credential=card, payer=Payer("acq:someone", "acq:phone", "192.0.2.7", PLACE)))
    own = seen(request_of(credential=card))
    assert told.sighting.subjects[Subject.USER] == own.sighting.subjects[Subject.USER]
    assert told.sighting.subjects[Subject.DEVICE] == own.sighting.subjects[Subject.DEVICE]
    assert Subject.IP in told.sighting.subjects
    assert told.sighting.place == PLACE
    without = CardCredential(Pan("6225880000000005"), holder=Holder(USER))
    kept = seen(request_of(credential=without, payer=Payer(device="acq:phone")))
    assert Subject.DEVICE in kept.sighting.subjects


def test_keys_tell_nothing_and_differ(request_of: Callable[..., Any]) -> None:
    payer = Payer("same", "same", "192.0.2.7")
    subjects = seen(request_of(payer=payer), bytes(range(16))).sighting.subjects
    assert subjects[Subject.CARD] == bytes(range(16)).hex()
    assert len(set(subjects.values())) == len(Subject)
    assert all(len(bytes.fromhex(each)) == 16 for each in subjects.values())
    other = request_of(payer=payer)
    assert seen(replace(other, terminal_id="t2")).sighting.subjects[Subject.TERMINAL] != subjects[Subject.TERMINAL]


def test_other_currencies_count_but_do_not_add_up(request_of: Callable[..., Any]) -> None:
    assert seen(request_of(money=Money(1200, "USD"))).sighting.amount_minor == 0
    assert seen(request_of(money=Money(1200, "CNY"))).sighting.amount_minor == 1200
