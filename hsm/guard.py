"""Guards verifications against use as an oracle: failures are counted by key and subject (a PAN, a device).

A subject that failed `failures` times within `window_s` is refused until the window has passed; a success forgives the
earlier failures. All failures under one key share a budget (`per_second`, with `burst` in reserve), so that guessing
over many subjects runs dry as well. Counts live in this process; an issuer's own PIN-try counter stands beside them.
Subjects are kept as keyed digests, never as themselves, and at most `subjects` of them.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hsm.errors import PinFormatError, TooManyFailures, VerificationFailed

COUNTED = (VerificationFailed, PinFormatError)


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """See the module."""

    failures: int = 10
    window_s: float = 3600.0
    per_second: float = 50.0
    burst: int = 1000
    subjects: int = 100_000


@dataclass(slots=True)
class _Budget:
    left: float
    since_s: float


@dataclass(slots=True)
class _Failures:
    count: int
    since_s: float


@dataclass(slots=True)
class Guard:
    """One per process. Not thread-safe: the commands that it guards run in the thread of the loop."""

    limits: GuardLimits = GuardLimits()
    clock: Callable[[], float] = time.monotonic
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _failures: OrderedDict[bytes, _Failures] = field(default_factory=OrderedDict, repr=False)
    _budgets: dict[str, _Budget] = field(default_factory=dict, repr=False)

    def refused(self, key: str, subject: str) -> TooManyFailures | None:
        """The error to answer with in place of a verification; None if one may be made."""
        now_s = self.clock()
        failures = self._failures.get(self._digest(key, subject))
        if failures is not None and failures.count >= self.limits.failures:
            if now_s - failures.since_s < self.limits.window_s:
                return TooManyFailures("too many failed verifications for this subject")
            del self._failures[self._digest(key, subject)]
        if self._budget(key, now_s).left < 1:
            return TooManyFailures(f"too many failed verifications under {key}")
        return None

    def record(self, key: str, subject: str, result: object) -> None:
        """Count what a verification ended with: an error of `COUNTED`, another error (not counted), or success."""
        if isinstance(result, COUNTED):
            self._record_failure(key, subject)
        elif not isinstance(result, Exception) and self._failures:
            self._failures.pop(self._digest(key, subject), None)

    def run(
        self,
        items: Sequence[tuple[Any, ...]],
        subject_of: Callable[[tuple[Any, ...]], tuple[str, str]],
        command: Callable[[Sequence[tuple[Any, ...]]], list[Any]],
    ) -> list[Any]:
        """Run a command over the items that may be verified; subject_of(item) -> (key label, subject).

        Items of one batch are all admitted before the first is verified, so a batch that repeats a subject is run in
        pieces that do not.
        """
        results: list[Any] = [None] * len(items)
        waiting = list(enumerate(items))
        while waiting:
            piece: list[tuple[int, tuple[Any, ...], str, str]] = []
            later: list[tuple[int, tuple[Any, ...]]] = []
            taken: set[tuple[str, str]] = set()
            for index, item in waiting:
                key, subject = subject_of(item)
                if (key, subject) in taken:
                    later.append((index, item))
                    continue
                taken.add((key, subject))
                refusal = self.refused(key, subject)
                if refusal is not None:
                    results[index] = refusal
                else:
                    piece.append((index, item, key, subject))
            for (index, _, key, subject), result in zip(piece, command([each[1] for each in piece]), strict=True):
                results[index] = result
                self.record(key, subject, result)
            waiting = later
        return results

    def _record_failure(self, key: str, subject: str) -> None:
        now_s = self.clock()
        digest = self._digest(key, subject)
        failures = self._failures.setdefault(digest, _Failures(0, now_s))
        failures.count += 1
        failures.since_s = now_s
        self._failures.move_to_end(digest)
        while len(self._failures) > self.limits.subjects:
            self._failures.popitem(last=False)
        self._budget(key, now_s).left -= 1

    def _budget(self, key: str, now_s: float) -> _Budget:
        budget = self._budgets.get(key)
        if budget is None:
            budget = self._budgets[key] = _Budget(self.limits.burst, now_s)
        budget.left = min(self.limits.burst, budget.left + (now_s - budget.since_s) * self.limits.per_second)
        budget.since_s = now_s
        return budget

    def _digest(self, key: str, subject: str) -> bytes:
        return hashlib.blake2b(f"{key}\n{subject}".encode(), key=self._secret, digest_size=16).digest()
