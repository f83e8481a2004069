import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from switch.ops.checks import Check, NotReady, Readiness
from switch.ops.http import operations_app, start_http
from switch.ops.loop_lag import LoopLag


class World:
    """What the checks find, and the lag that is reported."""

    def __init__(self) -> None:
        self.database, self.alipay, self.lag_s = True, True, 0.001
        checks = [
            Check("database", lambda: self._probe(self.database)),
            Check("channel/alipay", lambda: self._probe(self.alipay), required=False),
        ]
        self.readiness = Readiness(checks, fresh_s=0)

    async def _probe(self, up: bool) -> str:
        if not up:
            raise NotReady("down with card 6225880000001231")
        return "up"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def client(world: World) -> AsyncIterator[TestClient]:
    app = operations_app(world.readiness, lambda: world.lag_s)
    async with TestClient(TestServer(app)) as client:
        yield client


async def text_of(client: TestClient, path: str) -> tuple[int, str]:
    async with client.get(path) as response:
        return response.status, await response.text()


async def test_ready(client: TestClient) -> None:
    assert await text_of(client, "/readyz") == (200, "ready\n")
    assert await text_of(client, "/readyz?verbose") == (200, "[+] database: up\n[+] channel/alipay: up\nready\n")


async def test_a_channel_that_is_down_only_degrades(world: World, client: TestClient) -> None:
    world.alipay = False
    status, text = await text_of(client, "/readyz?verbose")
    assert status == 200
    assert "[!] channel/alipay: down with card 622588******1231" in text
    assert text.endswith("ready, degraded\n")


async def test_without_the_database_nothing_is_taken(world: World, client: TestClient) -> None:
    world.database = False
    assert await text_of(client, "/readyz") == (503, "not ready\n")
    assert "[-] database" in (await text_of(client, "/readyz?verbose"))[1]
    assert (await text_of(client, "/livez"))[0] == 200


async def test_draining(world: World, client: TestClient) -> None:
    world.readiness.drain()
    assert await text_of(client, "/readyz") == (503, "draining\n")


async def test_a_stalled_loop_is_not_alive(world: World, client: TestClient) -> None:
    assert await text_of(client, "/livez") == (200, "alive: event loop lag 1 ms\n")
    world.lag_s = 9
    assert (await text_of(client, "/livez"))[0] == 503


async def test_metrics_are_prometheus_text(client: TestClient) -> None:
    async with client.get("/metrics") as response:
        text = await response.text()
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE payswitch_request_duration_seconds histogram" in text
    assert "# TYPE payswitch_queue_depth gauge" in text


async def test_the_listener_ends(world: World) -> None:
    runner = await start_http(operations_app(world.readiness, lambda: 0.0), "127.0.0.1", 0)
    host, port = runner.addresses[0][:2]
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    await writer.wait_closed()
    await runner.cleanup()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_lag_is_seen_while_it_lasts_and_afterwards() -> None:
    lag = LoopLag(interval_s=0.01)
    assert lag.seconds() == 0
    lag.start()
    blocked_until_s = asyncio.get_running_loop().time() + 0.15
    while asyncio.get_running_loop().time() < blocked_until_s:
        continue
    assert lag.seconds() > 0.1
    await asyncio.sleep(0.1)
    assert lag.seconds() < 0.1
    lag.close()
    lag.close()
    assert lag.seconds() == 0
