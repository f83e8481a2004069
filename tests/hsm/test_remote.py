"""The client of HSM processes: it fails at once where nothing can answer, and never in silence."""

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from raw_peer import PATIENCE_S, until

from hsm.direct import DirectHsm
from hsm.errors import HsmUnavailable, InvalidCommand, KeyNotFound, KeyUsageError, MacMismatch
from hsm.keys import KeyUsage
from hsm.link import LinkLimits
from hsm.remote import RemoteHsm, RemoteLimits
from hsm.roles import Role
from hsm.serve import ListeningPlace
from hsm.server import HsmServer, ServerLimits
from hsm.wire import Codec, Request, WireLimits

KEY = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
MMK = "0123456789ABCDEFFEDCBA9876543210"
# So long that no test passes by waiting for it.
PATIENT = LinkLimits(time_limit_s=60.0, key_time_limit_s=60.0)
REMOTE_LIMITS = RemoteLimits(PATIENT)
SERVER_LIMITS = ServerLimits()


class Houses:
    """Servers in this process, by name, over one `DirectHsm`; each may be stopped and started."""

    def __init__(self, hsm: DirectHsm, place: Path) -> None:
        self._hsm = hsm
        self._place = place
        self._stacks: dict[str, contextlib.ExitStack] = {}
        self.servers: dict[str, HsmServer] = {}
        self.failures: list[str] = []

    def path(self, name: str) -> Path:
        return self._place / f"{name}.sock"

    async def open(self, name: str, role: Role = Role.ALL, limits: ServerLimits = SERVER_LIMITS) -> HsmServer:
        self._stacks[name] = stack = contextlib.ExitStack()
        listening = stack.enter_context(ListeningPlace(self.path(name)))
        server = self.servers[name] = HsmServer(self._hsm, role, limits=limits)
        await server.start(listening.listen())
        return server

    async def shut(self, name: str) -> None:
        await self.servers.pop(name).close()
        self._stacks.pop(name).close()

    @contextlib.asynccontextmanager
    async def client(self, *names: str, limits: RemoteLimits = REMOTE_LIMITS) -> AsyncIterator[RemoteHsm]:
        remote = RemoteHsm([self.path(each) for each in names], limits, self.failures.append, random.Random(1))
        await remote.start(patience_s=0.3)
        try:
            yield remote
        finally:
            await remote.close()


@pytest.fixture
async def houses(hsm: DirectHsm) -> AsyncIterator[Houses]:
    with tempfile.TemporaryDirectory(prefix="hsm-tests-") as path:
        houses = Houses(hsm, Path(path))
        yield houses
        for each in list(houses.servers):
            await houses.shut(each)


class StrangeProcess:
    """Listens where a process should, greets like one, and then does what `does` says with each request."""

    def __init__(self, path: Path, does: Callable[[Request, asyncio.StreamWriter, Codec], None]) -> None:
        self._path = path
        self._does = does
        self.greets = True
        self.connections = 0

    async def __aenter__(self) -> "StrangeProcess":
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        codec = Codec()
        frames = codec.reader()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for request in map(codec.read_request, frames.feed(data)):
                    if request.command in ("ping", "reload"):
                        if self.greets:
                            results: list[Any] = [("all", 1)] if request.command == "ping" else []
                            writer.write(codec.answer(request.number, results))
                    else:
                        self._does(request, writer, codec)
        writer.close()


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Far less than the patience of the limits; not a matter of the machine's speed."""
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < PATIENCE_S


# --- results ----------------------------------------------------------------------------------------------------------


