"""Whether a follow-on may go ahead, decided over facts that were read under the original's row lock. Pure."""

from dataclasses import dataclass

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.money import LARGEST_AMOUNT_MINOR
from switch.domain.states import Operation, State


@dataclass(frozen=True, slots=True)
class InFlight:
    """What other follow-ons of the same original have begun and not finished (SENT or UNKNOWN).

    undoing: a void or reversal is among them. captures_minor: what their captures have reserved. increments_minor: by
    what their increments would raise it. charged_back_minor: what the payer's bank has taken back or is about to.
    """

    undoing: bool
    captures_minor: int
    increments_minor: int = 0
    charged_back_minor: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a follow-on, and of its original.

    state: SENT goes to the channel; APPROVED, DECLINED and UNKNOWN are answered as they are.
    captured_delta_minor, refunded_delta_minor: reserved on the original.
    original_becomes: the original moves now. open_reversal: the resolver takes over.
    """

    state: State
    response_code: str = ""
    reason: str = ""
    captured_delta_minor: int = 0
    refunded_delta_minor: int = 0
    original_becomes: State | None = None
    open_reversal: bool = False


def refused(response_code: str, reason: str) -> Verdict:
    return Verdict(State.DECLINED, response_code, reason)


_USED = "captured, refunded or charged back already"
NO_ORIGINAL = refused("25", "original not found")
OVERTOOK = Verdict(State.APPROVED, "00", "the original has not arrived; it will be declined")


def judge(follow_on: FollowOn, original: Authorization, others: InFlight) -> Verdict:
    """Invariant 9: 0 ≤ captured ≤ approved, refunded ≤ captured, reversed + captured ≤ approved.

    approved includes the increments that the channel approved, never one whose outcome is open.
    """
    if original.acquirer_id != follow_on.acquirer_id:
        return NO_ORIGINAL
    if follow_on.money.currency != original.money.currency:
        return refused("64", "currency differs from the original's")
    if follow_on.operation is Operation.REVERSAL:
        return _judge_reversal(follow_on, original, others)
    if follow_on.operation is Operation.VOID and _waits_to_be_scanned(original):
        return _judge_reversal(follow_on, original, others)
    if original.state is not State.APPROVED:
        return refused("12", f"original is {original.state.name}")
    if others.undoing:
        return refused("12", "original is being reversed")
    if follow_on.operation is Operation.VOID:
        return _judge_void(follow_on, original, others)
    return _judge_amount(follow_on, original, others)


def _judge_amount(follow_on: FollowOn, original: Authorization, others: InFlight) -> Verdict:
    """A refund counts on captures that succeeded: one in flight may be declined and give back what it reserved."""
    amount_minor = follow_on.money.amount_minor
    if amount_minor <= 0:
        return refused("13", "amount must be positive")
    if follow_on.operation is Operation.INCREMENT:
        if original.operation is not Operation.PRE_AUTHORIZATION:
            return refused("12", "original is not a pre-authorization")
        if original.approved_minor + others.increments_minor + amount_minor > LARGEST_AMOUNT_MINOR:
            return refused("13", f"the whole would be more than {LARGEST_AMOUNT_MINOR}")
        return Verdict(State.SENT)
    if follow_on.operation is Operation.CAPTURE:
        if original.operation is not Operation.PRE_AUTHORIZATION:
            return refused("12", "original is not a pre-authorization")
        if original.captured_minor + amount_minor > original.approved_minor:
            return refused("64", "more than was approved")
        return Verdict(State.SENT, captured_delta_minor=amount_minor)
    if follow_on.operation is Operation.REFUND:
        captured_minor = original.captured_minor - others.captures_minor
        if original.refunded_minor + amount_minor > captured_minor:
            return refused("64", "more than was captured")
        if original.refunded_minor + amount_minor > captured_minor - others.charged_back_minor:
            return refused("64", "the payer's bank has taken it back, or is about to")
        return Verdict(State.SENT, refunded_delta_minor=amount_minor)
    return refused("12", f"{follow_on.operation.name} is not a follow-on")


def raise_by(increment: FollowOn, original: Authorization) -> None:
    """An increment that just ended raises its original by what was approved of it.

    An original that was undone meanwhile was undone whole, this increment with it.
    """
    if increment.state is State.APPROVED and original.state is State.APPROVED:
        original.approved_minor += increment.money.amount_minor
        original.incremented_minor += increment.money.amount_minor


def _judge_void(follow_on: FollowOn, original: Authorization, others: InFlight) -> Verdict:
    """A void is of all of it: what was partly refunded, or captured after a pre-authorization, is refunded instead."""
    if not _whole(follow_on, original):
        return refused("64", "a void is of the whole amount")
    return refused("12", _USED) if _used(original, others) else Verdict(State.SENT)


def _judge_reversal(follow_on: FollowOn, original: Authorization, others: InFlight) -> Verdict:
    """An acquirer that got no answer wants to be sure that nothing is held.

    SENT, AWAITING_PAYER: the original becomes UNKNOWN at once, under its row lock. Whoever drives it then finds that
    the row is no longer its own, answers what is stored, and the resolver reverses: a late approval cannot win
    (invariant 6). UNKNOWN: its reversal is on the way already; opening it again changes nothing.
    """
    if not _whole(follow_on, original):
        return refused("64", "a reversal is of the whole amount")
    match original.state:
        case State.SENT | State.AWAITING_PAYER:
            reason = "reversed while in flight"
            return Verdict(State.UNKNOWN, "68", reason, original_becomes=State.UNKNOWN, open_reversal=True)
        case State.UNKNOWN:
            return Verdict(State.UNKNOWN, "68", "original is being reversed", open_reversal=True)
        case State.DEAD_LETTER:
            return Verdict(State.UNKNOWN, "68", "original awaits a person's decision")
        case State.DECLINED | State.REVERSED | State.VOIDED:
            return Verdict(State.APPROVED, "00", f"nothing is held: original is {original.state.name}")
        case State.APPROVED:
            if others.undoing:
                return refused("12", "original is being reversed")
            return refused("12", _USED) if _used(original, others) else Verdict(State.SENT)


def _waits_to_be_scanned(original: Authorization) -> bool:
    """An order that is called off is closed at the channel, or given back whole should it be paid meanwhile."""
    return original.operation is Operation.ORDER and original.state is State.AWAITING_PAYER


def _whole(follow_on: FollowOn, original: Authorization) -> bool:
    """0 stands for all of it; the acquirer of a partial approval may name either amount."""
    return follow_on.money.amount_minor in (0, original.money.amount_minor, original.approved_minor)


def _used(original: Authorization, others: InFlight) -> bool:
    captured_later = original.operation is Operation.PRE_AUTHORIZATION and original.captured_minor > 0
    return captured_later or original.refunded_minor > 0 or others.charged_back_minor > 0
