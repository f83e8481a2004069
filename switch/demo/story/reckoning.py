"""What the story owes its merchant, reckoned from the contract by arithmetic of its own: none of the switch's is used.

Amounts are fen. A rate is basis points of the amount, half a fen and more rounded up, plus a fixed fee, then at least
the minimum and at most the cap. Of a fee F taken for an amount A, F·R/A is given back once R is refunded, rounded the
same way.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from switch.demo.story.stage import Sale

# By channel; "" is every other one.
RATES: Final[dict[str, dict[str, int]]] = {
    "unionpay": {"basis_points": 55, "cap_minor": 5_000},
    "alipay": {"basis_points": 38, "minimum_minor": 50},
    "wechat": {"basis_points": 60, "fixed_minor": 1},
    "": {"basis_points": 30},
}
RESERVE_BASIS_POINTS: Final = 500
RESERVE_DAYS: Final = 30


def fee_of(channel: str, amount_minor: int) -> int:
    """
    >>> fee_of("unionpay", 12_345), fee_of("alipay", 100), fee_of("unionpay", 5_000_000)
    (68, 50, 5000)
    """
    rate = RATES.get(channel, RATES[""])
    fee = _rounded(Decimal(amount_minor * rate["basis_points"]) / 10_000) + rate.get("fixed_minor", 0)
    fee = max(fee, rate.get("minimum_minor", 0))
    return min(fee, rate.get("cap_minor", fee))


def fee_kept(sale: Sale) -> int:
    """After its refunds."""
    fee = fee_of(sale.channel, sale.amount_minor)
    return fee - _rounded(Decimal(fee * sum(sale.refunds)) / sale.amount_minor)


def net_of(sales: Iterable[Sale]) -> int:
    """What the merchant has coming, before anything is held back or charged back."""
    return sum(each.amount_minor - sum(each.refunds) - fee_kept(each) for each in sales)


def reserve_of(net_minor: int) -> int:
    return _rounded(Decimal(net_minor * RESERVE_BASIS_POINTS) / 10_000)


def _rounded(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), ROUND_HALF_UP))
