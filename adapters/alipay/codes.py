"""What Alipay's (code, sub_code) mean in the switch's vocabulary (DE39). Tables; operations.py looks them up.

Source: Alipay Open API, public answer codes and the business codes of alipay.trade.*.
"""

from typing import Final

DONE: Final = "10000"
AWAITING_PAYER: Final = "10003"
UNKNOWN: Final = "20000"
BUSINESS_FAILURE: Final = "40004"

# The gateway refused the request before the trade service saw it: it had no effect.
GATEWAY_REFUSALS: Final[dict[str, str]] = {
    "20001": "58",  # authorization token
    "40001": "30",  # a parameter is missing
    "40002": "30",  # a parameter is invalid
    "40006": "58",  # the application may not call this
}

# Failures that say nothing about the outcome. TRADE_HAS_SUCCESS answers a repeated payment: it was paid before.
# Alipay prefixes and spells them in more than one way (`aop.ACQ.SYSTEM_ERROR`, `isp.unknow-error`).
_OPEN_ENDINGS: Final = ("SYSTEM_ERROR", "unknow-error", "unknown-error", "TRADE_HAS_SUCCESS")

TRADE_NOT_EXIST: Final = "ACQ.TRADE_NOT_EXIST"
TRADE_HAS_CLOSE: Final = "ACQ.TRADE_HAS_CLOSE"

_UNLISTED_REFUSAL = "05"

SUB_CODES: Final[dict[str, str]] = {
    "isv.invalid-app-id": "03",
    "isv.missing-signature": "96",
    "isv.invalid-signature": "96",
    "ACQ.INVALID_PARAMETER": "30",
    "ACQ.EXIST_FORBIDDEN_WORD": "30",
    "ACQ.ACCESS_FORBIDDEN": "58",
    "ACQ.PARTNER_ERROR": "03",
    "ACQ.SELLER_BEEN_BLOCKED": "03",
    "ACQ.CONTEXT_INCONSISTENT": "94",
    "ACQ.DISCORDANT_REPEAT_REQUEST": "94",
    "ACQ.PAYMENT_AUTH_CODE_INVALID": "14",
    "ACQ.BUYER_BALANCE_NOT_ENOUGH": "51",
    "ACQ.BUYER_BANKCARD_BALANCE_NOT_ENOUGH": "51",
    "ACQ.SELLER_BALANCE_NOT_ENOUGH": "51",
    "ACQ.TOTAL_FEE_EXCEED": "61",
    "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR": "61",
    "ACQ.BUYER_PAYMENT_AMOUNT_MONTH_LIMIT_ERROR": "61",
    "ACQ.BEYOND_PAY_RESTRICTION": "61",
    "ACQ.BEYOND_PER_RECEIPT_RESTRICTION": "61",
    "ACQ.PRODUCT_AMOUNT_LIMIT_ERROR": "61",
    "ACQ.BUYER_ENABLE_STATUS_FORBID": "62",
    "ACQ.REASON_TRADE_BEEN_FREEZEN": "62",
    "ACQ.ERROR_BUYER_CERTIFY_LEVEL_LIMIT": "57",
    "ACQ.ERROR_BALANCE_PAYMENT_DISABLE": "57",
    "ACQ.MOBILE_PAYMENT_SWITCH_OFF": "57",
    "ACQ.NO_PAYMENT_INSTRUMENTS_AVAILABLE": "57",
    "ACQ.TRADE_NOT_ALLOW_REFUND": "57",
    "ACQ.PAYMENT_REQUEST_HAS_RISK": "59",
    "ACQ.BUYER_SELLER_EQUAL": "12",
    "ACQ.TRADE_BUYER_NOT_MATCH": "12",
    "ACQ.TRADE_STATUS_ERROR": "22",
    "ACQ.TRADE_HAS_FINISHED": "22",
    "ACQ.TRADE_CANCEL_TIME_OUT": "22",
    "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL": "64",
    "ACQ.CURRENCY_NOT_SUPPORT": "40",
    "ACQ.PAYMENT_FAIL": _UNLISTED_REFUSAL,
    "ACQ.PULL_MOBILE_CASHIER_FAIL": _UNLISTED_REFUSAL,
    TRADE_HAS_CLOSE: "22",
    TRADE_NOT_EXIST: "25",
}


def response_code(code: str, sub_code: str) -> str | None:
    """DE39 of a refusal; None where the answer leaves the outcome open (20000, SYSTEM_ERROR, a code nobody knows).

    >>> response_code("40004", "ACQ.BUYER_BALANCE_NOT_ENOUGH"), response_code("40002", "isv.invalid-signature")
    ('51', '96')
    >>> response_code("20000", "isp.unknow-error"), response_code("40004", "ACQ.SYSTEM_ERROR"), response_code("99", "")
    (None, None, None)
    """
    if sub_code.endswith(_OPEN_ENDINGS):
        return None
    if code == BUSINESS_FAILURE:
        return SUB_CODES.get(sub_code, _UNLISTED_REFUSAL)
    if code in GATEWAY_REFUSALS:
        return SUB_CODES.get(sub_code, GATEWAY_REFUSALS[code])
    return None


def is_to_be_asked(code: str, sub_code: str) -> bool:
    """Whether the answer to a payment says that a query will tell its outcome.

    >>> is_to_be_asked("20000", "isp.unknow-error"), is_to_be_asked("40004", "ACQ.SYSTEM_ERROR"), is_to_be_asked("", "")
    (True, True, False)
    """
    return code == UNKNOWN or sub_code.endswith(_OPEN_ENDINGS)
