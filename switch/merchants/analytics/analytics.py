"""What a merchant asks of its trade, answered from roll-ups."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum, auto
from typing import Final, TypeVar

from switch.domain.analytics import Days, Dimension, Measures, Payers
from switch.domain.money import CURRENCIES
from switch.domain.refusals import Invalid
from switch.merchants.analytics.store import AnalyticsStore
from switch.ports.platform import Merchants

LONGEST_DAYS: Final = 366
_EARLIEST: Final = date(2000, 1, 1)
_LATEST: Final = date(2200, 1, 1)
_NOTHING: Final = Measures()

Key = TypeVar("Key")


class Grouping(Enum):
    HOUR = auto()
    DAY = auto()
    CHANNEL = auto()
    ENTRY = auto()
    STORE = auto()
    TERMINAL = auto()


_DIMENSIONS: Final = {
    Grouping.HOUR: Dimension.HOUR,
    Grouping.CHANNEL: Dimension.CHANNEL,
    Grouping.ENTRY: Dimension.ENTRY,
    Grouping.STORE: Dimension.TERMINAL,
    Grouping.TERMINAL: Dimension.TERMINAL,
}


@dataclass(frozen=True, slots=True)
class Summary:
    currency: str
    measures: Measures
    previous: Measures
    payers: Payers
    previous_payers: Payers


@dataclass(frozen=True, slots=True)
class Group:
    key: str
    measures: Measures
    previous: Measures


@dataclass(frozen=True, slots=True)
class PeakHour:
    """weekday: 1 is Monday. days: how many such days the figures are of."""

    weekday: int
    hour: int
    days: int
    measures: Measures


def days_of(first: str, last: str) -> Days:
    """ISO dates. Raises Invalid.

    >>> days_of("2026-03-01", "2026-03-31").count
    31
    """
    days = Days(_day("days.first_day", first), _day("days.last_day", last))
    if days.last < days.first:
        raise Invalid("days.last_day", "is before first_day")
    if days.count > LONGEST_DAYS:
        raise Invalid("days", f"more than {LONGEST_DAYS} days")
    return days


def _day(field: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Invalid(field, "is not a day, YYYY-MM-DD") from None
    if len(text) != len("YYYY-MM-DD") or not _EARLIEST <= day <= _LATEST:
        raise Invalid(field, "is not a day, YYYY-MM-DD")
    return day


class Analytics:
    """Ranges are `Days` of at most LONGEST_DAYS. Every method raises StoreUnavailable."""

    def __init__(self, store: AnalyticsStore, merchants: Merchants) -> None:
        self._store = store
        self._merchants = merchants

    async def summary(self, merchant_id: str, days: Days) -> list[Summary]:
        """By currency."""
        before, store = days.before(), self._store
        return [
            Summary(
                currency,
                _total(await store.by_day(merchant_id, currency, days)),
                _total(await store.by_day(merchant_id, currency, before)),
                await store.payers(merchant_id, currency, days),
                await store.payers(merchant_id, currency, before),
            )
            for currency in await store.currencies(merchant_id)
        ]

    async def sales(self, merchant_id: str, currency: str, days: Days, grouping: Grouping) -> list[Group]:
        """In the order of the keys. Raises Invalid for a currency that is none."""
        _check(currency)
        before = days.before()
        if grouping is Grouping.DAY:
            return await self._by_day(merchant_id, currency, days, before)
        dimension = _DIMENSIONS[grouping]
        now = await self._store.by_key(merchant_id, currency, dimension, days)
        then = await self._store.by_key(merchant_id, currency, dimension, before)
        if grouping is Grouping.STORE:
            stores = await self._merchants.stores_of_terminals(merchant_id)
            now, then = _by_store(now, stores), _by_store(then, stores)
        return [Group(key, now.get(key, _NOTHING), then.get(key, _NOTHING)) for key in sorted({*now, *then})]

    async def _by_day(self, merchant_id: str, currency: str, days: Days, before: Days) -> list[Group]:
        now = await self._store.by_day(merchant_id, currency, days)
        then = await self._store.by_day(merchant_id, currency, before)
        return [
            Group(day.isoformat(), now.get(day, _NOTHING), then.get(day - timedelta(days=days.count), _NOTHING))
            for day in _each(days)
        ]

    async def declines(self, merchant_id: str, currency: str, days: Days) -> list[tuple[str, int]]:
        """(response code, how many), the most frequent first. Raises Invalid."""
        _check(currency)
        found = await self._store.by_key(merchant_id, currency, Dimension.DECLINE, days)
        return sorted(((code, each.declined_count) for code, each in found.items()), key=lambda each: (-each[1], each))

    async def baskets(self, merchant_id: str, currency: str, days: Days) -> dict[int, Measures]:
        """By the number of the basket, the smallest first. Raises Invalid."""
        _check(currency)
        found = await self._store.by_key(merchant_id, currency, Dimension.BASKET, days)
        return {int(bucket): found[bucket] for bucket in sorted(found)}

    async def payers(self, merchant_id: str, currency: str, days: Days) -> tuple[Payers, dict[date, Payers]]:
        """Of the range, and of each of its days. Raises Invalid."""
        _check(currency)
        by_day = await self._store.payers_by_day(merchant_id, currency, days)
        whole = await self._store.payers(merchant_id, currency, days)
        return whole, {day: by_day.get(day, Payers()) for day in _each(days)}

    async def peak_hours(self, merchant_id: str, currency: str, days: Days) -> list[PeakHour]:
        """By sales on such a day, the most first. Raises Invalid."""
        _check(currency)
        found = await self._store.by_weekday(merchant_id, currency, days)
        hours = [
            PeakHour(weekday, hour, days.of_weekday(weekday), measures)
            for (weekday, hour), measures in sorted(found.items())
            if measures.sales_count
        ]
        return sorted(hours, key=lambda each: -each.measures.sales_count / each.days)

    async def events_behind(self) -> int:
        return await self._store.events_behind()


def _check(currency: str) -> None:
    if currency not in CURRENCIES:
        raise Invalid("currency", "is not a currency of ours (ISO 4217, upper case)")


def _each(days: Days) -> list[date]:
    return [days.first + timedelta(days=number) for number in range(days.count)]


def _total(parts: Mapping[Key, Measures]) -> Measures:
    return sum(parts.values(), _NOTHING)


def _by_store(by_terminal: Mapping[str, Measures], stores: Mapping[str, str]) -> dict[str, Measures]:
    """A terminal counts where it stands today; "" for one that stands nowhere."""
    by_store: defaultdict[str, Measures] = defaultdict(Measures)
    for terminal, measures in by_terminal.items():
        by_store[stores.get(terminal, "")] += measures
    return dict(by_store)
