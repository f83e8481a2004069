"""BIN tables against a brute-force oracle, and every line that must be refused."""

from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from switch.routing._bins import HEADER, LONGEST_LINE
from switch.routing.bins import Bin, BinTable, BinTableRefused

GOOD = "622588,622599,16,unionpay,cmb,China Merchants Bank,debit,CN"


def table_of(*lines: str, **limits: int) -> BinTable:
    return BinTable(b"\n".join([HEADER, *(line.encode() for line in lines), b""]), **limits)


# --- the oracle -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """As the documentation says it: by digits, not by numbers of 19."""

    low: str
    high: str
    shortest: int
    longest: int

    def covers(self, pan: str) -> bool:
        return self.shortest <= len(pan) <= self.longest and self.low <= pan[: len(self.low)] <= self.high

    @property
    def width(self) -> int:
        return (int(self.high) - int(self.low) + 1) * 10 ** (19 - len(self.low))

    @property
    def narrowness(self) -> tuple[int, int, int, int]:
        begin = int(self.low.ljust(19, "0"))
        return self.width, self.longest - self.shortest, -begin, -self.shortest

    def line(self, issuer: int) -> str:
        return f"{self.low},{self.high},{self.shortest}-{self.longest},x,{issuer},,,"


def by_brute_force(ranges: list[Range], pan: str) -> str | None:
    covering = [(each.narrowness, index) for index, each in enumerate(ranges) if each.covers(pan)]
    return str(min(covering)[1]) if covering else None


# Few digits, so that ranges meet, nest, touch and overlap.
DIGITS = st.text("0129", min_size=1, max_size=4)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    low, other = draw(DIGITS), draw(DIGITS)
    high = (other * 4)[: len(low)]
    lengths = sorted(draw(st.tuples(st.integers(12, 19), st.integers(12, 19))))
    return Range(min(low, high), max(low, high), *lengths)


PANS = st.builds(
    lambda head, tail, length: (head + tail * 19)[:length], DIGITS, st.sampled_from("019"), st.integers(12, 19)
)


@given(st.lists(ranges(), max_size=12, unique=True), st.lists(PANS, min_size=1, max_size=20))
@example([Range("9", "9", 12, 19), Range("9999", "9999", 19, 19)], ["9" * 19, "9" * 18])
@example([Range("0", "1", 12, 19), Range("1", "2", 12, 19)], ["1" * 16, "0" * 16, "2" * 16])
@settings(max_examples=300)
def test_the_narrowest_range_is_found(given_ranges: list[Range], pans: list[str]) -> None:
    # A range of the same digits and lengths is refused whatever its spelling: see below.
    same = {(each.low.ljust(19, "0"), each.high.ljust(19, "9"), each.shortest, each.longest) for each in given_ranges}
    if len(same) < len(given_ranges):
        return
    table = table_of(*(each.line(index) for index, each in enumerate(given_ranges)))
    for pan in pans:
        found = table.find(pan)
        assert (found and found.issuer) == by_brute_force(given_ranges, pan)


def test_a_pan_of_19_digits_fits() -> None:
    table = table_of("9999999999999999999,,19,x,top,,,", "0000000000000000000,,19,x,bottom,,,")
    assert table.find("9" * 19) == Bin("x", "top")
    assert table.find("0" * 19) == Bin("x", "bottom")
    assert table.find("9" * 18 + "8") is None
    assert table.find("9" * 18) is None


@pytest.mark.parametrize("pan", ["", "6" * 11, "6" * 20, "62258800000000é5", "622588000000000x", "６" * 16, "-" * 16])
def test_what_is_no_pan_is_in_no_range(pan: str) -> None:
    assert table_of("0,9,,x,all,,,").find(pan) is None


# Ranges have four digits at the most: what stands behind decides nothing.
HEADS = [f"{number:04d}" for number in range(10_000)]


