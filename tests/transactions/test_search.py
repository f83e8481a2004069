"""Every filter against reading all rows; pages that are stable, bounded in time, and complete together."""

import random
from collections.abc import Callable
from uuid import UUID

import asyncpg
import pytest
from transaction_scene import Scene

from switch.domain.identity import computed_id, transmission_time_ms_of
from switch.domain.states import EntryMode, State
from switch.domain.transaction import Transaction, TransactionFilter
from switch.store import transaction_search
from switch.store.transactions import PostgresTransactions

START_MS = 1_760_000_000_000
COUNT = 400
Row = tuple[object, ...]

COLUMNS = (
    *("merchant_id", "id", "created_time_ms", "answered_time_ms", "checked_time_ms", "amount_minor", "approved_minor"),
    *("captured_minor", "refunded_minor", "operation", "entry", "state", "currency", "acquirer_id", "terminal_id"),
    *("channel", "response_code", "reason", "approval_code", "retrieval_reference", "channel_reference", "reference"),
    *("masked_credential", "card_first6", "card_last4", "payer_key"),
)


def row(merchant_id: str, index: int, time_ms: int) -> Row:
    """Fields that are independent of each other, several rows to a millisecond."""
    chance = random.Random(index)
    card = chance.random() < 0.8
    last4 = f"{chance.randrange(5):04d}" if card else ""
    return (
        merchant_id, computed_id("a", merchant_id, time_ms, str(index)), time_ms, time_ms + 90, 0,
        chance.randrange(1, 60), 0, 0, 0, 1, chance.randrange(1, 4), chance.choice([3, 3, 3, 4, 7]),
        chance.choice(["CNY", "CNY", "USD"]), "a", f"T{chance.randrange(6)}", chance.choice(["alipay", "unionpay"]),
        chance.choice(["00", "51"]), "", f"{index % 90:06d}", f"{index:012d}", f"c{index}", f"r{index}",
        f"622588******{last4}" if card else "28**12", "622588" if card else "", last4,
        bytes([chance.randrange(7)]) if card else b"",
    )  # fmt: skip


