"""Names of messages: unique in their second, in their slot, over restarts and over clocks that jump."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from names_of_a_slot import NOON_MS, SharedClock, names_of

from adapters.unionpay.identifiers import SLOTS, STANS_PER_SLOT, Identifiers, base36


def test_a_name(make_clock: Any) -> None:
    name = Identifiers(2, make_clock(NOON_MS)).next()
    assert name == {
        "stan": "031250",
        "transmission": "1123120000",
        "rrn": name["rrn"],
        "local_time": "120000",
        "local_date": "1123",
    }
    assert len(name["rrn"]) == 12
    assert name["rrn"].isalnum()


def test_more_than_a_second_holds(make_clock: Any) -> None:
    identifiers = Identifiers(63, make_clock(NOON_MS))
    names = [identifiers.next() for _ in range(3 * STANS_PER_SLOT)]
    assert len({(each["transmission"], each["stan"]) for each in names}) == len(names)
    assert len({each["rrn"] for each in names}) == len(names)
    assert names[-1]["transmission"] == "1123120002"
    assert all(984_375 <= int(each["stan"]) <= 999_999 for each in names)


def test_slots_do_not_meet(make_clock: Any) -> None:
    clock = make_clock(NOON_MS)
    stans = set()
    for slot in range(64):
        identifiers = Identifiers(slot, clock)
        stans.update(identifiers.next()["stan"] for _ in range(100))
    assert len(stans) == 6_400


def test_a_clock_that_goes_back_repeats_nothing(make_clock: Any) -> None:
    clock = make_clock(NOON_MS)
    identifiers = Identifiers(0, clock)
    seen = set()
    for step_ms in (0, 1_000, -5_000, 2_000, 10_000, -1):
        clock.now_ms = NOON_MS + step_ms
        for _ in range(50):
            name = identifiers.next()
            assert (name["transmission"], name["stan"]) not in seen
            seen.add((name["transmission"], name["stan"]))


def test_a_restart_in_the_same_second_starts_higher(make_clock: Any) -> None:
    before = Identifiers(0, make_clock(NOON_MS + 100))
    used = {before.next()["stan"] for _ in range(1_000)}
    after = Identifiers(0, make_clock(NOON_MS + 900))
    assert used.isdisjoint({after.next()["stan"] for _ in range(1_000)})


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-1_500, 2_500), st.sampled_from([1, 7, 500, STANS_PER_SLOT + 1])),
    max_size=12,
)


@given(st.lists(st.integers(0, SLOTS - 1), min_size=2, max_size=4, unique=True), STEPS)
@settings(max_examples=40, deadline=None)
def test_no_two_instances_give_the_same_name(slots: list[int], steps: list[tuple[int, int, int]]) -> None:
    """Whatever the clock does and however much each of them sends, past the end of its slot and round again."""
    clock = SharedClock(NOON_MS)
    instances = [Identifiers(slot, clock) for slot in slots]
    names: list[dict[str, str]] = []
    for which, step_ms, count in steps:
        clock.now_ms += step_ms
        at = which % len(slots)
        fresh = [instances[at].next() for _ in range(count)]
        assert all(int(each["stan"]) // STANS_PER_SLOT == slots[at] for each in fresh)
        names += fresh
    assert len({(each["transmission"], each["stan"]) for each in names}) == len(names)
    assert len({each["rrn"] for each in names}) == len(names)


@pytest.mark.parametrize("slots", [(0, 1, 31, 63)])
def test_processes_of_their_own(slots: tuple[int, ...]) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        every = [name for names in pool.map(names_of, slots) for name in names]
    assert len({name[:2] for name in every}) == len({name[2] for name in every}) == len(slots) * 20_000


def test_the_reference_number_lasts(make_clock: Any) -> None:
    """DE37 is unique for decades; DE7 comes again after a year, which the network's window of days does not see."""
    clock = make_clock(NOON_MS)
    identifiers = Identifiers(0, clock)
    first = identifiers.next()
    clock.now_ms += 365 * 86_400_000
    again = identifiers.next()
    assert again["transmission"] == first["transmission"]
    assert again["rrn"] > first["rrn"]
    assert base36(0, 6) < first["rrn"][:6]
