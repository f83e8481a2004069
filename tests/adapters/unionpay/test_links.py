"""Links: coming up, going down, coming back, garbage, echoes, sign-on."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from adapters.unionpay import metrics
from adapters.unionpay._codec import Header, decode, encode_frame
from adapters.unionpay.channel import UnionPayChannel
from adapters.unionpay.frame import Framer
from adapters.unionpay.link import Reply
from adapters.unionpay.simulator import SimulatorSettings, UnionPaySimulator
from switch.domain.states import Operation
from switch.ports import Approved, Declined, Phase, Unknown


async def test_network_down_is_not_sent(start_channel: Any, exchange_on: Any, make_request: Any, rich: Any) -> None:
    channel = await start_channel(1, ready=False)
    exchange = exchange_on(channel)
    assert await exchange(make_request(rich)) == Unknown(Phase.NOT_SENT, "link_down")
    await asyncio.sleep(0.1)
    assert await exchange(make_request(rich)) == Unknown(Phase.NOT_SENT, "link_down")
    assert channel.health().detail.startswith("0 of 1 links ready: link_down")


async def test_close_while_connecting_fails(start_channel: Any) -> None:
    """A cancellation that meets the refusal of the connection is not lost: each close ends."""
    for round_number in range(60):
        channel = await start_channel(1, ready=False, backoff_first_s=0.0001, backoff_most_s=0.0002)
        await asyncio.sleep(round_number * 0.0001)
        async with asyncio.timeout(30):
            await channel.close()


async def test_down_and_up_again(
    network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any, until: Any
) -> None:
    for _ in range(2):
        await network.stop_listening()
        await until(lambda: not channel.health().ready)
        assert (await exchange(make_request(rich))).phase is Phase.NOT_SENT
        await asyncio.sleep(0.15)
        await network.resume()
        await until(lambda: channel.health().ready)
        assert isinstance(await exchange(make_request(rich)), Approved)


async def test_pending_when_the_link_is_lost(
    network: Any, channel: Any, make_request: Any, rich: Any, until: Any
) -> None:
    requests = [make_request(rich, 990_202) for _ in range(5)]
    channel.prepare(requests)
    futures = channel.send(requests)
    await until(lambda: len(network.book()) == 5)
    network.drop_links()
    results = await asyncio.gather(*futures)
    assert results == [Unknown(Phase.SENT, "link lost")] * 5


async def test_one_of_two_links(
    network: Any, start_channel: Any, exchange_on: Any, make_request: Any, rich: Any, until: Any
) -> None:
    channel = await start_channel(network.port, links=2)
    await until(lambda: channel.health().detail == "2 of 2 links ready")
    before = [session.link for session in channel._sessions]
    next(iter(network.connections)).abort()
    await until(lambda: any(link.closed.done() for link in before))
    exchange = exchange_on(channel)
    for _ in range(4):
        assert isinstance(await exchange(make_request(rich)), Approved)
    await until(lambda: channel.health().detail == "2 of 2 links ready")
    for _ in range(4):
        assert isinstance(await exchange(make_request(rich)), Approved)


async def test_load_is_balanced(network: Any, start_channel: Any, make_request: Any, rich: Any, until: Any) -> None:
    channel = await start_channel(network.port, links=3)
    await until(lambda: channel.health().detail == "3 of 3 links ready")
    for size in (7, 1, 1, 3, 3, 3, 3):  # silent ones: they stay pending
        requests = [make_request(rich, 990_200) for _ in range(size)]
        channel.prepare(requests)
        channel.send(requests)
        await until(lambda: not channel._tasks)
    assert [session.link.pending for session in channel._sessions] == [7, 7, 7]


async def test_not_written_goes_out_on_another_link(
    network: Any, start_channel: Any, make_request: Any, rich: Any, hsm: Any, until: Any
) -> None:
    """A link dies while the MACs are made: nothing has left, so the other link takes the batch. Both dead: refused."""
    channel = await start_channel(network.port, links=2, backoff_first_s=5.0, backoff_most_s=5.0)
    await until(lambda: channel.health().detail == "2 of 2 links ready")
    moved, made, hold = metrics.MOVED._value.get(), hsm.macs, asyncio.Event()

    async def slow(items: Any) -> Any:
        macs = await made(items)
        if any(b"0200" in text for _, _, text in items):
            await hold.wait()
        return macs

    hsm.macs = slow
    requests = [make_request(rich) for _ in range(5)]
    channel.prepare(requests)
    links = [session.link for session in channel._sessions]
    first = links[channel._turn]
    futures = channel.send(requests)
    first.abort()
    await until(first.closed.done)
    hold.set()
    results = await asyncio.wait_for(asyncio.gather(*futures), 30)
    assert all(isinstance(each, Approved) for each in results)
    assert metrics.MOVED._value.get() == moved + 5
    assert len(network.book()) == 5

    hold.clear()
    again = make_request(rich)
    channel.prepare([again])
    [future] = channel.send([again])
    await asyncio.sleep(0)
    for link in links:
        link.abort()
    await until(lambda: all(link.closed.done() for link in links))
    hold.set()
    result = await asyncio.wait_for(future, 30)
    assert result == Unknown(Phase.NOT_SENT, "link_down")
    assert len(network.book()) == 5


@pytest.mark.parametrize("garbage", [b"\x00\xff" * 30, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"0058" + b"z" * 58])
async def test_garbage_on_the_link(
    network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any, garbage: bytes
) -> None:
    before = metrics.GARBAGE_BYTES._value.get()
    [connection] = network.connections
    connection.write(garbage)
    assert isinstance(await exchange(make_request(rich)), Approved)
    assert metrics.GARBAGE_BYTES._value.get() == before + len(garbage)
    assert network.connections == {connection}


async def test_endless_garbage_drops_the_link(
    network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any, until: Any
) -> None:
    [connection] = network.connections
    connection.write(b"\xfe" * 100_000)
    await until(lambda: connection not in network.connections)
    await until(lambda: channel.health().ready)
    assert isinstance(await exchange(make_request(rich)), Approved)


async def test_garbage_at_the_network(network: Any, channel: Any, make_request: Any, until: Any) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", network.port)
    writer.write(b"garbage that is no frame")
    await until(lambda: len(network.connections) == 1)
    writer.close()
    assert channel.health().ready


async def test_the_network_may_echo(network: Any, channel: Any) -> None:
    [connection] = network.connections
    assert await connection.echo()


async def test_sign_off_on_close(network: Any, start_channel: Any, until: Any) -> None:
    channel = await start_channel(network.port)
    [connection] = network.connections
    assert connection.signed_on
    await channel.close()
    assert not connection.signed_on
    await until(lambda: not network.connections)
    assert not channel.health().ready


async def test_close_leaves_nobody_waiting(
    network: Any, start_channel: Any, make_request: Any, rich: Any, until: Any
) -> None:
    channel = await start_channel(network.port)
    request = make_request(rich, 990_200)
    channel.prepare([request])
    [future] = channel.send([request])
    await until(lambda: len(network.book()) == 1)
    await channel.close()
    assert future.result() == Unknown(Phase.SENT, "link lost")


async def test_signs_on_again_after_77(
    network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any, until: Any
) -> None:
    [connection] = network.connections
    connection.signed_on = False
    result = await exchange(make_request(rich))
    assert isinstance(result, Declined)
    assert result.response_code == "77"
    await until(lambda: connection.signed_on)
    assert isinstance(await exchange(make_request(rich)), Approved)


class Mute(asyncio.Protocol):
    """A peer that reads and answers what `answer` gives for a message, if anything."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.framer = Framer()
        self.seen: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for message in self.framer.feed(data):
            header, mti, fields = decode(message)
            self.seen.append(f"{mti}/{fields.get(70, '')}")
            reply = self.answer(header, mti, fields)
            if reply is not None:
                self.transport.write(encode_frame(*reply))