@given(st.lists(ranges(), max_size=8, unique=True), st.text("0129", min_size=1, max_size=3))
@example([Range("12", "12", 16, 16)], "1")
@example([Range("12", "12", 16, 16), Range("1", "1", 17, 19)], "1")
@settings(max_examples=60)
def test_a_prefix_has_a_type_if_all_its_cards_have_that_one(given_ranges: list[Range], prefix: str) -> None:
    same = {(each.low.ljust(19, "0"), each.high.ljust(19, "9"), each.shortest, each.longest) for each in given_ranges}
    if len(same) < len(given_ranges):
        return
    types = ("debit", "credit", "")
    table = table_of(*(f"{each.line(0)[:-1]}{types[index % 3]}," for index, each in enumerate(given_ranges)))
    expected: set[str] = set()
    known = False
    for length in range(12, 20):
        found = {by_brute_force(given_ranges, head.ljust(length, "5")) for head in HEADS if head.startswith(prefix)}
        known = known or found != {None}
        in_length = {types[int(each) % 3] if each is not None else "" for each in found}
        expected |= in_length if in_length != {""} else set()
    only = (expected.pop() if len(expected) == 1 else "") if known else None
    assert table.type_of_prefix(prefix) == only


@pytest.mark.parametrize("digits", ["", "6" * 13, "62258é", "62258x", "６２２５８８"])
def test_what_is_no_prefix_has_no_type(digits: str) -> None:
    assert table_of("0,9,,x,all,,debit,").type_of_prefix(digits) is None


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_line_is_read() -> None:
    table = table_of(GOOD, '4,,13-19,visa,,"A ""quoted"", name",,')
    assert table.find("6225950000000000") == Bin("unionpay", "cmb", "China Merchants Bank", "debit", "CN")
    assert table.find("4000000000000") == Bin("visa", issuer_name='A "quoted", name')
    assert (table.ranges, len(table.bins)) == (2, 2)


def test_lines_may_end_as_on_windows_and_the_last_one_without() -> None:
    table = BinTable(HEADER + b"\r\n62,,,unionpay,,,,\r\n4,,,visa,,,,")
    assert [each.scheme for each in table.bins] == ["unionpay", "visa"]


def test_a_table_without_ranges_knows_nothing() -> None:
    assert table_of().find("6225880000000005") is None


