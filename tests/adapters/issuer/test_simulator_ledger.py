"""The strict issuer's own rules."""

from itertools import count

import pytest

from adapters.issuer.messages import IssuerMessage
from adapters.issuer.simulator_bill import SimulatedBills
from adapters.issuer.simulator_card import CardKeys
from adapters.issuer.simulator_ledger import SimulatedLedger, default_accounts
from adapters.issuer.simulator_pin import PinFormatError, make_pin_block, read_pin_block
from switch.domain.money import Money
from switch.domain.sensitive import Pan, luhn_valid
from switch.domain.states import Operation

CARD_KEYS = CardKeys(*(bytes([each]) * 16 for each in (1, 2, 4)))
KEY = bytes.fromhex("433457CB072A29628C495D20E0E35826")
CARD = "6259000000000005"


def ledger_at(month: str) -> SimulatedLedger:
    return SimulatedLedger(default_accounts(), KEY, CARD_KEYS, lambda: month, SimulatedBills(lambda: 0))


@pytest.fixture
def ledger() -> SimulatedLedger:
    return ledger_at("2607")


class Messages:
    def __init__(self) -> None:
        self._numbers = count(1)

    def __call__(self, operation=Operation.SALE, amount_minor=1_000, original="", **fields) -> IssuerMessage:
        defaults = {"pan": Pan(CARD), "expiry_yymm": "4912"}
        money = Money(amount_minor, fields.pop("currency", "CNY"))
        authorization_id = fields.pop("authorization_id", "a")
        message_id = fields.pop("message_id", f"m{next(self._numbers)}")
        return IssuerMessage(message_id, operation, authorization_id, money, original, **(defaults | fields))


@pytest.fixture
def message() -> Messages:
    return Messages()


def test_default_cards_are_valid():
    pans = [account.pan.reveal() for account in default_accounts()]
    assert len(set(pans)) == 20
    assert all(pan.startswith("6259") and len(pan) == 16 and luhn_valid(pan) for pan in pans)
    assert "1234" not in repr(default_accounts()[0])


def test_three_wrong_pins_block_the_card(ledger, message):
    wrong, right = make_pin_block(KEY, "9999", CARD), make_pin_block(KEY, "1234", CARD)
    codes = [ledger.process(message(pin_block=block)).response_code for block in (wrong, wrong, wrong, right)]
    assert codes == ["55", "55", "75", "75"]


def test_a_right_pin_gives_the_tries_back(ledger, message):
    wrong, right = make_pin_block(KEY, "9999", CARD), make_pin_block(KEY, "1234", CARD)
    blocks = (wrong, wrong, right, wrong, wrong)
    codes = [ledger.process(message(pin_block=block)).response_code for block in blocks]
    assert codes == ["55", "55", "00", "55", "55"]


def test_a_pin_block_under_another_key_or_pan_is_a_format_error(ledger, message):
    assert ledger.process(message(pin_block=make_pin_block(bytes(16), "1234", CARD))).response_code == "99"
    assert ledger.process(message(pin_block=b"short")).response_code == "99"
    with pytest.raises(PinFormatError):
        read_pin_block(KEY, make_pin_block(KEY, "1234", CARD), "4277495056758402568")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"amount_minor": 0}, "13"),
        ({"pan": None}, "14"),
        ({"pan": Pan("6259000000000006")}, "14"),
        ({"pan": Pan("6259999999999999")}, "14"),
        ({"currency": "USD"}, "12"),
        ({"expiry_yymm": "4911"}, "54"),
        ({"amount_minor": 1_000_000_001}, "51"),
    ],
)
def test_objections(ledger, message, fields, code):
    assert ledger.process(message(**fields)).response_code == code
    assert ledger.book()[0]["state"] == "declined"


def test_a_card_is_good_to_the_end_of_its_month(message):
    for month, code in (("4912", "00"), ("5001", "54")):
        ledger = ledger_at(month)
        assert ledger.process(message()).response_code == code


def test_another_content_under_a_known_id_has_no_effect(ledger, message):
    assert ledger.process(message(message_id="x")).response_code == "00"
    assert ledger.process(message(message_id="x", amount_minor=999)).response_code == "94"
    assert ledger.accounts[CARD].balance_minor == 1_000_000_000 - 1_000


def test_a_partial_approval_repeats_as_it_was(ledger, message):
    first = ledger.process(message(message_id="x"), "10")
    assert (first.response_code, first.approved) == ("10", Money(500, "CNY"))
    assert ledger.process(message(message_id="x"), "10") is first
    assert ledger.accounts[CARD].balance_minor == 1_000_000_000 - 500


def test_a_reversal_undoes_a_partly_captured_hold(ledger, message):
    ledger.process(message(Operation.PRE_AUTHORIZATION, message_id="hold"))
    assert ledger.accounts[CARD].held_minor == 1_000
    ledger.process(message(Operation.CAPTURE, 300, "hold"))
    ledger.process(message(Operation.REFUND, 100, "hold"))
    assert ledger.process(message(Operation.REVERSAL, 1_000, "hold")).response_code == "00"
    account = ledger.accounts[CARD]
    assert (account.balance_minor, account.held_minor) == (1_000_000_000, 0)


@pytest.mark.parametrize(
    ("operation", "fields", "code"),
    [
        (Operation.CAPTURE, {"original": "sale"}, "12"),
        (Operation.REFUND, {"original": "unheard-of"}, "25"),
        (Operation.REFUND, {"original": "sale", "authorization_id": "b"}, "12"),
        (Operation.REFUND, {"original": "sale", "currency": "USD"}, "12"),
        (Operation.REFUND, {"original": "sale", "amount_minor": 1_001}, "64"),
        (Operation.VOID, {"original": "declined"}, "25"),
        (Operation.REVERSAL, {"original": "declined"}, "00"),
    ],
)
def test_follow_ons_of_the_wrong_thing(ledger, message, operation, fields, code):
    ledger.process(message(message_id="sale"))
    ledger.process(message(message_id="declined"), "05")
    assert ledger.process(message(operation, **fields)).response_code == code
    assert ledger.accounts[CARD].balance_minor == 1_000_000_000 - 1_000


def test_nothing_follows_what_was_undone(ledger, message):
    ledger.process(message(message_id="sale"))
    assert ledger.process(message(Operation.VOID, original="sale")).response_code == "00"
    assert ledger.process(message(Operation.REFUND, original="sale")).response_code == "22"
    assert ledger.process(message(Operation.REVERSAL, original="sale")).response_code == "00"
    assert ledger.accounts[CARD].balance_minor == 1_000_000_000


def test_a_follow_on_is_not_reversed(ledger, message):
    ledger.process(message(Operation.PRE_AUTHORIZATION, message_id="hold"))
    ledger.process(message(Operation.CAPTURE, original="hold", message_id="capture"))
    assert ledger.process(message(Operation.REVERSAL, original="capture")).response_code == "12"


def test_a_refunded_sale_is_not_voided(ledger, message):
    ledger.process(message(message_id="sale"))
    ledger.process(message(Operation.REFUND, 100, "sale"))
    assert ledger.process(message(Operation.VOID, original="sale")).response_code == "22"
