"""The switch finds its HSM where the settings say it is."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from raw_peer import until

from hsm.direct import DirectHsm
from hsm.errors import HsmUnavailable
from hsm.processes import HsmProcesses
from switch.config import load
from switch.ops.checks import NotReady
from switch.ops.lifecycle import Lifecycle
from switch.wiring.hsm import open_hsm

PROGRAM = (
    "import sys\nfrom hsm.keys import KeyStore, KeyUsage\nfrom hsm.token import create_token, open_token\n"
    "create_token(sys.argv[1])\n"
    "with open_token(sys.argv[1]) as token:\n    KeyStore(token).ensure('journal/hash', KeyUsage.HASHING)\n"
)


@pytest.fixture
def state_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="payswitch-tests-") as path:
        subprocess.run([sys.executable, "-c", PROGRAM, f"{path}/tokens"], check=True)
        yield Path(path)


async def ended(lifecycle: Lifecycle) -> int:
    lifecycle.stop("tested")
    return await lifecycle.run()


async def test_direct(state_dir: Path) -> None:
    lifecycle = Lifecycle(grace_s=0)
    access = await open_hsm(load(state_dir=state_dir), lifecycle)
    try:
        assert isinstance(access.hsm, DirectHsm)
        assert await access.probe() == "answers"
        assert len(await access.key_check_value("journal/hash")) == 6
    finally:
        assert await ended(lifecycle) == 0


async def test_processes_that_somebody_else_runs(state_dir: Path) -> None:
    """They may come and go; the switch neither starts nor stops them."""
    others = HsmProcesses(state_dir / "tokens")
    lifecycle = Lifecycle(grace_s=0)
    try:
        await others.start()
        settings = load(state_dir=state_dir, hsm={"sockets": [str(each) for each in others.sockets]})
        access = await open_hsm(settings, lifecycle)
        assert await access.probe() == "2 of 2 processes connected, 1 of them sign"
        assert len(await access.key_check_value("journal/hash")) == 6
        pids = others.pids
        await others.close()
        with pytest.raises(NotReady, match="no HSM process"):
            await access.probe()
        with pytest.raises(HsmUnavailable):
            await access.key_check_value("journal/hash")
        assert pids != {}
        assert others.pids == {}
        await others.start()

        async def is_back() -> bool:
            try:
                return await access.probe() == "2 of 2 processes connected, 1 of them sign"
            except NotReady:
                return False

        await until(is_back)
        assert await ended(lifecycle) == 0
        assert len(others.pids) == 2
    finally:
        await others.close()
