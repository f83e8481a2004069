"""Lists and cases of risk control over the database, their people, and judgements that they are held against."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from desk_scene import ANN, NOW_MS, SetClock

from switch.domain.identity import computed_id
from switch.domain.risk import ListKind, Outcome, Subject
from switch.domain.risk_case import CaseFile
from switch.domain.risk_listing import ListingBatch, ListingEntry
from switch.ports.risk import Alert
from switch.risk.case_desk import CaseDesk
from switch.risk.listing_desk import ListingDesk, Wanted
from switch.risk.lists_watch import ListsWatch
from switch.risk.monitor import LiveRisk
from switch.risk.packing import pack_facts, pack_subjects
from switch.risk.poisoning import PoisonRules
from switch.risk.rules import RuleSet
from switch.store.risk_cases import PostgresAlerts, PostgresCases
from switch.store.risk_listings import PostgresListings
from switch.store.risk_traffic import PostgresTraffic

DAY_MS = 86_400_000
TABLES = (
    *("risk_case_events", "risk_case_payments", "risk_alerts", "risk_cases", "risk_labels", "risk_shared_objects"),
    *("risk_listing_batches", "risk_listings", "risk_judgements", "journal_events", "feed_cursors", "disputes"),
)
_numbers = itertools.count()
_STORE = """
INSERT INTO risk_judgements (
    merchant_id, id, outcome, response_code, score, model_score, rules_version, model_version, fired, shadow, absent,
    facts, subjects, amount_minor, currency, time_ms)
VALUES ($1, $2, $3, '', $4, NULL, 0, 0, $5, '{}', '{}', $6, $7, 1200, 'CNY', $8)
"""
_TELL = """
INSERT INTO journal_events (
    merchant_id, authorization_id, kind, follow_on_id, position, operation, amount_minor, currency, time_ms,
    created_time_ms, acquirer_id, terminal_id, channel, entry, response_code, reference, payer_key, card_prefix)
VALUES ($1, $2, $3, '00000000-0000-0000-0000-000000000000', $4, 1, 1200, 'CNY', $5, $5, 'acme', 't1', '', 1, '59',
    '', '', '')
"""


def key(number: int) -> str:
    """
    >>> key(255)
    '000000000000000000000000000000ff'
    """
    return f"{number:032x}"


@dataclass
class CaseScene:
    pool: asyncpg.Pool
    clock: SetClock
    listings: PostgresListings
    lists: ListingDesk
    desk: CaseDesk
    cases: PostgresCases
    alerts: PostgresAlerts
    live: LiveRisk
    watch: ListsWatch

    async def block(self, subject: Subject, *keys: str, name: str = "stolen", expires_ms: int = 0) -> ListingBatch:
        entries = [ListingEntry(subject, each, expires_ms) for each in keys]
        return await self.lists.add(Wanted(ListKind.BLOCK, name, "a test", ANN.name, entries), ANN)

    async def blocked(self, subject: Subject, of: str) -> bool:
        """In memory, after a look."""
        await self.watch.look()
        return bool(self.live.lists.standing({subject: of}, self.clock.time_ms()).blocks)

    async def judged(
        self, subjects: Mapping[Subject, str], outcome: Outcome = Outcome.PASS, merchant: str = "m1",
        fired: tuple[str, ...] = (), score: int = 0, time_ms: int = NOW_MS - 3_600_000,
    ) -> UUID:  # fmt: skip
        identity = computed_id("acme", merchant, time_ms, f"case-{next(_numbers)}")
        await self.pool.execute(
            _STORE, merchant, identity, outcome, score, list(fired), pack_facts({}), pack_subjects(subjects), time_ms
        )
        return identity

    async def told(self, identity: UUID, merchant: str = "m1", kind: int = 2) -> None:
        """The feed has its end."""
        last = await self.pool.fetchval("SELECT coalesce(max(position), 0) FROM journal_events")
        await self.pool.execute(_TELL, merchant, identity, kind, last + 1, NOW_MS)

    async def opened(self, subject: Subject = Subject.CARD, of: str = key(1), **fields: object) -> UUID:
        """A case, by an alert; its id."""
        await self.alerts.raise_alerts([alert(subject, of, **fields)])
        found: UUID = await self.pool.fetchval(
            "SELECT id FROM risk_cases WHERE subject = $1 AND key = $2 AND state = 1", subject, of
        )
        return found

    async def file(self, case_id: UUID) -> CaseFile:
        return await self.desk.file(case_id)

    async def audited(self) -> list[str]:
        rows = await self.pool.fetch("SELECT who, act FROM audit_trail WHERE merchant_id = '' ORDER BY id")
        return [f"{row['who']} {row['act'].partition('.')[2]}" for row in rows]

    async def labels(self) -> dict[UUID, tuple[str, int]]:
        rows = await self.pool.fetch("SELECT authorization_id, source, label FROM risk_labels")
        return {UUID(int=row["authorization_id"].int): (row["source"].partition("/")[0], row["label"]) for row in rows}


def alert(subject: Subject = Subject.CARD, of: str = key(1), **fields: object) -> Alert:
    values: dict[str, object] = {
        "id": f"alert-{next(_numbers)}", "kind": "credential_stuffing", "subject": subject, "key": of, "severity": 400,
        "time_ms": NOW_MS, "text": "something is odd", "facts": {"accounts": 12},
    }  # fmt: skip
    return Alert(**(values | fields))  # type: ignore[arg-type]


async def case_scene(pool: asyncpg.Pool, rules: PoisonRules | None = None) -> CaseScene:
    await pool.execute("; ".join(f"DELETE FROM {table}" for table in (*TABLES, "audit_trail")))
    await pool.execute("UPDATE risk_listings_turn SET position = 0, purged = 0, live = 0")
    clock, listings, traffic = SetClock(), PostgresListings(pool), PostgresTraffic(pool)
    lists = ListingDesk(listings, traffic, clock, rules or PoisonRules())
    cases = PostgresCases(pool)
    live = LiveRisk(RuleSet([]))
    watch = ListsWatch(listings, live, clock)
    await watch.begin()
    desk = CaseDesk(cases, lists, traffic, clock, 30)
    return CaseScene(pool, clock, listings, lists, desk, cases, PostgresAlerts(pool), live, watch)
