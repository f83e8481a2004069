"""One page of a merchant's payments by any fields, inside a bounded time.

Rows come newest first, which is the descending order of ids. One field drives the search: its index is walked from the
page's beginning, and the other fields are compared on the way. Names that are nearly unique drive before all others.
Of fields that may be common the rarest drives, and which that is is measured, not estimated: each is counted in its
index, up to a bound. Where the newest rows fill the page already nothing is counted. A walk that finds too little in
its time ends the page, which then says from where to go on.
An amount's range is the one filter whose index is not in the order of ids: if it is rare its rows are gathered and
sorted, else it is compared on the way.
"""
# ruff: noqa: S608 -- statements are put together from the constants here; every value is an argument

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from asyncpg import Record

from switch.domain.identity import lowest_id_at
from switch.domain.money import LARGEST_AMOUNT_MINOR, Money
from switch.domain.states import EntryMode, Operation, State
from switch.domain.transaction import Page, Transaction, TransactionFilter
from switch.store.sessions import Connection

_LAST: Final = UUID(int=(1 << 128) - 1)
# A field that has more rows than this is walked, not gathered.
_PROBE: Final = 5_000
_GATHER: Final = 50_000
_FIRST_WALK, _LONGEST_WALK = 1_000, 4_000
# A store with more terminals is not walked terminal by terminal.
_TERMINALS: Final = 100

# Every path but the walk of one index in its order is ruled out for these statements: their plans are made for unknown
# values and kept, and the most frequent value must not be sorted whole because another one is rare.
_PLANNER = "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"

_COUNT_TERMINALS = """
SELECT sum(counted.count)::bigint AS whole, max(counted.count) AS most
FROM unnest($5::text[]) AS standing (terminal)
CROSS JOIN LATERAL (
    SELECT count(*) AS count FROM (
        SELECT id FROM merchant_transactions
        WHERE merchant_id = $1 AND terminal_id = standing.terminal AND id < $2 AND id >= $3
        ORDER BY id DESC LIMIT $4) AS few) AS counted
"""

_COLUMNS: Final = (
    *("merchant_id", "id", "answered_time_ms", "operation", "state", "amount_minor", "currency", "approved_minor"),
    *("captured_minor", "refunded_minor", "entry", "terminal_id", "channel", "response_code", "reason"),
    *("approval_code", "retrieval_reference", "channel_reference", "reference", "masked_credential", "card_first6"),
    *("card_last4", "payer_key"),
)

# Nearly unique: the first that is given drives. (filter's field, column)
_NAMES: Final = (
    ("reference", "reference"),
    ("channel_reference", "channel_reference"),
    ("retrieval_reference", "retrieval_reference"),
    ("approval_code", "approval_code"),
    ("payer_key", "payer_key"),
    ("card_last_four", "card_last4"),
    ("card_first_six", "card_first6"),
)
# May be common: the rarest that is given drives.
_KINDS: Final = (("response_code", "response_code"), ("state", "state"), ("channel", "channel"), ("entry", "entry"))
_SMALL_NUMBERS: Final = frozenset({"state", "entry"})


