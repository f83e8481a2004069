"""The wiring of the authorization service: the road, its channels, the resolver, the issuers' door."""

import asyncio
import socket
from dataclasses import dataclass
from functools import partial

import grpc
import structlog

from adapters.issuer.channel import IssuerChannel
from adapters.issuer.hub import IssuerHub
from adapters.issuer.messages import IssuerNotice
from hsm.errors import HsmError, HsmUnavailable
from switch.api.authorization_service import AuthorizationServicer
from switch.api.identity import Doorkeeper
from switch.api.issuer_notices import IssuerNotices
from switch.api.issuer_processes import ProcessesWatch, process_name
from switch.api.issuer_service import IssuerServicer, LinkFault
from switch.api.notices import Notices
from switch.api.notifications import DoorSettings, NotificationDoor
from switch.config import Settings, split_address
from switch.domain.states import Operation
from switch.ops import metrics
from switch.ops.road import RPC, RoadCounts
from switch.payments.follow_on import FollowOns
from switch.payments.ownership import Ownership
from switch.payments.resolve import Resolver, ResolveSettings
from switch.payments.road import Road
from switch.payments.stand_in import Advices
from switch.payments.world import RoadSettings, World
from switch.ports import Notice, NotifyingChannel, StoreUnavailable
from switch.routing.watch import PlanWatch
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases
from switch.store.scanned_orders import PostgresScannedOrders
from switch.store.stand_in import PostgresStandIn
from switch.store.users_devices import PostgresDevices
from switch.wiring.channel import build_channels, stand_in_limits
from switch.wiring.codes import road_openers
from switch.wiring.foundation import Foundation, cancelled, closing
from switch.wiring.hsm import HsmAccess
from switch.wiring.merchants import merchant_standing
from switch.wiring.monitor import RiskFollowed, open_monitor
from switch.wiring.routing import begin_routing
from switch.wiring.terminals import open_terminal_door

log = structlog.get_logger()

_BACKLOG_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class Engine:
    """The road, opened. finish_s: longest wait for what is in flight at the end."""

    foundation: Foundation
    world: World
    road: Road
    follow_ons: FollowOns
    journal: PostgresJournal
    leases: PostgresLeases
    notices: Notices
    plans: PlanWatch
    risk: RiskFollowed
    authorizations: AuthorizationServicer
    issuers: IssuerServicer
    finish_s: float


async def open_engine(foundation: Foundation, doorkeeper: Doorkeeper) -> Engine:
    settings, lifecycle, clock = foundation.settings, foundation.lifecycle, foundation.clock
    journal = PostgresJournal(foundation.pool)
    leases = PostgresLeases(foundation.pool, lease_s=settings.lease_ms / 1000)
    road: Road | None = None
    ownership = Ownership(
        leases, f"switch-{settings.listen}", settings.lease_ms / 1000,
        lambda: road.oldest_open_time_ms() if road is not None else clock.time_ms() - 30_000,
        lifecycle.fail,
    )  # fmt: skip
    await ownership.join()
    ownership.start()
    lifecycle.on_close("ownership", ownership.close)

    hub = IssuerHub()
    stand_in = PostgresStandIn(foundation.pool, {rule.issuer: stand_in_limits(rule) for rule in settings.stand_in})
    channels = build_channels(settings, foundation.hsm.hsm, clock, hub, ownership.slot, stand_in)
    for channel in channels.values():
        await channel.start()
        lifecycle.on_close(f"channel {channel.name}", channel.close)
    routing, plans = await begin_routing(settings, foundation.pool, channels, lifecycle)
    hsm, pool = foundation.hsm.hsm, foundation.pool
    monitor, risk = await open_monitor(foundation, leases)
    openers = road_openers(pool, hsm, clock, PostgresDevices(pool), foundation.watch)
    world = World(
        journal, hsm, channels, monitor, clock, ownership, routing, RoadCounts(routing.observe),
        await merchant_standing(settings, lifecycle, pool), openers,
        PostgresScannedOrders(pool),
    )  # fmt: skip
    road_settings = _road_settings(settings)
    road = Road(world, road_settings)
    lifecycle.on_close("road", road.close)
    resolver = Resolver(world, _resolve_settings(settings))
    resolver.start()
    lifecycle.on_close("resolver", resolver.close)
    _watch(road)
    direct = {each.issuer_id: each for each in channels.values() if isinstance(each, IssuerChannel)}
    _open_stand_in(foundation, world, journal, stand_in, direct)

    notices = Notices(journal, resolver.wake)
    follow_ons = FollowOns(world, road_settings)
    budgets, finish_ms = settings.budgets, settings.operations.drain_finish_ms
    authorizations = AuthorizationServicer(road, follow_ons, journal, doorkeeper, budgets.answer_budget_ms / 1000)
    issuers = IssuerServicer(
        hub,
        authenticate=lambda context: doorkeeper.admit(context, "issuer"),
        pin_key_check_value=partial(_pin_key_check_value, foundation.hsm),
        process_name=lambda: process_name(ownership.owner),
        take_notice=IssuerNotices(partial(_read_notice, direct), notices.act).take,
        signals=foundation.watch,
    )
    return Engine(
        foundation, world, road, follow_ons, journal, leases, notices, plans, risk, authorizations, issuers,
        budgets.answer_budget_ms / 1000 + finish_ms / 1000,
    )  # fmt: skip


