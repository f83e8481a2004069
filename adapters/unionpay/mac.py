"""What a MAC covers: the text that the HSM authenticates (Q/CUP 006.4; PROTOCOLS, UnionPay). Pure.

Both texts: the listed fields that are present, MTI first, joined by one space, variable fields with their LL prefix,
upper case. DE128 is what the HSM answers for the text, algorithm FINANCIAL or KEY_RESET:
eight ASCII characters (the first four MAC bytes in hex), or four MAC bytes and four bytes of the key's check value.
"""

from adapters.unionpay.format import FIELDS, Fields

FINANCIAL = "cup-financial"
KEY_RESET = "cup-key-reset"

_ORIGINAL_DATA = 90
_ORIGINAL_DATA_COVERED = 20  # MTI, STAN, DE7


def _with_prefixes(numbers: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((number, FIELDS[number].prefix) for number in numbers)


_FINANCIAL_FIELDS = _with_prefixes((2, 3, 4, 7, 11, 18, 25, 28, 32, 33, 38, 39, 41, 42, _ORIGINAL_DATA, 102, 103))
_KEY_RESET_FIELDS = _with_prefixes((7, 11, 39, 53, 70, 100))
_DROPPED = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,."))


def _joined(mti: str, fields: Fields, covered: tuple[tuple[int, int], ...]) -> bytes:
    parts = [mti]
    for number, prefix in covered:
        value = fields.get(number)
        if value is None:
            continue
        assert isinstance(value, str)  # no field of kind B is covered
        if number == _ORIGINAL_DATA:
            value = value[:_ORIGINAL_DATA_COVERED]
        parts.append(f"{len(value):0{prefix}d}{value}" if prefix else value)
    return " ".join(parts).encode("latin-1").upper()


def financial_text(mti: str, fields: Fields) -> bytes:
    """What DE128 of a financial message covers. Only `A–Z 0–9 , .` and single spaces remain.

    >>> financial_text("0210", {2: "6210947000000021", 4: "000000000100", 39: "00", 41: "term-1  "})
    b'0210 166210947000000021 000000000100 00 TERM1'
    """
    kept = _joined(mti, fields, _FINANCIAL_FIELDS).translate(None, _DROPPED)
    return b" ".join(kept.split())


def key_reset_text(mti: str, fields: Fields) -> bytes:
    """What DE128 of a key reset covers, under the new key. The vector is the published key reset of a PIK:

    >>> fields = {7: "0517094653", 11: "000522", 53: "1600000000000000", 70: "101", 100: "44190440"}
    >>> key_reset_text("0800", fields)
    b'0800 0517094653 000522 1600000000000000 101 0844190440'
    """
    return _joined(mti, fields, _KEY_RESET_FIELDS)
