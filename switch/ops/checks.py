"""Readiness: named checks, each with a time-out of its own, run together and remembered for a moment."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from switch.ops import metrics

log = structlog.get_logger()

Probe = Callable[[], Awaitable[str]]


class NotReady(Exception):
    """What a probe raises; the text is shown to operators, so it is free of card data and secrets."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing the switch needs.

    probe: returns a line for an operator, raises if the thing cannot be used. required: without it the process takes
    no work; another is only shown as degraded (a channel: there may be others, and the answer 91 is one, too).
    """

    name: str
    probe: Probe
    required: bool = True
    timeout_s: float = 1.0


@dataclass(frozen=True, slots=True)
class CheckResult:
    name: str
    passed: bool
    required: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks said. ready: every required one passed and the process is not draining."""

    results: tuple[CheckResult, ...]
    draining: bool

    @property
    def ready(self) -> bool:
        return not self.draining and all(each.passed for each in self.results if each.required)

    @property
    def degraded(self) -> bool:
        return any(not each.passed for each in self.results if not each.required)


class Readiness:
    """Runs the checks. However many ask at once, and however often, they run once per `fresh_s`."""

    def __init__(self, checks: Sequence[Check], fresh_s: float = 0.5) -> None:
        names = [each.name for each in checks]
        if len(set(names)) != len(names):
            raise ValueError(f"two checks have the same name: {', '.join(names)}")
        self._checks = tuple(checks)
        self._fresh_s = fresh_s
        self._draining = False
        self._results: tuple[CheckResult, ...] = ()
        self._taken_s = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    def drain(self) -> None:
        """From now on never ready: the process is going."""
        self._draining = True

    async def report(self) -> Report:
        """The checks' results, at most `fresh_s` old. Takes no longer than the longest time-out."""
        async with self._one_at_a_time:
            now_s = asyncio.get_running_loop().time()
            if now_s - self._taken_s > self._fresh_s:
                results = tuple(await asyncio.gather(*map(_run, self._checks)))
                self._tell_changes(results)
                self._results, self._taken_s = results, asyncio.get_running_loop().time()
        return Report(self._results, self._draining)

    def _tell_changes(self, results: tuple[CheckResult, ...]) -> None:
        before = {each.name: each.passed for each in self._results}
        for each in results:
            metrics.CHECK_READY.labels(each.name).set(each.passed)
            if before.get(each.name, True) != each.passed:
                tell = log.info if each.passed else log.warning
                tell("check_changed", check=each.name, passed=each.passed, required=each.required, detail=each.detail)


async def _run(check: Check) -> CheckResult:
    try:
        async with asyncio.timeout(check.timeout_s):
            detail, passed = await check.probe(), True
    except TimeoutError:
        detail, passed = f"no answer in {check.timeout_s:g} s", False
    except NotReady as error:
        detail, passed = str(error), False
    except Exception as error:  # a probe that fails in a way of its own is a failed check, never a failed report
        detail, passed = f"{type(error).__name__}: {error}", False
    return CheckResult(check.name, passed, check.required, detail)
