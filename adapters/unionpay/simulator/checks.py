"""What the network refuses before it looks at an account: unknown functions, missing and impossible fields."""

from collections.abc import Callable

from adapters.unionpay.format import Fields
from adapters.unionpay.simulator.book import (
    CAPTURE,
    PAYMENTS,
    PRE_AUTHORIZATION,
    REFUND,
    REVERSAL,
    SALE,
    VOID,
    VOID_OF_CAPTURE,
)

# (MTI without its repeat digit, DE3, DE25) -> kind
_KINDS = {
    ("020", "000000", "00"): SALE,
    ("010", "030000", "06"): PRE_AUTHORIZATION,
    ("020", "000000", "06"): CAPTURE,
    ("022", "000000", "06"): CAPTURE,  # the advice of a completion that was made offline
    ("020", "200000", "00"): VOID,
    ("010", "200000", "06"): VOID,
    ("020", "200000", "06"): VOID_OF_CAPTURE,
    ("022", "200000", "00"): REFUND,
}
_FORMAT, _INVALID, _UNSUPPORTED, _MERCHANT, _TERMINAL = "30", "12", "40", "03", "97"
_CURRENCY = "156"  # what its accounts hold
# DE3 of what ISO 8583 has and this network does not do: cash, inquiries, transfers.
_NOT_SERVED = frozenset({"01", "21", "30", "31", "33", "40", "47"})
_MANDATORY = frozenset({3, 4, 7, 11, 12, 13, 18, 19, 22, 25, 32, 33, 37, 41, 42, 43, 49, 60, 128})
_MANDATORY_IN_NOTICE = frozenset({7, 11, 33, 128})
_WITH_PIN = frozenset({26, 52, 53})
CODE_FIELDS = (59, 48)
_ENTRY_MODES = frozenset({"00", "01", "02", "03", "04", "05", "07", "90", "91", "95", "98"})
_DAYS = {"01": 31, "02": 29, "03": 31, "04": 30, "05": 31, "06": 30, "07": 31, "08": 31, "09": 30, "10": 31, "11": 30}


def is_notice(mti: str) -> bool:
    return mti[:3] == "062"


def kind_of(mti: str, fields: Fields) -> str | None:
    """What the message asks for; None: nothing the network knows."""
    if mti[:3] == "042":
        return REVERSAL
    return _KINDS.get((mti[:3], str(fields.get(3)), str(fields.get(25))))


def lacks_fields(kind: str, fields: Fields) -> bool:
    present = fields.keys()
    if not present >= _MANDATORY or (52 in fields and not present >= _WITH_PIN):
        return True
    if 2 not in fields and not any(number in fields for number in CODE_FIELDS):
        return True
    return kind not in PAYMENTS and 90 not in fields


def refusal_of(mti: str, fields: Fields) -> str:
    """DE39 of a message that nobody needs to look at further, or ""."""
    if is_notice(mti):
        return "" if fields.keys() >= _MANDATORY_IN_NOTICE else _FORMAT
    kind = kind_of(mti, fields)
    if kind is None:
        return _UNSUPPORTED if str(fields.get(3))[:2] in _NOT_SERVED else _INVALID
    if lacks_fields(kind, fields) or not all(fits(fields) for fits in _FORMATS):
        return _FORMAT
    if not str(fields[42]).strip():
        return _MERCHANT
    if not str(fields[41]).strip():
        return _TERMINAL
    return "" if fields[49] == _CURRENCY else _INVALID


def _is_date(mmdd: str) -> bool:
    return 1 <= int(mmdd[2:]) <= _DAYS.get(mmdd[:2], 31 if mmdd[:2] == "12" else 0)


def _is_time(hhmmss: str) -> bool:
    return hhmmss[:2] < "24" and hhmmss[2:4] < "60" and hhmmss[4:] < "60"


def _dates(fields: Fields) -> bool:
    transmission = str(fields[7])
    expiry = str(fields.get(14, "0001"))
    return (
        _is_date(transmission[:4])
        and _is_time(transmission[4:])
        and _is_time(str(fields[12]))
        and _is_date(str(fields[13]))
        and "01" <= expiry[2:] <= "12"
    )


def _entry_mode(fields: Fields) -> bool:
    """DE22 is known, and its third digit tells the truth about the PIN: 1 there is one, 2 there is none."""
    mode = str(fields[22])
    return mode[:2] in _ENTRY_MODES and mode[2] in (("1",) if 52 in fields else ("0", "2"))


def _pin(fields: Fields) -> bool:
    """DE53: the block holds the PAN (2) or not (1), under a single (0) or double (6) length key. DE26: 4 to 12."""
    if 52 not in fields:
        return True
    control = str(fields[53])
    return control[0] in "12" and control[1] in "06" and "04" <= str(fields[26]) <= "12"


def _track(fields: Fields) -> bool:
    """Track 2 is of the card in DE2."""
    track = str(fields.get(35, "")).replace("D", "=")
    return not track or 2 not in fields or track.partition("=")[0] == fields[2]


def _chip_data(fields: Fields) -> bool:
    data = fields.get(55, b"")
    return isinstance(data, bytes) and is_ber_tlv(data)


def _point_of_service(fields: Fields) -> bool:
    return str(fields[60])[:4].isdigit()


def _original(fields: Fields) -> bool:
    """DE90 names a message that could have been: an MTI of this dialect, a date and a time."""
    if 90 not in fields:
        return True
    named = str(fields[90])
    return named[:3] in ("010", "020", "022") and _is_date(named[10:14]) and _is_time(named[14:20])


_FORMATS: tuple[Callable[[Fields], bool], ...] = (
    _dates, _entry_mode, _pin, _track, _chip_data, _point_of_service, _original,
)  # fmt: skip


def is_ber_tlv(data: bytes) -> bool:
    """Whether tags and lengths add up (ISO/IEC 8825-1, as EMV Book 3 annex B restricts it).

    >>> is_ber_tlv(bytes.fromhex("9F2601AA8400")), is_ber_tlv(bytes.fromhex("9F2602AA"))
    (True, False)
    """
    at, size = 0, len(data)
    while at < size:
        if data[at] & 0x1F == 0x1F:
            at += 1
            while at < size and data[at] & 0x80:
                at += 1
        at += 1
        if at >= size:
            return False
        length = data[at]
        at += 1
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 2 or at + count > size:
                return False
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        at += length
    return at == size