@pytest.fixture
async def peer() -> Any:
    servers, protocols = [], []

    async def serve(answer: Any) -> tuple[int, list[Mute]]:
        def connected() -> Mute:
            protocols.append(Mute(answer))
            return protocols[-1]

        server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", 0)
        servers.append(server)
        return server.sockets[0].getsockname()[1], protocols

    yield serve
    for server in servers:
        server.close()
    for protocol in protocols:
        protocol.transport.abort()
    await asyncio.sleep(0.01)


def management_reply(header: Any, mti: str, fields: Any, code: str = "00") -> Any:
    return header.reply(), "0830", {7: fields[7], 11: fields[11], 39: code, 70: fields[70]}


async def test_sign_on_refused_or_unanswered(peer: Any, start_channel: Any, until: Any) -> None:
    port, protocols = await peer(lambda *message: management_reply(*message, code="03"))
    channel = await start_channel(port, ready=False)
    await until(lambda: len(protocols) >= 3)
    assert not channel.health().ready
    port, protocols = await peer(lambda *message: None)
    channel = await start_channel(port, ready=False, reply_timeout_s=0.05)
    await until(lambda: len(protocols) >= 2)
    assert "not_signed_on" in channel.health().detail or "link_down" in channel.health().detail


async def test_no_keys_asks_for_them(peer: Any, start_channel: Any, until: Any) -> None:
    port, protocols = await peer(management_reply)
    channel = await start_channel(port, ready=False, settle_s=0.02, key_request_every_s=0.05)
    await until(lambda: protocols and protocols[0].seen.count("0820/101") >= 2)
    assert protocols[0].seen[0] == "0820/001"
    assert not channel.health().ready
    assert "no working keys" in channel.health().detail


