"""The lines of a text of any length that comes in pieces: never more of it at once than a piece and a line."""

from collections.abc import Iterable, Iterator


class LineTooLong(ValueError):
    """A line has more bytes than any that is right."""


def lines_of(chunks: Iterable[bytes], longest_bytes: int) -> Iterator[bytes]:
    r"""Each line without its ending, LF or CRLF; also what follows the last ending. Empty lines are left out.

    Raises LineTooLong, having read one piece more than such a line at the most.

    >>> list(lines_of([b"a\r", b"\nbc", b"d\n\n", b"e"], 3))
    [b'a', b'bcd', b'e']
    """
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield from _checked(line, longest_bytes)
        if len(rest) > longest_bytes + 1:  # it may end in the CR of an ending
            raise LineTooLong
    yield from _checked(rest, longest_bytes)


def _checked(line: bytes, longest_bytes: int) -> Iterator[bytes]:
    line = line.removesuffix(b"\r")
    if len(line) > longest_bytes:
        raise LineTooLong
    if line:
        yield line
