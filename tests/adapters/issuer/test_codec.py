"""What requests and answers mean."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.issuer.codec import message_of, result_of, trace_of
from adapters.issuer.messages import IssuerAnswer
from switch.domain.money import Money
from switch.domain.states import Operation
from switch.ports import Approved, Declined, Phase, Unknown

ASKED = Money(1_000, "CNY")


@pytest.mark.parametrize("code", ["00", "11"])
def test_approvals(code):
    result = result_of(Operation.SALE, ASKED, IssuerAnswer("m", code, "123456", emv_response=b"\x91\x00"))
    assert result == Approved(code, "123456", emv_response=b"\x91\x00")


@pytest.mark.parametrize("code", ["01", "05", "25", "51", "55", "91", "A0"])
def test_declines(code):
    assert result_of(Operation.SALE, ASKED, IssuerAnswer("m", code)) == Declined(code)


def test_a_reason_loses_what_looks_like_a_card_number_and_what_is_too_long():
    result = result_of(Operation.SALE, ASKED, IssuerAnswer("m", "05", reason="card 6259000000000005 " + "x" * 200))
    assert result.reason.startswith("card *** x")
    assert len(result.reason) == 100


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        (IssuerAnswer("m", ""), "response_code"),
        (IssuerAnswer("m", "0"), "response_code"),
        (IssuerAnswer("m", "000"), "response_code"),
        (IssuerAnswer("m", "0\n"), "response_code"),
        (IssuerAnswer("m", "00", "1234567"), "approval_code"),
        (IssuerAnswer("m", "00", "12\x00"), "approval_code"),
        (IssuerAnswer("m", "00", emv_response=bytes(256)), "emv_response"),
        (IssuerAnswer("m", "10"), "approved"),
        (IssuerAnswer("m", "10", approved=Money(0, "CNY")), "approved"),
        (IssuerAnswer("m", "10", approved=Money(1_001, "CNY")), "approved"),
        (IssuerAnswer("m", "10", approved=Money(500, "USD")), "approved"),
    ],
)
def test_an_answer_that_cannot_be_read_leaves_the_payment_unknown(answer, field):
    assert result_of(Operation.SALE, ASKED, answer) == Unknown(Phase.SENT, f"malformed answer: {field}")


def test_only_an_original_is_approved_in_part():
    part = IssuerAnswer("m", "10", approved=Money(500, "CNY"))
    assert result_of(Operation.PRE_AUTHORIZATION, ASKED, part) == Approved("10", approved_minor=500)
    assert isinstance(result_of(Operation.CAPTURE, ASKED, part), Unknown)


@given(st.text(), st.text(), st.binary(max_size=300), st.none() | st.integers())
def test_any_answer_is_one_of_three_and_never_more_than_was_asked(code, approval, emv, approved_minor):
    approved = None if approved_minor is None else Money(approved_minor, "CNY")
    result = result_of(Operation.SALE, ASKED, IssuerAnswer("m", code, approval, approved, emv))
    assert isinstance(result, Approved | Declined | Unknown)
    if isinstance(result, Approved):
        assert code in {"00", "10", "11"}
        assert result.approved_minor is None or 0 < result.approved_minor <= ASKED.amount_minor


async def test_names_of_messages(switch):
    sale = switch.request()
    authorization = sale.authorization
    assert sale.trace == {"message_id": f"{authorization.id}-1"}
    authorization.attempt = 2
    sale.trace = {}
    assert trace_of(sale, UUID(int=1)) == {"message_id": f"{authorization.id}-2"}
    capture = switch.request(operation=Operation.CAPTURE, of=authorization)
    refund = switch.request(operation=Operation.REFUND, of=authorization)
    assert capture.trace != refund.trace
    kept = dict(capture.trace)
    assert trace_of(capture, UUID(int=99)) == kept


async def test_a_follow_on_names_its_original(switch):
    sale = switch.request()
    assert message_of(sale, 100).original_message_id == ""
    reversal = message_of(switch.request(operation=Operation.REVERSAL, of=sale.authorization), 100)
    assert reversal.original_message_id == sale.trace["message_id"]
    assert reversal.authorization_id == str(sale.authorization.id)
    assert reversal.transmission_time_ms == 1_750_000_000_000


async def test_a_tombstones_reversal_names_what_the_original_would_be_called(switch):
    authorization = switch.authorization(Operation.SALE, 100)
    authorization.attempt = 0
    reversal = switch.request(operation=Operation.REVERSAL, of=authorization)
    assert message_of(reversal, 100).original_message_id == f"{authorization.id}-1"
