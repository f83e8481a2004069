"""A channel's day reconciled: planted breaks named, everything once, breaks closed by later bills and by people."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from settlement_books import DAY, NOON_MS, SetClock, balances

from switch.domain.access import Caller, Role
from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.money import Money
from switch.domain.reconciliation import Break, BreakClass, BreakState, Side
from switch.domain.refusals import Invalid, Missing, NotPermitted, NotPossible
from switch.domain.states import Operation, State
from switch.ports import BilledChannel, BillNotReady, BillRefused
from switch.settlement.breaks import Breaks
from switch.settlement.daily import DailyReconciliation
from switch.settlement.reconcile import Reconciliations, Rules
from switch.store.breaks import PostgresBreaks, Wanted
from switch.store.reconciliation import PostgresReconciliation
from switch.store.sessions import Connection

Connect = Callable[[], AbstractAsyncContextManager[Connection]]
Sell = Callable[..., Any]
NEXT = DAY + timedelta(days=1)
DAY_MS = 86_400_000
MIDNIGHT_MS = NOON_MS + DAY_MS // 2
ANN = Caller("finance/ann", frozenset({Role.FINANCE}))
BOB = Caller("finance/bob", frozenset({Role.FINANCE}))
EVERYTHING = Wanted()
_NIL = UUID(int=0)


def line(reference: str, amount_minor: int = 1_000, kind: BillKind = BillKind.PAYMENT, **fields: Any) -> BillLine:
    values: dict[str, Any] = {"time_ms": NOON_MS, "fee_minor": 6 if kind is BillKind.PAYMENT else -6}
    return BillLine(kind=kind, reference=reference, money=Money(amount_minor, "CNY"), **(values | fields))


@dataclass
class FakeBills:
    """A channel whose bills tests write. Days without one are not ready."""

    name: str = "pay"
    bills: dict[date, list[BillLine]] = field(default_factory=dict)
    asked: int = 0
    failure: Exception | None = None

    async def bill(self, day: date) -> Bill:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        if day not in self.bills:
            raise BillNotReady("later")
        return Bill(self.name, day, tuple(self.bills[day]))


@dataclass
class Desk:
    """Everything of reconciliation over one database."""

    work: Reconciliations
    breaks: Breaks
    channel: FakeBills
    store: PostgresReconciliation

    async def all(self, wanted: Wanted = EVERYTHING) -> list[Break]:
        return await self.breaks.page(wanted, ("", _NIL), 500)

    async def named(self) -> dict[str, tuple[BreakClass, BreakState]]:
        return {each.found.reference: (each.found.break_class, each.state) for each in await self.all()}

    async def one(self) -> Break:
        [found] = await self.all(Wanted(states=(BreakState.OPEN, BreakState.ASSIGNED, BreakState.PROPOSED)))
        return found


@pytest.fixture
def desk(books: asyncpg.Pool, connect: Connect, clock: SetClock) -> Desk:
    channel = FakeBills()
    assert isinstance(channel, BilledChannel)
    store = PostgresReconciliation(books, connect)
    work = Reconciliations(store, {"pay": channel}, clock, Rules())
    return Desk(work, Breaks(PostgresBreaks(books), clock), channel, store)


async def test_three_planted_breaks_are_found_and_named(desk: Desk, sell: Sell, books: asyncpg.Pool) -> None:
    for name in ("same", "gone", "less"):
        await sell(name)
    desk.channel.bills[DAY] = [line("same"), line("less", 900), line("foreign", 70)]
    run = await desk.work.run("pay", DAY, "finance/ann")
    assert await desk.named() == {
        "gone": (BreakClass.OURS_ONLY, BreakState.OPEN),
        "less": (BreakClass.AMOUNT, BreakState.OPEN),
        "foreign": (BreakClass.THEIRS_ONLY, BreakState.OPEN),
    }
    assert {each.found.reference: each.found.difference_minor for each in await desk.all()} == {
        "gone": -1_000, "less": -100, "foreign": 70,
    }  # fmt: skip
    assert run.counts == {"match": 1, "OURS_ONLY": 1, "AMOUNT": 1, "THEIRS_ONLY": 1}
    assert run.sides == {"CNY": Side(1_970, 0, 18)}
    assert run.sides["CNY"].settlement_minor == 1_952
    assert await balances(books) == {
        ("", "channel_fees"): 18, ("", "channel:pay"): 70 - 18, ("", "suspense"): -70,
    }  # fmt: skip


async def test_run_again_changes_nothing(desk: Desk, sell: Sell, books: asyncpg.Pool) -> None:
    await sell("gone")
    desk.channel.bills[DAY] = [line("foreign"), line("foreign")]
    first = await desk.work.run("pay", DAY, "finance/ann")
    before, ledger = await desk.all(), await balances(books)
    again = await desk.work.run("pay", DAY, "finance/ann")
    assert (again.runs, replace(again, runs=1, compared_time_ms=first.compared_time_ms)) == (2, first)
    assert (await desk.all(), await balances(books)) == (before, ledger)
    assert await books.fetchval("SELECT count(*) FROM bills") == 1
    assert {each.found.break_class for each in before} == {
        BreakClass.OURS_ONLY, BreakClass.THEIRS_ONLY, BreakClass.DUPLICATE,
    }  # fmt: skip


async def test_two_at_once_are_one(desk: Desk, sell: Sell, books: asyncpg.Pool) -> None:
    desk.channel.bills[DAY] = [line("foreign")]
    done = await asyncio.gather(*(desk.work.run("pay", DAY, "finance/ann") for _ in range(4)), return_exceptions=True)
    assert all(isinstance(each, NotPossible) for each in done if isinstance(each, BaseException))
    assert await balances(books) == {("", "channel_fees"): 6, ("", "channel:pay"): 994, ("", "suspense"): -1_000}


async def test_another_bill_supersedes(desk: Desk, sell: Sell, books: asyncpg.Pool) -> None:
    told: list[str] = []
    desk.work._told = told.append
    await sell("a")
    desk.channel.bills[DAY] = [line("b", fee_minor=10)]
    await desk.work.run("pay", DAY, "finance/ann")
    desk.channel.bills[DAY] = [line("a", fee_minor=4)]
    run = await desk.work.run("pay", DAY, "finance/ann")
    assert (run.bill_version, run.active_breaks, told) == (2, 0, ["pay"])
    assert set((await desk.named()).values()) == {
        (BreakClass.OURS_ONLY, BreakState.RESOLVED), (BreakClass.THEIRS_ONLY, BreakState.RESOLVED),
    }  # fmt: skip
    assert await balances(books) == {("", "channel_fees"): 4, ("", "channel:pay"): -4}
    desk.channel.bills[DAY] = [line("b", fee_minor=10)]
    assert (await desk.work.run("pay", DAY, "finance/ann")).active_breaks == 2
    assert await balances(books) == {("", "channel_fees"): 10, ("", "channel:pay"): 990, ("", "suspense"): -1_000}


async def test_the_next_days_bill_explains(desk: Desk, sell: Sell, books: asyncpg.Pool, clock: SetClock) -> None:
    await sell("late", time_ms=NOON_MS)
    desk.channel.bills = {DAY: [], NEXT: [line("late")]}
    await desk.work.run("pay", DAY, "finance/ann")
    assert (await desk.one()).found.break_class is BreakClass.OURS_ONLY
    clock.now_ms += DAY_MS
    await desk.work.run("pay", NEXT, "finance/ann")
    reasons = {each.found.break_class: (each.state, each.reason, each.closed_by) for each in await desk.all()}
    assert reasons == {
        BreakClass.OURS_ONLY: (BreakState.RESOLVED, f"in the bill of {NEXT}", ""),
        BreakClass.THEIRS_ONLY: (BreakState.RESOLVED, f"our record of {DAY}", ""),
    }
    assert await balances(books) == {("", "channel_fees"): 6, ("", "channel:pay"): -6}
    await desk.work.run("pay", DAY, "finance/ann")  # and stays so
    assert await desk.all(Wanted(states=(BreakState.OPEN,))) == []
    desk.channel.bills[NEXT] = [line("other", 5)]  # a bill without it takes the explanation away
    await desk.work.run("pay", NEXT, "finance/ann")
    assert [each.found.reference for each in await desk.all(Wanted(states=(BreakState.OPEN,)))] == ["late", "other"]


@pytest.mark.parametrize("billed", [True, False])
async def test_near_midnight_the_neighbours_bill_decides(desk: Desk, sell: Sell, clock: SetClock, billed: bool) -> None:
    await sell("edge", time_ms=MIDNIGHT_MS - 5_000)
    desk.channel.bills = {DAY: [], NEXT: [line("edge", time_ms=MIDNIGHT_MS + 5_000)] if billed else []}
    await desk.work.run("pay", DAY, "finance/ann")
    assert (await desk.one()).found.break_class is BreakClass.NEIGHBOUR
    clock.now_ms += DAY_MS
    await desk.work.run("pay", NEXT, "finance/ann")
    for _ in range(2):
        [found] = await desk.all()
        expected = (BreakClass.NEIGHBOUR, BreakState.RESOLVED) if billed else (BreakClass.OURS_ONLY, BreakState.OPEN)
        assert (found.found.break_class, found.state) == expected
        await desk.work.run("pay", DAY, "finance/ann")


async def test_just_after_midnight_the_bill_before_decides(desk: Desk, sell: Sell, clock: SetClock) -> None:
    await sell("early", time_ms=MIDNIGHT_MS + 5_000)
    desk.channel.bills = {DAY: [line("early", time_ms=MIDNIGHT_MS - 5_000)], NEXT: []}
    await desk.work.run("pay", DAY, "finance/ann")
    clock.now_ms += DAY_MS
    await desk.work.run("pay", NEXT, "finance/ann")
    assert {each.state for each in await desk.all()} == {BreakState.RESOLVED}


async def test_what_has_not_ended_is_asked_for_and_compared_again(
    desk: Desk, sell: Sell, books: asyncpg.Pool, clock: SetClock
) -> None:
    record = await sell("waits", state=State.AWAITING_PAYER, captured_minor=0)
    await books.execute(
        "INSERT INTO follow_ups (merchant_id, authorization_id, operation, payer_key, created_time_ms, state,"
        " first_due_time_ms, due_time_ms, attempts, lease_until_ms, fence, trace, detail)"
        " VALUES ($1, $2, $3, '', $4, 1, $5, $5, 0, 0, 0, '{}', '')",
        record.merchant_id, record.id, Operation.INQUIRY, NOON_MS, 2**50,
    )  # fmt: skip
    desk.channel.bills[DAY] = [line("waits")]
    daily = DailyReconciliation(desk.work, clock, first_hour=10)
    await daily.look()
    assert (await desk.one()).found.break_class is BreakClass.OPEN_HERE
    assert await books.fetchval("SELECT due_time_ms < $1 AND hastened FROM follow_ups", 2**49)
    assert await balances(books) == {("", "channel_fees"): 6, ("", "channel:pay"): -6}  # no outcome was invented
    await books.execute(
        "UPDATE authorizations SET state = 3, decision = 1, approved_minor = 1000, captured_minor = 1000"
    )
    await daily.look()
    assert (await desk.one()).state is BreakState.OPEN  # not before a day has passed
    asked, clock.now_ms = desk.channel.asked, clock.now_ms + DAY_MS
    desk.channel.bills[NEXT] = []
    await daily.look()
    assert await desk.all(Wanted(states=(BreakState.OPEN,))) == []
    assert desk.channel.asked >= asked + 1  # of the days before DAY and of NEXT; that of DAY was kept
    assert await books.fetchval("SELECT count(*) FROM bills") == 2


async def test_a_declined_payment_that_they_have(desk: Desk, sell: Sell, books: asyncpg.Pool) -> None:
    await sell("no", state=State.DECLINED)
    desk.channel.bills[DAY] = [line("no", fee_minor=0)]
    await desk.work.run("pay", DAY, "finance/ann")
    found = await desk.one()
    assert (found.found.break_class, found.found.merchant_id) == (BreakClass.REFUSED_HERE, "m1")
    assert found.suspense_minor == 1_000
    assert await balances(books) == {("", "channel:pay"): 1_000, ("", "suspense"): -1_000}


async def test_the_runner_waits_for_the_hour_and_comes_again(desk: Desk, clock: SetClock) -> None:
    daily = DailyReconciliation(desk.work, clock, first_hour=10)
    clock.now_ms = MIDNIGHT_MS + 3 * 3_600_000
    await daily.look()
    asked = desk.channel.asked  # the days before DAY only
    clock.now_ms = NOON_MS + DAY_MS
    await daily.look()
    assert desk.channel.asked > asked
    run = await desk.store.find("pay", DAY)
    assert run is not None
    assert run.trouble == "BillNotReady: later"
    assert run.next_time_ms == clock.now_ms + 600_000
    desk.channel.bills[DAY] = []
    assert await daily.look() == 0
    clock.now_ms = run.next_time_ms
    assert await daily.look() == 1
    assert await daily.look() == 0


@pytest.mark.parametrize("failure", [BillRefused("totals"), ConnectionError("away"), RuntimeError("a bug")])
async def test_a_bill_that_cannot_be_had_changes_nothing(desk: Desk, clock: SetClock, failure: Exception) -> None:
    desk.channel.failure = failure
    with pytest.raises(type(failure)):
        await desk.work.run("pay", DAY, "finance/ann")
    run = await desk.store.find("pay", DAY)
    assert run is not None
    assert (run.bill_version, run.compared_time_ms) == (0, 0)
    assert run.next_time_ms == clock.now_ms + 600_000
    desk.channel.failure, desk.channel.bills[DAY] = None, []
    assert (await desk.work.run("pay", DAY, "finance/ann")).trouble == ""


async def test_a_day_that_has_not_ended_and_a_channel_that_is_not_here(desk: Desk, clock: SetClock) -> None:
    with pytest.raises(NotPossible):
        await desk.work.run("pay", NEXT, "finance/ann")
    with pytest.raises(Missing):
        await desk.work.run("issuer:x", DAY, "finance/ann")
    with pytest.raises(BillRefused):
        await desk.work.run("pay", DAY, "finance/ann", Bill("pay", NEXT, ()))


async def test_a_day_may_be_reconciled_before_it_has_ended_where_the_rules_say_so(desk: Desk) -> None:
    desk.work._rules = Rules(early=True)
    desk.channel.bills[NEXT] = [line("early")]
    assert (await desk.work.run("pay", NEXT, "finance/ann")).lines == 1


async def test_a_bill_of_other_records_is_not_kept_as_breaks(desk: Desk, books: asyncpg.Pool) -> None:
    desk.work._rules = Rules(most_breaks=3)
    desk.channel.bills[DAY] = [line(f"x{n}") for n in range(4)]
    with pytest.raises(NotPossible, match="not of these records"):
        await desk.work.run("pay", DAY, "finance/ann")
    assert await desk.all() == []
    assert await balances(books) == {}


@pytest.mark.parametrize("bad", [line("a\0b"), line("a", fee_minor=2**70), line("a", time_ms=2**70)])
async def test_a_line_that_cannot_be_kept_is_refused(desk: Desk, bad: BillLine) -> None:
    desk.channel.bills[DAY] = [bad]
    with pytest.raises(BillRefused, match="malformed"):
        await desk.work.run("pay", DAY, "finance/ann")


async def test_a_lease_that_was_lost_keeps_nothing(desk: Desk, books: asyncpg.Pool, sell: Sell) -> None:
    desk.channel.bills[DAY] = [line("foreign")]
    movements = desk.store.movements

    async def slow(*arguments: Any) -> Any:
        async for each in movements(*arguments):
            yield each
        await books.execute("UPDATE reconciliations SET fence = fence + 1")  # another one took it over

    desk.store.movements = slow  # type: ignore[method-assign]
    with pytest.raises(NotPossible):
        await desk.work.run("pay", DAY, "finance/ann")
    assert (await desk.all(), await balances(books)) == ([], {})


# --- people -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def foreign(desk: Desk) -> tuple[str, Any]:
    """A payment of 70.00 that only they have, as (channel, id)."""
    desk.channel.bills[DAY] = [line("foreign", 7_000, fee_minor=0)]
    await desk.work.run("pay", DAY, "finance/ann")
    return "pay", (await desk.one()).found.id


async def test_a_write_off_takes_two_people(desk: Desk, foreign: tuple[str, Any], books: asyncpg.Pool) -> None:
    with pytest.raises(NotPossible):
        await desk.breaks.propose_write_off(*foreign, ANN, "nobody asks for it")
    await desk.breaks.assign(*foreign, BOB, "ann")
    with pytest.raises(NotPermitted):
        await desk.breaks.propose_write_off(*foreign, BOB, "not mine")
    with pytest.raises(NotPossible):
        await desk.breaks.approve_write_off(*foreign, BOB, 7_000)
    await desk.breaks.propose_write_off(*foreign, ANN, "nobody asks for it")
    with pytest.raises(NotPermitted):
        await desk.breaks.approve_write_off(*foreign, replace(ANN, name="operator/ann"), 7_000)
    with pytest.raises(NotPossible):
        await desk.breaks.approve_write_off(*foreign, BOB, 6_999)
    done = await asyncio.gather(
        *(desk.breaks.approve_write_off(*foreign, BOB, 7_000) for _ in range(3)), return_exceptions=True
    )
    assert sorted(isinstance(each, NotPossible) for each in done) == [False, True, True]
    assert await balances(books) == {("", "channel:pay"): 7_000, ("", "losses"): -7_000}
    await desk.work.run("pay", DAY, "finance/ann")  # it is in the bill for ever, and stays written off
    assert [each.state for each in await desk.all()] == [BreakState.WRITTEN_OFF]
    assert await balances(books) == {("", "channel:pay"): 7_000, ("", "losses"): -7_000}
    acts = await books.fetch("SELECT who, act, before, after FROM audit_trail ORDER BY id")
    assert [(row["who"], row["act"]) for row in acts] == [
        ("finance/bob", "ReconciliationService.AssignBreak"),
        ("finance/ann", "ReconciliationService.ProposeWriteOff"),
        ("finance/bob", "ReconciliationService.ApproveWriteOff"),
    ]
    assert (acts[-1]["before"], acts[-1]["after"]) == ('{"state":"PROPOSED"}', '{"state":"WRITTEN_OFF"}')


async def test_ours_alone_is_written_off_what_the_channel_owes(desk: Desk, sell: Sell, books: asyncpg.Pool) -> None:
    await sell("gone")
    desk.channel.bills[DAY] = []
    await desk.work.run("pay", DAY, "finance/ann")
    key = "pay", (await desk.one()).found.id
    await desk.breaks.assign(*key, ANN, "")
    await desk.breaks.propose_write_off(*key, ANN, "they never pay it")
    await desk.breaks.approve_write_off(*key, BOB, -1_000)
    assert await balances(books) == {("", "channel:pay"): -1_000, ("", "losses"): 1_000}


async def test_resolving_clears_suspense(desk: Desk, foreign: tuple[str, Any], books: asyncpg.Pool) -> None:
    with pytest.raises(NotPossible):
        await desk.breaks.resolve(*foreign, ANN, "theirs by mistake")
    await desk.breaks.assign(*foreign, ANN, "")
    with pytest.raises(Invalid):
        await desk.breaks.resolve(*foreign, ANN, "  ")
    done = await desk.breaks.resolve(*foreign, ANN, "theirs by mistake")
    assert (done.state, done.closed_by, done.suspense_minor) == (BreakState.RESOLVED, "ann", 0)
    assert await balances(books) == {}
    for act in (desk.breaks.assign, desk.breaks.resolve, desk.breaks.propose_write_off):
        with pytest.raises(NotPossible):
            await act(*foreign, ANN, "again")


async def test_notes_ages_and_pages(desk: Desk, foreign: tuple[str, Any], clock: SetClock) -> None:
    await desk.breaks.note(*foreign, BOB, "asked them")
    clock.now_ms += 8 * DAY_MS
    found = await desk.breaks.note(*foreign, ANN, "no answer\nyet")
    assert [(each.who, each.text) for each in found.notes] == [("bob", "asked them"), ("ann", "no answer\nyet")]
    with pytest.raises(Invalid):
        await desk.breaks.note(*foreign, ANN, "bell \a")
    with pytest.raises(Missing):
        await desk.breaks.note("pay", _NIL, ANN, "x")
    ages = {each.from_days: each.count for each in await desk.breaks.ages("pay")}
    assert ages == {0: 0, 1: 0, 3: 0, 7: 1, 14: 0, 30: 0}
    desk.channel.bills[NEXT] = [line(f"n{number}", fee_minor=0) for number in range(4)]
    await desk.work.run("pay", NEXT, "finance/ann")
    seen, after = [], ("", _NIL)
    while page := await desk.breaks.page(EVERYTHING, after, 2):
        seen += [each.found.reference for each in page]
        after = page[-1].channel, page[-1].found.id
    assert (seen[0], sorted(seen[1:])) == ("foreign", ["n0", "n1", "n2", "n3"])
    old = Wanted(opened_until_ms=clock.now_ms - 7 * DAY_MS)
    assert [each.found.reference for each in await desk.all(old)] == ["foreign"]
    assert len(await desk.all(Wanted(channel="pay", from_day=NEXT))) == 4
