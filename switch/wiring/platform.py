"""What a service of the platform is built from, and what it gives to be served."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.descriptor import ServiceDescriptor

from switch.config import Settings
from switch.ops.lifecycle import Lifecycle
from switch.ports import Channel, Clock, Hsm
from switch.ports.platform import CardTypes, Merchants, Payments
from switch.ports.signals import NOBODY_BLOCKED, UNHEARD, Blocked, Signals
from switch.routing.card_types import BinCardTypes
from switch.store.right_of_way import RightOfWay
from switch.store.sessions import Pool

_NO_TABLES: Final[CardTypes] = BinCardTypes(tuple)


@dataclass(frozen=True, slots=True)
class Platform:
    """What a service is built from.

    payments: the road of this process, or that of another one. channels: empty where the road is another process's.
    redis_url: for what may be lost. card_types: nothing is known of any card unless BIN tables are given.
    right_of_way: the road's, where it is in this process: followers of the journal wait for it. followers: their
    connections, where they have their own.
    signals: risk control's. blocked: whom no door lets in.
    """

    settings: Settings
    lifecycle: Lifecycle
    pool: Pool
    redis_url: str
    hsm: Hsm
    clock: Clock
    payments: Payments
    merchants: Merchants
    channels: Mapping[str, Channel]
    card_types: CardTypes = _NO_TABLES
    right_of_way: RightOfWay = field(default_factory=RightOfWay)
    followers: Pool | None = None
    signals: Signals = UNHEARD
    blocked: Blocked = NOBODY_BLOCKED

    @property
    def following(self) -> Pool:
        """What followers of the journal read and write by."""
        return self.followers or self.pool


@dataclass(frozen=True, slots=True)
class Served:
    """A gRPC service and who serves it (`switch.api.guarded`)."""

    service: ServiceDescriptor
    servicer: object
