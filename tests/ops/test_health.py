import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from switch.ops.checks import Check, NotReady, Readiness
from switch.ops.health import NOT_SERVING, SERVING, HealthStatus

SERVICE = "payswitch.v1.AuthorizationService"


class Switchboard:
    def __init__(self) -> None:
        self.down: set[str] = set()
        checks = [Check("database", self._probe("database"))]
        checks.append(Check("channel/unionpay", self._probe("channel/unionpay"), required=False))
        self.health = HealthStatus(Readiness(checks, fresh_s=0), [SERVICE], interval_s=0.01)

    def _probe(self, name: str):
        async def probe() -> str:
            if name in self.down:
                raise NotReady("down")
            return "up"

        return probe


@pytest.fixture
async def board() -> AsyncIterator[Switchboard]:
    board = Switchboard()
    await board.health.start()
    yield board
    await board.health.close()


@pytest.fixture
async def stub(board: Switchboard) -> AsyncIterator[health_pb2_grpc.HealthStub]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(board.health.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)
    await server.stop(0)


async def status(stub: health_pb2_grpc.HealthStub, service: str) -> int:
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_services_and_channels_have_a_status(stub: health_pb2_grpc.HealthStub) -> None:
    for service in ("", SERVICE, "channel/unionpay"):
        assert await status(stub, service) == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await status(stub, "channel/nowhere")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_channel_down_leaves_the_service_up(board: Switchboard, stub: health_pb2_grpc.HealthStub) -> None:
    board.down = {"channel/unionpay"}
    await board.health.publish()
    assert await status(stub, "channel/unionpay") == NOT_SERVING
    assert await status(stub, SERVICE) == SERVING


async def test_a_watcher_sees_every_turn(board: Switchboard, stub: health_pb2_grpc.HealthStub) -> None:
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    assert (await watch.read()).status == SERVING
    board.down = {"database"}
    async with asyncio.timeout(30):
        assert (await watch.read()).status == NOT_SERVING
        board.down = set()
        assert (await watch.read()).status == SERVING
        await board.health.drain()
        assert (await watch.read()).status == NOT_SERVING
    watch.cancel()
    await board.health.publish()
    assert await status(stub, SERVICE) == NOT_SERVING
    assert await status(stub, "channel/unionpay") == NOT_SERVING
