"""What an acquirer asks later of an authorization: increment, capture, void, refund, reverse.

The same road, walked by one: find the original, reserve under its lock (the intent), send, record, answer. Only the
call that stored it sends it; a repeat is answered with what is stored, and what stays unknown is the resolver's
(invariants 5 and 8).
"""

import asyncio
import hashlib
from dataclasses import replace

import structlog

from switch.domain.authorization import Authorization, FollowOn, FollowOnRequest, Merchant
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.response_codes import meaning
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.payments.credential import unsealed
from switch.payments.decide import CHANNEL_DOWN_CODE, UNKNOWN_CODE
from switch.payments.errors import ContentDiffers, NotAnswered, NotFound, TransmissionTimeRefused, Unavailable
from switch.payments.world import RoadSettings, World
from switch.ports import Approved, ChannelRequest, ChannelResult, Declined, Phase, Unknown

log = structlog.get_logger()

_OF_ALL = frozenset({Operation.VOID, Operation.REVERSAL})


class FollowOns:
    def __init__(self, world: World, settings: RoadSettings) -> None:
        self._world = world
        self._settings = settings
        self._working: set[asyncio.Task[FollowOn]] = set()

    async def carry_out(self, request: FollowOnRequest) -> FollowOn:
        """The stored follow-on with its outcome; raises a `NotAnswered` or `StoreUnavailable`.

        A caller that goes away, or whose answer the database keeps waiting, does not stop the work.
        """
        budget_s = self._settings.answer_budget_ms / 1000
        work = asyncio.create_task(self._carry_out(request, self._world.clock.monotonic_s()), name="follow_on")
        self._working.add(work)
        work.add_done_callback(self._ended)
        done, _ = await asyncio.wait([work], timeout=budget_s)
        if not done:
            raise Unavailable("no durable decision in time; send the same request again")
        return work.result()

    def _ended(self, work: "asyncio.Task[FollowOn]") -> None:
        self._working.discard(work)
        error = None if work.cancelled() else work.exception()
        if error is not None and not isinstance(error, NotAnswered):
            log.warning("follow_on_failed", reason=f"{type(error).__name__}: {error}")

    async def _carry_out(self, request: FollowOnRequest, begun_s: float) -> FollowOn:
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
        if stored is not wanted:
            return _as_answered(stored)
        if stored.state is not State.SENT or original is None:
            return stored
        budget_s = (self._settings.answer_budget_ms - self._settings.answer_reserve_ms) / 1000
        return await self._finish(stored, original, await self._ask(stored, original, message, begun_s + budget_s))

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
        # What undoes all of it carries the original's amount, whichever the acquirer named (invariant 8).
        money = original.money if follow_on.operation in _OF_ALL else follow_on.money
        message = ChannelRequest(
            follow_on.operation, original, money, await unsealed(self._world.hsm, original), merchant, 0.0
        )
        channel.prepare([message])
        follow_on.trace = message.trace
        return message

    async def _ask(
        self, follow_on: FollowOn, original: Authorization, message: ChannelRequest | None, deadline_s: float
    ) -> ChannelResult:
        channel = self._world.channels.get(original.channel)
        if channel is None:
            return Unknown(Phase.NOT_SENT, "there is no way to the channel")
        if follow_on.operation not in channel.operations:
            return Declined("40", f"{channel.name} has no {follow_on.operation.words}")
        if message is None or message.authorization.channel != original.channel:
            return Unknown(Phase.NOT_SENT, "the original moved on while this was prepared")
        remaining_s = deadline_s - self._world.clock.monotonic_s()
        if remaining_s <= 0:
            return Unknown(Phase.NOT_SENT, "no time was left to ask the channel")
        message.authorization, message.deadline_s = original, deadline_s
        [reply] = channel.send([message])
        done, _ = await asyncio.wait([reply], timeout=remaining_s)
        return reply.result() if done else Unknown(Phase.SENT, "the channel did not answer in time")

    async def _finish(self, stored: FollowOn, original: Authorization, result: ChannelResult) -> FollowOn:
        match result:
            case Unknown(phase=Phase.NOT_SENT) if stored.operation is not Operation.REVERSAL:
                # Only a reversal is pursued although nothing was sent.
                result = Declined(CHANNEL_DOWN_CODE, result.reason)
        conclude_follow_on(stored, result, self._world.clock.time_ms())
        await self._world.journal.finish_follow_on(stored, original)
        return stored


def conclude_follow_on(follow_on: FollowOn, result: ChannelResult, answered_time_ms: int) -> None:
    """Write a channel's result onto the follow-on. A channel that is still at it has not answered: UNKNOWN.

    An increment that was approved in part has that amount from now on.
    """
    follow_on.answered_time_ms = answered_time_ms
    match result:
        case Approved():
            follow_on.state, follow_on.response_code = State.APPROVED, result.response_code
            follow_on.reason, follow_on.channel_reference = meaning(result.response_code), result.channel_reference
            if follow_on.operation is Operation.INCREMENT and result.approved_minor is not None:
                approved_minor = max(0, min(result.approved_minor, follow_on.money.amount_minor))
                follow_on.money = Money(approved_minor, follow_on.money.currency)
        case Declined():
            follow_on.state, follow_on.response_code = State.DECLINED, result.response_code
            follow_on.reason = result.reason or meaning(result.response_code)
        case Unknown():
            follow_on.state, follow_on.response_code, follow_on.reason = State.UNKNOWN, UNKNOWN_CODE, result.reason
        case _:
            follow_on.state, follow_on.response_code = State.UNKNOWN, UNKNOWN_CODE
            follow_on.reason = "the channel has not finished it"


def _as_answered(stored: FollowOn) -> FollowOn:
    """What a repeat is told: of one that another call is sending just now, that its outcome is not known yet."""
    if stored.state is not State.SENT:
        return stored
    return replace(stored, state=State.UNKNOWN, response_code=UNKNOWN_CODE, reason="it is being carried out")


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
