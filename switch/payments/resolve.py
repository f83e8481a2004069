"""What the switch could not learn in time, it learns here: reversals, inquiries, captures, refunds and increments, each
until its end (invariants 5 and 8).

Work is claimed from the journal under a lease and a fence, at most one item per payer at a time and in order; every
message's identifiers are durable before its first byte, and a repeat carries the same.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from switch.domain.authorization import FollowOn, Merchant
from switch.domain.states import Operation, State
from switch.payments.credential import unsealed
from switch.payments.decide import conclude, unknown
from switch.payments.follow_on import conclude_follow_on
from switch.payments.world import World
from switch.ports import (
    Approved,
    AwaitingPayer,
    ChannelRequest,
    ChannelResult,
    Declined,
    FollowUp,
    FollowUpResult,
    Phase,
    StoreUnavailable,
    Unknown,
)

log = structlog.get_logger()


# A channel without tombstones says that there is nothing to reverse. Once may mean that the original is still on its
# way; said so often, with growing pauses between, it means that the original never arrived.
_TIMES_MISSING = 3

# Refusals of the repeat itself, which say nothing of the message before it: not now, not by this number, not readable.
_SAY_NOTHING_OF_BEFORE = frozenset({"09", "30", "68", "77", "90", "91", "92", "94", "96", "98", "A0"})


@dataclass(slots=True, frozen=True)
class ResolveSettings:
    """Seconds, but for the counts.

    concurrency: batches under way at once, so that one silent channel does not hold up the others.
    backoff: the pause after the n-th silent reversal, capture, refund or increment is first × 2ⁿ, at most
    `backoff_max_s`; after `max_attempts` the authorization goes to the dead letters and an alert is raised; it is never
    dropped. A capture, refund or increment stays UNKNOWN with an alert every `max_attempts`, and is repeated every
    `backoff_max_s`.
    order_timeout_s: how long an order of a channel waits for its payer: as long as the wallets' codes are good. It is
    asked about less and less often, at most every `backoff_max_s`; a notification hastens it.
    """

    poll_s: float = 0.5
    take_over_s: float = 1.0
    concurrency: int = 4
    batch: int = 64
    lease_s: float = 30.0
    message_timeout_s: float = 5.0
    backoff_first_s: float = 1.0
    backoff_max_s: float = 60.0
    max_attempts: int = 1_000
    inquiry_interval_s: float = 3.0
    payer_timeout_s: float = 60.0
    order_timeout_s: float = 7_200.0


class Resolver:
    """One per process; any process may take any work."""

    def __init__(self, world: World, settings: ResolveSettings) -> None:
        self._world = world
        self._settings = settings
        self._tasks: list[asyncio.Task[None]] = []
        self._awake = asyncio.Event()
        self._given_up: list[FollowUp] = []

    def start(self) -> None:
        runners = range(self._settings.concurrency)
        self._tasks = [
            asyncio.create_task(self._run(self.turn, self._until_due), name=f"resolver.{each}") for each in runners
        ]
        self._tasks.append(
            asyncio.create_task(self._run(self.take_over, self._until_next_look), name="resolver.take_over")
        )

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Something is due before its time: look at once. Other processes learn of it when they poll."""
        self._awake.set()

    async def _until_due(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.poll_s):
                await self._awake.wait()
        self._awake.clear()

    async def _until_next_look(self) -> None:
        await asyncio.sleep(self._settings.take_over_s)

    async def _run(self, turn: Callable[[], Awaitable[int]], pause: Callable[[], Awaitable[None]]) -> None:
        while True:
            busy = False
            try:
                busy = await turn() > 0
            except StoreUnavailable as error:
                log.warning("resolver_waits_for_database", reason=str(error))
            except Exception:
                log.exception("resolver_turn_failed")
            await (asyncio.sleep(0) if busy else pause())

    async def take_over(self) -> int:
        """Open the reversals of what dead processes left in flight; returns how many."""
        world = self._world
        if not world.ownership.may_send():
            return 0
        taken_over = await world.journal.claim_in_doubt(world.ownership.owner)
        if taken_over:
            log.warning("in_doubt_taken_over", count=taken_over)
        return taken_over

    async def turn(self) -> int:
        """Claim one batch and carry it out; returns its size."""
        world, settings = self._world, self._settings
        if not world.ownership.may_send():
            return 0
        await self._release()
        work = await world.journal.claim_follow_ups(world.ownership.owner, settings.batch, settings.lease_s)
        try:
            await self._carry_out(work)
        except StoreUnavailable:
            # Nobody works on it from here on: once the database is back it need not wait for its lease to end.
            self._given_up += work
            raise
        return len(work)

    async def _release(self) -> None:
        given_up, self._given_up = self._given_up, []
        if given_up:
            try:
                await self._world.journal.release_follow_ups(given_up)
            except StoreUnavailable:
                self._given_up += given_up
                raise

    async def _carry_out(self, work: list[FollowUp]) -> None:
        if not work:
            return
        world = self._world
        messages = [await self._message(each) for each in work]
        by_channel = _by_channel(messages)
        for name, those in by_channel.items():
            world.channels[name].prepare([each for each in those if each.repeat == 0])
        for follow_up, message in zip(work, messages, strict=True):
            if message is not None:
                follow_up.trace = message.trace
        await world.journal.keep_follow_up_trace(work)
        results = await self._ask(messages, by_channel)
        outcomes = [(each, self._judge(each, result)) for each, result in zip(work, results, strict=True)]
        await world.journal.finish_follow_ups(outcomes)
        for (follow_up, outcome), result in zip(outcomes, results, strict=True):
            world.observer.followed_up(follow_up.operation, follow_up.authorization.channel, result)
            if outcome.state is State.DEAD_LETTER:
                world.observer.dead_letter(follow_up.authorization.channel)

    async def _message(self, follow_up: FollowUp) -> ChannelRequest | None:
        """None if it cannot be sent now: no such channel any more, too early for it, or the HSM opens no credential."""
        record = follow_up.authorization
        if record.channel not in self._world.channels or self._too_early_s(follow_up) > 0:
            return None
        try:
            credential = await unsealed(self._world.hsm, record)
        except Exception as error:
            log.warning("credential_not_opened", authorization=str(record.id), reason=type(error).__name__)
            return None
        loop = asyncio.get_running_loop()
        if follow_up.follow_on is None:
            money, repeat = record.money, follow_up.attempts if follow_up.trace else 0
        else:
            money, repeat = follow_up.follow_on.money, follow_up.attempts + 1
        return ChannelRequest(
            follow_up.operation, record, money, credential,
            Merchant(record.merchant_id, category_code=record.merchant_category_code),
            loop.time() + self._settings.message_timeout_s, trace=follow_up.trace, repeat=repeat,
        )  # fmt: skip

    async def _ask(
        self, messages: list[ChannelRequest | None], by_channel: dict[str, list[ChannelRequest]]
    ) -> list[ChannelResult]:
        """One write per channel; a result per message, in order."""
        replies: dict[int, asyncio.Future[ChannelResult]] = {}
        for name, those in by_channel.items():
            sent = self._world.channels[name].send(those)
            replies.update((id(message), reply) for message, reply in zip(those, sent, strict=True))
        if replies:
            await asyncio.wait(replies.values(), timeout=self._settings.message_timeout_s)
        return [_result_of(replies.get(id(message))) for message in messages]

    def _judge(self, follow_up: FollowUp, result: ChannelResult) -> FollowUpResult:
        if follow_up.follow_on is not None:
            return self._judge_follow_on(follow_up, follow_up.follow_on, result)
        if follow_up.operation is Operation.INQUIRY:
            return self._judge_inquiry(follow_up, result)
        return self._judge_reversal(follow_up, result)

    def _too_early_s(self, follow_up: FollowUp) -> float:
        """How long until the channel would take this reversal: WeChat Pay refuses one within 15 s of the payment."""
        record = follow_up.authorization
        channel = self._world.channels.get(record.channel)
        if follow_up.operation is not Operation.REVERSAL or channel is None:
            return 0.0
        age_s = (self._world.clock.time_ms() - record.created_time_ms) / 1000
        return max(0.0, channel.reversal_after_s - age_s)

    def _judge_reversal(self, follow_up: FollowUp, result: ChannelResult) -> FollowUpResult:
        """Only the channel's own word ends a reversal; a refusal is tried again, since the money may be held."""
        if isinstance(result, Approved) or (_original_missing(result) and follow_up.attempts + 1 >= _TIMES_MISSING):
            return FollowUpResult(State.REVERSED)
        reason = _reason_of(result)
        if follow_up.attempts + 1 >= self._settings.max_attempts:
            log.error("dead_letter", authorization=str(follow_up.authorization.id), reason=reason)
            return FollowUpResult(State.DEAD_LETTER)
        return FollowUpResult(None, max(self._pause_s(follow_up.attempts), self._too_early_s(follow_up)))

    def _judge_follow_on(self, follow_up: FollowUp, follow_on: FollowOn, result: ChannelResult) -> FollowUpResult:
        """A repeat is answered as the first message was, or carried out now; either way that is the outcome."""
        refused = isinstance(result, Declined) and result.response_code not in _SAY_NOTHING_OF_BEFORE
        if refused or isinstance(result, Approved):
            conclude_follow_on(follow_on, result, self._world.clock.time_ms())
            return FollowUpResult(follow_on.state)
        follow_on.reason = _reason_of(result)
        sent = follow_up.attempts + 1
        if sent % self._settings.max_attempts:
            over = sent > self._settings.max_attempts
            return FollowUpResult(None, self._settings.backoff_max_s if over else self._pause_s(follow_up.attempts))
        log.error(
            "dead_letter", authorization=str(follow_on.authorization_id), follow_on=str(follow_on.id),
            operation=follow_on.operation.name, attempts=sent, reason=follow_on.reason,
        )  # fmt: skip
        return FollowUpResult(State.DEAD_LETTER, self._settings.backoff_max_s)

    def _pause_s(self, attempts: int) -> float:
        return min(self._settings.backoff_max_s, self._settings.backoff_first_s * 2.0 ** min(attempts, 20))

    def _judge_inquiry(self, follow_up: FollowUp, result: ChannelResult) -> FollowUpResult:
        record = follow_up.authorization
        if isinstance(result, Approved) or (isinstance(result, Declined) and not _original_missing(result)):
            conclude(record, result, "resolve")
            return FollowUpResult(record.state)
        waited_s = (self._world.clock.time_ms() - follow_up.first_due_time_ms) / 1000
        settings, is_order = self._settings, record.operation is Operation.ORDER
        if waited_s < (settings.order_timeout_s if is_order else settings.payer_timeout_s):
            slower_s = min(settings.backoff_max_s, waited_s / 10) if is_order else 0.0
            return FollowUpResult(None, max(settings.inquiry_interval_s, slower_s))
        reason = "the payer did not confirm in time" if isinstance(result, AwaitingPayer) else result.reason
        unknown(record, "resolve", reason)
        return FollowUpResult(State.UNKNOWN, 0.0)


def _reason_of(result: ChannelResult) -> str:
    return result.reason if isinstance(result, Declined | Unknown) else "the channel has not finished it"


def _by_channel(messages: list[ChannelRequest | None]) -> dict[str, list[ChannelRequest]]:
    grouped: dict[str, list[ChannelRequest]] = {}
    for message in messages:
        if message is not None:
            grouped.setdefault(message.authorization.channel, []).append(message)
    return grouped


def _result_of(reply: "asyncio.Future[ChannelResult] | None") -> ChannelResult:
    if reply is None:
        return Unknown(Phase.NOT_SENT, "it could not be sent now")
    return reply.result() if reply.done() else Unknown(Phase.SENT, "the channel did not answer in time")


def _original_missing(result: ChannelResult) -> bool:
    return isinstance(result, Declined) and result.response_code == "25"
