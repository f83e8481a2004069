"""What the road reaches out to, and the figures it keeps to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from switch.payments.observer import Observer
from switch.payments.ownership import Ownership
from switch.payments.routing import ChannelFacts, RoutingTable
from switch.ports import Channel, Clock, Counters, Hsm, Journal
from switch.risk.assess import Limits


@dataclass(slots=True, frozen=True)
class RoadSettings:
    """Times in milliseconds.

    answer_reserve_ms: kept back from the budget for recording the outcome and answering.
    earliest_ms, latest_ms: how far a transmission time may lie before and after now.
    pace_ms: from the start of one flush of a stop to the start of the next, at least.
    """

    answer_budget_ms: int = 180
    answer_reserve_ms: int = 50
    earliest_ms: int = 24 * 3600 * 1000
    latest_ms: int = 5 * 60 * 1000
    max_batch: int = 128
    pace_ms: float = 4.0
    max_in_flight: int = 4_096
    inquiry_after_s: float = 3.0


@dataclass(slots=True)
class World:
    journal: Journal
    hsm: Hsm
    channels: Mapping[str, Channel]
    counters: Counters
    clock: Clock
    ownership: Ownership
    routing: RoutingTable
    observer: Observer
    limits: Limits = field(default_factory=Limits)

    def channel_facts(self) -> "Callable[[str], ChannelFacts | None]":
        """A look-up that asks each channel at most once: one picture of the world for a whole batch."""

        @cache
        def facts_of(name: str) -> ChannelFacts | None:
            channel = self.channels.get(name)
            if channel is None:
                return None
            return ChannelFacts(channel.operations, bool(channel.pin_key), channel.health().ready)

        return facts_of
