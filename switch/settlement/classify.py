"""A finding of the comparison as a break: its class, its identity, what it is worth. Pure."""

from datetime import date, timedelta
from typing import Final
from uuid import UUID

from switch.domain.bill import BillKind
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.reconciliation import BreakClass, Found, signed_minor
from switch.settlement.compare import Day, Finding, Verdict

_DIFFERENCES: Final = {
    "kind": BreakClass.KIND,
    "currency": BreakClass.CURRENCY,
    "amount": BreakClass.AMOUNT,
    "fee": BreakClass.FEE,
}
"""By what a finding's detail names; the gravest first."""


def class_of(finding: Finding) -> BreakClass | None:
    """None for what agrees."""
    match finding.verdict:
        case Verdict.MATCH | Verdict.CANCELLED_OUT | Verdict.REFUSED:
            return None
        case Verdict.OPEN:
            return BreakClass.OPEN_HERE if finding.line is not None else None
        case Verdict.DUPLICATE:
            return BreakClass.DUPLICATE
        case Verdict.NEIGHBOUR:
            return BreakClass.NEIGHBOUR
        case Verdict.THEIRS_ONLY:
            return BreakClass.THEIRS_ONLY if finding.ours is None else BreakClass.REFUSED_HERE
        case Verdict.OURS_ONLY:
            undoing = finding.ours is not None and finding.ours.kind is BillKind.REVERSAL
            return BreakClass.UNDOING_MISSING if undoing else BreakClass.OURS_ONLY
        case Verdict.DIFFERS:
            named = [part.partition(":")[0].strip() for part in finding.detail.split(",")]
            return next(each for name, each in _DIFFERENCES.items() if name in named)


def break_of(channel: str, day: date, bounds: Day, finding: Finding, repeat: int) -> Found | None:
    """None for what agrees. repeat: of a duplicate, how many of the same name came before in this bill."""
    break_class = class_of(finding)
    if break_class is None:
        return None
    ours, line = finding.ours, finding.line
    side = ours or line
    assert side is not None
    counted = None if break_class is BreakClass.REFUSED_HERE or ours is None else ours.money
    theirs = line.money if line else None
    of = f"{ours.merchant_id}/{ours.authorization_id}" if ours is not None else f"line/{repeat}"
    money = theirs or side.money
    return Found(
        id=_identity(channel, bounds, side.kind, side.reference, money.currency, of),
        break_class=break_class,
        kind=side.kind,
        reference=side.reference,
        names=(side.reference, *(ours.also if ours else ())),
        detail=finding.detail,
        record=ours.record if ours else "",
        merchant_id=ours.merchant_id if ours else "",
        authorization_id=ours.authorization_id if ours else None,
        ours=ours.money if ours else None,
        theirs=theirs,
        time_ms=side.time_ms,
        difference_minor=_difference(break_class, finding, counted, theirs),
        currency=money.currency,
        channel_reference=line.channel_reference if line else "",
        neighbour=_neighbour(day, bounds, side.time_ms) if break_class is BreakClass.NEIGHBOUR else None,
    )


def _identity(channel: str, bounds: Day, kind: BillKind, reference: str, currency: str, of: str) -> UUID:
    return computed_id(channel, f"{kind} {currency} {of}", bounds.from_ms, reference)


def _difference(break_class: BreakClass, finding: Finding, ours: Money | None, theirs: Money | None) -> int:
    """What has not ended, waits for a neighbour or is in two currencies is not one number."""
    if break_class in (BreakClass.OPEN_HERE, BreakClass.NEIGHBOUR, BreakClass.CURRENCY, BreakClass.FEE):
        return 0
    if ours is not None and theirs is not None and ours.currency != theirs.currency:
        return 0
    their_kind = finding.line.kind if finding.line else BillKind.PAYMENT
    our_kind = finding.ours.kind if finding.ours else BillKind.PAYMENT
    return signed_minor(their_kind, theirs) - signed_minor(our_kind, ours)


def _neighbour(day: date, bounds: Day, time_ms: int) -> date:
    early = time_ms < bounds.from_ms + bounds.tolerance_ms
    return day + timedelta(days=-1 if early else 1)
