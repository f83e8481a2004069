"""`payswitch simulators`: alone, until a signal comes; or as the demo's child, until its parent is gone."""

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvloop
from aiohttp import web

from hsm.errors import HsmUnavailable
from hsm.token import file_lock
from switch.config import Settings
from switch.demo.processes import say_ready, until_stdin_closes
from switch.demo.secrets import SharedKeys, provide, without_token
from switch.demo.simulators import client_config
from switch.demo.simulators.addresses import Ports, ports_of, url
from switch.demo.simulators.building import Plan, SameIdentity, publish
from switch.demo.simulators.control import control_app
from switch.demo.simulators.identity import INSTITUTION_ID, Identity, IdentityError
from switch.demo.simulators.town import CannotListen, Town, reason
from switch.ops import logs
from switch.pki import Authority, PkiError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Options:
    """client_config: where to write what an independent client needs. announce: somebody's child, see `say_ready`.

    documented_pauses: see `Plan`.
    """

    host: str
    ports: Ports
    client_config: Path | None = None
    announce: bool = False
    documented_pauses: bool = False


def main(settings: Settings, given_ports: dict[str, int | None], host: str, **options: Any) -> int:
    """The exit code: 0 after SIGTERM, SIGINT or the parent's end, 1 if they could not start. options: of `Options`."""
    logs.configure(settings.operations.log_level)
    try:
        return uvloop.run(_run(settings, Options(host, ports_of(settings, **given_ports), **options)))
    except (CannotListen, SameIdentity, IdentityError, PkiError) as error:
        print(f"payswitch: {error}", file=sys.stderr)
    except OSError as error:  # a folder or file that cannot be written
        print(f"payswitch: {error}", file=sys.stderr)
    return 1


async def _run(settings: Settings, options: Options) -> int:
    ended = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, ended.set)
    if options.client_config is not None:
        # Whoever waits for it must not find that of an earlier run.
        options.client_config.unlink(missing_ok=True)
        options.client_config.parent.mkdir(parents=True, exist_ok=True)
    town, client = await asyncio.to_thread(_prepare, settings, options)
    runner = web.AppRunner(control_app(town), access_log=None, handle_signals=False, shutdown_timeout=1.0)
    try:
        await town.start()
        port = await _start_control(runner, options)
        control_url = url("http", options.host, port)
        _forget_garbage(options)
        with _told_to_clients(settings, options, town, client, control_url):
            _say(settings, options, town, control_url)
            await _until(ended, options)
    finally:
        await runner.cleanup()
        await town.close()
    return 0


def _prepare(settings: Settings, options: Options) -> tuple[Town, Identity]:
    """Keys, certificates and the simulators, made. One process of a folder at a time: it may be the first of them."""
    folder = settings.state_dir / "simulators"
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    with file_lock(folder / ".lock"):
        client, keys = Identity(folder / "client"), _keys(settings)
        plan = Plan(
            settings,
            keys,
            client,
            options.host,
            options.ports,
            documented_pauses=options.documented_pauses,
            in_haste=options.announce,
        )
        town = plan.build()
        publish(settings, keys, town)
    return town, client


def _keys(settings: Settings) -> SharedKeys:
    try:
        return provide(settings.state_dir, settings.token_dir)
    except HsmUnavailable as error:
        log.warning("simulators_without_token", why=str(error), effect="the wallets know the independent client only")
        return without_token(settings.state_dir)


async def _start_control(runner: web.AppRunner, options: Options) -> int:
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.ports.control).start()
    except OSError as error:
        raise CannotListen(f"the control endpoint cannot listen: {reason(error)}") from error
    port: int = runner.addresses[0][1]
    return port


def _forget_garbage(options: Options) -> None:
    """What is there now lives as long as the process: the collector need not look through 10,000 cards each time."""
    gc.collect()
    gc.freeze()
    if options.announce:
        # Under load tests the books grow for ever and hold no cycles: looking through them would stop the world.
        gc.disable()


@contextlib.contextmanager
def _told_to_clients(
    settings: Settings, options: Options, town: Town, client: Identity, control_url: str
) -> Iterator[None]:
    """The file of --client-config is there as long as they answer."""
    if options.client_config is None:
        yield
        return
    authority = Authority(settings.state_dir / "pki").certificate
    # Several may run in one folder, and certificates are new at each start.
    platforms = client.folder / f"at-{control_url.rpartition(':')[2]}"
    content = client_config.content(town, client, options.host, control_url, authority, platforms)
    client_config.write(options.client_config, content)
    try:
        yield
    finally:
        client_config.take_back(options.client_config, content)
        shutil.rmtree(platforms, ignore_errors=True)


def _say(settings: Settings, options: Options, town: Town, control_url: str) -> None:
    try:
        if options.announce:
            say_ready(control=control_url)
        else:
            print(_summary(settings, options, town, control_url), flush=True)
    except BrokenPipeError:
        # Nobody reads: that is no reason to end, now or when Python flushes the rest at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _summary(settings: Settings, options: Options, town: Town, control_url: str) -> str:
    host, alipay, wechat = options.host, town.alipay, town.wechat
    lines = [
        f"UnionPay     {url('tcp', host, town.unionpay.port)}   member {INSTITUTION_ID}",
        f"Alipay       {url('http', host, alipay.port, '/gateway.do')}   "
        f"{url('https', host, alipay.tls_port, '/gateway.do')}",
        f"WeChat Pay   {url('http', host, wechat.port)}   {url('https', host, wechat.tls_port)}",
        f"issuer       dials {settings.listen} when a switch is there",
        f"control      {control_url}   (GET / lists what it does)",
    ]
    if options.client_config is not None:
        lines.append(f"client       {options.client_config}")
    return "\n".join(["the simulators listen:", *(f"  {each}" for each in lines), "ready; Ctrl-C ends them"])


async def _until(ended: asyncio.Event, options: Options) -> None:
    if not options.announce:
        await ended.wait()
        return
    watch = asyncio.create_task(until_stdin_closes(), name="parent")
    watch.add_done_callback(lambda _: ended.set())
    await ended.wait()
    watch.cancel()