def test_equal_issuers_are_kept_once() -> None:
    table = table_of(*(f"6225{n:04d},,16,unionpay,cmb,Bank,debit,CN" for n in range(0, 1000, 2)))
    assert (table.ranges, len(table.bins)) == (500, 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "an empty line"),
        ("622588", "fewer than 8 columns"),
        ("622588,622599", "fewer than 8 columns"),
        ("622588,622599,16", "fewer than 8 columns"),
        ("622588,622599,16,unionpay,cmb,Bank,debit", "7 columns instead of 8"),
        (GOOD + ",x", "9 columns instead of 8"),
        (",622599,16,x,,,,", "low is not 1 to 19 digits"),
        ("62x588,622599,16,x,,,,", "low is not 1 to 19 digits"),
        ("6" * 20 + ",,19,x,,,,", "low is not 1 to 19 digits"),
        (" 622588,622599,16,x,,,,", "low is not 1 to 19 digits"),
        ("622588,62259x,16,x,,,,", "high is neither empty nor 1 to 19 digits"),
        ("622588,62259,16,x,,,,", "low and high have different numbers of digits"),
        ("622599,622588,16,x,,,,", "high is below low"),
        ("622588,622599,11,x,,,,", "length is neither"),
        ("622588,622599,20,x,,,,", "length is neither"),
        ("622588,622599,16-,x,,,,", "length is neither"),
        ("622588,622599,19-16,x,,,,", "length is neither"),
        ("622588,622599,16;19,x,,,,", "length is neither"),
        ("6225880000000,,12,x,,,,", "low has more digits than the shortest PAN"),
        ("62258800000000000,,16-19,x,,,,", "low has more digits than the shortest PAN"),
        ("622588,622599,16,,cmb,Bank,debit,CN", "scheme is not"),
        ("622588,622599,16,UnionPay,cmb,Bank,debit,CN", "scheme is not"),
        ("622588,622599,16,x,c m b,Bank,debit,CN", "issuer is not"),
        ("622588,622599,16,x,," + "n" * 101 + ",,", "issuer_name is longer"),
        ("622588,622599,16,x,,,Debit,CN", "type is neither"),
        ("622588,622599,16,x,,,debit,cn", "country is neither"),
        ('622588,622599,16,x,,"Bank,debit,CN', "quotes that do not fit"),
        ("622588,622599,16,x,,Ba\x00nk,,", "a control character"),
        ("622588,622599,16,x,,Ba\tnk,,", "a control character"),
        ("622588,622599,16,x,," + "n" * LONGEST_LINE + ",,", "longer than 512 bytes"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number_and_reason(line: str, reason: str) -> None:
    with pytest.raises(BinTableRefused, match=reason) as caught:
        table_of("4,,,visa,,,,", line, "5,,,mastercard,,,,")
    assert caught.value.line == 3
    assert "622588" not in str(caught.value)


def test_what_is_not_utf_8_is_refused() -> None:
    with pytest.raises(BinTableRefused, match="line 2: not UTF-8"):
        BinTable(HEADER + b"\n62,,,x,,\xff,,\n")


@pytest.mark.parametrize("data", [b"", b"low,high\n", HEADER, b"\xef\xbb\xbf" + HEADER + b"\n", HEADER + b" \n"])
def test_another_header_is_refused(data: bytes) -> None:
    with pytest.raises(BinTableRefused, match="line 1: the header is not low,high,length"):
        BinTable(data)


@pytest.mark.parametrize("twin", ["62,62,16,y,,,,", "620,629,16-16,y,,,,"])
def test_the_same_range_twice_is_refused(twin: str) -> None:
    with pytest.raises(BinTableRefused, match="line 4: the same range and lengths as line 2"):
        table_of("62,,16,x,,,,", "62,,19,x,,,,", twin)


def test_more_than_the_limits_is_refused() -> None:
    lines = [f"{n},,16,x,{n},,," for n in range(5)]
    with pytest.raises(BinTableRefused, match="line 6: more than 4 ranges"):
        table_of(*lines, most_ranges=4)
    with pytest.raises(BinTableRefused, match="line 5: more than 3 different issuers"):
        table_of(*lines, most_kinds=3)
    assert table_of(*lines, most_ranges=5, most_kinds=5).ranges == 5


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    refused_line = 2
    try:
        assert BinTable(HEADER + b"\n" + data).ranges == len([line for line in data.split(b"\n") if line])
    except BinTableRefused as error:
        refused_line = error.line
    assert 2 <= refused_line <= data.count(b"\n") + 2


# --- cost -------------------------------------------------------------------------------------------------------------


def test_memory_is_at_most_two_segments_and_the_index_a_range() -> None:
    """12 bytes a segment; at most two segments a range and one before them; an index of at most one entry a segment."""
    apart = table_of(*(f"62{n:05d},,16,x,,,," for n in range(0, 20_000, 2)))
    touching = table_of(*(f"62{n:05d},,16,x,{n % 7},,," for n in range(10_000)))
    assert apart.memory_bytes <= 10_000 * 2 * (12 + 4) + 2_000
    assert touching.memory_bytes <= 10_000 * (12 + 4) + 2_000


def test_lengths_that_no_line_tells_apart_share_their_segments() -> None:
    lines = [f"62{n:05d},,{{}},x,,,," for n in range(0, 2_000, 2)]
    every = table_of(*(line.format("") for line in lines))
    one = table_of(*(line.format("16") for line in lines))
    assert every.memory_bytes <= one.memory_bytes + 100
    assert every.find("620000200000") == every.find("6200002000000000000") == Bin("x")
