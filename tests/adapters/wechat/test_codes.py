"""What verified answers mean."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.wechat.codes import Asked, result_of
from switch.domain.response_codes import RESPONSE_CODES
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, Declined, Phase, Unknown

SALE = Asked(Operation.SALE, "123", "no-1", 500)
INQUIRY = Asked(Operation.INQUIRY, "123", "no-1", 500)
REVERSAL = Asked(Operation.REVERSAL, "123", "no-1", 500)
VOID = Asked(Operation.VOID, "123", "no-1", 500)
REFUND = Asked(Operation.REFUND, "123", "no-1", 500, "re-1", 200)
PAID = {"mchid": "123", "out_trade_no": "no-1", "transaction_id": "42", "amount": {"total": 500, "currency": "CNY"}}
REFUNDED = {"out_trade_no": "no-1", "out_refund_no": "re-1", "refund_id": "50", "amount": {"refund": 200}}


def meaning(asked: Asked, content: Any, status: int = 200) -> Any:
    return result_of(asked, status, json.dumps(content).encode())


@pytest.mark.parametrize("asked", [SALE, INQUIRY])
@pytest.mark.parametrize(
    ("state", "result"),
    [
        ("SUCCESS", Approved(channel_reference="42")),
        ("REFUND", Approved(channel_reference="42")),
        ("USERPAYING", AwaitingPayer("42")),
        ("ACCEPT", AwaitingPayer("42")),
        ("NOTPAY", AwaitingPayer("42")),
        ("PAYERROR", Declined("05", "PAYERROR", "42")),
        ("REVOKED", Declined("12", "REVOKED", "42")),
        ("CLOSED", Declined("12", "CLOSED", "42")),
        ("SOMETHING_NEW", Unknown(Phase.SENT, "trade_state SOMETHING_NEW")),
    ],
)
def test_trade_states(asked: Asked, state: str, result: Any) -> None:
    assert meaning(asked, PAID | {"trade_state": state}) == result


def test_a_payer_at_the_keypad_may_come_alone() -> None:
    assert meaning(SALE, {"trade_state": "USERPAYING"}) == AwaitingPayer()
    assert meaning(SALE, {"trade_state": "USERPAYING"}, 202) == AwaitingPayer()


@pytest.mark.parametrize(
    "change",
    [
        {"out_trade_no": "no-2"},
        {"mchid": "124"},
        {"amount": {"total": 499, "currency": "CNY"}},
        {"amount": {"total": 500, "currency": "HKD"}},
        {"amount": None},
        {"out_trade_no": None},
        {"transaction_id": None},
    ],
)
def test_a_success_of_something_else_is_unknown(change: dict[str, Any]) -> None:
    result = meaning(SALE, PAID | {"trade_state": "SUCCESS"} | change)
    assert isinstance(result, Unknown)
    assert result.phase is Phase.SENT


@pytest.mark.parametrize(
    ("status", "code", "response_code"),
    [
        (403, "NOT_ENOUGH", "51"),
        (403, "NOTENOUGH", "51"),
        (400, "PARAM_ERROR", "30"),
        (400, "AUTH_CODE_INVALID", "14"),
        (400, "AUTHCODEEXPIRE", "54"),
        (403, "TRADE_ERROR", "05"),
        (404, "ORDER_NOT_EXIST", "25"),
        (401, "SIGN_ERROR", "96"),
    ],
)
def test_refusals(status: int, code: str, response_code: str) -> None:
    content = {"code": code, "message": "付款码 130061098828009406"}
    for asked in (SALE, VOID, REFUND):
        assert meaning(asked, content, status) == Declined(response_code, code)
    assert meaning(INQUIRY, content, status) == Unknown(Phase.SENT, code)
    assert response_code in RESPONSE_CODES


def test_only_a_missing_original_ends_a_reversal() -> None:
    assert meaning(REVERSAL, {"code": "ORDER_NOT_EXIST"}, 404) == Declined("25", "ORDER_NOT_EXIST")
    assert meaning(REVERSAL, {"code": "INVALID_REQUEST"}, 400) == Unknown(Phase.SENT, "INVALID_REQUEST")


@pytest.mark.parametrize("asked", [SALE, INQUIRY, REVERSAL, VOID, REFUND])
def test_what_holds_for_every_operation(asked: Asked) -> None:
    assert meaning(asked, {"code": "FREQUENCY_LIMITED"}, 429) == Unknown(Phase.NOT_SENT, "FREQUENCY_LIMITED")
    assert meaning(asked, {"code": "NEWLY_INVENTED"}, 400) == Unknown(Phase.SENT, "NEWLY_INVENTED")
    assert meaning(asked, {"code": "SYSTEM_ERROR"}, 500) == Unknown(Phase.SENT, "HTTP 500")
    assert meaning(asked, {}, 302) == Unknown(Phase.SENT, "HTTP 302")
    assert meaning(asked, {"code": "not a code 130061098828009406"}, 400) == Unknown(
        Phase.SENT, "HTTP 400: code is not a code"
    )


def test_a_password_asked_for_by_an_error_code() -> None:
    assert meaning(SALE, {"code": "USERPAYING"}, 400) == AwaitingPayer()
    assert meaning(VOID, {"code": "USERPAYING"}, 400) == Unknown(Phase.SENT, "USERPAYING")


def test_reversals() -> None:
    assert meaning(REVERSAL, {"out_trade_no": "no-1"}) == Approved()
    assert result_of(VOID, 204, b"") == Approved()
    assert isinstance(result_of(VOID, 200, b""), Unknown)
    assert isinstance(meaning(REVERSAL, {"out_trade_no": "no-2"}), Unknown)


@pytest.mark.parametrize(
    ("status", "result"),
    [
        ("SUCCESS", Approved(channel_reference="50")),
        ("PROCESSING", AwaitingPayer("50")),
        ("CLOSED", Declined("05", "CLOSED", "50")),
        ("ABNORMAL", Unknown(Phase.SENT, "refund status ABNORMAL")),
    ],
)
def test_refunds(status: str, result: Any) -> None:
    assert meaning(REFUND, REFUNDED | {"status": status}) == result


@pytest.mark.parametrize("change", [{"out_refund_no": "re-2"}, {"out_trade_no": "no-2"}, {"amount": {"refund": 201}}])
def test_another_refund_is_unknown(change: dict[str, Any]) -> None:
    assert isinstance(meaning(REFUND, REFUNDED | {"status": "SUCCESS"} | change), Unknown)


@given(
    st.sampled_from([SALE, INQUIRY, REVERSAL, VOID, REFUND]),
    st.integers(100, 599),
    st.binary(max_size=100) | st.just(b"{}") | st.just(b'{"code":"X","trade_state":"X","status":"X"}'),
)
def test_noise_is_never_an_outcome(asked: Asked, status: int, body: bytes) -> None:
    result = result_of(asked, status, body)
    if not (asked in (REVERSAL, VOID) and status == 204 and body == b""):
        assert isinstance(result, Unknown)


@pytest.mark.parametrize(
    ("status", "code"), [(401, "SIGN_ERROR"), (403, "NO_AUTH"), (404, "MCH_NOT_EXISTS"), (400, "APPID_MCHID_NOT_MATCH")]
)
def test_a_repeat_turned_away_at_the_door_says_nothing_of_the_refund_before_it(status: int, code: str) -> None:
    assert isinstance(meaning(REFUND, {"code": code}, status), Declined)
    assert meaning(replace(REFUND, repeated=True), {"code": code}, status) == Unknown(Phase.SENT, code)
