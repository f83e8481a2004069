"""Guards verifications against use as an oracle: failures are counted by key and subject (a PAN, a device).

Three limits, of which the first to be reached refuses:

- a subject that failed `failures` times in a row, until `window_s` has passed since the last failure. A success ends
  the row;
- a subject that failed `in_all` times, whether successes lay between or not: a caller that holds one good PIN block
  could otherwise forgive itself after every few guesses. This count runs off by `in_all` a window;
- all failures under one key share a budget (`per_second`, with `burst` in reserve), so that guessing over many subjects
  runs dry as well.

Counts live in this process, and a restart forgets them; of several processes each takes its share
(`GuardLimits.shared`). An issuer's own PIN-try counter stands beside them.
Subjects are kept as keyed digests, never as themselves, and at most `subjects` of them: those that failed longest ago
are forgotten first, and the budgets bound how fast that can be forced.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hsm.errors import PinFormatError, TooManyFailures, VerificationFailed

COUNTED = (VerificationFailed, PinFormatError)

Item = tuple[Any, ...]
_Admitted = tuple[int, Item, str, bytes]
"""Place in the batch, item, key, digest of the subject."""


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """See the module."""

    failures: int = 10
    in_all: int = 30
    window_s: float = 3600.0
    per_second: float = 50.0
    burst: int = 1000
    subjects: int = 100_000

    def shared(self, processes: int) -> "GuardLimits":
        """The limits of each of several processes, so that together they allow no more than one (but one failure each).

        >>> GuardLimits(failures=10, in_all=30).shared(4).failures
        2
        """
        return replace(
            self,
            failures=max(1, self.failures // processes),
            in_all=max(1, self.in_all // processes),
            per_second=self.per_second / processes,
            burst=max(1, self.burst // processes),
        )


DEFAULT_LIMITS: Final = GuardLimits()


@dataclass(slots=True)
class _Budget:
    left: float
    since_s: float


@dataclass(slots=True)
class _Failures:
    in_a_row: int
    in_all: float
    since_s: float


@dataclass(slots=True)
class Guard:
    """One per process. Not thread-safe: the commands that it guards run in the thread of the loop."""

    limits: GuardLimits = DEFAULT_LIMITS
    clock: Callable[[], float] = time.monotonic
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _failures: OrderedDict[bytes, _Failures] = field(default_factory=OrderedDict, repr=False)
    _budgets: dict[str, _Budget] = field(default_factory=dict, repr=False)
    _fixed: dict[str, bytes] = field(default_factory=dict, repr=False)

    def refused(self, key: str, subject: str) -> TooManyFailures | None:
        """The error to answer with in place of a verification; None if one may be made."""
        return _refusal(key, *self._room(key, self._digest(key, subject)))

    def record(self, key: str, subject: str, result: object) -> None:
        """Count what a verification ended with: an error of `COUNTED`, another error (not counted), or success."""
        self._record(key, self._digest(key, subject), result)

    def run(
        self,
        items: Sequence[Item],
        subject_of: Callable[[Item], tuple[str, str]],
        command: Callable[[Sequence[Item]], list[Any]],
    ) -> list[Any]:
        """Run a command over the items that may be verified, in order; subject_of(item) -> (key label, subject).

        The command gets as many items at a time as could all fail without passing a limit, so no batch, however it
        repeats a subject or spreads over many, is worth more guesses than its items one by one.
        """
        results: list[Any] = [None] * len(items)
        piece: list[_Admitted] = []
        taken: dict[str | bytes, int] = {}  # the room of a subject or a key that the piece takes if all of it fails
        for index, item in enumerate(items):
            key, subject = subject_of(item)
            digest = self._digest(key, subject)
            for_subject, under_key = self._room(key, digest)
            if 0 < for_subject <= taken.get(digest, 0) or 0 < under_key <= taken.get(key, 0):
                self._verify(piece, command, results)  # how those before it end decides over this one
                piece, taken = [], {}
                for_subject, under_key = self._room(key, digest)
            refusal = _refusal(key, for_subject, under_key)
            if refusal is None:
                piece.append((index, item, key, digest))
                taken[digest] = taken.get(digest, 0) + 1
                taken[key] = taken.get(key, 0) + 1
            else:
                results[index] = refusal
        self._verify(piece, command, results)
        return results

    def keeps_to(self, key: str, parameter: str) -> bool:
        """Whether this is the parameter that the key was first used with, which stays its only one in this process.

        For parameters that belong to the key and turn it into an oracle when they vary: a decimalisation table.
        """
        digest = self._digest(key, parameter)
        return self._fixed.setdefault(key, digest) == digest

    def _verify(
        self, piece: list[_Admitted], command: Callable[[Sequence[Item]], list[Any]], results: list[Any]
    ) -> None:
        if not piece:
            return
        for (index, _, key, digest), result in zip(piece, command([each[1] for each in piece]), strict=True):
            results[index] = result
            self._record(key, digest, result)

    def _room(self, key: str, digest: bytes) -> tuple[int, int]:
        """How many verifications of the subject, and how many under the key, may fail from now on."""
        now_s = self.clock()
        under_key = int(self._left(key, now_s))
        failures = self._current(digest, now_s)
        if failures is None:
            return min(self.limits.failures, self.limits.in_all), under_key
        return min(self.limits.failures - failures.in_a_row, int(self.limits.in_all - failures.in_all)), under_key

    def _record(self, key: str, digest: bytes, result: object) -> None:
        if isinstance(result, COUNTED):
            self._record_failure(key, digest)
        elif not isinstance(result, Exception) and digest in self._failures:
            self._failures[digest].in_a_row = 0

    def _record_failure(self, key: str, digest: bytes) -> None:
        now_s = self.clock()
        failures = self._current(digest, now_s) or _Failures(0, 0.0, now_s)
        failures.in_a_row += 1
        failures.in_all += 1
        failures.since_s = now_s
        self._failures[digest] = failures
        self._failures.move_to_end(digest)
        if len(self._failures) > self.limits.subjects:
            self._failures.popitem(last=False)
        self._budgets[key] = _Budget(self._left(key, now_s) - 1, now_s)

    def _current(self, digest: bytes, now_s: float) -> _Failures | None:
        """What counts against a subject now; forgotten once a window has passed since its last failure."""
        failures = self._failures.get(digest)
        if failures is None:
            return None
        passed_s = now_s - failures.since_s
        if passed_s >= self.limits.window_s:
            del self._failures[digest]
            return None
        run_off = self.limits.in_all * passed_s / self.limits.window_s
        return _Failures(failures.in_a_row, max(0.0, failures.in_all - run_off), failures.since_s)

    def _left(self, key: str, now_s: float) -> float:
        """A key has a budget of its own from its first failure on: labels that no key has take no memory."""
        budget = self._budgets.get(key)
        if budget is None:
            return self.limits.burst
        return min(self.limits.burst, budget.left + (now_s - budget.since_s) * self.limits.per_second)

    def _digest(self, key: str, subject: str) -> bytes:
        return hashlib.blake2b(f"{key}\n{subject}".encode(), key=self._secret, digest_size=16).digest()


def _refusal(key: str, for_subject: int, under_key: int) -> TooManyFailures | None:
    if for_subject < 1:
        return TooManyFailures("too many failed verifications for this subject")
    if under_key < 1:
        return TooManyFailures(f"too many failed verifications under {key}")
    return None
