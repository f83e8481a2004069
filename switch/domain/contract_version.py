"""A contract on its way: proposed by one person, approved by another, never changed."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from switch.domain.contract import Contract, Rate, rate_for

CARD_TYPES: Final = ("", "debit", "credit", "prepaid")
_CHANNEL: Final = re.compile(r"|unionpay|alipay|wechat|issuer(?::[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")
LARGEST_BASIS_POINTS: Final = 1_000
LARGEST_FEE_MINOR: Final = 999_999_999_999


class ContractState(IntEnum):
    """The numbers are stored: they are never reused."""

    PROPOSED = 1
    APPROVED = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True)
class ContractVersion:
    """contract: without the bank account, which is changed by itself. proposed_by, decided_by: `Caller.name`."""

    contract: Contract
    state: ContractState
    proposed_by: str
    proposed_time_ms: int
    decided_by: str = ""
    decided_time_ms: int = 0


def fault_in_rate(rate: Rate) -> str:
    """What is wrong with a line, or "".

    >>> fault_in_rate(Rate("alipay", "", 0, 38)), fault_in_rate(Rate("cash", "", 0, 38))
    ('', 'channel is none that a payment can have')
    """
    if _CHANNEL.fullmatch(rate.channel) is None:
        return "channel is none that a payment can have"
    if rate.card_type not in CARD_TYPES:
        return "card_type must be empty, debit, credit or prepaid"
    if not 0 <= rate.basis_points <= LARGEST_BASIS_POINTS:
        return f"basis_points must be 0 to {LARGEST_BASIS_POINTS}"
    amounts = (rate.from_minor, rate.fixed_minor, rate.minimum_minor, rate.cap_minor)
    if not all(0 <= each <= LARGEST_FEE_MINOR for each in amounts):
        return "an amount is negative or too large"
    if rate.cap_minor and rate.cap_minor < rate.minimum_minor:
        return "cap_minor is below minimum_minor"
    return ""


def doubled(rates: Iterable[Rate]) -> Rate | None:
    """The first line with the same conditions as one before it."""
    seen: set[tuple[str, str, int]] = set()
    for each in rates:
        key = each.channel, each.card_type, each.from_minor
        if key in seen:
            return each
        seen.add(key)
    return None


def without_rate(contract: Contract, channels: Iterable[str]) -> list[str]:
    """The channels on which some payment would have no rate.

    A payment whose card type nobody knows fits only lines without one, so each channel needs such a line, from 0.

    >>> without_rate(Contract("m", 1, "2026-12-01", "CNY", (Rate("", "debit", 0, 35),)), ["alipay"])
    ['alipay']
    """
    return [each for each in channels if rate_for(contract, each, "", 0) is None]


def in_force(versions: Iterable[ContractVersion], day: str) -> ContractVersion | None:
    """On that business day: of the approved ones that have begun, the highest version."""
    begun = [each for each in versions if each.state is ContractState.APPROVED and each.contract.from_day <= day]
    return max(begun, key=lambda each: each.contract.version, default=None)
