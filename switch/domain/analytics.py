"""What a merchant's trade is measured in."""

from dataclasses import dataclass, fields
from datetime import date, timedelta
from enum import IntEnum
from typing import Final


class Dimension(IntEnum):
    """What a day's sums are kept by. The numbers are stored: they are never reused."""

    HOUR = 1  # of the business day, "00" to "23"
    CHANNEL = 2  # "" where none was asked
    ENTRY = 3  # the number of the EntryMode
    TERMINAL = 4
    DECLINE = 5  # the response code; declines only
    BASKET = 6  # the number of the bucket, two digits; sales only
    WHOLE = 7  # "": the day itself
    TERMINAL_MONTH = 8  # as TERMINAL, of a calendar month: `day` is its first


# The lower bounds of the baskets from the second on, minor units: 1, 2, 5, 10 … 10,000,000 yuan.
BASKET_EDGES: Final = (*(step * 10**power for power in range(2, 9) for step in (1, 2, 5)), 10**9)


def basket_of(amount_minor: int) -> int:
    """The bucket's number: how many of the edges are not above the amount.

    >>> [basket_of(each) for each in (1, 99, 100, 199, 10**9)]
    [0, 0, 1, 1, 22]
    """
    return sum(edge <= amount_minor for edge in BASKET_EDGES)


def basket_bounds(bucket: int) -> tuple[int, int]:
    """(least, below), minor units; below is 0 for the last one.

    >>> basket_bounds(0), basket_bounds(1), basket_bounds(22)
    ((0, 100), (100, 200), (1000000000, 0))
    """
    least = BASKET_EDGES[bucket - 1] if bucket else 0
    return least, BASKET_EDGES[bucket] if bucket < len(BASKET_EDGES) else 0


@dataclass(frozen=True, slots=True)
class Measures:
    """Sums over events. Amounts are minor units of one currency, all positive.

    approved, declined, unanswered: payments asked for, by what was answered (a pre-authorization is one). sales: what
    moved money to the merchant: sales, orders, captures. refunds. undone: sales that were voided or reversed, by the
    day on which they were.
    """

    approved_count: int = 0
    declined_count: int = 0
    unanswered_count: int = 0
    sales_count: int = 0
    sales_minor: int = 0
    refunds_count: int = 0
    refunds_minor: int = 0
    undone_count: int = 0
    undone_minor: int = 0

    def __add__(self, other: "Measures") -> "Measures":
        """
        >>> (Measures(sales_count=1) + Measures(sales_count=2)).sales_count
        3
        """
        return Measures(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def net_minor(self) -> int:
        return self.sales_minor - self.refunds_minor - self.undone_minor

    @property
    def approval_basis_points(self) -> int | None:
        """Of what was asked for, hundredths of a percent, rounded half up; None if nothing was.

        >>> Measures(approved_count=2, declined_count=1).approval_basis_points
        6667
        """
        asked = self.approved_count + self.declined_count + self.unanswered_count
        return (20_000 * self.approved_count + asked) // (2 * asked) if asked else None

    @property
    def average_sale_minor(self) -> int | None:
        """Rounded half up; None without sales.

        >>> Measures(sales_count=2, sales_minor=5).average_sale_minor
        3
        """
        return (2 * self.sales_minor + self.sales_count) // (2 * self.sales_count) if self.sales_count else None


@dataclass(frozen=True, slots=True)
class Payers:
    """By keyed hash of what they paid with: one who has two cards is two. new: bought here for the first time."""

    count: int = 0
    new: int = 0

    @property
    def returning(self) -> int:
        return self.count - self.new


@dataclass(frozen=True, slots=True)
class Days:
    """Business days, both included."""

    first: date
    last: date

    @property
    def count(self) -> int:
        return (self.last - self.first).days + 1

    def before(self) -> "Days":
        """As many days, just before.

        >>> Days(date(2026, 3, 1), date(2026, 3, 7)).before()
        Days(first=datetime.date(2026, 2, 22), last=datetime.date(2026, 2, 28))
        """
        length = timedelta(days=self.count)
        return Days(self.first - length, self.last - length)

    def whole_months(self) -> "tuple[Days | None, list[Days]]":
        """(the calendar months within, the days before and after them); each part in one piece, None or none if empty.

        >>> months, rest = Days(date(2026, 1, 31), date(2026, 3, 1)).whole_months()
        >>> months, [(str(each.first), each.count) for each in rest]
        (Days(first=datetime.date(2026, 2, 1), last=datetime.date(2026, 2, 28)), [('2026-01-31', 1), ('2026-03-01', 1)])
        >>> Days(date(2026, 1, 2), date(2026, 1, 31)).whole_months()[0]
        """
        one = timedelta(days=1)
        first = self.first if self.first.day == 1 else (self.first.replace(day=1) + 32 * one).replace(day=1)
        after = (self.last + one).replace(day=1)
        if first >= after:
            return None, [self]
        around = (Days(self.first, first - one), Days(after, self.last))
        return Days(first, after - one), [each for each in around if each.count > 0]

    def of_weekday(self, weekday: int) -> int:
        """How many of them are that day of the week, 1 (Monday) to 7.

        >>> Days(date(2026, 3, 2), date(2026, 3, 9)).of_weekday(1)
        2
        """
        until_first = (weekday - self.first.isoweekday()) % 7
        return (self.count - until_first + 6) // 7
