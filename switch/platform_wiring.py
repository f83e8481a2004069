"""The wiring of the platform's services: what each may reach, and which of them this process serves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.descriptor import ServiceDescriptor

from switch.config import Settings
from switch.ops.lifecycle import Lifecycle
from switch.ports import Channel, Clock, Hsm
from switch.ports.platform import Merchants, Payments
from switch.store.sessions import Pool


@dataclass(frozen=True, slots=True)
class Platform:
    """What a service is built from.

    payments: the road of this process, or that of another one. channels: empty where the road is another process's.
    redis_url: for what may be lost.
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


@dataclass(frozen=True, slots=True)
class Served:
    """A gRPC service and who serves it (`switch.api.guarded`)."""

    service: ServiceDescriptor
    servicer: object


Open = Callable[[Platform], Sequence[Served]]

# By the name that --services takes. Each opener lives in a wiring module of its own.
SERVICES: Final[dict[str, Open]] = {}
