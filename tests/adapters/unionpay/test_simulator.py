"""How strict the network is: what a careless member would hear."""

from datetime import datetime
from typing import Any

import pytest

from adapters.simulation import NORMAL
from adapters.unionpay.simulator import default_accounts, generate_accounts
from adapters.unionpay.simulator.book import Book
from adapters.unionpay.simulator.checks import kind_of, lacks_fields, refusal_of
from adapters.unionpay.simulator.rules import Rules
from switch.domain.sensitive import luhn_valid

BASE: dict[int, Any] = {
    2: "6225880000000010", 3: "000000", 4: "000000001000", 7: "1123120000", 11: "000001", 12: "120000", 13: "1123",
    18: "5812", 19: "156", 22: "072", 25: "00", 32: "00010000", 33: "44190440", 37: "0A1B2C000001", 41: "T0000001",
    42: "104110554110001", 43: "x" * 40, 49: "156", 60: "00000600030000", 128: b"12345678",
}  # fmt: skip


NOW = datetime(2026, 11, 23, 12)


def make_rules(book: Book) -> Rules:
    return Rules({each.pan: each for each in default_accounts()}, book, lambda: NOW, NOW.date)


@pytest.fixture
def rules() -> Rules:
    return make_rules(Book(1_000))


def test_accounts_are_luhn_valid_and_hide_themselves() -> None:
    everyone = [*default_accounts(), *generate_accounts(50)]
    assert all(luhn_valid(each.pan) and each.pan.startswith("62") for each in everyone)
    assert len({each.pan for each in everyone}) == 54
    assert all(each.pan not in repr(each) and each.pin not in repr(each) for each in everyone[:4])


@pytest.mark.parametrize("number", sorted(BASE))
def test_every_field_is_mandatory(number: int) -> None:
    assert not lacks_fields("sale", BASE)
    assert lacks_fields("sale", {n: value for n, value in BASE.items() if n != number})


def test_a_pin_needs_its_companions_and_a_refund_its_original() -> None:
    assert lacks_fields("sale", BASE | {52: b"12345678"})
    assert lacks_fields("refund", BASE)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, ""),
        ({7: "1323120000"}, "30"),
        ({7: "1123250000"}, "30"),
        ({12: "126000"}, "30"),
        ({13: "0230"}, "30"),
        ({14: "3013"}, "30"),
        ({22: "772"}, "30"),
        ({22: "071"}, "30"),  # says there is a PIN
        ({22: "072", 26: "12", 52: bytes(8), 53: "2600000000000000"}, "30"),  # says there is none
        ({22: "071", 26: "12", 52: bytes(8), 53: "2600000000000000"}, ""),
        ({22: "071", 26: "12", 52: bytes(8), 53: "3600000000000000"}, "30"),
        ({22: "071", 26: "13", 52: bytes(8), 53: "2600000000000000"}, "30"),
        ({35: "6225880000000010=3012"}, ""),
        ({35: "6225880000000028=3012"}, "30"),
        ({55: bytes.fromhex("9F2602AA")}, "30"),
        ({55: bytes.fromhex("9F26")}, "30"),
        ({55: bytes.fromhex("9F2683")}, "30"),
        ({55: bytes.fromhex("9F26820002AAAA")}, ""),
        ({60: "x" * 14}, "30"),
        ({90: "9" * 42}, "30"),
        ({42: " " * 15}, "03"),
        ({41: " " * 8}, "97"),
        ({49: "840"}, "12"),
        ({3: "300000"}, "40"),
        ({3: "990000"}, "12"),
        ({25: "99"}, "12"),
    ],
)
def test_what_is_refused_unseen(change: dict[int, Any], code: str) -> None:
    assert refusal_of("0200", BASE | change) == code


