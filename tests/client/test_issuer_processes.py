"""The issuer's SDK finds every living switch process and keeps a stream to each: real doors, several in one test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from adapters.issuer.channel import IssuerChannel
from adapters.issuer.hub import IssuerHub
from adapters.issuer.messages import IssuerAnswer, IssuerMessage
from payswitch.v1 import issuer_pb2_grpc
from switch.api.issuer_service import IssuerServicer, LinkLimits
from switch.client.issuer import IssuerConnection
from switch.client.issuer_roster import Roster


class Process:
    """One switch process as an issuer sees it: a name, an address, a door."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hub = IssuerHub()
        self.channel = IssuerChannel("bank", self.hub)
        self.servicer = IssuerServicer(self.hub, lambda _: "bank", lambda _: "ABCDEF", lambda: name, LinkLimits())
        self.server: Any = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def links(self) -> int:
        return self.hub.link_count("bank")

    async def start(self, port: int = 0) -> None:
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
        issuer_pb2_grpc.add_IssuerServiceServicer_to_server(self.servicer, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        await self.server.start()


class Switch:
    """Several processes; `tell` is what their leases' watch does."""

    def __init__(self) -> None:
        self.processes: list[Process] = []

    async def grow(self, name: str, port: int = 0) -> Process:
        process = Process(name)
        await process.start(port)
        self.processes.append(process)
        return process

    async def kill(self, process: Process) -> None:
        self.processes.remove(process)
        await process.server.stop(0)

    def tell(self) -> None:
        for process in self.processes:
            process.servicer.tell_processes([(each.name, each.address) for each in self.processes])

    def linked(self, count: int = 1) -> bool:
        return all(process.links == count for process in self.processes)


async def approve(messages: list[IssuerMessage]) -> list[IssuerAnswer]:
    return [IssuerAnswer(message.message_id, "00") for message in messages]


async def until(condition: Callable[[], bool], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.fixture
async def switch() -> AsyncIterator[Switch]:
    switch = Switch()
    yield switch
    for process in list(switch.processes):
        await switch.kill(process)


Dial = Callable[..., Awaitable[IssuerConnection]]


@pytest.fixture
async def dial(switch: Switch) -> AsyncIterator[Dial]:
    opened: list[tuple[IssuerConnection, asyncio.Task[None]]] = []

    async def dial_(target: str, **options: Any) -> IssuerConnection:
        connection = IssuerConnection(target, "bank", approve, **options)
        opened.append((connection, asyncio.create_task(connection.run())))
        await asyncio.wait_for(connection.ready.wait(), 30)
        return connection

    yield dial_
    for connection, running in opened:
        await connection.close(timeout_s=0.5)
        await asyncio.wait_for(running, 30)


async def test_one_address_is_enough_to_find_all(switch: Switch, dial: Dial) -> None:
    processes = [await switch.grow(f"switch-{number}") for number in range(4)]
    switch.tell()
    connection = await dial(processes[2].address)
    await until(lambda: switch.linked() and connection.processes == ["switch-0", "switch-1", "switch-2", "switch-3"])


async def test_a_process_that_comes_later_is_told_and_dialled(switch: Switch, dial: Dial) -> None:
    first = await switch.grow("switch-0")
    switch.tell()
    await dial(first.address)
    await switch.grow("switch-1")
    switch.tell()
    await until(switch.linked)


async def test_processes_behind_one_port_are_told_apart(switch: Switch, dial: Dial) -> None:
    first = await switch.grow("switch-0")
    for number in range(1, 5):
        await switch.grow(f"switch-{number}", first.port)
    switch.tell()
    connection = await dial(first.address)
    await until(lambda: switch.linked() and connection.processes == [f"switch-{number}" for number in range(5)])
    await switch.kill(switch.processes[3])
    await switch.grow("switch-7", first.port)
    switch.tell()
    await until(switch.linked)
    await until(lambda: connection.processes == ["switch-0", "switch-1", "switch-2", "switch-4", "switch-7"])


async def test_two_streams_to_each_process(switch: Switch, dial: Dial) -> None:
    first = await switch.grow("switch-0")
    await switch.grow("switch-1", first.port)
    await switch.grow("switch-2")
    switch.tell()
    await dial(first.address, links_per_process=2)
    await until(lambda: switch.linked(2))


async def test_a_lost_stream_comes_back_and_the_others_stay(switch: Switch, dial: Dial) -> None:
    processes = [await switch.grow(f"switch-{number}") for number in range(3)]
    switch.tell()
    connection = await dial(processes[0].address)
    await until(switch.linked)
    port, survivors = processes[1].port, [processes[0], processes[2]]
    before = [set(each.servicer._links) for each in survivors]
    await switch.kill(processes[1])
    await until(lambda: connection.processes == ["switch-0", "switch-2"])
    await switch.grow("switch-1", port)
    await until(switch.linked)
    assert [set(each.servicer._links) for each in survivors] == before


async def test_a_process_that_is_gone_is_left_although_its_stream_lives(switch: Switch, dial: Dial) -> None:
    first, second = [await switch.grow(f"switch-{number}") for number in range(2)]
    switch.tell()
    connection = await dial(first.address)
    await until(switch.linked)
    first.servicer.tell_processes([(first.name, first.address)])
    await until(lambda: second.links == 0 and connection.processes == ["switch-0"])
    await asyncio.sleep(0.1)
    assert (first.links, second.links) == (1, 0)


async def test_a_draining_process_is_not_dialled_again_while_another_takes_over(switch: Switch, dial: Dial) -> None:
    first, second = [await switch.grow(f"switch-{number}") for number in range(2)]
    switch.tell()
    connection = await dial(first.address)
    await until(switch.linked)
    second.servicer.tell_processes([(second.name, second.address)])
    await first.servicer.drain(limit_s=5)
    await until(lambda: connection.processes == ["switch-1"])
    assert first.links == 0


async def test_when_every_process_is_gone_it_begins_with_its_first_addresses_again(switch: Switch, dial: Dial) -> None:
    first, second = [await switch.grow(f"switch-{number}") for number in range(2)]
    switch.tell()
    connection = await dial(first.address)
    await until(switch.linked)
    port = first.port
    await switch.kill(first)
    await switch.kill(second)
    await until(lambda: connection.processes == [])
    assert not connection.ready.is_set()
    third = await switch.grow("switch-9", port)
    switch.tell()
    await until(lambda: third.links == 1 and connection.ready.is_set())


async def test_a_process_that_cannot_be_reached_does_not_disturb_the_others(switch: Switch, dial: Dial) -> None:
    first, second = [await switch.grow(f"switch-{number}") for number in range(2)]
    everyone = [(each.name, each.address) for each in (first, second)]
    for each in (first, second):
        each.servicer.tell_processes([*everyone, ("switch-5", "127.0.0.1:1")])
    connection = await dial(second.address)
    await until(lambda: switch.linked() and connection.processes == ["switch-0", "switch-1"])
    await asyncio.sleep(0.1)
    assert connection.processes == ["switch-0", "switch-1"]


async def test_processes_behind_a_balancer_are_found_although_their_own_addresses_are_not(
    switch: Switch, dial: Dial
) -> None:
    """One address from outside, as a balancer's; what the processes announce is reached from inside alone."""
    first = await switch.grow("switch-0")
    for number in range(1, 3):
        await switch.grow(f"switch-{number}", first.port)
    for process in switch.processes:
        process.servicer.tell_processes([(f"switch-{number}", f"127.0.0.1:{number + 1}") for number in range(3)])
    connection = await dial(first.address)
    await until(lambda: switch.linked() and len(connection.processes) == 3)


async def test_looking_for_a_process_that_is_not_behind_the_port_is_bounded(
    switch: Switch, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is announced there, and every dial lands at another: after so many it waits."""
    monkeypatch.setattr("switch.client.issuer._MISSES_PER_PROCESS", 3)
    monkeypatch.setattr("switch.client.issuer._MISSES_PAUSE_S", 3600)
    only = await switch.grow("switch-0")
    refused = 0
    sign_on = only.servicer._sign_on

    async def counting(*arguments: Any) -> Any:
        nonlocal refused
        try:
            return await sign_on(*arguments)
        except Exception:
            refused += 1
            raise

    monkeypatch.setattr(only.servicer, "_sign_on", counting)
    only.servicer.tell_processes([("switch-0", only.address), ("switch-1", only.address)])
    connection = await dial(only.address)
    await until(lambda: refused == 6)  # three for each of the two that are said to be there
    await asyncio.sleep(0.2)
    assert (refused, only.links, connection.processes) == (6, 1, ["switch-0"])
    await switch.grow("switch-2", only.port)
    switch.tell()
    await until(switch.linked)  # news end the pause


def test_a_roster_without_word_of_the_switch_keeps_to_its_seeds() -> None:
    roster = Roster(["a:1", "b:1", "a:1"], links_per_process=2)
    assert roster.missing([]) == {"a:1": 2, "b:1": 2}
    assert roster.missing([("", "a:1"), ("", "a:1"), ("", "b:1")]) == {"b:1": 1}
    roster.learn({})
    assert not roster.is_gone("")
    assert roster.full([("", "a:1"), ("", "a:1")]) == []


def test_a_roster_names_who_has_enough() -> None:
    roster = Roster(["a:1"], links_per_process=2)
    roster.learn({"p": "a:1", "q": "a:1"})
    held = [("p", "a:1"), ("p", "x:1"), ("q", "a:1")]
    assert roster.missing(held) == {"a:1": 1}
    assert roster.full(held) == ["p"]
    assert (roster.sharing("a:1"), roster.sharing("b:1")) == (2, 1)
    roster.learn({"p": "x:1", "q": "x:2", "r": "x:2"})
    assert roster.missing([("p", "a:1"), ("p", "a:1")], ["x:2"]) == {"x:2": 4, "a:1": 4}
    assert roster.sharing("a:1") == 3
    assert (roster.is_gone("s"), roster.is_gone("q")) == (True, False)
