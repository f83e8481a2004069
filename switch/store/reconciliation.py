"""Reconciliation in PostgreSQL: bills kept by version, the lease of a channel's day, and what a comparison came to.

A bill and a day's records are read and written over connections of their own, which may take their time; the pool's
are for payments.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from datetime import date
from typing import Final

from asyncpg import Record

from switch.domain.bill import BillLine
from switch.domain.identity import computed_id
from switch.domain.ledger import CHANNEL_FEES, PLATFORM, Leg, Posting, PostingKind, channel_account
from switch.domain.money import Money
from switch.domain.movement import Movement
from switch.domain.packed_lines import PackedLines, kind_from
from switch.domain.reconciliation import Found, Run, Side
from switch.store.break_findings import enter_findings
from switch.store.day_movements import day_movements
from switch.store.ledger import post
from switch.store.sessions import Connection, Pool, Sessions

Connect = Callable[[], AbstractAsyncContextManager[Connection]]

_CHUNK: Final = 2_000

_OPEN = "INSERT INTO reconciliations (channel, day) VALUES ($1, $2) ON CONFLICT DO NOTHING"
# $4: by itself, which the runner does only when its time has come.
_CLAIM = """
UPDATE reconciliations SET lease_until_ms = now_ms() + $3, fence = fence + 1
WHERE channel = $1 AND day = $2 AND lease_until_ms <= now_ms() AND (NOT $4 OR next_time_ms <= $5)
RETURNING fence, bill_version, attempts
"""
_KEEP_LEASE = """
UPDATE reconciliations SET lease_until_ms = now_ms() + $4
WHERE channel = $1 AND day = $2 AND fence = $3 AND lease_until_ms > now_ms()
"""
_GIVE_UP = """
UPDATE reconciliations SET lease_until_ms = 0, trouble = $4, attempts = attempts + 1, next_time_ms = $5
WHERE channel = $1 AND day = $2 AND fence = $3
"""
_FENCE = "SELECT fence FROM reconciliations WHERE channel = $1 AND day = $2 FOR UPDATE"
_CONCLUDE = """
UPDATE reconciliations
SET bill_version = $3, compared_time_ms = $4, runs = runs + 1, counts = $5, sides = $6, trouble = '', attempts = 0,
    next_time_ms = $7, lease_until_ms = 0
