"""What requests and answers mean."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.issuer.codec import OPERATIONS as OPERATIONS_OF_ISSUERS
from adapters.issuer.codec import judged, message_of, result_of, trace_of
from adapters.issuer.messages import IssuerAnswer, Outcome
from switch.domain.money import Money
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, Declined, Phase, Unknown

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
        (IssuerAnswer("m", "ZZ"), "response_code"),
        (IssuerAnswer("m", "09"), "response_code"),
        (IssuerAnswer("m", "00", emv_response=b"\x91\x05abc"), "emv_response"),
        (IssuerAnswer("m", "00", emv_response=b"\x92\x00"), "emv_response"),
        (IssuerAnswer("m", "00", emv_response=b"\x91"), "emv_response"),
        (IssuerAnswer("m", "00", approved=Money(999, "CNY")), "approved"),
        (IssuerAnswer("m", "00", approved=Money(1_001, "CNY")), "approved"),
        (IssuerAnswer("m", "51", approved=Money(1_000, "CNY")), "approved"),
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


MONEYS = st.none() | st.builds(
    Money,
    st.sampled_from([-1, 0, 1, 500, 999, 1_000, 1_001]) | st.integers(),
    st.sampled_from(["CNY", "USD", "", "cny"]),
)
CODES = st.sampled_from(["00", "10", "11", "25", "05", "09", "ZZ", ""]) | st.text(max_size=3)
OUTCOMES = st.none() | st.builds(Outcome, st.integers(-1, 6), CODES, st.text(max_size=7), MONEYS)
ANSWERS = st.builds(
    IssuerAnswer, st.just("m"), CODES, st.text(max_size=7), MONEYS,
    st.binary(max_size=300) | st.sampled_from([b"\x91\x00", b"\x91\x02ab", b"\x71\x81\x01x"]), st.text(), OUTCOMES,
)  # fmt: skip
OPERATIONS = st.sampled_from(sorted(OPERATIONS_OF_ISSUERS))


@settings(max_examples=1_500)
@given(OPERATIONS, ANSWERS)
def test_any_answer_is_one_of_four_and_never_more_than_was_asked(operation, answer):
    result, fault = judged(operation, ASKED, answer)
    assert isinstance(result, Approved | Declined | Unknown | AwaitingPayer)
    assert isinstance(result, Unknown) or not fault
    assert not isinstance(result, AwaitingPayer) or operation is Operation.INQUIRY
    if not isinstance(result, Approved):
        assert isinstance(result, AwaitingPayer) or len(result.reason) <= 100
        return
    said = answer if operation is not Operation.INQUIRY else answer.outcome
    assert said.response_code in {"00", "10", "11"} or (
        operation is Operation.REVERSAL and answer.response_code == "25"
    )
    assert (result.approved_minor is not None) == (result.response_code == "10")
    assert result.approved_minor is None or 0 < result.approved_minor <= ASKED.amount_minor
    assert said.approved is None or said.approved.currency == "CNY"


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (IssuerAnswer("i", "25"), Declined("25")),
        (IssuerAnswer("i", "00", outcome=Outcome(1, "00", "A1")), Approved("00", "A1")),
        (IssuerAnswer("i", "00", outcome=Outcome(1, "10", "", Money(7, "CNY"))), Approved("10", approved_minor=7)),
        (IssuerAnswer("i", "00", outcome=Outcome(2, "51")), Declined("51")),
        (IssuerAnswer("i", "00", outcome=Outcome(3, "00")), Declined("22", "reversed or voided")),
        (IssuerAnswer("i", "00", outcome=Outcome(4)), AwaitingPayer()),
        (IssuerAnswer("i", "40"), Unknown(Phase.SENT, "the issuer does not answer inquiries: 40")),
        (IssuerAnswer("i", "00"), Unknown(Phase.SENT, "malformed answer: outcome")),
        (IssuerAnswer("i", "05", outcome=Outcome(2, "05")), Unknown(Phase.SENT, "malformed answer: outcome")),
        (IssuerAnswer("i", "00", outcome=Outcome(0)), Unknown(Phase.SENT, "malformed answer: outcome.state")),
        (IssuerAnswer("i", "00", outcome=Outcome(9)), Unknown(Phase.SENT, "malformed answer: outcome.state")),
        (
            IssuerAnswer("i", "00", outcome=Outcome(1, "05")),
            Unknown(Phase.SENT, "malformed answer: outcome.response_code"),
        ),
        (
            IssuerAnswer("i", "00", outcome=Outcome(2, "00")),
            Unknown(Phase.SENT, "malformed answer: outcome.response_code"),
        ),
        (
            IssuerAnswer("i", "00", outcome=Outcome(1, "00", "1234567")),
            Unknown(Phase.SENT, "malformed answer: outcome.approval_code"),
        ),
        (
            IssuerAnswer("i", "00", outcome=Outcome(1, "00", "", Money(1_001, "CNY"))),
            Unknown(Phase.SENT, "malformed answer: outcome.approved"),
        ),
    ],
)
def test_what_an_inquiry_brings(answer, result):
    assert result_of(Operation.INQUIRY, ASKED, answer) == result


def test_an_outcome_belongs_to_an_inquiry_alone():
    answer = IssuerAnswer("m", "00", outcome=Outcome(1, "00"))
    assert result_of(Operation.SALE, ASKED, answer) == Unknown(Phase.SENT, "malformed answer: outcome")


@pytest.mark.parametrize("text", ["6259000000000005", "6259 0000 0000 0005", "6259-0000-0000-0005"])
def test_no_card_number_in_a_reason(text):
    assert result_of(Operation.SALE, ASKED, IssuerAnswer("m", "05", reason=f"a\n{text}.")).reason == "a ***."


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
