"""The drift of the model in force as gauges. Without numpy, so that it is there where no model is."""

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from switch.risk.drift import Drift


class DriftMetrics(Collector):
    """Gauges of the model in force, worked out only when they are asked for. Registers itself nowhere."""

    def __init__(self) -> None:
        self.drift: Drift | None = None

    def describe(self) -> list[GaugeMetricFamily]:
        return list(_families())

    def collect(self) -> list[GaugeMetricFamily]:
        score, features, counted = _families()
        if self.drift is not None:
            indices = self.drift.indices()
            score.add_metric((), indices.pop(""))
            for name, index in indices.items():
                features.add_metric((name,), index)
            counted.add_metric((), self.drift.counted)
        return [score, features, counted]


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily(
            "payswitch_risk_score_drift", "Population stability index of the model's score since training."
        ),
        GaugeMetricFamily(
            "payswitch_risk_fact_drift", "Population stability index of a fact the model reads.", labels=("fact",)
        ),
        GaugeMetricFamily("payswitch_risk_drift_rows", "Payments that the drift was worked out of, in this process."),
    )
