"""The issuers behind the network: accounts with test card numbers, some of which always behave in one way."""

from dataclasses import dataclass, field
from typing import NamedTuple

from adapters.simulation import Behaviour

PIN_TRIES = 3


@dataclass(slots=True)
class Account:
    """expiry_yymm: four digits. pin: 4 to 12 digits. payment_code: a numeric QR code that pays from it, or "".

    refusal: DE39 of every payment from it, or "". limit_minor: of one payment (61), or None.
    behaviour: what becomes of every payment from it for which neither the amount nor the control endpoint asks.
    """

    pan: str = field(repr=False)
    expiry_yymm: str
    pin: str = field(repr=False)
    balance_minor: int
    payment_code: str = field(default="", repr=False)
    pin_tries_left: int = PIN_TRIES
    refusal: str = ""
    limit_minor: int | None = None
    behaviour: Behaviour = Behaviour.NORMAL
    pan_masked: str = ""

    def __post_init__(self) -> None:
        self.pan_masked = f"{self.pan[:6]}{'*' * (len(self.pan) - 10)}{self.pan[-4:]}"


class DefaultAccounts(NamedTuple):
    """rich: 16 digits. poor: 1.00. expired: in January 2020. long: 19 digits, with a payment code."""

    rich: Account
    poor: Account
    expired: Account
    long: Account


def with_check_digit(digits: str) -> str:
    """Append the ISO/IEC 7812-1 check digit.

    >>> with_check_digit("7992739871")
    '79927398713'
    """
    doubled = (int(each) * 2 if index % 2 == 0 else int(each) for index, each in enumerate(reversed(digits)))
    return digits + str(-sum(value // 10 + value % 10 for value in doubled) % 10)


def default_accounts() -> DefaultAccounts:
    """New ones each time: their balances change."""
    plenty_minor = 10**11
    return DefaultAccounts(
        rich=Account(with_check_digit("622588000000001"), "3012", "123456", plenty_minor),
        poor=Account(with_check_digit("622588000000002"), "3012", "1234", 100),
        expired=Account(with_check_digit("622588000000003"), "2001", "123456", plenty_minor),
        long=Account(with_check_digit("622588000000000004"), "3012", "123456", plenty_minor, "6212345678901234567"),
    )


def client_accounts() -> list[Account]:
    """Of independent clients: each of `client_pans` but the invalid one has an account. New ones each time."""
    plenty_minor = 10**13
    pans = client_pans()
    return [
        Account(pans["approve"], "3012", "123456", plenty_minor),
        Account(pans["insufficient_funds"], "3012", "123456", 0),
        Account(pans["silent"], "3012", "123456", plenty_minor, behaviour=Behaviour.SILENT),
    ]


def client_pans() -> dict[str, str]:
    """What a card shows -> its PAN: always the same, at any ordinary amount. All expire in 3012 with PIN 123456.

    silent: processed and booked, never answered. invalid: nobody's card.
    """
    behaviours = ("approve", "insufficient_funds", "silent", "invalid")
    return {name: with_check_digit(f"622588100000{index:03d}") for index, name in enumerate(behaviours, 1)}


def generate_accounts(count: int, balance_minor: int = 10**11) -> list[Account]:
    """Accounts for load tests: 16 digits, the same each time, none of the default ones."""
    return [
        Account(with_check_digit(f"622599{index:09d}"), "3012", f"{index % 10**6:06d}", balance_minor)
        for index in range(count)
    ]
