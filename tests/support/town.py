"""A world in memory: the road's own rules are tested without servers. The real ones are tested end to end."""

import asyncio
import copy
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from switch.domain.authorization import (
    Authorization,
    AuthorizationRequest,
    CardCredential,
    CodeCredential,
    FollowOn,
    Merchant,
    PinBlock,
)
from switch.domain.money import Money
from switch.domain.risk import NOTHING_JUDGED, Action, Judged, Judgement, Rule, Subject
from switch.domain.sensitive import Pan, PaymentCode
from switch.domain.states import TRANSITIONS, EntryMode, Operation, State
from switch.payments.ownership import Ownership
from switch.payments.road import Road
from switch.payments.world import RoadSettings, World
from switch.ports import (
    Approved,
    ChannelHealth,
    ChannelRequest,
    ChannelResult,
    Clock,
    CountersUnavailable,
    FollowUp,
    FollowUpResult,
    StoreUnavailable,
)
from switch.ports.risk import Happening, Mark, Sighting
from switch.risk.monitor import LiveRisk, PaymentMonitor
from switch.risk.rules import RuleSet
from switch.routing.live import LiveRouting, plan_of_settings
from switch.routing.table import RoutingTable
from switch.store.follow_on_rules import NO_ORIGINAL, OVERTOOK, InFlight, judge, raise_by


