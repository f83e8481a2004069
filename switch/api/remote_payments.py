"""The authorization service of another process, as a platform participant (`switch.ports.platform.Payments`)."""

from collections.abc import Awaitable
from typing import Final, TypeVar
from uuid import UUID

import grpc
import grpc.aio

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import authorization_pb2_grpc as pb_grpc
from payswitch.v1 import common_pb2
from switch.api.payer_context import context_of
from switch.domain.authorization import (
    Authorization,
    AuthorizationRequest,
    CardCredential,
    ChannelOrder,
    CodeCredential,
    FollowOn,
    FollowOnRequest,
)
from switch.domain.money import Money
from switch.domain.payer import UNKNOWN_PAYER
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.payments.errors import (
    ContentDiffers,
    Malformed,
    NotAnswered,
    NotFound,
    Overloaded,
    TransmissionTimeRefused,
    Unavailable,
)
from switch.payments.presented_facts import payer_of_request

T = TypeVar("T")

_ERRORS: Final[dict[grpc.StatusCode, type[NotAnswered]]] = {
    grpc.StatusCode.ALREADY_EXISTS: ContentDiffers,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.INVALID_ARGUMENT: Malformed,
}
# Of the road's errors the one that has its status with malformed fields; those name another field.
_TIME_REFUSED: Final = "transmission_time_ms is "
_KINDS: Final = {
    Operation.SALE: pb.AUTHORIZATION_KIND_SALE,
    Operation.PRE_AUTHORIZATION: pb.AUTHORIZATION_KIND_PRE_AUTHORIZATION,
    Operation.ORDER: pb.AUTHORIZATION_KIND_SALE,
}
_OPERATIONS: Final = {
    pb.AUTHORIZATION_KIND_SALE: Operation.SALE,
    pb.AUTHORIZATION_KIND_PRE_AUTHORIZATION: Operation.PRE_AUTHORIZATION,
}
_FOLLOW_ON_STATES: Final = {
    Decision.APPROVED: State.APPROVED,
    Decision.DECLINED: State.DECLINED,
}
_FOLLOW_ON_S: Final = 5.0


