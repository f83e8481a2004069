"""Drift is found where the traffic moved, and not where it is the same."""

import pytest
import small_model
from prometheus_client import CollectorRegistry

from switch.risk.drift import MOVED_FROM, SAME_BELOW, STRIDE, Drift, stability_index
from switch.risk.drift_metrics import DriftMetrics
from switch.risk.model import load_model
from switch.risk.model_file import read


def observed(dearer: float, batch: int = 64) -> Drift:
    model = load_model(small_model.content(), watched=True)
    rows = small_model.facts_of(4096 * 3, seed=5, dearer=dearer)
    for begin in range(0, len(rows), batch):
        model.score(rows[begin : begin + batch])
    assert model.drift is not None
    return model.drift


def test_the_same_traffic_does_not_drift() -> None:
    indices = observed(1.0).indices()
    assert {"", "amount_minor", "entry", "card_count_1d"} <= set(indices)
    assert max(indices.values()) < SAME_BELOW


def test_dearer_traffic_drifts_and_what_stayed_the_same_does_not() -> None:
    indices = observed(3.0).indices()
    assert indices["amount_minor"] > MOVED_FROM
    assert indices[""] > SAME_BELOW
    assert indices["hour"] < SAME_BELOW


@pytest.mark.parametrize("batch", [1, 7, 64, 5000])
def test_one_row_in_so_many_is_counted_whatever_the_batches(batch: int) -> None:
    assert observed(1.0, batch).counted == 4096 * 3 // STRIDE


def test_before_anything_is_counted_there_is_no_drift() -> None:
    assert set(Drift(read(small_model.content()).header).indices().values()) == {0.0}


def test_an_empty_bin_is_no_infinity() -> None:
    assert 0 < stability_index([1, 1], [5, 0]) < 20


def test_gauges_are_those_of_the_model_in_force() -> None:
    registry, metrics = CollectorRegistry(), DriftMetrics()
    registry.register(metrics)
    assert registry.get_sample_value("payswitch_risk_score_drift") is None
    metrics.drift = observed(3.0)
    amount = registry.get_sample_value("payswitch_risk_fact_drift", {"fact": "amount_minor"})
    assert amount == pytest.approx(metrics.drift.indices()["amount_minor"])
    assert registry.get_sample_value("payswitch_risk_drift_rows") == 4096 * 3 // STRIDE
