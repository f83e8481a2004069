"""Disputes: opened by the payer's bank or finance, answered by the merchant, ended by a decision or a deadline."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

import structlog

from switch.domain.access import Caller, Role
from switch.domain.dispute import (
    MERCHANTS_TURN,
    Dispute,
    DisputeKind,
    DisputeState,
    Evidence,
    Payment,
    ReasonCategory,
)
from switch.domain.identity import computed_id, transmission_time_ms_of
from switch.domain.money import Money
from switch.domain.refusals import Invalid, Missing, NotPossible
from switch.ops.metrics import DISPUTES_EXPIRED
from switch.ports import Clock, StoreUnavailable
from switch.settlement.bill_file import SHANGHAI
from switch.settlement.evidence import evidence_of, must_have_room
from switch.settlement.reconcile import business_day
from switch.store.disputes import Move

log = structlog.get_logger()

LONGEST_TEXT: Final = 4_000
_CASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")
_REASON: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,31}")
_SERVICE: Final = "DisputeService"
_LOOKS_S: Final = 30.0
_AT_ONCE: Final = 100


class Store(Protocol):
    """The durable side. Raises StoreUnavailable."""

    async def open(
        self, asked: Dispute, fee_minor: int, today: date, admit: Callable[[Dispute, Payment], None]
    ) -> Dispute: ...

    async def move(self, merchant_id: str, identity: UUID, move: Move) -> Dispute: ...

    async def expire(self, now_ms: int, today: date, limit: int) -> list[Dispute]: ...

    async def find(self, merchant_id: str, identity: UUID) -> tuple[Dispute, list[Evidence]] | None: ...

    async def page(
        self, merchant_id: str, after: tuple[str, UUID], states: tuple[DisputeState, ...], limit: int
    ) -> list[Dispute]: ...

    async def keep_evidence(
        self, merchant_id: str, identity: UUID, evidence: Evidence, content: bytes,
        admit: Callable[[Dispute, list[Evidence]], None],
    ) -> Evidence: ...  # fmt: skip

    async def content(self, merchant_id: str, identity: UUID, evidence_id: UUID) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """Whole days after the day on which a stage begins, until its last moment in Shanghai. fee_minor: of a chargeback,
    whatever comes of it."""

    retrieval_days: int = 10
    chargeback_days: int = 14
    represented_days: int = 30
    second_days: int = 10
    fee_minor: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """What the payer's bank says. case: its own number; money: at most what is left of the payment."""

    merchant_id: str
    authorization_id: UUID
    kind: DisputeKind
    case: str
    money: Money
    reason_code: str
    category: ReasonCategory
    text: str = ""


