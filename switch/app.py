"""The wiring: settings in, a running switch process out. Nothing is decided here."""

import asyncio
import gc
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import grpc.aio
import structlog
import uvloop
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from adapters.issuer.channel import IssuerChannel
from adapters.issuer.hub import IssuerHub
from adapters.issuer.messages import IssuerNotice
from hsm.errors import HsmError, HsmUnavailable
from payswitch.v1 import authorization_pb2, authorization_pb2_grpc, issuer_pb2, issuer_pb2_grpc, operations_pb2_grpc
from switch import pki
from switch.api import wire
from switch.api.authorization_service import AuthorizationServicer
from switch.api.identity import Doorkeeper
from switch.api.issuer_notices import IssuerNotices
from switch.api.issuer_processes import ProcessesWatch, process_name
from switch.api.issuer_service import IssuerServicer, LinkFault
from switch.api.notices import Notices
from switch.api.notifications import DoorSettings, NotificationDoor
from switch.api.operations_service import OperationsServicer
from switch.channel_wiring import build_channels, read_file, stand_in_limits
from switch.config import Settings, split_address
from switch.domain.states import Operation
from switch.hsm_wiring import HsmAccess, open_hsm
from switch.ops import logs, metrics
from switch.ops.checks import Check, NotReady, Readiness
from switch.ops.health import CHANNEL_PREFIX, HealthStatus
from switch.ops.http import operations_app, start_http
from switch.ops.lifecycle import Lifecycle
from switch.ops.loop_lag import LoopLag
from switch.ops.road import RPC, RoadCounts
from switch.payments.follow_on import FollowOns
from switch.payments.ownership import Ownership
from switch.payments.resolve import Resolver, ResolveSettings
from switch.payments.road import Road
from switch.payments.stand_in import Advices
from switch.payments.world import RoadSettings, World
from switch.ports import Channel, Notice, NotifyingChannel, StoreUnavailable
from switch.risk.assess import Limits
from switch.routing.watch import PlanWatch
from switch.routing_wiring import begin_routing
from switch.store.counters import RedisCounters
from switch.store.embedded import EmbeddedPostgres, EmbeddedRedis
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases
from switch.store.migrate import migrate as migrate_database
from switch.store.partitions import ensure_partitions, keep_partitions
from switch.store.pool import create_pool
from switch.store.sessions import Pool
from switch.store.stand_in import PostgresStandIn
from switch.terminals_wiring import open_terminal_door

log = structlog.get_logger()

AUTHORIZATION_SERVICE = authorization_pb2.DESCRIPTOR.services_by_name["AuthorizationService"].full_name
ISSUER_SERVICE = issuer_pb2.DESCRIPTOR.services_by_name["IssuerService"].full_name
_BACKLOG_INTERVAL_S = 5.0
# A frame of 512 requests with chip data fits; a larger message is refused before it is parsed.
_LARGEST_MESSAGE_BYTES = 2 * 1024 * 1024


class SystemClock:
    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass(slots=True)
class Addresses:
    """Where the process listens, once it does: host:port. notifications, terminals: "" if switched off."""

    authorizations: str
    operations: str
    operations_grpc: str
    notifications: str = ""
    terminals: str = ""


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
    log.info("serving", listen=addresses.authorizations, operations=addresses.operations)
    gc.collect()
    gc.freeze()
    if started is not None:
        await started(addresses)
    return await lifecycle.run()


