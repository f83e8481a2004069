"""What an acquirer asks later of an authorization: capture, void, refund, reverse.

The same road, walked by one: find the original, reserve under its lock (the intent), send, record, answer. A repeat
is answered with what was stored; one whose outcome is still unknown is sent again under the same identifiers, which
has at most one effect at the channel (invariants 3 and 8).
"""

import asyncio
import hashlib
from dataclasses import dataclass
from uuid import UUID

from switch.domain.authorization import Authorization, FollowOn, Merchant
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.response_codes import meaning
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.payments.credential import unsealed
from switch.payments.decide import CHANNEL_DOWN_CODE, UNKNOWN_CODE
from switch.payments.errors import ContentDiffers, NotFound, TransmissionTimeRefused
from switch.payments.world import RoadSettings, World
from switch.ports import Approved, Channel, ChannelRequest, ChannelResult, Declined, Phase, Unknown


@dataclass(slots=True, frozen=True)
class FollowOnRequest:
    """money: None for a void or reversal: the whole. transmission_time_ms, idempotency_key: its own."""

    operation: Operation
    acquirer_id: str
    merchant_id: str
    authorization_id: UUID
    idempotency_key: str
    transmission_time_ms: int
    money: Money | None = None


class FollowOns:
    def __init__(self, world: World, settings: RoadSettings) -> None:
        self._world = world
        self._settings = settings

    async def carry_out(self, request: FollowOnRequest) -> FollowOn:
        """The stored follow-on with its outcome; raises a `NotAnswered` or `StoreUnavailable`."""
        age_ms = self._world.clock.time_ms() - request.transmission_time_ms
        if not -self._settings.latest_ms <= age_ms <= self._settings.earliest_ms:
            raise TransmissionTimeRefused(f"transmission_time_ms is {age_ms} ms before now")
        original = await self._world.journal.find(request.merchant_id, request.authorization_id)
        if original is not None and original.acquirer_id != request.acquirer_id:
            raise NotFound("no such authorization")
        if original is None and request.operation is not Operation.REVERSAL:
            raise NotFound("no such authorization")
        wanted = self._new(request, original)
        message = await self._message(wanted, original)
        stored, original = await self._world.journal.begin_follow_on(wanted, _tombstone(request, wanted))
        if stored.fingerprint != wanted.fingerprint:
            raise ContentDiffers("idempotency_key was used with other content")
        if stored.state not in (State.SENT, State.UNKNOWN) or original is None:
            return stored
        if message is None or not original.channel:
            return await self._finish(stored, original, Declined("40", "the channel does not offer this"))
        message.authorization = original
        message.trace = stored.trace
        message.repeat = int(stored is not wanted and stored.answered_time_ms > 0)
        return await self._finish(stored, original, await self._ask(self._world.channels[original.channel], message))

    def _new(self, request: FollowOnRequest, original: Authorization | None) -> FollowOn:
        identity = computed_id(
            request.acquirer_id, request.merchant_id, request.transmission_time_ms, request.idempotency_key
        )
        money = request.money or (original.money if original is not None else Money(0, "CNY"))
        content = f"{request.operation.value}\x1f{request.authorization_id}\x1f{request.money}"
        return FollowOn(
            identity, request.authorization_id, request.acquirer_id, request.merchant_id, request.operation, money,
            fingerprint=hashlib.sha256(content.encode()).digest()[:16], created_time_ms=self._world.clock.time_ms(),
        )  # fmt: skip

    async def _message(self, follow_on: FollowOn, original: Authorization | None) -> ChannelRequest | None:
        """The message with its identifiers, before the intent is stored; None if no channel can carry it."""
        channel = self._world.channels.get(original.channel) if original is not None else None
        if original is None or channel is None or follow_on.operation not in channel.operations:
            return None
        merchant = Merchant(original.merchant_id, category_code=original.merchant_category_code)
        message = ChannelRequest(
            follow_on.operation, original, follow_on.money, await unsealed(self._world.hsm, original), merchant, 0.0
        )
        channel.prepare([message])
        follow_on.trace = message.trace
        return message

    async def _ask(self, channel: Channel, message: ChannelRequest) -> ChannelResult:
        budget_s = (self._settings.answer_budget_ms - self._settings.answer_reserve_ms) / 1000
        message.deadline_s = asyncio.get_running_loop().time() + budget_s
        [reply] = channel.send([message])
        done, _ = await asyncio.wait([reply], timeout=budget_s)
        return reply.result() if done else Unknown(Phase.SENT, "the channel did not answer in time")

    async def _finish(self, stored: FollowOn, original: Authorization, result: ChannelResult) -> FollowOn:
        match result:
            case Approved():
                stored.state, stored.response_code = State.APPROVED, result.response_code
                stored.reason, stored.channel_reference = meaning(result.response_code), result.channel_reference
            case Declined():
                stored.state, stored.response_code = State.DECLINED, result.response_code
                stored.reason = result.reason or meaning(result.response_code)
            case Unknown(phase=Phase.NOT_SENT) if not _must_end(stored):
                stored.state, stored.response_code, stored.reason = State.DECLINED, CHANNEL_DOWN_CODE, result.reason
            case Unknown():
                stored.state, stored.response_code, stored.reason = State.UNKNOWN, UNKNOWN_CODE, result.reason
            case _:
                stored.state, stored.response_code = State.UNKNOWN, UNKNOWN_CODE
                stored.reason = "the channel has not finished it"
        stored.answered_time_ms = self._world.clock.time_ms()
        await self._world.journal.finish_follow_on(stored, original)
        return stored


def _must_end(stored: FollowOn) -> bool:
    """A reversal is pursued even if nothing was sent; so is what may have been sent by an earlier call."""
    return stored.operation is Operation.REVERSAL or stored.answered_time_ms > 0


def _tombstone(request: FollowOnRequest, follow_on: FollowOn) -> Authorization | None:
    """What a reversal leaves that overtook its original: the original finds it and is declined (invariant 7)."""
    if request.operation is not Operation.REVERSAL:
        return None
    return Authorization(
        request.authorization_id, request.acquirer_id, request.merchant_id, "", "", Operation.SALE, follow_on.money,
        EntryMode.KEYED, "", state=State.REVERSED, decision=Decision.DECLINED, response_code="22",
        reason="reversed before it arrived", stage="record", created_time_ms=follow_on.created_time_ms,
        answered_time_ms=follow_on.created_time_ms,
    )  # fmt: skip
