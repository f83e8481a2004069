"""`payswitch bench` without a target: start everything on this machine, then load it from a process of its own."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from switch import config
from switch.demo.environment import Environment
from switch.demo.secrets import ACQUIRER
from switch.ops import logs
from switch.pki import Authority

# Ten thousand cards are used in turn, so a minute of load is hundreds of payments by each of them.
# The road alone: what follows its journal runs in processes of its own where there is load (docs/platform.md).
_OVERRIDES = {
    "PAYSWITCH_RISK__VELOCITY_LIMIT_PER_MINUTE": "0",
    "PAYSWITCH_OPERATIONS__LOG_LEVEL": "warning",
    "PAYSWITCH_SERVICES": '["authorization","operations"]',
}


_SILENT = "--silent"
_BUDGET_MS = 200


def main(arguments: Sequence[str]) -> int:
    """The load generator's exit code. arguments: its own, after the ones that name this environment.

    With --silent the network books every sale and answers none: no answer is an approval then, and the exit code says
    whether all of them came within 200 ms.
    """
    logs.configure("warning")
    own = [each for each in arguments if each != _SILENT]
    return asyncio.run(_bench(own, is_silent=_SILENT in arguments))


async def _bench(arguments: Sequence[str], is_silent: bool) -> int:
    settings = config.load()
    output = Path("benchmarks") / "results" / time.strftime("%Y%m%d-%H%M%S")
    async with Environment(settings.state_dir / "bench", _OVERRIDES) as environment:
        if is_silent:
            await environment.scenario("unionpay", behaviour="silent")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.load", *_named(environment), "--output", str(output), *arguments
        )
        code = await process.wait()
    return _judge_silence(output / "load.json") if is_silent else code


def _judge_silence(report: Path) -> int:
    """Every answer of every step within the budget, counted from when it was due."""
    longest_ms = max(step["latency_ms"]["max"] for step in json.loads(report.read_text())["steps"])
    print(f"the channel was silent: the longest answer took {longest_ms:.0f} ms of {_BUDGET_MS}")
    return 0 if longest_ms <= _BUDGET_MS else 1


def _named(environment: Environment) -> list[str]:
    authority = Authority(environment.state_dir / "pki")
    certificate, own, server = (
        authority.ensure(),
        authority.participant("acquirer", ACQUIRER),
        authority.server(),
    )
    folder = environment.state_dir
    servers = {"postgres": _pid_in(folder / "postgres", "postmaster.pid"), "redis": _pid_in(folder / "redis", "*.pid")}
    pids = {**environment.pids, **servers}
    return [
        "--target", environment.target,
        "--ca", str(certificate), "--certificate", str(own.certificate), "--key", str(own.private_key),
        "--server-ca", str(certificate), "--server-certificate", str(server.certificate),
        "--server-key", str(server.private_key),
        "--metrics", f"{environment.operations_url}/metrics",
        "--pids", ",".join(f"{name}={pid}" for name, pid in pids.items()),
    ]  # fmt: skip


def _pid_in(folder: Path, pattern: str) -> int:
    """From the pid file that an embedded server keeps."""
    return int(next(folder.rglob(pattern)).read_text().split()[0])