class MemoryJournal:
    """The journal's semantics in a dictionary. `events` shows the order of things; `down` makes every call fail."""

    def __init__(self, events: list[str], clock: Clock) -> None:
        self.clock = clock
        self.rows: dict[tuple[str, UUID], Authorization] = {}
        self.follow_ons: dict[tuple[str, UUID], FollowOn] = {}
        self.follow_ups: list[FollowUp] = []
        self.judged: dict[UUID, Judged] = {}
        self.events = events
        self.down = False
        self.down_for_outcomes = False
        self.slow_s = 0.0
        self.batches: list[int] = []
        self.pauses_s: list[float] = []

    async def _work(self) -> None:
        await asyncio.sleep(self.slow_s)
        if self.down:
            raise StoreUnavailable("down")

    async def record_intents(
        self, intents: Sequence[Authorization], judged: Mapping[UUID, Judged] = NOTHING_JUDGED
    ) -> list[Authorization | None]:
        await self._work()
        self.judged.update(judged)
        self.batches.append(len(intents))
        self.events.append("intent durable")
        stored: list[Authorization | None] = []
        for each in intents:
            found = self.rows.get((each.merchant_id, each.id))
            if found is None:
                self.rows[each.merchant_id, each.id] = copy.copy(each)
            stored.append(copy.copy(found))
        return stored

    async def record_attempts(self, authorizations: Sequence[Authorization]) -> list[bool]:
        await self._work()
        self.events.append("attempt durable")
        return [self._replace(each) for each in authorizations]

    async def record_outcomes(
        self, authorizations: Sequence[Authorization], follow_up_after_s: Sequence[float]
    ) -> list[bool]:
        await self._work()
        if self.down_for_outcomes:
            raise StoreUnavailable("outcomes down")
        self.events.append("outcome durable")
        ours = [self._replace(each) for each in authorizations]
        for each, is_ours in zip(authorizations, ours, strict=True):
            if is_ours and each.state in (State.UNKNOWN, State.AWAITING_PAYER):
                kind = Operation.REVERSAL if each.state is State.UNKNOWN else Operation.INQUIRY
                self.follow_ups.append(FollowUp(copy.copy(each), kind, 0, 1, self.clock.time_ms()))
        return ours

    def _replace(self, record: Authorization) -> bool:
        row = self.rows.get((record.merchant_id, record.id))
        if row is None or row.state is not State.SENT or row.owner != record.owner:
            return False
        self.rows[record.merchant_id, record.id] = copy.copy(record)
        return True

    async def find(self, merchant_id: str, authorization_id: UUID) -> Authorization | None:
        await self._work()
        return copy.copy(self.rows.get((merchant_id, authorization_id)))

    async def find_follow_ons(self, merchant_id: str, authorization_id: UUID) -> list[FollowOn]:
        return [each for each in self.follow_ons.values() if each.authorization_id == authorization_id]

    async def begin_follow_on(
        self, follow_on: FollowOn, tombstone: Authorization | None
    ) -> tuple[FollowOn, Authorization | None]:
        await self._work()
        key = follow_on.merchant_id, follow_on.id
        original = self.rows.get((follow_on.merchant_id, follow_on.authorization_id))
        if key in self.follow_ons:
            return copy.copy(self.follow_ons[key]), copy.copy(original)
        verdict = NO_ORIGINAL if original is None else judge(follow_on, original, self._in_flight(follow_on))
        if original is None and tombstone is not None:
            verdict, self.rows[tombstone.merchant_id, tombstone.id] = OVERTOOK, tombstone
        follow_on.state, follow_on.response_code = verdict.state, verdict.response_code
        follow_on.reason = verdict.reason
        self.follow_ons[key] = copy.copy(follow_on)
        self.events.append("follow-on durable")
        if original is not None:
            original.captured_minor += verdict.captured_delta_minor
            original.refunded_minor += verdict.refunded_delta_minor
            original.state = verdict.original_becomes or original.state
            if verdict.open_reversal:
                self._open(original, Operation.REVERSAL)
        return follow_on, copy.copy(original)

    def _in_flight(self, follow_on: FollowOn) -> InFlight:
        others = [
            each for each in self.follow_ons.values()
            if each.authorization_id == follow_on.authorization_id and each.state in (State.SENT, State.UNKNOWN)
        ]  # fmt: skip
        sums = [
            sum(each.money.amount_minor for each in others if each.operation is operation)
            for operation in (Operation.CAPTURE, Operation.INCREMENT)
        ]
        return InFlight(any(each.operation in (Operation.VOID, Operation.REVERSAL) for each in others), *sums)

    def _open(self, record: Authorization, operation: Operation, follow_on: FollowOn | None = None) -> None:
        self.follow_ups = [
            each for each in self.follow_ups
            if follow_on is not None or each.follow_on is not None or each.authorization.id != record.id
        ]  # fmt: skip
        trace = {} if follow_on is None else dict(follow_on.trace)
        self.follow_ups.append(
            FollowUp(copy.copy(record), operation, 0, 1, self.clock.time_ms(), trace, copy.copy(follow_on))
        )

    async def finish_follow_on(self, follow_on: FollowOn, original: Authorization) -> None:
        await self._work()
        if self.down_for_outcomes:
            raise StoreUnavailable("outcomes down")
        self.events.append("outcome durable")
        stored = self.follow_ons[follow_on.merchant_id, follow_on.id]
        if stored.state is not State.SENT:
            follow_on.state, follow_on.response_code, follow_on.reason = (
                stored.state, stored.response_code, stored.reason,
            )  # fmt: skip
            return
        row = self.rows[original.merchant_id, original.id]
        self._settle(follow_on, row)
        moved = {Operation.VOID: State.VOIDED, Operation.REVERSAL: State.REVERSED}.get(follow_on.operation)
        if follow_on.state is State.UNKNOWN:
            self._open(row, Operation.REVERSAL) if moved else self._open(row, follow_on.operation, follow_on)
        elif moved is not None and follow_on.state is State.APPROVED:
            row.state = moved

    def _settle(self, follow_on: FollowOn, row: Authorization) -> None:
        self.follow_ons[follow_on.merchant_id, follow_on.id] = copy.copy(follow_on)
        if follow_on.state is State.DECLINED and follow_on.operation is Operation.CAPTURE:
            row.captured_minor -= follow_on.money.amount_minor
        if follow_on.state is State.DECLINED and follow_on.operation is Operation.REFUND:
            row.refunded_minor -= follow_on.money.amount_minor
        if follow_on.operation is Operation.INCREMENT:
            raise_by(follow_on, row)

    async def claim_follow_ups(self, owner: UUID, limit: int, lease_s: float) -> list[FollowUp]:
        await self._work()
        claimed, self.follow_ups = self.follow_ups[:limit], self.follow_ups[limit:]
        return claimed

    async def release_follow_ups(self, follow_ups: Sequence[FollowUp]) -> None:
        await self._work()
        self.follow_ups = [*follow_ups, *self.follow_ups]

    async def keep_follow_up_trace(self, follow_ups: Sequence[FollowUp]) -> None:
        self.events.append("trace durable")

    async def finish_follow_ups(self, results: Sequence[tuple[FollowUp, FollowUpResult]]) -> None:
        for follow_up, result in results:
            record, follow_on = follow_up.authorization, follow_up.follow_on
            self.pauses_s.append(result.retry_after_s)
            if result.state is None or (follow_on is not None and result.state is State.DEAD_LETTER):
                follow_up.attempts += 1
                self.follow_ups.append(follow_up)
                continue
            row = self.rows[record.merchant_id, record.id]
            if follow_on is not None:
                self._settle(follow_on, row)
                continue
            assert result.state in TRANSITIONS[row.state]
            self.rows[record.merchant_id, record.id] = copy.copy(record)
            self.rows[record.merchant_id, record.id].state = result.state
            if result.state is State.UNKNOWN:
                self.follow_ups.append(FollowUp(copy.copy(record), Operation.REVERSAL, 0, 1, 0))
            if result.state is State.REVERSED:
                self._finish_waiting(record)

    def _finish_waiting(self, record: Authorization) -> None:
        """The acquirer's voids and reversals that waited for this reversal."""
        for each in self.follow_ons.values():
            undoes = each.operation in (Operation.VOID, Operation.REVERSAL)
            if undoes and each.authorization_id == record.id and each.state is State.UNKNOWN:
                each.state, each.response_code = State.APPROVED, "00"

    async def claim_in_doubt(self, owner: UUID) -> int:
        return 0


