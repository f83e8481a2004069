"""A merchant's trade computed from its events, one by one: the other opinion about the roll-ups. And events made up."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg

from switch.domain.analytics import Days, Dimension, Measures, Payers, basket_of
from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.money import Money
from switch.domain.states import EntryMode, Operation

DAY_MS = 86_400_000
# 2026-03-01, midnight in Shanghai
FIRST_MS = 1_772_294_400_000
FIRST_DAY = date(2026, 3, 1)
_KINDS = tuple(EventKind) + (EventKind.APPROVED,) * 6


def made_up(random: Random, merchant_id: str, count: int, days: int = 40) -> list[JournalEvent]:
    """Events in no order of their times, about twenty payers, two currencies."""
    return [
        JournalEvent(
            0, merchant_id, UUID(int=random.getrandbits(128)), UUID(int=0), random.choice(_KINDS),
            random.choice((Operation.SALE, Operation.SALE, Operation.PRE_AUTHORIZATION)),
            Money(random.choice((0, 99, 100, 5_000, random.randrange(10**9))), random.choice(("CNY", "CNY", "USD"))),
            FIRST_MS + random.randrange(days * DAY_MS), 0, "acquirer", random.choice(("t1", "t2", "t3")),
            random.choice(("unionpay", "alipay", "")), random.choice((EntryMode.NFC, EntryMode.PAYER_CODE)),
            random.choice(("00", "51", "05")), "", random.choice((b"", *(bytes([each]) for each in range(20)))), "",
        )
        for _ in range(count)
    ]  # fmt: skip


async def put(database: asyncpg.Pool, events: Sequence[JournalEvent]) -> list[JournalEvent]:
    """Where the feed would put them."""
    async with database.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO feed_cursors VALUES ('feed', 0) ON CONFLICT DO NOTHING")
        last = await connection.fetchval("SELECT position FROM feed_cursors WHERE consumer = 'feed' FOR UPDATE")
        placed = [replace(each, position=last + number) for number, each in enumerate(events, 1)]
        await connection.copy_records_to_table("journal_events", columns=_COLUMNS, records=map(_row, placed))
        await connection.execute("UPDATE feed_cursors SET position = $1 WHERE consumer = 'feed'", last + len(placed))
    return placed


async def put_at(connection: Any, event: JournalEvent) -> None:
    """Where the event says."""
    await connection.copy_records_to_table("journal_events", columns=_COLUMNS, records=[_row(event)])


_COLUMNS = (
    *("merchant_id", "authorization_id", "kind", "follow_on_id", "position", "operation", "amount_minor", "currency"),
    *("time_ms", "created_time_ms", "acquirer_id", "terminal_id", "channel", "entry", "response_code", "reference"),
    *("payer_key", "card_prefix"),
)


def _row(event: JournalEvent) -> tuple[Any, ...]:
    return (
        event.merchant_id, event.authorization_id, event.kind, event.follow_on_id, event.position, event.operation,
        event.money.amount_minor, event.money.currency, event.time_ms, event.created_time_ms, event.acquirer_id,
        event.terminal_id, event.channel, event.entry, event.response_code, event.reference, event.payer_key,
        event.card_prefix,
    )  # fmt: skip


def day_of(event: JournalEvent) -> date:
    return FIRST_DAY + timedelta(days=(event.time_ms - FIRST_MS) // DAY_MS)


def hour_of(event: JournalEvent) -> int:
    return (event.time_ms - FIRST_MS) % DAY_MS // 3_600_000


def is_sale(event: JournalEvent) -> bool:
    return event.kind is EventKind.CAPTURED or (
        event.kind is EventKind.APPROVED and event.operation is not Operation.PRE_AUTHORIZATION
    )


class Trade:
    """Of the events of one merchant and currency."""

    def __init__(self, events: Iterable[JournalEvent], currency: str) -> None:
        self._events = [
            each for each in events if each.money.currency == currency and each.kind is not EventKind.INCREMENTED
        ]

    def by(self, dimension: Dimension, days: Days) -> dict[str, Measures]:
        found: defaultdict[str, Measures] = defaultdict(Measures)
        for event in self.within(days):
            keys = {
                Dimension.HOUR: f"{hour_of(event):02}",
                Dimension.CHANNEL: event.channel,
                Dimension.ENTRY: str(int(event.entry)),
                Dimension.TERMINAL: event.terminal_id,
                Dimension.DECLINE: event.response_code if event.kind is EventKind.DECLINED else None,
                Dimension.BASKET: f"{basket_of(event.money.amount_minor):02}" if is_sale(event) else None,
                Dimension.WHOLE: "",
            }
            key = keys[dimension]
            if key is not None:
                found[key] += measured(event)
        return dict(found)

    def by_day(self, days: Days) -> dict[date, Measures]:
        found: defaultdict[date, Measures] = defaultdict(Measures)
        for event in self.within(days):
            found[day_of(event)] += measured(event)
        return dict(found)

    def by_weekday(self, days: Days) -> dict[tuple[int, int], Measures]:
        found: defaultdict[tuple[int, int], Measures] = defaultdict(Measures)
        for event in self.within(days):
            found[day_of(event).isoweekday(), hour_of(event)] += measured(event)
        return dict(found)

    def payers(self, days: Days) -> Payers:
        first: dict[bytes, date] = {}
        seen = set()
        for event in self._events:
            if is_sale(event) and event.payer_key:
                first[event.payer_key] = min(first.get(event.payer_key, date.max), day_of(event))
                if days.first <= day_of(event) <= days.last:
                    seen.add(event.payer_key)
        return Payers(len(seen), sum(first[each] >= days.first for each in seen))

    def within(self, days: Days) -> list[JournalEvent]:
        return [each for each in self._events if days.first <= day_of(each) <= days.last]


def measured(event: JournalEvent) -> Measures:
    amount_minor, undone = event.money.amount_minor, event.kind is EventKind.UNDONE
    refunded = event.kind is EventKind.REFUNDED
    return Measures(
        int(event.kind is EventKind.APPROVED), int(event.kind is EventKind.DECLINED),
        int(event.kind is EventKind.UNANSWERED), int(is_sale(event)), amount_minor if is_sale(event) else 0,
        int(refunded), amount_minor if refunded else 0, int(undone and amount_minor > 0), amount_minor if undone else 0,
    )  # fmt: skip
