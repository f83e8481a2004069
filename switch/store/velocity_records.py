"""What goes to `velocity.lua` for a payment, and the facts in what comes back.

The numbers of series and marks, and the order of a record's fields, are those of the script.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from operator import itemgetter
from typing import Final

from switch.domain.payer import Place
from switch.domain.risk import Subject
from switch.domain.travel import travel
from switch.domain.velocity import (
    ACCOUNT_COUNTS,
    ACCOUNT_COUNTS_OF,
    COUNTERPARTIES,
    DISTINCT_WINDOWS,
    LATER_COUNTS,
    LATER_OF,
    MARKS,
    MOST_SUM,
    NEVER,
    WINDOWS,
    pair_name,
)
from switch.ports.risk import Later

Pair = tuple[Subject, Subject]

# The head of a record, as HEAD in the script.
_HEAD: Final = struct.Struct("<BBIQQQI5B5I5Q7H")
_FIRST, _LAST, _BEFORE, _EVENT = 3, 4, 5, 6
_COUNTS, _SUMS, _LISTS, _TAIL = 12, 17, 22, 28
# What is worked out behind it: age, idle, five series of (count, sum) in two windows, marks, travel.
_AGE, _IDLE, _SERIES, _MARKS, _TRAVEL = 29, 30, 31, 51, 57
SERIES: Final = (Later.DECLINES, Later.PIN_FAILURES, Later.REFUNDS, Later.LOGIN_FAILURES, Later.WRONG_CODES)
NUMBER: Final = {each: number for number, each in enumerate(SERIES, 1)}
_PLACE_FLAG, _MARKS_FLAG = 1, 2
_SERIES_FLAGS: Final = (4, 8, 16, 32, 64)
_PLACES: Final = struct.Struct("<iiQIiiQ")
_TIMES: Final = struct.Struct("<6Q")
_TWO_WINDOWS: Final = struct.Struct("<BBIQIQ")
_CELL_BYTES: Final = 15
_MINUTE_MS: Final = 60_000

_EVENT_ARGUMENT: Final = struct.Struct("<2sIBQ")
_PLACE_ARGUMENT: Final = struct.Struct("<ii")
_NOBODY: Final = bytes(8)
_NO_TAIL: Final = ((0,) * 4 * len(SERIES), (NEVER,) * len(MARKS), (0, 0))
_NO_LATER: Final = tuple(value for part in _NO_TAIL for value in part)

LATER_SUBJECTS: Final = {what: frozenset((LATER_OF | ACCOUNT_COUNTS_OF)[what]) for what in SERIES}


class EventId:
    """What the script knows an event by: 64 bits of a hash, two bytes of them the shard, the last four in records."""

    __slots__ = ("number", "shard", "short")

    def __init__(self, what: str, event_id: str) -> None:
        digest = blake2b(f"{what}:{event_id}".encode(), digest_size=8).digest()
        self.shard = digest[:2]
        whole = int.from_bytes(digest[2:], "big")
        self.number = str(whole)
        self.short = whole & 0xFFFFFFFF


def event_argument(event: EventId, subjects: int, amount_minor: int) -> bytes:
    return _EVENT_ARGUMENT.pack(event.shard, event.short, subjects, bounded_amount(amount_minor))


def bounded_amount(amount_minor: int) -> int:
    return min(max(amount_minor, 0), MOST_SUM)


def subject_argument(subject: Subject, ids: Mapping[Subject, bytes], place: Place | None) -> bytes:
    """The counterparties that this subject has a list of, eight bytes each; the card's place behind them."""
    others = COUNTERPARTIES[subject]
    extra = ids.get(others[0], _NOBODY)[:8]
    if len(others) > 1:
        extra += ids.get(others[1], _NOBODY)[:8]
    if place is not None and subject is Subject.CARD:
        extra += _PLACE_ARGUMENT.pack(place.latitude_e6, place.longitude_e6)
    return extra