async def test_keys_kept_from_before(peer: Any, start_channel: Any, hsm: Any, until: Any) -> None:
    hsm.keys["unionpay/mak"] = bytes(range(16))
    port, protocols = await peer(management_reply)
    channel = await start_channel(port, settle_s=0.02)
    assert channel.health().ready
    await until(lambda: "0820/301" in protocols[0].seen)  # idle: the link asks whether the network lives
    await until(lambda: protocols[0].framer.keep_alives > 0)


async def test_a_dead_network_is_noticed(peer: Any, start_channel: Any, hsm: Any, until: Any) -> None:
    """It signed the link on and then fell silent: the unanswered echo drops the link."""
    hsm.keys["unionpay/mak"] = bytes(range(16))
    port, protocols = await peer(
        lambda header, mti, fields: management_reply(header, mti, fields) if fields[70] == "001" else None
    )
    await start_channel(port, settle_s=0.02, reply_timeout_s=0.1)
    await until(lambda: len(protocols) >= 2)


async def test_congestion_refuses_at_once(
    peer: Any, start_channel: Any, hsm: Any, make_request: Any, rich: Any, until: Any
) -> None:
    hsm.keys["unionpay/mak"] = bytes(range(16))
    port, protocols = await peer(lambda h, mti, f: management_reply(h, mti, f) if mti == "0820" else None)
    channel = await start_channel(port, settle_s=0.02, pending_limit=3, echo_after_s=60)
    requests = [make_request(rich) for _ in range(3)]
    channel.prepare(requests)
    futures = channel.send(requests)
    await until(lambda: protocols[0].seen.count("0200/") == 3)
    more = make_request(rich)
    channel.prepare([more])
    [refused] = channel.send([more])
    assert refused.done()
    assert refused.result() == Unknown(Phase.NOT_SENT, "too_many_pending")
    channel._sessions[0].link.pause_writing()
    assert channel.health().detail.startswith("1 of 1 links ready: link_congested")
    channel._sessions[0].link.resume_writing()
    await channel.close()
    assert [each.result() for each in futures] == [Unknown(Phase.SENT, "link lost")] * 3


async def test_rejected_in_the_header(
    peer: Any, start_channel: Any, exchange_on: Any, hsm: Any, make_request: Any, rich: Any
) -> None:
    def answer(header: Any, mti: str, fields: Any) -> Any:
        if mti == "0820":
            return management_reply(header, mti, fields)
        return Header(header.source, header.destination, reject_code="00401"), mti, fields

    hsm.keys["unionpay/mak"] = bytes(range(16))
    port, _ = await peer(answer)
    exchange = exchange_on(await start_channel(port, settle_s=0.02))
    result = await exchange(make_request(rich, operation=Operation.SALE))
    assert result == Unknown(Phase.SENT, "rejected in the header: 00401")


def test_under_uvloop(settings: Any, mmk: bytes, hsm: Any, clock: Any, until: Any, make_request: Any) -> None:
    """The loop of production: its transports are not asyncio's."""

    async def sale() -> Any:
        network = UnionPaySimulator(SimulatorSettings({settings.forwarder: mmk}))
        await network.start()
        channel = UnionPayChannel(replace(settings, port=network.port), hsm, clock)
        await channel.start()
        await until(lambda: channel.health().ready)
        request = make_request(next(iter(network.accounts.values())))
        channel.prepare([request])
        result = await asyncio.wait_for(channel.send([request])[0], 30)
        await channel.close()
        await network.close()
        return result

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert isinstance(runner.run(sale()), Approved)


def test_a_reply_shows_no_card(rich: Any) -> None:
    waiting: Any = None
    assert rich.pan not in repr(Reply(waiting, "0210", {2: rich.pan}))
