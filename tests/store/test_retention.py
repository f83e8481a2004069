"""What is old goes, and nothing that somebody still needs: each guard by itself, on a real journal."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from books import EMPTY

from switch.domain.authorization import Authorization
from switch.domain.identity import computed_id, lowest_id_at
from switch.domain.states import Decision, Operation, State
from switch.ports import StoreUnavailable
from switch.store.heavy import HeavyConnections
from switch.store.journal import PostgresJournal
from switch.store.journal_days import HOLDS
from switch.store.ledger_check import LedgerChecker
from switch.store.partitions import ensure_partitions
from switch.store.retention import Housekeeping, Retention, Rules

OLD_MS = int(datetime(2021, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000
NOW_MS = OLD_MS + 1000 * DAY_MS
OLD_DAYS = ("authorizations_20210301", "authorizations_20210302")
JUDGED = ("risk_judgements_20210301", "risk_judgements_20210302")
RULES = Rules(journal_days=400, transactions_days=400, webhooks_days=30)
NIL = UUID(int=0)

_CLEAN = "; ".join(
    [
        EMPTY,
        *(f"DELETE FROM {table}" for table in ("disputes", "breaks", "reconciliations", "merchant_refunds")),
        *(f"DELETE FROM {table}" for table in ("order_payments", "feed_readings", "merchant_transactions")),
        *(f"DELETE FROM {table}" for table in ("webhook_deliveries", "webhook_attempts", "webhook_alerts")),
        *(f"DROP TABLE IF EXISTS {name}" for name in (*OLD_DAYS, *JUDGED)),
        f"UPDATE housekeeping SET lease_until_ms = 0, done_time_ms = 0, journal_from = '{NIL}'",
    ]
)


@pytest.fixture
async def old(
    database: asyncpg.Pool, journal: PostgresJournal, make_intent: Callable[..., Authorization]
) -> AsyncIterator[Authorization]:
    """One approved sale of a day that is long over, read by everybody, reconciled and closed; nothing holds it."""
    await database.execute(_CLEAN)
    await ensure_partitions(database, OLD_MS, days_back=0, days_ahead=1)
    sale = make_intent(
        id=computed_id("acquirer-1", "m1", OLD_MS, "k"), merchant_id="m1", created_time_ms=OLD_MS, channel="unionpay"
    )
    assert await journal.record_intents([sale]) == [None]
    sale.state, sale.decision, sale.response_code = State.APPROVED, Decision.APPROVED, "00"
    sale.approved_minor = sale.captured_minor = sale.money.amount_minor
    sale.answered_time_ms = OLD_MS + 20
    assert await journal.record_outcomes([sale], [0.0]) == [True]
    await database.execute(
        "INSERT INTO reconciliations (channel, day, compared_time_ms)"
        " VALUES ('unionpay', '2021-03-01', 1), ('unionpay', '2021-03-02', 1), ('unionpay', '2021-03-03', 1)"
    )
    await database.execute("UPDATE ledger_books SET closed_through = '2021-03-10', sealed_through = '2021-03-10'")
    await database.execute("UPDATE ledger_followed SET position = 10")
    await database.execute("INSERT INTO feed_cursors VALUES ('feed', 10), ('transactions', 10)")
    await database.execute("INSERT INTO feed_readings VALUES ('first', $1), ('again', $1)", OLD_MS + 9 * DAY_MS)
    await event(database, sale.id, 1)
    yield sale
    await database.execute(_CLEAN)


async def event(database: asyncpg.Pool, authorization_id: UUID, position: int) -> None:
    await database.execute(
        "INSERT INTO journal_events VALUES ('m1', $1, 1, $2, $3, 1, 10000, 'CNY', $4, $4, 'acquirer-1', 't1',"
        " 'unionpay', 1, '00', '', '', '')",
        authorization_id, NIL, position, OLD_MS,
    )  # fmt: skip


def retention(dsn: str, rules: Rules = RULES) -> Retention:
    return Retention(HeavyConnections(dsn), rules, lambda: NOW_MS)


def keeping(database: asyncpg.Pool, dsn: str, rules: Rules = RULES, batch: int = 1000) -> Housekeeping:
    return Housekeeping(database, retention(dsn, rules), batch, 0.0)


async def days_there(database: asyncpg.Pool) -> list[str]:
    wanted = [*OLD_DAYS, *JUDGED]
    rows = await database.fetch("SELECT relname FROM pg_class WHERE relname = ANY ($1) ORDER BY 1", wanted)
    return [row["relname"] for row in rows]


async def test_a_day_that_nobody_needs_goes_with_what_belongs_to_it(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    await _follow_up(database, old.id, state=2)
    await _follow_on(database, old.id, State.APPROVED)
    assert [(each.what, each.held) for each in await retention(postgres_dsn).show()][:2] == [
        ("journal day 2021-03-01", ""), ("journal day 2021-03-02", ""),
    ]  # fmt: skip
    assert await keeping(database, postgres_dsn).look(1) == 2 + 3
    assert await days_there(database) == []
    for table in ("journal_events", "follow_ups", "follow_ons"):
        assert await database.fetchval(f"SELECT count(*) FROM {table} WHERE merchant_id = 'm1'") == 0, table
    assert await database.fetchval("SELECT journal_from FROM housekeeping") == lowest_id_at(
        int(datetime(2021, 3, 3, tzinfo=UTC).timestamp() * 1000)
    )


async def _follow_up(database: asyncpg.Pool, authorization_id: UUID, state: int) -> None:
    await database.execute(
        "INSERT INTO follow_ups (merchant_id, authorization_id, operation, payer_key, created_time_ms, state,"
        " first_due_time_ms, due_time_ms, attempts, lease_until_ms, fence, trace, detail)"
        " VALUES ('m1', $1, 6, '', $2, $3, 0, 9999999999999, 0, 0, 0, '{}', '')",
        authorization_id, OLD_MS, state,
    )  # fmt: skip


async def _follow_on(
    database: asyncpg.Pool, authorization_id: UUID, state: State, begun_ms: int = OLD_MS, answered_ms: int = OLD_MS
) -> None:
    await database.execute(
        "INSERT INTO follow_ons VALUES ('m1', $1, $2, 'acquirer-1', $3, 100, 'CNY', '', $4, '', '', '', '{}', $5, $6)",
        uuid4(), authorization_id, Operation.REFUND, state, begun_ms, answered_ms,
    )  # fmt: skip


async def _dispute(database: asyncpg.Pool, old: UUID, state: int) -> None:
    await database.execute(
        "INSERT INTO disputes VALUES ('m1', $1, $2, 'unionpay', 2, $3, 'case', 100, 'CNY', '', 1, '', '', '', '', 0, 0,"
        " 0, 1)",
        uuid4(), old, state,
    )  # fmt: skip


async def _refund(database: asyncpg.Pool, old: UUID) -> None:
    await database.execute(
        "INSERT INTO merchant_refunds VALUES ('m1', $1, $2, 'key', 100, 'CNY', '', 1, '', 1, '', '', '2021-03-01',"
        " false, $3, '', 0, '', '', 0, 0, 0)",
        uuid4(), old, NIL,
    )  # fmt: skip


async def _order_payment(database: asyncpg.Pool, old: UUID) -> None:
    await database.execute(
        "INSERT INTO order_payments VALUES ('m1', $1, $2, '', '', '', '', 1, '', 0, 2, '', '', '', 0, 0, 0, 0,"
        " 9999999999999, 0, 0)",
        old, uuid4(),
    )  # fmt: skip


async def _break(database: asyncpg.Pool, day: str, authorization_id: UUID | None) -> None:
    await database.execute(
        "INSERT INTO breaks (channel, id, day, class, state, kind, reference, names, detail, record, merchant_id,"
        " authorization_id, our_currency, their_currency, time_ms, difference_minor, currency, channel_reference,"
        " opened_time_ms) VALUES ('unionpay', $1, $2, 1, 1, 1, '', '{}', '', '', 'm1', $3, '', '', 0, 0, '', '', 0)",
        uuid4(), date.fromisoformat(day), authorization_id,
    )  # fmt: skip


# By the reason: what makes it hold the day.
GUARDED: dict[str, Callable[[asyncpg.Pool, UUID], Any]] = {
    "payments that have not ended": lambda pool, old: pool.execute(
        "UPDATE authorizations SET state = 5 WHERE id = $1", old
    ),
    "captures, refunds or reversals in flight": lambda pool, old: _follow_on(pool, old, State.UNKNOWN),
    "open follow-ups, or dead ones": lambda pool, old: _follow_up(pool, old, state=3),
    "what has just ended, which the feed has not told": lambda pool, old: _follow_on(
        pool, old, State.APPROVED, answered_ms=OLD_MS + 10 * DAY_MS
    ),
    "refunds that are asked for": _refund,
    "orders being paid": _order_payment,
    "open disputes": lambda pool, old: _dispute(pool, old, state=4),
    "open breaks": lambda pool, old: _break(pool, "2021-05-05", old),
    "a channel's day that is not reconciled": lambda pool, _: pool.execute(
        "UPDATE reconciliations SET compared_time_ms = 0 WHERE day = '2021-03-02'"
    ),
    "a business day that is not closed": lambda pool, _: pool.execute(
        "UPDATE ledger_books SET closed_through = '2021-03-01'"
    ),
    "the feed, which has not read so far": lambda pool, _: pool.execute(
        "UPDATE feed_readings SET until_ms = $1 WHERE reading = 'again'", OLD_MS + DAY_MS
    ),
    "a consumer that is behind": lambda pool, _: pool.execute("INSERT INTO feed_cursors VALUES ('analytics', 0)"),
}


def test_every_guard_has_its_test() -> None:
    assert set(HOLDS) == {*GUARDED, "payments outside of their day's partition"}


@pytest.mark.parametrize("why", GUARDED)
async def test_what_is_needed_stays(database: asyncpg.Pool, postgres_dsn: str, old: Authorization, why: str) -> None:
    await GUARDED[why](database, old.id)
    [day] = await retention(postgres_dsn).old_days()
    assert (str(day.day), day.held) == ("2021-03-01", why)
    assert await retention(postgres_dsn).days.drop(day) == why  # looked for once more
    assert await keeping(database, postgres_dsn).look(1) == 0
    assert await days_there(database) == [*OLD_DAYS, *JUDGED]  # later days wait behind the one that is held
    assert await database.fetchval("SELECT count(*) FROM journal_events") == 1


async def test_payments_go_on_while_it_is_looked_for(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking takes its time, and whatever the road asks of the journal locks all its days."""
    locked = """
        SELECT 1 FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock'
            AND relation IN ('authorizations'::regclass, 'authorizations_20210301'::regclass)
    """
    monkeypatch.setitem(HOLDS, "the journal is locked", locked)
    [day, _] = await retention(postgres_dsn).old_days()
    assert await retention(postgres_dsn).days.drop(day) == ""