class Disputes:
    """Every change raises Missing, NotPossible (not in this state, more than is left), Invalid (a field)."""

    def __init__(self, store: Store, clock: Clock, rules: Rules) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules

    async def open(self, claim: Claim, caller: Caller) -> Dispute:
        """An issuer: of the payments of its own channel. The same case again is the same dispute; with other content
        Exists."""
        _check(claim)
        now_ms = self._clock.time_ms()
        days = self._rules.retrieval_days if claim.kind is DisputeKind.RETRIEVAL else self._rules.chargeback_days
        payment_ms = transmission_time_ms_of(claim.authorization_id)
        identity = computed_id(
            "case", claim.merchant_id, payment_ms, f"{claim.authorization_id} {claim.kind} {claim.case}"
        )
        asked = Dispute(
            claim.merchant_id, identity, claim.authorization_id, _channel_of(caller), claim.kind, DisputeState.OPEN,
            claim.case, claim.money, claim.reason_code, claim.category, claim.text, "", "", caller.name, now_ms,
            due_time_ms(now_ms, days), 0, 1,
        )  # fmt: skip
        return await self._store.open(asked, self._rules.fee_minor, business_day(now_ms), _admit)

    async def find(self, merchant_id: str, identity: UUID, caller: Caller) -> tuple[Dispute, list[Evidence]]:
        found = await self._store.find(merchant_id, identity)
        if found is None or _channel_of(caller) not in ("", found[0].channel):
            raise Missing("no such dispute")
        return found

    async def page(
        self, merchant_id: str, after: tuple[str, UUID], states: tuple[DisputeState, ...], limit: int
    ) -> list[Dispute]:
        return await self._store.page(merchant_id, after, states, limit)

    async def add_evidence(
        self, merchant_id: str, identity: UUID, caller: Caller, name: str, content_type: str, content: bytes
    ) -> Evidence:
        """While it is the merchant's turn."""
        evidence = evidence_of(identity, name, content_type, content, caller.name, self._clock.time_ms())

        def admit(dispute: Dispute, there: list[Evidence]) -> None:
            self._must_be_merchants_turn(dispute)
            must_have_room(there, len(content))

        return await self._store.keep_evidence(merchant_id, identity, evidence, content, admit)

    async def content(self, merchant_id: str, identity: UUID, evidence_id: UUID) -> bytes:
        found = await self._store.content(merchant_id, identity, evidence_id)
        if found is None:
            raise Missing("no such file")
        return found

    async def contest(self, merchant_id: str, identity: UUID, caller: Caller, statement: str) -> Dispute:
        """By the merchant: a retrieval request is answered, a chargeback represented, a second one goes to
        arbitration. It takes evidence, or a statement."""
        said = _text("statement", statement)

        def decide(dispute: Dispute, evidence: list[Evidence]) -> Dispute:
            self._must_be_merchants_turn(dispute)
            if not evidence and not said:
                raise NotPossible("there is neither evidence nor a statement")
            now_ms = self._clock.time_ms()
            if dispute.kind is DisputeKind.RETRIEVAL:
                return self._ended(replace(dispute, statement=said), DisputeState.ANSWERED, dispute.outcome)
            if dispute.state is DisputeState.SECOND:
                return replace(dispute, state=DisputeState.ARBITRATION, statement=said, due_time_ms=0)
            due_ms = due_time_ms(now_ms, self._rules.represented_days)
            return replace(dispute, state=DisputeState.REPRESENTED, statement=said, due_time_ms=due_ms)

        return await self._move(merchant_id, identity, caller, "AnswerDispute", decide)

    async def accept(self, merchant_id: str, identity: UUID, caller: Caller) -> Dispute:
        """By the merchant: the payer shall keep it."""

        def decide(dispute: Dispute, _: list[Evidence]) -> Dispute:
            self._must_be_merchants_turn(dispute)
            if dispute.kind is DisputeKind.RETRIEVAL:
                raise NotPossible("a retrieval request asks for documents, not for money")
            return self._ended(dispute, DisputeState.LOST, "accepted by the merchant")

        return await self._move(merchant_id, identity, caller, "AnswerDispute", decide)

    async def escalate(self, merchant_id: str, identity: UUID, caller: Caller, text: str) -> Dispute:
        """The issuer insists after a representment: a second chargeback, or pre-arbitration. No money moves anew."""
        said = _text("text", text)

        def decide(dispute: Dispute, _: list[Evidence]) -> Dispute:
            self._must_be_callers(dispute, caller)
            if dispute.state is not DisputeState.REPRESENTED or self._is_late(dispute):
                raise NotPossible(f"it is {dispute.state.name}")
            due_ms = due_time_ms(self._clock.time_ms(), self._rules.second_days)
            return replace(dispute, state=DisputeState.SECOND, outcome=said, due_time_ms=due_ms)

        return await self._move(merchant_id, identity, caller, "EscalateDispute", decide)

    async def decide(self, merchant_id: str, identity: UUID, caller: Caller, *, won: bool, text: str) -> Dispute:
        """By finance, as the scheme or the issuer said."""
        said = _text("text", text) or ("won" if won else "lost")

        def decide(dispute: Dispute, _: list[Evidence]) -> Dispute:
            return self._ended(dispute, DisputeState.WON if won else DisputeState.LOST, said)

        return await self._move(merchant_id, identity, caller, "DecideDispute", decide)

    async def withdraw(self, merchant_id: str, identity: UUID, caller: Caller) -> Dispute:
        """By whoever opens disputes: the merchant keeps the money."""

        def decide(dispute: Dispute, _: list[Evidence]) -> Dispute:
            self._must_be_callers(dispute, caller)
            return self._ended(dispute, DisputeState.WON, "withdrawn")

        return await self._move(merchant_id, identity, caller, "WithdrawDispute", decide)

    async def expire(self) -> int:
        """End what is late; returns how many stages that were."""
        now_ms, ended = self._clock.time_ms(), 0
        while True:
            found = await self._store.expire(now_ms, business_day(now_ms), _AT_ONCE)
            for each in found:
                DISPUTES_EXPIRED.labels(each.state.name.lower()).inc()
                log.warning("dispute_expired", dispute=str(each.id), merchant=each.merchant_id, state=each.state.name)
            ended += len(found)
            if len(found) < _AT_ONCE:
                return ended

    async def _move(
        self, merchant_id: str, identity: UUID, caller: Caller, name: str,
        decide: Callable[[Dispute, list[Evidence]], Dispute],
    ) -> Dispute:  # fmt: skip
        now_ms = self._clock.time_ms()
        move = Move(f"{_SERVICE}.{name}", caller.name, now_ms, business_day(now_ms), decide)
        return await self._store.move(merchant_id, identity, move)

    def _ended(self, dispute: Dispute, state: DisputeState, outcome: str) -> Dispute:
        return replace(dispute, state=state, outcome=outcome, due_time_ms=0, ended_time_ms=self._clock.time_ms())

    def _must_be_merchants_turn(self, dispute: Dispute) -> None:
        if dispute.state not in MERCHANTS_TURN:
            raise NotPossible(f"it is {dispute.state.name}")
        if self._is_late(dispute):
            raise NotPossible("the deadline has passed")

    def _is_late(self, dispute: Dispute) -> bool:
        return 0 < dispute.due_time_ms <= self._clock.time_ms()

    def _must_be_callers(self, dispute: Dispute, caller: Caller) -> None:
        if _channel_of(caller) not in ("", dispute.channel):
            raise Missing("no such dispute")


