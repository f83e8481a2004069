"""From the domain to the wire."""

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2
from switch.domain.authorization import Authorization, FollowOn
from switch.domain.states import Decision, Operation, State

_KINDS = {
    Operation.SALE: pb.AUTHORIZATION_KIND_SALE,
    Operation.ORDER: pb.AUTHORIZATION_KIND_SALE,
    Operation.PRE_AUTHORIZATION: pb.AUTHORIZATION_KIND_PRE_AUTHORIZATION,
}
_OPERATION_KINDS = {
    Operation.CAPTURE: pb.OPERATION_KIND_CAPTURE,
    Operation.VOID: pb.OPERATION_KIND_VOID,
    Operation.REFUND: pb.OPERATION_KIND_REFUND,
    Operation.REVERSAL: pb.OPERATION_KIND_REVERSAL,
    Operation.INCREMENT: pb.OPERATION_KIND_INCREMENT,
}
# A follow-on that is still being worked on is UNKNOWN to the caller.
_FOLLOW_ON_DECISIONS = {
    State.SENT: Decision.UNKNOWN,
    State.UNKNOWN: Decision.UNKNOWN,
    State.APPROVED: Decision.APPROVED,
    State.DECLINED: Decision.DECLINED,
}


def authorize_response(record: Authorization) -> pb.AuthorizeResponse:
    """The answer's fields, as they were before any increment.

    Decision, State and EntryMode number their members as the contract does.
    """
    answer = pb.AuthorizeResponse(
        authorization_id=str(record.id),
        decision=int(record.decision or 0),  # type: ignore[arg-type]
        response_code=record.response_code,
        reason=record.reason,
        channel=record.channel,
        approval_code=record.approval_code,
        retrieval_reference=record.retrieval_reference,
        channel_reference=record.channel_reference,
        entry=int(record.entry),  # type: ignore[arg-type]
        stage=record.stage,
        emv_response=record.emv_response,
        order_code=record.order_code,
    )
    approved_minor = record.approved_minor - record.incremented_minor
    if approved_minor:
        answer.approved.amount_minor = approved_minor
        answer.approved.currency = record.money.currency
    return answer


def follow_on_result(follow_on: FollowOn) -> pb.FollowOnResult:
    return pb.FollowOnResult(
        operation_id=str(follow_on.id),
        decision=int(_FOLLOW_ON_DECISIONS[follow_on.state]),  # type: ignore[arg-type]
        response_code=follow_on.response_code,
        reason=follow_on.reason,
        channel_reference=follow_on.channel_reference,
        amount=common_pb2.Money(amount_minor=follow_on.money.amount_minor, currency=follow_on.money.currency),
    )


def authorization(record: Authorization, follow_ons: list[FollowOn], transmission_time_ms: int) -> pb.Authorization:
    return pb.Authorization(
        answer=authorize_response(record),
        state=int(record.state),  # type: ignore[arg-type]
        acquirer_id=record.acquirer_id,
        merchant_id=record.merchant_id,
        terminal_id=record.terminal_id,
        kind=_KINDS[record.operation],
        amount=common_pb2.Money(amount_minor=record.money.amount_minor, currency=record.money.currency),
        captured_minor=record.captured_minor,
        refunded_minor=record.refunded_minor,
        approved_minor=record.approved_minor,
        masked_credential=record.masked_credential,
        route_explanation=record.route_explanation,
        transmission_time_ms=transmission_time_ms,
        answered_time_ms=record.answered_time_ms,
        operations=[
            pb.Operation(kind=_OPERATION_KINDS[each.operation], result=follow_on_result(each)) for each in follow_ons
        ],
    )