class MemoryHsm:
    """Real hashing, sealing by prefix: the road must not care."""

    def __init__(self) -> None:
        self.bad_pins = False

    async def keyed_hashes(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
        return [hmac.digest(key.encode(), data, "sha256") for key, data in items]

    async def seal(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
        return [hashlib.sha256(associated).digest() + data[::-1] for _, data, associated in items]

    async def unseal(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
        return [data[32:][::-1] for _, data, _ in items]

    async def translate_pins(self, items: Sequence[tuple[str, int, str, int, bytes, str]]) -> list[bytes | Exception]:
        if self.bad_pins:
            return [ValueError("bad block")] * len(items)
        return [f"{target}|".encode() + block for _, _, target, _, block, _ in items]


class MemoryVelocity:
    """The payments of every subject, for ever: the windows of the real ones are tested with them."""

    def __init__(self) -> None:
        self.down = False
        self.seen: dict[tuple[Subject, str], set[str]] = {}
        self.told: list[Happening] = []

    async def see(self, sightings: Sequence[Sighting]) -> list[dict[str, int]]:
        if self.down:
            raise CountersUnavailable("down")
        for each in sightings:
            for subject in each.subjects.items():
                self.seen.setdefault(subject, set()).add(each.event_id)
        return [
            {f"{subject}_count_1m": len(self.seen[subject, key]) for subject, key in each.subjects.items()}
            for each in sightings
        ]

    async def tell(self, happenings: Sequence[Happening], marks: Sequence[Mark] = ()) -> None:
        self.told += happenings


PAYMENTS_A_MINUTE = 60
TOWN_RULES = RuleSet(
    [
        Rule(
            "too_often", 1, "tests", f"card_count_1m > {PAYMENTS_A_MINUTE}", Action.DECLINE,
            {"en": "too many payments by this payer", "zh": "支付次数过多"}, response_code="65",
        ),
        Rule(
            "no_pin", 1, "tests", 'entry in ["nfc", "bluetooth"] && card_known && !pin_given && currency == "CNY"',
            Action.LIMIT, {"en": "above this amount a tap needs a PIN", "zh": "非接支付超过限额需输入密码"},
            response_code="61", limit_minor=100_000,
        ),
    ]
)  # fmt: skip


class NothingCounted:
    def judged(self, judgement: Judgement) -> None: ...

    def absent(self, source: str) -> None: ...


class ScriptedChannel:
    """Answers with what `script` returns for a request; None is silence."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name = name
        self.operations = frozenset(Operation)
        self.pin_key = f"{name}/pik"
        self.pin_format = 0
        self.reversal_after_s = 0.0
        self.events = events
        self.ready = True
        self.script: Callable[[ChannelRequest], ChannelResult | None] = lambda request: Approved("00", "123456")
        self.sent: list[ChannelRequest] = []
        self.replies: list[asyncio.Future[ChannelResult]] = []

    def prepare(self, requests: Sequence[ChannelRequest]) -> None:
        for request in requests:
            request.trace = {"number": f"{self.name}-{len(self.sent)}-{id(request)}"}

    def send(self, requests: Sequence[ChannelRequest]) -> list[asyncio.Future[ChannelResult]]:
        self.events.append("sent")
        futures = []
        for request in requests:
            self.sent.append(request)
            future: asyncio.Future[ChannelResult] = asyncio.get_running_loop().create_future()
            result = self.script(request)
            if result is not None:
                future.set_result(result)
            futures.append(future)
        self.replies.extend(futures)
        return futures

    def health(self) -> ChannelHealth:
        return ChannelHealth(self.ready, "scripted")


class OneLease:
    def __init__(self) -> None:
        self.alive = True

    async def join(self, name: str) -> tuple[UUID, int]:
        return uuid4(), 0

    async def beat(self, owner: UUID, oldest_open_time_ms: int) -> bool:
        return self.alive

    async def leave(self, owner: UUID) -> None:
        self.alive = False


@dataclass
class Observed:
    answered_s: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    follow_ups: list[tuple[Operation, ChannelResult]] = field(default_factory=list)
    dead_letters: list[str] = field(default_factory=list)
    batches: dict[str, list[int]] = field(default_factory=dict)

    def stage(self, name: str, batch: int, seconds: float) -> None:
        self.batches.setdefault(name, []).append(batch)

    def channel(self, record: Authorization, result: ChannelResult, seconds: float) -> None: ...

    def answered(self, record: Authorization, seconds: float) -> None:
        self.answered_s.append(seconds)

    def refused(self, reason: str) -> None:
        self.refusals.append(reason)

    def failed(self, stage: str) -> None:
        self.refusals.append(f"failed {stage}")

    def followed_up(self, operation: Operation, channel: str, result: ChannelResult) -> None:
        self.follow_ups.append((operation, result))

    def dead_letter(self, channel: str) -> None:
        self.dead_letters.append(channel)


class LoopClock:
    """Begins at the time of day, and goes as the loop's clock goes."""

    def __init__(self) -> None:
        self._ahead_s = time.time() - self.monotonic_s()

    def time_ms(self) -> int:
        return int((self._ahead_s + self.monotonic_s()) * 1000)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.fixture
async def town() -> Any:
    """Everything around a road: `town.road`, `town.journal`, `town.first`, `town.second` (channels), …"""
    events: list[str] = []
    clock = LoopClock()
    journal, leases = MemoryJournal(events, clock), OneLease()
    first, second = ScriptedChannel("first", events), ScriptedChannel("second", events)
    ownership = Ownership(leases, "test", 5.0, lambda: 0, lambda reason: events.append(reason))
    await ownership.join()
    rules = [
        SimpleNamespace(name="cards", channels=["first", "second"], pan_prefix="62", scheme=None),
        SimpleNamespace(name="codes", channels=["first"], pan_prefix=None, scheme="alipay"),
    ]
    routing = LiveRouting(RoutingTable(plan_of_settings(rules)), clock.monotonic_s)
    velocity, live = MemoryVelocity(), LiveRisk(TOWN_RULES)
    monitor = PaymentMonitor(live, velocity, MemoryVelocity(), clock, NothingCounted(), lambda: 1)
    world = World(
        journal, MemoryHsm(), {"first": first, "second": second}, monitor, clock, ownership,  # type: ignore[arg-type]
        routing, Observed(),
    )  # fmt: skip
    settings = RoadSettings()
    road = Road(world, settings)
    yield SimpleNamespace(
        road=road, world=world, journal=journal, hsm=world.hsm, velocity=velocity, live=live, first=first,
        second=second, events=events, leases=leases, ownership=ownership, observed=world.observer, settings=settings,
    )  # fmt: skip
    await road.close()


def make_request(**changes: Any) -> AuthorizationRequest:
    """A sale of 12.00 yuan by a card, with a key of its own."""
    pan = changes.pop("pan", "6225880000000005")
    credential = changes.pop("credential", None) or CardCredential(Pan(pan), changes.pop("expiry", "4912"))
    values: dict[str, Any] = {
        "acquirer_id": "acme", "merchant": Merchant("m1"), "terminal_id": "t1", "idempotency_key": uuid4().hex,
        "transmission_time_ms": time.time_ns() // 1_000_000, "operation": Operation.SALE,
        "money": Money(1200, "CNY"), "entry": EntryMode.NFC, "credential": credential, "pin": None,
    }  # fmt: skip
    return AuthorizationRequest(**(values | changes))


@pytest.fixture
def request_of() -> Callable[..., AuthorizationRequest]:
    return make_request


@pytest.fixture
def pin_block() -> PinBlock:
    return PinBlock(b"12345678", 0)


@pytest.fixture
def alipay_code() -> CodeCredential:
    return CodeCredential("alipay", PaymentCode("285012345678901234"))
