"""Names of messages: unique in their second, in their slot, over restarts and over clocks that jump."""

from typing import Any

from adapters.unionpay.identifiers import STANS_PER_SLOT, Identifiers

NOON_MS = 1_763_870_400_000  # 2025-11-23 04:00:00 UTC, noon in Shanghai


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
