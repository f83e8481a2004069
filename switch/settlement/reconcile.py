"""Reconciling one channel's day: the bill kept, compared with our records, and what it came to entered exactly once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Protocol

import structlog

from switch.domain.bill import Bill, BillKind
from switch.domain.movement import Movement
from switch.domain.packed_lines import PackedLines, stored_kind
from switch.domain.reconciliation import BreakClass, Found, Run, Side
from switch.domain.refusals import Missing, NotPossible, Refusal
from switch.ports import BilledChannel, BillRefused, Clock
from switch.settlement.bill_file import SHANGHAI, day_of
from switch.settlement.classify import break_of
from switch.settlement.compare import Comparison, Day, Finding, Verdict
from switch.store.reconciliation import Claim, Kept, LeaseLost, Outcome

log = structlog.get_logger()

_DAY_MS: Final = 86_400_000
_LINES_AT_ONCE: Final = 5_000
_BEATS_S: Final = 20.0
_FETCH_S: Final = 600.0
_FIRST_RETRY_MS: Final = 600_000
_LONGEST_RETRY_MS: Final = 7_200_000


class Store(Protocol):
    """The durable side. Raises StoreUnavailable."""

    async def claim(self, channel: str, day: date, due_ms: int | None) -> Claim | None: ...

    async def keep_lease(self, claim: Claim) -> None: ...

    async def give_up(self, claim: Claim, trouble: str, next_time_ms: int | None) -> None: ...

    async def keep_bill(self, claim: Claim, lines: PackedLines, digest: bytes, who: str, now_ms: int) -> Kept: ...

    async def kept_lines(self, channel: str, day: date) -> tuple[int, PackedLines] | None: ...

    def movements(self, channel: str, from_ms: int, until_ms: int) -> AsyncIterator[Movement]: ...

    async def conclude(self, claim: Claim, outcome: Outcome) -> Run: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """tolerance_s: so near to midnight a channel's clock may say another day. most_breaks: a bill with more of them is
    not ours. again_days: how long what has not ended here is compared again, once a day. early: a day may be reconciled
    before it has ended."""

    tolerance_s: float = 600.0
    most_breaks: int = 100_000
    again_days: int = 7
    early: bool = False


class Reconciliations:
    """bills: the channels of this process that have one. told: of a bill that supersedes another."""

    def __init__(
        self,
        store: Store,
        bills: Mapping[str, BilledChannel],
        clock: Clock,
        rules: Rules,
        told: Callable[[str], None] = lambda channel: None,
    ) -> None:
        self._store = store
        self._bills = bills
        self._clock = clock
        self._rules = rules
        self._told = told

    @property
    def channels(self) -> frozenset[str]:
        """Whose bill this process can fetch."""
        return frozenset(self._bills)

    async def run(self, channel: str, day: date, who: str, bill: Bill | None = None, *, due_only: bool = False) -> Run:
        """Compare with `bill`, or with the bill that is fetched now, or where this process has no such channel with the
        last that was kept.

        due_only: for the daily runner, which keeps to the day's own time and does not fetch again what it compared.
        Raises NotPossible (being reconciled just now, the day has not ended, the bill cannot be ours), Missing (no bill
        to be had here), BillNotReady, BillRefused, OSError, StoreUnavailable.
        """
        now_ms = self._clock.time_ms()
        bounds = day_of(day, self._rules.tolerance_s)
        if now_ms < bounds.until_ms and not self._rules.early:
            raise NotPossible("the day has not ended")
        claim = await self._store.claim(channel, day, now_ms if due_only else None)
        if claim is None:
            raise NotPossible("it is not due" if due_only else "it is being reconciled just now")
        try:
            async with _Beating(self._store, claim):
                version, lines = await self._lines(claim, who, bill, refetch=not due_only)
                del bill
                return await self._compared(claim, bounds, version, lines)
        except LeaseLost:
            raise NotPossible("another process has taken it over") from None
        except BaseException as error:
            await self._give_up(claim, error, now_ms)
            raise

    async def _give_up(self, claim: Claim, error: BaseException, now_ms: int) -> None:
        """The next try is later each time, two hours at most; what a try cannot mend is not tried again by itself."""
        again = not isinstance(error, Refusal)
        wait_ms = min(_FIRST_RETRY_MS << min(claim.attempts, 10), _LONGEST_RETRY_MS)
        trouble = f"{type(error).__name__}: {error}"[:500]
        with suppress(Exception):  # else the lease runs out by itself
            await asyncio.shield(self._store.give_up(claim, trouble, now_ms + wait_ms if again else None))

    async def _lines(self, claim: Claim, who: str, bill: Bill | None, *, refetch: bool) -> tuple[int, PackedLines]:
        fetch = self._bills.get(claim.channel)
        if bill is None and fetch is not None and (refetch or not claim.bill_version):
            async with asyncio.timeout(_FETCH_S):
                bill = await fetch.bill(claim.day)
        if bill is None:
            kept = await self._store.kept_lines(claim.channel, claim.day)
            if kept is None:
                raise Missing("this process has no such channel with a bill, and none was kept")
            return kept
        if (bill.channel, bill.day) != (claim.channel, claim.day):
            raise BillRefused("foreign", "of another channel or day")
        lines = _packed(bill)
        digest = await asyncio.to_thread(lines.digest)
        kept_as = await self._store.keep_bill(claim, lines, digest, who, self._clock.time_ms())
        if kept_as.superseded:
            log.warning(
                "bill_superseded", channel=claim.channel, day=str(claim.day), version=kept_as.version,
                before=kept_as.superseded,
            )  # fmt: skip
            self._told(claim.channel)
        return kept_as.version, lines

    async def _compared(self, claim: Claim, bounds: Day, version: int, lines: PackedLines) -> Run:
        work = _Work(claim, bounds, self._rules.most_breaks)
        comparison = Comparison(Bill(claim.channel, claim.day, lines), bounds)
        from_ms, until_ms = bounds.from_ms - bounds.tolerance_ms, bounds.until_ms + bounds.tolerance_ms
        async for movement in self._store.movements(claim.channel, from_ms, until_ms):
            finding = comparison.take(movement)
            if finding is not None:
                work.take(finding)
        for number, finding in enumerate(comparison.rest()):
            work.take(finding)
            if number % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)  # payments of this process go on
        sides = await _sides(lines)
        now_ms = self._clock.time_ms()
        again = work.has_open and now_ms < bounds.until_ms + self._rules.again_days * _DAY_MS
        outcome = Outcome(
            version, work.counts, sides, work.found, work.edges, now_ms, business_day(now_ms),
            now_ms + _DAY_MS if again else None,
        )  # fmt: skip
        done = await self._store.conclude(claim, outcome)
        log.info("reconciled", channel=claim.channel, day=str(claim.day), lines=len(lines), breaks=done.active_breaks)
        return done


def _packed(bill: Bill) -> PackedLines:
    try:
        return bill.lines if isinstance(bill.lines, PackedLines) else PackedLines(bill.lines)
    except (ValueError, OverflowError):
        raise BillRefused("malformed", "a name or amount that no bill has") from None


class _Work:
    """What one comparison has come to so far."""

    def __init__(self, claim: Claim, bounds: Day, most_breaks: int) -> None:
        self.counts: Counter[str] = Counter()
        self.found: list[Found] = []
        self.edges: list[tuple[int, str]] = []
        self._claim, self._bounds, self._most = claim, bounds, most_breaks
        self._repeats: Counter[tuple[BillKind, str]] = Counter()

    @property
    def has_open(self) -> bool:
        return self.counts[BreakClass.OPEN_HERE.name] > 0 or self.counts[Verdict.OPEN] > 0

    def take(self, finding: Finding) -> None:
        """Raises NotPossible once there are more breaks than any bill of ours would have."""
        ours, line = finding.ours, finding.line
        if ours is not None and line is not None and not self._bounds.holds(ours.time_ms):
            self.edges.append((stored_kind(line.kind), line.reference))
        repeat = 0
        if finding.verdict is Verdict.DUPLICATE and line is not None:
            self._repeats[line.kind, line.reference] += 1
            repeat = self._repeats[line.kind, line.reference]
        found = break_of(self._claim.channel, self._claim.day, self._bounds, finding, repeat)
        self.counts[finding.verdict if found is None else found.break_class.name] += 1
        if found is None:
            return
        self.found.append(found)
        if len(self.found) > self._most:
            raise NotPossible(f"more than {self._most} breaks: this bill is not of these records")


class _Beating:
    """Keeps the lease while the work goes on; the work's own commit is fenced besides."""

    def __init__(self, store: Store, claim: Claim) -> None:
        self._store, self._claim = store, claim
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._beat(), name=f"reconciling {self._claim.channel}")

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEATS_S)
            try:
                await self._store.keep_lease(self._claim)
            except LeaseLost:
                return
            except Exception as error:
                log.warning("lease_not_kept", channel=self._claim.channel, reason=type(error).__name__)


async def _sides(lines: PackedLines) -> dict[str, Side]:
    """What the bill comes to, by currency."""
    sums: dict[str, list[int]] = {}
    for number, (kind, amount_minor, currency, fee_minor) in enumerate(lines.money()):
        of = sums.setdefault(currency, [0, 0, 0])
        of[0 if kind is BillKind.PAYMENT else 1] += amount_minor
        of[2] += fee_minor
        if number % _LINES_AT_ONCE == 0:
            await asyncio.sleep(0)
    return {currency: Side(*each) for currency, each in sums.items()}


def business_day(time_ms: int) -> date:
    """
    >>> business_day(1_767_283_200_000)
    datetime.date(2026, 1, 2)
    """
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(SHANGHAI).date()


def days_before(day: date, count: int) -> list[date]:
    """
    >>> days_before(date(2026, 1, 2), 2)
    [datetime.date(2026, 1, 1), datetime.date(2025, 12, 31)]
    """
    return [day - timedelta(days=number) for number in range(1, count + 1)]
