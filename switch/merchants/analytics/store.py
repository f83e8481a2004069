"""What analytics needs of the roll-ups. Met by `switch.store.analytics.PostgresAnalytics`."""

from datetime import date
from typing import Protocol

from switch.domain.analytics import Days, Dimension, Measures, Payers


class AnalyticsStore(Protocol):
    """Every method raises StoreUnavailable. What did not happen is absent."""

    async def currencies(self, merchant_id: str) -> list[str]:
        """By their codes, those of any payment that was asked for."""

    async def by_key(
        self, merchant_id: str, currency: str, dimension: Dimension, days: Days
    ) -> dict[str, Measures]: ...

    async def by_day(self, merchant_id: str, currency: str, days: Days) -> dict[date, Measures]: ...

    async def by_weekday(self, merchant_id: str, currency: str, days: Days) -> dict[tuple[int, int], Measures]:
        """By (weekday, 1 is Monday, and hour)."""

    async def payers(self, merchant_id: str, currency: str, days: Days) -> Payers:
        """Each payer once."""

    async def payers_by_day(self, merchant_id: str, currency: str, days: Days) -> dict[date, Payers]: ...

    async def events_behind(self) -> int: ...
