"""Invariant 16: every line and record has a verdict; every planted break is found and named, and nothing else."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.money import Money
from switch.domain.movement import Movement, Standing
from switch.settlement.compare import BREAKS, Comparison, Day, Finding, Verdict

PAYMENT, REFUND, REVERSAL = BillKind.PAYMENT, BillKind.REFUND, BillKind.REVERSAL
HOUR_MS = 3_600_000
DAY = Day(24 * HOUR_MS, 48 * HOUR_MS, tolerance_ms=600_000)
NOON_MS = 36 * HOUR_MS
MIDNIGHT_MS = DAY.until_ms - 5_000


def ours(reference: str, kind: BillKind = PAYMENT, standing: Standing = Standing.DONE, **fields: Any) -> Movement:
    values = {"money": Money(1_000, "CNY"), "time_ms": NOON_MS, "record": f"record {reference}"}
    return Movement(kind=kind, reference=reference, standing=standing, **(values | fields))


def line(reference: str, kind: BillKind = PAYMENT, **fields: Any) -> BillLine:
    fee = 6 if kind is PAYMENT else -6
    values = {"money": Money(1_000, "CNY"), "time_ms": NOON_MS, "fee_minor": fee}
    return BillLine(kind=kind, reference=reference, **(values | fields))


def compared(movements: list[Movement], lines: list[BillLine], day: Day = DAY) -> list[Finding]:
    comparison = Comparison(Bill("pay", date(1970, 1, 2), tuple(lines)), day)
    return [*filter(None, map(comparison.take, movements)), *comparison.rest()]


def verdicts(movements: list[Movement], lines: list[BillLine]) -> list[tuple[Verdict, str]]:
    return [(each.verdict, each.detail) for each in compared(movements, lines)]


# --- one by one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(BillKind))
def test_the_same_is_a_match(kind: BillKind) -> None:
    assert verdicts([ours("a", kind)], [line("a", kind)]) == [(Verdict.MATCH, "")]


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"money": Money(1_001, "CNY")}, "amount: 1000 1001"),
        ({"money": Money(1_000, "HKD")}, "currency: CNY HKD"),
        ({"money": Money(999, "USD")}, "amount: 1000 999, currency: CNY USD"),
        ({"fee_minor": -1}, "fee: -1 of a payment"),
        ({"kind": REFUND, "fee_minor": 0}, "kind: payment refund"),
        ({"kind": REVERSAL, "money": Money(1, "CNY")}, "kind: payment reversal, amount: 1000 1, fee: 6 of a reversal"),
    ],
)
def test_what_differs_is_named(change: dict[str, Any], detail: str) -> None:
    assert verdicts([ours("a")], [replace(line("a"), **change)]) == [(Verdict.DIFFERS, detail)]


def test_a_fee_of_nothing_has_no_sign() -> None:
    assert verdicts([ours("a", REFUND)], [line("a", REFUND, fee_minor=0)]) == [(Verdict.MATCH, "")]


def test_one_side_only() -> None:
    found = compared([ours("a")], [line("b")])
    assert [(each.verdict, each.ours is None, each.line is None) for each in found] == [
        (Verdict.OURS_ONLY, False, True),
        (Verdict.THEIRS_ONLY, True, False),
    ]


def test_the_second_line_is_the_duplicate() -> None:
    assert [verdict for verdict, _ in verdicts([ours("a")], [line("a"), line("a"), line("a")])] == [
        Verdict.MATCH,
        Verdict.DUPLICATE,
        Verdict.DUPLICATE,
    ]


def test_a_wallets_payment_and_reversal_share_their_name() -> None:
    movements = [
        ours("a", standing=Standing.UNDONE),
        ours("a", REVERSAL, Standing.UNDONE, original_reference="a"),
    ]
    assert verdicts(movements, [line("a"), line("a", REVERSAL)]) == [(Verdict.MATCH, "")] * 2


@pytest.mark.parametrize("lines", [[], [line("a")]])
def test_what_is_open_is_open(lines: list[BillLine]) -> None:
    assert verdicts([ours("a", standing=Standing.OPEN)], lines) == [(Verdict.OPEN, "")]


def test_what_was_refused_is_absent_or_theirs_alone() -> None:
    refused = ours("a", standing=Standing.REFUSED)
    assert verdicts([refused], []) == [(Verdict.REFUSED, "")]
    assert verdicts([refused], [line("a")]) == [(Verdict.THEIRS_ONLY, "ours: record a")]


@pytest.mark.parametrize("standing", [Standing.UNDONE, Standing.DOUBTFUL])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["payment", "reversal"], [Verdict.MATCH, Verdict.MATCH]),
        ([], [Verdict.CANCELLED_OUT, Verdict.CANCELLED_OUT]),
        (["payment"], [Verdict.MATCH, Verdict.OURS_ONLY]),  # the channel did not undo it
        (["reversal"], [Verdict.MATCH, Verdict.OURS_ONLY]),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_what_was_undone_is_there_with_what_undid_it_or_neither_is(
    standing: Standing, lines: list[str], expected: list[Verdict], order: int
) -> None:
    movements = [ours("p", standing=standing), ours("r", REVERSAL, standing, original_reference="p")][::order]
    bill = [line("p") if each == "payment" else line("r", REVERSAL) for each in lines]
    assert [verdict for verdict, _ in verdicts(movements, bill)] == expected


@pytest.mark.parametrize(
    ("movement", "verdict"),
    [
        (ours("p", standing=Standing.UNDONE), Verdict.OURS_ONLY),  # undone on another day: today's bill has it
        (ours("p", standing=Standing.DOUBTFUL), Verdict.CANCELLED_OUT),  # it seems never to have been
        (ours("r", REVERSAL, Standing.UNDONE, original_reference="p"), Verdict.OURS_ONLY),
        (ours("r", REVERSAL, Standing.DOUBTFUL, original_reference="p"), Verdict.OURS_ONLY),
    ],
)
def test_what_was_undone_on_another_day(movement: Movement, verdict: Verdict) -> None:
    assert [found for found, _ in verdicts([movement], [])] == [verdict]


def test_a_reversal_that_is_being_tried_may_be_there_already() -> None:
    trying = [ours("p", standing=Standing.OPEN), ours("r", REVERSAL, Standing.POSSIBLE, also=("r2",))]
    assert [verdict for verdict, _ in verdicts(trying, [])] == [Verdict.OPEN]
    assert [verdict for verdict, _ in verdicts(trying, [line("p"), line("r2", REVERSAL)])] == [Verdict.OPEN] * 2


def test_a_further_name_is_as_good() -> None:
    assert verdicts([ours("r", REVERSAL, also=("v",))], [line("v", REVERSAL)]) == [(Verdict.MATCH, "")]


def test_two_records_of_one_name_are_one_line() -> None:
    assert [verdict for verdict, _ in verdicts([ours("a"), ours("a")], [line("a")])] == [
        Verdict.MATCH,
        Verdict.OURS_ONLY,
    ]


@pytest.mark.parametrize("time_ms", [DAY.from_ms, MIDNIGHT_MS])
def test_near_midnight_the_neighbouring_bill_may_have_it(time_ms: int) -> None:
    assert verdicts([ours("a", time_ms=time_ms)], []) == [(Verdict.NEIGHBOUR, "")]
    assert verdicts([ours("a", time_ms=time_ms)], [line("a")]) == [(Verdict.MATCH, "")]


@pytest.mark.parametrize("time_ms", [DAY.from_ms - 1, DAY.until_ms])
@pytest.mark.parametrize("standing", list(Standing))
def test_a_neighbouring_days_record_is_matched_and_else_not_ours_to_judge(time_ms: int, standing: Standing) -> None:
    movement = ours("a", standing=standing, time_ms=time_ms)
    assert verdicts([movement], []) == []
    assert len(verdicts([movement], [line("a")])) == 1


# --- any day ----------------------------------------------------------------------------------------------------------


@dataclass
class Town:
    """A day on which both sides agree: (our movement, its line or None), and the verdicts that they come to."""

    movements: list[Movement]
    lines: list[BillLine]
    expected: "Counter[tuple[Verdict, str]]"


_SHAPES = ["sale", "refund", "capture", "open", "open in bill", "refused", "undone", "netted", "never was", "neighbour"]


@st.composite
def days(draw: st.DrawFn) -> Town:
    town = Town([], [], Counter())
    for number, shape in enumerate(draw(st.lists(st.sampled_from(_SHAPES), max_size=25))):
        amount_minor, currency = draw(st.tuples(st.integers(1, 10**12 - 1), st.sampled_from(["CNY", "HKD"])))
        _live(town, f"n{number}", shape, Money(amount_minor, currency))
    town.movements = draw(st.permutations(town.movements))
    town.lines = draw(st.permutations(town.lines))
    return town


def _live(town: Town, name: str, shape: str, money: Money) -> None:
    """One payment's story, as both sides tell it."""

    def book(movement: Movement, verdict: Verdict, *, billed: bool) -> None:
        town.movements.append(movement)
        town.expected[verdict, movement.record] += 1
        if billed:
            town.lines.append(line(movement.reference, movement.kind, money=money))

    kind = REFUND if shape == "refund" else PAYMENT
    if shape in ("sale", "refund", "capture"):
        book(ours(name, kind, money=money), Verdict.MATCH, billed=True)
    elif shape.startswith("open"):
        book(ours(name, standing=Standing.OPEN, money=money), Verdict.OPEN, billed=shape == "open in bill")
    elif shape == "refused":
        book(ours(name, standing=Standing.REFUSED, money=money), Verdict.REFUSED, billed=False)
    elif shape == "neighbour":
        book(ours(name, money=money, time_ms=MIDNIGHT_MS), Verdict.NEIGHBOUR, billed=False)
    else:
        standing = Standing.DOUBTFUL if shape == "never was" else Standing.UNDONE
        verdict = Verdict.MATCH if shape == "undone" else Verdict.CANCELLED_OUT
        undoing = ours(f"{name}r", REVERSAL, standing, original_reference=name, money=money)
        book(ours(name, standing=standing, money=money), verdict, billed=shape == "undone")
        book(undoing, verdict, billed=shape == "undone")


