"""Terminals and their entries in a real database."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from switch.domain.authorization import Authorization, Merchant
from switch.domain.identity import computed_id
from switch.domain.states import Operation, State
from switch.domain.terminal import BatchTotals, Terminal, TerminalEntry, WorkingKeys
from switch.store.journal import PostgresJournal
from switch.store.terminals import PostgresTerminals

MERCHANT = Merchant("m1", "Corner Shop", "Shanghai", category_code="5411")


@pytest.fixture
async def store(database: asyncpg.Pool) -> PostgresTerminals:
    await database.execute("DELETE FROM terminals; DELETE FROM terminal_entries")
    return PostgresTerminals(database)


def terminal(name: str = "T0000001", merchant: Merchant = MERCHANT) -> Terminal:
    return Terminal(merchant, name, "acme", f"terminal/{merchant.id}/{name}/tmk")


def entry(stan: int, operation: Operation = Operation.SALE, time_ms: int = 1_700_000_000_000) -> TerminalEntry:
    identity = computed_id("acme", "m1", time_ms, f"pos/{stan}")
    return TerminalEntry("m1", "T0000001", 1, stan, operation, time_ms, identity, identity)


async def test_a_terminal_is_added_found_and_removed(store: PostgresTerminals) -> None:
    assert await store.add(terminal()) == 1
    assert await store.add(terminal()) is None
    assert await store.find("m1", "T0000001") == terminal()
    assert await store.find("m1", "T0000002") is None
    assert await store.find("m2", "T0000001") is None
    assert (await store.knows_merchant("m1"), await store.knows_merchant("m2")) == (True, False)
    assert await store.add(terminal("T0000002")) == 1
    assert [each.terminal_id for each in await store.all()] == ["T0000001", "T0000002"]
    assert await store.remove("m1", "T0000001") == "terminal/m1/T0000001/tmk"
    assert await store.remove("m1", "T0000001") is None
    assert await store.find("m1", "T0000001") is None


async def test_a_terminal_that_comes_back_uses_no_name_again(store: PostgresTerminals) -> None:
    await store.add(terminal())
    await store.keep(entry(1))
    await store.remove("m1", "T0000001")
    assert await store.add(terminal()) == 2


async def test_signing_on_and_off(store: PostgresTerminals) -> None:
    await store.add(terminal())
    first, second = WorkingKeys(b"pin 1", b"mac 1"), WorkingKeys(b"pin 2", b"mac 2")
    for keys, previous in ((first, None), (second, first)):
        await store.sign_on(terminal(), keys)
        found = await store.find("m1", "T0000001")
        assert found is not None
        assert (found.signed_on, found.keys, found.previous_keys) == (True, keys, previous)
    await store.sign_off(terminal())
    found = await store.find("m1", "T0000001")
    assert found is not None
    assert (found.signed_on, found.keys) == (False, second)


async def test_the_first_arrival_is_kept(store: PostgresTerminals) -> None:
    first, later = entry(1), entry(1, Operation.VOID, 1_700_000_009_000)
    assert await store.keep(first) is first
    assert await store.keep(later) == first
    assert await store.entry("m1", "T0000001", 1, 1) == first
    assert await store.entry("m1", "T0000001", 2, 1) is None


async def test_of_many_at_once_one_is_first(store: PostgresTerminals) -> None:
    wanted = [entry(7, time_ms=1_700_000_000_000 + index) for index in range(12)]
    kept = await asyncio.gather(*(store.keep(each) for each in wanted))
    assert len({each.id for each in kept}) == 1
    assert sum(each is own for each, own in zip(kept, wanted, strict=True)) == 1


async def test_a_batch_is_closed_once(store: PostgresTerminals) -> None:
    await store.add(terminal())
    for _ in range(3):
        await store.close_batch(terminal(), 1)
    found = await store.find("m1", "T0000001")
    assert found is not None
    assert found.batch == 2


async def test_the_last_batch_is_followed_by_the_first(store: PostgresTerminals, database: asyncpg.Pool) -> None:
    await store.add(terminal())
    await database.execute("UPDATE terminals SET batch = 999999")
    await store.close_batch(terminal(), 999_999)
    found = await store.find("m1", "T0000001")
    assert found is not None
    assert found.batch == 1


async def test_totals_are_the_journals(
    store: PostgresTerminals, database: asyncpg.Pool, journal: PostgresJournal, approve: Callable[..., Any],
    make_follow_on: Callable[..., Any], owner: UUID,
) -> None:  # fmt: skip
    """Sales that stand, completions and refunds; not what was declined, voided, or is of another batch."""

    async def kept(stan: int, operation: Operation, identity: UUID, batch: int = 1) -> None:
        await store.keep(TerminalEntry("m1", "T0000001", batch, stan, operation, 1, identity, identity))

    async def followed(original: Authorization, operation: Operation, amount_minor: int, state: State) -> UUID:
        follow_on = make_follow_on(original, operation, amount_minor)
        stored, found = await journal.begin_follow_on(follow_on, None)
        assert found is not None
        stored.state, stored.response_code = state, "00" if state is State.APPROVED else "05"
        await journal.finish_follow_on(stored, found)
        identity: UUID = follow_on.id
        return identity

    assert await store.totals(terminal(), 1) == BatchTotals()
    sale, voided, other = [await approve(merchant_id="m1") for _ in range(3)]
    held = await approve(merchant_id="m1", operation=Operation.PRE_AUTHORIZATION)
    await kept(1, Operation.SALE, sale.id)
    await kept(2, Operation.SALE, voided.id)
    await kept(3, Operation.SALE, other.id, batch=2)
    await kept(4, Operation.PRE_AUTHORIZATION, held.id)
    await kept(5, Operation.VOID, await followed(voided, Operation.VOID, 0, State.APPROVED))
    await kept(6, Operation.CAPTURE, await followed(held, Operation.CAPTURE, 4_000, State.APPROVED))
    await kept(7, Operation.REFUND, await followed(sale, Operation.REFUND, 300, State.APPROVED))
    await kept(8, Operation.REFUND, await followed(sale, Operation.REFUND, 200, State.DECLINED))
    assert await store.totals(terminal(), 1) == BatchTotals(14_000, 2, 300, 1)
    assert await store.totals(terminal(), 2) == BatchTotals(10_000, 1)