async def _build(settings: Settings, lifecycle: Lifecycle) -> Addresses:
    clock = SystemClock()
    postgres_url, redis_url = await _servers(settings, lifecycle)
    await migrate_database(postgres_url)
    pool = await create_pool(postgres_url)
    lifecycle.on_close("postgres", pool.close)
    await ensure_partitions(pool, clock.time_ms())
    keeper = asyncio.create_task(keep_partitions(pool, clock.time_ms), name="partitions")
    lifecycle.on_close("partitions", lambda: _cancelled(keeper))
    journal = PostgresJournal(pool)
    counters = RedisCounters(redis_url)
    lifecycle.on_close("counters", counters.close)
    access = await open_hsm(settings, lifecycle)
    hsm = access.hsm

    road: Road | None = None
    leases = PostgresLeases(pool, lease_s=settings.lease_ms / 1000)
    ownership = Ownership(
        leases, f"switch-{settings.listen}", settings.lease_ms / 1000,
        lambda: road.oldest_open_time_ms() if road is not None else clock.time_ms() - 30_000,
        lifecycle.fail,
    )  # fmt: skip
    await ownership.join()
    ownership.start()
    lifecycle.on_close("ownership", ownership.close)

    hub = IssuerHub()
    stand_in = PostgresStandIn(pool, {rule.issuer: stand_in_limits(rule) for rule in settings.stand_in})
    channels = build_channels(settings, hsm, clock, hub, ownership.slot, stand_in)
    direct = {each.issuer_id: each for each in channels.values() if isinstance(each, IssuerChannel)}
    for channel in channels.values():
        await channel.start()
        lifecycle.on_close(f"channel {channel.name}", channel.close)
    routing, plans = await begin_routing(settings, pool, channels, lifecycle)
    counts = RoadCounts(routing.observe)
    world = World(journal, hsm, channels, counters, clock, ownership, routing, counts, _limits(settings))
    road_settings = _road_settings(settings)
    road = Road(world, road_settings)
    lifecycle.on_close("road", road.close)
    resolver = Resolver(world, _resolve_settings(settings))
    resolver.start()
    lifecycle.on_close("resolver", resolver.close)
    notices = Notices(journal, resolver.wake)
    advices = Advices(stand_in, hsm, ownership, {rule.issuer: direct[rule.issuer] for rule in settings.stand_in})
    advices.start()
    lifecycle.on_close("advices", advices.close)
    _watch(road)
    stood_in_for = [rule.issuer for rule in settings.stand_in]
    backlog = asyncio.create_task(_watch_backlog(journal, stand_in, stood_in_for), name="backlog")
    lifecycle.on_close("backlog", lambda: _cancelled(backlog))

    readiness = _readiness(pool, counters, access, channels, plans)
    health = HealthStatus(readiness, [AUTHORIZATION_SERVICE, ISSUER_SERVICE])
    doorkeeper = Doorkeeper(pki.participant_of)
    follow_ons = FollowOns(world, road_settings)
    authorizations = AuthorizationServicer(
        road, follow_ons, journal, doorkeeper, settings.budgets.answer_budget_ms / 1000
    )
    issuers = IssuerServicer(
        hub,
        authenticate=lambda context: doorkeeper.admit(context, "issuer"),
        pin_key_check_value=partial(_pin_key_check_value, access),
        process_name=lambda: process_name(ownership.owner),
        take_notice=IssuerNotices(partial(_read_notice, direct), notices.act).take,
    )
    operators = OperationsServicer(channels, doorkeeper)
    server, port = await _grpc_server(settings, authorizations, issuers, operators)
    await ownership.announce(_advertised(settings, port))
    processes = ProcessesWatch(leases.living, issuers.tell_processes, settings.lease_ms / 3000)
    processes.start()
    lifecycle.on_close("processes", processes.close)
    lifecycle.on_announce("health", health.drain)
    lifecycle.on_announce("address", ownership.withdraw)
    lifecycle.on_announce("issuers", issuers.drain)
    finish_s = settings.budgets.answer_budget_ms / 1000 + settings.operations.drain_finish_ms / 1000
    terminals = await open_terminal_door(settings, lifecycle, finish_s, (road, follow_ons, world, pool))
    lifecycle.on_finish("door", _closing(road.stop_admitting), 1.0)
    lifecycle.on_finish("road", lambda: road.drain(finish_s), finish_s + 1)
    lifecycle.on_finish("grpc", lambda: server.stop(1.0), 3.0)
    notifications = await _notifications(settings, world, notices, lifecycle)
    operations = await _operations(settings, readiness, health, lifecycle)
    host, _ = split_address(settings.listen)
    return Addresses(f"{host}:{port}", *operations, notifications, terminals)


