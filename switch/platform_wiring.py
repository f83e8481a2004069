"""The wiring of the platform's services: what each may reach, and which of them this process serves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from google.protobuf.descriptor import ServiceDescriptor

from switch import pki
from switch.api.gate import Gate
from switch.api.remote_payments import RemotePayments
from switch.authorization_wiring import Engine
from switch.channel_wiring import read_file
from switch.client.connection import ClientCredentials, open_channel
from switch.config import Settings
from switch.domain.contract import Contract
from switch.foundation_wiring import Foundation
from switch.ops.lifecycle import Lifecycle
from switch.payments.local import LocalPayments
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
SERVICES: Final[dict[str, Sequence[Open]]] = {}


async def open_platform(foundation: Foundation, engine: Engine | None) -> list[Served]:
    """The platform's services that the settings name, opened."""
    openers = [each for name in foundation.settings.services for each in SERVICES.get(name, ())]
    if not openers:
        return []
    platform = Platform(
        foundation.settings, foundation.lifecycle, foundation.pool, foundation.redis_url, foundation.hsm.hsm,
        foundation.clock, _payments(foundation, engine), _Nobody(),
        engine.world.channels if engine is not None else {},
    )  # fmt: skip
    return [served for each in openers for served in each(platform)]


def open_gate(foundation: Foundation) -> Gate:
    nobody = _Nobody()
    return Gate(pki.participant_of, nobody, nobody)


class _Nobody:
    async def session(self, token: str) -> None:
        return None

    async def role_of(self, merchant_id: str, user_id: UUID) -> None:
        return None

    async def credential(self, secret: str) -> None:
        return None

    async def profile(self, merchant_id: str) -> None:
        return None

    async def contracts(self, merchant_ids: Sequence[str], day: str) -> dict[str, Contract]:
        return {}

    async def stores_of_terminals(self, merchant_id: str) -> dict[str, str]:
        return {}


def _payments(foundation: Foundation, engine: Engine | None) -> Payments:
    if engine is not None:
        return LocalPayments(engine.road, engine.follow_ons, engine.journal)
    settings = foundation.settings
    target = settings.platform.authorizations or settings.listen
    channel = open_channel(target, _credentials(settings), None)
    foundation.lifecycle.on_close("payments", lambda: channel.close(None))
    return RemotePayments(channel)


def _credentials(settings: Settings) -> ClientCredentials:
    """A platform participant's: the files that were named, or one that the development authority issues."""
    section = settings.platform
    if section.certificate:
        certificate, private_key = read_file(Path(section.certificate)), read_file(Path(section.private_key))
        return ClientCredentials(read_file(settings.ca_path), certificate, private_key)
    authority = pki.Authority(settings.state_dir / "pki")
    pair = authority.participant("platform", "services")
    root = authority.ensure().read_bytes()
    return ClientCredentials(root, pair.certificate.read_bytes(), pair.private_key.read_bytes())
