"""A desk of risk control over the database, its people, and judgements to replay."""

import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from switch.domain.access import Caller, Role
from switch.domain.identity import computed_id
from switch.domain.risk import FactValue, Outcome
from switch.domain.risk_release import Release, ReleaseKind, Replay
from switch.domain.risk_replay import ReplayReport, Tally
from switch.ports.risk_desk import Candidate
from switch.risk.desk import RiskDesk
from switch.risk.facts import FACTS, FactType
from switch.risk.gate import GateRules
from switch.risk.packing import pack_facts
from switch.risk.replaying import Replaying
from switch.store.risk_releases import PostgresReleases
from switch.store.risk_replays import PostgresJudgementsRead, PostgresReplays

TABLES = ("risk_release_chunks", "risk_releases", "risk_replays", "risk_labels", "risk_judgements")
ANN = Caller("risk/ann", frozenset({Role.RISK}))
BOB = Caller("risk/bob", frozenset({Role.RISK}))
CAT = Caller("risk/cat", frozenset({Role.RISK}))
RULES, MODEL = ReleaseKind.RULES, ReleaseKind.MODEL
NOW_MS = 1_767_225_600_000  # 2026-01-01, 00:00 UTC
DAY_MS = 86_400_000
STARTER = 'name = "starter"\n'
_REASON = 'reason = { en = "too much", zh = "过多" }'
_FILLINGS: Mapping[FactType, FactValue] = {
    FactType.INT: 0, FactType.BOOL: False, FactType.TEXT: "", FactType.TEXTS: []
}  # fmt: skip


def rule(identity: str, when: str, action: str = "decline", **fields: Any) -> str:
    """As a document has it."""
    more = "".join(f"{name} = {value!r}\n".replace("'", '"') for name, value in fields.items())
    return (
        f'[[rules]]\nid = "{identity}"\nversion = 1\nowner = "ann"\nwhen = {when!r}\naction = "{action}"\n'
        f"{_REASON}\n{more}"
    )


def document(*rules: str, name: str = "test") -> str:
    return f'name = "{name}"\n' + "\n".join(rules)


def above(minor: int) -> str:
    return document(rule("above", f"amount_minor > {minor}"))


def facts_with(**fields: FactValue) -> dict[str, FactValue]:
    """Those that every payment has, with nothing known."""
    return {each.name: _FILLINGS[each.type] for each in FACTS if not each.needs} | fields


class SetClock:
    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000


def report_of(newly_declined: int = 0, judged: int = 1_000, declined_before: int = 0) -> ReplayReport:
    return ReplayReport(
        judged=Tally(judged), declined_before=Tally(declined_before), newly_declined=Tally(newly_declined)
    )


@dataclass
class ToldReplay:
    """What a replay is to find; what it was asked to judge by."""

    report: ReplayReport = field(default_factory=report_of)
    failure: Exception | None = None
    asked: list[tuple[Candidate, int, int]] = field(default_factory=list)

    async def __call__(
        self, candidate: Candidate, from_time_ms: int, to_time_ms: int, heard: Callable[[int], Awaitable[None]]
    ) -> ReplayReport:
        self.asked.append((candidate, from_time_ms, to_time_ms))
        if self.failure is not None:
            raise self.failure
        await heard(self.report.judged.payments)
        return self.report


@dataclass
class DeskScene:
    pool: asyncpg.Pool
    clock: SetClock
    replay: ToldReplay
    releases: PostgresReleases
    replays: PostgresReplays
    replaying: Replaying
    desk: RiskDesk

    async def added(self, content: str = STARTER, who: Caller = ANN) -> Release:
        return await self.desk.add(RULES, "test", content.encode(), who)

    async def replayed(self, release: Release, from_ms: int = 0, to_ms: int = 0, who: Caller = ANN) -> Replay:
        """To its end."""
        begun = await self.desk.replay(release.kind, release.version, from_ms, to_ms, who)
        await self.replaying.wait()
        return await self.desk.find_replay(begun.id)

    async def live(self, content: str = STARTER, confirmed: int = 0) -> Release:
        """Written by ann, approved by bob."""
        release = await self.added(content)
        await self.replayed(release)
        return await self.desk.approve(RULES, release.version, confirmed, BOB)

    async def audited(self) -> list[tuple[str, str, str]]:
        """(who, act, subject), in order."""
        rows = await self.pool.fetch("SELECT who, act, subject FROM audit_trail WHERE merchant_id = '' ORDER BY id")
        return [tuple(row) for row in rows]  # type: ignore[misc]


async def emptied(pool: asyncpg.Pool) -> None:
    await pool.execute("; ".join(f"DELETE FROM {table}" for table in (*TABLES, "audit_trail")))


async def desk_scene(pool: asyncpg.Pool, gate: GateRules | None = None) -> DeskScene:
    await emptied(pool)
    gate = gate or GateRules()
    clock, replay = SetClock(), ToldReplay()
    releases, replays = PostgresReleases(pool), PostgresReplays(pool)
    replaying = Replaying(replays, replay, clock, gate)
    judgements = PostgresJudgementsRead(pool)
    desk = RiskDesk(releases, replays, judgements, replaying, clock, gate, STARTER)
    return DeskScene(pool, clock, replay, releases, replays, replaying, desk)


# --- judgements -------------------------------------------------------------------------------------------------------

_numbers = itertools.count()
_STORE = """
INSERT INTO risk_judgements (
    merchant_id, id, outcome, response_code, score, model_score, rules_version, model_version, fired, shadow, absent,
    facts, subjects, amount_minor, currency, time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '', $13, $14, $15)
"""


@dataclass
class Judged:
    """A judgement to store: of a payment transmitted at time_ms."""

    facts: Mapping[str, FactValue]
    outcome: Outcome = Outcome.PASS
    time_ms: int = NOW_MS - 3_600_000
    response_code: str = ""
    fired: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    currency: str = "CNY"
    model_score: int | None = None
    rules_version: int = 0
    model_version: int = 0
    id: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.id = computed_id("acquirer", "m1", self.time_ms, f"desk-{next(_numbers)}")


async def store(pool: asyncpg.Pool, judged: Iterable[Judged]) -> None:
    rows = [
        (
            "m1", each.id, each.outcome, each.response_code, 0, each.model_score, each.rules_version,
            each.model_version, list(each.fired), [], list(each.absent), pack_facts(each.facts),
            each.facts["amount_minor"], each.currency, each.time_ms,
        )
        for each in judged
    ]  # fmt: skip
    await pool.executemany(_STORE, rows)
