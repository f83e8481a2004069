"""What the run costs: CPU by process, and the time in each stage that the switch counts itself."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

STAGE_METRIC = "payswitch_flush_duration_seconds"
GENERATOR = "generator"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """cpu_s: name -> process id -> CPU seconds since its start. stages: stage -> (seconds, observations)."""

    cpu_s: dict[str, dict[int, float]]
    stages: dict[str, tuple[float, float]]


async def take_snapshot(pids: Mapping[str, int], metrics_urls: Sequence[str]) -> Snapshot:
    """The generator itself is counted under its own name. Walking the process table takes a thread."""
    cpu_s = await asyncio.to_thread(_cpu_times, {**pids, GENERATOR: os.getpid()})
    return Snapshot(cpu_s, await _stage_times(metrics_urls))


def cpu_us_each(before: Snapshot, after: Snapshot, count: int) -> dict[str, float]:
    """CPU microseconds per authorization, by name; a process born in between counts from its birth."""
    each = {}
    for name, times in after.cpu_s.items():
        earlier = before.cpu_s.get(name, {})
        spent_s = sum(cpu_s - earlier.get(pid, 0.0) for pid, cpu_s in times.items())
        each[name] = spent_s * 1e6 / max(1, count)
    return each


def stage_us(before: Snapshot, after: Snapshot) -> dict[str, dict[str, float]]:
    """Per stage: how often it was observed in between, and its mean in microseconds."""
    stages = {}
    for stage, (seconds, observations) in after.stages.items():
        earlier_s, earlier_observations = before.stages.get(stage, (0.0, 0.0))
        count = observations - earlier_observations
        if count > 0:
            stages[stage] = {"count": count, "mean_us": (seconds - earlier_s) * 1e6 / count}
    return stages


def parse_stages(exposition: str) -> dict[str, tuple[float, float]]:
    """stage -> (sum in seconds, count), from the text that `/metrics` gives."""
    sums: defaultdict[str, float] = defaultdict(float)
    counts: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(exposition):
        if family.name != STAGE_METRIC:
            continue
        for sample in family.samples:
            if sample.name == f"{STAGE_METRIC}_sum":
                sums[sample.labels.get("stage", "")] += sample.value
            elif sample.name == f"{STAGE_METRIC}_count":
                counts[sample.labels.get("stage", "")] += sample.value
    return {stage: (sums[stage], count) for stage, count in counts.items()}


def _cpu_times(pids: Mapping[str, int]) -> dict[str, dict[int, float]]:
    times: dict[str, dict[int, float]] = {}
    for name, pid in pids.items():
        times[name] = {}
        # The generator's only child is the echo, which is named by itself.
        for process in _family(pid, with_children=name != GENERATOR):
            with suppress(psutil.NoSuchProcess):  # ended since it was listed: its time cannot be learnt any more
                spent = process.cpu_times()
                times[name][process.pid] = spent.user + spent.system
    return times


def _family(pid: int, with_children: bool) -> list[psutil.Process]:
    """Nobody if the process has ended: the run then fails by what was not answered."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)] if with_children else [root]
    except psutil.NoSuchProcess:
        return []


async def _stage_times(urls: Sequence[str]) -> dict[str, tuple[float, float]]:
    totals: dict[str, tuple[float, float]] = {}
    if not urls:
        return totals
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        for url in urls:
            async with session.get(url) as response:
                text = await response.text()
            for stage, (seconds, count) in parse_stages(text).items():
                earlier = totals.get(stage, (0.0, 0.0))
                totals[stage] = (earlier[0] + seconds, earlier[1] + count)
    return totals
