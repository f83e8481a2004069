"""The counters in this process's memory: while Redis is gone, and for populations at a simulated time."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Final, Generic, TypeVar

from switch.domain.payer import Place
from switch.domain.risk import Subject
from switch.domain.travel import travel
from switch.domain.velocity import (
    ACCOUNT_COUNTS,
    ACCOUNT_COUNTS_OF,
    COUNTED_PAIRS,
    COUNTERPARTIES,
    DISTINCT_WINDOWS,
    LATER_COUNTS,
    LATER_OF,
    MARKS,
    MOST_COUNT,
    MOST_DISTINCT,
    MOST_SUM,
    NEVER,
    WINDOWS,
    pair_name,
)
from switch.ports.risk import Happening, Later, Mark, Sighting
from switch.risk.sliding import Distinct, Windows

_TWELFTHS_MS: Final = {name: seconds * 1000 // 12 for name, seconds in WINDOWS.items()}
_PAYMENTS_MS: Final = tuple(_TWELFTHS_MS.values())
_DISTINCT_MS: Final = _TWELFTHS_MS[DISTINCT_WINDOWS[0]]
_DISTINCT: Final = tuple(_TWELFTHS_MS[name] // _DISTINCT_MS for name in DISTINCT_WINDOWS)
_MINUTE_MS: Final = 60_000
_CLOCK_WAS_WRONG_MS: Final = 3_600_000

_LATER_WINDOWS: Final = {what: (LATER_COUNTS | ACCOUNT_COUNTS)[what] for what in Later}
_LATER_MS: Final = {what: tuple(_TWELFTHS_MS[name] for name in names) for what, names in _LATER_WINDOWS.items()}
_LATER_OF: Final = {
    subject: tuple(what for what in _LATER_WINDOWS if subject in (LATER_OF | ACCOUNT_COUNTS_OF)[what])
    for subject in Subject
}

_TRAVEL: Final = ["card_travel_km", "card_travel_kmh"]

_Kept = TypeVar("_Kept")


class _Lately(Generic[_Kept]):
    """The values that were used last: at least half of `most` keys, and never more than `most`."""

    __slots__ = ("_half", "_new", "_old")

    def __init__(self, most: int) -> None:
        self._half = max(most // 2, 1)
        self._new: dict[str, _Kept] = {}
        self._old: dict[str, _Kept] = {}

    def get(self, key: str) -> _Kept | None:
        kept = self._new.get(key)
        if kept is None:
            kept = self._old.pop(key, None)
            if kept is not None:
                self.put(key, kept)
        return kept

    def put(self, key: str, value: _Kept) -> None:
        if len(self._new) >= self._half and key not in self._new:
            self._old, self._new = self._new, {}
        self._new[key] = value

    def clear(self) -> None:
        self._old, self._new = {}, {}

    def __len__(self) -> int:
        return len(self._old) + len(self._new)


class _Record:
    """What is counted of one subject or pair. event_id: of the last payment; times in ms, 0 for never."""

    __slots__ = ("before_ms", "distinct", "event_id", "first_ms", "last_ms", "later", "marks_ms", "payments", "visits")

    def __init__(self) -> None:
        self.payments = Windows(_PAYMENTS_MS)
        self.first_ms = self.last_ms = self.before_ms = 0
        self.event_id = ""
        self.distinct: dict[Subject, Distinct] | None = None
        self.later: dict[Later, Windows] | None = None
        self.marks_ms: dict[str, int] | None = None
        self.visits: tuple[_Visit | None, _Visit] | None = None  # the last but one, the last

    def count(self, sighting: Sighting, now_ms: int) -> None:
        self.payments.add_now(now_ms, _bounded(sighting.amount_minor))
        self.before_ms, self.last_ms = self.last_ms, now_ms
        self.first_ms = self.first_ms or now_ms
        self.event_id = sighting.event_id

    def meet(self, others: Sequence[Subject], sighting: Sighting, now_ms: int) -> None:
        for other in others:
            key = sighting.subjects.get(other)
            if key is not None:
                if self.distinct is None:
                    self.distinct = {each: Distinct(_DISTINCT, MOST_DISTINCT) for each in others}
                self.distinct[other].note(key, now_ms // _DISTINCT_MS)

    def visit(self, sighting: Sighting, now_ms: int) -> None:
        if sighting.place is not None:
            before = self.visits[1] if self.visits else None
            self.visits = (before, _Visit(sighting.place, now_ms, sighting.event_id))

    def happen(self, happening: Happening, now_ms: int) -> None:
        if self.later is None:
            self.later = {}
        series = self.later.setdefault(happening.what, Windows(_LATER_MS[happening.what]))
        series.add(min(happening.time_ms, now_ms), now_ms, _bounded(happening.amount_minor))

    def mark(self, mark: Mark, now_ms: int) -> None:
        if self.marks_ms is None:
            self.marks_ms = {}
        self.marks_ms[mark.name] = max(self.marks_ms.get(mark.name, 0), min(mark.time_ms, now_ms))


class _Visit:
    __slots__ = ("event_id", "place", "time_ms")

    def __init__(self, place: Place, time_ms: int, event_id: str) -> None:
        self.place, self.time_ms, self.event_id = place, time_ms, event_id


def _bounded(amount_minor: int) -> int:
    return min(max(amount_minor, 0), MOST_SUM)


_Values = Callable[[list[int]], Sequence[int]]


class _Facts:
    """The facts of one subject or pair: their names, in the order in which the values are worked out."""

    __slots__ = ("_kept", "_pick", "_place_kept", "_place_pick", "_subject", "prefix")

    def __init__(self, name: str, subject: Subject | None, wanted: frozenset[str] | None) -> None:
        self.prefix = name + ":"
        self._subject = subject
        names = _names(name, subject)
        self._kept, self._pick = _picked(names, wanted)
        self._place_kept, self._place_pick = self._kept, self._pick
        if subject is Subject.CARD:
            self._place_kept, self._place_pick = _picked(names + _TRAVEL, wanted)

    def read(self, facts: dict[str, int], record: _Record, sighting: Sighting, now_ms: int) -> None:
        if not self._place_kept:
            return
        values = _payment_values(record, sighting.event_id, now_ms)
        if self._subject is not None:
            values += _subject_values(self._subject, record, now_ms)
        if sighting.place is None:
            facts.update(zip(self._kept, self._pick(values), strict=False))
        else:
            values += _journey(record.visits, sighting.place, sighting.event_id, now_ms)
            facts.update(zip(self._place_kept, self._place_pick(values), strict=False))


def _picked(names: list[str], wanted: frozenset[str] | None) -> tuple[tuple[str, ...], _Values]:
    places = [at for at, each in enumerate(names) if wanted is None or each in wanted]
    kept = tuple(names[at] for at in places)
    if len(places) < 2:  # of one alone `itemgetter` makes no tuple
        return kept, lambda values: [values[at] for at in places]
    return kept, itemgetter(*places)


def _names(name: str, subject: Subject | None) -> list[str]:
    names = [f"{name}_count_{window}" for window in WINDOWS] + [f"{name}_sum_{window}" for window in WINDOWS]
    names += [f"{name}_age_minutes", f"{name}_idle_minutes"]
    if subject is None:
        return names
    names += [f"{name}_{other}s_{window}" for other in COUNTERPARTIES[subject] for window in DISTINCT_WINDOWS]
    for what in _LATER_OF[subject]:
        names += [f"{name}_{what}_{window}" for window in _LATER_WINDOWS[what]]
        if what is Later.REFUNDS:
            names += [f"{name}_refund_sum_{window}" for window in _LATER_WINDOWS[what]]
    if subject is Subject.USER:
        names += [f"user_{mark}_minutes" for mark in MARKS]
    return names


def _payment_values(record: _Record, event_id: str, now_ms: int) -> list[int]:
    payments = record.payments
    payments.slide(now_ms)
    last_ms, before_ms = record.last_ms, record.before_ms
    if record.event_id != event_id:  # a repeat, and there were others since
        last_ms, before_ms = now_ms, last_ms
    age = (last_ms - record.first_ms) // _MINUTE_MS
    idle = (last_ms - before_ms) // _MINUTE_MS if before_ms else NEVER
    return _capped(payments.counts, MOST_COUNT) + _capped(payments.sums, MOST_SUM) + [age, idle]


def _capped(totals: list[int], most: int) -> list[int]:
    return totals if totals[-1] <= most else [min(total, most) for total in totals]


def _subject_values(subject: Subject, record: _Record, now_ms: int) -> list[int]:
    values: list[int] = []
    distinct = record.distinct
    if distinct is None:
        values += _NO_DISTINCT[subject]
    else:
        for each in distinct.values():
            values += each.counts(now_ms // _DISTINCT_MS)
    if record.later is None:
        values += _NO_LATER[subject]
    else:
        for what in _LATER_OF[subject]:
            values += _later_values(what, record.later.get(what), now_ms)
    if subject is Subject.USER:
        marks_ms: Mapping[str, int] = record.marks_ms or {}
        values += [(now_ms - marks_ms[name]) // _MINUTE_MS if name in marks_ms else NEVER for name in MARKS]
    return values


def _later_values(what: Later, series: Windows | None, now_ms: int) -> Sequence[int]:
    if series is None:
        return (0, 0, 0, 0) if what is Later.REFUNDS else (0, 0)
    series.slide(now_ms)
    return series.counts + _capped(series.sums, MOST_SUM) if what is Later.REFUNDS else series.counts


_NO_DISTINCT: Final = {subject: (0, 0, 0) * len(others) for subject, others in COUNTERPARTIES.items()}
_NO_LATER: Final = {
    subject: tuple(value for what in series for value in _later_values(what, None, 0))
    for subject, series in _LATER_OF.items()
}


def _journey(visits: tuple[_Visit | None, _Visit] | None, place: Place, event_id: str, now_ms: int) -> tuple[int, int]:
    if visits is None:
        return 0, 0
    before, last = visits
    if last.event_id != event_id:
        return travel(last.place, place, now_ms - last.time_ms)
    return (0, 0) if before is None else travel(before.place, place, last.time_ms - before.time_ms)


class LocalVelocity:
    """Meets `switch.ports.risk.Velocity`; one thread's.

    now_ms: Unix milliseconds. A clock that goes back stands still here until it has caught up; one that goes back by
    more than an hour was wrong, and everything is forgotten. pairs, wanted: as `RedisVelocity`'s. most_subjects: of
    them and of pairs together at least half, those used last, are kept; of event ids as many.
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        *,
        pairs: Sequence[tuple[Subject, Subject]] = COUNTED_PAIRS,
        wanted: frozenset[str] | None = None,
        most_subjects: int = 200_000,
    ) -> None:
        self._clock_ms = now_ms
        self._now_ms = 0
        self._pair_names = [(*pair, pair_name(*pair)) for pair in pairs]
        self._records = _Lately[_Record](most_subjects)
        self._events = _Lately[bool](most_subjects)
        self.want(wanted)

    def want(self, wanted: frozenset[str] | None) -> None:
        """From now on answer these facts; None: all."""
        self._facts = {subject: _Facts(subject, subject, wanted) for subject in Subject}
        self._pairs = [(one, other, _Facts(name, None, wanted)) for one, other, name in self._pair_names]

    async def see(self, sightings: Sequence[Sighting]) -> list[dict[str, int]]:
        return [self.count(each) for each in sightings]

    async def tell(self, happenings: Sequence[Happening], marks: Sequence[Mark] = ()) -> None:
        self.note(happenings, marks)

    def count(self, sighting: Sighting) -> dict[str, int]:
        now_ms = self._now()
        repeated = self._repeated("see:" + sighting.event_id)
        subjects, facts = sighting.subjects, dict[str, int]()
        for subject, key in subjects.items():
            columns = self._facts[subject]
            record, fresh = self._record(columns.prefix + key)
            if fresh or not repeated:
                record.count(sighting, now_ms)
                record.meet(COUNTERPARTIES[subject], sighting, now_ms)
                if subject is Subject.CARD:
                    record.visit(sighting, now_ms)
            columns.read(facts, record, sighting, now_ms)
        for one, other, columns in self._pairs:
            if one in subjects and other in subjects:
                record, fresh = self._record(columns.prefix + subjects[one] + subjects[other])
                if fresh or not repeated:
                    record.count(sighting, now_ms)
                columns.read(facts, record, sighting, now_ms)
        return facts

    def note(self, happenings: Sequence[Happening], marks: Sequence[Mark] = ()) -> None:
        now_ms = self._now()
        for happening in happenings:
            if not self._repeated(f"{happening.what}:{happening.event_id}"):
                for subject, key in happening.subjects.items():
                    if happening.what not in _LATER_OF[subject]:
                        continue
                    self._record(self._facts[subject].prefix + key)[0].happen(happening, now_ms)
        for mark in marks:
            self._record(self._facts[Subject.USER].prefix + mark.user)[0].mark(mark, now_ms)

    def __len__(self) -> int:
        """Subjects and pairs that are held."""
        return len(self._records)

    def _now(self) -> int:
        now_ms = self._clock_ms()
        if now_ms < self._now_ms - _CLOCK_WAS_WRONG_MS:
            self._records.clear()
            self._events.clear()
            self._now_ms = now_ms
        self._now_ms = max(self._now_ms, now_ms)
        return self._now_ms

    def _repeated(self, event: str) -> bool:
        if self._events.get(event):
            return True
        self._events.put(event, True)
        return False

    def _record(self, key: str) -> tuple[_Record, bool]:
        """(record, whether no payment is counted in it)."""
        record = self._records.get(key)
        if record is None:
            record = _Record()
            self._records.put(key, record)
        return record, not record.last_ms
