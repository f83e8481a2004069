"""Whose payment code it is: the one place that knows the prefixes and lengths of wallets' codes (PROTOCOLS.md).

UnionPay's prefix and length are unverified: no public specification of its numeric code was found. payswitch's own
begin with 91, as no wallet's do; a payment token (999…) has at most 19 digits, and a card number begins with 9 nowhere.
"""

from dataclasses import dataclass
from typing import Final

OWN_SCHEME: Final = "payswitch"
"""Of the dynamic codes of payswitch's own (`switch.domain.dynamic_code`)."""


@dataclass(frozen=True, slots=True)
class CodeRange:
    """Codes whose first two digits are `low` to `high` are of `scheme`, if they have one of `lengths` digits."""

    scheme: str
    low: int
    high: int
    lengths: range


CODE_RANGES: Final = (
    CodeRange("alipay", 25, 30, range(16, 25)),
    CodeRange("wechat", 10, 15, range(18, 19)),
    CodeRange("unionpay", 62, 62, range(19, 20)),
    CodeRange(OWN_SCHEME, 91, 91, range(24, 25)),
)
CODE_SCHEMES: Final = tuple(each.scheme for each in CODE_RANGES if each.scheme != OWN_SCHEME)
"""Of the codes that a channel takes. Our own never reach one: they become a card first."""

_BY_PREFIX: Final = {f"{prefix:02d}": each for each in CODE_RANGES for prefix in range(each.low, each.high + 1)}


def code_range_of(digits: str) -> CodeRange | None:
    """By the first two digits alone; the length is the caller's to check. None if they are nobody's.

    >>> code_range_of("285012345678901234").scheme, code_range_of("4111") is None
    ('alipay', True)
    """
    return _BY_PREFIX.get(digits[:2])
