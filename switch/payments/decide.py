"""What a channel's result means for an authorization: pure (DESIGN 3.2, 3.6)."""

from switch.domain.authorization import Authorization
from switch.domain.response_codes import RETRIABLE_ELSEWHERE, meaning
from switch.domain.states import Decision, Operation, State
from switch.ports import Approved, AwaitingPayer, ChannelResult, Declined, Phase, Unknown

# An UNKNOWN answer says 68: what was sent was not answered in time, and is being reversed.
UNKNOWN_CODE = "68"
CHANNEL_DOWN_CODE = "91"


def tries_elsewhere(result: ChannelResult) -> bool:
    """Whether another channel may be asked: nothing was sent, or the channel said that it could not serve."""
    if isinstance(result, Unknown):
        return result.phase is Phase.NOT_SENT
    return isinstance(result, Declined) and result.response_code in RETRIABLE_ELSEWHERE


def decline(record: Authorization, stage: str, code: str, reason: str = "") -> None:
    """A decline by ourselves, at that stage of the road."""
    record.state = State.DECLINED
    record.decision = Decision.DECLINED
    record.response_code = code
    record.reason = reason or meaning(code)
    record.stage = stage


def conclude(record: Authorization, result: ChannelResult, stage: str) -> None:
    """Write a channel's result onto the record: state, decision and the answer's fields."""
    record.stage = stage
    match result:
        case Approved():
            approved_minor = record.money.amount_minor if result.approved_minor is None else result.approved_minor
            record.state = State.APPROVED
            record.decision = Decision.APPROVED
            record.response_code = result.response_code
            record.reason = meaning(result.response_code)
            record.approval_code = result.approval_code
            record.retrieval_reference = result.retrieval_reference
            record.channel_reference = result.channel_reference
            record.emv_response = result.emv_response
            record.approved_minor = approved_minor
            record.captured_minor = 0 if record.operation is Operation.PRE_AUTHORIZATION else approved_minor
        case Declined():
            decline(record, stage, result.response_code, result.reason)
            record.channel_reference = result.channel_reference
            record.emv_response = result.emv_response
        case AwaitingPayer():
            record.state = State.AWAITING_PAYER
            record.decision = Decision.AWAITING_PAYER
            record.response_code = "09"
            record.reason = meaning("09")
            record.channel_reference = result.channel_reference
            record.order_code = result.code
        case Unknown(phase=Phase.NOT_SENT):
            decline(record, stage, CHANNEL_DOWN_CODE, result.reason)
        case Unknown():
            unknown(record, stage, result.reason)


def unknown(record: Authorization, stage: str, reason: str) -> None:
    record.state = State.UNKNOWN
    record.decision = Decision.UNKNOWN
    record.response_code = UNKNOWN_CODE
    record.reason = reason
    record.stage = stage
