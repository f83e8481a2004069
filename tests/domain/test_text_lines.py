"""Lines of a text that comes in pieces: the same whatever the pieces, and never much of it at once."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch.domain.text_lines import LineTooLong, lines_of


@given(st.binary(max_size=60).map(lambda text: text.translate(bytes(b % 4 for b in range(256)))), st.data())
def test_the_pieces_do_not_matter(text: bytes, data: st.DataObject) -> None:
    text = text.translate(bytes.maketrans(b"\0\1\2\3", b"ab\r\n"))
    chunks, at = [], 0
    while at < len(text):
        size = data.draw(st.integers(1, len(text)))
        chunks.append(text[at : at + size])
        at += size
    expected = [line for line in (each.removesuffix(b"\r") for each in text.split(b"\n")) if line]
    assert list(lines_of(chunks, 60)) == expected


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"], ids=["end", "lf", "crlf"])
def test_a_line_of_the_longest_length_is_the_last_that_is_read(ending: bytes) -> None:
    assert list(lines_of([b"12", b"345", ending], 5)) == [b"12345"]
    with pytest.raises(LineTooLong):
        list(lines_of([b"12", b"3456", ending], 5))


def test_a_line_without_an_end_is_given_up_soon() -> None:
    read = []

    def endless() -> Iterator[bytes]:
        while True:
            read.append(b"x" * 10)
            yield read[-1]

    with pytest.raises(LineTooLong):
        list(lines_of(endless(), 25))
    assert len(read) == 3
