"""The terminals' message format as data: what `codec` reads and writes, field by field.

Source: PROTOCOLS.md (TPDU, header, BCD), the message of the `pos_ecb_mac` vector, which fixes 3, 4, 11, 22, 25, 26, 35,
41, 42, 49, 52, 53 and 60 byte for byte, and DE62 of the `pos_sign_on` vector. The other fields follow the common
practice of UnionPay's direct terminals and are [U]: unverified against a capture.
"""

from dataclasses import dataclass

from adapters.unionpay.format import Fields, Kind, MalformedMessage

__all__ = ["FIELDS", "Fields", "Kind", "MalformedMessage", "PosField"]


@dataclass(frozen=True, slots=True)
class PosField:
    """length: digits for N and Z, which are packed two a byte, else bytes; exact if prefix is 0, else the most.

    prefix: digits of the BCD length before it: 2 in one byte, 3 in two. It counts digits for N and Z, else bytes.
    right: an odd number of digits gets its zero in front, else behind.
    """

    kind: Kind
    length: int
    prefix: int = 0
    right: bool = False


PAD = "0"  # what fills the last half byte of an odd number of digits
SEPARATOR = "D"  # of track data, as a half byte; `=` in the fields
TPDU_ID = 0x60
TPDU_LENGTH = 5
HEADER_LENGTH = 6
BITMAP_LENGTH = 8
LENGTH_BYTES = 2
SHORTEST_MESSAGE = TPDU_LENGTH + HEADER_LENGTH + 2 + BITMAP_LENGTH
LARGEST_MESSAGE = 2048  # without the length before it; the longest real one stays below 1,200 bytes
MAC_FIELD = 64
MAC_LENGTH = 8

_N, _AN, _ANS, _Z, _B = Kind.N, Kind.AN, Kind.ANS, Kind.Z, Kind.B

FIELDS: dict[int, PosField] = {
    2: PosField(_N, 19, 2),  # primary account number
    3: PosField(_N, 6),  # processing code
    4: PosField(_N, 12),  # amount, minor units
    11: PosField(_N, 6),  # system trace audit number
    12: PosField(_N, 6),  # local time, hhmmss
    13: PosField(_N, 4),  # local date, MMDD
    14: PosField(_N, 4),  # expiry, YYMM
    15: PosField(_N, 4),  # settlement date, MMDD
    22: PosField(_N, 3),  # entry mode
    23: PosField(_N, 3, right=True),  # card sequence number
    25: PosField(_N, 2),  # condition
    26: PosField(_N, 2),  # longest PIN
    32: PosField(_N, 11, 2),  # acquiring institution
    35: PosField(_Z, 37, 2),  # track 2
    36: PosField(_Z, 104, 3),  # track 3
    37: PosField(_AN, 12),  # retrieval reference number
    38: PosField(_AN, 6),  # approval code
    39: PosField(_AN, 2),  # response code
    41: PosField(_ANS, 8),  # terminal
    42: PosField(_ANS, 15),  # merchant
    44: PosField(_ANS, 25, 2),
    48: PosField(_N, 322, 3),  # totals of a settlement
    49: PosField(_AN, 3),  # currency
    52: PosField(_B, 8),  # PIN block
    53: PosField(_N, 16),  # security control
    54: PosField(_AN, 20, 3),
    55: PosField(_B, 255, 3),  # EMV data, BER-TLV
    58: PosField(_ANS, 100, 3),
    59: PosField(_ANS, 600, 3),
    60: PosField(_N, 17, 3),  # message type (2), batch (6), network management code (3), capabilities
    61: PosField(_N, 29, 3),  # original: batch (6), STAN (6), date (4)
    62: PosField(_B, 512, 3),  # working keys in the answer to a sign-on
    63: PosField(_ANS, 163, 3),  # operator; text
    64: PosField(_B, 8),  # MAC: 8 hexadecimal characters
}
