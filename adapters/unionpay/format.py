"""The formats as data: the messages that `_codec` reads and writes, field by field, and the daily settlement file.

Source of the messages: the CUPS inter-institution dialect (Q/CUP 006.2), agreed with the captured messages in the
vectors. The settlement file is in the style of the network's; no source for its columns was found: all of it is [U].
"""

from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """Which bytes a field may hold.

    N: digits. AN: letters, digits and the space that pads them. ANS: printable; bytes above 0x7F are let through one
    to one (Latin-1), because merchants' names travel as GBK. Z: track data, digits with `=` or `D`. B: any byte.
    XN: `C` or `D`, then digits (ISO 8583 x+n).
    """

    N = 1
    AN = 2
    ANS = 3
    Z = 4
    B = 5
    XN = 6


@dataclass(frozen=True, slots=True)
class FieldFormat:
    """length: bytes, exact if prefix is 0, else the most. prefix: how many ASCII digits of length come before it."""

    kind: Kind
    length: int
    prefix: int = 0


class MalformedMessage(ValueError):
    """Bytes that are no message, or fields that cannot become one.

    field: the ISO 8583 field number, 0 for MTI or bitmap, None for the header. The text never holds message data.
    """

    def __init__(self, field: int | None, reason: str) -> None:
        place = "header" if field is None else f"field {field}"
        super().__init__(f"{place}: {reason}")
        self.field = field
        self.reason = reason


HEADER_LENGTH = 46
HEADER_MARK = 0x2E  # the header's first byte is its own length
VERSIONS = (0x01, 0x02, 0x81, 0x82)  # 0x80: the sender is in test mode
LARGEST_MESSAGE_LENGTH = 4096  # header and body; the longest real message stays below 2,500 bytes

Fields = dict[int, str | bytes]  # kind B as bytes, all others as str

_N, _AN, _ANS, _Z, _B, _XN = Kind.N, Kind.AN, Kind.ANS, Kind.Z, Kind.B, Kind.XN

FIELDS: dict[int, FieldFormat] = {
    2: FieldFormat(_N, 19, 2),  # primary account number
    3: FieldFormat(_N, 6),  # processing code
    4: FieldFormat(_N, 12),  # amount, minor units
    5: FieldFormat(_N, 12),  # settlement amount; this and 6, 9, 10, 16: ISO 8583:1987, not in the captures
    6: FieldFormat(_N, 12),  # cardholder billing amount
    7: FieldFormat(_N, 10),  # transmission date and time, MMDDhhmmss
    9: FieldFormat(_N, 8),
    10: FieldFormat(_N, 8),
    11: FieldFormat(_N, 6),  # system trace audit number
    12: FieldFormat(_N, 6),  # local time, hhmmss
    13: FieldFormat(_N, 4),  # local date, MMDD
    14: FieldFormat(_N, 4),  # expiry, YYMM
    15: FieldFormat(_N, 4),  # settlement date, MMDD
    16: FieldFormat(_N, 4),
    18: FieldFormat(_N, 4),  # merchant category code
    19: FieldFormat(_N, 3),  # acquirer's country
    22: FieldFormat(_N, 3),  # point of service entry mode
    23: FieldFormat(_N, 3),  # card sequence number
    25: FieldFormat(_N, 2),  # point of service condition
    26: FieldFormat(_N, 2),  # longest PIN
    28: FieldFormat(_XN, 9),  # fee
    32: FieldFormat(_N, 11, 2),  # acquiring institution
    33: FieldFormat(_N, 11, 2),  # forwarding institution
    35: FieldFormat(_Z, 37, 2),  # track 2
    36: FieldFormat(_Z, 104, 3),  # track 3
    37: FieldFormat(_AN, 12),  # retrieval reference number
    38: FieldFormat(_AN, 6),  # approval code
    39: FieldFormat(_AN, 2),  # response code
    41: FieldFormat(_ANS, 8),  # terminal
    42: FieldFormat(_ANS, 15),  # merchant
    43: FieldFormat(_ANS, 40),  # merchant's name (25), city (12), country (3)
    44: FieldFormat(_ANS, 25, 2),
    45: FieldFormat(_ANS, 79, 2),  # track 1
    48: FieldFormat(_B, 512, 3),  # binary in a key reset: `NK` and 16 key bytes
    49: FieldFormat(_AN, 3),  # currency
    50: FieldFormat(_AN, 3),
    51: FieldFormat(_AN, 3),
    52: FieldFormat(_B, 8),  # PIN block
    53: FieldFormat(_N, 16),  # security control
    54: FieldFormat(_ANS, 40, 3),  # balances
    55: FieldFormat(_B, 255, 3),  # EMV data, BER-TLV
    57: FieldFormat(_ANS, 100, 3),
    59: FieldFormat(_ANS, 600, 3),
    60: FieldFormat(_ANS, 100, 3),  # reason code and point of service details
    61: FieldFormat(_ANS, 200, 3),
    62: FieldFormat(_ANS, 200, 3),
    63: FieldFormat(_ANS, 200, 3),
    70: FieldFormat(_N, 3),  # network management code
    90: FieldFormat(_N, 42),  # original data elements
    96: FieldFormat(_B, 8),  # single-length key
    100: FieldFormat(_N, 11, 2),  # receiving institution
    102: FieldFormat(_ANS, 28, 2),
    103: FieldFormat(_ANS, 28, 2),
    104: FieldFormat(_ANS, 100, 3),
    121: FieldFormat(_ANS, 100, 3),
    122: FieldFormat(_ANS, 100, 3),
    123: FieldFormat(_ANS, 100, 3),
    128: FieldFormat(_B, 8),  # MAC
}


