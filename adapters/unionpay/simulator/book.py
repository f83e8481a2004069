"""The network's own record of what happened, and its rules for what may happen next."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from adapters.unionpay.simulator.accounts import Account

APPROVED, DECLINED, REVERSED, VOIDED, REFUNDED = "approved", "declined", "reversed", "voided", "refunded"
SALE, PRE_AUTHORIZATION, TOMBSTONE = "sale", "pre_authorization", "tombstone"
CAPTURE, VOID, VOID_OF_CAPTURE, REFUND, REVERSAL = "capture", "void", "void_of_capture", "refund", "reversal"
PAYMENTS = frozenset({SALE, PRE_AUTHORIZATION})


@dataclass(slots=True)
class Entry:
    """One message that was processed for a member, named by its institution id.

    key: DE11, DE7, DE32 and DE33, as DE90 names it. code: what was answered. amount_minor: asked for;
    approved_minor: granted. moved: it was approved and did something. settlement_day: ISO date, of the bill it stands
    in. original: the entry a later operation names. taken: captures that a void of them took back.
    """

    key: str
    mti: str
    kind: str
    member: str
    stan: str
    transmission: str
    acquirer: str
    settlement_day: str
    time_ms: int
    rrn: str
    processing: str
    terminal: str
    merchant: str
    pan_masked: str
    amount_minor: int
    state: str = DECLINED
    code: str = ""
    approved_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    approval_code: str = ""
    moved: bool = False
    account: Account | None = field(default=None, repr=False)
    original: "Entry | None" = field(default=None, repr=False)
    captures: "list[Entry] | None" = field(default=None, repr=False)
    taken: "list[Entry] | None" = field(default=None, repr=False)

    def listing(self) -> dict[str, Any]:
        hidden = ("account", "original", "captures", "taken")
        shown = {name: getattr(self, name) for name in self.__slots__ if name not in hidden}
        return shown | {"original_key": self.original.key if self.original else ""}


def _settle_account(entry: Entry, change_minor: int) -> None:
    if entry.account is not None:
        entry.account.balance_minor += change_minor


def capture(entry: Entry, original: Entry) -> str:
    if original.kind != PRE_AUTHORIZATION or original.state != APPROVED:
        return "22"
    if original.captured_minor + entry.amount_minor > original.approved_minor:
        return "64"
    original.captured_minor += entry.amount_minor
    original.captures = [*(original.captures or []), entry]
    return "00"


def void(entry: Entry, original: Entry) -> str:
    """Of a sale or a pre-authorization of which nothing was captured or refunded."""
    if original.kind not in PAYMENTS or original.state != APPROVED:
        return "22"
    if original.captured_minor or original.refunded_minor:
        return "22"
    if entry.amount_minor != original.amount_minor:
        return "64"
    original.state = VOIDED
    _settle_account(original, original.approved_minor)
    return "00"


def void_of_capture(entry: Entry, original: Entry) -> str:
    """Of one capture, or of all captures when the pre-authorization is named. The hold lives on."""
    if original.refunded_minor or original.state != APPROVED or original.kind not in (CAPTURE, PRE_AUTHORIZATION):
        return "22"
    captures = [original] if original.kind == CAPTURE else [e for e in original.captures or [] if e.state == APPROVED]
    if sum(each.amount_minor for each in captures) != entry.amount_minor:
        return "64"
    for each in captures:
        each.state = VOIDED
        if each.original is not None:
            each.original.captured_minor -= each.amount_minor
    entry.taken = captures
    return "00"


def refund(entry: Entry, original: Entry) -> str:
    if original.state not in (APPROVED, REFUNDED) or original.kind not in PAYMENTS:
        return "22"
    limit_minor = original.captured_minor if original.kind == PRE_AUTHORIZATION else original.approved_minor
    if original.refunded_minor + entry.amount_minor > limit_minor:
        return "64"
    original.refunded_minor += entry.amount_minor
    if original.refunded_minor == limit_minor:
        original.state = REFUNDED
    _settle_account(original, entry.amount_minor)
    return "00"


def reverse(entry: Entry, original: Entry) -> str:
    """Undo whatever the original did; one that did nothing, or was undone before, is left as it is."""
    if original.kind == TOMBSTONE:
        return "25"
    if original.state in (REVERSED, DECLINED, VOIDED):
        return "00"
    if entry.amount_minor != original.amount_minor:
        return "64"
    if original.captured_minor or original.refunded_minor:
        return "22"
    _UNDO[original.kind](original)
    original.state = REVERSED
    entry.moved = True
    return "00"


def _undo_payment(original: Entry) -> None:
    _settle_account(original, original.approved_minor)


def _undo_capture(original: Entry) -> None:
    if original.original is not None:
        original.original.captured_minor -= original.amount_minor


def _undo_void(original: Entry) -> None:
    if original.original is not None:
        original.original.state = APPROVED
        _settle_account(original.original, -original.original.approved_minor)


def _undo_void_of_capture(original: Entry) -> None:
    for each in original.taken or []:
        each.state = APPROVED
        if each.original is not None:
            each.original.captured_minor += each.amount_minor


def _undo_refund(original: Entry) -> None:
    if original.original is not None:
        original.original.refunded_minor -= original.amount_minor
        original.original.state = APPROVED
        _settle_account(original.original, -original.amount_minor)


_UNDO: dict[str, Callable[[Entry], None]] = {
    SALE: _undo_payment,
    PRE_AUTHORIZATION: _undo_payment,
    CAPTURE: _undo_capture,
    VOID: _undo_void,
    VOID_OF_CAPTURE: _undo_void_of_capture,
    REFUND: _undo_refund,
}

LATER_OPERATIONS: dict[str, Callable[[Entry, Entry], str]] = {
    CAPTURE: capture,
    VOID: void,
    VOID_OF_CAPTURE: void_of_capture,
    REFUND: refund,
    REVERSAL: reverse,
}


class Book:
    """Entries by duplicate key, oldest first; bounded. The second guard is DE37 with DE41 and DE42."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[str, Entry] = {}
        self._references: dict[str, str] = {}

    def find(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def is_known_reference(self, reference: str) -> bool:
        return reference in self._references

    def put(self, entry: Entry, reference: str = "") -> None:
        self._entries[entry.key] = entry
        if reference:
            self._references[reference] = entry.key
        if len(self._entries) > self._limit:
            del self._entries[next(iter(self._entries))]
        if len(self._references) > self._limit:
            del self._references[next(iter(self._references))]

    def of(self, member: str, settlement_day: str) -> list[Entry]:
        """That member's entries of that day, oldest first."""
        everything = self._entries.values()
        return [each for each in everything if each.member == member and each.settlement_day == settlement_day]

    def listing(self) -> list[dict[str, Any]]:
        return [entry.listing() for entry in self._entries.values()]
