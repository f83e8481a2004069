import asyncio
import os
import signal
import subprocess
import sys

from switch.ops.lifecycle import EXIT_CLEAN, EXIT_FAILED, Action, Lifecycle

EXAMPLE = """
import asyncio
from switch.ops import logs
from switch.ops.lifecycle import Lifecycle

logs.configure()

async def main() -> int:
    lifecycle = Lifecycle(grace_s={grace_s})
    lifecycle.install_signals()
    lifecycle.on_close("print", lambda: asyncio.sleep(0, print("closed", flush=True)))
    print("up", flush=True)
    return await lifecycle.run()

raise SystemExit(asyncio.run(main()))
"""


def noting(into: list[str], name: str, delay_s: float = 0.0) -> Action:
    async def action() -> None:
        await asyncio.sleep(delay_s)
        into.append(name)

    return action


async def failing() -> None:
    raise RuntimeError("cannot close")


async def test_the_steps_run_in_order() -> None:
    steps: list[str] = []
    lifecycle = Lifecycle(grace_s=0.05)
    lifecycle.on_close("store", noting(steps, "store"))
    lifecycle.on_close("channels", noting(steps, "channels"))
    lifecycle.on_finish("accepting", noting(steps, "accepting"), timeout_s=1)
    lifecycle.on_finish("in flight", noting(steps, "in flight"), timeout_s=1)
    lifecycle.on_announce("health", noting(steps, "health"))
    running = asyncio.create_task(lifecycle.run())
    await asyncio.sleep(0.01)
    assert not lifecycle.stopping
    lifecycle.stop("test")
    assert lifecycle.stopping
    await asyncio.sleep(0.02)
    assert steps == ["health"]  # the grace runs
    assert await running == EXIT_CLEAN
    assert steps == ["health", "accepting", "in flight", "channels", "store"]


async def test_a_step_that_fails_or_hangs_does_not_keep_the_others() -> None:
    steps: list[str] = []
    lifecycle = Lifecycle(grace_s=0)
    lifecycle.on_close("store", noting(steps, "store"))
    lifecycle.on_close("broken", failing)
    lifecycle.on_finish("stuck", noting(steps, "stuck", delay_s=60), timeout_s=0.02)
    lifecycle.stop("test")
    assert await lifecycle.run() == EXIT_FAILED
    assert steps == ["store"]


async def test_a_second_signal_skips_the_waiting_but_not_the_closing() -> None:
    steps: list[str] = []
    lifecycle = Lifecycle(grace_s=60)
    lifecycle.on_finish("in flight", noting(steps, "in flight", delay_s=60), timeout_s=60)
    lifecycle.on_close("store", noting(steps, "store"))
    lifecycle.stop("first")
    lifecycle.stop("second")
    async with asyncio.timeout(30):
        await lifecycle.run()
    assert steps == ["store"]


async def test_a_failure_is_in_the_exit_code() -> None:
    lifecycle = Lifecycle(grace_s=0)
    lifecycle.fail("the lease was lost")
    assert await lifecycle.run() == EXIT_FAILED


def run_and_signal(grace_s: float, *signals: signal.Signals) -> tuple[int, str]:
    command = [sys.executable, "-c", EXAMPLE.format(grace_s=grace_s)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        for each in signals:
            process.send_signal(each)
        output, _ = process.communicate(timeout=20)
    return process.returncode, output.decode()


def test_sigterm_drains() -> None:
    assert run_and_signal(0, signal.SIGTERM) == (0, "closed\n")


def test_sigterm_and_an_impatient_sigint() -> None:
    assert run_and_signal(60, signal.SIGTERM, signal.SIGINT) == (0, "closed\n")