async def test_every_command_of_the_road_is_as_direct(houses: Houses, make_key: Any, hsm: DirectHsm) -> None:
    hashing, sealing = make_key(KeyUsage.HASHING, KEY), make_key(KeyUsage.SEALING, KEY)
    mac, pin = make_key(KeyUsage.MAC_KEY, MMK), make_key(KeyUsage.PIN_KEY, MMK)
    hsm.store.ensure("remote/rsa", KeyUsage.SIGNING)
    await houses.open("one")
    async with houses.client("one") as remote:
        assert await remote.keyed_hashes([(hashing, b"x")]) == await hsm.keyed_hashes([(hashing, b"x")])
        [sealed] = await remote.seal([(sealing, b"data", b"context")])
        assert isinstance(sealed, bytes)
        assert await hsm.unseal([(sealing, sealed, b"context")]) == [b"data"]
        assert await remote.unseal([(sealing, sealed, b"context")]) == [b"data"]
        [tag] = await remote.macs([(mac, "cup-financial", b"data")])
        assert [tag] == await hsm.macs([(mac, "cup-financial", b"data")])
        assert isinstance(tag, bytes)
        good, bad = await remote.verify_macs(
            [(mac, "cup-financial", b"data", tag), (mac, "cup-financial", b"other", tag)]
        )
        assert (good, type(bad)) == (None, MacMismatch)
        assert await remote.sign([("remote/rsa", b"data")]) == await hsm.sign([("remote/rsa", b"data")])
        items = [(pin, 0, "nobody", 0, bytes(8), "6225880000000005")]
        [refused] = await remote.translate_pins(items)
        assert type(refused) is KeyNotFound
        assert await remote.key_check_value(mac) == hsm.key_check_value(mac)
        assert await remote.public_key("remote/rsa") == hsm.store.public_key("remote/rsa")
        assert [each[0] for each in await remote.inventory()] == [each.label for each in hsm.store.inventory()]
        with pytest.raises(KeyNotFound):
            await remote.key_check_value("nobody")
        with pytest.raises(KeyUsageError):
            await remote.public_key(mac)
        with pytest.raises(InvalidCommand):
            await remote.run("macs", [("too", "short")])
        with pytest.raises(InvalidCommand):
            await remote.run("macs", [(mac, "cup-financial", object())])
        with pytest.raises(InvalidCommand):
            await remote.run("no_such_command", [()])
        assert await remote.run("macs", []) == []
    assert houses.failures == []


async def test_a_long_list_is_shared_out_and_comes_back_in_order(houses: Houses, make_key: Any) -> None:
    key = make_key(KeyUsage.HASHING, KEY)
    items = [(key, str(number).encode()) for number in range(1000)]
    for name in ("one", "two", "three"):
        await houses.open(name)
    async with houses.client("one", "two", "three", limits=RemoteLimits(PATIENT, request_items=100)) as remote:
        results = await remote.keyed_hashes(items)
        assert results == [(await remote.keyed_hashes([each]))[0] for each in items[:1]] + results[1:]
        assert len(set(results)) == 1000  # type: ignore[arg-type]
        assert results == await houses.servers["one"].hsm.keyed_hashes(items)
    assert min(each.served.items for each in houses.servers.values()) >= 300


async def test_what_is_too_long_for_one_frame_becomes_several(houses: Houses, make_key: Any) -> None:
    key = make_key(KeyUsage.HASHING, KEY)
    wire = WireLimits(frame_bytes=4000)
    await houses.open("one", limits=ServerLimits(wire))
    async with houses.client("one", limits=RemoteLimits(LinkLimits(wire, time_limit_s=60))) as remote:
        items = [(key, bytes([number]) * 1500) for number in range(7)]
        expected = await houses.servers["one"].hsm.keyed_hashes(items)
        assert await remote.keyed_hashes(items) == expected
        results = await remote.keyed_hashes([*items, (key, bytes(5000))])
        assert results[:7] == expected
        assert type(results[7]) is InvalidCommand


async def test_commands_go_where_they_are_run_and_to_the_least_busy(houses: Houses, make_key: Any) -> None:
    key = make_key(KeyUsage.HASHING, KEY)
    for name, role in (("one", Role.FAST), ("two", Role.FAST), ("sign", Role.SLOW)):
        await houses.open(name, role)
    async with houses.client("one", "two", "sign") as remote:
        await asyncio.gather(*(remote.keyed_hashes([(key, b"x")]) for _ in range(50)))
        await remote.sign([("nobody", b"")] * 40)
        fast = [houses.servers[each].served.items for each in ("one", "two")]
        # The greeting was an item of its own.
        assert fast == [26, 26]
        assert houses.servers["sign"].served.items == 41
        await houses.shut("sign")
        with pytest.raises(HsmUnavailable), at_once():
            await remote.sign([("nobody", b"")])
        assert len(await remote.keyed_hashes([(key, b"x")])) == 1


def test_links_have_names_of_their_own() -> None:
    apart = RemoteHsm([Path("/run/a/fast-0.sock"), Path("/run/b/fast-1.sock")])
    assert [each.name for each in apart.links] == ["fast-0", "fast-1"]
    alike = RemoteHsm([Path("/run/a/hsm.sock"), Path("/run/b/hsm.sock")])
    assert [each.name for each in alike.links] == ["/run/a/hsm.sock", "/run/b/hsm.sock"]


# --- loss -------------------------------------------------------------------------------------------------------------