class Columns:
    """The facts of one subject or pair, and where each stands among the values of its record."""

    __slots__ = ("_names", "_pick", "_place_names", "_place_pick", "_wants_later")

    def __init__(self, columns: Mapping[str, int], wanted: frozenset[str] | None) -> None:
        kept = {name: at for name, at in columns.items() if wanted is None or name in wanted}
        self._place_names, self._place_pick = tuple(kept), _picker(kept.values())
        elsewhere = {name: at for name, at in kept.items() if at < _TRAVEL}
        self._names, self._pick = tuple(elsewhere), _picker(elsewhere.values())
        self._wants_later = any(at >= _SERIES for at in kept.values())

    def read(self, record: bytes, now_ms: int, event: int, place: Place | None) -> Iterator[tuple[str, int]]:
        """event: the short id of the payment that asks."""
        head = _HEAD.unpack_from(record)
        last, before = head[_LAST], head[_BEFORE]
        if head[_EVENT] != event:  # a repeat, and there were others since
            last, before = now_ms, last
        age = max(last - head[_FIRST], 0) // _MINUTE_MS
        idle = max(last - before, 0) // _MINUTE_MS if before else NEVER
        later: Sequence[int] = _NO_LATER
        if head[_TAIL] and self._wants_later:
            later = _read_tail(record, head[1], now_ms, event, place)
        values = (*head, age, idle, *later)
        if place is None:
            return zip(self._names, self._pick(values), strict=False)
        return zip(self._place_names, self._place_pick(values), strict=False)


def _picker(places: Iterable[int]) -> Callable[[Sequence[int]], Sequence[int]]:
    wanted = tuple(places)
    if len(wanted) < 2:  # of one alone `itemgetter` makes no tuple
        return lambda values: [values[each] for each in wanted]
    return itemgetter(*wanted)


def _read_tail(record: bytes, flags: int, now_ms: int, event: int, place: Place | None) -> Sequence[int]:
    at = _HEAD.size
    series, marks, journey = _NO_TAIL
    if flags & _PLACE_FLAG:
        if place is not None:
            journey = _journey(_PLACES.unpack_from(record, at), now_ms, event, place)
        at += _PLACES.size
    if flags & _MARKS_FLAG:
        marks = tuple(
            max(now_ms - time_ms, 0) // _MINUTE_MS if time_ms else NEVER for time_ms in _TIMES.unpack_from(record, at)
        )
        at += _TIMES.size
    if flags >= _SERIES_FLAGS[0]:
        counted = list(series)
        for number, flag in enumerate(_SERIES_FLAGS):
            if flags & flag:
                cells, more_cells, *counts = _TWO_WINDOWS.unpack_from(record, at)
                counted[4 * number : 4 * number + 4] = counts
                at += _TWO_WINDOWS.size + _CELL_BYTES * (cells + more_cells)
        series = tuple(counted)
    return (*series, *marks, *journey)


def _journey(places: tuple[int, ...], now_ms: int, event: int, place: Place) -> tuple[int, int]:
    latitude, longitude, time_ms, by, before_latitude, before_longitude, before_ms = places
    if by != event:
        return travel(Place(latitude, longitude), place, now_ms - time_ms)
    if not before_ms:
        return 0, 0
    return travel(Place(before_latitude, before_longitude), place, time_ms - before_ms)


def pair_columns(pair: Pair) -> dict[str, int]:
    return _payment_columns(pair_name(*pair))


def subject_columns(subject: Subject) -> dict[str, int]:
    columns = _payment_columns(subject)
    for at, other in enumerate(COUNTERPARTIES[subject]):
        for window, name in enumerate(reversed(DISTINCT_WINDOWS)):
            columns[f"{subject}_{other}s_{name}"] = _LISTS + 3 * at + window
    for names, of in ((LATER_COUNTS, LATER_OF), (ACCOUNT_COUNTS, ACCOUNT_COUNTS_OF)):
        for name, windows in names.items():
            if subject in of[name]:
                for window, window_name in enumerate(windows):
                    columns[f"{subject}_{name}_{window_name}"] = _later_place(name) + 2 * window
    if subject is Subject.USER:
        columns |= {f"user_{name}_minutes": _MARKS + at for at, name in enumerate(MARKS)}
    if subject is Subject.CARD:
        columns |= {"card_travel_km": _TRAVEL, "card_travel_kmh": _TRAVEL + 1}
    return columns


def _later_place(name: str) -> int:
    """Where a series' shorter window is; the sum of refunds stands behind their count."""
    if name == "refund_sum":
        return _later_place(Later.REFUNDS) + 1
    return _SERIES + 4 * SERIES.index(Later(name))


def _payment_columns(name: str) -> dict[str, int]:
    columns = {}
    for at, window in enumerate(WINDOWS):
        columns[f"{name}_count_{window}"] = _COUNTS + at
        columns[f"{name}_sum_{window}"] = _SUMS + at
    return columns | {f"{name}_age_minutes": _AGE, f"{name}_idle_minutes": _IDLE}
