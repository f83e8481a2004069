"""The workers that deliver webhooks: at least once, in bounded numbers, no endpoint in another's way."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

import structlog

from switch.domain.webhook import Attempt, Delivery, DeliveryState, Endpoint, retry_after_ms
from switch.merchants.alerts import Alert, log_alert
from switch.merchants.webhook_sender import Result, headers_of
from switch.merchants.webhooks import SEAL_KEY
from switch.ops.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_ENDPOINTS_DISABLED
from switch.ports import Clock, Hsm, StoreUnavailable

log = structlog.get_logger()

# Longer than an attempt may take and its record be waited for.
LEASE_MS: Final = 60_000
_IDLE_S: Final = 0.5
_SWEEP_MS: Final = 10_000


class Queue(Protocol):
    """Met by `switch.store.webhook_queue.WebhookQueue`."""

    async def claim(
        self, now_ms: int, lease_ms: int, of_each: int, limit: int, under_way: Mapping[UUID, int]
    ) -> list[tuple[Delivery, Endpoint]]: ...

    async def record(self, delivery: Delivery, attempt: Attempt, state: DeliveryState, due_time_ms: int) -> bool: ...

    async def expire(self, now_ms: int) -> int: ...

    async def disable_failing(self, now_ms: int) -> list[tuple[str, UUID]]: ...


class Sender(Protocol):
    """Met by `switch.merchants.webhook_sender.WebhookSender`."""

    async def send(self, url: str, headers: dict[str, str], body: bytes) -> Result: ...


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """at_once: messages under way in this process; of_each: of one endpoint; one that has just failed: 1."""

    at_once: int = 64
    of_each: int = 4


class WebhookWorker:
    """jitter: 0 to 1, anew each time. alert: tells a merchant's people of an endpoint that was switched off."""

    def __init__(
        self,
        queue: Queue,
        sender: Sender,
        hsm: Hsm,
        clock: Clock,
        jitter: Callable[[], float],
        limits: WorkerLimits,
        alert: Alert = log_alert,
    ) -> None:
        self._queue = queue
        self._sender = sender
        self._hsm = hsm
        self._clock = clock
        self._jitter = jitter
        self._limits = limits
        self._alert = alert
        self._under_way: set[asyncio.Task[None]] = set()
        self._of_endpoint: Counter[UUID] = Counter()
        self._swept_ms = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="webhooks")

    async def close(self) -> None:
        """What is under way is given up; its lease runs out and another worker sends it again."""
        tasks = [each for each in (self._task, *self._under_way) if each is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def step(self) -> int:
        """Claim what there is room for and begin to send it; returns how many. Raises StoreUnavailable."""
        free = self._limits.at_once - len(self._under_way)
        if free <= 0:
            return 0
        now_ms = self._clock.time_ms()
        claimed = await self._queue.claim(now_ms, LEASE_MS, self._limits.of_each, free, self._of_endpoint)
        for delivery, endpoint in claimed:
            self._begin(delivery, endpoint)
        return len(claimed)

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def sweep(self) -> None:
        """Give up what is too old; switch off who took nothing for a day. Raises StoreUnavailable."""
        now_ms = self._clock.time_ms()
        self._swept_ms = now_ms
        while await self._queue.expire(now_ms):
            pass
        for merchant_id, endpoint_id in await self._queue.disable_failing(now_ms):
            WEBHOOK_ENDPOINTS_DISABLED.inc()
            self._alert(merchant_id, "webhook_disabled", f"endpoint {endpoint_id} took nothing for a day")

    def _begin(self, delivery: Delivery, endpoint: Endpoint) -> None:
        self._of_endpoint[endpoint.id] += 1
        task = asyncio.create_task(self._deliver(delivery, endpoint), name="webhook")
        self._under_way.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._under_way.discard(task)
            self._of_endpoint[endpoint.id] -= 1
            if not self._of_endpoint[endpoint.id]:
                del self._of_endpoint[endpoint.id]
            if not task.cancelled() and task.exception() is not None:
                # Its lease runs out, and it is sent again.
                log.warning("webhook_not_recorded", delivery=str(delivery.id), reason=repr(task.exception()))

        task.add_done_callback(ended)

    async def _deliver(self, delivery: Delivery, endpoint: Endpoint) -> None:
        begun_ms = self._clock.time_ms()
        body = delivery.payload.encode()
        headers = headers_of(await self._secrets(endpoint, begun_ms), delivery.webhook_id, begun_ms // 1000, body)
        result = await self._sender.send(endpoint.url, headers, body)
        WEBHOOK_ATTEMPTS.labels(result.failure or "taken").inc()
        attempt = Attempt(
            delivery.attempts + 1, begun_ms, result.latency_ms, result.status, result.failure, result.answer
        )
        due_ms = self._clock.time_ms() + retry_after_ms(delivery.tries + 1, self._jitter())
        if result.taken:
            state = DeliveryState.DELIVERED
        else:
            state = DeliveryState.WAITING if due_ms < delivery.expires_time_ms else DeliveryState.DEAD
        await self._queue.record(delivery, attempt, state, due_ms)

    async def _secrets(self, endpoint: Endpoint, now_ms: int) -> list[bytes]:
        sealed = [endpoint.secret]
        if endpoint.previous_secret and now_ms < endpoint.previous_until_ms:
            sealed.append(endpoint.previous_secret)
        opened = await self._hsm.unseal([(SEAL_KEY, each, endpoint.id.bytes) for each in sealed])
        secrets = []
        for each in opened:
            if isinstance(each, Exception):
                raise each
            secrets.append(each)
        return secrets

    async def _run(self) -> None:
        while True:
            begun = 0
            try:
                if self._clock.time_ms() - self._swept_ms >= _SWEEP_MS:
                    await self.sweep()
                begun = await self.step()
            except StoreUnavailable as error:
                log.warning("webhook_queue_not_read", reason=str(error))
            except Exception:
                log.exception("webhook_worker_failed")
            if not begun:
                await asyncio.sleep(_IDLE_S)
