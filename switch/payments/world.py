"""What the road reaches out to, and the figures it keeps to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from switch.domain.merchant_standing import Refusal
from switch.payments.observer import Observer
from switch.payments.ownership import Ownership
from switch.ports import Channel, Clock, Hsm, Journal, Opener, ScannedOrders
from switch.risk.monitor import Monitor
from switch.routing.choose import ChannelFacts, Picture
from switch.routing.live import LiveRouting


@dataclass(slots=True, frozen=True)
class RoadSettings:
    """Times in milliseconds.

    answer_reserve_ms: kept back from the budget for recording the outcome and answering.
    earliest_ms, latest_ms: how far a transmission time may lie before and after now.
    pace_ms: from the start of one flush of a stop to the start of the next, at least.
    reference_currency: whose amounts risk control adds up.
    """

    answer_budget_ms: int = 180
    answer_reserve_ms: int = 50
    earliest_ms: int = 24 * 3600 * 1000
    latest_ms: int = 5 * 60 * 1000
    max_batch: int = 128
    pace_ms: float = 4.0
    max_in_flight: int = 4_096
    inquiry_after_s: float = 3.0
    reference_currency: str = "CNY"


def everyone_may(merchant_id: str, terminal_id: str) -> Refusal | None:
    """Of a switch that keeps no merchants of its own."""
    return None


@dataclass(slots=True)
class World:
    """standing: (merchant, terminal) -> why it may take no new payment now, or None. At once: no I/O, no wait.

    openers: by the scheme of what is presented closed (`switch.payments.opening`). orders: None where there are none.
    """

    journal: Journal
    hsm: Hsm
    channels: Mapping[str, Channel]
    monitor: Monitor
    clock: Clock
    ownership: Ownership
    routing: LiveRouting
    observer: Observer
    standing: Callable[[str, str], Refusal | None] = everyone_may
    openers: Mapping[str, Opener] = field(default_factory=dict)
    orders: ScannedOrders | None = None

    def picture(self) -> Picture:
        """The channels as they are now, one picture for a whole batch."""
        return Picture(self._facts_of)

    def _facts_of(self, name: str) -> ChannelFacts | None:
        channel = self.channels.get(name)
        if channel is None:
            return None
        failing_percent = self.routing.success.failing_percent(name)
        return ChannelFacts(channel.operations, bool(channel.pin_key), channel.health().ready, failing_percent)
