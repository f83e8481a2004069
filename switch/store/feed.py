"""The journal's feed: the one follower that turns the journal into events, each exactly once (docs/feed.md).

Every process runs one; whoever locks the feed's cursor works, the others pass. Positions are given under that lock, so
whoever has read up to a position has missed none below it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from typing import Final

import structlog

from switch.domain.identity import lowest_id_at
from switch.ports import StoreUnavailable
from switch.store.feed_sql import FEED
from switch.store.right_of_way import RightOfWay
from switch.store.sessions import Connection, Pool, Sessions

log = structlog.get_logger()

# Rows that a step works at most of each table, or one millisecond's.
_BATCH: Final = 20_000
_POLL_S: Final = 0.4
_FAILED_PAUSE_S: Final = 5.0

# Nothing of the journal is older. Windows grow while they are nearly empty, so the years before it cost little.
_BEGINNING_MS: Final = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000)
_FIRST_WIDTH_MS: Final = 3_600_000
_WIDEST_MS: Final = 64 * 86_400_000

# What was answered within this time is read again and again: the processes' clocks differ, and commits take a moment.
_SETTLE_MS: Final = 3_000
# The second reading stays so far behind.
_AGAIN_MS: Final = 60_000
# A process's clock may be ahead of the database's.
_AHEAD_MS: Final = 600_000
# What was answered in a window began at most so long before it (an order waits for its payer), and its id at most so
# long before that (DESIGN 3.4). Whatever ends later ends by a follow-up, and is found by that.
_ID_BEFORE_MS: Final = 49 * 3_600_000
_ID_AFTER_MS: Final = 3_600_000
_STATEMENT_TIMEOUT_S: Final = 60.0

_SHANGHAI: Final = timezone(timedelta(hours=8))  # no summer time since 1991

_BEGIN = "INSERT INTO feed_cursors (consumer, position) VALUES ('feed', 0) ON CONFLICT DO NOTHING"
_CLAIM = "SELECT position FROM feed_cursors WHERE consumer = 'feed' FOR UPDATE SKIP LOCKED"
_CLAIM_WAITING = "SELECT position FROM feed_cursors WHERE consumer = 'feed' FOR UPDATE"
_ADVANCE = "UPDATE feed_cursors SET position = position + $1 WHERE consumer = 'feed'"
_REACHED = "SELECT now_ms() AS now_ms, (SELECT until_ms FROM feed_readings WHERE reading = $1) AS until_ms"
_REACH = """
INSERT INTO feed_readings (reading, until_ms) VALUES ($1, $2)
ON CONFLICT (reading) DO UPDATE SET until_ms = EXCLUDED.until_ms
"""
# Windows differ in the days that they touch: planned with their values, unlike the pool's look-ups.
_PLAN = f"""
SET LOCAL plan_cache_mode = force_custom_plan;
SET LOCAL work_mem = '64MB';
SET LOCAL statement_timeout = {int(_STATEMENT_TIMEOUT_S * 1000)}
"""

# (events that were new, seconds behind), after every step.
Observe = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Step:
    """events: that were new. more: not at the end yet. lag_s: how far behind the database's clock it is."""

    events: int
    more: bool
    lag_s: float


@dataclass(frozen=True, slots=True)
class _Window:
    """What one transaction read. rows: of the table that had most. until_ms: how far the reading has come for good."""

    from_ms: int
    to_ms: int
    now_ms: int
    until_ms: int
    rows: int = 0
    events: int = 0


