"""Lists: put on, taken off, expired, in memory; what would stop honest trade needs two persons."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from case_scene import DAY_MS, CaseScene, case_scene, key
from desk_scene import ANN, BOB, NOW_MS

from switch.domain.access import Caller, Role
from switch.domain.refusals import Invalid, Missing, NotPermitted, NotPossible
from switch.domain.risk import ListKind, Outcome, Subject
from switch.domain.risk_listing import BatchState, ListingEntry, ListingKey
from switch.risk.listing_desk import Wanted
from switch.risk.lists_watch import ListsWatch
from switch.risk.monitor import LiveRisk
from switch.risk.rules import RuleSet
from switch.store import risk_listings

CARD, MERCHANT = Subject.CARD, Subject.MERCHANT


@pytest.fixture
async def scene(database: asyncpg.Pool) -> AsyncIterator[CaseScene]:
    scene = await case_scene(database)
    yield scene
    await scene.watch.close()


async def test_an_entry_is_in_memory_at_the_next_look_and_off_again(scene: CaseScene) -> None:
    assert not await scene.blocked(CARD, key(1))
    batch = await scene.block(CARD, key(1), key(2))
    assert (batch.state, batch.size) == (BatchState.APPLIED, 2)
    assert await scene.blocked(CARD, key(1))
    await scene.lists.remove(ListingKey(ListKind.BLOCK, "stolen", CARD, key(1)), "found again", BOB)
    assert not await scene.blocked(CARD, key(1))
    assert await scene.blocked(CARD, key(2))
    assert await scene.audited() == ["risk/ann AddListings", "risk/bob RemoveListing"]


async def test_what_is_not_there_is_not_taken_off_and_not_audited(scene: CaseScene) -> None:
    with pytest.raises(Missing):
        await scene.lists.remove(ListingKey(ListKind.BLOCK, "stolen", CARD, key(1)), "found again", BOB)
    assert await scene.audited() == []


async def test_an_entry_ends_with_its_time_and_is_swept(scene: CaseScene) -> None:
    await scene.block(CARD, key(1), expires_ms=NOW_MS + 1000)
    assert await scene.blocked(CARD, key(1))
    scene.clock.now_ms += 1000
    assert not scene.live.lists.standing({CARD: key(1)}, scene.clock.now_ms).blocks
    await scene.watch.look()
    assert len(scene.live.lists) == 0
    assert await scene.pool.fetchval("SELECT live FROM risk_listings_turn") == 0


async def test_who_was_away_for_longer_than_what_is_kept_loads_everything(scene: CaseScene) -> None:
    await scene.block(CARD, key(1), key(2))
    await scene.watch.look()
    away = ListsWatch(scene.listings, LiveRisk(RuleSet([])), scene.clock)
    live = LiveRisk(RuleSet([]))
    away = ListsWatch(scene.listings, live, scene.clock)
    await away.begin()
    await scene.lists.remove(ListingKey(ListKind.BLOCK, "stolen", CARD, key(1)), "gone", ANN)
    scene.clock.now_ms += DAY_MS + 1
    await scene.watch.look()  # takes it off, and forgets that it was on
    assert await scene.pool.fetchval("SELECT count(*) FROM risk_listings") == 1
    assert len(live.lists) == 2
    await away.look()
    assert len(live.lists) == len(scene.live.lists) == 1


async def test_a_large_list_is_read_in_pages(scene: CaseScene) -> None:
    for first in range(0, 6_000, 3_000):
        await scene.block(CARD, *(key(number) for number in range(first, first + 3_000)))
    live = LiveRisk(RuleSet([]))
    await ListsWatch(scene.listings, live, scene.clock).begin()
    await scene.watch.look()
    assert len(live.lists) == len(scene.live.lists) == 6_000


async def test_put_on_once_more_it_has_the_new_end_and_counts_once(scene: CaseScene) -> None:
    await scene.block(CARD, key(1), expires_ms=NOW_MS + 1000)
    await scene.block(CARD, key(1), key(1), expires_ms=NOW_MS + 5000)
    [found] = await scene.lists.page(CARD, key(1), "", None, 10)
    assert found.listing.expires_time_ms == NOW_MS + 5000
    assert await scene.pool.fetchval("SELECT live FROM risk_listings_turn") == 1


async def test_entries_put_on_at_once_by_many_are_all_in_memory(scene: CaseScene) -> None:
    await asyncio.gather(*(scene.block(CARD, key(number), name=f"list_{number % 3}") for number in range(24)))
    await scene.watch.look()
    assert len(scene.live.lists) == 24
    assert await scene.pool.fetchval("SELECT position FROM risk_listings_turn") == 24


async def test_full_lists_take_no_more(scene: CaseScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(risk_listings, "MOST_ENTRIES", 2)
    await scene.block(CARD, key(1), key(2))
    await scene.block(CARD, key(1))
    with pytest.raises(NotPossible, match="more than 2 entries"):
        await scene.block(CARD, key(3))


async def test_one_subject_is_on_so_many_lists_at_most(scene: CaseScene) -> None:
    for number in range(32):
        await scene.block(CARD, key(1), name=f"list_{number}")
    with pytest.raises(NotPossible, match="32 lists"):
        await scene.block(CARD, key(1), name="one_more")
    assert await scene.blocked(CARD, key(1))


@pytest.mark.parametrize(
    ("name", "of", "expires_ms", "field"),
    [
        ("Stolen", key(1), 0, "name"),
        ("stolen", "4111111111111111", 0, r"entries\[0\]"),
        ("stolen", key(1), NOW_MS - 1, r"entries\[0\]"),
        ("stolen", key(1), 1 << 50, "expires_time_ms"),
    ],
)
async def test_what_no_list_takes_is_refused_with_its_place(
    scene: CaseScene, name: str, of: str, expires_ms: int, field: str
) -> None:
    with pytest.raises(Invalid, match=field) as refused:
        await scene.block(CARD, of, name=name, expires_ms=expires_ms)
    assert "4111" not in str(refused.value)


# --- poisoning --------------------------------------------------------------------------------------------------------


async def traffic(scene: CaseScene, payers: int = 100, merchant: str = key(900)) -> None:
    for number in range(payers):
        await scene.judged({CARD: key(number), MERCHANT: merchant})


async def test_a_poisoned_list_waits_for_a_second_person(scene: CaseScene) -> None:
    await traffic(scene)
    batch = await scene.block(CARD, *(key(number) for number in range(60)))
    assert batch.state is BatchState.WAITING
    assert "60 of 100 payers" in batch.why[0]
    assert not await scene.blocked(CARD, key(1))
    for own in (ANN, Caller("operator/ann", frozenset({Role.RISK}))):
        with pytest.raises(NotPermitted):
            await scene.lists.decide(batch.id, True, own)
    assert not await scene.blocked(CARD, key(1))
    decided = await scene.lists.decide(batch.id, True, BOB)
    assert (decided.state, decided.decided_by) == (BatchState.APPLIED, BOB.name)
    assert await scene.blocked(CARD, key(1))
    with pytest.raises(NotPossible, match="APPLIED"):
        await scene.lists.decide(batch.id, True, BOB)


async def test_an_honest_batch_stands_at_once(scene: CaseScene) -> None:
    await traffic(scene)
    assert (await scene.block(CARD, *(key(number) for number in range(500, 560)))).state is BatchState.APPLIED
    assert (await scene.block(CARD, key(1))).state is BatchState.APPLIED


async def test_what_was_declined_anyway_is_no_honest_trade(scene: CaseScene) -> None:
    for number in range(100):
        await scene.judged({CARD: key(number)}, Outcome.DECLINE if number < 60 else Outcome.PASS)
    assert (await scene.block(CARD, *(key(number) for number in range(60)))).state is BatchState.APPLIED


async def test_a_flood_in_drops_is_found_too(scene: CaseScene) -> None:
    await traffic(scene)
    states = [(await scene.block(CARD, key(number))).state for number in range(6)]
    assert states == [BatchState.APPLIED] * 4 + [BatchState.WAITING] * 2


async def test_a_refused_batch_never_stands(scene: CaseScene) -> None:
    await traffic(scene)
    batch = await scene.block(CARD, *(key(number) for number in range(60)))
    assert (await scene.lists.decide(batch.id, False, ANN)).state is BatchState.REFUSED
    with pytest.raises(NotPossible):
        await scene.lists.decide(batch.id, True, BOB)
    assert not await scene.blocked(CARD, key(1))


async def test_a_batch_decided_by_two_at_once_is_decided_once(scene: CaseScene) -> None:
    await traffic(scene)
    batch = await scene.block(CARD, *(key(number) for number in range(60)))
    both = await asyncio.gather(
        scene.lists.decide(batch.id, True, BOB), scene.lists.decide(batch.id, False, BOB), return_exceptions=True
    )
    assert sum(isinstance(each, NotPossible) for each in both) == 1
    [waiting] = [each for each in await scene.lists.batches(False, 0, 10) if each.id == batch.id]
    assert await scene.blocked(CARD, key(1)) == (waiting.state is BatchState.APPLIED)


async def test_a_large_merchant_needs_two_persons_and_a_small_one_does_not(scene: CaseScene) -> None:
    await traffic(scene, 200)
    await scene.judged({CARD: key(1), MERCHANT: key(901)})
    large = await scene.block(MERCHANT, key(900))
    assert large.state is BatchState.WAITING
    assert any("merchants had" in each for each in large.why)
    assert (await scene.block(MERCHANT, key(901))).state is BatchState.APPLIED


async def test_watching_and_sparing(scene: CaseScene) -> None:
    await traffic(scene)
    entries = [ListingEntry(CARD, key(number), 0) for number in range(60)]
    watched = await scene.lists.add(Wanted(ListKind.WATCH, "odd", "a test", ANN.name, entries), ANN)
    spared = await scene.lists.add(Wanted(ListKind.ALLOW, "friends", "a test", ANN.name, entries), ANN)
    assert (watched.state, spared.state) == (BatchState.APPLIED, BatchState.WAITING)
