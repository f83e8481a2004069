"""A merchant with payments in a real journal, its people, and a road that does with a refund what it is told."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from switch.domain.access import Caller, Role
from switch.domain.authorization import Authorization, FollowOn, FollowOnRequest
from switch.domain.contract import Contract
from switch.domain.identity import computed_id
from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.merchant import MerchantProfile
from switch.domain.money import Money
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.store.journal import PostgresJournal

_numbers = itertools.count(1)
NIL = UUID(int=0)

_EVENT = """
INSERT INTO journal_events (
    merchant_id, authorization_id, kind, follow_on_id, position, operation, amount_minor, currency, time_ms,
    created_time_ms, acquirer_id, terminal_id, channel, entry, response_code, reference, payer_key, card_prefix)
SELECT $1, $2, $3, $4, 1 + coalesce((SELECT max(position) FROM journal_events), 0), $5, $6, $7, $8, $9, $10, $11, $12,
       $13, $14, $15, $16, $17
RETURNING position
"""


@dataclass
class StillClock:
    """Stands until it is moved."""

    now_ms: int

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000


def person(role: Role, *, stepped_up: bool = False, merchant_id: str = "") -> Caller:
    """A user of the merchant, another one each time."""
    user_id = uuid4()
    roles = frozenset({Role.PAYER, role})
    return Caller(f"user/{user_id}", roles, user_id, uuid4(), merchant_id, stepped_up, "ipv4:192.0.2.1:1")


@dataclass
class Shops:
    """Meets `Merchants`: where the terminals stand."""

    stores: dict[str, str] = field(default_factory=dict)

    async def profile(self, merchant_id: str) -> MerchantProfile | None:
        return None

    async def contracts(self, merchant_ids: Sequence[str], day: str) -> dict[str, Contract]:
        return {}

    async def stores_of_terminals(self, merchant_id: str) -> dict[str, str]:
        return self.stores


@dataclass
class Scene:
    merchant_id: str
    database: asyncpg.Pool
    clock: StillClock
    journal: PostgresJournal

    async def paid(self, amount_minor: int = 1_000, **fields: Any) -> Authorization:
        """A sale in the journal that was approved; no event of it yet."""
        number = next(_numbers)
        time_ms = fields.pop("time_ms", self.clock.now_ms - 60_000 + number)
        record = Authorization(
            computed_id("acquirer", self.merchant_id, time_ms, f"k{number}"), "acquirer", self.merchant_id, "T1",
            "5999", Operation.SALE, Money(amount_minor, "CNY"), EntryMode.NFC, "622588******1234",
            fingerprint=b"f", payer_key=b"payer", state=State.APPROVED, decision=Decision.APPROVED,
            response_code="00", channel="unionpay", approval_code="A1B2C3", retrieval_reference=f"{number:012d}",
            channel_reference=f"c{number}", approved_minor=amount_minor, captured_minor=amount_minor,
            created_time_ms=time_ms, answered_time_ms=time_ms + 90,
        )  # fmt: skip
        record = replace(record, **fields)
        assert await self.journal.record_intents([record]) == [None]
        return record

    def event(self, record: Authorization, kind: EventKind = EventKind.APPROVED, **fields: Any) -> JournalEvent:
        event = JournalEvent(
            0, record.merchant_id, record.id, NIL, kind, record.operation, record.money, record.answered_time_ms,
            record.created_time_ms, record.acquirer_id, record.terminal_id, record.channel, record.entry,
            record.response_code, f"ours-{record.retrieval_reference}", record.payer_key, "622588",
        )  # fmt: skip
        return replace(event, **fields)

    async def tell(self, event: JournalEvent) -> None:
        """Append it to the journal's events."""
        await self.database.fetchval(
            _EVENT, event.merchant_id, event.authorization_id, event.kind, event.follow_on_id, event.operation,
            event.money.amount_minor, event.money.currency, event.time_ms, event.created_time_ms, event.acquirer_id,
            event.terminal_id, event.channel, event.entry, event.response_code, event.reference, event.payer_key,
            event.card_prefix,
        )  # fmt: skip

    async def audited(self, act: str) -> list[asyncpg.Record]:
        return await self.database.fetch(
            "SELECT * FROM audit_trail WHERE merchant_id = $1 AND act = $2 ORDER BY id", self.merchant_id, act
        )


class Road:
    """Meets `Payments` over the real journal. outcome: how the channel answers; fails: raised before anything."""

    def __init__(self, journal: PostgresJournal, clock: StillClock) -> None:
        self._journal = journal
        self._clock = clock
        self.outcome = State.APPROVED
        self.fails: Exception | None = None
        self.asked: list[FollowOnRequest] = []

    async def authorize(self, request: Any, budget_s: float) -> Authorization:
        raise NotImplementedError

    async def find(self, merchant_id: str, authorization_id: UUID) -> Authorization | None:
        return await self._journal.find(merchant_id, authorization_id)

    async def follow_on(self, request: FollowOnRequest) -> FollowOn:
        if self.fails is not None:
            raise self.fails
        assert request.money is not None
        identity = computed_id(
            request.acquirer_id, request.merchant_id, request.transmission_time_ms, request.idempotency_key
        )
        wanted = FollowOn(
            identity, request.authorization_id, request.acquirer_id, request.merchant_id, request.operation,
            request.money, fingerprint=b"f", created_time_ms=self._clock.now_ms,
        )  # fmt: skip
        stored, original = await self._journal.begin_follow_on(wanted, None)
        if stored is not wanted or stored.state is not State.SENT:
            return stored
        assert original is not None
        self.asked.append(request)
        await asyncio.sleep(0)
        stored.state, stored.response_code = self.outcome, {3: "00", 4: "57", 5: "68"}[self.outcome]
        stored.reason, stored.answered_time_ms = "as told", self._clock.now_ms
        await self._journal.finish_follow_on(stored, original)
        return stored
