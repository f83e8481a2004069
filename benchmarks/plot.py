"""Latency by percentile: both axes logarithmic, so that the tail is seen, with the 200 ms line."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.report import StepResult

BUDGET_MS = 200.0
_TICKS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)


def write_plot(steps: Sequence[StepResult], path: Path) -> None:
    """One curve per step that has latencies."""
    figure = Figure(figsize=(9, 5.5), dpi=120)
    axes = figure.subplots()
    for step in steps:
        if step.curve:
            label = f"{step.name}, {step.answered_per_s:,.0f}/s"
            axes.plot([_place(percentile) for percentile, _ in step.curve], [ms for _, ms in step.curve], label=label)
    axes.axhline(BUDGET_MS, color="red", linestyle="--", linewidth=1, label="200 ms")
    axes.set_xscale("log")
    axes.set_yscale("log")
    farthest = max((step.curve[-1][0] for step in steps if step.curve), default=99.0)
    shown = [tick for tick in _TICKS if tick <= max(farthest, 99.0)]
    axes.set_xticks([_place(tick) for tick in shown], [f"{tick:g}%" for tick in shown])
    axes.minorticks_off()
    axes.set_xlabel("percentile")
    axes.set_ylabel("latency from when it was due, ms")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(loc="best")
    figure.tight_layout()
    figure.savefig(path)


def _place(percentile: float) -> float:
    return 1 / (1 - percentile / 100)
