"""The BIN table's memory: ranges of PANs as sorted 64-bit integers, cut so that each PAN lies in one segment.

A PAN of 12 to 19 digits is a number of 19: zeros are added behind. Every number of 19 digits is below 2^64.
"""

from typing_extensions import Buffer

HEADER: bytes
MOST_RANGES: int
MOST_KINDS: int
LONGEST_LINE: int

class BinTableRefused(Exception):
    """A file that is not taken: none of it is. line: from 1, or 0 for the file as a whole. No digit of it is shown."""

    line: int
    reason: str
    def __init__(self, line: int, reason: str) -> None: ...

class Segments:
    """Immutable once it is made; look-ups from any thread.

    kinds: what stands after the third comma of a line, each text once: scheme, issuer and so on are shared by many
    ranges. ranges: how many lines. memory_bytes: of the arrays.
    """

    kinds: tuple[bytes, ...]
    kind_lines: tuple[int, ...]
    ranges: int
    memory_bytes: int

    def __init__(self, data: Buffer, most_ranges: int = MOST_RANGES, most_kinds: int = MOST_KINDS) -> None:
        """Read a CSV file (`HEADER`, then one range a line). Nearly all of it runs without the GIL.

        Raises BinTableRefused with the first line that is wrong.
        """

    def find(self, pan: str) -> int:
        """The index in `kinds` for the narrowest range that the PAN lies in, or -1.

        Of two equally narrow ranges the one for fewer lengths counts, then the one that begins higher, then the one
        for longer PANs. What is not 12 to 19 digits is in no range.
        """

    def within(self, digits: str) -> list[set[int]]:
        """What `find` gives for PANs that begin with these 1 to 12 digits: a set for each length, one for lengths that
        no line tells apart; none for lengths in which no such PAN is in a range. Empty for what is no prefix.
        """
