"""The monitors as a process opens them, and a declined payment's way through the journal to a fact of the next."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog

from switch.config import ConfigurationError, Settings, load
from switch.domain.authorization import Authorization
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.risk import Judged, Judgement, Outcome, Subject
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.ops.lifecycle import Lifecycle
from switch.ports.risk import Alert, Sighting
from switch.ports.signals import Signal, SignalKind
from switch.risk.blocks import DoorBlocks
from switch.risk.monitor_settings import BLOCKABLE, MonitorSettings
from switch.risk.packing import pack_facts, pack_subjects
from switch.risk.signal_watch import SignalWatch
from switch.settings_sections import RiskMonitors
from switch.store.feed import JournalFeed
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases
from switch.store.velocity import RedisVelocity
from switch.wiring.foundation import SystemClock
from switch.wiring.platform import Platform
from switch.wiring.signals import monitor_settings, open_risk_counters, open_signals

PATIENT_S = 2.0
SCANNER = Signal(SignalKind.UNKNOWN_PATH, address="203.0.113.7")


class Kept:
    """Alerts in memory."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    async def raise_alerts(self, alerts: Sequence[Alert]) -> None:
        self.alerts += alerts


class Opened:
    def __init__(self, settings: Settings, redis_url: str) -> None:
        self.settings = settings
        self.kept = Kept()
        self.lifecycle = Lifecycle(grace_s=0)
        watch, blocks = open_signals(settings, self.lifecycle, SystemClock(), redis_url, self.kept)
        self.watch: SignalWatch = watch
        self.blocks: DoorBlocks = blocks

    async def close(self) -> int:
        self.lifecycle.stop("the test ends")
        return await self.lifecycle.run()


@pytest.fixture
async def opened(redis_url: str) -> AsyncIterator[Opened]:
    opened = Opened(load(), redis_url)
    yield opened
    await opened.close()


def test_the_defaults_are_those_of_the_monitors() -> None:
    figures = monitor_settings(load())
    plain = MonitorSettings(never_blocked=figures.never_blocked)
    assert figures == plain
    assert RiskMonitors().blocking == list(BLOCKABLE)


def test_a_network_with_host_bits_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="never_blocked"):
        load(risk_monitors={"never_blocked": ["10.0.0.1/8"]})


async def test_a_scanner_is_logged_and_blocked_in_every_process(opened: Opened, redis_url: str) -> None:
    other = Opened(load(), redis_url)
    with structlog.testing.capture_logs() as logs:
        for _ in range(40):
            opened.watch.report(SCANNER)
        async with asyncio.timeout(30):
            while not other.blocks.refuses(SCANNER.address):  # noqa: ASYNC110 - it follows by itself
                await asyncio.sleep(0.02)
    assert opened.blocks.refuses(SCANNER.address)
    assert [each["kind"] for each in logs if each["event"] == "risk_alert"] == ["scanning"]
    assert [each.kind for each in opened.kept.alerts] == ["scanning"]
    assert SCANNER.address not in repr(logs)
    await other.close()


async def test_proxies_are_not_blocked_by_default(opened: Opened) -> None:
    for _ in range(40):
        opened.watch.report(Signal(SignalKind.UNKNOWN_PATH, address="10.0.0.9"))
    await opened.watch.flush()
    assert not opened.blocks.refuses("10.0.0.9")


async def declined(journal: PostgresJournal, owner: UUID, subjects: dict[Subject, str]) -> Authorization:
    now_ms = int(time.time() * 1000)
    intent = Authorization(
        id=computed_id("acme", "m1", now_ms, uuid4().hex), acquirer_id="acme", merchant_id="m1", terminal_id="t1",
        merchant_category_code="5411", operation=Operation.SALE, money=Money(10_000, "CNY"), entry=EntryMode.NFC,
        masked_credential="622588******1234", fingerprint=b"f" * 32, sealed_credential=b"s" * 48, channel="unionpay",
        attempt=1, route_explanation="", trace={}, owner=owner, created_time_ms=now_ms,
    )  # fmt: skip
    judged = Judged(Judgement(Outcome.PASS), pack_facts({}), pack_subjects(subjects))
    assert await journal.record_intents([intent], {intent.id: judged}) == [None]
    intent.state, intent.decision, intent.response_code = State.DECLINED, Decision.DECLINED, "55"
    intent.answered_time_ms = now_ms + 20
    assert await journal.record_outcomes([intent], [0.0]) == [True]
    return intent


async def test_a_declined_payment_is_a_fact_of_the_cards_next_one(
    opened: Opened, database: asyncpg.Pool, redis_url: str
) -> None:
    await database.execute("DELETE FROM journal_events; DELETE FROM feed_cursors; DELETE FROM feed_readings")
    feed = JournalFeed(database, settle_ms=600_000)
    await feed.catch_up()
    nothing: Any = None
    platform = Platform(
        opened.settings, opened.lifecycle, database, redis_url, nothing, SystemClock(), nothing, nothing, {}
    )
    open_risk_counters(platform, opened.watch)
    owner, _ = await PostgresLeases(database, lease_s=600).join("test")
    card = uuid4().hex
    await declined(PostgresJournal(database, reversal_after_s=0), owner, {Subject.CARD: card})
    await feed.catch_up()
    velocity = RedisVelocity(redis_url, timeout_s=PATIENT_S)
    async with asyncio.timeout(30):
        while True:
            [facts] = await velocity.see([Sighting(uuid4().hex, {Subject.CARD: card}, 100)])
            if facts["card_declines_1h"] and facts["card_pin_failures_1h"]:
                break
            await asyncio.sleep(0.02)
    assert (facts["card_declines_1h"], facts["card_declines_1d"], facts["card_pin_failures_1d"]) == (1, 1, 1)
    await velocity.close()
