"""What is written is read; what is not as it was written is refused by its line."""

import io
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR, Money
from switch.ports import BillRefused
from switch.settlement.bill_file import read_bill, write_bill

DAY = date(2026, 1, 2)
_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
_LINES = st.builds(
    BillLine,
    kind=st.sampled_from(list(BillKind)),
    reference=_TEXT.filter(bool),
    money=st.builds(Money, st.integers(1, LARGEST_AMOUNT_MINOR), st.sampled_from(sorted(CURRENCIES))),
    time_ms=st.integers(0, 4 * 10**12),
    original_reference=_TEXT,
    channel_reference=_TEXT,
    fee_minor=st.integers(-(10**9), 10**9),
)


def written(bill: Bill) -> str:
    file = io.StringIO(newline="")
    write_bill(bill, file)
    return file.getvalue()


@given(st.lists(_LINES, max_size=5))
def test_what_is_written_is_read(lines: list[BillLine]) -> None:
    bill = Bill("pay", DAY, tuple(lines))
    assert read_bill(io.StringIO(written(bill), newline=""), "pay", DAY) == bill


GOOD = "payment,a,,t,100,CNY,1,2026-01-02T00:00:00.000+08:00"


@pytest.mark.parametrize(
    "bad",
    [
        GOOD.replace("payment", "gift"),
        GOOD.replace(",a,", ",,"),
        GOOD.replace("100", "0"),
        GOOD.replace("100", "-5"),
        GOOD.replace("100", "1.00"),
        GOOD.replace("100", str(LARGEST_AMOUNT_MINOR + 1)),
        GOOD.replace("CNY", "XXX"),
        GOOD.replace(",1,", ",one,"),
        GOOD.replace("+08:00", ""),
        GOOD.replace("2026-01-02", "yesterday"),
        GOOD.replace(",1,", f",{LARGEST_AMOUNT_MINOR + 1},"),
        GOOD.replace(",a,", ",a\0b,"),
        GOOD.replace(",t,", ',"t\nu",'),
        GOOD.replace(",a,", f",{'a' * 129},"),
        GOOD + ",more",
        "payment",
        "",
        '"',
    ],
)
def test_a_bad_line_is_named(bad: str) -> None:
    header = written(Bill("pay", DAY, ())).strip()
    with pytest.raises(BillRefused, match=r"malformed: line \d") as caught:
        read_bill(io.StringIO(f"{header}\r\n{GOOD}\r\n{bad}\r\n", newline=""), "pay", DAY)
    assert caught.value.cause == "malformed"


@pytest.mark.parametrize("text", ["", "something else\r\n", "PK\x03\x04"])
def test_what_is_no_bill_is_refused(text: str) -> None:
    with pytest.raises(BillRefused, match="the first line"):
        read_bill(io.StringIO(text, newline=""), "pay", DAY)
