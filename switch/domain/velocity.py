"""What is counted of a subject, over which windows: what the counters and the published facts are both made from."""

from itertools import combinations
from typing import Final

from switch.domain.risk import Subject

# name of a window -> its length in seconds
WINDOWS: Final = {"1m": 60, "10m": 600, "1h": 3600, "1d": 86_400, "30d": 2_592_000}

# What is counted of a subject beside its payments, once it is known: name -> windows.
LATER_COUNTS: Final = {
    "declines": ("1h", "1d"),
    "pin_failures": ("1h", "1d"),
    "refunds": ("1d", "30d"),
    "refund_sum": ("1d", "30d"),
}
LATER_OF: Final = {
    "declines": tuple(Subject),
    "pin_failures": (Subject.CARD, Subject.TERMINAL, Subject.MERCHANT),
    "refunds": (Subject.CARD, Subject.USER, Subject.MERCHANT, Subject.TERMINAL),
    "refund_sum": (Subject.CARD, Subject.USER, Subject.MERCHANT, Subject.TERMINAL),
}

# How many different ones of the second a subject had payments with.
DISTINCT: Final = (
    (Subject.CARD, Subject.MERCHANT), (Subject.CARD, Subject.DEVICE), (Subject.USER, Subject.CARD),
    (Subject.USER, Subject.DEVICE), (Subject.DEVICE, Subject.CARD), (Subject.DEVICE, Subject.USER),
    (Subject.IP, Subject.CARD), (Subject.IP, Subject.USER), (Subject.MERCHANT, Subject.CARD),
    (Subject.TERMINAL, Subject.CARD),
)  # fmt: skip
COUNTERPARTIES: Final = {subject: tuple(other for one, other in DISTINCT if one is subject) for subject in Subject}
"""By subject, at most two each."""
DISTINCT_WINDOWS: Final = ("1h", "1d", "30d")
MOST_DISTINCT: Final = 1000

# Marks: minutes since something last happened to an account; NEVER where that is not known.
NEVER: Final = 1_000_000_000
MARKS: Final = ("registered", "signed_in", "password_changed", "factor_changed", "device_added", "card_added")
ACCOUNT_COUNTS: Final = {"login_failures": ("1h", "1d"), "wrong_codes": ("1h", "1d")}
ACCOUNT_COUNTS_OF: Final = {
    "login_failures": (Subject.USER, Subject.IP),
    "wrong_codes": (Subject.USER, Subject.DEVICE, Subject.IP),
}

PAIRS: Final = tuple(combinations(Subject, 2))

# Those that are counted unless the configuration says otherwise: each costs a record for each two that ever met.
COUNTED_PAIRS: Final = (
    (Subject.CARD, Subject.MERCHANT),
    (Subject.CARD, Subject.DEVICE),
    (Subject.USER, Subject.DEVICE),
    (Subject.USER, Subject.MERCHANT),
)

MOST_SUM: Final = (1 << 53) - 1
"""Where a sum of amounts stops, in minor units: Redis's scripts count in doubles."""

MOST_COUNT: Final = (1 << 32) - 1


def pair_name(one: Subject, other: Subject) -> str:
    """
    >>> pair_name(Subject.CARD, Subject.MERCHANT)
    'card_merchant'
    """
    return f"{one}_{other}"
