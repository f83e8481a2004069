"""An operator fetches a bill through a running switch, over a real socket."""

import asyncio
from datetime import date

import grpc
import grpc.aio
import pytest

from payswitch.v1 import operations_pb2 as pb
from payswitch.v1 import operations_pb2_grpc as pb_grpc
from switch.api.identity import Doorkeeper
from switch.api.operations_service import OperationsServicer
from switch.billing_through import bill_through
from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.money import Money
from switch.ports import BillNotReady, BillRefused

DAY = date(2026, 1, 2)


class Billed:
    name = "issuer:x"

    def __init__(self):
        self.says = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def bill(self, day):
        assert day == DAY
        self.asked.set()
        await self.gate.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.fixture
def channel():
    return Billed()


@pytest.fixture
async def serve(channel):
    """Starts a switch that takes its caller for one of that role; returns its address."""
    servers = []

    async def start(role="operator"):
        doorkeeper = Doorkeeper(lambda names: (role, "x"), anonymous=(role, "x"))
        server = grpc.aio.server()
        servicer = OperationsServicer({"issuer:x": channel, "plain": object()}, doorkeeper)
        pb_grpc.add_OperationsServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for each in servers:
        await each.stop(0.1)


@pytest.mark.parametrize("count", [0, 1, 500, 1_201])
async def test_a_bill_arrives_as_it_was_fetched(serve, channel, count):
    kinds = list(BillKind)
    channel.says = Bill("issuer:x", DAY, tuple(
        BillLine(kinds[number % 3], f"m{number}", Money(number + 1, "CNY"), number, "o", "c", number % 3 - 1)
        for number in range(count)
    ))  # fmt: skip
    assert await bill_through(await serve(), None, "issuer:x", DAY) == channel.says


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (BillNotReady("after ten"), BillNotReady, "after ten"),
        (BillRefused("totals", "12 lines, 13 said"), BillRefused, "totals: 12 lines, 13 said"),
        (ConnectionError("no link"), ConnectionError, "UNAVAILABLE: ConnectionError: no link"),
    ],
)
async def test_why_there_is_none(serve, channel, error, raised, says):
    channel.says = error
    with pytest.raises(raised) as caught:
        await bill_through(await serve(), None, "issuer:x", DAY)
    assert str(caught.value) == says
    if isinstance(error, BillRefused):
        assert caught.value.cause == "totals"


@pytest.mark.parametrize(("name", "says"), [("plain", "UNIMPLEMENTED: plain has no bill"), ("other", "NOT_FOUND")])
async def test_what_has_no_bill(serve, name, says):
    with pytest.raises(ConnectionError, match=says):
        await bill_through(await serve(), None, name, DAY)


async def test_a_day_that_is_none(serve):
    async with grpc.aio.insecure_channel(await serve()) as connection:
        call = pb_grpc.OperationsServiceStub(connection).FetchBill(pb.FetchBillRequest(channel="issuer:x", day="now"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("role", ["acquirer", "issuer"])
async def test_only_operators(serve, channel, role):
    with pytest.raises(ConnectionError, match="PERMISSION_DENIED"):
        await bill_through(await serve(role), None, "issuer:x", DAY)
    assert not channel.asked.is_set()


async def test_one_at_a_time(serve, channel):
    channel.says = Bill("issuer:x", DAY, ())
    channel.gate.clear()
    address = await serve()
    first = asyncio.create_task(bill_through(address, None, "issuer:x", DAY))
    async with asyncio.timeout(30):
        await channel.asked.wait()
        with pytest.raises(ConnectionError, match="RESOURCE_EXHAUSTED"):
            await bill_through(address, None, "issuer:x", DAY)
        channel.gate.set()
        assert await first == channel.says
