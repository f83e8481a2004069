"""Webhook endpoints, their secrets and their log, for a merchant's people."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol
from uuid import UUID

from switch.domain.access import Caller
from switch.domain.audit import AuditEntry
from switch.domain.identity import computed_id, transmission_time_ms_of
from switch.domain.refusals import Invalid, Missing, NotPossible, TooMany
from switch.domain.webhook import (
    PING,
    WANTED_TYPES,
    Attempt,
    Delivery,
    DeliveryState,
    Endpoint,
    EndpointState,
    message,
)
from switch.merchants.page_tokens import PageTokens
from switch.merchants.webhook_sender import SECRET_PREFIX
from switch.merchants.webhook_target import TargetRules, checked_url
from switch.ports import Clock, Hsm

# HSM label, usage SEALING; the endpoint's id is the associated data.
SEAL_KEY: Final = "webhooks/seal"
_SECRET_BYTES: Final = 32
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_PINGS_A_MINUTE: Final = 5
_LAST: Final = UUID(int=(1 << 128) - 1)
REPLAYED_AT_ONCE: Final = 10_000


class WebhookStore(Protocol):
    """Met by `switch.store.webhooks.PostgresWebhooks`."""

    async def endpoints(self, merchant_id: str) -> list[Endpoint]: ...

    async def endpoint(self, merchant_id: str, endpoint_id: UUID) -> Endpoint | None: ...

    async def add(self, endpoint: Endpoint, most: int, who: str, act: str) -> None: ...

    async def change(
        self, merchant_id: str, endpoint_id: UUID, changed: Callable[[Endpoint], Endpoint], who: str, act: str
    ) -> Endpoint: ...

    async def queue_ping(self, delivery: Delivery, since_ms: int, most: int) -> bool: ...

    async def deliveries(
        self, merchant_id: str, endpoint_id: UUID, state: DeliveryState | None, before: UUID, limit: int
    ) -> list[Delivery]: ...

    async def delivery(self, merchant_id: str, identity: UUID) -> tuple[Delivery, list[Attempt]] | None: ...

    async def replay(self, merchant_id: str, ids: Sequence[UUID], now_ms: int, entry: AuditEntry) -> int: ...

    async def replayable(
        self, merchant_id: str, endpoint_id: UUID, from_ms: int, until_ms: int, dead_only: bool, limit: int
    ) -> list[UUID]: ...


@dataclass(frozen=True, slots=True)
class Changes:
    """Of an endpoint; None: unchanged."""

    url: str | None = None
    description: str | None = None
    event_types: tuple[str, ...] | None = None
    state: EndpointState | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """Messages of one endpoint whose event was in it, Unix milliseconds, the end excluded."""

    endpoint_id: UUID
    from_ms: int
    until_ms: int
    dead_only: bool


class Webhooks:
    """entropy: so many random bytes. most: endpoints of one merchant."""

    def __init__(
        self,
        store: WebhookStore,
        hsm: Hsm,
        clock: Clock,
        entropy: Callable[[int], bytes],
        rules: TargetRules,
        most: int = 10,
    ) -> None:
        self._store = store
        self._hsm = hsm
        self._tokens = PageTokens(hsm)
        self._clock = clock
        self._entropy = entropy
        self._rules = rules
        self._most = most

    async def create(
        self, caller: Caller, merchant_id: str, url: str, description: str, event_types: Sequence[str]
    ) -> tuple[Endpoint, str]:
        """The endpoint, and its secret for the only time."""
        url, types = checked_url(url, self._rules), _checked(event_types)
        now_ms = self._clock.time_ms()
        identity = computed_id("webhook", merchant_id, now_ms, self._entropy(16).hex())
        secret = self._entropy(_SECRET_BYTES)
        sealed = await self._sealed(identity, secret)
        endpoint = Endpoint(
            merchant_id, identity, url, description, types, EndpointState.ACTIVE, sealed, created_time_ms=now_ms
        )
        await self._store.add(endpoint, self._most, caller.name, "WebhookService.CreateEndpoint")
        return endpoint, _shown(secret)

    async def update(self, caller: Caller, merchant_id: str, endpoint_id: UUID, changes: Changes) -> Endpoint:
        if changes.url is not None:
            checked_url(changes.url, self._rules)
        types = None if changes.event_types is None else _checked(changes.event_types)

        def changed(endpoint: Endpoint) -> Endpoint:
            endpoint = replace(
                endpoint,
                url=changes.url or endpoint.url,
                description=endpoint.description if changes.description is None else changes.description,
                event_types=types or endpoint.event_types,
                state=changes.state or endpoint.state,
            )
            if changes.state is EndpointState.ACTIVE or changes.url is not None:
                # A fresh start: what failed before counts no more.
                endpoint = replace(endpoint, failures=0, failing_since_ms=0, circuit_until_ms=0)
            return endpoint

        return await self._store.change(merchant_id, endpoint_id, changed, caller.name, "WebhookService.UpdateEndpoint")

    async def remove(self, caller: Caller, merchant_id: str, endpoint_id: UUID) -> None:
        """Its log stays; its secrets do not."""

        def removed(endpoint: Endpoint) -> Endpoint:
            return replace(endpoint, state=EndpointState.REMOVED, secret=b"", previous_secret=b"", previous_until_ms=0)

        await self._store.change(merchant_id, endpoint_id, removed, caller.name, "WebhookService.RemoveEndpoint")

    async def rotate(self, caller: Caller, merchant_id: str, endpoint_id: UUID, overlap_hours: int) -> str:
        """The new secret, for the only time. The one before signs as well for so long."""
        secret = self._entropy(_SECRET_BYTES)
        sealed = await self._sealed(endpoint_id, secret)
        until_ms = self._clock.time_ms() + overlap_hours * _HOUR_MS if overlap_hours else 0

        def rotated(endpoint: Endpoint) -> Endpoint:
            previous = endpoint.secret if overlap_hours else b""
            return replace(endpoint, secret=sealed, previous_secret=previous, previous_until_ms=until_ms)

        await self._store.change(merchant_id, endpoint_id, rotated, caller.name, "WebhookService.RotateSecret")
        return _shown(secret)

    async def endpoints(self, merchant_id: str) -> list[Endpoint]:
        return await self._store.endpoints(merchant_id)

    async def ping(self, merchant_id: str, endpoint_id: UUID) -> UUID:
        """The id of the message. Raises Missing, NotPossible, TooMany."""
        endpoint = await self._store.endpoint(merchant_id, endpoint_id)
        if endpoint is None:
            raise Missing("no such endpoint")
        if endpoint.state is not EndpointState.ACTIVE:
            raise NotPossible(f"the endpoint is {endpoint.state.name}")
        now_ms = self._clock.time_ms()
        identity = computed_id(str(endpoint_id), merchant_id, now_ms, self._entropy(16).hex())
        payload = message(PING, now_ms, {"merchant_id": merchant_id})
        ping = Delivery(
            merchant_id, identity, endpoint_id, PING, payload, DeliveryState.WAITING, 0, 0, now_ms, now_ms + _DAY_MS,
            0, now_ms,
        )  # fmt: skip
        if not await self._store.queue_ping(ping, now_ms - 60_000, _PINGS_A_MINUTE):
            raise TooMany(f"at most {_PINGS_A_MINUTE} pings a minute")
        return identity

    async def deliveries(
        self, merchant_id: str, endpoint_id: UUID, state: DeliveryState | None, size: int, token: str
    ) -> tuple[list[Delivery], str]:
        question = f"deliveries\x1f{merchant_id}\x1f{endpoint_id}\x1f{state}"
        before = await self._tokens.read(question, token) or _LAST
        rows = await self._store.deliveries(merchant_id, endpoint_id, state, before, size + 1)
        more = rows[size - 1].id if len(rows) > size else None
        return rows[:size], await self._tokens.issue(question, more)

    async def delivery(self, merchant_id: str, identity: UUID) -> tuple[Delivery, list[Attempt]]:
        found = await self._store.delivery(merchant_id, identity)
        if found is None:
            raise Missing("no such delivery")
        return found

    async def replay_one(self, caller: Caller, merchant_id: str, identity: UUID) -> int:
        await self.delivery(merchant_id, identity)
        return await self._replay(caller, merchant_id, [identity], f"delivery/{identity}", {})

    async def replay_range(self, caller: Caller, merchant_id: str, wanted: Range) -> tuple[int, int]:
        """(how many go again, where to go on in Unix milliseconds or 0)."""
        if await self._store.endpoint(merchant_id, wanted.endpoint_id) is None:
            raise Missing("no such endpoint")
        ids = await self._store.replayable(
            merchant_id, wanted.endpoint_id, wanted.from_ms, wanted.until_ms, wanted.dead_only, REPLAYED_AT_ONCE + 1
        )
        resume_ms = transmission_time_ms_of(ids[REPLAYED_AT_ONCE]) if len(ids) > REPLAYED_AT_ONCE else 0
        told = {"from_time_ms": wanted.from_ms, "until_time_ms": wanted.until_ms, "dead_only": wanted.dead_only}
        count = await self._replay(
            caller, merchant_id, ids[:REPLAYED_AT_ONCE], f"webhook/{wanted.endpoint_id}", dict(told)
        )
        return count, resume_ms

    async def _replay(
        self, caller: Caller, merchant_id: str, ids: Sequence[UUID], subject: str, told: dict[str, object]
    ) -> int:
        told = {**told, "messages": len(ids)}
        entry = AuditEntry(merchant_id, caller.name, "WebhookService.ReplayDeliveries", subject, after=told)
        return await self._store.replay(merchant_id, ids, self._clock.time_ms(), entry)

    async def _sealed(self, endpoint_id: UUID, secret: bytes) -> bytes:
        [sealed] = await self._hsm.seal([(SEAL_KEY, secret, endpoint_id.bytes)])
        if isinstance(sealed, Exception):
            raise sealed
        return sealed


def _shown(secret: bytes) -> str:
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def _checked(event_types: Sequence[str]) -> tuple[str, ...]:
    if not event_types or not set(event_types) <= WANTED_TYPES:
        raise Invalid("event_types", f"must be some of {', '.join(sorted(WANTED_TYPES))}")
    return tuple(sorted(set(event_types)))
