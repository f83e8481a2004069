"""The HSM behind a socket: who may connect, what it makes of anything that is sent, and how it ends."""

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from raw_peer import PATIENCE_S, RawPeer, until

from hsm.direct import DirectHsm
from hsm.errors import HsmUnavailable, InvalidCommand, KeyNotFound, KeyUsageError
from hsm.keys import KeyUsage
from hsm.roles import Role
from hsm.serve import LONGEST_SOCKET_PATH, ListeningPlace, SocketRefused
from hsm.server import HsmServer, ServerLimits
from hsm.wire import WireLimits

KEY = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
Serving = Callable[..., Any]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory, 0700, with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hsm-tests-") as path:
        yield Path(path)


@pytest.fixture
def serving(hsm: DirectHsm, place: Path) -> Serving:
    """`async with serving(...) as (server, path)`: a server in this process."""

    @asynccontextmanager
    async def serve(role: Role = Role.ALL, **options: Any) -> AsyncIterator[tuple[HsmServer, Path]]:
        with ListeningPlace(place / "hsm.sock") as listening:
            server = HsmServer(hsm, role, **options)
            await server.start(listening.listen())
            try:
                yield server, listening.path
            finally:
                await server.close()

    return serve


# --- answers ----------------------------------------------------------------------------------------------------------


async def test_commands_are_answered_in_order(serving: Serving, make_key: Any, hsm: DirectHsm) -> None:
    key = make_key(KeyUsage.HASHING, KEY)
    async with serving() as (server, path), RawPeer(path) as peer:
        for number in range(100):
            peer.send(number, "keyed_hashes", [(key, bytes([number])), ("nobody", b"")])
        for number in range(100):
            answer = await peer.answer()
            assert answer.number == number
            [tag, error] = answer.results  # type: ignore[misc]
            assert [tag] == await hsm.keyed_hashes([(key, bytes([number]))])
            assert type(error) is KeyNotFound
        assert (server.served.requests, server.served.items) == (100, 200)


async def test_a_slow_command_does_not_hold_up_the_fast_ones(serving: Serving, make_key: Any, hsm: DirectHsm) -> None:
    key = make_key(KeyUsage.HASHING, KEY)
    hsm.store.ensure("serve/rsa", KeyUsage.SIGNING)
    async with serving() as (_, path), RawPeer(path) as peer:
        peer.send(1, "sign", [("serve/rsa", b"data")] * 20)
        peer.send(2, "keyed_hashes", [(key, b"")])
        first, second = await peer.answer(), await peer.answer()
        assert (first.number, second.number) == (2, 1)
        assert second.results == await hsm.sign([("serve/rsa", b"data")] * 20)


@pytest.mark.parametrize(
    ("items", "command"),
    [
        ([1], "macs"),
        ([("too", "short")], "macs"),
        ([("a", "b", "no bytes")], "macs"),
        ([(1, 2, 3)], "macs"),
        ([None], "translate_pins"),
        ([("k", -1, "k", 2**63, b"", "")], "translate_pins"),
        ([("k", b"\xff" * 100)], "sign"),
        ([("k",)], "sign"),
        ([("key", "storage", "owner", 1)], "make_terminal_keys"),
        ([("key", "owner", 7, "cup-ecb", b"", b"")], "verify_terminal_macs"),
        ([()], "import_working_key"),
        ([("a", "b", 1, 2)], "import_working_key"),
        ([("first", "count")], "inventory"),
        ([7], "key_check_value"),
        ([], "no_such_command"),
        ([], "__class__"),
        ([], "generate"),
        ([], "export"),
    ],
)
async def test_items_of_a_wrong_shape_cost_one_answer(serving: Serving, command: str, items: list[Any]) -> None:
    async with serving() as (_, path), RawPeer(path) as peer:
        results = await peer.ask(command, items)
        if isinstance(results, list):
            assert all(isinstance(each, Exception) for each in results)
        else:
            assert type(results) is InvalidCommand
        [(_, pid)] = await peer.ask("ping", [()])
        assert pid == os.getpid()


