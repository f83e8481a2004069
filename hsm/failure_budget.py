"""Bounds how fast a MAC can be guessed, where every message of a link is a subject of its own.

Each key may fail `per_second` verifications a second, with `burst` in reserve. A key that has spent them verifies
nothing until a fraction of a second has passed; it is never refused for long, since whoever can send bad messages could
otherwise close the link for good. With the defaults a MAC of 4 bytes withstands 2^31 / 50 s, more than a year.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hsm.errors import TooManyFailures, VerificationFailed
from hsm.guard import GuardLimits


@dataclass(slots=True)
class FailureBudgets:
    """One per process, as `hsm.guard.Guard`, and as little thread-safe. Keeps only keys that failed lately."""

    limits: GuardLimits = field(default_factory=GuardLimits)
    clock: Callable[[], float] = time.monotonic
    _spent: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False)  # label: failures, as of seconds

    def untouched(self, count: int) -> bool:
        """Whether so many verifications need no look at their keys: none failed lately, and all of them may fail."""
        if self._spent:
            for label in list(self._spent):
                self._spent_now(label)
        return not self._spent and count <= self.limits.burst

    def refused(self, label: str) -> TooManyFailures | None:
        """The error to answer with in place of a verification; None if one may be made."""
        if self._spent_now(label) <= self.limits.burst - 1:
            return None
        return TooManyFailures(f"too many failed verifications under {label}")

    def record(self, label: str, result: object) -> None:
        """Count a failure. Success forgives nothing: good messages keep coming while another guesses."""
        if isinstance(result, VerificationFailed):
            self._spent[label] = (self._spent_now(label) + 1, self.clock())

    def _spent_now(self, label: str) -> float:
        spent, since_s = self._spent.get(label, (0.0, 0.0))
        if not spent:
            return 0.0
        spent -= (self.clock() - since_s) * self.limits.per_second
        if spent > 0:
            return spent
        del self._spent[label]
        return 0.0