class RemotePayments:
    """Every call is unary: these are a platform's own payments, not an acquirer's stream."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]

    async def authorize(self, request: AuthorizationRequest, budget_s: float) -> Authorization:
        answer = await _asked(self._stub.Authorize(_authorize_request(request), timeout=budget_s))
        found = await self.find(request.merchant.id, UUID(answer.authorization_id))
        if found is None:
            raise Unavailable("no durable decision could be read; send the same request again")
        return found

    async def follow_on(self, request: FollowOnRequest) -> FollowOn:
        named = pb.FollowOn(
            acquirer_id=request.acquirer_id,
            merchant_id=request.merchant_id,
            authorization_id=str(request.authorization_id),
            idempotency_key=request.idempotency_key,
            transmission_time_ms=request.transmission_time_ms,
        )
        amount = _money(request.money) if request.money is not None else None
        match request.operation:
            case Operation.INCREMENT:
                call = self._stub.Increment(pb.IncrementRequest(follow_on=named, amount=amount), timeout=_FOLLOW_ON_S)
            case Operation.CAPTURE:
                call = self._stub.Capture(pb.CaptureRequest(follow_on=named, amount=amount), timeout=_FOLLOW_ON_S)
            case Operation.REFUND:
                call = self._stub.Refund(pb.RefundRequest(follow_on=named, amount=amount), timeout=_FOLLOW_ON_S)
            case Operation.VOID:
                call = self._stub.Void(pb.VoidRequest(follow_on=named), timeout=_FOLLOW_ON_S)
            case Operation.REVERSAL:
                call = self._stub.Reverse(pb.ReverseRequest(follow_on=named), timeout=_FOLLOW_ON_S)
            case _:
                raise ValueError(f"{request.operation.words} is no follow-on")
        return _follow_on(request, (await _asked(call)).result)

    async def find(self, merchant_id: str, authorization_id: UUID) -> Authorization | None:
        wanted = pb.GetRequest(merchant_id=merchant_id, authorization_id=str(authorization_id))
        try:
            answer = await _asked(self._stub.Get(wanted, timeout=_FOLLOW_ON_S))
        except NotFound:
            return None
        return _authorization(answer.authorization)


async def _asked(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        kind, details = _ERRORS.get(error.code(), Unavailable), error.details() or ""
        if kind is Malformed and details.startswith(_TIME_REFUSED):
            kind = TransmissionTimeRefused
        raise kind(details or "the authorization service cannot be reached") from error


def _authorize_request(request: AuthorizationRequest) -> pb.AuthorizeRequest:
    message = pb.AuthorizeRequest(
        acquirer_id=request.acquirer_id,
        merchant_id=request.merchant.id,
        terminal_id=request.terminal_id,
        idempotency_key=request.idempotency_key,
        transmission_time_ms=request.transmission_time_ms,
        amount=_money(request.money),
        kind=_KINDS.get(request.operation, pb.AUTHORIZATION_KIND_UNSPECIFIED),
        merchant_name=request.merchant.name,
        merchant_city=request.merchant.city,
        merchant_country=request.merchant.country,
        merchant_category_code=request.merchant.category_code,
    )
    match request.credential:
        case CardCredential(pan=pan, expiry_yymm=expiry):
            message.keyed.CopyFrom(pb.KeyedCard(pan=pan.reveal(), expiry=expiry))
            message.presented_as = int(request.entry)  # type: ignore[assignment]
        case CodeCredential(code=code):
            message.payer_code.code = code.reveal()
        case ChannelOrder(scheme=scheme):
            message.order.scheme = scheme
    payer = payer_of_request(request)
    if payer != UNKNOWN_PAYER:
        message.context.CopyFrom(context_of(payer))
    if request.pin is not None:
        message.pin.CopyFrom(common_pb2.PinBlock(block=request.pin.block, format=request.pin.format))
    return message


def _authorization(message: pb.Authorization) -> Authorization:
    """What the contract tells of a record; what it keeps to itself is empty."""
    answer = message.answer
    return Authorization(
        id=UUID(answer.authorization_id),
        acquirer_id=message.acquirer_id,
        merchant_id=message.merchant_id,
        terminal_id=message.terminal_id,
        merchant_category_code="",
        operation=Operation.ORDER if answer.order_code else _OPERATIONS[message.kind],
        money=Money(message.amount.amount_minor, message.amount.currency),
        entry=EntryMode(int(answer.entry)),
        masked_credential=message.masked_credential,
        state=State(int(message.state)),
        decision=Decision(int(answer.decision)) if answer.decision else None,
        response_code=answer.response_code,
        reason=answer.reason,
        stage=answer.stage,
        channel=answer.channel,
        route_explanation=message.route_explanation,
        approval_code=answer.approval_code,
        retrieval_reference=answer.retrieval_reference,
        channel_reference=answer.channel_reference,
        emv_response=answer.emv_response,
        order_code=answer.order_code,
        approved_minor=message.approved_minor,
        captured_minor=message.captured_minor,
        refunded_minor=message.refunded_minor,
        answered_time_ms=message.answered_time_ms,
    )


def _follow_on(request: FollowOnRequest, result: pb.FollowOnResult) -> FollowOn:
    return FollowOn(
        id=UUID(result.operation_id),
        authorization_id=request.authorization_id,
        acquirer_id=request.acquirer_id,
        merchant_id=request.merchant_id,
        operation=request.operation,
        money=Money(result.amount.amount_minor, result.amount.currency),
        state=_FOLLOW_ON_STATES.get(Decision(int(result.decision)), State.UNKNOWN),
        response_code=result.response_code,
        reason=result.reason,
        channel_reference=result.channel_reference,
    )


def _money(money: Money) -> common_pb2.Money:
    return common_pb2.Money(amount_minor=money.amount_minor, currency=money.currency)
