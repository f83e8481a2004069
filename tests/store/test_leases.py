"""Who lives, and what the dead left: every row claimed exactly once (invariant 12)."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import asyncpg
import pytest

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.states import Decision, Operation, State
from switch.ports import StoreUnavailable
from switch.store.journal import PostgresJournal
from switch.store.leases import SLOTS, NoFreeSlot, PostgresLeases

Make = Callable[..., Authorization]


def now_ms() -> int:
    return int(time.time() * 1000)


async def let_die(database: asyncpg.Pool, owner: UUID, ago_ms: int = 1) -> None:
    await database.execute("UPDATE processes SET lease_until_ms = now_ms() - $2 WHERE owner = $1", owner, ago_ms)


async def test_slots_are_unique_among_the_living(leases: PostgresLeases) -> None:
    joined = await asyncio.gather(*(leases.join(f"process-{number}") for number in range(12)))
    assert sorted(slot for _, slot in joined) == list(range(12))
    assert len({owner for owner, _ in joined}) == 12


async def test_a_slot_is_free_again_after_leave_and_after_death(leases: PostgresLeases, database: asyncpg.Pool) -> None:
    (first, _), (second, _), _ = [await leases.join(name) for name in "abc"]
    await leases.leave(first)
    await let_die(database, second)
    assert [(await leases.join(name))[1] for name in "de"] == [0, 1]


async def test_a_lease_that_ran_out_never_comes_back(leases: PostgresLeases, database: asyncpg.Pool) -> None:
    owner, _ = await leases.join("a")
    assert await leases.beat(owner, now_ms())
    await let_die(database, owner)
    assert not await leases.beat(owner, now_ms())
    await leases.leave(owner)
    assert not await leases.beat(owner, now_ms())


async def test_the_living_that_serve_are_listed(leases: PostgresLeases, database: asyncpg.Pool) -> None:
    owners = [(await leases.join(name))[0] for name in "abcd"]
    assert await leases.living() == []
    for number, owner in enumerate(owners):
        await leases.announce(owner, f"10.0.0.1:{number}")
    await leases.leave(owners[0])
    await let_die(database, owners[1])
    await leases.announce(owners[3], "")
    assert await leases.living() == [(owners[2], "10.0.0.1:2")]


async def test_no_more_processes_than_slots(leases: PostgresLeases, database: asyncpg.Pool) -> None:
    await database.executemany(
        "INSERT INTO processes VALUES (gen_random_uuid(), 'x', $1, now_ms() + 60000, 0, 0)",
        [(slot,) for slot in range(SLOTS - 1)],
    )
    assert (await leases.join("last"))[1] == SLOTS - 1
    with pytest.raises(NoFreeSlot):
        await leases.join("one too many")


async def test_racing_recoverers_claim_each_row_exactly_once(
    journal: PostgresJournal, leases: PostgresLeases, make_intent: Make, database: asyncpg.Pool, owner: UUID
) -> None:
    dead, _ = await leases.join("dead")
    left = [make_intent(owner=dead) for _ in range(30)]
    answered, ours = make_intent(owner=dead), make_intent()
    await journal.record_intents([*left, answered, ours])
    await journal.record_outcomes([replace(answered, state=State.APPROVED)], [0.0])
    assert await journal.claim_in_doubt(owner) == 0
    await let_die(database, dead)
    rivals = [(await leases.join(f"rival-{number}"))[0] for number in range(4)]
    counts = await asyncio.gather(*(journal.claim_in_doubt(rival) for rival in rivals))
    assert sorted(counts) == [0, 0, 0, 30]
    claimed = await journal.find(left[0].merchant_id, left[0].id)
    assert claimed is not None
    assert (claimed.state, claimed.decision, claimed.response_code) == (State.UNKNOWN, Decision.UNKNOWN, "68")
    assert claimed.owner in rivals
    assert claimed.reason
    assert len(await journal.claim_follow_ups(owner, 100, 5)) == 30
    assert await database.fetchval("SELECT count(*) FROM follow_ups WHERE operation = 6") == 30
    assert await journal.record_outcomes([replace(left[0], state=State.APPROVED)], [0.0]) == [False]
    still = await journal.find(ours.merchant_id, ours.id)
    assert still is not None
    assert still.state is State.SENT


async def test_what_commits_after_the_lease_ran_out_is_found_too(
    journal: PostgresJournal, leases: PostgresLeases, make_intent: Make, database: asyncpg.Pool, owner: UUID
) -> None:
    dead, _ = await leases.join("dead")
    late = make_intent(owner=dead, created_time_ms=now_ms() - 5_000)
    await journal.record_intents([late])
    await database.execute("UPDATE authorizations SET owner = $1", owner)  # not committed yet, as it were
    await let_die(database, dead, ago_ms=1_000)
    assert await journal.claim_in_doubt(owner) == 0
    await database.execute("UPDATE authorizations SET owner = $1", dead)
    assert await journal.claim_in_doubt(owner) == 0  # it was looked at a moment ago
    await let_die(database, dead, ago_ms=13_000)
    assert await journal.claim_in_doubt(owner) == 1
    await let_die(database, dead, ago_ms=61_000)
    assert await journal.claim_in_doubt(owner) == 0
    assert await database.fetchval("SELECT count(*) FROM processes WHERE owner = $1", dead) == 0


async def test_a_living_process_finds_what_it_lost_track_of(
    journal: PostgresJournal, leases: PostgresLeases, make_intent: Make, owner: UUID
) -> None:
    """Its outcome could not be recorded, the database being away: nobody drives it any more (invariant 20)."""
    lost = make_intent(created_time_ms=now_ms() - 100_000)
    open_ = make_intent(created_time_ms=now_ms() - 1_000)
    await journal.record_intents([lost, open_])
    with pytest.raises(StoreUnavailable):
        await journal.record_intents([make_intent(owner=uuid4())])
    assert await journal.claim_in_doubt(owner) == 0
    await leases.beat(owner, open_.created_time_ms)
    assert await journal.claim_in_doubt(owner) == 1
    found = await journal.find(lost.merchant_id, lost.id)
    assert found is not None
    assert found.state is State.UNKNOWN
    assert await journal.claim_in_doubt(owner) == 0


async def test_follow_ons_left_in_flight_become_unknown(
    journal: PostgresJournal, approve: Callable[..., object], make_follow_on: Callable[..., FollowOn], owner: UUID
) -> None:
    original = await approve()  # type: ignore[misc]
    long_ago_ms = now_ms() - 120_000
    void = make_follow_on(original, Operation.VOID, created_time_ms=long_ago_ms)
    fresh = make_follow_on(await approve(), Operation.VOID)  # type: ignore[misc]
    for each in (void, fresh):
        await journal.begin_follow_on(each, None)
    await journal.claim_in_doubt(owner)
    [kept] = await journal.find_follow_ons(void.merchant_id, void.authorization_id)
    assert kept.state is State.UNKNOWN
    [untouched] = await journal.find_follow_ons(fresh.merchant_id, fresh.authorization_id)
    assert untouched.state is State.SENT
    [reversal] = await journal.claim_follow_ups(owner, 10, 5)
    assert reversal.authorization.id == original.id