WHERE channel = $1 AND day = $2
"""
_LATEST = """
SELECT version, digest, lines FROM bills WHERE channel = $1 AND day = $2 ORDER BY version DESC LIMIT 1
"""
_KEEP_BILL = """
INSERT INTO bills (channel, day, version, digest, lines, who, kept_time_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_LINES = """
SELECT kind, reference, original_reference, channel_reference, amount_minor, currency, fee_minor, time_ms
FROM bill_lines WHERE channel = $1 AND day = $2 AND version = $3 ORDER BY number
"""
_LINE_COLUMNS: Final = (
    *("channel", "day", "version", "number", "kind", "reference", "original_reference", "channel_reference"),
    *("amount_minor", "currency", "fee_minor", "time_ms"),
)
_RUN = """
SELECT r.*, b.digest, b.lines,
       (SELECT count(*) FROM breaks AS k WHERE k.channel = r.channel AND k.day = r.day AND k.state IN (1, 2, 3))
           AS active
FROM reconciliations AS r
LEFT JOIN bills AS b ON b.channel = r.channel AND b.day = r.day AND b.version = r.bill_version
"""
_FIND_RUN = _RUN + "WHERE r.channel = $1 AND r.day = $2"
_RUNS = _RUN + "WHERE r.channel = $1 AND r.day < $2 ORDER BY r.day DESC LIMIT $3"
_FEES = "SELECT currency, posted_minor, revision FROM channel_fees WHERE channel = $1 AND day = $2"
_KEEP_FEE = """
INSERT INTO channel_fees (channel, day, currency, posted_minor, revision) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (channel, day, currency) DO UPDATE SET posted_minor = $4, revision = $5
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work at one channel's day, until the lease runs out. bill_version: compared last, 0: none."""

    channel: str
    day: date
    fence: int
    bill_version: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A bill as it is kept. superseded: the version before, which was another bill; 0: none."""

    version: int
    superseded: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a comparison came to. edges: (kind, reference) of lines that a neighbouring day's record matched.

    today: business day on which it is entered into the ledger. next_time_ms: None: never again by itself.
    """

    version: int
    counts: Counter[str]
    sides: dict[str, Side]
    found: list[Found]
    edges: list[tuple[int, str]]
    now_ms: int
    today: date
    next_time_ms: int | None


class LeaseLost(Exception):
    """Another process has taken the channel's day over: what this one found is not kept."""


class PostgresReconciliation:
    """Meets `switch.settlement.reconcile.Store`."""

    def __init__(self, pool: Pool, connect: Connect, lease_s: float = 120.0) -> None:
        self._sessions = Sessions(pool)
        self._connect = connect
        self._lease_ms = int(lease_s * 1000)

    async def claim(self, channel: str, day: date, due_ms: int | None) -> Claim | None:
        """None while somebody works at it, or if due_ms is given and its next time is later."""

        async def work(connection: Connection) -> Record | None:
            await connection.execute(_OPEN, channel, day)
            return await connection.fetchrow(_CLAIM, channel, day, self._lease_ms, due_ms is not None, due_ms or 0)

        row = await self._sessions.transaction(work)
        return Claim(channel, day, row["fence"], row["bill_version"], row["attempts"]) if row is not None else None

    async def keep_lease(self, claim: Claim) -> None:
        """Raises LeaseLost."""
        key = claim.channel, claim.day, claim.fence
        if await self._sessions.run(lambda each: each.execute(_KEEP_LEASE, *key, self._lease_ms)) == "UPDATE 0":
            raise LeaseLost(f"{claim.channel} {claim.day}")

    async def give_up(self, claim: Claim, trouble: str, next_time_ms: int | None) -> None:
        key = claim.channel, claim.day, claim.fence
        await self._sessions.run(lambda each: each.execute(_GIVE_UP, *key, trouble, next_time_ms))

    async def keep_bill(self, claim: Claim, lines: PackedLines, digest: bytes, who: str, now_ms: int) -> Kept:
        """The same bill again is the version that there is."""
        key = claim.channel, claim.day
        async with self._connect() as connection, connection.transaction():
            if await connection.fetchval(_FENCE, *key) != claim.fence:
                raise LeaseLost(f"{claim.channel} {claim.day}")
            latest = await connection.fetchrow(_LATEST, *key)
            if latest is not None and latest["digest"] == digest:
                return Kept(latest["version"], 0)
            before: int = latest["version"] if latest is not None else 0
            version = before + 1
            await connection.execute(_KEEP_BILL, *key, version, digest, len(lines), who, now_ms)
            records = ((*key, version, *row) for row in lines.rows())
            await connection.copy_records_to_table("bill_lines", records=records, columns=_LINE_COLUMNS)
        return Kept(version, before)

    async def kept_lines(self, channel: str, day: date) -> tuple[int, PackedLines] | None:
        """(version, lines) of the last bill, or None."""
        async with self._connect() as connection, connection.transaction(readonly=True):
            version = await connection.fetchval(_LATEST, channel, day)
            if version is None:
                return None
            lines = PackedLines()
            cursor = await connection.cursor(_LINES, channel, day, version)
            while rows := await cursor.fetch(_CHUNK):
                for row in rows:
                    lines.append(_line(row))
            return version, lines

    async def movements(self, channel: str, from_ms: int, until_ms: int) -> AsyncIterator[Movement]:
        async with self._connect() as connection:
            async for movement in day_movements(connection, channel, from_ms, until_ms):
                yield movement

    async def conclude(self, claim: Claim, outcome: Outcome) -> Run:
        """All of it in one commit, and nothing twice. Raises LeaseLost."""
        key = claim.channel, claim.day
        sides = {currency: asdict(each) for currency, each in outcome.sides.items()}
        async with self._connect() as connection, connection.transaction():
            if await connection.fetchval(_FENCE, *key) != claim.fence:
                raise LeaseLost(f"{claim.channel} {claim.day}")
            await connection.execute(
                _CONCLUDE, *key, outcome.version, outcome.now_ms, json.dumps(outcome.counts), json.dumps(sides),
                outcome.next_time_ms,
            )  # fmt: skip
            await enter_findings(connection, *key, outcome.found, outcome.edges, (outcome.now_ms, outcome.today))
            await self._enter_fees(connection, claim, outcome)
            row = await connection.fetchrow(_FIND_RUN, *key)
        assert row is not None
        return _run(row)

    async def _enter_fees(self, connection: Connection, claim: Claim, outcome: Outcome) -> None:
        """What the channel keeps lessens what it owes; of another bill of the same day only the difference."""
        channel, day = claim.channel, claim.day
        entered = {row["currency"]: row for row in await connection.fetch(_FEES, channel, day)}
        for currency in sorted({*entered, *outcome.sides}):
            before = entered.get(currency)
            posted, revision = (before["posted_minor"], before["revision"]) if before is not None else (0, 0)
            fees_minor = outcome.sides.get(currency, Side()).fees_minor
            if fees_minor == posted:
                continue
            delta = fees_minor - posted
            identity = computed_id(channel, f"fees {day} {currency}", outcome.now_ms, str(revision + 1))
            legs = (Leg(CHANNEL_FEES, delta), Leg(channel_account(channel), -delta))
            posting = Posting(
                PLATFORM, identity, PostingKind.CHANNEL_FEE, outcome.today.isoformat(), currency, legs,
                f"bill/{channel}/{day}/{outcome.version}", outcome.now_ms,
            )  # fmt: skip
            await post(connection, [posting])
            await connection.execute(_KEEP_FEE, channel, day, currency, fees_minor, revision + 1)

    async def find(self, channel: str, day: date) -> Run | None:
        row = await self._sessions.run(lambda each: each.fetchrow(_FIND_RUN, channel, day))
        return _run(row) if row is not None else None

    async def runs(self, channel: str, before: date, limit: int) -> list[Run]:
        """Newest day first."""
        rows = await self._sessions.run(lambda each: each.fetch(_RUNS, channel, before, limit))
        return [_run(row) for row in rows]


def _line(row: Record) -> BillLine:
    return BillLine(
        kind_from(row["kind"]), row["reference"], Money(row["amount_minor"], row["currency"]), row["time_ms"],
        row["original_reference"], row["channel_reference"], row["fee_minor"],
    )  # fmt: skip


def _run(row: Record) -> Run:
    return Run(
        channel=row["channel"],
        day=row["day"],
        bill_version=row["bill_version"],
        bill_digest=row["digest"] or b"",
        lines=row["lines"] or 0,
        compared_time_ms=row["compared_time_ms"],
        runs=row["runs"],
        counts=json.loads(row["counts"]),
        sides={currency: Side(**each) for currency, each in json.loads(row["sides"]).items()},
        active_breaks=row["active"],
        trouble=row["trouble"],
        next_time_ms=row["next_time_ms"] or 0,
    )
