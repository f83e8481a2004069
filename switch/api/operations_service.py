"""OperationsService: what an operator asks of a running process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import date
from typing import Any, Final

import grpc.aio
import structlog

from payswitch.v1 import common_pb2
from payswitch.v1 import operations_pb2 as pb
from payswitch.v1 import operations_pb2_grpc as pb_grpc
from switch.api.identity import Doorkeeper
from switch.domain.bill import Bill, BillKind, BillLine
from switch.ports import BilledChannel, BillNotReady, BillRefused, Channel

log = structlog.get_logger()
Context = grpc.aio.ServicerContext[Any, Any]

_LINES_IN_A_PART: Final = 500
_KINDS: Final = {
    BillKind.PAYMENT: pb.BILL_KIND_PAYMENT,
    BillKind.REFUND: pb.BILL_KIND_REFUND,
    BillKind.REVERSAL: pb.BILL_KIND_REVERSAL,
}


class OperationsServicer(pb_grpc.OperationsServiceServicer):
    def __init__(self, channels: Mapping[str, Channel], doorkeeper: Doorkeeper) -> None:
        self._channels = channels
        self._doorkeeper = doorkeeper
        self._fetching = asyncio.Lock()

    async def FetchBill(self, request: pb.FetchBillRequest, context: Context) -> AsyncIterator[pb.FetchBillResponse]:
        operator = await self._doorkeeper.admit(context, "operator")
        if self._fetching.locked():
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "another bill is being fetched")
        async with self._fetching:
            bill = await self._fetch(request, context)
            log.info("bill_fetched", channel=bill.channel, day=str(bill.day), lines=len(bill.lines), operator=operator)
            for first in range(0, len(bill.lines), _LINES_IN_A_PART):
                lines = bill.lines[first : first + _LINES_IN_A_PART]
                yield pb.FetchBillResponse(lines=[_line(each) for each in lines])

    async def _fetch(self, request: pb.FetchBillRequest, context: Context) -> Bill:
        channel = self._channels.get(request.channel)
        if channel is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "channel: there is none of that name")
        if not isinstance(channel, BilledChannel):
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.channel} has no bill")
        try:
            day = date.fromisoformat(request.day)
        except ValueError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "day: must be YYYY-MM-DD")
        try:
            return await channel.bill(day)
        except BillNotReady as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except BillRefused as refused:
            log.warning("bill_refused", channel=request.channel, day=request.day, cause=refused.cause)
            await context.abort(grpc.StatusCode.DATA_LOSS, str(refused))
        except OSError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{type(error).__name__}: {error}")
        raise AssertionError("abort raises")


def _line(line: BillLine) -> pb.BillLine:
    return pb.BillLine(
        kind=_KINDS[line.kind],
        reference=line.reference,
        original_reference=line.original_reference,
        channel_reference=line.channel_reference,
        amount=common_pb2.Money(amount_minor=line.money.amount_minor, currency=line.money.currency),
        fee_minor=line.fee_minor,
        time_ms=line.time_ms,
    )
