from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch.routing.hours import WEEK_MINUTES, minute_of_week, read_hours


@given(st.datetimes(min_value=datetime(1992, 1, 1), max_value=datetime(2090, 1, 1)))
def test_a_minute_of_the_week_is_what_the_time_zone_says(moment: datetime) -> None:
    there = moment.replace(tzinfo=ZoneInfo("Asia/Shanghai"))
    assert minute_of_week(int(there.timestamp() * 1000)) == there.weekday() * 1440 + there.hour * 60 + there.minute


@pytest.mark.parametrize(
    ("windows", "spans"),
    [
        (["mon 09:00-18:00"], [(540, 1080)]),
        (["mon-tue 09:00-10:00"], [(540, 600), (1980, 2040)]),
        (["mon,wed 00:00-24:00"], [(0, 1440), (2880, 4320)]),
        (["mon 23:00-01:00"], [(1380, 1500)]),
        (["sun 23:00-01:00"], [(0, 60), (WEEK_MINUTES - 60, WEEK_MINUTES)]),
        (["sat-mon 00:00-00:01"], [(0, 1), (7200, 7201), (8640, 8641)]),
        (["mon 09:00-10:00", "mon 09:30-11:00"], [(540, 660)]),
        (["daily 00:00-24:00"], [(0, WEEK_MINUTES)]),
        (["mon 09:00-09:00"], [(540, 1980)]),
        ([], []),
    ],
)
def test_windows_are_spans_of_the_week(windows: list[str], spans: list[tuple[int, int]]) -> None:
    hours = read_hours(windows)
    assert list(hours.spans) == spans
    minutes = {minute for start, end in spans for minute in range(start, end)}
    assert all(hours.hold(minute) == (minute in minutes) for minute in range(WEEK_MINUTES))


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ("monday 09:00-10:00", "days are mon"),
        ("mon 9:00-10:00", "must read like"),
        ("mon 09:00", "must read like"),
        ("mon 09:60-10:00", "a time of day"),
        ("mon 09:00-24:01", "a time of day"),
        ("mon 25:00-26:00", "a time of day"),
        ("mon 24:00-01:00", "no window begins at 24:00"),
        ("mon, tue 09:00-10:00", "must read like"),
        ("mon-xyz 09:00-10:00", "days are mon"),
        ("-mon 09:00-10:00", "days are mon"),
        ("", "must read like"),
    ],
)
def test_other_texts_are_refused(window: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_hours([window])
