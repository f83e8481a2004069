"""How WeChat Pay says no: an HTTP status, a code and prose."""

from typing import Any


class Refusal(Exception):
    """Answered as `{"code": …, "message": …}` with `status`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message

    def content(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message}


def bad_parameter(field: str, message: str) -> Refusal:
    return Refusal(400, "PARAM_ERROR", f"{field}: {message}")


def bad_signature(message: str) -> Refusal:
    return Refusal(401, "SIGN_ERROR", message)


def invalid_request(message: str) -> Refusal:
    return Refusal(400, "INVALID_REQUEST", message)


# DE39 of a scenario -> how this platform says it. A code that it has no word for is a plain TRADE_ERROR.
_SAID: dict[str, tuple[int, str, str]] = {
    "03": (400, "MCH_NOT_EXISTS", "no such merchant"),
    "12": (400, "INVALID_REQUEST", "the order does not allow this"),
    "14": (400, "AUTH_CODE_INVALID", "the payment code is invalid"),
    "30": (400, "PARAM_ERROR", "a parameter is wrong"),
    "34": (403, "REQUEST_BLOCKED", "blocked by risk control"),
    "51": (403, "NOT_ENOUGH", "the payer's balance is not enough"),
    "54": (400, "AUTH_CODE_EXPIRED", "the payment code has expired"),
    "57": (403, "NO_AUTH", "not permitted"),
    "61": (403, "RULE_LIMIT", "over the payer's limit"),
    "62": (403, "ACCOUNT_ERROR", "the payer's account is restricted"),
    "91": (429, "FREQUENCY_LIMITED", "too many requests"),
    "96": (500, "SYSTEM_ERROR", "system error"),
}


def refusal_for(response_code: str) -> Refusal:
    """
    >>> refusal_for("51").code, refusal_for("05").code
    ('NOT_ENOUGH', 'TRADE_ERROR')
    """
    return Refusal(*_SAID.get(response_code, (403, "TRADE_ERROR", "the payment failed")))