@dataclass(slots=True)
class _Widths:
    """Windows that hold no more than a batch, and not much less."""

    batch: int
    width_ms: int = _FIRST_WIDTH_MS

    @property
    def limit(self) -> int:
        return self.batch + 1 if self.width_ms > 1 else 1 << 40

    def held(self, rows: int) -> bool:
        """Whether all of the last window was read; chooses the width of the next."""
        if rows > self.batch and self.width_ms > 1:
            self.width_ms = max(1, self.width_ms // 4)
            return False
        if rows < self.batch // 3:
            self.width_ms = min(self.width_ms * 2, _WIDEST_MS)
        return True


@dataclass(slots=True)
class _Reading:
    """One way through the journal, by the time at which payments were answered: in rounds of windows that end at now
    (delay_ms behind it) and begin again where the last one had settled.

    at_ms: where the next window begins, 0 between rounds. settled_ms: what this round reads before is read for good.
    """

    name: str
    beginning_ms: int
    delay_ms: int
    settle_ms: int
    widths: _Widths
    at_ms: int = 0
    settled_ms: int = 0

    def next(self, now_ms: int, until_ms: int | None) -> _Window:
        """until_ms: how far it has come, None at the very first."""
        begun_ms = until_ms if until_ms is not None else self.beginning_ms or now_ms - self.delay_ms
        if self.at_ms <= begun_ms:
            self.at_ms, self.settled_ms = begun_ms, now_ms - max(self.settle_ms, self.delay_ms)
        to_ms = min(self.at_ms + self.widths.width_ms, now_ms - self.delay_ms)
        return _Window(self.at_ms, max(self.at_ms, to_ms), now_ms, max(begun_ms, min(to_ms, self.settled_ms)))

    def passed(self, window: _Window) -> Step:
        """Once what was read is committed."""
        if not self.widths.held(window.rows):
            return Step(window.events, True, max(0, window.now_ms - window.from_ms) / 1000)
        more = window.to_ms < window.now_ms - self.delay_ms
        self.at_ms = window.to_ms if more else 0
        return Step(window.events, more, max(0, window.now_ms - window.to_ms) / 1000)


class JournalFeed:
    """right_of_way: when a step may be taken; whoever calls `step` or `catch_up` does not wait. settle_ms: how much the
    clocks of the processes, and their commits, may be behind the database's for an event to come at once; later ones
    come with the second reading, a minute later, or when their day is completed.
    """

    def __init__(
        self, pool: Pool, observe: Observe = lambda _events, _lag_s: None, *, batch: int = _BATCH,
        settle_ms: int = _SETTLE_MS, again_ms: int = _AGAIN_MS, right_of_way: RightOfWay | None = None,
    ) -> None:  # fmt: skip
        self._sessions = Sessions(pool)
        self._observe = observe
        self._batch = batch
        self._first = _Reading("first", _BEGINNING_MS, -_AHEAD_MS, settle_ms, _Widths(batch))
        self._again = _Reading("again", 0, again_ms, again_ms, _Widths(batch))
        self._right_of_way = right_of_way or RightOfWay()
        self._at_end_s = self._right_of_way.clock_s()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="journal feed")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def catch_up(self) -> int:
        """Read until the end is reached; returns how many events were new."""
        events = 0
        while True:
            step = await self.step()
            events += step.events
            if not step.more:
                return events

    async def step(self) -> Step:
        """One window of the first reading and, where that is at its end, one of the second. Raises StoreUnavailable."""
        step = await self._step(self._first)
        if not step.more:
            again = await self._step(self._again)
            step = Step(step.events + again.events, again.more, step.lag_s)
        self._observe(step.events, step.lag_s)
        return step

    async def complete_day(self, day: date) -> int:
        """Before a day is closed: whatever the readings missed of it. How many events were new; 0 is the rule."""
        begin = datetime(day.year, day.month, day.day, tzinfo=_SHANGHAI)
        from_ms, until_ms = (int(each.timestamp() * 1000) for each in (begin, begin + timedelta(days=1)))
        return await self.complete(from_ms, until_ms)

    async def complete(self, from_ms: int, until_ms: int) -> int:
        """The same of what was answered in [from_ms, until_ms). Waits for its turn; raises StoreUnavailable."""
        widths, at_ms, events = _Widths(self._batch), from_ms, 0
        while at_ms < until_ms:
            window = _Window(at_ms, min(at_ms + widths.width_ms, until_ms), 0, 0)
            rows, found = await self._sessions.transaction(partial(_complete, window, widths.limit))
            events += found
            if widths.held(rows):
                at_ms = window.to_ms
        if events:
            log.warning("feed_completed", from_ms=from_ms, until_ms=until_ms, events=events)
        return events

    async def _step(self, reading: _Reading) -> Step:
        async def work(connection: Connection) -> tuple[_Window, bool]:
            await connection.execute(_PLAN)
            await connection.execute(_BEGIN)
            position = await connection.fetchval(_CLAIM)
            reached = await connection.fetchrow(_REACHED, reading.name)
            assert reached is not None  # a row without a table
            window = reading.next(reached["now_ms"], reached["until_ms"])
            if position is None:
                return window, False
            if window.to_ms <= window.from_ms:
                if reached["until_ms"] is None:
                    await connection.execute(_REACH, reading.name, window.until_ms)
                return window, False
            rows, events = await _feed(connection, position, window, reading.widths.limit)
            if rows < reading.widths.limit:
                await connection.execute(_REACH, reading.name, window.until_ms)
            return _Window(window.from_ms, window.to_ms, window.now_ms, window.until_ms, rows, events), True

        window, worked = await self._sessions.transaction(work)
        if worked:
            return reading.passed(window)
        reading.at_ms = 0
        return Step(0, False, max(0, window.now_ms - window.from_ms - reading.settle_ms) / 1000)

    async def _run(self) -> None:
        while True:
            async with self._right_of_way.turn(lambda: self._right_of_way.clock_s() - self._at_end_s):
                pause_s = await self._attempt()
            await asyncio.sleep(pause_s)

    async def _attempt(self) -> float:
        """One step, whatever becomes of it; how long until the next, in seconds."""
        at_s = self._right_of_way.clock_s()
        try:
            if (await self.step()).more:
                return 0
            self._at_end_s = at_s
        except StoreUnavailable as error:
            log.warning("feed_not_written", reason=str(error))
        except Exception:
            log.exception("feed_failed")
            return _FAILED_PAUSE_S
        return _POLL_S


async def _complete(window: _Window, limit: int, connection: Connection) -> tuple[int, int]:
    await connection.execute(_PLAN)
    await connection.execute(_BEGIN)
    position = await connection.fetchval(_CLAIM_WAITING, timeout=_STATEMENT_TIMEOUT_S)
    return await _feed(connection, position, window, limit)


async def _feed(connection: Connection, position: int, window: _Window, limit: int) -> tuple[int, int]:
    """(rows read of the table that had most, new events). The cursor is locked."""
    lowest = lowest_id_at(max(0, window.from_ms - _ID_BEFORE_MS))
    highest = lowest_id_at(window.to_ms + _ID_AFTER_MS)
    done = await connection.fetchrow(
        FEED, window.from_ms, window.to_ms, lowest, highest, limit, position, timeout=_STATEMENT_TIMEOUT_S
    )
    assert done is not None  # an aggregate always has one row
    if done["events"]:
        await connection.execute(_ADVANCE, done["events"])
    return done["rows"], done["events"]
