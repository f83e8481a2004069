"""The wiring of the HSM: in the switch's own process, in processes it starts, or in processes that run already."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from hsm.direct import DirectHsm
from hsm.errors import HsmError
from hsm.key_watch import KeyWatch
from hsm.link import LinkLimits
from hsm.processes import HsmProcesses
from hsm.remote import RemoteHsm, RemoteLimits
from hsm.roles import Role
from switch.config import Settings
from switch.ops import metrics
from switch.ops.checks import NotReady
from switch.ops.lifecycle import Lifecycle
from switch.ports import Hsm

_HASH_KEY = "journal/hash"
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class HsmAccess:
    """key_check_value: of a label; raises HsmError. probe: for readiness; a line for an operator, or NotReady."""

    hsm: Hsm
    key_check_value: Callable[[str], Awaitable[str]]
    probe: Callable[[], Awaitable[str]]


async def open_hsm(settings: Settings, lifecycle: Lifecycle) -> HsmAccess:
    """As the settings say; closed with the lifecycle. Raises HsmUnavailable."""
    if settings.hsm_in_processes:
        return await _open_remote(settings, lifecycle)
    return _open_direct(settings, lifecycle)


def _open_direct(settings: Settings, lifecycle: Lifecycle) -> HsmAccess:
    hsm = DirectHsm.open(settings.token_dir, module_path=settings.hsm.module or None)

    watch = asyncio.create_task(KeyWatch(hsm.store).watch(), name="key watch")

    async def close() -> None:
        watch.cancel()
        await asyncio.wait([watch])
        hsm.close()

    async def key_check_value(label: str) -> str:
        return hsm.key_check_value(label)

    async def probe() -> str:
        await _answers(hsm)
        return "answers"

    lifecycle.on_close("hsm", close)
    return HsmAccess(hsm, key_check_value, probe)


async def _open_remote(settings: Settings, lifecycle: Lifecycle) -> HsmAccess:
    processes: HsmProcesses | None = None
    if settings.hsm.sockets:
        sockets = [Path(each) for each in settings.hsm.sockets]
    else:
        processes = HsmProcesses(
            settings.token_dir,
            settings.hsm.module,
            fast=settings.hsm.processes,
            signing=settings.hsm.signing_processes,
            restarted=lambda name: metrics.HSM_RESTARTS.labels(name).inc(),
        )
        lifecycle.on_close("hsm processes", processes.close, timeout_s=_STOP_S)
        await processes.start()
        sockets = processes.sockets
    limits = RemoteLimits(LinkLimits(time_limit_s=settings.hsm.request_time_limit_ms / 1000))
    hsm = RemoteHsm(sockets, limits, failed=lambda reason: metrics.HSM_FAILURES.labels(reason).inc())
    lifecycle.on_close("hsm", hsm.close)
    await hsm.start()
    for link in hsm.links:
        metrics.HSM_OUTSTANDING.follow(link.name, reading=lambda link=link: link.outstanding_items)  # type: ignore[misc]
        metrics.HSM_CONNECTED.follow(link.name, reading=lambda link=link: float(link.ready))  # type: ignore[misc]

    async def probe() -> str:
        report = f"; {processes.report}" if processes is not None and processes.report else ""
        try:
            await _answers(hsm)
        except (HsmError, NotReady) as error:
            raise NotReady(f"{error or type(error).__name__}{report}") from None
        return _connected(hsm) + report

    return HsmAccess(hsm, hsm.key_check_value, probe)


async def _answers(hsm: Hsm) -> None:
    [tag] = await hsm.keyed_hashes([(_HASH_KEY, b"readiness")])
    if isinstance(tag, Exception):
        raise NotReady(type(tag).__name__)


def _connected(hsm: RemoteHsm) -> str:
    """A signing process that is away stops the wallets, not the cards: it is shown, and the switch works on."""
    signing = [each for each in hsm.links if each.role is not Role.FAST]
    ready, signs = sum(each.ready for each in hsm.links), sum(each.ready for each in signing)
    return f"{ready} of {len(hsm.links)} processes connected, {signs} of them sign"
