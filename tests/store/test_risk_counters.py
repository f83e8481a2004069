"""What the journal tells the counters: by a real feed, each event once, and only what is to be counted."""

import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.judged_event import JudgedEvent
from switch.domain.money import Money
from switch.domain.risk import FactValue, Judged, Judgement, Outcome, Subject
from switch.domain.states import Decision, Operation, State
from switch.ports.risk import Happening, Later
from switch.risk.device_monitor import DeviceMonitor
from switch.risk.later_counts import OLDEST_MS, Told, told_by
from switch.risk.monitor_settings import MonitorSettings
from switch.risk.packing import pack_facts, pack_subjects
from switch.store.feed import JournalFeed
from switch.store.feed_consumer import FeedConsumer
from switch.store.journal import PostgresJournal
from switch.store.risk_counters import CONSUMER, applying

KEYS = {Subject.CARD: "11" * 16, Subject.MERCHANT: "22" * 16, Subject.TERMINAL: "33" * 16}
DEVICE = {Subject.DEVICE: "44" * 16}


def judged(keys: dict[Subject, str], facts: dict[str, FactValue] | None = None) -> Judged:
    return Judged(Judgement(Outcome.PASS), pack_facts(facts or {}), pack_subjects(keys))


class Follower:
    """The feed and its consumer, worked by hand."""

    def __init__(self, database: asyncpg.Pool, journal: PostgresJournal, make_intent: Callable[..., Authorization]):
        self.journal = journal
        self.make_intent = make_intent
        self.oldest_ms = 0
        self.told: list[JudgedEvent] = []
        self._feed = JournalFeed(database, settle_ms=600_000)
        self._consumer = FeedConsumer(database, CONSUMER, applying(self.told.append, lambda: self.oldest_ms))

    async def follow(self) -> Told:
        self.told.clear()
        await self._feed.catch_up()
        await self._consumer.catch_up()
        monitor = DeviceMonitor(MonitorSettings())
        each = [told_by(event, "CNY", monitor) for event in self.told]
        return Told(
            [one for told in each for one in told.happenings],
            [one for told in each for one in told.signals],
            [one for told in each for one in told.findings],
        )

    async def paid(
        self, keys: dict[Subject, str] | None = None, facts: dict[str, FactValue] | None = None, **fields: Any
    ) -> Authorization:
        """Judged and answered: approved, unless a response code says otherwise."""
        code = fields.pop("response_code", "00")
        intent = self.make_intent(**fields)
        record = {} if keys is None else {intent.id: judged(keys, facts)}
        assert await self.journal.record_intents([intent], record) == [None]
        approved = code == "00"
        intent.state = State.APPROVED if approved else State.DECLINED
        intent.decision = Decision.APPROVED if approved else Decision.DECLINED
        intent.response_code = code
        intent.approved_minor = intent.captured_minor = intent.money.amount_minor if approved else 0
        intent.answered_time_ms = intent.created_time_ms + 20
        assert await self.journal.record_outcomes([intent], [0.0]) == [True]
        return intent


@pytest.fixture
async def follower(
    database: asyncpg.Pool, journal: PostgresJournal, make_intent: Callable[..., Authorization]
) -> Follower:
    await database.execute("DELETE FROM journal_events; DELETE FROM feed_cursors; DELETE FROM feed_readings")
    follower = Follower(database, journal, make_intent)
    await follower.follow()
    return follower


async def test_a_decline_of_a_channel_is_counted_and_our_own_is_not(follower: Follower) -> None:
    declined = await follower.paid(KEYS, response_code="51")
    await follower.paid(KEYS, response_code="59", channel="")
    await follower.paid(KEYS)
    told = await follower.follow()
    [happening] = told.happenings
    name = f"{declined.id.hex}:2:{UUID(int=0).hex}"
    assert happening == Happening(name, Later.DECLINES, KEYS, declined.answered_time_ms)
    assert told.signals == []


@pytest.mark.parametrize(("code", "failed"), [("55", True), ("38", True), ("75", True), ("51", False), ("54", False)])
async def test_a_wrong_pin_is_counted_and_signalled(follower: Follower, code: str, failed: bool) -> None:
    await follower.paid(KEYS, response_code=code)
    told = await follower.follow()
    assert [each.what for each in told.happenings] == [Later.DECLINES] + [Later.PIN_FAILURES] * failed
    assert [dict(each.keys) for each in told.signals] == [KEYS] * failed


async def test_what_was_not_judged_is_counted_of_nobody(follower: Follower) -> None:
    await follower.paid(None, response_code="51")
    assert await follower.follow() == Told([], [], [])
    assert follower.told == []


async def test_a_refund_is_counted_with_its_amount_in_the_reference_currency(
    follower: Follower, make_follow_on: Callable[..., FollowOn], refund: Callable[..., Awaitable[None]]
) -> None:
    for currency in ("CNY", "USD"):
        original = await follower.paid(KEYS, money=Money(10_000, currency))
        await refund(original, 700)
        await refund(original, 300)
    told = await follower.follow()
    amounts = sorted((each.what, each.amount_minor) for each in told.happenings)
    assert amounts == [(Later.REFUNDS, 0), (Later.REFUNDS, 0), (Later.REFUNDS, 300), (Later.REFUNDS, 700)]
    assert len({each.event_id for each in told.happenings}) == 4


async def test_what_is_too_old_for_every_window_is_passed_over(follower: Follower) -> None:
    await follower.paid(KEYS, response_code="51")
    follower.oldest_ms = int(time.time() * 1000) + OLDEST_MS
    assert (await follower.follow()).happenings == []


async def test_payments_of_a_device_are_looked_at_and_others_are_not_read(follower: Follower) -> None:
    facts: dict[str, FactValue] = {"device_emulator": True, "device_users_30d": 7, "amount_minor": 1}
    await follower.paid(KEYS | DEVICE, facts)
    await follower.paid(KEYS, facts)
    told = await follower.follow()
    assert [each.kind for each in told.findings] == ["many_accounts_on_device", "device_emulator"]
    assert len(follower.told) == 1


async def test_told_again_it_is_the_same(follower: Follower, database: asyncpg.Pool) -> None:
    await follower.paid(KEYS, response_code="55")
    first = await follower.follow()
    assert await follower.follow() == Told([], [], [])
    await database.execute("DELETE FROM feed_cursors WHERE consumer = $1", CONSUMER)
    assert await follower.follow() == first


@pytest.fixture
def refund(journal: PostgresJournal, make_follow_on: Callable[..., FollowOn]) -> Callable[..., Awaitable[None]]:
    async def run(original: Authorization, amount_minor: int) -> None:
        money = Money(amount_minor, original.money.currency)
        follow_on = make_follow_on(original, Operation.REFUND, amount_minor, money=money)
        await journal.begin_follow_on(follow_on, None)
        follow_on.state, follow_on.response_code = State.APPROVED, "00"
        follow_on.answered_time_ms = follow_on.created_time_ms + 20
        await journal.finish_follow_on(follow_on, original)

    return run
