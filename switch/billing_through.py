"""A bill by way of a running switch, which alone has the stream that an issuer keeps (OperationsService.FetchBill)."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

import grpc
import grpc.aio

from payswitch.v1 import operations_pb2 as pb
from payswitch.v1 import operations_pb2_grpc as pb_grpc
from switch.client.connection import ClientCredentials, open_channel
from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.money import Money
from switch.domain.packed_lines import PackedLines
from switch.ports import BillNotReady, BillRefused

_KINDS: Final = {
    pb.BILL_KIND_PAYMENT: BillKind.PAYMENT,
    pb.BILL_KIND_REFUND: BillKind.REFUND,
    pb.BILL_KIND_REVERSAL: BillKind.REVERSAL,
}


async def bill_through(target: str, credentials: ClientCredentials | None, channel: str, day: date) -> Bill:
    """Asks the switch at `target`, host:port, as an operator.

    Raises BillNotReady, BillRefused, or ConnectionError for all else, with the switch's own words.
    """
    async with open_channel(target, credentials, None) as connection:
        stub = pb_grpc.OperationsServiceStub(connection)  # type: ignore[no-untyped-call]
        request = pb.FetchBillRequest(channel=channel, day=day.isoformat())
        try:
            lines = PackedLines()
            async for line in _lines(stub.FetchBill(request)):
                lines.append(line)
            return Bill(channel, day, lines)
        except grpc.aio.AioRpcError as error:
            text = error.details() or ""
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise BillNotReady(text) from None
            if error.code() is grpc.StatusCode.DATA_LOSS:
                cause, _, detail = text.partition(": ")
                raise BillRefused(cause, detail) from None
            raise ConnectionError(f"{error.code().name}: {text}") from None


async def _lines(parts: AsyncIterator[pb.FetchBillResponse]) -> AsyncIterator[BillLine]:
    async for part in parts:
        for line in part.lines:
            yield BillLine(
                _KINDS[line.kind],
                line.reference,
                Money(line.amount.amount_minor, line.amount.currency),
                line.time_ms,
                line.original_reference,
                line.channel_reference,
                line.fee_minor,
            )
