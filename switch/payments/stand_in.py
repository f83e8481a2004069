"""Advices: what was approved in an issuer's place is told to it, again and again until it answers (invariant 13)."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from switch.domain.authorization import Merchant
from switch.payments.credential import unsealed
from switch.payments.ownership import Ownership
from switch.ports import (
    Approved,
    ChannelHealth,
    ChannelRequest,
    ChannelResult,
    Declined,
    Hsm,
    OwedAdvice,
    StandInStore,
    StoreUnavailable,
)

log = structlog.get_logger()

# Refusals that say "not now" of the advice; any other answer shows that the issuer has it and what it makes of it.
_NOT_NOW = frozenset({"68", "90", "91", "92", "96", "98"})

# An issuer that is there and never answers: somebody has to look. It is told again all the same.
_ATTEMPTS_BETWEEN_ALERTS = 100


class AdvisedChannel(Protocol):
    """A channel that takes advices; see `OwedAdvice`."""

    def health(self) -> ChannelHealth: ...

    def advise(self, advices: Sequence[tuple[ChannelRequest, str, int]]) -> "list[asyncio.Future[ChannelResult]]":
        """(request, approval code, Unix time of the approval in ms): one future per advice, in order."""


@dataclass(slots=True, frozen=True)
class AdviceSettings:
    """Seconds, but for the batch. The pause after the n-th sending in vain is first × 2ⁿ, at most `backoff_max_s`."""

    poll_s: float = 0.5
    batch: int = 64
    lease_s: float = 30.0
    message_timeout_s: float = 5.0
    backoff_first_s: float = 1.0
    backoff_max_s: float = 60.0


_DEFAULTS = AdviceSettings()


class Advices:
    """One per process; any process may send any advice. channels: by issuer id, of those that are stood in for."""

    def __init__(
        self,
        store: StandInStore,
        hsm: Hsm,
        ownership: Ownership,
        channels: Mapping[str, AdvisedChannel],
        settings: AdviceSettings = _DEFAULTS,
    ) -> None:
        self._store = store
        self._hsm = hsm
        self._ownership = ownership
        self._channels = dict(channels)
        self._settings = settings
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._channels:
            self._task = asyncio.create_task(self._run(), name="advices")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            busy = False
            try:
                busy = await self.turn() > 0
            except StoreUnavailable as error:
                log.warning("advices_wait_for_database", reason=str(error))
            except Exception:
                log.exception("advices_turn_failed")
            await asyncio.sleep(0 if busy else self._settings.poll_s)

    async def turn(self) -> int:
        """Claim one batch for the issuers that are reachable, and send it; returns its size."""
        reachable = [issuer for issuer, channel in self._channels.items() if channel.health().ready]
        if not reachable or not self._ownership.may_send():
            return 0
        owned = self._settings
        advices = await self._store.claim_advices(self._ownership.owner, reachable, owned.batch, owned.lease_s)
        if not advices:
            return 0
        replies = [await self._send(advice) for advice in advices]
        waiting = [reply for reply in replies if reply is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=owned.message_timeout_s)
        results = [
            (advice, _answer(reply), self._pause_s(advice.attempts))
            for advice, reply in zip(advices, replies, strict=True)
        ]
        await self._store.finish_advices(results)
        for advice, code, _ in results:
            if code not in ("", "00"):
                log.error("advice_refused", issuer=advice.issuer_id, message=advice.message_id, code=code)
            elif not code and (advice.attempts + 1) % _ATTEMPTS_BETWEEN_ALERTS == 0:
                log.error("advice_unanswered", issuer=advice.issuer_id, message=advice.message_id)
        return len(advices)

    async def _send(self, advice: OwedAdvice) -> "asyncio.Future[ChannelResult] | None":
        """None if its credential cannot be opened now."""
        record = advice.authorization
        try:
            credential = await unsealed(self._hsm, record)
        except Exception as error:
            log.warning("credential_not_opened", authorization=str(record.id), reason=type(error).__name__)
            return None
        request = ChannelRequest(
            record.operation, record, record.money, credential,
            Merchant(record.merchant_id, category_code=record.merchant_category_code),
            asyncio.get_running_loop().time() + self._settings.message_timeout_s,
            trace={"message_id": advice.message_id}, repeat=advice.attempts,
        )  # fmt: skip
        [reply] = self._channels[advice.issuer_id].advise([(request, advice.approval_code, advice.approved_time_ms)])
        return reply

    def _pause_s(self, attempts: int) -> float:
        return min(self._settings.backoff_max_s, self._settings.backoff_first_s * 2.0 ** min(attempts, 20))


def _answer(reply: "asyncio.Future[ChannelResult] | None") -> str:
    """The response code that ends the advice, or ""."""
    if reply is None or not reply.done():
        return ""
    result = reply.result()
    if isinstance(result, Approved):
        return result.response_code
    return result.response_code if isinstance(result, Declined) and result.response_code not in _NOT_NOW else ""
