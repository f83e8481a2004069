"""Settlement's values as messages, and the fields of its requests checked."""

from collections.abc import Callable
from typing import Final, TypeVar
from uuid import UUID

from payswitch.v1 import settlement_pb2 as pb
from switch.domain.books import Balance, ClosedDay, DayTotal, Fault, StatementLine
from switch.domain.ledger import DISPUTED, IN_TRANSIT, MERCHANT, RESERVE
from switch.domain.money import CURRENCIES
from switch.domain.pricing import LateFees, Unpriced
from switch.domain.refusals import Invalid
from switch.domain.settlement import Batch, LeftOut, Payout

T = TypeVar("T")

_SHOWN_TO_MERCHANTS: Final = {
    MERCHANT: "now_minor",
    RESERVE: "reserve_minor",
    DISPUTED: "disputed_minor",
    IN_TRANSIT: "in_transit_minor",
}


# --- fields -----------------------------------------------------------------------------------------------------------


def identity(text: str, field: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Invalid(field, "must be a UUID") from None


def merchant(text: str) -> str:
    if not (1 <= len(text) <= 15 and text.isascii() and text.isalnum()):
        raise Invalid("merchant_id", "must be 1 to 15 letters and digits")
    return text


def currency(text: str) -> str:
    if text not in CURRENCIES:
        raise Invalid("currency", "is not a known ISO 4217 code")
    return text


def page_size(wanted: int, usual: int, most: int) -> int:
    if not 0 <= wanted <= most:
        raise Invalid("page_size", f"must be 1 to {most}, or 0 for {usual}")
    return wanted or usual


def moment_token(text: str) -> tuple[int, UUID] | None:
    """Of lists by time: `<milliseconds>.<uuid>`."""
    return _token(text, lambda parts: (int(parts[0]), UUID(parts[1])), ".", 2) if text else None


def account_token(text: str) -> tuple[str, str, str]:
    """Of lists by account: `<merchant>/<currency>/<account>`."""
    if not text:
        return ("", "", "")
    return _token(text, lambda parts: (parts[0], parts[1], parts[2]), "/", 3)


def _token(text: str, read: Callable[[list[str]], T], separator: str, count: int) -> T:
    parts = text.split(separator, count - 1)
    try:
        if len(parts) != count or len(text) > 200 or "\0" in text:
            raise ValueError
        value = read(parts)
        if isinstance(value, tuple) and isinstance(value[0], int) and not 0 <= value[0] < 1 << 63:
            raise ValueError
        return value
    except ValueError:
        raise Invalid("page_token", "is not one of this list") from None


# --- messages ---------------------------------------------------------------------------------------------------------


def closed_day(day: ClosedDay) -> pb.ClosedDay:
    return pb.ClosedDay(
        day=day.day, closed_by=day.sealed_by, closed_time_ms=day.closed_time_ms or 0, transactions=day.transactions,
        entries=day.entries, digest=day.digest,
    )  # fmt: skip


def total(each: DayTotal) -> pb.DayTotal:
    return pb.DayTotal(
        currency=each.currency, account=each.account, kind=pb.PostingKind.Name(each.kind),
        amount_minor=each.amount_minor, entries=each.entries,
    )  # fmt: skip


def unpriced(each: Unpriced) -> pb.UnpricedPayments:
    return pb.UnpricedPayments(
        merchant_id=each.merchant_id, currency=each.currency, payments=each.payments, amount_minor=each.amount_minor
    )


def late_fees(each: LateFees) -> pb.PricedPayments:
    return pb.PricedPayments(
        merchant_id=each.merchant_id, day=each.day, currency=each.currency, payments=each.payments,
        fee_minor=each.fee_minor, contract_version=each.contract_version,
    )  # fmt: skip


def fault(each: Fault) -> pb.LedgerFault:
    return pb.LedgerFault(rule=each.rule, subject=each.subject, detail=each.detail)


def account_balance(each: Balance) -> pb.AccountBalance:
    return pb.AccountBalance(
        merchant_id=each.merchant_id, currency=each.currency, account=each.account, closed_minor=each.closed_minor,
        now_minor=each.now_minor,
    )  # fmt: skip


def merchant_balances(balances: list[Balance]) -> list[pb.MerchantBalance]:
    """What the ledger owes is negative there, and positive here."""
    found: dict[str, pb.MerchantBalance] = {}
    for each in balances:
        name = _SHOWN_TO_MERCHANTS.get(each.account)
        if name is None:
            continue
        one = found.setdefault(each.currency, pb.MerchantBalance(currency=each.currency))
        setattr(one, name, -each.now_minor)
        if each.account == MERCHANT:
            one.closed_minor = -each.closed_minor
    return list(found.values())


def batch(each: Batch) -> pb.SettlementBatch:
    return pb.SettlementBatch(
        id=str(each.id), currency=each.currency, through_day=each.through_day,
        state=pb.PayoutState.Name(each.state), payouts=each.payouts, total_minor=each.total_minor,
        reserve_minor=each.reserve_minor, created_by=each.created_by, created_time_ms=each.created_time_ms,
        decided_by=each.decided_by, decided_time_ms=each.decided_time_ms, reason=each.reason,
        message_id=each.message_id,
    )  # fmt: skip


def payout(each: Payout) -> pb.SettlementPayout:
    return pb.SettlementPayout(
        merchant_id=each.merchant_id, batch_id=str(each.batch_id), currency=each.currency,
        state=pb.PayoutState.Name(each.state), net_minor=each.net_minor, reserve_minor=each.reserve_minor,
        payout_minor=each.payout_minor, account_number_end=each.masked_number[-4:], end_to_end_id=each.end_to_end_id,
        created_time_ms=each.created_time_ms, changed_time_ms=each.changed_time_ms, reason=each.reason,
    )  # fmt: skip


def left_out(each: LeftOut) -> pb.LeftOutMerchant:
    return pb.LeftOutMerchant(merchant_id=each.merchant_id, balance_minor=each.balance_minor, reason=each.reason)


def line(each: StatementLine) -> pb.StatementLine:
    return pb.StatementLine(
        day=each.day, time_ms=each.time_ms, kind=pb.PostingKind.Name(each.kind), source=each.source,
        gross_minor=each.gross_minor, fee_minor=each.fee_minor, amount_minor=each.amount_minor,
        balance_minor=each.balance_minor,
    )  # fmt: skip
