"""Real HSM processes: started, killed, hung, started again, and never more of them than there should be."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from raw_peer import until

from hsm.errors import HsmUnavailable
from hsm.link import LinkLimits
from hsm.processes import HsmProcesses, ProcessLimits
from hsm.remote import RemoteHsm, RemoteLimits
from hsm.token import write_atomically

QUICK = ProcessLimits(first_pause_s=0.01, longest_pause_s=0.05)
ITEM = ("journal/hash", b"data")


def made_elsewhere(directory: Path) -> Path:
    """By a process of its own: other tests keep a token open in this one."""
    program = (
        "import sys\nfrom hsm.keys import KeyStore, KeyUsage\nfrom hsm.token import create_token, open_token\n"
        "create_token(sys.argv[1])\n"
        "with open_token(sys.argv[1]) as token:\n"
        "    store = KeyStore(token)\n"
        "    store.ensure('journal/hash', KeyUsage.HASHING)\n"
        "    store.ensure('rsa', KeyUsage.SIGNING)\n"
        "    store.import_components('mmk', KeyUsage.KEY_TRANSPORT, [bytes(range(16)), bytes(16)])\n"
    )
    subprocess.run([sys.executable, "-c", program, str(directory)], check=True)
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_elsewhere(tmp_path_factory.mktemp("processes") / "token")


@pytest.fixture
def restarts() -> list[str]:
    return []


@pytest.fixture
async def processes(directory: Path, restarts: list[str]) -> AsyncIterator[HsmProcesses]:
    processes = HsmProcesses(directory, fast=2, signing=1, limits=QUICK, restarted=restarts.append)
    try:
        await processes.start()
        yield processes
    finally:
        await processes.close()


@pytest.fixture
async def remote(processes: HsmProcesses) -> AsyncIterator[RemoteHsm]:
    remote = RemoteHsm(processes.sockets, RemoteLimits(LinkLimits(time_limit_s=10)))
    await remote.start()
    yield remote
    await remote.close()


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_they_serve_and_leave_nothing_behind(directory: Path) -> None:
    processes = HsmProcesses(directory, fast=1, signing=1)
    await processes.start()
    pids, place = processes.pids, processes.sockets[0].parent
    try:
        assert sorted(pids) == ["fast-0", "signing-0"]
        remote = RemoteHsm(processes.sockets)
        await remote.start()
        [tag] = await remote.keyed_hashes([ITEM])
        [signature] = await remote.sign([("rsa", b"data")])
        assert (len(tag), len(signature)) == (32, 256)  # type: ignore[arg-type]
        await remote.close()
    finally:
        await processes.close()
    assert not any(map(runs, pids.values()))
    assert not place.exists()
    assert processes.pids == {}


async def test_a_key_stored_through_one_is_used_by_all(remote: RemoteHsm) -> None:
    for value in range(3):
        wrapped = bytes([value]) * 16
        pending = await remote.import_working_key("mak", "MAC_KEY", "mmk", wrapped)
        assert [await remote.key_check_value("mak?pending") for _ in range(4)] == [pending] * 4
        await remote.activate_working_key("mak")
        assert [await remote.key_check_value("mak") for _ in range(4)] == [pending] * 4
        macs = [await remote.macs([("mak", "cup-financial", b"data")]) for _ in range(4)]
        assert macs == [macs[0]] * 4


async def test_a_killed_one_is_started_again_and_its_commands_go_elsewhere(
    processes: HsmProcesses, remote: RemoteHsm, restarts: list[str]
) -> None:
    pid = processes.pids["fast-0"]
    os.kill(pid, signal.SIGKILL)
    failed = 0
    async with asyncio.timeout(20):
        while processes.pids.get("fast-0") in (None, pid) or not all(each.ready for each in remote.links):
            try:
                [tag] = await remote.keyed_hashes([ITEM])
                assert isinstance(tag, bytes)
            except HsmUnavailable:
                failed += 1
            await asyncio.sleep(0.005)
    assert failed <= 1  # what was sent into its last moment
    assert restarts == ["fast-0"]
    assert len(await remote.keyed_hashes([ITEM])) == 1


async def test_a_sigterm_for_the_group_leaves_them_to_who_started_them(
    processes: HsmProcesses, remote: RemoteHsm
) -> None:
    before = processes.pids
    for pid in before.values():
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    for _ in range(20):
        assert len(await remote.keyed_hashes([ITEM])) == 1
        await asyncio.sleep(0.01)
    assert processes.pids == before


async def test_all_killed_under_load_every_command_ends_at_once_and_all_come_back(
    processes: HsmProcesses, remote: RemoteHsm
) -> None:
    ends: list[float] = []

    async def ask_on() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(200):
            began_s = loop.time()
            try:
                await remote.keyed_hashes([ITEM] * 32)
            except HsmUnavailable:
                ends.append(loop.time() - began_s)
                return

    asking = [asyncio.create_task(ask_on()) for _ in range(8)]
    await until(lambda: all(each.outstanding_items > 0 for each in remote.links[:2]))
    for pid in processes.pids.values():
        os.kill(pid, signal.SIGKILL)
    await asyncio.gather(*asking)
    assert len(ends) == 8
    assert max(ends) < 5  # half of the time limit
    await until(lambda: all(each.ready for each in remote.links))
    assert len(await remote.keyed_hashes([ITEM])) == 1


async def test_one_that_hangs_is_left_and_taken_back(processes: HsmProcesses) -> None:
    remote = RemoteHsm(processes.sockets, RemoteLimits(LinkLimits(time_limit_s=0.3)))
    await remote.start()
    pid = processes.pids["fast-0"]
    os.kill(pid, signal.SIGSTOP)
    try:
        await until(lambda: _is_left(remote))
        # From now on nobody waits for it.
        for _ in range(20):
            assert len(await remote.keyed_hashes([ITEM])) == 1
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: all(each.ready for each in remote.links))
    assert processes.pids["fast-0"] == pid
    await remote.close()


async def _is_left(remote: RemoteHsm) -> bool:
    try:
        await remote.keyed_hashes([ITEM])
    except HsmUnavailable:
        return not remote.links[0].ready
    return False


async def test_one_that_keeps_dying_is_reported(directory: Path, tmp_path: Path, restarts: list[str]) -> None:
    moved = tmp_path / "token"
    made_elsewhere(moved)
    processes = HsmProcesses(moved, fast=1, signing=1, limits=QUICK, restarted=restarts.append)
    try:
        await processes.start()
        assert processes.report == ""
        whole = (moved / "keys.json").read_bytes()
        (moved / "keys.json").write_text("{")
        os.kill(processes.pids["fast-0"], signal.SIGKILL)
        await until(lambda: "fast-0 ended 3 times in a row (exit code 1)" in processes.report)
        assert "signing-0" not in processes.report
        write_atomically(moved / "keys.json", whole)
        await until(lambda: "fast-0" in processes.pids and len(restarts) >= 3)
    finally:
        await processes.close()


async def test_a_refused_pin_is_not_tried_again(tmp_path: Path, restarts: list[str]) -> None:
    """Each try counts against the PIN of a hardware module."""
    directory = made_elsewhere(tmp_path / "token")
    processes = HsmProcesses(directory, fast=1, signing=1, limits=QUICK, restarted=restarts.append)
    try:
        await processes.start()
        (directory / "user-pin").write_text("0" * 32 + "\n")
        os.kill(processes.pids["fast-0"], signal.SIGKILL)
        await until(lambda: "refuses its PIN" in processes.report)
        tries = len(restarts)
        await asyncio.sleep(0.2)
        assert (len(restarts), tries) == (1, 1)
    finally:
        await processes.close()


async def test_without_a_token_the_start_fails_and_says_which(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    processes = HsmProcesses(tmp_path, fast=1, signing=1)
    with pytest.raises(HsmUnavailable, match="fast-0 did not start \\(exit code 1\\)"):
        await processes.start()
    await processes.close()
    assert ("hsm", logging.ERROR, f"fast-0: there is no token in {tmp_path}; create it first") in caplog.record_tuples


def test_they_end_with_the_process_that_started_them(directory: Path) -> None:
    """SIGKILL leaves that one no time to stop anything."""
    program = (
        "import asyncio, json, os, signal, sys\nfrom pathlib import Path\nfrom hsm.processes import HsmProcesses\n"
        "async def main():\n"
        "    processes = HsmProcesses(Path(sys.argv[1]))\n"
        "    await processes.start()\n"
        "    print(json.dumps([str(processes.sockets[0].parent), *processes.pids.values()]), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE, timeout=30)
    assert done.returncode == -signal.SIGKILL
    place, *pids = json.loads(done.stdout)
    assert len(pids) == 2

    async def gone() -> None:
        await until(lambda: not any(map(_lives, pids)))
        await until(lambda: not os.path.exists(place))

    asyncio.run(gone())


def _lives(pid: int) -> bool:
    """A zombie, which nobody in a container may collect, does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return runs(pid)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")
async def test_the_environment_is_not_passed_on(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", "postgresql://switch:hunter2@db")
    processes = HsmProcesses(directory, fast=1, signing=1)
    try:
        await processes.start()
        environment = _environment_of(processes.pids["fast-0"])
        # None: not even the same user may read it, which is what PR_SET_DUMPABLE is for.
        assert environment is None or (b"PAYSWITCH_POSTGRES_URL" not in environment and b"PATH=" in environment)
    finally:
        await processes.close()


def _environment_of(pid: int) -> bytes | None:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        return None