@pytest.fixture
async def rows(scene: Scene) -> list[dict[str, object]]:
    """Newest first."""
    made = [row(scene.merchant_id, index, START_MS + index // 3 * 10) for index in range(COUNT)]
    made += [row("Z" + scene.merchant_id[1:], index, START_MS + index) for index in range(20)]
    async with scene.database.acquire() as connection:
        await connection.copy_records_to_table("merchant_transactions", records=made, columns=COLUMNS)
    named = [dict(zip(COLUMNS, each, strict=True)) for each in made[:COUNT]]
    return sorted(named, key=lambda each: each["id"].int, reverse=True)  # type: ignore[attr-defined]


CONDITIONS: list[tuple[dict[str, object], Callable[[dict[str, object]], bool]]] = [
    ({"from_ms": START_MS + 300, "until_ms": START_MS + 900}, lambda r: START_MS + 300 <= _time(r) < START_MS + 900),
    ({"state": State.DECLINED}, lambda r: r["state"] == State.DECLINED),
    ({"state": State.SENT}, lambda r: False),
    ({"channel": "alipay"}, lambda r: r["channel"] == "alipay"),
    ({"entry": EntryMode.PAYER_CODE}, lambda r: r["entry"] == EntryMode.PAYER_CODE),
    ({"terminal_ids": ("T2",)}, lambda r: r["terminal_id"] == "T2"),
    ({"terminal_ids": ("T1", "T4", "T9")}, lambda r: r["terminal_id"] in ("T1", "T4")),
    ({"currency": "USD"}, lambda r: r["currency"] == "USD"),
    (
        {"currency": "CNY", "at_least_minor": 10, "at_most_minor": 20},
        lambda r: r["currency"] == "CNY" and 10 <= r["amount_minor"] <= 20,  # type: ignore[operator]
    ),
    (
        {"currency": "CNY", "at_least_minor": 12, "at_most_minor": 12},
        lambda r: (r["currency"], r["amount_minor"]) == ("CNY", 12),
    ),
    ({"response_code": "51"}, lambda r: r["response_code"] == "51"),
    ({"reference": "r17"}, lambda r: r["reference"] == "r17"),
    ({"channel_reference": "c18"}, lambda r: r["channel_reference"] == "c18"),
    ({"retrieval_reference": "000000000019"}, lambda r: r["retrieval_reference"] == "000000000019"),
    ({"approval_code": "000011"}, lambda r: r["approval_code"] == "000011"),
    ({"card_first_six": "622588"}, lambda r: r["card_first6"] == "622588"),
    ({"card_last_four": "0003"}, lambda r: r["card_last4"] == "0003"),
    ({"payer_key": b"\x03"}, lambda r: r["payer_key"] == b"\x03"),
]


def _time(each: dict[str, object]) -> int:
    identity = each["id"]
    assert isinstance(identity, UUID)
    return transmission_time_ms_of(identity)


async def every_page(store: PostgresTransactions, merchant_id: str, wanted: TransactionFilter, size: int) -> list[UUID]:
    found: list[Transaction] = []
    before: UUID | None = None
    for _ in range(2 * COUNT):
        page = await store.search(merchant_id, wanted, before, size)
        assert len(page.rows) <= size
        found += page.rows
        if page.resume is None:
            return [each.id for each in found]
        assert before is None or page.resume.int < before.int
        before = page.resume
    raise AssertionError("the pages have no end")


async def test_each_field_by_itself(scene: Scene, rows: list[dict[str, object]]) -> None:
    store = PostgresTransactions(scene.database)
    for fields, fits in CONDITIONS:
        expected = [each["id"] for each in rows if fits(each)]
        wanted = TransactionFilter(**fields)  # type: ignore[arg-type]
        assert await every_page(store, scene.merchant_id, wanted, 30) == expected, fields


async def test_any_fields_together(
    scene: Scene, rows: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with bounds so small that every way of searching is taken, and no time to go on within a page."""
    choose = random.Random(3)
    for turn in range(60):
        monkeypatch.setattr(transaction_search, "_PROBE", choose.choice([5, 50, 5_000]))
        monkeypatch.setattr(transaction_search, "_GATHER", choose.choice([5, 50_000]))
        monkeypatch.setattr(transaction_search, "_FIRST_WALK", choose.choice([3, 40, 1_000]))
        chosen = choose.sample(CONDITIONS, choose.choice([2, 3, 4]))
        fields = {name: value for condition, _ in chosen for name, value in condition.items()}
        fits = [fit for condition, fit in chosen if all(fields[name] == value for name, value in condition.items())]
        if not all(fields[name] == value for condition, _ in chosen for name, value in condition.items()):
            continue  # two of them set the same field
        expected = [each["id"] for each in rows if all(fit(each) for fit in fits)]
        store = PostgresTransactions(scene.database, budget_s=choose.choice([0.0, 1.0]))
        found = await every_page(store, scene.merchant_id, TransactionFilter(**fields), choose.choice([1, 7, 100]))  # type: ignore[arg-type]
        assert found == expected, (turn, fields)


async def test_named_payments_and_no_terminals(scene: Scene, rows: list[dict[str, object]]) -> None:
    store = PostgresTransactions(scene.database)
    ids = (rows[7]["id"], rows[3]["id"], UUID(int=5))
    wanted = TransactionFilter(authorization_ids=ids)  # type: ignore[arg-type]
    assert await every_page(store, scene.merchant_id, wanted, 50) == [rows[3]["id"], rows[7]["id"]]
    assert await every_page(store, scene.merchant_id, TransactionFilter(authorization_ids=()), 50) == []
    assert await every_page(store, scene.merchant_id, TransactionFilter(terminal_ids=()), 50) == []


async def test_pages_stay_what_they_were_while_rows_come_in(scene: Scene, rows: list[dict[str, object]]) -> None:
    store = PostgresTransactions(scene.database)
    first = await store.search(scene.merchant_id, TransactionFilter(), None, 10)
    newer = [row(scene.merchant_id, COUNT + index, START_MS + 1_000_000 + index) for index in range(5)]
    async with scene.database.acquire() as connection:
        await connection.copy_records_to_table("merchant_transactions", records=newer, columns=COLUMNS)
    second = await store.search(scene.merchant_id, TransactionFilter(), first.resume, 10)
    assert [each.id for each in (*first.rows, *second.rows)] == [each["id"] for each in rows[:20]]


async def test_a_search_leaves_the_connection_as_it_was(database: asyncpg.Pool) -> None:
    pool = database
    await PostgresTransactions(pool).search("nobody", TransactionFilter(), None, 10)
    for _ in range(8):
        assert await pool.fetchval("SHOW enable_sort") == "on"
