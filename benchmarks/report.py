"""What a run found: values, JSON, and a page of text."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram

from benchmarks.tally import Tally

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 100.0)
_LOWEST_US, _HIGHEST_US, _DIGITS = 1, 60_000_000, 3
_CURVE_POINTS_PER_DECADE = 12


@dataclass(slots=True)
class StepResult:
    """One step. Latencies are in milliseconds, from when an item was due.

    offered_per_s: the open loop's rate, None for a closed loop. answered_per_s, latencies: inside the measured window;
    sent, answered, approved, unexpected: of the whole step. curve: (percentile, latency). cpu_us: per authorization.
    """

    name: str
    seconds: float
    offered_per_s: float | None
    answered_per_s: float
    sent: int
    answered: int
    approved: int
    unexpected: dict[str, int]
    latency_ms: dict[str, float]
    curve: list[tuple[float, float]]
    cpu_us: dict[str, float] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """A run's steps in order, and what stands between them."""

    settings: dict[str, Any]
    machine: dict[str, Any]
    steps: list[StepResult]

    @property
    def passed(self) -> bool:
        return self.unexpected_count == 0 and all(step.answered for step in self.steps)

    @property
    def unexpected_count(self) -> int:
        return sum(sum(step.unexpected.values()) for step in self.steps)

    @property
    def ratios(self) -> dict[str, float]:
        """Maximum throughput of stream and unary to that of the bare echo."""
        found = {step.name: step.answered_per_s for step in self.steps}
        echo_per_s = found.get("echo", 0.0)
        if not echo_per_s:
            return {}
        return {name: found[name] / echo_per_s for name in ("stream maximum", "unary maximum") if name in found}

    def write_json(self, path: Path) -> None:
        content = asdict(self) | {
            "ratios_to_echo": self.ratios,
            "unexpected_count": self.unexpected_count,
            "passed": self.passed,
        }
        path.write_text(json.dumps(content, indent=2, default=str) + "\n")

    def text(self) -> str:
        lines = []
        for step in self.steps:
            lines += _step_lines(step)
        lines += [f"{name} / echo: {ratio:.2f}" for name, ratio in self.ratios.items()]
        lines.append("passed" if self.passed else f"FAILED: {self.unexpected_count} unexpected answers")
        return "\n".join(lines)


def summarize(name: str, tally: Tally, seconds: float, answered: int, offered_per_s: float | None) -> StepResult:
    """answered: inside the window of `seconds`."""
    histogram = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)
    for latency_s in tally.latencies_s:
        histogram.record_value(min(_HIGHEST_US, max(_LOWEST_US, round(latency_s * 1e6))))
    latency_ms = {f"p{_digits(each)}": histogram.get_value_at_percentile(each) / 1000 for each in PERCENTILES[:-1]}
    latency_ms["max"] = histogram.get_max_value() / 1000
    latency_ms["mean"] = sum(tally.latencies_s) * 1000 / max(1, len(tally.latencies_s))
    return StepResult(
        name=name,
        seconds=seconds,
        offered_per_s=offered_per_s,
        answered_per_s=answered / seconds,
        sent=tally.sent,
        answered=tally.answered,
        approved=tally.approved,
        unexpected=dict(tally.unexpected),
        latency_ms=latency_ms,
        curve=_curve(histogram, len(tally.latencies_s)),
    )


def machine() -> dict[str, Any]:
    """Where it ran: figures of different machines are not compared."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "grpcio": version("grpcio"),
        "uvloop": version("uvloop"),
    }


def _curve(histogram: HdrHistogram, count: int) -> list[tuple[float, float]]:
    """Points evenly apart in log(1 / (1 - p)), as far as `count` values can tell."""
    points = []
    exponent = 0
    while count and 10 ** (exponent / _CURVE_POINTS_PER_DECADE) <= count:
        percentile = 100 * (1 - 10 ** (-exponent / _CURVE_POINTS_PER_DECADE))
        points.append((percentile, histogram.get_value_at_percentile(percentile) / 1000))
        exponent += 1
    return points


def _digits(percentile: float) -> str:
    return f"{percentile:g}"


def _step_lines(step: StepResult) -> list[str]:
    offered = f", offered {step.offered_per_s:,.0f}/s" if step.offered_per_s is not None else ""
    latencies = "  ".join(f"{name} {value:.2f}" for name, value in step.latency_ms.items())
    lines = [
        f"{step.name}: {step.answered_per_s:,.0f}/s{offered}; {step.approved:,} of {step.sent:,} approved",
        f"  latency, ms: {latencies}",
    ]
    if step.cpu_us:
        lines.append("  CPU, us each: " + "  ".join(f"{name} {value:.0f}" for name, value in step.cpu_us.items()))
    if step.stages:
        stages = (f"{name} {each['mean_us']:.0f} us (n={each['count']:.0f})" for name, each in step.stages.items())
        lines.append("  stages, mean: " + "  ".join(stages))
    lines += [f"  UNEXPECTED {count:,}: {what}" for what, count in step.unexpected.items()]
    return lines