# --- the settlement file: [U] -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """Of a line: digits with zeros before them, or text with spaces after it. One space stands between columns."""

    name: str
    width: int
    digits: bool = False


SETTLEMENT_FILE = "IND{day:%y%m%d}{batch:02d}ACOM"  # an acquirer's transactions of one day; a day may have batches
SETTLEMENT_LINE: tuple[Column, ...] = (
    Column("acquirer", 11),  # DE32
    Column("forwarder", 11),  # DE33
    Column("stan", 6, digits=True),  # DE11
    Column("transmission", 10, digits=True),  # DE7
    Column("pan", 19),  # masked
    Column("amount_minor", 12, digits=True),
    Column("currency", 3, digits=True),
    Column("mti", 4, digits=True),
    Column("processing", 6, digits=True),  # DE3; of a reversal, its original's
    Column("terminal", 8),
    Column("merchant", 15),
    Column("rrn", 12),
    Column("approval", 6),
    Column("fee_side", 1),  # D: the network keeps it; C: it gives it back
    Column("fee_minor", 11, digits=True),
    Column("original_transmission", 10, digits=True),  # zeros: it names none
    Column("original_stan", 6, digits=True),
    Column("booked", 14, digits=True),  # YYYYMMDDhhmmss in Shanghai
)
SETTLEMENT_TOTALS: tuple[Column, ...] = (  # the last line
    Column("mark", 5),
    Column("day", 8, digits=True),  # YYYYMMDD
    Column("forwarder", 11),
    Column("lines", 9, digits=True),
    Column("paid_minor", 16, digits=True),
    Column("returned_minor", 16, digits=True),
    Column("sha256", 64),  # of everything before this line, in hex
)
TOTALS_MARK = "TOTAL"
# (first three digits of the MTI, first two of DE3) -> whether money goes to the merchant, and how it is called.
SETTLEMENT_KINDS: dict[tuple[str, str], str] = {
    ("020", "00"): "payment",
    ("022", "00"): "payment",  # completion by advice
    ("020", "20"): "reversal",  # void
    ("022", "20"): "refund",
    ("042", "00"): "reversal",
    ("042", "20"): "payment",  # a void or refund was reversed
}