class DisputeDeadlines:
    """Looks twice a minute; what another process is at is passed over."""

    def __init__(self, disputes: Disputes) -> None:
        self._disputes = disputes
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="dispute deadlines")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await self._disputes.expire()
            except StoreUnavailable as error:
                log.warning("disputes_not_read", reason=str(error))
            except Exception:
                log.exception("dispute_deadlines_failed")
            await asyncio.sleep(_LOOKS_S)


def due_time_ms(now_ms: int, days: int) -> int:
    """The end, in Shanghai, of the day so many days after this one.

    >>> due_time_ms(1_767_283_200_000 + 1, 1) == 1_767_283_200_000 + 2 * 86_400_000
    True
    """
    last = business_day(now_ms) + timedelta(days=days + 1)
    return int(datetime(last.year, last.month, last.day, tzinfo=SHANGHAI).timestamp() * 1000)


def _channel_of(caller: Caller) -> str:
    """Whose disputes an issuer may touch; "" for everybody else, whom other rules bind."""
    return f"issuer:{caller.person}" if Role.ISSUER in caller.roles else ""


def _admit(asked: Dispute, payment: Payment) -> None:
    if asked.money.currency != payment.currency:
        raise Invalid("amount.currency", "is not the payment's")
    if payment.undone or payment.captured_minor <= 0:
        raise NotPossible("no money of that payment is with the merchant")
    if asked.kind is DisputeKind.CHARGEBACK and asked.money.amount_minor > payment.open_minor:
        raise NotPossible("more than is left of the payment: captured less refunded less charged back")
    if asked.money.amount_minor > payment.captured_minor:
        raise NotPossible("more than was captured")


def _check(claim: Claim) -> None:
    if not _CASE.fullmatch(claim.case):
        raise Invalid("case_number", "must be 1 to 64 letters, digits and . _ / -")
    if not _REASON.fullmatch(claim.reason_code):
        raise Invalid("reason_code", "must be 1 to 32 letters, digits, spaces and . _ -")
    if claim.money.amount_minor <= 0:
        raise Invalid("amount.amount_minor", "must be positive")
    _text("text", claim.text)


def _text(field: str, text: str) -> str:
    text = text.strip()
    if len(text) > LONGEST_TEXT or not all(each.isprintable() or each == "\n" for each in text):
        raise Invalid(field, f"must be printable, {LONGEST_TEXT} characters at most")
    return text
