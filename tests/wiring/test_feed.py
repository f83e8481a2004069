"""The feed and the analytics as a process opens and closes them."""

import asyncio
from random import Random
from typing import Any, cast
from uuid import uuid4

import asyncpg
from prometheus_client import REGISTRY
from trade_told import FIRST_DAY, made_up, put

from payswitch.v1 import analytics_pb2
from switch.api.analytics_service import AnalyticsServicer
from switch.domain.access import Caller
from switch.ops.lifecycle import EXIT_CLEAN, Lifecycle
from switch.ops.metrics import FEED_EVENTS, FEED_LAG
from switch.wiring.analytics import open_analytics, rebuild_analytics
from switch.wiring.feed import observe, open_feed
from switch.wiring.platform import Platform


def platform_on(database: asyncpg.Pool, lifecycle: Lifecycle) -> Platform:
    """Only what these two reach for."""
    rest: dict[str, Any] = dict.fromkeys(("settings", "hsm", "clock", "payments", "merchants"))
    return Platform(lifecycle=lifecycle, pool=database, redis_url="", channels={}, **rest)


async def test_they_follow_until_the_process_ends(database: asyncpg.Pool, postgres_dsn: str) -> None:
    await database.execute("DELETE FROM journal_events; DELETE FROM feed_cursors; DELETE FROM analytics_days")
    lifecycle, merchant = Lifecycle(grace_s=0), f"m{uuid4().hex[:12]}"
    platform = platform_on(database, lifecycle)
    assert open_feed(platform) == ()
    (served,) = open_analytics(platform)
    assert served.service.full_name == "payswitch.v1.AnalyticsService"
    servicer = cast(AnalyticsServicer, served.servicer)
    await put(database, made_up(Random(1), merchant, 30))
    days = analytics_pb2.DayRange(first_day=FIRST_DAY.isoformat(), last_day="2026-04-30")
    request = analytics_pb2.GetSummaryRequest(merchant_id=merchant, days=days)
    async with asyncio.timeout(30):
        while True:
            answer = await servicer.GetSummary(request, Caller())
            if answer.summaries:
                break
            await asyncio.sleep(0.05)
    assert answer.events_behind == 0
    waiting, lag_s = (
        REGISTRY.get_sample_value(f"payswitch_feed_consumer_{each}", {"consumer": "analytics"})
        for each in ("waiting_events", "lag_seconds")
    )
    assert waiting == 0
    assert lag_s is not None
    assert lag_s >= 0
    lifecycle.stop("done")
    assert await lifecycle.run() == EXIT_CLEAN
    assert await rebuild_analytics(postgres_dsn, merchant) == 30
    assert (await servicer.GetSummary(request, Caller())).summaries == answer.summaries


def test_what_it_tells_the_operators() -> None:
    before = FEED_EVENTS._value.get()
    observe(3, 1.5)
    assert (FEED_EVENTS._value.get() - before, FEED_LAG._value.get()) == (3, 1.5)