async def _servers(settings: Settings, lifecycle: Lifecycle) -> tuple[str, str]:
    """The URLs of PostgreSQL and Redis; what has none is started here and stopped at the end."""
    postgres_url = settings.postgres_url.get_secret_value()
    redis_url = settings.redis_url.get_secret_value()
    if not postgres_url:
        postgres = EmbeddedPostgres(settings.state_dir / "postgres")
        postgres_url = await postgres.start()
        lifecycle.on_close("embedded postgres", postgres.stop, timeout_s=20)
    if not redis_url:
        redis = EmbeddedRedis(settings.state_dir / "redis")
        redis_url = await redis.start()
        lifecycle.on_close("embedded redis", redis.stop, timeout_s=10)
    return postgres_url, redis_url


def _advertised(settings: Settings, port: int) -> str:
    """Where issuers reach this process: as it was told, or where it listens."""
    if settings.advertise:
        return settings.advertise
    listening, _ = split_address(settings.listen)
    host = socket.getfqdn() if listening in ("0.0.0.0", "::") else listening  # noqa: S104 - told apart, not bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read_notice(direct: dict[str, IssuerChannel], issuer_id: str, notice: IssuerNotice) -> Notice:
    return direct[issuer_id].read_notice(notice)


def _limits(settings: Settings) -> Limits:
    risk = settings.risk
    return Limits(
        contactless_no_pin_limit_minor=risk.contactless_no_pin_limit_minor,
        payer_attempts=risk.velocity_limit_per_minute or 1_000_000_000,
        decline_without_counters=risk.counters_down_policy == "decline",
    )


def _road_settings(settings: Settings) -> RoadSettings:
    return RoadSettings(
        answer_budget_ms=settings.budgets.answer_budget_ms,
        answer_reserve_ms=settings.budgets.answer_reserve_ms,
        earliest_ms=settings.transmission.back_s * 1000,
        latest_ms=settings.transmission.ahead_s * 1000,
        max_batch=settings.batching.max_batch,
        pace_ms=settings.batching.pace_ms,
        max_in_flight=settings.budgets.max_in_flight,
        inquiry_after_s=settings.follow_ups.inquiry_interval_ms / 1000,
    )


def _resolve_settings(settings: Settings) -> ResolveSettings:
    follow_ups = settings.follow_ups
    return ResolveSettings(
        backoff_first_s=follow_ups.reversal_backoff_first_ms / 1000,
        backoff_max_s=follow_ups.reversal_backoff_max_ms / 1000,
        max_attempts=follow_ups.max_attempts,
        inquiry_interval_s=follow_ups.inquiry_interval_ms / 1000,
        payer_timeout_s=follow_ups.payer_timeout_ms / 1000,
    )


def _readiness(
    pool: Pool, counters: RedisCounters, hsm: HsmAccess, channels: dict[str, Channel], plans: PlanWatch
) -> Readiness:
    async def database() -> str:
        await pool.fetchval("SELECT 1")
        return "answers"

    async def redis() -> str:
        if not await counters.ready():
            raise NotReady("does not answer; risk continues by policy")
        return "answers"

    async def routing() -> str:
        in_force, detail = plans.state()
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

    checks = [Check("database", database), Check("counters", redis, required=False), Check("hsm", hsm.probe)]
    checks.append(Check("routing", routing, required=False))
    checks += [Check(CHANNEL_PREFIX + name, channel_probe(each), required=False) for name, each in channels.items()]
    return Readiness(checks)


async def _pin_key_check_value(access: HsmAccess, label: str) -> str:
    try:
        return await access.key_check_value(label)
    except HsmUnavailable:
        raise LinkFault(grpc.StatusCode.UNAVAILABLE, "the HSM is not available") from None
    except HsmError:
        raise LinkFault(grpc.StatusCode.FAILED_PRECONDITION, f"the switch has no PIN key {label}") from None


def _watch(road: Road) -> None:
    """Gauges read their value when asked."""
    metrics.IN_FLIGHT.follow(RPC, reading=lambda: road.in_flight)
    for stop in road.stops:
        metrics.QUEUE_DEPTH.follow(stop.name, reading=lambda stop=stop: stop.depth)  # type: ignore[misc]