async def test_a_bug_in_a_command_costs_one_answer(
    serving: Serving, hsm: DirectHsm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(command: str, items: object) -> list[object]:
        raise ZeroDivisionError("6225880000000005")

    monkeypatch.setattr(hsm, "run_now", broken)
    async with serving() as (_, path), RawPeer(path) as peer:
        error = await peer.ask("macs", [])
        assert type(error) is InvalidCommand
        assert (await peer.ask("ping", [()])) == [("all", os.getpid())]
        assert "6225880000000005" not in str(error) + caplog.text
        assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("role", "refused", "run"), [(Role.FAST, "sign", "macs"), (Role.SLOW, "macs", "sign")])
async def test_a_process_runs_what_it_is_for(serving: Serving, role: Role, refused: str, run: str) -> None:
    async with serving(role) as (_, path), RawPeer(path) as peer:
        assert await peer.ask("ping", [()]) == [(role, os.getpid())]
        assert type(await peer.ask(refused, [])) is InvalidCommand
        assert await peer.ask(run, []) == []


# --- garbage ----------------------------------------------------------------------------------------------------------


async def test_a_malformed_request_with_a_number_is_answered(serving: Serving) -> None:
    async with serving() as (server, path), RawPeer(path) as peer:
        peer.send_body(b"\x93\x07\xa4macs\x90\x00")
        answer = await peer.answer()
        assert (answer.number, type(answer.results)) == (7, InvalidCommand)
        assert await peer.ask("ping", [()]) == [("all", os.getpid())]
        assert server.served.refused == 1