async def test_with_no_process_every_command_fails_at_once(houses: Houses) -> None:
    async with houses.client("nobody") as remote:
        for _ in range(100):
            with pytest.raises(HsmUnavailable), at_once():
                await remote.keyed_hashes([("key", b"")])
        with pytest.raises(HsmUnavailable):
            await remote.import_working_key("label", "MAC_KEY", "under", bytes(16))
    assert set(houses.failures) == {"unreachable"}


async def test_a_lost_connection_fails_all_that_is_outstanding_at_once(houses: Houses) -> None:
    taken: list[asyncio.StreamWriter] = []
    strange = StrangeProcess(houses.path("strange"), lambda request, writer, codec: taken.append(writer))
    async with strange, houses.client("strange") as remote:
        waiting = [asyncio.ensure_future(remote.keyed_hashes([("key", b"")])) for _ in range(20)]
        await until(lambda: len(taken) == 20)
        assert remote.links[0].outstanding_items == 20
        with at_once():
            taken[0].transport.abort()
            failed = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(each) for each in failed} == {HsmUnavailable}
        assert remote.links[0].outstanding_items == 0
        with pytest.raises(HsmUnavailable), at_once():
            await remote.keyed_hashes([("key", b"")])
        await until(lambda: remote.links[0].ready)
        assert strange.connections == 2
    assert houses.failures == ["lost"] * 20 + ["unreachable"]


async def test_the_client_comes_back_to_a_process_that_comes_back(houses: Houses, make_key: Any) -> None:
    key = make_key(KeyUsage.HASHING, KEY)
    await houses.open("one")
    async with houses.client("one") as remote:
        for _ in range(3):
            assert len(await remote.keyed_hashes([(key, b"")])) == 1
            await houses.shut("one")
            with pytest.raises(HsmUnavailable), at_once():
                await remote.keyed_hashes([(key, b"")])
            await houses.open("one")
            await until(lambda: remote.links[0].ready)
        assert remote.links[0].connections == 4


async def test_a_process_that_hangs_costs_one_time_limit(houses: Houses) -> None:
    """Whoever waits gets an answer in time; nobody else waits after that, until it greets again."""
    silent = StrangeProcess(houses.path("silent"), lambda request, writer, codec: None)
    limits = RemoteLimits(LinkLimits(time_limit_s=0.1))
    async with silent, houses.client("silent", limits=limits) as remote:
        silent.greets = False
        with pytest.raises(HsmUnavailable, match="in time"):
            await remote.keyed_hashes([("key", b"")])
        for _ in range(10):
            with pytest.raises(HsmUnavailable, match="connected"):
                await remote.keyed_hashes([("key", b"")])
        await until(lambda: silent.connections > 1)
        assert not remote.links[0].ready
        silent.greets = True
        await until(lambda: remote.links[0].ready)
    assert houses.failures.count("unreachable") == 10
    assert houses.failures[0] == "time_limit"


async def test_one_late_answer_among_others_is_no_hang(houses: Houses) -> None:
    held: list[tuple[int, asyncio.StreamWriter, Codec]] = []

    def hold_the_first(request: Request, writer: asyncio.StreamWriter, codec: Codec) -> None:
        if not held:
            held.append((request.number, writer, codec))
        else:
            writer.write(codec.answer(request.number, [b"tag"]))

    strange = StrangeProcess(houses.path("strange"), hold_the_first)
    async with strange, houses.client("strange", limits=RemoteLimits(LinkLimits(time_limit_s=0.2))) as remote:
        late = asyncio.ensure_future(remote.keyed_hashes([("key", b"late")]))
        await until(lambda: bool(held))
        while not late.done():
            assert await remote.keyed_hashes([("key", b"")]) == [b"tag"]
            await asyncio.sleep(0.01)
        with pytest.raises(HsmUnavailable, match="in time"):
            await late
        number, writer, codec = held[0]
        writer.write(codec.answer(number, [b"too late"]))
        assert await remote.keyed_hashes([("key", b"")]) == [b"tag"]
        assert (strange.connections, remote.links[0].outstanding_items) == (1, 0)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 8, b"\0\0\0\1\xc1", b"\0\0\0\2\x91\x01"],
    ids=["http", "too long", "no msgpack", "wrong shape"],
)
async def test_a_process_that_answers_nonsense_is_left(houses: Houses, answer: bytes) -> None:
    strange = StrangeProcess(houses.path("strange"), lambda request, writer, codec: writer.write(answer))
    async with strange, houses.client("strange") as remote:
        with pytest.raises(HsmUnavailable), at_once():
            await remote.keyed_hashes([("key", b"")])