async def _watch_backlog(journal: PostgresJournal, stand_in: PostgresStandIn, stood_in_for: list[str]) -> None:
    """Keeps the gauge of what the resolver has open and of owed advices; an outage leaves the last reading."""
    counts: dict[Operation, int] = {}
    advices = 0
    if stood_in_for:
        metrics.FOLLOW_UP_BACKLOG.follow("advice", reading=lambda: advices)
    pursued = (Operation.CAPTURE, Operation.REFUND, Operation.INCREMENT)
    for operation in (Operation.REVERSAL, Operation.INQUIRY, *pursued):
        reading = partial(lambda each: counts.get(each, 0), operation)
        metrics.FOLLOW_UP_BACKLOG.follow(operation.name.lower(), reading=reading)
    while True:
        try:
            found = await journal.open_follow_ups()
            counts.clear()
            counts.update(found)
            advices = sum([await stand_in.owed(issuer) for issuer in stood_in_for])
        except StoreUnavailable as error:
            log.warning("backlog_not_read", reason=str(error))
        await asyncio.sleep(_BACKLOG_INTERVAL_S)


async def _grpc_server(
    settings: Settings, authorizations: AuthorizationServicer, issuers: IssuerServicer, operators: OperationsServicer
) -> tuple[grpc.aio.Server, int]:
    """The listener for participants: mutual TLS, no reflection."""
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", _LARGEST_MESSAGE_BYTES),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ]
    )
    wire.add_to_server(authorization_pb2_grpc.add_AuthorizationServiceServicer_to_server, authorizations, server)
    issuer_pb2_grpc.add_IssuerServiceServicer_to_server(issuers, server)  # type: ignore[no-untyped-call]
    operations_pb2_grpc.add_OperationsServiceServicer_to_server(operators, server)  # type: ignore[no-untyped-call]
    credentials = grpc.ssl_server_credentials(
        [(read_file(settings.private_key_path), read_file(settings.certificate_path))],
        root_certificates=read_file(settings.ca_path),
        require_client_auth=True,
    )
    port = server.add_secure_port(settings.listen, credentials)
    await server.start()
    return server, port


async def _operations(
    settings: Settings, readiness: Readiness, health: HealthStatus, lifecycle: Lifecycle
) -> tuple[str, str]:
    """The operators' listeners: HTTP, and gRPC health with reflection and channelz."""
    lag = LoopLag()
    lag.start()
    lifecycle.on_close("loop lag", _closing(lag.close))
    host, port = split_address(settings.operations.listen)
    runner = await start_http(operations_app(readiness, lag.seconds), host, port)
    lifecycle.on_close("operations http", runner.cleanup)
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    channelz.add_channelz_servicer(server)  # type: ignore[arg-type]  # its stubs know only the blocking server
    names = ("grpc.health.v1.Health", AUTHORIZATION_SERVICE, ISSUER_SERVICE, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    grpc_port = server.add_insecure_port(settings.operations.grpc_listen)
    await server.start()
    lifecycle.on_close("operations grpc", lambda: server.stop(0.2))
    await health.start()
    lifecycle.on_close("health", health.close)
    http_port = runner.addresses[0][1]
    grpc_host, _ = split_address(settings.operations.grpc_listen)
    return f"{host}:{http_port}", f"{grpc_host}:{grpc_port}"


async def _notifications(settings: Settings, world: World, notices: Notices, lifecycle: Lifecycle) -> str:
    """The wallets' listener, for the channels that notify."""
    if not settings.notifications.listen:
        return ""
    notifying = {name: each for name, each in world.channels.items() if isinstance(each, NotifyingChannel)}
    door_settings = DoorSettings(per_second=settings.notifications.per_second)
    door = NotificationDoor(notifying, notices, world.clock, door_settings)
    host, port = split_address(settings.notifications.listen)
    port = await door.start(host, port)
    lifecycle.on_close("notifications", door.close)
    lifecycle.on_finish("notifications", door.stop_accepting, 1.0)
    return f"{host}:{port}"


def _closing(close: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def closing() -> None:
        close()

    return closing


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


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
        postgres_url, _ = await _servers(settings, lifecycle)
        for each in await migrate_database(postgres_url):
            print(each.name)
        lifecycle.stop("migrated")
        return await lifecycle.run()

    return asyncio.run(work())


def _as_json(log_format: str) -> bool | None:
    return None if log_format == "auto" else log_format == "json"
