"""A tiny evaluation, by fixed seeds: deterministic, and within loose bounds. The real one: `payswitch risk
evaluate`."""

from functools import cache

import pytest

from switch.domain.risk import Outcome
from switch.risk.evaluate import Arm, Curve, Result, observe, precision_recall, run, threshold
from switch.risk.model import load_model
from switch.risk.model_file import read
from switch.risk.population.events import Answer, Kind
from switch.risk.population.stream import EVALUATION_SEEDS_FROM, Population
from switch.risk.rehearsal import Played, play
from switch.risk.rules import RuleSet
from switch.risk.starter import starter_document
from switch.risk.training import Plan
from switch.risk_evaluation import train_on_populations

EVALUATED = Population(EVALUATION_SEEDS_FROM + 7, 2_500, 12)
LEARNS = Plan(features=40, rounds=60, scout_rounds=20, leaves=12, least_in_leaf=20, every=1, threads=1)


@cache
def model_content() -> bytes:
    return train_on_populations((4, 5), 5_000, 15, LEARNS)


def rules() -> RuleSet:
    document = starter_document()
    return RuleSet(document.all_rules(), document.thresholds)


@cache
def result(arm: Arm) -> Result:
    return run(EVALUATED, arm, rules(), load_model(model_content()))


def test_without_risk_control_nothing_is_stopped_and_nobody_declined() -> None:
    found = result(Arm.NONE)
    assert (found.total.stopped_minor, found.legitimate_declined) == (0, 0)
    assert found.passed_minor == found.total.value_minor > 0
    assert Kind.HONEST not in found.kinds


def test_a_model_that_learned_on_other_seeds_stops_fraud() -> None:
    found = result(Arm.MODEL)
    assert found.total.value_stopped > 0.15
    assert found.legitimate_declined < 0.01


def test_both_stop_more_than_rules_alone() -> None:
    assert result(Arm.BOTH).total.value_stopped > result(Arm.RULES).total.value_stopped
    assert result(Arm.BOTH).legitimate_declined < 0.05


def test_the_same_seed_gives_the_same_result() -> None:
    assert run(EVALUATED, Arm.RULES, rules(), None) == result(Arm.RULES)


def test_purchases_are_counted_once_however_often_they_are_tried() -> None:
    """Against a count of its own: everything that is dear is declined."""
    tried: dict[str, list[Played]] = {}
    for judged in play(
        EVALUATED, lambda facts: Outcome.DECLINE if int(str(facts["amount_minor"])) > 50_000 else Outcome.PASS
    ):
        if judged.counted and judged.payment.truth.kind is not Kind.HONEST:
            tried.setdefault(judged.payment.truth.purchase, []).append(judged)
    assert max(len(each) for each in tried.values()) > 1
    value = stopped = 0
    for each in tried.values():
        passed = sum(one.payment.amount_minor for one in each if one.answer is Answer.APPROVED)
        if passed or all(one.payment.truth.issuer_code == "00" for one in each):
            value += each[0].payment.truth.value_minor
            stopped += each[0].payment.truth.value_minor - passed
    assert 0 < stopped < value


def test_a_curve_ends_with_all_that_ranks_above_nothing() -> None:
    base, curve = observe(EVALUATED, rules(), load_model(model_content()))
    assert base == result(Arm.NONE)
    for arm in (Arm.RULES, Arm.MODEL, Arm.BOTH):
        points = precision_recall(curve, arm)
        recalls = [recall for recall, _ in points]
        assert recalls == sorted(recalls)
        assert all(0 <= share <= 1 for point in points for share in point)
    base_rate = sum(curve.fraud) / len(curve.fraud)
    assert max(precision for recall, precision in precision_recall(curve, Arm.MODEL) if recall > 0.3) > 5 * base_rate


def test_precision_and_recall_by_hand() -> None:
    curve = Curve()
    for fraud, rank in ((1, 900), (0, 500), (1, 500), (0, 0), (1, 0)):
        curve.fraud.append(fraud)
        curve.ranks[Arm.MODEL].append(rank)
    assert precision_recall(curve, Arm.MODEL) == [(1 / 3, 1.0), (2 / 3, 2 / 3)]


def test_the_threshold_is_the_lowest_that_spares_the_honest() -> None:
    header = read(model_content()).header
    found = threshold(header, 0.003)
    assert found == min(each.score for each in header.points if each.legitimate_declined <= 0.003)
    assert threshold(header, 0.0) >= found >= threshold(header, 0.02)


@pytest.mark.parametrize("seeds", [(EVALUATION_SEEDS_FROM,), (1, EVALUATION_SEEDS_FROM + 5)])
def test_a_model_learns_from_no_seed_that_evaluates(seeds: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="evaluate"):
        train_on_populations(seeds, 1_000, 6, LEARNS)
