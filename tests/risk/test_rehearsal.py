"""A population played through the counters: what is told when, and what a judge's answer does."""

from collections.abc import Mapping

from switch.domain.risk import FactValue, Outcome
from switch.risk.facts import BY_NAME
from switch.risk.population.events import DAY_MS, Answer, Kind
from switch.risk.population.stream import START_MS, Population
from switch.risk.rehearsal import MATURITY_DAYS, examples, passes, play

SMALL = Population(5, 1_500, 9)


def test_facts_are_published_ones_of_the_moment() -> None:
    kept: list[tuple[Mapping[str, FactValue], dict[str, FactValue]]] = []
    for judged in play(SMALL, passes):
        assert set(judged.facts) <= set(BY_NAME)
        if judged.facts["card_known"]:
            assert judged.facts["card_count_1m"] >= 1
        kept.append((judged.facts, dict(judged.facts)))
    assert all(now == then for now, then in kept)


def test_a_judge_sees_no_truth_and_only_what_it_wants_of_the_counters() -> None:
    wanted = frozenset({"card_count_1d", "user_refunds_30d"})
    for judged in play(SMALL, passes, wanted):
        counted = {name for name in judged.facts if BY_NAME[name].source}
        assert counted <= wanted


def test_the_days_in_which_the_counters_fill_are_not_counted() -> None:
    first = next(judged for judged in play(SMALL, passes) if judged.counted)
    assert START_MS + 3 * DAY_MS <= first.payment.time_ms < START_MS + 4 * DAY_MS


def test_a_decline_is_told_to_the_counters() -> None:
    def declines(_: Mapping[str, FactValue]) -> Outcome:
        return Outcome.DECLINE

    most = max(int(str(judged.facts.get("card_declines_1d", 0))) for judged in play(SMALL, declines))
    assert most > 3
    assert {judged.answer for judged in play(SMALL, declines)} == {Answer.DECLINED}


def test_a_step_up_is_over_once_it_is_passed() -> None:
    answers = {
        (judged.payment.proved, judged.answer) for judged in play(SMALL, lambda _: Outcome.STEP_UP)
    }  # fmt: skip
    assert (False, Answer.STEP_UP) in answers
    assert (True, Answer.APPROVED) in answers
    assert (True, Answer.STEP_UP) not in answers
    assert (False, Answer.APPROVED) not in answers


def test_fraud_that_is_told_late_is_learned_as_legitimate() -> None:
    known_at_ms = START_MS + (SMALL.days + MATURITY_DAYS) * DAY_MS
    judged = [each for each in play(SMALL, passes) if each.counted]
    learned = list(examples(SMALL))
    assert [each.time_ms for each in learned] == [each.payment.time_ms for each in judged]
    late = 0
    for example, each in zip(learned, judged, strict=True):
        truth = each.payment.truth
        told = 0 <= truth.told_ms <= known_at_ms - each.payment.time_ms
        assert example.fraud == (truth.kind is not Kind.HONEST and told)
        late += truth.kind is not Kind.HONEST and not told
    assert late
    assert sum(each.fraud for each in learned) > late


def test_a_journey_is_told_where_the_payment_says_its_place_and_only_there() -> None:
    places = set()
    for judged in play(SMALL, passes, frozenset({"card_count_1d", "card_travel_kmh"})):
        place = judged.facts["place_known"]
        places.add(place)
        assert ("card_travel_kmh" in judged.facts) == (place and judged.facts["card_known"])
    assert places == {False, True}
