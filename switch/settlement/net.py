"""What each merchant is paid of what is available. Pure: the facts are given."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from switch.domain.bank_account import masked
from switch.domain.business_day import later
from switch.domain.contract import Contract
from switch.domain.merchant import MerchantProfile, MerchantState
from switch.domain.settlement import Drafted, LeftOut, Payout, PayoutState, end_to_end_id_of

# ISO 9362 and the People's Bank of China's CNAPS.
BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?", re.ASCII)
CNAPS: Final = re.compile(r"\d{12}", re.ASCII)
# As ISO 20022 takes an account that is no IBAN, and a name. A name that a spreadsheet would compute is none.
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 -]{3,33}", re.ASCII)
_NAME: Final = re.compile(r"[^\x00-\x20\x7f=+@\-][^\x00-\x1f\x7f\ufffe\uffff]{0,139}")

NO_CONTRACT: Final = "no contract in this currency"
NOT_ACTIVE: Final = "the merchant is not active"
NEGATIVE: Final = "the balance is negative and is carried over"
BELOW_MINIMUM: Final = "below the smallest payout"
BANK_DETAILS: Final = "the bank account's name, number or bank code is not complete"
FULL: Final = "the batch is full"


@dataclass(frozen=True, slots=True)
class Position:
    """available_minor: negative where the merchant owes us. None: it has no contract, or was never onboarded."""

    merchant_id: str
    available_minor: int
    contract: Contract | None
    profile: MerchantProfile | None

    def with_(self, available_minor: int) -> "Position":
        return replace(self, available_minor=available_minor)


@dataclass(frozen=True, slots=True)
class Frame:
    """What a batch is made in."""

    batch_id: UUID
    currency: str
    day: str
    time_ms: int
    smallest_minor: int
    largest_batch: int


def reserve_of(contract: Contract, net_minor: int) -> int:
    """Half a minor unit and more is rounded up.

    >>> reserve_of(Contract("m", 1, "2026-01-01", "CNY", (), reserve_basis_points=500, reserve_days=30), 10_010)
    501
    """
    if not contract.reserve_days:
        return 0
    return min((net_minor * contract.reserve_basis_points + 5_000) // 10_000, net_minor)


def draft(positions: Iterable[Position], frame: Frame) -> Drafted:
    payouts: list[Payout] = []
    left_out: list[LeftOut] = []
    release_days: dict[str, str] = {}
    for each in sorted(positions, key=lambda position: position.merchant_id):
        reason = _hindrance(each, frame, full=len(payouts) >= frame.largest_batch)
        if reason or each.contract is None:
            left_out.append(LeftOut(each.merchant_id, each.available_minor, reason))
            continue
        payout = _payout(each, each.contract, frame)
        payouts.append(payout)
        if payout.reserve_minor:
            release_days[each.merchant_id] = later(frame.day, each.contract.reserve_days)
    return Drafted(tuple(payouts), tuple(left_out), release_days)


def _hindrance(position: Position, frame: Frame, full: bool) -> str:
    """Why it is not paid now; "" if it is."""
    contract = position.contract
    if position.available_minor < 0:
        return NEGATIVE
    if contract is None or contract.currency != frame.currency:
        return NO_CONTRACT
    if position.profile is None or position.profile.state is not MerchantState.ACTIVE:
        return NOT_ACTIVE
    payout_minor = position.available_minor - reserve_of(contract, position.available_minor)
    if payout_minor < max(frame.smallest_minor, 1):
        return BELOW_MINIMUM
    if not payable(contract.account_name, contract.account_number, contract.bank_code):
        return BANK_DETAILS
    return FULL if full else ""


def payable(name: str, number: str, bank_code: str) -> bool:
    """Whether a payout file can name the account.

    >>> payable("Corner Shop", "6222021001234567890", "102290020018"), payable("=1+1", "62220210", "BKCHCNBJ")
    (True, False)
    """
    known = BIC.fullmatch(bank_code) or CNAPS.fullmatch(bank_code)
    return bool(known and _ACCOUNT.fullmatch(number) and _NAME.fullmatch(name) and name == name.strip())


def _payout(position: Position, contract: Contract, frame: Frame) -> Payout:
    net = position.available_minor
    reserve = reserve_of(contract, net)
    return Payout(
        position.merchant_id, frame.batch_id, frame.currency, PayoutState.DRAFT, net, reserve, net - reserve,
        contract.account_name, masked(contract.account_number), contract.bank_code,
        end_to_end_id_of(frame.batch_id, position.merchant_id), frame.time_ms, frame.time_ms,
    )  # fmt: skip
