import pytest
from exact_velocity import ExactVelocity
from hypothesis import given
from velocity_story import DAY_MS, HOUR_MS, Step, played, stories

from switch.domain.payer import Place
from switch.domain.risk import Subject
from switch.domain.velocity import COUNTED_PAIRS, MOST_SUM, NEVER
from switch.ports.risk import Happening, Later, Sighting
from switch.risk.local_velocity import LocalVelocity

START_MS = 1_800_000_000_000
TAP = {Subject.CARD: "ca" * 16, Subject.MERCHANT: "fe" * 16}


class Clock:
    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@given(stories)
def test_every_window_is_within_its_bound(story: list[Step]) -> None:
    clock, exact = Clock(), ExactVelocity(list(COUNTED_PAIRS))
    velocity = LocalVelocity(clock)
    for scene in played(story, START_MS):
        clock.now_ms = scene.now_ms
        if scene.sighting is None:
            velocity.note([scene.happening] if scene.happening else [], [scene.mark] if scene.mark else [])
            if scene.happening:
                exact.tell(scene.happening, scene.now_ms)
            continue
        facts = velocity.count(scene.sighting)
        exact.see(scene.sighting, scene.now_ms)
        for name, (least, most) in exact.bounds(scene.sighting, scene.now_ms).items():
            assert least <= facts[name] <= most, name


def test_a_window_holds_a_payment_for_its_length_and_a_twelfth_at_most(clock: Clock) -> None:
    """To the millisecond: 13 stretches from the edge before the payment."""
    for length_ms, name in ((60_000, "1m"), (HOUR_MS, "1h"), (30 * DAY_MS, "30d")):
        twelfth_ms = length_ms // 12
        for after_edge_ms in (0, 1, twelfth_ms - 1):
            velocity = LocalVelocity(clock)
            edge_ms = clock.now_ms = (clock.now_ms // twelfth_ms + 2) * twelfth_ms
            clock.now_ms += after_edge_ms
            assert velocity.count(Sighting("1", TAP, 5))[f"card_count_{name}"] == 1
            clock.now_ms = edge_ms + 13 * twelfth_ms - 1
            assert velocity.count(Sighting("2", TAP, 7))[f"card_sum_{name}"] == 12
            clock.now_ms += 1
            assert velocity.count(Sighting("3", TAP, 1))[f"card_sum_{name}"] == 8


def test_age_and_idle(clock: Clock) -> None:
    velocity = LocalVelocity(clock)
    first = velocity.count(Sighting("1", TAP, 5))
    assert (first["card_age_minutes"], first["card_idle_minutes"]) == (0, NEVER)
    clock.now_ms += 3 * HOUR_MS
    assert velocity.count(Sighting("2", TAP, 5))["card_merchant_idle_minutes"] == 180
    clock.now_ms += HOUR_MS
    again = velocity.count(Sighting("2", TAP, 5))
    assert (again["card_age_minutes"], again["card_idle_minutes"]) == (180, 180)
    assert velocity.count(Sighting("1", TAP, 5))["card_idle_minutes"] == 60


def test_a_clock_that_goes_back_stands_still_and_one_that_was_wrong_is_forgotten(clock: Clock) -> None:
    velocity = LocalVelocity(clock)
    velocity.count(Sighting("1", TAP, 5))
    clock.now_ms -= 61_000
    velocity.note([Happening("1", Later.DECLINES, TAP, clock.now_ms)])
    facts = velocity.count(Sighting("2", TAP, 5))
    assert (facts["card_count_1m"], facts["card_declines_1h"], facts["card_idle_minutes"]) == (2, 1, 0)
    clock.now_ms -= DAY_MS
    assert velocity.count(Sighting("3", TAP, 5))["card_count_30d"] == 1


def test_the_subjects_used_last_are_held(clock: Clock) -> None:
    velocity = LocalVelocity(clock, most_subjects=100)
    for number in range(1000):
        facts = velocity.count(Sighting(str(number), {Subject.CARD: f"{number:032x}", Subject.MERCHANT: "fe" * 16}, 1))
        assert len(velocity) <= 100
    assert facts["merchant_count_1m"] == 1000
    again = [Sighting(f"again-{number}", {Subject.CARD: f"{number:032x}"}, 1) for number in (999, 980, 0)]
    assert [velocity.count(each)["card_count_1m"] for each in again] == [2, 2, 1]


def test_sums_stop_where_those_of_redis_do(clock: Clock) -> None:
    velocity = LocalVelocity(clock)
    amounts = (-5, MOST_SUM - 1, 1, 1 << 70)
    sums = [velocity.count(Sighting(str(n), TAP, amount))["card_sum_30d"] for n, amount in enumerate(amounts)]
    assert sums == [0, MOST_SUM - 1, MOST_SUM, MOST_SUM]


async def test_the_port_s_own_calls(clock: Clock) -> None:
    velocity = LocalVelocity(clock, wanted=frozenset({"card_count_1m", "card_declines_1d"}))
    await velocity.tell([Happening("1", Later.DECLINES, TAP, clock.now_ms)])
    assert await velocity.see([Sighting("1", TAP, 5), Sighting("2", TAP, 5)]) == [
        {"card_count_1m": 1, "card_declines_1d": 1},
        {"card_count_1m": 2, "card_declines_1d": 1},
    ]
    velocity.want(frozenset({"card_merchants_1h"}))
    assert velocity.count(Sighting("3", TAP, 5)) == {"card_merchants_1h": 1}
    velocity.want(frozenset({"card_count_1h", "card_travel_km"}))  # and no place to travel from
    assert velocity.count(Sighting("3", TAP, 5)) == {"card_count_1h": 3}
    velocity.want(frozenset({"card_travel_km"}))
    assert velocity.count(Sighting("3", TAP, 5)) == {}
    velocity.want(frozenset({"card_travel_km", "card_sum_1m", "merchant_sum_1m"}))
    sums = {"card_sum_1m": 20, "merchant_sum_1m": 20}
    assert velocity.count(Sighting("3a", TAP, 5)) == sums
    assert velocity.count(Sighting("3a", TAP, 5, Place(0, 0))) == sums | {"card_travel_km": 0}
    assert velocity.count(Sighting("3b", TAP, 0, Place(0, 0))) == sums | {"card_travel_km": 0}
    assert velocity.count(Sighting("3c", TAP, 0, Place(1_000_000, 0))) == sums | {"card_travel_km": 111}
    velocity.want(frozenset())
    assert velocity.count(Sighting("4", TAP, 5)) == {}
