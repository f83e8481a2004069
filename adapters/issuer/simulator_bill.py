"""The simulated issuer's bills: every movement of money, by the business day on which it was booked."""

from collections.abc import Callable
from datetime import date, datetime
from zoneinfo import ZoneInfo

from adapters.issuer.messages import IssuerBillLine
from switch.domain.bill import BillKind
from switch.domain.money import Money

_SHANGHAI = ZoneInfo("Asia/Shanghai")
# What the issuer keeps of each payment, and gives back with it: 0.35 %.
_FEE_PER_TEN_THOUSAND = 35


class SimulatedBills:
    """now_ms: Unix milliseconds. A day's bill is made once the day is over."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._lines: dict[date, list[IssuerBillLine]] = {}
        self._count = 0

    def book(self, kind: BillKind, message_id: str, amount_minor: int, currency: str, original: str = "") -> None:
        """original: message id of the payment that this is of, "" if it is the payment."""
        now_ms = self._now_ms()
        self._count += 1
        fee_minor = amount_minor * _FEE_PER_TEN_THOUSAND // 10_000
        line = IssuerBillLine(
            kind, message_id, Money(amount_minor, currency), now_ms, original, f"B{self._count:08d}",
            fee_minor if kind is BillKind.PAYMENT else -fee_minor,
        )  # fmt: skip
        self._lines.setdefault(_day_of(now_ms), []).append(line)

    async def of(self, day: date) -> list[IssuerBillLine] | None:
        """None as long as the day is not over."""
        return list(self._lines.get(day, ())) if day < _day_of(self._now_ms()) else None


def _day_of(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, _SHANGHAI).date()
