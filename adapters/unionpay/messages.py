"""Requests to fields: what each operation says to the network.

DE3 and DE25 by operation follow CUPS practice; what no source or capture confirms is marked [U].
"""

from functools import lru_cache

from adapters.unionpay.format import FIELDS, Fields, Kind
from adapters.unionpay.presentation import presentation_fields
from adapters.unionpay.settings import UnionPaySettings
from switch.domain.authorization import CardCredential, CodeCredential
from switch.domain.states import Operation
from switch.ports import ChannelRequest

REPLY_MTI = {
    "0100": "0110", "0101": "0110", "0200": "0210", "0201": "0210", "0220": "0230", "0221": "0230",
    "0420": "0430", "0421": "0430", "0620": "0630", "0800": "0810", "0820": "0830",
}  # fmt: skip

# Operation -> (MTI, DE3, DE25). DE25 06 says "pre-authorization".
_MESSAGES: dict[Operation, tuple[str, str, str]] = {
    Operation.SALE: ("0200", "000000", "00"),
    Operation.PRE_AUTHORIZATION: ("0100", "030000", "06"),
    Operation.CAPTURE: ("0200", "000000", "06"),
    Operation.REFUND: ("0220", "200000", "00"),
}
_CAPTURE_BY_ADVICE = ("0220", "000000", "06")  # the completion was made offline: the network is only told
_VOID_OF_SALE = ("0200", "200000", "00")  # [U]
_VOID_OF_PRE_AUTHORIZATION = ("0100", "200000", "06")  # [U]
_VOID_OF_CAPTURE = ("0200", "200000", "06")  # [U] names the pre-authorization, as the capture did
_REVERSAL_MTI = "0420"

# ISO 3166-1 alpha-2 -> alpha-3, for the country in DE43; others keep alpha-2 and a space.
_ALPHA_3 = {
    "AE": "ARE", "AU": "AUS", "CA": "CAN", "CH": "CHE", "CN": "CHN", "DE": "DEU", "ES": "ESP", "FR": "FRA",
    "GB": "GBR", "HK": "HKG", "ID": "IDN", "IN": "IND", "IT": "ITA", "JP": "JPN", "KR": "KOR", "MO": "MAC",
    "MY": "MYS", "NZ": "NZL", "PH": "PHL", "RU": "RUS", "SG": "SGP", "TH": "THA", "TW": "TWN", "US": "USA",
    "VN": "VNM",
}  # fmt: skip


_NAME = frozenset({"stan", "transmission", "rrn", "local_time", "local_date"})


class NotExpressible(ValueError):
    """The request cannot be said in this dialect. The text names what is missing and holds no card data."""


def message_kind(request: ChannelRequest, captures_by_advice: bool = False) -> tuple[str, str, str]:
    """(MTI, DE3, DE25) of a request. A repeat changes the MTI's last digit to 1 (0421; for the others [U])."""
    operation = request.operation
    if operation is Operation.CAPTURE and captures_by_advice:
        kind = _CAPTURE_BY_ADVICE
    elif operation is Operation.VOID:
        kind = _void_kind(request)
    elif operation is Operation.REVERSAL:
        _, processing, condition = _MESSAGES[request.authorization.operation]
        kind = (_REVERSAL_MTI, processing, condition)
    elif operation in _MESSAGES:
        kind = _MESSAGES[operation]
    else:
        raise NotExpressible(f"UnionPay has no {operation.name.lower()}")
    return (kind[0][:3] + "1", kind[1], kind[2]) if request.repeat else kind


def _void_kind(request: ChannelRequest) -> tuple[str, str, str]:
    if request.authorization.operation is not Operation.PRE_AUTHORIZATION:
        return _VOID_OF_SALE
    return _VOID_OF_CAPTURE if request.authorization.captured_minor else _VOID_OF_PRE_AUTHORIZATION


