"""How the gateway says no."""

from typing import Final

_MESSAGES: Final = {
    "10000": "Success",
    "10003": "order success pay inprocess",
    "20000": "Service Currently Unavailable",
    "40001": "Missing Required Arguments",
    "40002": "Invalid Arguments",
    "40004": "Business Failed",
    "40006": "Insufficient Permissions",
}

# DE39, the language of scenarios, as Alipay would say it; anything else is PAYMENT_FAIL. "96", "98" and "91" have no
# refusal in Alipay's language: it says that it does not know, and nothing was paid.
_DECLINES: Final = {
    "12": ("40004", "ACQ.BUYER_SELLER_EQUAL"),
    "14": ("40004", "ACQ.PAYMENT_AUTH_CODE_INVALID"),
    "22": ("40004", "ACQ.TRADE_HAS_CLOSE"),
    "25": ("40004", "ACQ.TRADE_NOT_EXIST"),
    "30": ("40004", "ACQ.INVALID_PARAMETER"),
    "51": ("40004", "ACQ.BUYER_BALANCE_NOT_ENOUGH"),
    "57": ("40004", "ACQ.NO_PAYMENT_INSTRUMENTS_AVAILABLE"),
    "59": ("40004", "ACQ.PAYMENT_REQUEST_HAS_RISK"),
    "61": ("40004", "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR"),
    "62": ("40004", "ACQ.BUYER_ENABLE_STATUS_FORBID"),
    "91": ("20000", "isp.unknow-error"),
    "96": ("40004", "ACQ.SYSTEM_ERROR"),
    "98": ("20000", "isp.unknow-error"),
}


class Refused(Exception):
    """An answer other than done: code, sub_code, and for the developer sub_msg."""

    def __init__(self, code: str, sub_code: str, sub_msg: str = "") -> None:
        super().__init__(sub_code)
        self.code = code
        self.sub_code = sub_code
        self.sub_msg = sub_msg


def refused(sub_code: str, sub_msg: str = "") -> Refused:
    """A business failure."""
    return Refused("40004", sub_code, sub_msg)


def declined(response_code: str) -> Refused:
    code, sub_code = _DECLINES.get(response_code, ("40004", "ACQ.PAYMENT_FAIL"))
    return Refused(code, sub_code)


def message(code: str) -> str:
    return _MESSAGES[code]
