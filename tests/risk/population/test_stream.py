"""A population: the same seed gives the same events, every kind of fraud is in it, and nothing tells its truth."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from switch.domain.risk import Subject
from switch.risk.facts import BY_NAME, FACTS, FactType
from switch.risk.population.crook import Crook, Range
from switch.risk.population.events import (
    BUSINESS_OFFSET_MS,
    DAY_MS,
    HOUR_MS,
    Answer,
    Event,
    Kind,
    Payment,
    Refund,
    Truth,
)
from switch.risk.population.stream import CRIMES, EVALUATION_SEEDS_FROM, START_MS, Population
from switch.risk.population.world import build

SMALL = Population(3, 4_000, 12)
EVALUATING = Population(EVALUATION_SEEDS_FROM + 3, 4_000, 24)


def lived(population: Population, answered: Callable[[Payment], Answer] = lambda _: Answer.APPROVED) -> Iterator[Event]:
    events = population.events()
    event = next(events)
    while True:
        yield event
        try:
            event = events.send(answered(event) if isinstance(event, Payment) else None)
        except StopIteration:
            return


def payments(population: Population) -> list[Payment]:
    return [each for each in lived(population) if isinstance(each, Payment)]


def digest(events: Iterator[Event]) -> str:
    whole = hashlib.sha256()
    for event in events:
        whole.update(repr(event).encode())
    return whole.hexdigest()


def test_the_same_seed_gives_the_same_events_and_another_does_not() -> None:
    assert digest(lived(SMALL)) == digest(lived(SMALL)) == digest(SMALL.events())
    assert digest(lived(SMALL)) != digest(lived(replace(SMALL, seed=4)))


def test_events_come_in_the_order_of_time_within_their_days() -> None:
    times = [each.time_ms for each in lived(EVALUATING)]
    assert times == sorted(times)
    assert times[0] >= START_MS
    assert times[-1] < START_MS + EVALUATING.days * DAY_MS
    assert (START_MS + BUSINESS_OFFSET_MS) % DAY_MS == 0


@pytest.mark.parametrize("population", [SMALL, EVALUATING], ids=["training", "evaluation"])
def test_every_kind_is_there_and_most_payments_are_honest(population: Population) -> None:
    kinds = Counter(each.truth.kind for each in payments(population))
    expected = {each.kind for each in CRIMES if population.wide or not each.wide_only} | {Kind.HONEST}
    assert set(kinds) == expected
    assert kinds[Kind.HONEST] > 0.9 * kinds.total()
    assert 0.7 < kinds[Kind.HONEST] / population.payments < 1.3


def test_some_kinds_are_never_learned_from() -> None:
    assert {each.kind for each in CRIMES if each.wide_only} == {Kind.CODE_RELAY}


def test_a_payment_says_all_that_the_payment_itself_can_say() -> None:
    said: set[str] = set()
    types = {FactType.INT: int, FactType.BOOL: bool, FactType.TEXT: str, FactType.TEXTS: list}
    for each in payments(SMALL):
        facts = each.facts()
        said |= set(facts)
        for name, value in facts.items():
            assert type(value) is types[BY_NAME[name].type]
            assert all(facts[needed] for needed in BY_NAME[name].needs)
    assert said == {each.name for each in FACTS if not each.source} - {"model_known"}


def test_nothing_the_switch_sees_depends_on_the_truth() -> None:
    other = Truth(Kind.SCAM, "elsewhere", 1, proves=False, issuer_code="62", told_ms=5)
    for each in payments(SMALL):
        lie = replace(each, truth=other)
        assert lie.facts() == each.facts()
        assert lie.sighting() == each.sighting()


def test_keys_are_as_the_counters_have_them() -> None:
    for each in payments(SMALL):
        assert Subject.MERCHANT in each.subjects
        assert all(len(bytes.fromhex(key)) == 16 for key in each.subjects.values())


def test_ids_are_given_once() -> None:
    ids = [each.id for each in payments(SMALL)]
    assert len(set(ids)) == len(ids)


def test_who_is_stepped_up_proves_himself_if_he_can() -> None:
    def answered(payment: Payment) -> Answer:
        return Answer.APPROVED if payment.proved else Answer.STEP_UP

    seen = [each for each in lived(SMALL, answered) if isinstance(each, Payment)]
    proved = [each for each in seen if each.proved]
    assert proved
    assert all(each.truth.proves for each in proved)
    asked = {each.truth.purchase for each in seen}
    assert {each.truth.purchase for each in proved} < asked
    assert len({each.truth.purchase for each in proved}) > 0.7 * len(asked)


def test_a_fraudster_who_is_declined_tries_again_and_spends_less() -> None:
    seen = [each for each in lived(SMALL, lambda _: Answer.DECLINED) if isinstance(each, Payment)]
    tries = Counter(each.truth.purchase for each in seen if each.truth.kind is not Kind.HONEST)
    assert max(tries.values()) > 1
    for each in seen:
        if each.truth.kind is not Kind.HONEST:
            assert each.amount_minor <= each.truth.value_minor


def test_a_blocked_card_is_refused_by_its_issuer_alone() -> None:
    codes = {each.truth.issuer_code for each in payments(EVALUATING) if each.truth.kind is Kind.STOLEN_CARD}
    assert codes <= {"00", "62"}


def test_refunds_are_of_payments_that_were_and_not_of_more() -> None:
    seen: dict[str, Payment] = {}
    refunds = 0
    for each in lived(SMALL):
        if isinstance(each, Payment):
            seen[each.id] = each
        elif isinstance(each, Refund):
            refunds += 1
            assert seen[each.payment.id] is each.payment
            assert 0 < each.amount_minor <= each.payment.amount_minor
    assert refunds


def test_honest_days_have_what_looks_like_fraud() -> None:
    """Without it, declining whatever is unusual would cost nobody anything."""
    honest = [each for each in payments(replace(SMALL, payments=12_000)) if each.truth.kind is Kind.HONEST]
    assert sum(each.amount_minor > 300_000 for each in honest) > 20
    assert sum(each.truth.issuer_code == "55" for each in honest) > 5
    assert sum(each.chip is not None and each.chip.new_card for each in honest) > 5
    assert sum(each.posture is not None and not each.posture & 1 for each in honest) > 5
    assert sum(each.entry == "stripe" for each in honest) > 20
    nights = sum((each.time_ms + BUSINESS_OFFSET_MS) // HOUR_MS % 24 < 5 for each in honest)
    assert 0.002 < nights / len(honest) < 0.1


def test_training_seeds_are_narrow_and_evaluation_seeds_wide() -> None:
    assert not SMALL.wide
    assert EVALUATING.wide
    from random import Random

    world = build(Random(1), 60, 12)
    of = Range((1, 2), (100, 200))
    for wide, (low, high) in ((False, of.narrow), (True, of.wide)):
        crook = Crook("f", Kind.SCAM, world, Random(1), START_MS, wide)
        assert all(low <= crook.number(of) <= high for _ in range(50))