def financial_fields(
    request: ChannelRequest, settings: UnionPaySettings, pin_control: str = "2600000000000000"
) -> tuple[str, Fields]:
    """(MTI, fields without DE128) of a request whose `trace` is filled.

    pin_control: DE53 beside a PIN block; 2: the block holds the PAN, 6: the key is double length.
    Raises NotExpressible.
    """
    mti, processing, condition = message_kind(request, settings.captures_by_advice)
    authorization, merchant, trace = request.authorization, request.merchant, request.trace
    if not trace.keys() >= _NAME:
        raise NotExpressible("the message has no name: it was not prepared")
    terminal, merchant_number, name = _acceptor(
        authorization.terminal_id, merchant.id, merchant.name, merchant.city, merchant.country
    )
    fields: Fields = {
        3: processing,
        4: f"{request.money.amount_minor:012d}",
        7: trace["transmission"],
        11: trace["stan"],
        12: trace["local_time"],
        13: trace["local_date"],
        18: merchant.category_code,
        19: settings.country,
        25: condition,
        32: settings.acquirer,
        33: settings.forwarder,
        37: trace["rrn"],
        41: terminal,
        42: merchant_number,
        43: name,
        49: request.money.currency_numeric,
    }
    fields |= presentation_fields(request, settings, pin_control)
    _put_credential(fields, request, settings)
    if request.operation not in (Operation.SALE, Operation.PRE_AUTHORIZATION):
        _put_original(fields, request, settings)
    return mti, fields


def original_data(trace: dict[str, str], mti: str, settings: UnionPaySettings) -> str:
    """DE90: MTI (4), STAN (6), DE7 (10), DE32 and DE33 (11 each, zeros on the left).

    >>> settings = UnionPaySettings("h", 1, acquirer="00010000", forwarder="44190440")
    >>> original_data({"stan": "000001", "transmission": "1123080000"}, "0200", settings)
    '020000000111230800000000001000000044190440'
    """
    acquirer, forwarder = settings.acquirer.rjust(11, "0"), settings.forwarder.rjust(11, "0")
    return f"{mti}{trace['stan']}{trace['transmission']}{acquirer}{forwarder}"


def _put_original(fields: Fields, request: ChannelRequest, settings: UnionPaySettings) -> None:
    original = request.authorization
    if "stan" not in original.trace or "transmission" not in original.trace:
        raise NotExpressible("the original's trace is missing")
    fields[90] = original_data(original.trace, _MESSAGES[original.operation][0], settings)
    if original.approval_code:
        fields[38] = original.approval_code.ljust(6)[:6]


def _put_credential(fields: Fields, request: ChannelRequest, settings: UnionPaySettings) -> None:
    credential = request.credential
    if isinstance(credential, CardCredential):
        fields[2] = credential.pan.reveal()
        if credential.expiry_yymm:
            fields[14] = credential.expiry_yymm
        if credential.sequence_number:
            fields[23] = credential.sequence_number
        if credential.track2 is not None:
            fields[35] = credential.track2.reveal()
    elif isinstance(credential, CodeCredential) and credential.scheme == "unionpay":
        code = credential.code.reveal()
        binary = FIELDS[settings.code_field].kind is Kind.B
        fields[settings.code_field] = code.encode("ascii", "replace") if binary else code
    else:
        raise NotExpressible("no card and no UnionPay code")


@lru_cache(maxsize=8192)
def _acceptor(terminal: str, merchant: str, name: str, city: str, country: str) -> tuple[str, str, str]:
    """DE41, DE42 and DE43. An identifier that is too long keeps its end, where identifiers differ."""
    acceptor = _bytes_as_text(name, 25) + _bytes_as_text(city, 12) + _ALPHA_3.get(country, country).ljust(3)[:3]
    return _bytes_as_text(terminal[-8:], 8), _bytes_as_text(merchant[-15:], 15), acceptor


def _bytes_as_text(text: str, width: int) -> str:
    """GBK bytes one to one as characters, cut at a whole character, padded; what may not be printed becomes `?`."""
    encoded = "".join(each if each.isprintable() else "?" for each in text).encode("gbk", "replace")[:width]
    return encoded.decode("gbk", "ignore").encode("gbk").ljust(width).decode("latin-1")
