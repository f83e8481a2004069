"""BIN tables: what the first digits of a card number say about the card. CSV in, compact arrays inside (`_bins.pyx`).

A line is `low,high,length,scheme,issuer,issuer_name,type,country`: PANs that begin with low to high (1 to 19 digits, as
many in both; high empty: low alone) and have that many digits (`16`, `16-19`, empty: any). The rest is said of them:
scheme (brand), issuer (an id that rules name), its name in clear, type (debit, credit, prepaid, charge or empty),
country (ISO 3166-1 alpha-2 or empty). Where ranges overlap the narrowest counts.

>>> lines = b"low,high,length,scheme,issuer,issuer_name,type,country\\n62,,,unionpay,,,,\\n622588,622599,16,unionpay,"
>>> table = BinTable(lines + b'cmb,"China Merchants, Bank",debit,CN\\n')
>>> table.find("6225880000000005").issuer, table.find("6225000000000005").issuer, table.find("4111111111111111")
('cmb', '', None)
"""

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from switch.routing._bins import MOST_KINDS, MOST_RANGES, BinTableRefused, Segments

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["CARD_TYPES", "Bin", "BinTable", "BinTableRefused"]

CARD_TYPES: Final = ("debit", "credit", "prepaid", "charge")
_COLUMNS: Final = ("scheme", "issuer", "issuer_name", "type", "country")
_SHAPES: Final = (
    (re.compile(r"[a-z0-9_-]{1,32}"), "scheme is not 1 to 32 of a-z 0-9 _ -"),
    (re.compile(r"[A-Za-z0-9._-]{0,32}"), "issuer is not at most 32 of A-Z a-z 0-9 . _ -"),
    (re.compile(r".{0,100}"), "issuer_name is longer than 100 characters"),
    (re.compile("|".join((*CARD_TYPES, ""))), f"type is neither empty nor one of {', '.join(CARD_TYPES)}"),
    (re.compile(r"([A-Z]{2})?"), "country is neither empty nor two capital letters"),
)


@dataclass(frozen=True, slots=True)
class Bin:
    """What a range says of its cards; "" where it says nothing."""

    scheme: str
    issuer: str = ""
    issuer_name: str = ""
    type: str = ""
    country: str = ""


class BinTable:
    """One file of ranges. Making it takes seconds for millions of them, nearly all without the GIL: use a thread."""

    def __init__(self, data: "Buffer", most_ranges: int = MOST_RANGES, most_kinds: int = MOST_KINDS) -> None:
        """Raises BinTableRefused: the first line that is wrong, and why."""
        segments = Segments(data, most_ranges, most_kinds)
        self.bins = tuple(_bin_from(text, line) for text, line in zip(segments.kinds, segments.kind_lines, strict=True))
        self.ranges = segments.ranges
        self.memory_bytes = segments.memory_bytes
        self.index_of = segments.find
        """PAN -> index in `bins` or -1."""
        self._within = segments.within

    def find(self, pan: str) -> Bin | None:
        index = self.index_of(pan)
        return self.bins[index] if index >= 0 else None

    def type_of_prefix(self, digits: str) -> str | None:
        """The type of every card whose number begins with these digits; "" where they differ, some have none, or all;
        None where the table knows none of them. Lengths in which no such card has a type do not count: a line for a
        whole scheme stands behind those for its issuers.

        >>> lines = b"6,,,x,,,,\\n6225,,16,x,,,debit,\\n62258,,16,x,,,credit,\\n6226,,16,x,,,debit,\\n"
        >>> table = BinTable(b"low,high,length,scheme,issuer,issuer_name,type,country\\n" + lines)
        >>> [table.type_of_prefix(each) for each in ("6225", "62258", "6226", "62", "7")]
        ['', 'credit', 'debit', '', None]
        """
        lengths = [{self.bins[index].type if index >= 0 else "" for index in each} for each in self._within(digits)]
        types = set().union(*(each for each in lengths if each != {""}))
        return None if not lengths else types.pop() if len(types) == 1 else ""


def _bin_from(text: bytes, line: int) -> Bin:
    try:
        [columns] = csv.reader([text.decode()], strict=True)
    except UnicodeDecodeError:
        raise BinTableRefused(line, "not UTF-8") from None
    except (csv.Error, ValueError):
        raise BinTableRefused(line, "quotes that do not fit") from None
    if len(columns) != len(_COLUMNS):
        raise BinTableRefused(line, f"{len(columns) + 3} columns instead of {len(_COLUMNS) + 3}")
    for value, (shape, reason) in zip(columns, _SHAPES, strict=True):
        if shape.fullmatch(value) is None:
            raise BinTableRefused(line, reason)
    return Bin(*columns)
