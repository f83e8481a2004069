"""Lists of all that ever happened, and what the counters may say of it: judges those of Redis and of the process."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from switch.domain.risk import Subject
from switch.domain.velocity import DISTINCT, DISTINCT_WINDOWS, LATER_OF, WINDOWS
from switch.ports.risk import Happening, Later, Sighting


@dataclass
class Told:
    """time_ms: when it happened. others: the counterparties of a payment."""

    time_ms: int
    amount_minor: int
    others: dict[Subject, str] = field(default_factory=dict)


class ExactVelocity:
    def __init__(self, pairs: list[tuple[Subject, Subject]]) -> None:
        self._pairs = pairs
        self._events: set[str] = set()
        self._payments: dict[tuple[str, str], list[Told]] = {}
        self._later: dict[tuple[str, str], list[Told]] = {}

    def see(self, sighting: Sighting, now_ms: int) -> None:
        if self._is_new("see:" + sighting.event_id):
            for name, key in self._names(sighting):
                told = Told(now_ms, sighting.amount_minor, dict(sighting.subjects))
                self._payments.setdefault((name, key), []).append(told)

    def tell(self, happening: Happening, now_ms: int) -> None:
        if self._is_new(f"{happening.what}:{happening.event_id}"):
            for subject, key in happening.subjects.items():
                told = Told(min(happening.time_ms, now_ms), happening.amount_minor)
                self._later.setdefault((f"{subject}_{happening.what}", key), []).append(told)

    def bounds(self, sighting: Sighting, now_ms: int) -> dict[str, tuple[int, int]]:
        """fact -> (at least, at most), of the facts that are windows."""
        found: dict[str, tuple[int, int]] = {}
        for name, key in self._names(sighting):
            payments = self._payments.get((name, key), [])
            for window in WINDOWS:
                sure, perhaps = _held(payments, window, now_ms)
                found[f"{name}_count_{window}"] = len(sure), len(perhaps)
                found[f"{name}_sum_{window}"] = _sum(sure), _sum(perhaps)
        for subject, key in sighting.subjects.items():
            found |= self._distinct(subject, key, now_ms)
            found |= self._happened(subject, key, now_ms)
        return found

    def idle_minutes(self, name: str, key: str, now_ms: int) -> int | None:
        """Since the payment before the last; None: there is none."""
        payments = self._payments[name, key]
        return (now_ms - payments[-2].time_ms) // 60_000 if len(payments) > 1 else None

    def age_minutes(self, name: str, key: str, now_ms: int) -> int:
        return (now_ms - self._payments[name, key][0].time_ms) // 60_000

    def _distinct(self, subject: Subject, key: str, now_ms: int) -> dict[str, tuple[int, int]]:
        payments, found = self._payments.get((subject, key), []), {}
        for one, other in DISTINCT:
            if one is subject:
                for window in DISTINCT_WINDOWS:
                    held = _held(payments, window, now_ms)
                    sure, perhaps = ({each.others[other] for each in part if other in each.others} for part in held)
                    found[f"{subject}_{other}s_{window}"] = len(sure), len(perhaps)
        return found

    def _happened(self, subject: Subject, key: str, now_ms: int) -> dict[str, tuple[int, int]]:
        found = {}
        for what, window in (
            (Later.DECLINES, "1h"),
            (Later.DECLINES, "1d"),
            (Later.REFUNDS, "1d"),
            (Later.REFUNDS, "30d"),
        ):
            if subject in LATER_OF[what]:
                sure, perhaps = _held(self._later.get((f"{subject}_{what}", key), []), window, now_ms)
                found[f"{subject}_{what}_{window}"] = len(sure), len(perhaps)
                if what is Later.REFUNDS:
                    found[f"{subject}_refund_sum_{window}"] = _sum(sure), _sum(perhaps)
        return found

    def _names(self, sighting: Sighting) -> Iterator[tuple[str, str]]:
        subjects = sighting.subjects
        yield from ((str(subject), key) for subject, key in subjects.items())
        for one, other in self._pairs:
            if one in subjects and other in subjects:
                yield f"{one}_{other}", f"{subjects[one]} {subjects[other]}"

    def _is_new(self, event: str) -> bool:
        if event in self._events:
            return False
        self._events.add(event)
        return True


def _held(events: list[Told], window: str, now_ms: int) -> tuple[list[Told], list[Told]]:
    """(those that the window must hold, those that it may hold)."""
    length_ms = WINDOWS[window] * 1000
    ages_ms = [(now_ms - each.time_ms, each) for each in events]
    sure = [each for age_ms, each in ages_ms if age_ms < length_ms]
    return sure, [each for age_ms, each in ages_ms if age_ms <= length_ms + length_ms // 12]


def _sum(events: list[Told]) -> int:
    return sum(each.amount_minor for each in events)