@dataclass(slots=True)
class _Arguments:
    """Values of one statement. add: gives the value's place in it."""

    values: list[Any] = field(default_factory=list)

    def add(self, value: Any, kind: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{kind}"


@dataclass(frozen=True, slots=True)
class _Condition:
    """name: ids, name, kind, terminals or amounts; the last holds (currency, lowest, highest). column: the others'."""

    name: str
    column: str
    value: Any

    def sql(self, arguments: _Arguments) -> str:
        match self.name:
            case "ids":
                return f"id = ANY ({arguments.add(self.value, 'uuid[]')})"
            case "terminals":
                return f"terminal_id = ANY ({arguments.add(self.value, 'text[]')})"
            case "amounts":
                currency, lowest, highest = self.value
                text = f"currency = {arguments.add(currency, 'text')}"
                if lowest == highest:
                    return f"{text} AND amount_minor = {arguments.add(lowest, 'bigint')}"
                bounds = f"{arguments.add(lowest, 'bigint')} AND {arguments.add(highest, 'bigint')}"
                return f"{text} AND amount_minor BETWEEN {bounds}"
        if self.column in _SMALL_NUMBERS:
            return f"{self.column} = {arguments.add(int(self.value), 'smallint')}"
        if self.column == "payer_key":
            return f"payer_key = {arguments.add(self.value, 'bytea')} AND payer_key <> ''"
        # The indexes of the names leave out the empty ones, which the planner must be told.
        filled = f" AND {self.column} <> ''" if any(self.column == column for _, column in _NAMES) else ""
        return f"{self.column} = {arguments.add(self.value, 'text')}{filled}"

    @property
    def ordered(self) -> bool:
        """Whether its index, for this one value, is in the order of ids."""
        if self.name == "amounts":
            return bool(self.value[1] == self.value[2])
        return self.name != "terminals"


def conditions_of(wanted: TransactionFilter) -> list[_Condition]:
    """In the order in which they would drive."""
    found = []
    if wanted.authorization_ids is not None:
        found.append(_Condition("ids", "", list(wanted.authorization_ids)))
    found += [_Condition("name", column, value) for name, column in _NAMES if (value := getattr(wanted, name))]
    if wanted.terminal_ids is not None and len(wanted.terminal_ids) == 1:
        found.append(_Condition("kind", "terminal_id", wanted.terminal_ids[0]))
    elif wanted.terminal_ids is not None:
        found.append(_Condition("terminals", "", list(wanted.terminal_ids)))
    if wanted.currency:
        highest = wanted.at_most_minor or LARGEST_AMOUNT_MINOR
        found.append(_Condition("amounts", "", (wanted.currency, wanted.at_least_minor, highest)))
    found += [_Condition("kind", column, value) for name, column in _KINDS if (value := getattr(wanted, name))]
    return found


class Search:
    """One page. budget_s: how long the walk may go on for; the statement under way is finished."""

    def __init__(self, merchant_id: str, wanted: TransactionFilter, size: int, budget_s: float) -> None:
        self._merchant_id = merchant_id
        self._conditions = conditions_of(wanted)
        self._low = lowest_id_at(wanted.from_ms)
        self._high = lowest_id_at(wanted.until_ms) if wanted.until_ms else _LAST
        self._size = size
        self._budget_s = budget_s

    async def page(self, connection: Connection, before: UUID | None) -> Page:
        """Within a transaction of its own."""
        ends_s = time.monotonic() + self._budget_s
        await connection.execute(_PLANNER)
        before = min(before or self._high, self._high, key=lambda each: each.int)
        if self._may_be_dense():
            rows = await self._walk(connection, None, self._conditions, before, _FIRST_WALK, self._size + 1)
            if len(rows) > self._size:
                page = [transaction_from(row) for row in rows[: self._size]]
                return Page(page, page[-1].id)
        driver = await self._driver(connection, before)
        compared = [each for each in self._conditions if each is not driver]
        rows = []
        walk = _FIRST_WALK if compared else self._size + 1
        if compared and driver is not None and driver.name == "terminals":
            walk = _PROBE  # they have no more
        while True:
            rows += await self._walk(connection, driver, compared, before, walk, self._size + 1 - len(rows))
            if len(rows) > self._size:
                page = [transaction_from(row) for row in rows[: self._size]]
                return Page(page, page[-1].id)
            reached = await self._reached(connection, driver, before, walk) if compared else None
            if reached is None or time.monotonic() >= ends_s:
                return Page([transaction_from(row) for row in rows], reached)
            before, walk = reached, min(2 * walk, _LONGEST_WALK)

    def _may_be_dense(self) -> bool:
        """Fields of which each may be common: a short look at the newest rows is quicker than counting them."""
        first = self._conditions[0] if self._conditions else None
        if first is None or first.name in ("ids", "name"):
            return False
        return len(self._conditions) > 1 or not (first.ordered or first.name == "terminals")

    async def _driver(self, connection: Connection, before: UUID) -> _Condition | None:
        """None: all of the merchant's, in order."""
        first = self._conditions[0] if self._conditions else None
        if first is None or first.name in ("ids", "name"):
            return first
        if len(self._conditions) == 1 and (first.ordered or first.name == "terminals"):
            return first
        rare: list[tuple[int, _Condition]] = []
        for each in self._conditions:
            count = await self._count(connection, each, before)
            if count is not None:
                rare.append((count, each))
        if rare:
            return min(rare, key=lambda pair: pair[0])[1]
        return next((each for each in self._conditions if each.ordered), None)

    async def _count(self, connection: Connection, condition: _Condition, before: UUID) -> int | None:
        """How many rows the condition has, read in its index; None where that is more than it should be gathered of."""
        if condition.name == "terminals":
            return await self._count_of_terminals(connection, condition, before)
        arguments = _Arguments()
        if condition.ordered:
            bound, source = _PROBE, self._walked(["id"], condition, before, _PROBE, arguments)
        else:
            merchant = f"merchant_id = {arguments.add(self._merchant_id, 'text')}"
            bound, source = _GATHER, self._gathered(merchant, condition, arguments)
        count = await connection.fetchval(f"SELECT count(*) FROM ({source}) AS counted", *arguments.values)
        return count if count < bound else None

    async def _count_of_terminals(self, connection: Connection, condition: _Condition, before: UUID) -> int | None:
        """Each terminal is counted up to its share of the bound."""
        if not 0 < len(condition.value) <= _TERMINALS:
            return None if condition.value else 0
        share = max(1, _PROBE // len(condition.value))
        bounds = (self._merchant_id, before, self._low, share, condition.value)
        counts = await connection.fetchrow(_COUNT_TERMINALS, *bounds)
        assert counts is not None  # an aggregate always has one row
        return int(counts["whole"]) if counts["most"] < share else None

    def _walked(
        self, columns: Sequence[str], driver: _Condition | None, before: UUID, limit: int, arguments: _Arguments
    ) -> str:
        """SQL of the next rows that the driver has, newest first, at most `limit` of them."""
        merchant = f"merchant_id = {arguments.add(self._merchant_id, 'text')}"
        bounds = f"id < {arguments.add(before, 'uuid')} AND id >= {arguments.add(self._low, 'uuid')}"
        order = f"ORDER BY id DESC LIMIT {arguments.add(limit, 'bigint')}"
        listed = ", ".join(columns)
        if driver is None:
            return f"SELECT {listed} FROM merchant_transactions WHERE {merchant} AND {bounds} {order}"
        if driver.name == "terminals":
            each = (
                f"SELECT {listed} FROM merchant_transactions "
                f"WHERE {merchant} AND terminal_id = standing.terminal AND {bounds} {order}"
            )
            standing = f"unnest({arguments.add(driver.value, 'text[]')}) AS standing (terminal)"
            return f"SELECT {listed} FROM {standing} CROSS JOIN LATERAL ({each}) AS t {order}"
        if driver.ordered:
            condition = driver.sql(arguments)
            return f"SELECT {listed} FROM merchant_transactions WHERE {merchant} AND {condition} AND {bounds} {order}"
        gathered = self._gathered(merchant, driver, arguments)
        ids = f"SELECT id FROM ({gathered}) AS gathered WHERE {bounds} {order}"
        return (
            f"SELECT {', '.join(f't.{each}' for each in columns)} FROM ({ids}) AS ids "
            f"JOIN merchant_transactions AS t ON t.{merchant} AND t.id = ids.id ORDER BY t.id DESC"
        )

    def _gathered(self, merchant: str, condition: _Condition, arguments: _Arguments) -> str:
        """SQL of the ids in an index that is not in their order, at most _GATHER of them."""
        where = f"{merchant} AND {condition.sql(arguments)}"
        return f"SELECT id FROM merchant_transactions WHERE {where} LIMIT {_GATHER}"

    async def _walk(
        self,
        connection: Connection,
        driver: _Condition | None,
        compared: list[_Condition],
        before: UUID,
        walk: int,
        limit: int,
    ) -> list[Record]:
        arguments = _Arguments()
        source = self._walked(_COLUMNS, driver, before, walk, arguments)
        where = " AND ".join(each.sql(arguments) for each in compared) or "true"
        most = arguments.add(limit, "bigint")
        statement = f"SELECT * FROM ({source}) AS walked WHERE {where} ORDER BY id DESC LIMIT {most}"
        return await connection.fetch(statement, *arguments.values)

    async def _reached(self, connection: Connection, driver: _Condition | None, before: UUID, walk: int) -> UUID | None:
        """The last id of that walk; None where it came to the end."""
        arguments = _Arguments()
        source = self._walked(["id"], driver, before, walk, arguments)
        statement = f"SELECT id FROM ({source}) AS walked ORDER BY id DESC OFFSET {arguments.add(walk - 1, 'bigint')}"
        found: UUID | None = await connection.fetchval(statement, *arguments.values)
        return None if found is None else UUID(int=found.int)


def transaction_from(row: Record) -> Transaction:
    return Transaction(
        merchant_id=row["merchant_id"],
        id=UUID(int=row["id"].int),
        answered_time_ms=row["answered_time_ms"],
        operation=Operation(row["operation"]),
        state=State(row["state"]),
        money=Money(row["amount_minor"], row["currency"]),
        approved_minor=row["approved_minor"],
        captured_minor=row["captured_minor"],
        refunded_minor=row["refunded_minor"],
        entry=EntryMode(row["entry"]),
        terminal_id=row["terminal_id"],
        channel=row["channel"],
        response_code=row["response_code"],
        reason=row["reason"],
        approval_code=row["approval_code"],
        retrieval_reference=row["retrieval_reference"],
        channel_reference=row["channel_reference"],
        reference=row["reference"],
        masked_credential=row["masked_credential"],
    )