def _tally(findings: list[Finding]) -> "Counter[tuple[Verdict, str]]":
    return Counter((each.verdict, each.ours.record if each.ours else each.line.reference) for each in findings)  # type: ignore[union-attr]


@given(days())
def test_an_honest_bill_has_no_breaks(town: Town) -> None:
    found = _tally(compared(town.movements, town.lines))
    assert found == town.expected
    assert not {verdict for verdict, _ in found} & BREAKS


_BREAKS = ["missing", "extra", "duplicated", "amount", "currency", "fee", "kind"]


@settings(max_examples=300)
@given(days(), st.lists(st.tuples(st.integers(0, 99), st.sampled_from(_BREAKS)), max_size=8), st.randoms())
def test_every_planted_break_is_found_and_nothing_else(town: Town, breaks: list[tuple[int, str]], chance: Any) -> None:
    """One line is broken once; of a payment and what undid it, one. Lines of open records are left alone."""
    expected = Counter(town.expected)
    open_names = {each.reference for each in town.movements if each.standing is Standing.OPEN}
    lines = {each.reference: [each] for each in town.lines}
    breakable = sorted(name for name in lines if name not in open_names)
    for number, (choice, planted) in enumerate(breaks):
        if planted == "extra":
            lines[f"x{number}"] = [line(f"x{number}")]
            expected[Verdict.THEIRS_ONLY, f"x{number}"] += 1
        elif breakable:
            name = breakable[choice % len(breakable)]
            breakable = [each for each in breakable if each.removesuffix("r") != name.removesuffix("r")]
            _plant(planted, name, lines, expected)
    bill = [each for several in lines.values() for each in several]
    chance.shuffle(bill)
    findings = compared(town.movements, bill)
    assert _tally(findings) == +expected
    seen = Counter(id(each.line) for each in findings if each.line is not None)
    assert seen == Counter(map(id, bill))  # every line has one verdict


def _plant(planted: str, name: str, lines: dict[str, list[BillLine]], expected: "Counter[tuple[Verdict, str]]") -> None:
    [honest], record = lines[name], f"record {name}"
    if planted == "duplicated":
        lines[name] = [honest, replace(honest)]
        expected[Verdict.DUPLICATE, name] += 1
        return
    expected[Verdict.MATCH, record] -= 1
    if planted == "missing":
        lines[name] = []
        expected[Verdict.OURS_ONLY, record] += 1
        return
    changes: dict[str, dict[str, Any]] = {
        "amount": {"money": Money(honest.money.amount_minor + 1, honest.money.currency)},
        "currency": {"money": Money(honest.money.amount_minor, "USD")},
        "fee": {"fee_minor": -honest.fee_minor},
        "kind": {"kind": REFUND if honest.kind is not REFUND else PAYMENT},
    }
    lines[name] = [replace(honest, **changes[planted])]
    expected[Verdict.DIFFERS, record] += 1
