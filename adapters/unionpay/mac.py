"""What a MAC covers: the text that the HSM authenticates (Q/CUP 006.4; PROTOCOLS, UnionPay). Pure.

Both texts: the listed fields that are present, MTI first, joined by one space, variable fields with their LL prefix,
upper case. DE128 is what the HSM answers for the text, algorithm FINANCIAL or KEY_RESET:
eight ASCII characters (the first four MAC bytes in hex), or four MAC bytes and four bytes of the key's check value.
"""

from adapters.unionpay._codec import covered_text
from adapters.unionpay.format import Fields

FINANCIAL = "cup-financial"
KEY_RESET = "cup-key-reset"

_ORIGINAL_DATA_COVERED = 20  # of DE90: MTI, STAN, DE7
_FINANCIAL_FIELDS = (2, 3, 4, 7, 11, 18, 25, 28, 32, 33, 38, 39, 41, 42, 90, 102, 103)
_KEY_RESET_FIELDS = (7, 11, 39, 53, 70, 100)


def financial_text(mti: str, fields: Fields) -> bytes:
    """What DE128 of a financial message covers. Only `A–Z 0–9 , .` and single spaces remain.

    Raises MalformedMessage for a covered field that cannot be encoded.

    >>> financial_text("0210", {2: "6210947000000021", 4: "000000000100", 39: "00", 41: "term-1  "})
    b'0210 166210947000000021 000000000100 00 TERM1'
    """
    return covered_text(mti, fields, _FINANCIAL_FIELDS, _ORIGINAL_DATA_COVERED, restricted=True)


def key_reset_text(mti: str, fields: Fields) -> bytes:
    """What DE128 of a key reset covers, under the new key. The vector is the published key reset of a PIK:

    >>> fields = {7: "0517094653", 11: "000522", 53: "1600000000000000", 70: "101", 100: "44190440"}
    >>> key_reset_text("0800", fields)
    b'0800 0517094653 000522 1600000000000000 101 0844190440'
    """
    return covered_text(mti, fields, _KEY_RESET_FIELDS)
