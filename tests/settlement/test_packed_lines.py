"""A bill in little memory: the same lines, found by the same names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch.domain.bill import BillKind, BillLine
from switch.domain.line_index import LineIndex
from switch.domain.money import Money
from switch.domain.packed_lines import PackedLines, kind_from, stored_kind

TEXT = st.text("ab0-é", max_size=4)
LINES = st.lists(
    st.builds(
        BillLine,
        kind=st.sampled_from(BillKind),
        reference=TEXT,
        money=st.builds(Money, st.integers(1, 10**12), st.sampled_from(["CNY", "HKD", "JPY"])),
        time_ms=st.integers(0, 2**42),
        original_reference=TEXT,
        channel_reference=TEXT,
        fee_minor=st.integers(-(10**9), 10**9),
    ),
    max_size=40,
)


@given(LINES)
def test_lines_come_back_as_they_were(lines: list[BillLine]) -> None:
    packed = PackedLines(lines)
    assert list(packed) == lines
    assert (packed == tuple(lines), tuple(lines) == packed, packed == [*lines, None]) == (True, True, False)
    for row, line in zip(packed.rows(), lines, strict=True):
        kind, amount_minor, currency = kind_from(row[1]), row[5], row[6]
        assert BillLine(kind, row[2], Money(amount_minor, currency), row[8], row[3], row[4], row[7]) == line


@given(LINES)
def test_columns_are_those_of_the_lines(lines: list[BillLine]) -> None:
    packed = PackedLines(lines)
    assert list(packed.names()) == [(each.kind, each.reference) for each in lines]
    assert list(packed.money()) == [
        (each.kind, each.money.amount_minor, each.money.currency, each.fee_minor) for each in lines
    ]


@given(LINES, LINES)
def test_the_index_finds_the_first_of_a_name(lines: list[BillLine], others: list[BillLine]) -> None:
    expected: dict[tuple[BillKind, str], int] = {}
    repeated = [n for n, each in enumerate(lines) if expected.setdefault((each.kind, each.reference), n) != n]
    index = LineIndex(PackedLines(lines))
    assert index.repeated == repeated
    for each in (*lines, *others):
        assert index.find(each.kind, each.reference) == expected.get((each.kind, each.reference))


@given(LINES, LINES)
def test_the_digest_tells_bills_apart(lines: list[BillLine], others: list[BillLine]) -> None:
    assert (PackedLines(lines).digest() == PackedLines(others).digest()) == (lines == others)


def test_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        PackedLines([BillLine(BillKind.PAYMENT, "a\0b", Money(1, "CNY"), 0)])


def test_kinds_keep_their_numbers() -> None:
    assert {stored_kind(each): each for each in BillKind} == {
        1: BillKind.PAYMENT, 2: BillKind.REFUND, 3: BillKind.REVERSAL,
    }  # fmt: skip
