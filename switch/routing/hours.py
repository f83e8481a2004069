"""Times of the week, Asia/Shanghai: `mon-fri 09:00-18:00`, `sat,sun 22:00-02:00`, `daily 00:00-24:00`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

DAY_MINUTES: Final = 24 * 60
WEEK_MINUTES: Final = 7 * DAY_MINUTES
# UTC+8, without daylight saving time since 1991; the epoch was a Thursday.
_SHIFT_MINUTES: Final = 8 * 60 + 3 * DAY_MINUTES
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SYNTAX: Final = re.compile(r"([a-z,-]+) (\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)


def minute_of_week(time_ms: int) -> int:
    """Minutes since Monday 00:00 in Shanghai. time_ms: Unix time.

    >>> minute_of_week(0) == 3 * 1440 + 8 * 60  # Thursday, eight o'clock
    True
    """
    return (time_ms // 60_000 + _SHIFT_MINUTES) % WEEK_MINUTES


@dataclass(frozen=True, slots=True)
class Hours:
    """spans: minutes of the week [from, to), in order, apart from each other."""

    spans: tuple[tuple[int, int], ...]

    def hold(self, minute: int) -> bool:
        return any(start <= minute < end for start, end in self.spans)


def read_hours(windows: Iterable[str]) -> Hours:
    """What ends at or before its start ends on the next day. Raises ValueError that says what is wrong.

    >>> read_hours(["mon 09:00-10:00"]).spans, read_hours(["sun 23:00-01:00"]).spans
    (((540, 600),), ((0, 60), (10020, 10080)))
    """
    minutes = bytearray(WEEK_MINUTES)
    for window in windows:
        match = _SYNTAX.fullmatch(window)
        if match is None:
            raise ValueError("must read like mon-fri 09:00-18:00, sat,sun 22:00-02:00 or daily 00:00-24:00")
        start, end = _minute(match[2], match[3]), _minute(match[4], match[5])
        if start == DAY_MINUTES:
            raise ValueError("no window begins at 24:00")
        length = end - start if end > start else end - start + DAY_MINUTES
        for day in _days(match[1]):
            for minute in range(day * DAY_MINUTES + start, day * DAY_MINUTES + start + length):
                minutes[minute % WEEK_MINUTES] = 1
    return Hours(tuple(_spans(bytes(minutes))))


def _spans(minutes: bytes) -> Iterable[tuple[int, int]]:
    start = minutes.find(1)
    while start >= 0:
        end = minutes.find(0, start)
        end = WEEK_MINUTES if end < 0 else end
        yield start, end
        start = minutes.find(1, end)


def _minute(hour: str, minute: str) -> int:
    of_day = int(hour) * 60 + int(minute)
    if int(minute) > 59 or of_day > DAY_MINUTES:
        raise ValueError("a time of day is 00:00 to 24:00")
    return of_day


def _days(text: str) -> list[int]:
    if text == "daily":
        return list(range(7))
    days: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"days are {', '.join(_DAYS)}, two of them with - between, or daily")
        begin, until = _DAYS.index(first), _DAYS.index(last or first)
        days += [day % 7 for day in range(begin, until + 1 if until >= begin else until + 8)]
    return days
