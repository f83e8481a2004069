"""A model round trip: trained, written, loaded, and the scores and contributions it gives."""

import subprocess
import sys

import numpy as np
import pytest
import small_model

from switch.risk.model import Rows, load_model
from switch.risk.model_file import read
from switch.risk.training import TrainingRefused, average_precision, calibrate, gather, grow, train


def test_the_same_history_gives_the_same_file() -> None:
    assert train(small_model.history(4000), small_model.PLAN, "a small history") == small_model.content()


def test_histories_gathered_apart_give_the_model_of_the_whole() -> None:
    """Though a word has another place in the vocabulary of each."""
    examples = list(small_model.history(4000))
    parts = [gather(examples[:1500], small_model.PLAN), gather(examples[1500:], small_model.PLAN)]
    assert parts[0].vocabularies != parts[1].vocabularies
    assert grow(parts, small_model.PLAN, "a small history") == small_model.content()


def test_a_model_that_was_written_tells_fraud_from_the_rest() -> None:
    model = load_model(small_model.content())
    examples = list(small_model.history(2000, seed=3))
    scores = model.score([each.facts for each in examples])
    assert all(0 <= score <= 1000 for score in scores)
    fraud = [score for score, each in zip(scores, examples, strict=True) if each.fraud]
    honest = [score for score, each in zip(scores, examples, strict=True) if not each.fraud]
    assert np.mean(fraud) > 8 * np.mean(honest)
    # Calibrated: as much fraud as it says there is.
    assert sum(scores) / 1000 == pytest.approx(len(fraud), rel=0.15)


def test_a_batch_scores_as_its_payments_alone() -> None:
    model = load_model(small_model.content())
    rows = small_model.facts_of(70)
    assert model.score(rows) == [model.score([row])[0] for row in rows]
    assert model.score([]) == model.contributions([]) == []


def test_facts_that_are_missing_or_new_words_are_not_known() -> None:
    rows = Rows(("amount_minor", "entry", "pin_given"), {"entry": ("nfc", "keyed")})
    matrix = rows.matrix([{"amount_minor": 5, "entry": "keyed", "pin_given": True}, {"entry": "smoke"}, {}])
    assert matrix[0].tolist() == [5.0, 1.0, 1.0]
    assert np.isnan(matrix[1:]).all()
    assert 0 <= load_model(small_model.content()).score([{}])[0] <= 1000


def test_contributions_add_up_to_the_difference_of_two_scores() -> None:
    model = load_model(small_model.content())
    dear, cheap = ({**small_model.facts_of(1)[0], "amount_minor": amount} for amount in (90_000, 900))
    features = len(model.header.features)
    found = [sum(each.weight for each in row) for row in model.contributions([dear, cheap], strongest=features)]
    odds = [np.log(score / (1000 - score)) for score in model.score([dear, cheap])]
    assert found[0] - found[1] == pytest.approx(1000 * (odds[0] - odds[1]), rel=0.15)
    strongest = model.contributions([dear], strongest=3)[0]
    assert len(strongest) == 3
    assert "amount_minor" in [each.fact for each in strongest]
    assert abs(strongest[0].weight) >= abs(strongest[1].weight) >= abs(strongest[2].weight)


def test_only_what_may_be_learned_is_read() -> None:
    features = read(small_model.content()).header.features
    assert {"amount_minor", "entry", "card_count_1d"} <= set(features)
    assert not {"acquirer", "card_lists"} & set(features)


def test_the_points_decline_no_more_than_they_say() -> None:
    points = read(small_model.content()).header.points
    assert [each.legitimate_declined for each in points] == sorted(each.legitimate_declined for each in points)
    assert [each.score for each in points] == sorted((each.score for each in points), reverse=True)
    assert points[0].legitimate_declined == 0
    assert points[-1].caught > 0.3


@pytest.mark.parametrize("count", [0, 1, 300])
def test_too_little_is_refused(count: int) -> None:
    with pytest.raises(TrainingRefused):
        train(small_model.history(count), small_model.PLAN)


def test_calibration_finds_the_law() -> None:
    random = np.random.default_rng(1)
    margins = random.normal(0, 2, 40_000)
    frauds = random.random(40_000) < 1 / (1 + np.exp(-(0.7 * margins - 1)))
    found = calibrate(margins, frauds, np.ones(40_000))
    assert (found.slope, found.offset) == (pytest.approx(0.7, abs=0.05), pytest.approx(-1, abs=0.05))


def test_average_precision_of_a_perfect_and_of_a_blind_order() -> None:
    frauds = np.array([True] * 5 + [False] * 95)
    assert average_precision(np.arange(100.0, 0, -1), frauds, np.ones(100)) == 1.0
    assert average_precision(np.arange(100.0), frauds, np.ones(100)) < 0.06


def test_lightgbm_is_imported_only_with_a_model() -> None:
    program = "import sys, switch.risk.model; assert not {'lightgbm', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
