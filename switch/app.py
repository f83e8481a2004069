"""The wiring: settings in, a running switch process out. Nothing is decided here."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
import uvloop

from hsm.errors import HsmError, KeyNotFound
from payswitch.v1 import authorization_pb2, issuer_pb2, operations_pb2
from switch import pki
from switch.api.identity import Doorkeeper
from switch.api.operations_service import OperationsServicer
from switch.config import Settings, split_address
from switch.ops import logs
from switch.ops.checks import Check, NotReady, Readiness
from switch.ops.health import CHANNEL_PREFIX, HealthStatus
from switch.ops.lifecycle import Lifecycle
from switch.own_keys import needed_by
from switch.ports import Channel
from switch.store.migrate import migrate as migrate_database
from switch.wiring.audit import open_audit
from switch.wiring.authorization import Engine, announce, drain_road, open_engine, open_notifications, open_terminals
from switch.wiring.foundation import Foundation, open_foundation, servers
from switch.wiring.housekeeping import open_housekeeping
from switch.wiring.listeners import listen_to_operators, listen_to_participants, listen_to_people
from switch.wiring.platform import Served
from switch.wiring.services import open_gate, open_services

log = structlog.get_logger()


@dataclass(slots=True)
class Addresses:
    """Where the process listens, once it does: host:port; "" for what is switched off.

    authorizations: participants, with mutual TLS. people: users and merchants, with TLS.
    """

    authorizations: str
    operations: str
    operations_grpc: str
    notifications: str = ""
    terminals: str = ""
    people: str = ""


async def run(settings: Settings, started: Callable[[Addresses], Awaitable[None]] | None = None) -> int:
    """One switch process until SIGTERM or SIGINT; returns its exit code. `started` is awaited once it serves."""
    lifecycle = Lifecycle(settings.operations.drain_grace_ms / 1000)
    lifecycle.install_signals()
    try:
        addresses = await _build(settings, lifecycle)
    except BaseException:
        lifecycle.stop("start failed")
        await lifecycle.run()
        raise
    log.info("serving", listen=addresses.authorizations, people=addresses.people, operations=addresses.operations)
    gc.collect()
    gc.freeze()
    if started is not None:
        await started(addresses)
    return await lifecycle.run()


async def _build(settings: Settings, lifecycle: Lifecycle) -> Addresses:
    foundation = await open_foundation(settings, lifecycle)
    doorkeeper = Doorkeeper(pki.participant_of, signals=foundation.watch)
    engine = await open_engine(foundation, doorkeeper) if "authorization" in settings.services else None
    served = await open_services(foundation, engine)
    gate = open_gate(foundation)

    readiness = _readiness(foundation, engine)
    names = _names(settings, served)
    health = HealthStatus(readiness, names)
    channels = engine.world.channels if engine is not None else {}
    operators = OperationsServicer(channels, doorkeeper) if "operations" in settings.services else None
    server, port = await listen_to_participants(settings, engine, operators, served, gate, foundation.watch)
    lifecycle.on_announce("health", health.drain)
    terminals = notifications = ""
    if operators is not None:
        open_audit(foundation)
        open_housekeeping(foundation)
    if engine is not None:
        await announce(engine, port)
        terminals = await open_terminals(engine)
        drain_road(engine)
    lifecycle.on_finish("grpc", lambda: server.stop(1.0), 3.0)
    people = await listen_to_people(settings, served, gate, lifecycle, foundation.watch)
    if engine is not None:
        notifications = await open_notifications(engine)
    operations = await listen_to_operators(settings, readiness, health, lifecycle, names)
    host, _ = split_address(settings.listen)
    return Addresses(f"{host}:{port}", *operations, notifications, terminals, people)


def _names(settings: Settings, served: Sequence[Served]) -> list[str]:
    """The full names of the services of this process, for health and reflection."""
    files = {
        "authorization": [authorization_pb2, issuer_pb2],
        "operations": [operations_pb2],
    }
    own = [file for service in settings.services for file in files.get(service, [])]
    names = [each.full_name for file in own for each in file.DESCRIPTOR.services_by_name.values()]
    return names + [each.service.full_name for each in served]


def _readiness(foundation: Foundation, engine: Engine | None) -> Readiness:
    async def database() -> str:
        await foundation.pool.fetchval("SELECT 1")
        return "answers"

    async def redis() -> str:
        if not await foundation.counters.ready():
            raise NotReady("does not answer; risk continues by policy")
        return "answers"

    checks = [
        Check("database", database),
        Check("counters", redis, required=False),
        Check("hsm", foundation.hsm.probe),
        Check("keys", KeysProbe(foundation).probe),
    ]
    return Readiness(checks + (_checks_of(engine) if engine is not None else []))


class KeysProbe:
    """The keys that this process's services need; asked for until they are all there."""

    def __init__(self, foundation: Foundation) -> None:
        self._hsm = foundation.hsm
        self._wanted = needed_by(frozenset(foundation.settings.services))
        self._missing = self._wanted

    async def probe(self) -> str:
        self._missing = [label for label in self._missing if not await self._is_there(label)]
        if self._missing:
            raise NotReady(f"`payswitch keys provide` makes what is missing: {', '.join(self._missing)}")
        return f"{len(self._wanted)} there"

    async def _is_there(self, label: str) -> bool:
        try:
            await self._hsm.key_check_value(label)
        except KeyNotFound:
            return False
        except HsmError as error:
            raise NotReady(type(error).__name__) from None
        return True


def _checks_of(engine: Engine) -> list[Check]:
    async def routing() -> str:
        in_force, detail = engine.plans.state()
        if not in_force:
            raise NotReady(detail)
        return detail

    def channel_probe(channel: Channel) -> Callable[[], Awaitable[str]]:
        async def probe() -> str:
            health = channel.health()
            if not health.ready:
                raise NotReady(health.detail)
            return health.detail

        return probe

    async def risk() -> str:
        in_force, detail = engine.risk.state()
        if not in_force:
            raise NotReady(detail)
        return detail

    channels = engine.world.channels.items()
    return [
        Check("routing", routing, required=False),
        Check("risk", risk, required=False),
        *(Check(CHANNEL_PREFIX + name, channel_probe(each), required=False) for name, each in channels),
    ]


def serve(settings: Settings, started: Callable[[Addresses], Awaitable[None]] | None = None) -> int:
    """Run one switch process on uvloop; returns its exit code."""
    # What lives from the start to the end is not looked through again, and the young are left to die in peace: the
    # road makes no cycles, so collecting every 700 objects found nothing and took 6 % of the process's time.
    gc.set_threshold(50_000, 20, 20)
    logs.configure(settings.operations.log_level, _as_json(settings.operations.log_format))
    return uvloop.run(run(settings, started))


def migrate(settings: Settings) -> int:
    """Bring the database's schema up to date."""

    async def work() -> int:
        lifecycle = Lifecycle(grace_s=0)
        postgres_url, _ = await servers(settings, lifecycle)
        for each in await migrate_database(postgres_url):
            print(each.name)
        lifecycle.stop("migrated")
        return await lifecycle.run()

    return asyncio.run(work())


def _as_json(log_format: str) -> bool | None:
    return None if log_format == "auto" else log_format == "json"
