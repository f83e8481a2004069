"""Between the channel port's values and an issuer's messages. No I/O."""

import re
from uuid import UUID

from adapters.issuer.messages import IssuerAnswer, IssuerMessage
from switch.domain.authorization import Authorization, CardCredential
from switch.domain.identity import transmission_time_ms_of
from switch.domain.money import Money
from switch.domain.states import Operation
from switch.ports import Approved, ChannelRequest, ChannelResult, Declined, Phase, Unknown

OPERATIONS = frozenset(
    {
        Operation.SALE,
        Operation.PRE_AUTHORIZATION,
        Operation.CAPTURE,
        Operation.VOID,
        Operation.REFUND,
        Operation.REVERSAL,
    }
)
ORIGINALS = frozenset({Operation.SALE, Operation.PRE_AUTHORIZATION})

_APPROVALS = frozenset({"00", "10", "11"})
_RESPONSE_CODE = re.compile(r"[0-9A-Z]{2}")
_APPROVAL_CODE = re.compile(r"[ -~]{0,6}")
_CARD_NUMBER_LIKE = re.compile(r"\d{12,}")
_LONGEST_REASON = 100
_LONGEST_EMV_RESPONSE_BYTES = 255  # DE55 is LLL255


def original_message_id(authorization: Authorization) -> str:
    """The message id of a sale or pre-authorization.

    It is in the trace; a tombstone's has none, and then it is what `trace_of` would have given the first attempt.
    """
    return authorization.trace.get("message_id") or f"{authorization.id}-{max(authorization.attempt, 1)}"


def trace_of(request: ChannelRequest, fresh_id: UUID) -> dict[str, str]:
    """The trace that names this message for ever; a trace that is there already is kept.

    A sale is named by its authorization and attempt, a reversal by what it undoes, so that every repeat computes the
    same name. An authorization may have several captures and refunds: each is named by `fresh_id`.
    """
    if "message_id" in request.trace:
        return request.trace
    authorization = request.authorization
    if request.operation in ORIGINALS:
        return {"message_id": f"{authorization.id}-{max(authorization.attempt, 1)}"}
    if request.operation is Operation.REVERSAL:
        return {"message_id": f"{original_message_id(authorization)}-reversal"}
    return {"message_id": str(fresh_id)}


def message_of(request: ChannelRequest, budget_ms: int) -> IssuerMessage:
    """The message for one prepared request (its trace has a `message_id`)."""
    authorization, merchant, credential = request.authorization, request.merchant, request.credential
    card = credential if isinstance(credential, CardCredential) else None
    return IssuerMessage(
        message_id=request.trace["message_id"],
        operation=request.operation,
        authorization_id=str(authorization.id),
        money=request.money,
        original_message_id="" if request.operation in ORIGINALS else original_message_id(authorization),
        pan=card.pan if card else None,
        expiry_yymm=card.expiry_yymm if card else "",
        card_sequence_number=card.sequence_number if card else "",
        pin_block=request.pin_block,
        emv=card.emv if card else b"",
        entry=authorization.entry,
        acquirer_id=authorization.acquirer_id,
        merchant_id=merchant.id,
        merchant_name=merchant.name,
        merchant_category_code=merchant.category_code,
        terminal_id=authorization.terminal_id,
        transmission_time_ms=transmission_time_ms_of(authorization.id),
        budget_ms=budget_ms,
        repeat=request.repeat,
    )


def result_of(operation: Operation, asked: Money, answer: IssuerAnswer) -> ChannelResult:
    """What an answer means.

    An answer that cannot be read leaves the payment Unknown: the issuer may have approved it.

    >>> result_of(Operation.SALE, Money(100, "CNY"), IssuerAnswer("m", "51")).response_code
    '51'
    >>> type(result_of(Operation.REVERSAL, Money(100, "CNY"), IssuerAnswer("m", "25"))).__name__
    'Approved'
    >>> result_of(Operation.SALE, Money(100, "CNY"), IssuerAnswer("m", "")).reason
    'malformed answer: response_code'
    """
    fault = _fault(operation, asked, answer)
    if fault:
        return Unknown(Phase.SENT, f"malformed answer: {fault}")
    code = answer.response_code
    if operation is Operation.REVERSAL and code == "25":
        # The issuer never saw the original and will decline it when it comes: nothing is left to undo.
        return Approved(response_code="25")
    if code not in _APPROVALS:
        reason = _CARD_NUMBER_LIKE.sub("***", answer.reason)[:_LONGEST_REASON]
        return Declined(code, reason, emv_response=answer.emv_response)
    return Approved(
        response_code=code,
        approval_code=answer.approval_code,
        emv_response=answer.emv_response,
        approved_minor=answer.approved.amount_minor if code == "10" and answer.approved else None,
    )


def _fault(operation: Operation, asked: Money, answer: IssuerAnswer) -> str:
    """The name of the first field that cannot be, or ""."""
    if not _RESPONSE_CODE.fullmatch(answer.response_code):
        return "response_code"
    if not _APPROVAL_CODE.fullmatch(answer.approval_code):
        return "approval_code"
    if len(answer.emv_response) > _LONGEST_EMV_RESPONSE_BYTES:
        return "emv_response"
    if answer.response_code == "10" and not _partial(operation, asked, answer.approved):
        return "approved"
    return ""


def _partial(operation: Operation, asked: Money, approved: Money | None) -> bool:
    """Whether `approved` is a part of what was asked, of something that may be approved in part."""
    return (
        operation in ORIGINALS
        and approved is not None
        and approved.currency == asked.currency
        and 0 < approved.amount_minor <= asked.amount_minor
    )


def card_only(request: ChannelRequest) -> bool:
    """Whether the payer's credential is one that an issuer knows: a card, or for a follow-on none at all."""
    if request.operation in ORIGINALS:
        return isinstance(request.credential, CardCredential)
    return request.credential is None or isinstance(request.credential, CardCredential)