async def test_who_reads_the_journal_keeps_the_day_and_is_not_waited_for_by_payments(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    days = retention(postgres_dsn).days
    [day, _] = await retention(postgres_dsn).old_days()
    async with database.acquire() as reader, reader.transaction():
        await reader.execute("LOCK TABLE ONLY authorizations IN ACCESS SHARE MODE")
        with pytest.raises(StoreUnavailable, match="LockNotAvailable"):
            await days.drop(day)
        # Nothing of ours waits in front of those who come after us.
        await reader.fetchval("SELECT count(*) FROM authorizations")
    assert await days.drop(day) == ""


async def test_what_began_meanwhile_holds_the_day(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    """A refund that was asked for, and ended, between the look and the locks."""
    days = retention(postgres_dsn).days
    [day, _] = await retention(postgres_dsn).old_days()
    now_ms = await database.fetchval("SELECT now_ms()")
    await _follow_on(database, old.id, State.APPROVED, begun_ms=now_ms)
    assert await days.drop(day) == "captures, refunds or reversals in flight"
    assert await days_there(database) == [*OLD_DAYS, *JUDGED]


async def test_judgements_without_a_day_of_their_own_go_with_their_payments(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    await database.execute(f"DROP TABLE {JUDGED[0]}")  # the payment came before the day was made
    kept = computed_id("acquirer-1", "m1", OLD_MS + 5 * DAY_MS, "k")
    for identity in (old.id, kept):
        await database.execute(
            "INSERT INTO risk_judgements (merchant_id, id, outcome, response_code, score, rules_version, model_version,"
            " fired, shadow, failed, absent, facts, subjects, amount_minor, currency, time_ms)"
            " VALUES ('m1', $1, 1, '', 0, 0, 0, '{}', '{}', '{}', '{}', '', '', 1, 'CNY', 0)",
            identity,
        )
    await keeping(database, postgres_dsn).look(1)
    # The rest of the table is other tests'.
    ours = "FROM risk_judgements_default WHERE merchant_id = 'm1' AND id = ANY($1)"
    left = [row["id"] for row in await database.fetch(f"SELECT id {ours}", [old.id, kept])]
    await database.execute(f"DELETE {ours}", [old.id, kept])
    assert left == [kept]


async def test_payments_of_the_default_partition_hold_their_day(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    await database.execute(f"ALTER TABLE authorizations DETACH PARTITION {OLD_DAYS[0]}")
    await database.execute(f"INSERT INTO authorizations SELECT * FROM {OLD_DAYS[0]}")
    await database.execute(f"DROP TABLE {OLD_DAYS[0]}")
    first, end = (lowest_id_at(OLD_MS // DAY_MS * DAY_MS + days * DAY_MS) for days in (0, 1))
    why = "payments outside of their day's partition"
    async with database.acquire() as connection:
        statement = f"SELECT EXISTS ({HOLDS[why]})"
        assert await connection.fetchval(statement, first, end)
        assert not await connection.fetchval(statement, end, lowest_id_at(OLD_MS + 9 * DAY_MS))
    await database.execute("DELETE FROM authorizations_default")


async def test_a_break_of_the_day_holds_it_though_it_names_no_payment(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    await _break(database, "2021-03-02", None)
    [day] = await retention(postgres_dsn).old_days()
    assert day.held == "open breaks"


async def test_a_young_day_and_zero_days_keep_all(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    assert await retention(postgres_dsn, Rules(1001, 0, 0)).old_days() == []
    assert await retention(postgres_dsn, Rules(0, 0, 0)).old_days() == []
    assert await keeping(database, postgres_dsn, Rules(0, 0, 0)).look(1) == 0
    assert await days_there(database) == [*OLD_DAYS, *JUDGED]


async def test_the_ledger_is_right_without_the_events_that_went(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    """Its entries of a dropped day are kept, and are held against nothing any more."""
    await database.execute("UPDATE ledger_books SET closed_through = NULL, sealed_through = NULL")
    await database.execute(
        "INSERT INTO ledger_entries VALUES ('m1', $2, 1, '2021-03-01', 1, 'channel:unionpay', 10000, 'CNY', $1, '', 1),"
        " ('m1', $2, 2, '2021-03-01', 1, 'merchant', -10000, 'CNY', $1, '', 1)",
        old.id, uuid4(),
    )  # fmt: skip
    checker = LedgerChecker(HeavyConnections(postgres_dsn))
    assert await checker.check("") == []
    await database.execute("UPDATE ledger_followed SET position = 0")  # nothing waits for a closing
    await database.execute("UPDATE feed_cursors SET position = 10")
    assert await keeping(database, postgres_dsn).look(1) == 2 + 1
    await database.execute("UPDATE ledger_followed SET position = 10")
    assert await database.fetchval("SELECT count(*) FROM journal_events") == 0
    assert await checker.check("") == []


async def test_events_that_a_consumer_has_not_read_stay_after_their_day(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    await database.execute("UPDATE housekeeping SET journal_from = $1", lowest_id_at(OLD_MS + DAY_MS))
    await database.execute("UPDATE feed_cursors SET position = 0 WHERE consumer = 'transactions'")
    assert await retention(postgres_dsn).delete_of_dropped_days(100) == 0
    await database.execute("UPDATE feed_cursors SET position = 1 WHERE consumer = 'transactions'")
    assert await retention(postgres_dsn).delete_of_dropped_days(100) == 1


async def test_deliveries_go_with_their_attempts_and_those_that_wait_stay(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    await database.execute(
        "INSERT INTO webhook_deliveries SELECT 'm1', gen_random_uuid(), $1, 'ping', '{}', 1 + n % 3, 1, 1, 0, 0, 0,"
        " CASE WHEN n < 6 THEN $2::bigint ELSE $3 END, 0 FROM generate_series(0, 8) AS n",
        uuid4(), NOW_MS - 31 * DAY_MS, NOW_MS - 29 * DAY_MS,
    )  # fmt: skip
    await database.execute(
        "INSERT INTO webhook_attempts SELECT merchant_id, id, n, 0, 0, 200, '', '' FROM webhook_deliveries,"
        " generate_series(1, 2) AS n"
    )
    assert await keeping(database, postgres_dsn, Rules(0, 0, 30), batch=3).look(1) == 4
    assert await database.fetchval("SELECT count(*) FROM webhook_deliveries") == 5
    assert await database.fetchval("SELECT count(*) FROM webhook_attempts") == 10


async def test_a_merchants_list_keeps_what_may_change_or_is_disputed(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    async def listed(merchant: str, name: str, state: int, time_ms: int = OLD_MS) -> UUID:
        identity = computed_id("a", merchant, time_ms, name)
        await database.execute(
            "INSERT INTO merchant_transactions VALUES ($1, $2, 0, 0, 0, 1, 1, 1, 0, 1, 1, $3, 'CNY', '', '', '', '',"
            " '', '', '', '', '', '', '', '', '')",
            merchant, identity, state,
        )  # fmt: skip
        return identity

    for merchant in ("m1", "m2", "m3"):
        for number in range(5):
            await listed(merchant, f"gone {number}", 3)
    kept = {await listed("m2", "open", 5), await listed("m1", "young", 3, NOW_MS - 399 * DAY_MS)}
    disputed = await listed("m1", "disputed", 3)
    await _dispute(database, disputed, state=1)
    refunded = await listed("m1", "refunded", 3)
    await _refund(database, refunded)
    shown = {each.what: each.rows for each in await retention(postgres_dsn, Rules(0, 400, 0)).show()}
    assert shown["merchant_transactions"] == 15
    assert await keeping(database, postgres_dsn, Rules(0, 400, 0), batch=4).look(1) == 15
    rows = await database.fetch("SELECT id FROM merchant_transactions")
    assert {UUID(int=row["id"].int) for row in rows} == kept | {disputed, refunded}


async def test_one_process_does_it_once_a_day(database: asyncpg.Pool, postgres_dsn: str, old: Authorization) -> None:
    several = [keeping(database, postgres_dsn) for _ in range(3)]
    now_ms = await database.fetchval("SELECT now_ms()")
    done = await asyncio.gather(*(each.look(now_ms) for each in several))
    assert sorted(done, key=lambda each: (each is None, each)) == [3, None, None]
    assert await several[0].look(now_ms) is None
    assert await several[0].look(now_ms + 3_600_000) == 0  # the next day's


async def test_who_lost_the_lease_stops(database: asyncpg.Pool, postgres_dsn: str, old: Authorization) -> None:
    async def taken_over(seconds: float) -> None:
        await database.execute("UPDATE housekeeping SET fence = fence + 1")

    assert await keeping(database, postgres_dsn).look(1, taken_over) is None
    assert await database.fetchval("SELECT done_time_ms FROM housekeeping") == 0


async def test_a_killed_one_is_followed_when_its_lease_ends(
    database: asyncpg.Pool, postgres_dsn: str, old: Authorization
) -> None:
    await database.execute("UPDATE housekeeping SET lease_until_ms = now_ms() + 60000")
    assert await keeping(database, postgres_dsn).look(1) is None
    await database.execute("UPDATE housekeeping SET lease_until_ms = now_ms()")
    assert await keeping(database, postgres_dsn).look(1) == 3


def test_the_guards_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "retention.md").read_text()
    assert [why for why in HOLDS if why not in page] == []
