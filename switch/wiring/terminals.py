"""The wiring of the terminals' door: from the settings to a listener, drained before the road."""

from switch.config import Settings, split_address
from switch.ops.lifecycle import Lifecycle
from switch.payments.follow_on import FollowOns
from switch.payments.road import Road
from switch.payments.world import World
from switch.ports.signals import UNHEARD, Signals
from switch.store.sessions import Pool
from switch.store.terminals import PostgresTerminals
from switch.terminals.desk import Desk
from switch.terminals.door import TerminalDoor
from switch.terminals.payments import TerminalPayments
from switch.terminals.security import TerminalSecurity
from switch.terminals.settings import DeskSettings, DoorLimits


async def open_terminal_door(
    settings: Settings,
    lifecycle: Lifecycle,
    finish_s: float,
    behind: tuple[Road, FollowOns, World, Pool],
    signals: Signals = UNHEARD,
) -> str:
    """The listener for payment terminals, if there is to be one; returns its address. It is drained before the road."""
    section, (road, follow_ons, world, pool) = settings.terminals, behind
    if not section.listen:
        return ""
    desk_settings = DeskSettings(
        budget_s=settings.budgets.answer_budget_ms / 1000,
        institution=settings.unionpay.acquiring_institution_id,
        networks=frozenset(section.networks),
        repeat_window_ms=section.repeat_window_ms,
        sign_ons=section.sign_ons_per_minute,
        mac_key_algorithm="DES" if section.mac_key == "single" else "TDES-2KEY",
    )
    store = PostgresTerminals(pool)
    security = TerminalSecurity(world.hsm, desk_settings.mac_key_algorithm)
    payments = TerminalPayments(road, follow_ons, world.journal, store, security, world.clock, desk_settings)
    limits = DoorLimits(
        connections=section.connections,
        connections_per_address=section.connections_per_address,
        in_flight=section.in_flight,
        idle_s=section.idle_ms / 1000,
        message_s=section.message_ms / 1000,
        message_bytes=section.largest_message_bytes,
    )
    door = TerminalDoor(Desk(payments, security, store, world.clock, desk_settings, signals), limits, signals)
    host, port = split_address(section.listen)
    bound = await door.start(host, port)
    lifecycle.on_finish("terminals", lambda: door.drain(finish_s), finish_s + 1)
    lifecycle.on_close("terminals", door.close)
    lifecycle.on_close("terminals' reversals", lambda: payments.close(2.0))
    return f"{host}:{bound}"
