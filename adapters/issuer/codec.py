"""Between the channel port's values and an issuer's messages. No I/O."""

import re
from uuid import UUID

from adapters.issuer.messages import (
    IssuerAnswer,
    IssuerMessage,
    IssuerNotice,
    Outcome,
    OutcomeState,
    StandInApproval,
)
from switch.domain.authorization import Authorization, CardCredential
from switch.domain.identity import transmission_time_ms_of
from switch.domain.money import Money
from switch.domain.response_codes import RESPONSE_CODES
from switch.domain.states import Operation
from switch.ports import (
    Approved,
    AwaitingPayer,
    ChannelRequest,
    ChannelResult,
    Declined,
    Notice,
    NotificationRefused,
    Phase,
    Unknown,
)

OPERATIONS = frozenset(
    {
        Operation.SALE,
        Operation.PRE_AUTHORIZATION,
        Operation.CAPTURE,
        Operation.VOID,
        Operation.REFUND,
        Operation.REVERSAL,
        Operation.INQUIRY,
        Operation.INCREMENT,
    }
)
ORIGINALS = frozenset({Operation.SALE, Operation.PRE_AUTHORIZATION})

_APPROVALS = frozenset({"00", "10", "11"})
PARTIALLY_APPROVED = "10"
_MISSING = "25"
# The issuer has not decided, which no payment of ours waits for.
_DECIDES_NOTHING = frozenset({"09"})
_APPROVAL_CODE = re.compile(r"[ -~]{0,6}")
_MESSAGE_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_NOTICE_ID = re.compile(r"[!-~]{1,64}")
_CARD_NUMBER_LIKE = re.compile(r"\d(?:[ -]?\d){11,}")
_LONGEST_REASON = 100
_LONGEST_EMV_RESPONSE_BYTES = 255  # DE55 is LLL255
_EMV_RESPONSE_TAGS = frozenset({0x91, 0x71, 0x72})


def original_message_id(authorization: Authorization) -> str:
    """The message id of a sale or pre-authorization.

    It is in the trace; a tombstone's has none, and then it is what `trace_of` would have given the first attempt.
    """
    return authorization.trace.get("message_id") or f"{authorization.id}-{max(authorization.attempt, 1)}"


def trace_of(request: ChannelRequest, fresh_id: UUID) -> dict[str, str]:
    """The trace that names this message for ever; a trace that is there already is kept.

    A sale is named by its authorization and attempt, a reversal by what it undoes, so that every repeat computes the
    same name. An authorization may have several captures, increments and refunds: each is named by `fresh_id`.
    """
    if "message_id" in request.trace:
        return request.trace
    authorization = request.authorization
    if request.operation in ORIGINALS:
        return {"message_id": f"{authorization.id}-{max(authorization.attempt, 1)}"}
    if request.operation is Operation.REVERSAL:
        return {"message_id": f"{original_message_id(authorization)}-reversal"}
    return {"message_id": str(fresh_id)}


def message_of(request: ChannelRequest, budget_ms: int, stand_in: StandInApproval | None = None) -> IssuerMessage:
    """The message for one prepared request (its trace has a `message_id`). stand_in: makes it an advice."""
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
        track2=card.track2 if card else None,
        stand_in=stand_in,
    )


def result_of(operation: Operation, asked: Money, answer: IssuerAnswer) -> ChannelResult:
    """What an answer means.

    An answer that cannot be read leaves the payment Unknown: the issuer may have approved it. So does a response code
    that is none of `switch.domain.response_codes`: nobody may guess from it.

    >>> result_of(Operation.SALE, Money(100, "CNY"), IssuerAnswer("m", "51")).response_code
    '51'
    >>> type(result_of(Operation.REVERSAL, Money(100, "CNY"), IssuerAnswer("m", "25"))).__name__
    'Approved'
    >>> result_of(Operation.SALE, Money(100, "CNY"), IssuerAnswer("m", "")).reason
    'malformed answer: response_code'
    """
    return judged(operation, asked, answer)[0]


def judged(operation: Operation, asked: Money, answer: IssuerAnswer) -> tuple[ChannelResult, str]:
    """What an answer means, and the name of the first field that cannot be, or ""."""
    fault = _fault(operation, asked, answer)
    if fault:
        return Unknown(Phase.SENT, f"malformed answer: {fault}"), fault
    code = answer.response_code
    if operation is Operation.INQUIRY and code in _APPROVALS and answer.outcome is not None:
        return _learnt(answer.outcome), ""
    if operation is Operation.INQUIRY and code != _MISSING:
        return Unknown(Phase.SENT, f"the issuer does not answer inquiries: {code}"), ""
    if operation is Operation.REVERSAL and code == _MISSING:
        # The issuer never saw the original and will decline it when it comes: nothing is left to undo.
        return Approved(response_code=_MISSING), ""
    if code not in _APPROVALS:
        return Declined(code, _printable(answer.reason), emv_response=answer.emv_response), ""
    return Approved(
        response_code=code,
        approval_code=answer.approval_code,
        emv_response=answer.emv_response,
        approved_minor=answer.approved.amount_minor if code == PARTIALLY_APPROVED and answer.approved else None,
    ), ""