async def announce(engine: Engine, port: int) -> None:
    """Issuers learn where this process is dialled, and are told when it goes."""
    settings, lifecycle, ownership = engine.foundation.settings, engine.foundation.lifecycle, engine.world.ownership
    await ownership.announce(advertised(settings, port))
    processes = ProcessesWatch(engine.leases.living, engine.issuers.tell_processes, settings.lease_ms / 3000)
    processes.start()
    lifecycle.on_close("processes", processes.close)
    lifecycle.on_announce("address", ownership.withdraw)
    lifecycle.on_announce("issuers", engine.issuers.drain)


async def open_terminals(engine: Engine) -> str:
    behind = (engine.road, engine.follow_ons, engine.world, engine.foundation.pool)
    foundation = engine.foundation
    return await open_terminal_door(
        foundation.settings, foundation.lifecycle, engine.finish_s, behind, foundation.watch
    )


def drain_road(engine: Engine) -> None:
    lifecycle = engine.foundation.lifecycle
    lifecycle.on_finish("door", closing(engine.road.stop_admitting), 1.0)
    lifecycle.on_finish("road", lambda: engine.road.drain(engine.finish_s), engine.finish_s + 1)


async def open_notifications(engine: Engine) -> str:
    """The wallets' listener, for the channels that notify."""
    settings, lifecycle = engine.foundation.settings, engine.foundation.lifecycle
    if not settings.notifications.listen:
        return ""
    notifying = {name: each for name, each in engine.world.channels.items() if isinstance(each, NotifyingChannel)}
    door_settings = DoorSettings(per_second=settings.notifications.per_second)
    door = NotificationDoor(notifying, engine.notices, engine.world.clock, door_settings, engine.foundation.watch)
    host, port = split_address(settings.notifications.listen)
    port = await door.start(host, port)
    lifecycle.on_close("notifications", door.close)
    lifecycle.on_finish("notifications", door.stop_accepting, 1.0)
    return f"{host}:{port}"


def advertised(settings: Settings, port: int) -> str:
    """Where issuers reach this process: as it was told, or where it listens."""
    if settings.advertise:
        return settings.advertise
    listening, _ = split_address(settings.listen)
    host = socket.getfqdn() if listening in ("0.0.0.0", "::") else listening  # noqa: S104 - told apart, not bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open_stand_in(
    foundation: Foundation,
    world: World,
    journal: PostgresJournal,
    stand_in: PostgresStandIn,
    direct: dict[str, IssuerChannel],
) -> None:
    stood_in_for = [rule.issuer for rule in foundation.settings.stand_in]
    advices = Advices(stand_in, world.hsm, world.ownership, {issuer: direct[issuer] for issuer in stood_in_for})
    advices.start()
    foundation.lifecycle.on_close("advices", advices.close)
    backlog = asyncio.create_task(_watch_backlog(journal, stand_in, stood_in_for), name="backlog")
    foundation.lifecycle.on_close("backlog", lambda: cancelled(backlog))


def _read_notice(direct: dict[str, IssuerChannel], issuer_id: str, notice: IssuerNotice) -> Notice:
    return direct[issuer_id].read_notice(notice)


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