def test_what_accounts_refuse(rules: Rules) -> None:
    account = next(iter(rules.accounts.values()))
    stans = iter(range(1, 100))

    def pay(amount_minor: int = 1_000, pan: str = account.pan) -> str:
        stan = next(stans)
        named = {2: pan, 4: f"{amount_minor:012d}", 11: f"{stan:06d}", 37: f"{stan:012d}"}
        return rules.process("0200", "sale", BASE | named, NORMAL, [])[0]

    assert pay() == "00"
    account.limit_minor = 1_000
    assert (pay(1_000), pay(1_001)) == ("00", "61")
    account.refusal = "43"
    assert pay() == "43"
    assert pay(pan="4111111111111111") == "15"
    assert pay(pan="4111111111111112") == "14"
    assert pay(pan="6225880000009995") == "14"


@pytest.mark.parametrize(
    ("mti", "processing", "condition"), [("0200", "300000", "00"), ("0220", "000000", "00"), ("0100", "000000", "00")]
)
def test_unknown_kinds(mti: str, processing: str, condition: str) -> None:
    assert kind_of(mti, {3: processing, 25: condition}) is None


def test_both_duplicate_keys(rules: Rules) -> None:
    pan = next(iter(rules.accounts))
    sale = BASE | {2: pan}
    assert rules.process("0200", "sale", sale, NORMAL, [])[0] == "00"
    assert rules.process("0200", "sale", sale, NORMAL, [])[0] == "94"
    assert rules.process("0200", "sale", sale | {11: "000002"}, NORMAL, [])[0] == "94"  # same DE37, DE41, DE42
    assert rules.process("0200", "sale", sale | {11: "000002", 37: "0A1B2C000002"}, NORMAL, [])[0] == "00"
    assert rules.process("0200", "sale", sale | {11: "000003", 37: "3", 4: "0" * 12}, NORMAL, [])[0] == "13"


def test_reversals_of_later_operations_undo_them(rules: Rules) -> None:
    account = next(iter(rules.accounts.values()))
    before_minor = account.balance_minor
    stans = iter(range(10, 100))

    def send(
        mti: str, kind: str, original: tuple[str, int] | None = None, amount_minor: int = 1_000
    ) -> tuple[str, int]:
        stan = next(stans)
        fields = BASE | {2: account.pan, 11: f"{stan:06d}", 37: f"{stan:012d}", 4: f"{amount_minor:012d}"}
        if original is not None:
            fields[90] = f"{original[0]}{original[1]:06d}11231200000000001000000044190440"
        code, _ = rules.process(mti, kind, fields, NORMAL, [])
        return code, stan

    hold = send("0100", "pre_authorization")[1]
    capture = send("0200", "capture", ("0100", hold))[1]
    assert send("0420", "reversal", ("0200", capture))[0] == "00"
    capture = send("0200", "capture", ("0100", hold))[1]
    undone = send("0200", "void_of_capture", ("0100", hold))[1]
    assert send("0420", "reversal", ("0200", undone))[0] == "00"
    refund = send("0220", "refund", ("0100", hold), 400)[1]
    assert send("0420", "reversal", ("0100", hold))[0] == "22"
    assert send("0420", "reversal", ("0220", refund), 400)[0] == "00"
    assert account.balance_minor == before_minor - 1_000
    sale = send("0200", "sale")[1]
    void = send("0200", "void", ("0200", sale))[1]
    assert send("0420", "reversal", ("0200", void))[0] == "00"
    assert send("0420", "reversal", ("0220", sale))[0] == "22"  # DE90 names another MTI
    assert send("0420", "reversal", ("0200", sale))[0] == "00"
    assert account.balance_minor == before_minor - 1_000


def test_the_book_is_bounded() -> None:
    rules = make_rules(Book(3))
    for stan in range(10):
        rules.process("0200", "sale", BASE | {11: f"{stan:06d}", 37: f"{stan:012d}"}, NORMAL, [])
    assert [each["stan"] for each in rules.book.listing()] == ["000007", "000008", "000009"]