@pytest.mark.parametrize("stream", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\0\0\0\0", b"\0\0\0\1\xc1"])
async def test_garbage_ends_that_connection_alone(serving: Serving, stream: bytes) -> None:
    async with serving() as (_, path), RawPeer(path) as other, RawPeer(path) as peer:
        peer.writer.write(stream)
        assert await peer.is_hung_up()
        assert await other.ask("ping", [()]) == [("all", os.getpid())]


async def test_what_came_before_garbage_is_answered(serving: Serving) -> None:
    async with serving() as (_, path), RawPeer(path) as peer:
        peer.send(1, "ping", [()])
        peer.send(2, "macs", [])
        peer.writer.write(b"\xff" * 4)
        assert (await peer.answer()).number in (1, 2)
        assert await peer.is_hung_up()


async def test_a_frame_beyond_the_limit_is_refused_before_it_comes(serving: Serving) -> None:
    limits = ServerLimits(WireLimits(frame_bytes=1000, items=10))
    async with serving(limits=limits) as (_, path), RawPeer(path) as peer, RawPeer(path) as other:
        assert type(await other.ask("macs", [()] * 11)) is InvalidCommand
        peer.writer.write((1001).to_bytes(4))
        assert await peer.is_hung_up()


async def test_a_frame_byte_by_byte(serving: Serving) -> None:
    async with serving() as (_, path), RawPeer(path) as peer:
        for each in peer.codec.request(3, "macs", []):
            peer.writer.write(bytes([each]))
            await asyncio.sleep(0)
        assert (await peer.answer()) == (3, [])


async def test_half_a_frame_and_gone(serving: Serving) -> None:
    async with serving() as (_, path), RawPeer(path) as other:
        async with RawPeer(path) as peer:
            peer.writer.write(peer.codec.request(3, "macs", [])[:-1])
        async with RawPeer(path) as gone:
            gone.send(1, "sign", [("nobody", b"")] * 50)
        assert await other.ask("ping", [()]) == [("all", os.getpid())]


async def test_who_does_not_read_is_not_read_from(serving: Serving, make_key: Any) -> None:
    """Its answers stay bounded; once it reads, it gets every one."""
    key = make_key(KeyUsage.SEALING, KEY)
    limits = ServerLimits(unsent_bytes=10_000)
    async with serving(limits=limits) as (server, path), RawPeer(path) as peer, RawPeer(path) as other:
        frame = peer.codec.request(5, "seal", [(key, bytes(2000), b"")] * 10)
        writing = asyncio.create_task(asyncio.to_thread(_send_all, peer, frame, 400))
        await until(lambda: server.served.requests > 0)
        before = -1
        while before != server.served.requests:
            before = server.served.requests
            await asyncio.sleep(0.2)
        assert server.served.requests < 400
        assert await other.ask("ping", [()]) == [("all", os.getpid())]
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(400):
            assert (await peer.answer()).number == 5
        await writing


def _send_all(peer: RawPeer, frame: bytes, times: int) -> None:
    """Around the event loop, which would read meanwhile."""
    duplicate = peer.writer.get_extra_info("socket").dup()
    duplicate.setblocking(True)
    with duplicate:
        for _ in range(times):
            duplicate.sendall(frame)


# --- who may connect --------------------------------------------------------------------------------------------------


async def test_another_user_is_refused(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(admitted=frozenset({os.getuid() + 1})) as (server, path), RawPeer(path) as peer:
        with contextlib.suppress(ConnectionError):
            peer.send(1, "ping", [()])
        assert await peer.is_hung_up()
        assert server.served.requests == 0
        assert f"user {os.getuid()} was refused" in caplog.text


async def test_connections_are_counted(serving: Serving) -> None:
    async with serving(limits=ServerLimits(connections=3)) as (_, path):
        async with RawPeer(path) as one, RawPeer(path) as two, RawPeer(path) as three:
            for each in (one, two, three):
                assert await each.ask("ping", [()]) == [("all", os.getpid())]
            async with RawPeer(path) as fourth:
                assert await fourth.is_hung_up()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                async with RawPeer(path) as again:
                    with contextlib.suppress(EOFError, ConnectionError):
                        assert await again.ask("ping", [()]) == [("all", os.getpid())]
                        break


async def test_many_clients_at_once(serving: Serving, make_key: Any, hsm: DirectHsm) -> None:
    key = make_key(KeyUsage.HASHING, KEY)
    [expected] = await hsm.keyed_hashes([(key, b"data")])

    async def client(path: Path) -> None:
        async with RawPeer(path) as peer:
            for number in range(20):
                assert await peer.ask("keyed_hashes", [(key, b"data")] * 3, number) == [expected] * 3

    async with serving() as (server, path):
        await asyncio.gather(*(client(path) for _ in range(30)))
        assert server.served.items == 30 * 20 * 3


# --- the place --------------------------------------------------------------------------------------------------------


def test_the_socket_and_its_directory_are_closed_to_others(place: Path) -> None:
    with ListeningPlace(place / "new" / "a.sock") as listening, listening.listen():
        assert stat.S_IMODE((place / "new").stat().st_mode) == 0o700
        assert stat.S_IMODE(listening.path.stat().st_mode) == 0o600
    assert not listening.path.exists()


def test_a_shared_socket_is_open_to_the_group_alone(place: Path) -> None:
    place.chmod(0o750)
    with ListeningPlace(place / "a.sock", shared=True) as listening, listening.listen():
        assert stat.S_IMODE(listening.path.stat().st_mode) == 0o660
    with pytest.raises(SocketRefused, match="0700"), ListeningPlace(place / "a.sock"):
        pass


@pytest.mark.parametrize("mode", [0o770, 0o755, 0o777, 0o701])
def test_an_open_directory_is_refused(place: Path, mode: int) -> None:
    place.chmod(mode)
    for shared in (False, True):
        with pytest.raises(SocketRefused), ListeningPlace(place / "a.sock", shared):
            pass


def test_only_one_serves_at_a_place_and_what_a_dead_one_left_is_removed(place: Path) -> None:
    path = place / "a.sock"
    with ListeningPlace(path) as first, first.listen():
        with pytest.raises(SocketRefused, match="another process serves"), ListeningPlace(path):
            pass
        assert path.exists()
    with ListeningPlace(path) as second:
        second.listen().close()
        with second.listen():  # over the socket nobody listens on any more
            pass


def test_a_file_in_the_place_is_left_alone(place: Path) -> None:
    path = place / "a.sock"
    path.write_text("precious")
    with pytest.raises(SocketRefused, match="no socket"), ListeningPlace(path) as listening:
        listening.listen()
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_is_refused(place: Path) -> None:
    with pytest.raises(SocketRefused, match="longer"), ListeningPlace(place / ("x" * LONGEST_SOCKET_PATH)):
        pass


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_what_is_told_about_keys(serving: Serving, make_key: Any, hsm: DirectHsm) -> None:
    key = make_key(KeyUsage.HASHING, KEY)
    pem = hsm.store.generate_rsa("serve/told") if "serve/told" not in hsm.store else hsm.store.public_key("serve/told")
    async with serving() as (_, path), RawPeer(path) as peer:
        assert await peer.ask("key_check_value", [(key,), ("serve/told",)]) == [
            hsm.key_check_value(key),
            hsm.key_check_value("serve/told"),
        ]
        [error] = await peer.ask("key_check_value", [("nobody",)])
        assert type(error) is KeyNotFound
        [told, error] = await peer.ask("public_key", [("serve/told",), (key,)])
        assert told == pem
        assert type(error) is KeyUsageError
        [page, rest] = await peer.ask("inventory", [(0, 2), (2, 1000)])
        assert [each[0] for each in (*page, *rest)] == [each.label for each in hsm.store.inventory()]


# --- a process of its own ---------------------------------------------------------------------------------------------


class Process:
    """`python -m hsm.serve` on a token directory of its own."""

    def __init__(self, directory: Path, socket: Path, *arguments: str) -> None:
        self.socket = socket
        command = [sys.executable, "-m", "hsm.serve", "--directory", str(directory), "--socket", str(socket)]
        self._process = subprocess.Popen(
            [*command, "--ready-fd", "1", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.ready = self._process.stdout.readline() == b"ready\n"
        self.pid = self._process.pid

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close_stdin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.stdin = None

    def ended(self) -> tuple[int, str]:
        """Exit code and log."""
        _, log = self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode, log.decode()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def create_token_elsewhere(directory: Path) -> Path:
    program = "import sys\nfrom hsm.token import create_token\ncreate_token(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(directory)], check=True)
    return directory


@pytest.fixture(scope="module")
def other_token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not the one this process has open."""
    return create_token_elsewhere(tmp_path_factory.mktemp("serve") / "token")


@pytest.fixture
def process(other_token: Path, place: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(*arguments: str, directory: Path = other_token) -> Process:
        started.append(Process(directory, place / f"{len(started)}.sock", *arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()


def keys_made_elsewhere(directory: Path, statement: str) -> None:
    """By a process of its own: this one has another token open."""
    program = (
        "import sys\nfrom hsm.keys import KeyStore, KeyUsage\nfrom hsm.token import open_token\n"
        f"with open_token(sys.argv[1]) as token:\n    store = KeyStore(token)\n    {statement}\n"
    )
    subprocess.run([sys.executable, "-c", program, str(directory)], check=True)


async def test_sigterm_answers_what_runs_and_removes_the_socket(
    process: Callable[..., Process], other_token: Path
) -> None:
    keys_made_elsewhere(other_token, "store.ensure('sigterm/rsa', KeyUsage.SIGNING)")
    served = process()
    async with RawPeer(served.socket) as peer:
        peer.send(1, "sign", [("sigterm/rsa", b"data")] * 200)
        await peer.ask("ping", [()], 2)
        served.signal(signal.SIGTERM)
        answer = await peer.answer()
        assert answer.number == 1
        assert all(isinstance(each, bytes) for each in answer.results)  # type: ignore[union-attr]
        assert await peer.is_hung_up()
    code, log = served.ended()
    assert (code, served.socket.exists()) == (0, False)
    assert "ends: 2 requests" in log


async def test_keys_stored_elsewhere_are_seen(process: Callable[..., Process], other_token: Path) -> None:
    served = process()

    async def knows(peer: RawPeer, label: str) -> bool:
        [found] = await peer.ask("key_check_value", [(label,)])
        return isinstance(found, str)

    async with RawPeer(served.socket) as peer:
        keys_made_elsewhere(other_token, "store.ensure('seen/reload', KeyUsage.HASHING)")
        assert await peer.ask("reload", []) == []
        assert await knows(peer, "seen/reload")
        keys_made_elsewhere(other_token, "store.ensure('seen/sighup', KeyUsage.HASHING)")
        served.signal(signal.SIGHUP)
        await until(lambda: knows(peer, "seen/sighup"))
        keys_made_elsewhere(other_token, "store.ensure('seen/file', KeyUsage.MAC_KEY)")
        await until(lambda: knows(peer, "seen/file"))


async def test_a_broken_file_of_keys_leaves_those_in_use(process: Callable[..., Process], tmp_path: Path) -> None:
    directory = create_token_elsewhere(tmp_path / "token")
    served = process(directory=directory)
    async with RawPeer(served.socket) as peer:
        before = await peer.ask("inventory", [(0, 100)])
        (directory / "keys.json").write_text("{")
        error = await peer.ask("reload", [])
        assert type(error) is HsmUnavailable
        assert await peer.ask("inventory", [(0, 100)]) == before
    served.signal(signal.SIGTERM)
    assert served.ended()[0] == 0


async def test_no_connection_gets_the_number_of_a_standard_descriptor(process: Callable[..., Process]) -> None:
    """It would never be closed, and be sent what is printed."""
    served = process("--ready-fd", "1")
    async with RawPeer(served.socket) as peer:
        assert await peer.ask("ping", [()]) == [("all", served.pid)]
        peer.writer.write(b"\xff" * 8)
        assert await peer.is_hung_up()


async def test_a_process_hangs_up_on_whom_it_refuses(process: Callable[..., Process]) -> None:
    """On its own event loop, which is not the one of these tests."""
    served = process("--connections", "1")
    async with RawPeer(served.socket) as admitted:
        assert await admitted.ask("ping", [()]) == [("all", served.pid)]
        for _ in range(3):
            async with RawPeer(served.socket) as refused:
                assert await refused.is_hung_up()
        assert await admitted.ask("ping", [()]) == [("all", served.pid)]


async def test_a_process_closes_on_garbage_and_serves_on(process: Callable[..., Process]) -> None:
    served = process()
    for stream in (b"\xff" * 8, b"\0\0\0\1\xc1", b"\0\0\0\0"):
        async with RawPeer(served.socket) as peer:
            peer.writer.write(stream)
            assert await peer.is_hung_up()
    async with RawPeer(served.socket) as peer:
        assert await peer.ask("ping", [()]) == [("all", served.pid)]


async def test_a_process_with_a_parent_ends_with_it(process: Callable[..., Process]) -> None:
    served = process("--with-parent")
    async with RawPeer(served.socket) as peer:
        assert await peer.ask("ping", [()]) == [("all", served.pid)]
        served.close_stdin()
        assert await peer.is_hung_up()
    assert served.ended()[0] == 0


def test_no_token_no_process(process: Callable[..., Process], tmp_path: Path) -> None:
    served = process(directory=tmp_path)
    assert not served.ready
    code, log = served.ended()
    assert code == 1
    assert "there is no token" in log


def test_a_refused_pin_has_an_exit_code_of_its_own(process: Callable[..., Process], tmp_path: Path) -> None:
    directory = create_token_elsewhere(tmp_path / "token")
    (directory / "user-pin").write_text("0" * 32 + "\n")
    served = process(directory=directory)
    assert not served.ready
    assert served.ended()[0] == 3


@pytest.mark.skipif(sys.platform != "linux", reason="these protections are Linux's")
def test_the_process_is_hardened() -> None:
    program = (
        "import ctypes, os\nfrom hsm import hardening\nhardening.harden()\n"
        "libc = ctypes.CDLL(None)\n"
        "limits = [each.split()[4:6] for each in open('/proc/self/limits') if each.startswith('Max core')]\n"
        "print(libc.prctl(3, 0, 0, 0, 0), int(open('/proc/self/coredump_filter').read(), 16), limits)\n"
        "print(oct(os.umask(0)), 'PAYSWITCH_POSTGRES_URL' in os.environ, 'PATH' in os.environ)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PAYSWITCH_POSTGRES_URL": "postgresql://secret"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["0 0 [['0', '0']]", "0o77 False True"]
