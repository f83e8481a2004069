"""AuthorizationService: what an acquirer asks, unary or in frames. Both feed the same road."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import grpc.aio
import structlog

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import authorization_pb2_grpc as pb_grpc
from payswitch.v1 import common_pb2
from switch.api import answers, requests
from switch.api.errors import status_of
from switch.api.frames import AnswerFrames
from switch.api.identity import Doorkeeper
from switch.domain.authorization import Authorization
from switch.domain.identity import computed_id, transmission_time_ms_of
from switch.domain.states import Operation, State
from switch.ops.metrics import REQUEST_ERRORS
from switch.payments.errors import NotFound
from switch.payments.follow_on import FollowOns
from switch.payments.road import Road
from switch.ports import Journal

log = structlog.get_logger()
_R = TypeVar("_R")
Context = grpc.aio.ServicerContext[Any, Any]
_FINAL = frozenset({State.DECLINED, State.REVERSED, State.VOIDED, State.APPROVED})
_WATCH_INTERVAL_S = 0.2


class AuthorizationServicer(pb_grpc.AuthorizationServiceServicer):
    """budget_s: the longest answer time; a caller's own deadline may shorten it."""

    def __init__(
        self, road: Road, follow_ons: FollowOns, journal: Journal, doorkeeper: Doorkeeper, budget_s: float
    ) -> None:
        self._road = road
        self._follow_ons = follow_ons
        self._journal = journal
        self._doorkeeper = doorkeeper
        self._budget_s = budget_s

    async def Authorize(self, request: pb.AuthorizeRequest, context: Context) -> pb.AuthorizeResponse:
        try:
            caller, by_platform = self._doorkeeper.acting_for(context, request.acquirer_id)
            wanted = requests.authorization_request(request, caller, by_platform)
            remaining_s = context.time_remaining()
            budget_s = self._budget_s if remaining_s is None else min(self._budget_s, remaining_s)
            # Shielded: a caller that goes away cancels nothing (DESIGN 3.7), and repeats share the future.
            record = await asyncio.shield(self._road.enter(wanted, budget_s))
        except Exception as error:
            await _abort(context, error)
        return answers.authorize_response(record)

    async def AuthorizeStream(
        self, request_iterator: AsyncIterator[pb.AuthorizeStreamRequest], context: Context
    ) -> None:
        try:
            caller = self._caller(context)
        except Exception as error:
            await _abort(context, error)
        frames = AnswerFrames(context.write)
        async for frame in request_iterator:
            for item in frame.items:
                self._enter(item, caller, frames)
            await frames.room()
        await frames.finish()

    def _enter(self, item: pb.AuthorizeStreamItem, caller: str, frames: AnswerFrames) -> None:
        try:
            wanted = requests.authorization_request(item.request, caller)
        except Exception as error:
            frames.put(_stream_error(item.sequence, error))
            return
        budget_s = self._budget_s
        if 0 < item.budget_ms < 1000 * budget_s:
            budget_s = item.budget_ms / 1000
        frames.expect()
        self._road.enter(wanted, budget_s).add_done_callback(partial(_answered, frames, item.sequence))

    async def Increment(self, request: pb.IncrementRequest, context: Context) -> pb.IncrementResponse:
        result = await self._follow_on(request.follow_on, context, Operation.INCREMENT, request.amount)
        return pb.IncrementResponse(result=result)

    async def Capture(self, request: pb.CaptureRequest, context: Context) -> pb.CaptureResponse:
        result = await self._follow_on(request.follow_on, context, Operation.CAPTURE, request.amount)
        return pb.CaptureResponse(result=result)

    async def Void(self, request: pb.VoidRequest, context: Context) -> pb.VoidResponse:
        return pb.VoidResponse(result=await self._follow_on(request.follow_on, context, Operation.VOID))

    async def Refund(self, request: pb.RefundRequest, context: Context) -> pb.RefundResponse:
        result = await self._follow_on(request.follow_on, context, Operation.REFUND, request.amount)
        return pb.RefundResponse(result=result)

    async def Reverse(self, request: pb.ReverseRequest, context: Context) -> pb.ReverseResponse:
        follow_on = request.follow_on
        if request.HasField("original"):
            try:
                caller, _ = self._doorkeeper.acting_for(context, follow_on.acquirer_id)
                follow_on = self._named_by_original(request, caller)
            except Exception as error:
                await _abort(context, error)
        return pb.ReverseResponse(result=await self._follow_on(follow_on, context, Operation.REVERSAL))

    def _named_by_original(self, request: pb.ReverseRequest, caller: str) -> pb.FollowOn:
        """The original's id is computed as the original computed it."""
        original = request.original
        identity = computed_id(
            caller,
            requests.merchant_id(request.follow_on.merchant_id, "follow_on.merchant_id"),
            requests.transmission_time_ms(original.transmission_time_ms, "original.transmission_time_ms"),
            requests.idempotency_key(original.idempotency_key, "original.idempotency_key"),
        )
        named = pb.FollowOn()
        named.CopyFrom(request.follow_on)
        named.authorization_id = str(identity)
        return named

    async def _follow_on(
        self, message: pb.FollowOn, context: Context, operation: Operation, amount: common_pb2.Money | None = None
    ) -> pb.FollowOnResult:
        try:
            caller, _ = self._doorkeeper.acting_for(context, message.acquirer_id)
            wanted = requests.follow_on_request(message, caller, operation, amount)
            stored = await asyncio.shield(self._follow_ons.carry_out(wanted))
        except Exception as error:
            await _abort(context, error)
        return answers.follow_on_result(stored)

    async def Get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:
        return pb.GetResponse(authorization=await self._answered(context, self._view(request, context)))

    async def Watch(self, request: pb.WatchRequest, context: Context) -> AsyncIterator[pb.WatchResponse]:
        shown: pb.Authorization | None = None
        while True:
            view = await self._answered(context, self._view(request, context))
            if view != shown:
                shown = view
                yield pb.WatchResponse(authorization=view)
            if State(int(view.state)) in _FINAL:
                return
            await asyncio.sleep(_WATCH_INTERVAL_S)

    async def _view(self, request: pb.GetRequest | pb.WatchRequest, context: Context) -> pb.Authorization:
        caller, by_platform = self._doorkeeper.acting_for(context, None)
        merchant_id = requests.merchant_id(request.merchant_id)
        identity = requests.authorization_id(request.authorization_id)
        # The operations first: what one of them did to the authorization is then never missing from it.
        follow_ons = await self._journal.find_follow_ons(merchant_id, identity)
        record = await self._find(merchant_id, identity, None if by_platform else caller)
        return answers.authorization(record, follow_ons, transmission_time_ms_of(identity))

    async def _find(self, merchant_id: str, identity: UUID, acquirer_id: str | None) -> Authorization:
        record = await self._journal.find(merchant_id, identity)
        if record is None or acquirer_id not in (None, record.acquirer_id):
            raise NotFound("no such authorization")
        return record

    def _caller(self, context: Context) -> str:
        return self._doorkeeper.participant(context, "acquirer")

    @staticmethod
    async def _answered(context: Context, work: Awaitable[_R]) -> _R:
        try:
            return await work
        except Exception as error:
            await _abort(context, error)


async def _abort(context: Context, error: Exception) -> NoReturn:
    code, text = status_of(error)
    REQUEST_ERRORS.labels("unary", code.name).inc()
    if code is grpc.StatusCode.INTERNAL:
        log.exception("call_failed")
    await context.abort(code, text)
    raise AssertionError("abort raises")


def _stream_error(sequence: int, error: BaseException) -> pb.AuthorizeStreamResult:
    code, text = status_of(error)
    REQUEST_ERRORS.labels("stream", code.name).inc()
    if code is grpc.StatusCode.INTERNAL:
        log.error("stream_item_failed", reason=type(error).__name__)
    return pb.AuthorizeStreamResult(sequence=sequence, error=pb.StreamError(code=code.value[0], message=text))


def _answered(frames: AnswerFrames, sequence: int, answer: "asyncio.Future[Authorization]") -> None:
    error = answer.exception()
    if error is not None:
        frames.put(_stream_error(sequence, error), expected=True)
    else:
        response = answers.authorize_response(answer.result())
        frames.put(pb.AuthorizeStreamResult(sequence=sequence, response=response), expected=True)