async def test_another_number_of_results_is_no_answer(houses: Houses) -> None:
    strange = StrangeProcess(
        houses.path("strange"), lambda request, writer, codec: writer.write(codec.answer(request.number, [b"", b""]))
    )
    async with strange, houses.client("strange") as remote:
        with pytest.raises(HsmUnavailable, match="another number"):
            await remote.keyed_hashes([("key", b"")])


async def test_what_is_outstanding_is_bounded(houses: Houses) -> None:
    silent = StrangeProcess(houses.path("silent"), lambda request, writer, codec: None)
    limits = RemoteLimits(LinkLimits(time_limit_s=60, requests=5))
    async with silent, houses.client("silent", limits=limits) as remote:
        waiting = [asyncio.ensure_future(remote.keyed_hashes([("key", b"")])) for _ in range(5)]
        await until(lambda: remote.links[0].outstanding_items == 5)
        with pytest.raises(HsmUnavailable, match="too busy"), at_once():
            await remote.keyed_hashes([("key", b"")])
        for each in waiting:
            each.cancel()
    assert [type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * 5


async def test_closing_fails_what_is_outstanding(houses: Houses) -> None:
    silent = StrangeProcess(houses.path("silent"), lambda request, writer, codec: None)
    async with silent:
        async with houses.client("silent") as remote:
            waiting = asyncio.ensure_future(remote.keyed_hashes([("key", b"")]))
            await until(lambda: remote.links[0].outstanding_items == 1)
        with pytest.raises(HsmUnavailable), at_once():
            await waiting


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_a_stored_key_is_reloaded_everywhere_before_the_answer(houses: Houses, make_key: Any) -> None:
    under = make_key(KeyUsage.KEY_TRANSPORT, MMK)
    reloads: dict[str, int] = {}

    def counted(name: str, server: HsmServer) -> None:
        original = server.housekeeping.keys.reload

        async def reload() -> None:
            await original()
            reloads[name] = reloads.get(name, 0) + 1

        server.housekeeping.keys.reload = reload  # type: ignore[method-assign]

    for name in ("one", "two", "sign"):
        counted(name, await houses.open(name, Role.SLOW if name == "sign" else Role.FAST))
    async with houses.client("one", "two", "sign") as remote:
        reloads.clear()
        label = f"{under}/working"
        kcv = await remote.import_working_key(label, "MAC_KEY", under, bytes(16))
        assert sum(reloads.values()) == 2
        assert reloads["sign"] == 1
        assert await remote.key_check_value(label + "?pending") == kcv
        await remote.activate_working_key(label)
        assert sum(reloads.values()) == 4
        assert await remote.key_check_value(label) == kcv
        with pytest.raises(KeyNotFound):
            await remote.activate_working_key(label)
        with pytest.raises(InvalidCommand):
            await remote.import_working_key(label, "NO_USAGE", under, bytes(16))


async def test_a_terminals_keys_serve_in_every_process(houses: Houses, make_key: Any, hsm: DirectHsm) -> None:
    """What one process made, the others open: nothing has to be told to them."""
    under, storage = make_key(KeyUsage.KEY_TRANSPORT, MMK), "remote/terminals"
    hsm.store.ensure(storage, KeyUsage.KEY_STORAGE)
    for name in ("one", "two"):
        await houses.open(name, Role.FAST)
    async with houses.client("one", "two") as remote:
        [(sent, check, sealed)] = await remote.run("make_terminal_keys", [(under, storage, "m/t", "MAC_KEY", "DES")])
        assert (len(sent), len(check)) == (8, 4)
        macs = [await remote.run("terminal_macs", [(storage, "m/t", sealed, "cup-ecb", b"data")]) for _ in range(4)]
        assert len({each[0] for each in macs}) == 1
        item = (storage, "m/t", sealed, "cup-ecb", b"data", macs[0][0])
        assert await remote.run("verify_terminal_macs", [item]) == [None]


async def test_a_process_that_cannot_reload_is_not_used_until_it_could(houses: Houses, make_key: Any) -> None:
    under = make_key(KeyUsage.KEY_TRANSPORT, MMK)
    one, two = await houses.open("one", Role.FAST), await houses.open("two", Role.FAST)
    broken = True

    async def refuse() -> None:
        if broken:
            raise HsmUnavailable("the file is broken")

    async with houses.client("one", "two") as remote:
        for each in (one, two):
            each.housekeeping.keys.reload = refuse  # type: ignore[method-assign]
        await remote.import_working_key(f"{under}/working", "MAC_KEY", under, bytes(16))
        assert sorted(each.ready for each in remote.links) == [False, True]
        for _ in range(10):
            assert await remote.key_check_value(f"{under}/working?pending")
        broken = False
        await until(lambda: all(each.ready for each in remote.links))
