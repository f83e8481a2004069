"""A user's card, as the wallet keeps it: everything but the number, for which the vault's token stands."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final
from uuid import UUID


class CardState(IntEnum):
    """The numbers are stored: they are never reused."""

    PENDING = 1  # waits for the payer to name the verification's amount
    ACTIVE = 2
    REMOVED = 3
    FAILED = 4  # the issuer declined it, or its amount was not named in time or too often wrongly


LIVE: Final = frozenset({CardState.PENDING, CardState.ACTIVE})


@dataclass(frozen=True, slots=True)
class CardVerification:
    """The authorization that shows whose card it is: a pre-authorization, given back at once.

    time_ms: its transmission time. minor: its amount in fen, which the payer reads in his statement; 0: there is none
    to be named. tries: wrong amounts so far. voided: it was given back, or the switch sees to it.
    """

    id: UUID
    time_ms: int
    minor: int = field(repr=False)
    tries: int = 0
    voided: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """token: the vault's, "" once it is erased. brand: by the number's range. channel: which verified it.

    prefix: the first six digits. expiry_yymm: four digits.
    """

    user_id: UUID
    id: UUID
    state: CardState
    is_default: bool
    token: str = field(repr=False)
    brand: str
    channel: str
    prefix: str
    last_four: str
    expiry_yymm: str
    verification: CardVerification
    created_time_ms: int
    changed_time_ms: int

    @property
    def masked(self) -> str:
        return f"{self.prefix}******{self.last_four}"


@dataclass(frozen=True, slots=True)
class CardLimits:
    """cards: of a user, live ones. added_a_day: cards that a user may try to add in 24 h, so that a wallet is no place
    to try stolen numbers. proofs: verifications of one number in proof_days, by whomever; with tries wrong amounts each
    they bound a thief's chance.
    """

    cards: int = 20
    added_a_day: int = 5
    proofs: int = 3
    proof_days: int = 30
    tries: int = 3
    proof_s: int = 24 * 3600


# Ranges of the first six digits (ISO/IEC 7812 issuer identifiers).
_BRANDS: Final = (
    (620000, 629999, "unionpay"),
    (810000, 817199, "unionpay"),
    (400000, 499999, "visa"),
    (510000, 559999, "mastercard"),
    (222100, 272099, "mastercard"),
    (340000, 349999, "amex"),
    (370000, 379999, "amex"),
    (352800, 358999, "jcb"),
    (300000, 305999, "diners"),
    (360000, 369999, "diners"),
    (380000, 399999, "diners"),
    (601100, 601199, "discover"),
    (644000, 659999, "discover"),
)


def brand_of(pan: str) -> str:
    """By the public ranges of the card schemes; "" for a number of none of them.

    >>> brand_of("6225880000001231"), brand_of("5555555555554444"), brand_of("9999000000000004")
    ('unionpay', 'mastercard', '')
    """
    prefix = int(pan[:6])
    return next((brand for low, high, brand in _BRANDS if low <= prefix <= high), "")