def _learnt(outcome: Outcome) -> ChannelResult:
    """What an inquiry brought, of an outcome that has been checked."""
    match outcome.state:
        case OutcomeState.APPROVED:
            part = outcome.approved if outcome.response_code == PARTIALLY_APPROVED else None
            return Approved(
                outcome.response_code, outcome.approval_code, approved_minor=part.amount_minor if part else None
            )
        case OutcomeState.DECLINED:
            return Declined(outcome.response_code)
        case OutcomeState.UNDONE:
            return Declined("22", "reversed or voided")
        case _:
            return AwaitingPayer()


def _fault(operation: Operation, asked: Money, answer: IssuerAnswer) -> str:
    code = answer.response_code
    if code not in RESPONSE_CODES or code in _DECIDES_NOTHING:
        return "response_code"
    if not _APPROVAL_CODE.fullmatch(answer.approval_code):
        return "approval_code"
    if not _is_emv_response(answer.emv_response):
        return "emv_response"
    if not _amount_fits(operation, asked, code, answer.approved):
        return "approved"
    if answer.outcome is not None or (operation is Operation.INQUIRY and code in _APPROVALS):
        return _outcome_fault(operation, asked, answer)
    return ""


def _outcome_fault(operation: Operation, asked: Money, answer: IssuerAnswer) -> str:
    outcome = answer.outcome
    if outcome is None or operation is not Operation.INQUIRY or answer.response_code not in _APPROVALS:
        return "outcome"
    if outcome.state in (OutcomeState.UNDONE, OutcomeState.OPEN):
        return ""
    approved = outcome.state == OutcomeState.APPROVED
    if not approved and outcome.state != OutcomeState.DECLINED:
        return "outcome.state"
    if outcome.response_code not in RESPONSE_CODES or (outcome.response_code in _APPROVALS) != approved:
        return "outcome.response_code"
    if not _APPROVAL_CODE.fullmatch(outcome.approval_code):
        return "outcome.approval_code"
    if not _amount_fits(Operation.SALE, asked, outcome.response_code, outcome.approved):
        return "outcome.approved"
    return ""


def _amount_fits(operation: Operation, asked: Money, code: str, approved: Money | None) -> bool:
    """Whether `approved` is a part of what was asked, of something that may be approved in part; else all or nothing.

    >>> _amount_fits(Operation.SALE, Money(100, "CNY"), "00", Money(101, "CNY"))
    False
    """
    if code == PARTIALLY_APPROVED:
        return (
            operation in ORIGINALS
            and approved is not None
            and approved.currency == asked.currency
            and 0 < approved.amount_minor <= asked.amount_minor
        )
    return approved is None or (code in _APPROVALS and approved == asked)


def _is_emv_response(data: bytes) -> bool:
    """Whether it is empty or BER-TLV of the tags 91, 71 and 72, at most 255 bytes in all."""
    if len(data) > _LONGEST_EMV_RESPONSE_BYTES:
        return False
    position = 0
    while position < len(data):
        head = data[position : position + 3]
        long_form = len(head) == 3 and head[1] == 0x81
        if head[0] not in _EMV_RESPONSE_TAGS or len(head) < 2 or (head[1] >= 0x80 and not long_form):
            return False
        position += 3 + head[2] if long_form else 2 + head[1]
    return position == len(data)


def _printable(reason: str) -> str:
    """A reason that may be stored and logged: short, printable, without anything like a card number."""
    text = "".join(each if each.isprintable() else " " for each in reason[: 4 * _LONGEST_REASON])
    return _CARD_NUMBER_LIKE.sub("***", text)[:_LONGEST_REASON]


def notice_of(channel: str, notice: IssuerNotice) -> Notice:
    """What an issuer said by itself, as a reason to ask. Raises NotificationRefused, `malformed`."""
    if not _NOTICE_ID.fullmatch(notice.notice_id):
        raise NotificationRefused("malformed", "notice_id")
    if not _MESSAGE_ID.fullmatch(notice.message_id):
        raise NotificationRefused("malformed", "message_id")
    if notice.refund_message_id and not _MESSAGE_ID.fullmatch(notice.refund_message_id):
        raise NotificationRefused("malformed", "refund_message_id")
    try:
        state = OutcomeState(notice.state)
    except ValueError:
        raise NotificationRefused("malformed", "state") from None
    if state is OutcomeState.UNSPECIFIED:
        raise NotificationRefused("malformed", "state")
    return Notice(channel, notice.message_id, notice.refund_message_id, event=notice.notice_id, said=state.name.lower())


def card_only(request: ChannelRequest) -> bool:
    """Whether the payer's credential is one that an issuer knows: a card, or for a follow-on none at all."""
    if request.operation in ORIGINALS:
        return isinstance(request.credential, CardCredential)
    return request.credential is None or isinstance(request.credential, CardCredential)
