"""`payswitch simulators` as a stranger starts it: a process, a folder, and the file of --client-config."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

PORTS = ("unionpay", "alipay", "wechat", "alipay-https", "wechat-https", "control")
_START_LIMIT_S = 60.0
_PATIENCE_S = 30.0


def free_ports(**fixed: int) -> list[str]:
    """Options that take a free port for everything but `fixed` (with _ for -)."""
    chosen = dict.fromkeys(PORTS, 0) | {name.replace("_", "-"): port for name, port in fixed.items()}
    return [part for name, port in chosen.items() for part in (f"--{name}-port", str(port))]


class Alone:
    """Started on construction, with standard input from /dev/null; `config` waits until the file is there.

    options: in place of `free_ports()`. environment: settings, as variables.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        stdin: int = subprocess.DEVNULL,
        state: str = "state",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._file, self._log = folder, folder / "client.json", folder / "log"
        command = [sys.executable, "-m", "switch.cli", "simulators", "--state-dir", str(folder / state)]
        command += ["--client-config", str(self._file), *(options or free_ports())]
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PAYSWITCH_")}
        variables["PAYSWITCH_LISTEN"] = "127.0.0.1:9"  # no switch is there
        variables.update(environment or {})
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=stdin, stdout=subprocess.PIPE, stderr=log, env=variables, text=True
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def config(self) -> dict[str, Any]:
        until_s = time.monotonic() + _START_LIMIT_S
        while not self._file.exists():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < until_s, self.log
            time.sleep(0.02)
        assert self._file.stat().st_mode & 0o777 == 0o600
        content: dict[str, Any] = json.loads(self._file.read_text())
        return content

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """The exit code and what it had said on standard output."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=30)
        return self.process.returncode, said


class Control:
    """The control endpoint, as curl would use it."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session

    async def ask(self, method: str, path: str, content: Any = None, data: bytes | None = None) -> tuple[int, Any]:
        """Status and content; None for an empty one."""
        body = json.dumps(content).encode() if data is None and content is not None else data
        async with self._session.request(method, self._url + path, data=body) as response:
            text = await response.read()
            return response.status, json.loads(text) if text else None

    async def get(self, path: str) -> Any:
        status, content = await self.ask("GET", path)
        assert status == 200, content
        return content

    async def booked(self, name: str, **having: Any) -> list[dict[str, Any]]:
        """Entries of a book with these values."""
        wanted = having.items()
        return [each for each in await self.get(f"/{name}/book") if wanted <= each.items()]


async def until(wanted: Any, look: Callable[[], Awaitable[Any]]) -> None:
    """Look again and again until that is what is seen."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + _PATIENCE_S
    while (seen := await look()) != wanted:
        assert loop.time() < until_s, seen
        await asyncio.sleep(0.1)
