"""Payment tokens: numbers that stand for a PAN with one requester, and what may happen to them.

**Numbers.** A token looks like a PAN and can be none. ISO/IEC 7812-1 gives a number that begins with the major industry
identifier 9 to the national standards body whose country code (ISO 3166-1, numeric, three digits) follows. The codes
900 to 999 of ISO 3166-1 are left to its users: they never become a country, so no issuer is given an identifier that
begins with 9900 to 9999. All tokens begin with 999; the random ones by default with 9999.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from switch.domain.money import Money
from switch.domain.sensitive import luhn_valid

UNASSIGNED_PREFIX: Final = "999"
RANDOM_PREFIX: Final = "9999"
PAN_DIGITS: Final = range(12, 20)


class TokenState(IntEnum):
    """Where a token stands. The numbers are stored: they are never reused."""

    ACTIVE = 1
    SUSPENDED = 2
    DELETED = 3  # its PAN is erased; the number is kept, so that it is never given out again


TRANSITIONS: Final[dict[TokenState, frozenset[TokenState]]] = {
    TokenState.ACTIVE: frozenset({TokenState.SUSPENDED}),
    TokenState.SUSPENDED: frozenset({TokenState.ACTIVE, TokenState.DELETED}),
    TokenState.DELETED: frozenset(),
}
"""What cannot be undone takes two steps: only a suspended token is deleted."""


def may_become(current: TokenState, following: TokenState) -> bool:
    return following in TRANSITIONS[current]


class TokenScheme(IntEnum):
    """How the tokens of a requester are made, for all its life. The numbers are stored: they are never reused."""

    RANDOM = 1
    FORMAT_PRESERVING = 2


class Refusal(StrEnum):
    """Why an item was refused."""

    NOT_A_PAN = "not a PAN"
    NOT_SUPPORTED = "not supported by the requester's scheme"
    UNKNOWN = "unknown token"
    SUSPENDED = "suspended token"
    DELETED = "deleted token"
    TRANSITION = "the token's state does not permit this"
    BROKEN = "the stored token was changed"
    EXHAUSTED = "no number is left"
    EXPIRED = "expired payment"
    REPLAYED = "replayed payment"
    CRYPTOGRAM = "the payment's cryptogram does not verify"
    TOO_MANY_FAILURES = "too many failed payments"


@dataclass(frozen=True, slots=True)
class PaymentToken:
    """requester: to whom the token was given, and with whom alone it works. digits: 12 to 19, see `is_token`.

    last_four: of the PAN, what a payer knows his card by; "" once the token is deleted.
    """

    requester: str
    digits: str
    state: TokenState
    last_four: str
    created_time_ms: int


@dataclass(frozen=True, slots=True)
class OneTimePayment:
    """A permission to charge a token once: one amount, before one time.

    counter: 1 to 65535, grows with each payment of the token. unpredictable_number: 4 bytes. cryptogram: 8 bytes over
    all the other fields and the requester.
    """

    token: str
    money: Money
    counter: int
    unpredictable_number: bytes
    expires_time_ms: int
    cryptogram: bytes = field(repr=False)


def check_digit(digits: str) -> str:
    """The ISO/IEC 7812-1 annex B digit that makes `digits` and it valid.

    >>> check_digit("622588000000123")
    '1'
    """
    return next(digit for digit in "0123456789" if luhn_valid(digits + digit))


def is_pan_shaped(digits: str) -> bool:
    """12 to 19 digits with a valid check digit: a PAN or a token."""
    return len(digits) in PAN_DIGITS and digits.isascii() and digits.isdigit() and luhn_valid(digits)


def is_token(digits: str) -> bool:
    """Whether the number is of the tokens' range; whether anybody was given it only the vault knows.

    >>> is_token("9999000000000004"), is_token("9999000000000005"), is_token("6225880000001231")
    (True, False, False)
    """
    return digits.startswith(UNASSIGNED_PREFIX) and is_pan_shaped(digits)


def random_token(length: int, prefix: str, entropy: Callable[[int], bytes]) -> str:
    """A token of `length` digits. entropy(n) -> n random bytes.

    128 bits are reduced to at most 15 digits, so that no digit is likelier than another by more than 2^-78.

    >>> random_token(16, "9999", bytes)
    '9999000000000004'
    """
    places = length - len(prefix) - 1
    body = f"{prefix}{int.from_bytes(entropy(16), 'big') % 10**places:0{places}d}"
    return body + check_digit(body)
