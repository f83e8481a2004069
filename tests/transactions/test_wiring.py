"""Both openers on a real server: from an event to the list, and to a receiver on this machine."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from transaction_scene import Road, Scene, Shops, person

from hsm.direct import DirectHsm
from payswitch.v1 import transaction_pb2, transaction_pb2_grpc, webhook_pb2, webhook_pb2_grpc
from switch.api.guarded import add_guarded
from switch.config import Settings
from switch.domain.access import Caller, Role
from switch.ops.lifecycle import Lifecycle
from switch.wiring.platform import Platform
from switch.wiring.transactions import open_transactions, open_webhooks

OWNER = person(Role.MERCHANT_OWNER)


class OpenGate:
    """Everybody is an owner."""

    async def admit(self, context: Any, request: Any, access: Any) -> Caller:
        return OWNER


@pytest.fixture
async def channel(scene: Scene, road: Road, hsm: DirectHsm) -> AsyncIterator[grpc.aio.Channel]:
    settings = Settings(webhooks={"allow_loopback": True})
    lifecycle = Lifecycle(grace_s=0)
    platform = Platform(settings, lifecycle, scene.database, "", hsm, scene.clock, road, Shops(), {})
    server = grpc.aio.server()
    for served in (*open_transactions(platform), *open_webhooks(platform)):
        add_guarded(served.service, served.servicer, OpenGate(), server)  # type: ignore[arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)
    lifecycle.stop("done")
    assert await lifecycle.run() == 0


async def test_a_payment_is_listed_exported_and_told(scene: Scene, channel: grpc.aio.Channel) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def hook(request: web.Request) -> web.Response:
        told.put_nowait(await request.text())
        return web.Response()

    application = web.Application()
    application.router.add_post("/hook", hook)
    receiver = TestServer(application)
    await receiver.start_server()
    webhooks = webhook_pb2_grpc.WebhookServiceStub(channel)
    await webhooks.CreateEndpoint(
        webhook_pb2.CreateEndpointRequest(
            merchant_id=scene.merchant_id, url=str(receiver.make_url("/hook")), event_types=["payment.approved"]
        )
    )
    record = await scene.paid()
    await scene.tell(scene.event(record))
    # The clock of the scene stands: what is due by the database's is due once it has moved.
    scene.clock.now_ms += 60_000
    async with asyncio.timeout(20):
        assert str(record.id) in await told.get()
        transactions = transaction_pb2_grpc.TransactionServiceStub(channel)
        request = transaction_pb2.QueryTransactionsRequest(merchant_id=scene.merchant_id)
        while not (found := (await transactions.QueryTransactions(request)).transactions):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert [each.authorization_id for each in found] == [str(record.id)]
        export = transaction_pb2.ExportTransactionsRequest(merchant_id=scene.merchant_id, format=1)
        parts = [part async for part in transactions.ExportTransactions(export)]
    assert str(record.id).encode() in parts[0].data
    assert parts[-1].end.rows == 1
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await transactions.QueryTransactions(
            transaction_pb2.QueryTransactionsRequest(merchant_id=scene.merchant_id, page_token="x")
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await receiver.close()
