"""The business day: a calendar day in Asia/Shanghai, as an ISO date."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

_OFFSET_MS: Final = 8 * 3_600_000  # no daylight saving since 1991
_DAY_MS: Final = 86_400_000


def day_at(time_ms: int) -> str:
    """The business day of a moment.

    >>> day_at(1767283199999), day_at(1767283200000)
    ('2026-01-01', '2026-01-02')
    """
    return _day_numbered((time_ms + _OFFSET_MS) // _DAY_MS)


@lru_cache(maxsize=1024)
def _day_numbered(number: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=number)).isoformat()


def begins_ms(day: str) -> int:
    """The first millisecond of the day; raises ValueError for what is no ISO date.

    >>> begins_ms("2026-01-02")
    1767283200000
    """
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * _DAY_MS - _OFFSET_MS


def ends_ms(day: str) -> int:
    """The first millisecond that is no more of the day."""
    return begins_ms(day) + _DAY_MS


def later(day: str, days: int) -> str:
    """
    >>> later("2026-02-28", 1), later("2026-03-01", -1)
    ('2026-03-01', '2026-02-28')
    """
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


@lru_cache(maxsize=1024)
def month_before(day: str) -> str:
    """
    >>> month_before("2026-03-31"), month_before("2026-01-01")
    ('2026-02', '2025-12')
    """
    return later(day[:8] + "01", -1)[:7]


def time_text(time_ms: int) -> str:
    """ISO 8601, with the offset of Shanghai.

    >>> time_text(1767283200001)
    '2026-01-02T00:00:00.001+08:00'
    """
    moment = datetime.fromtimestamp((time_ms + _OFFSET_MS) // 1000, UTC).replace(tzinfo=None)
    return f"{moment.isoformat()}.{time_ms % 1000:03d}+08:00"
