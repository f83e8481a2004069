"""THE ROAD: one authorization from the door to its answer. Read from top to bottom.

    enter → admit → open → assess → route → protect → record → (order →) send → decide → conclude → answer
                                               ↑______________ the next channel ______________|

Every stage takes a batch; what a stage decides passes the others by, with the reason and the stage on its record.
Nothing is sent before its intent is durable (record), nothing is answered before its outcome is (conclude).
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import structlog

from switch.domain.authorization import Authorization, AuthorizationRequest, CardCredential, ChannelOrder
from switch.domain.states import State
from switch.payments.afterwards import Afterwards
from switch.payments.credential import HASH_KEY, SEAL_KEY
from switch.payments.deadlines import Deadlines
from switch.payments.decide import CHANNEL_DOWN_CODE, conclude, decline, tries_elsewhere, unknown
from switch.payments.errors import ContentDiffers, NotAnswered, Overloaded, TransmissionTimeRefused, Unavailable
from switch.payments.intake import credential_bytes, expired, fingerprint, new_record
from switch.payments.opening import Opening, is_closed
from switch.payments.presented_facts import Moment, presented
from switch.payments.stop import Failed, Stop, Work
from switch.payments.transaction import Transaction
from switch.payments.world import RoadSettings, World
from switch.ports import ChannelRequest, ChannelResult, OrderRefused, Phase, Unknown
from switch.routing.choose import NO_RULE, and_then, choose

log = structlog.get_logger()
_R = TypeVar("_R")


_NOT_SENT_REASON = "not sent: the switch could not record it"
_NO_ORDERS = OrderRefused("40", "not taken by this switch")


class Road:
    """Carries authorizations. `enter` is the only way in; the returned future is the only way out."""

    def __init__(self, world: World, settings: RoadSettings) -> None:
        self._world = world
        self._settings = settings
        self._open: dict[int, Transaction] = {}
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self._afterwards = Afterwards(world.journal, world.ownership)
        self._opening = Opening(world.hsm, world.openers)
        self._elsewhere: set[asyncio.Task[None]] = set()
        self._queueing_s = 0.0
        self._drained = asyncio.Event()
        self._in_flight = 0
        self._admits = True

        # Where transactions wait and become batches: before the first shared thing, the intent, the outcome. Between
        # two of them a batch stays together, since every further wait would only cut it smaller.
        self.judging = self._stop("judge", self._judge, self._lost_before_intent)
        self.recording = self._stop("record", self._record, self._lost_around_intent)
        self.ordering = self._stop("order", self._begin_orders, self._lost_before_order)
        self.concluding = self._stop("conclude", self._conclude, self._lost_outcome)
        self.cascading = self._stop("cascade", self._cascade, self._lost_before_next_channel)
        self.stops = (self.judging, self.recording, self.ordering, self.concluding, self.cascading)

    def _stop(self, name: str, work: Work, failed: Failed) -> Stop:
        settings = self._settings
        return Stop(
            name,
            work,
            failed,
            self._world.observer,
            max_batch=settings.max_batch,
            pace_s=settings.pace_ms / 1000,
        )

    # --- enter: refuse at once what cannot be answered ---------------------------------------------------------------

    def enter(self, request: AuthorizationRequest, budget_s: float) -> "asyncio.Future[Authorization]":
        """Start one authorization; `budget_s` seconds from now its answer is due (at most the answer budget).

        The future yields the durable record or raises a `NotAnswered`. It is shared by concurrent repeats: shield it.
        """
        answer: asyncio.Future[Authorization] = self._loop.create_future()
        answer.add_done_callback(_consume)
        now_s = self._loop.time()
        now_ms = self._world.clock.time_ms()
        budget_s = min(budget_s, self._settings.answer_budget_ms / 1000)
        refusal = self._refusal(request, now_ms, budget_s)
        if refusal is not None:
            self._world.observer.refused(type(refusal).__name__)
            answer.set_exception(refusal)
            return answer
        transaction = Transaction(request, new_record(request, now_ms), now_s, now_s + budget_s, answer)
        self._in_flight += 1
        answer.add_done_callback(partial(self._left, transaction))
        self._deadlines.at(transaction.deadline_s, partial(_answer_is_late, transaction))
        self.judging.put_one(transaction)
        return answer

    def _refusal(self, request: AuthorizationRequest, now_ms: int, budget_s: float) -> NotAnswered | None:
        settings = self._settings
        if not self._admits:
            return Unavailable("this process is draining; send the same request to another")
        age_ms = now_ms - request.transmission_time_ms
        if not -settings.latest_ms <= age_ms <= settings.earliest_ms:
            return TransmissionTimeRefused(f"transmission_time_ms is {age_ms} ms before now")
        queue_is_long = self._in_flight > 4 * settings.max_batch and self._queueing_s > 0.6 * budget_s
        if queue_is_long or self._in_flight >= settings.max_in_flight:
            return Overloaded("no answer is to be expected in time; send again later")
        return None

    # --- judge: everything before the intent, one batch, stage by stage ----------------------------------------------

    async def _judge(self, batch: list[Transaction]) -> None:
        admitted = await self._timed("admit", self._admit, batch)
        closed = [each for each in _undecided(admitted) if is_closed(each.request)]
        if closed:
            await self._timed("open", self._opening.open, closed)
        await self._timed("assess", self._assess, admitted)
        self._route(_undecided(admitted))
        await self._timed("protect", self._protect, _undecided(admitted))
        self.recording.put([each for each in admitted if not each.answer.done()])

    async def _timed(
        self, name: str, work: Callable[[list[Transaction]], Awaitable[_R]], batch: list[Transaction]
    ) -> _R:
        started_s = self._loop.time()
        result = await work(batch)
        self._world.observer.stage(name, len(batch), self._loop.time() - started_s)
        return result

    # --- admit: who is it, and do we know it already -----------------------------------------------------------------

    async def _admit(self, batch: list[Transaction]) -> list[Transaction]:
        """Returns those that go on: neither refused nor waiting for the answer of their first sending."""
        hsm = self._world.hsm
        credentials = [credential_bytes(each.request.credential, each.record.id) for each in batch]
        keys = await hsm.keyed_hashes([(HASH_KEY, credential) for credential in credentials])
        admitted: list[Transaction] = []
        with_credential: list[Transaction] = []
        to_seal: list[tuple[str, bytes, bytes]] = []
        for transaction, key, credential in zip(batch, keys, credentials, strict=True):
            if isinstance(key, Exception):
                transaction.refuse(Unavailable("the HSM is not available"))
                continue
            record = transaction.record
            record.payer_key = key[:16]
            record.fingerprint = fingerprint(transaction.request, key)
            if self._joins_open(transaction):
                continue
            admitted.append(transaction)
            if not isinstance(transaction.request.credential, ChannelOrder):
                with_credential.append(transaction)
                to_seal.append((SEAL_KEY, credential, record.id.bytes))
        for transaction, sealed in zip(with_credential, await hsm.seal(to_seal), strict=True):
            if isinstance(sealed, Exception):
                transaction.refuse(Unavailable("the HSM is not available"))
                continue
            transaction.record.sealed_credential = sealed
            if expired(transaction.request):
                decline(transaction.record, "admit", "54")
        return admitted

    def _joins_open(self, transaction: Transaction) -> bool:
        """A repeat of what is on the road now waits for the same answer."""
        first = self._open.setdefault(transaction.record.id.int, transaction)
        if first is transaction:
            return False
        if first.record.fingerprint != transaction.record.fingerprint:
            transaction.refuse(ContentDiffers("idempotency_key was used with other content"))
        else:
            first.answer.add_done_callback(partial(_pass_on, transaction))
        return True

    # --- assess: may this merchant, this payer, this way, this often --------------------------------------------------

    async def _assess(self, batch: list[Transaction]) -> None:
        """What was declined before is counted and judged all the same: guesses are to be seen."""
        world, currency = self._world, self._settings.reference_currency
        moment = Moment.of(world.clock.time_ms())
        asked = [presented(each.request, each.record, moment, currency) for each in batch]
        for transaction, judged in zip(batch, await world.monitor.judge(asked), strict=True):
            transaction.judged = judged
            if transaction.decided:
                continue
            record, judgement = transaction.record, judged.judgement
            refusal = world.standing(record.merchant_id, record.terminal_id)
            if refusal is not None:
                decline(record, "assess", refusal.response_code, refusal.reason)
            elif judgement.declines:
                decline(record, "assess", judgement.response_code, judgement.reason)

    # --- route: which channels, in which order -----------------------------------------------------------------------

    def _route(self, batch: list[Transaction]) -> None:
        table, picture = self._world.routing.table, self._world.picture()
        for transaction in batch:
            record = transaction.record
            route = choose(table, transaction.request, record.id, record.created_time_ms, picture)
            record.route_explanation = route.explanation
            transaction.candidates = list(route.channels)
            if route.refusal == NO_RULE:
                decline(record, "route", NO_RULE)
            elif route.refusal:
                decline(record, "route", route.refusal, route.explanation)

    # --- protect: the PIN under the channel's key, the message's identifiers -----------------------------------------

    async def _protect(self, batch: list[Transaction]) -> None:
        with_pin: list[Transaction] = []
        items: list[tuple[str, int, str, int, bytes, str]] = []
        for transaction in batch:
            channel = self._world.channels[transaction.candidates.pop(0)]
            request, record = transaction.request, transaction.record
            record.channel = channel.name
            record.attempt += 1
            transaction.message = ChannelRequest(
                request.operation, record, request.money, request.credential, request.merchant,
                self._send_deadline_s(transaction),
            )  # fmt: skip
            if request.pin is not None and isinstance(request.credential, CardCredential):
                pin, pan = request.pin, request.credential.pan.reveal()
                source = pin.key or f"acquirer/{request.acquirer_id}/zpk"
                items.append((source, pin.format, channel.pin_key, channel.pin_format, pin.block, pan))
                with_pin.append(transaction)
        if items:
            blocks = await self._world.hsm.translate_pins(items)
            for transaction, block in zip(with_pin, blocks, strict=True):
                assert transaction.message is not None
                if isinstance(block, Exception):
                    log.info("pin_not_translated", reason=type(block).__name__, channel=transaction.record.channel)
                    self._not_asked(transaction.record)
                    decline(transaction.record, "protect", "99")
                else:
                    transaction.message.pin_block = block
        by_channel: dict[str, list[ChannelRequest]] = {}
        for transaction in batch:
            if not transaction.decided and transaction.message is not None:
                by_channel.setdefault(transaction.record.channel, []).append(transaction.message)
        for name, messages in by_channel.items():
            self._world.channels[name].prepare(messages)
            for message in messages:
                message.authorization.trace = message.trace

    async def _cascade(self, batch: list[Transaction]) -> None:
        """Towards the next channel."""
        await self._timed("protect", self._protect, batch)
        self.recording.put(batch)

    @staticmethod
    def _not_asked(record: Authorization) -> None:
        record.attempt -= 1
        if record.attempt == 0:
            record.channel = ""

    def _send_deadline_s(self, transaction: Transaction) -> float:
        budget_s = transaction.deadline_s - transaction.arrived_s
        return transaction.deadline_s - min(self._settings.answer_reserve_ms / 1000, 0.3 * budget_s)

    # --- record: the intent is durable before the first byte (invariants 1 and 2) ------------------------------------

    async def _record(self, batch: list[Transaction]) -> None:
        # Whoever waited too long here was told so, and is not worth the database's time: nothing is stored of it yet.
        batch = [each for each in batch if each.record.owner is not None or self._worth_recording(each)]
        first_attempts = [each for each in batch if each.record.owner is None]
        cascading = [each for each in batch if each.record.owner is not None]
        recorded: list[Transaction] = []
        for transaction in first_attempts:
            transaction.record.owner = self._world.ownership.owner
        if first_attempts:
            judged = {each.record.id: each.judged for each in first_attempts if each.judged is not None}
            stored = await self._world.journal.record_intents([each.record for each in first_attempts], judged)
            for transaction, existing in zip(first_attempts, stored, strict=True):
                if existing is not None:
                    self._answer_repeat(transaction, existing)
                elif transaction.decided:
                    self._answer(transaction)
                elif transaction.request.scanned_order is not None:
                    self.ordering.put_one(transaction)
                else:
                    recorded.append(transaction)
        for transaction in cascading:
            if not transaction.decided and transaction.answer.done():
                # Its time ran out on the way here. Its row is durable, and must not stay SENT.
                decline(transaction.record, "record", CHANNEL_DOWN_CODE, "no time was left to ask the next channel")
        undecided = _undecided(cascading)
        if undecided:
            ours = await self._world.journal.record_attempts([each.record for each in undecided])
            for transaction, is_ours in zip(undecided, ours, strict=True):
                if is_ours:
                    recorded.append(transaction)
                else:
                    transaction.refuse(Unavailable("another process has taken this authorization over"))
        self.concluding.put([each for each in cascading if each.decided])
        if recorded:
            self._send(recorded)

    def _worth_recording(self, transaction: Transaction) -> bool:
        message = transaction.message
        if message is not None and self._loop.time() >= message.deadline_s:
            transaction.refuse(Overloaded("no time was left to ask the channel; send again later"))
        elif self._afterwards.holds(transaction.record.id):
            transaction.refuse(Unavailable("an earlier sending is not recorded yet; send the same request again"))
        return not transaction.answer.done()

    def _answer_repeat(self, transaction: Transaction, existing: Authorization) -> None:
        """What was stored is the answer, byte for byte; a reversal's tombstone declines its original (invariant 7)."""
        if existing.fingerprint and existing.fingerprint != transaction.record.fingerprint:
            transaction.refuse(ContentDiffers("idempotency_key was used with other content"))
        elif existing.decision is not None:
            transaction.record = existing
            self._answer(transaction)
        else:
            task = asyncio.create_task(self._await_other_process(transaction), name="road.await_other_process")
            self._elsewhere.add(task)
            task.add_done_callback(self._elsewhere.discard)

    async def _await_other_process(self, transaction: Transaction) -> None:
        """The same request is on another process's road: wait for the decision there, as long as there is time."""
        record = transaction.record
        while self._loop.time() < transaction.deadline_s and not transaction.answer.done():
            await asyncio.sleep(0.01)
            try:
                stored = await self._world.journal.find(record.merchant_id, record.id)
            except Exception as error:
                transaction.refuse(Unavailable(str(error)))
                return
            if stored is not None and stored.decision is not None:
                transaction.record = stored
                self._answer(transaction)
                return

    # --- order: a payment of an order that takes no other is declined unsent ------------------------------------------

    async def _begin_orders(self, batch: list[Transaction]) -> None:
        """After the intent, so that a repeat begins nothing; before the first byte, so that no money moves in vain."""
        orders = self._world.orders
        if orders is None:
            refusals: list[OrderRefused | None] = [_NO_ORDERS] * len(batch)
        else:
            presented = [(each.record.id, each.request) for each in batch]
            refusals = await orders.begin(presented, self._world.clock.time_ms())
        for transaction, refusal in zip(batch, refusals, strict=True):
            if refusal is not None:
                decline(transaction.record, "order", refusal.response_code, refusal.reason)
        self.concluding.put([each for each in batch if each.decided])
        begun = [each for each in batch if not each.decided]
        if begun:
            self._send(begun)

    # --- send: one write per channel and batch -----------------------------------------------------------------------

    def _send(self, batch: list[Transaction]) -> None:
        now_s = self._loop.time()
        by_channel: dict[str, list[Transaction]] = {}
        may_send = self._world.ownership.may_send()
        for transaction in batch:
            message = transaction.message
            assert message is not None
            if not may_send:
                transaction.refuse(Unavailable("this process lost its lease"))
            elif now_s >= message.deadline_s:
                decline(transaction.record, "send", CHANNEL_DOWN_CODE, "no time was left to ask the channel")
                self.concluding.put_one(transaction)
            else:
                by_channel.setdefault(transaction.record.channel, []).append(transaction)
        self._queueing_s += 0.2 * (now_s - batch[0].arrived_s - self._queueing_s)
        for name, transactions in by_channel.items():
            replies = self._hand_over(name, [each.message for each in transactions if each.message])
            for transaction, reply in zip(transactions, replies, strict=True):
                assert transaction.message is not None
                transaction.sent_s = now_s
                transaction.reply = reply
                reply.add_done_callback(partial(self._decide, transaction))
                self._deadlines.at(transaction.message.deadline_s, partial(_channel_is_silent, transaction))

    def _hand_over(self, name: str, messages: list[ChannelRequest]) -> "list[asyncio.Future[ChannelResult]]":
        try:
            return self._world.channels[name].send(messages)
        except Exception:
            # A channel does not raise for what its peer does: this is a fault of ours, and how far it got is unknown.
            log.exception("channel_raised", channel=name)
            replies: list[asyncio.Future[ChannelResult]] = [self._loop.create_future() for _ in messages]
            for reply in replies:
                reply.set_result(Unknown(Phase.SENT, "the channel failed"))
            return replies

    # --- decide: what the channel's result means, or which channel is next -------------------------------------------

    def _decide(self, transaction: Transaction, reply: "asyncio.Future[ChannelResult]") -> None:
        result = _result_of(reply)
        channel = transaction.record.channel
        self._world.observer.channel(transaction.record, result, self._loop.time() - transaction.sent_s)
        message = transaction.message
        assert message is not None
        if transaction.candidates and tries_elsewhere(result) and self._loop.time() < message.deadline_s:
            record = transaction.record
            record.route_explanation = and_then(record.route_explanation, f"{channel} could not serve")
            self.cascading.put_one(transaction)
            return
        conclude(transaction.record, result, "decide")
        self.concluding.put_one(transaction)

    # --- conclude and answer: the outcome is durable before the caller hears it --------------------------------------

    async def _conclude(self, batch: list[Transaction]) -> None:
        now_ms = self._world.clock.time_ms()
        for transaction in batch:
            transaction.record.answered_time_ms = now_ms
        after_s = [self._follow_up_after_s(each.record) for each in batch]
        ours = await self._world.journal.record_outcomes([each.record for each in batch], after_s)
        for transaction, is_ours in zip(batch, ours, strict=True):
            if is_ours:
                self._answer(transaction)
            else:
                transaction.refuse(Unavailable("another process has taken this authorization over"))

    def _follow_up_after_s(self, record: Authorization) -> float:
        if record.state is State.AWAITING_PAYER:
            return self._settings.inquiry_after_s
        if record.state is State.UNKNOWN and record.channel in self._world.channels:
            return self._world.channels[record.channel].reversal_after_s
        return 0.0

    def _answer(self, transaction: Transaction) -> None:
        if not transaction.answer.done():
            transaction.answer.set_result(transaction.record)

    def _left(self, transaction: Transaction, answer: "asyncio.Future[Authorization]") -> None:
        """The caller has its answer or its error; whatever of it is still being recorded goes on."""
        self._in_flight -= 1
        elapsed_s = self._loop.time() - transaction.arrived_s
        error = None if answer.cancelled() else answer.exception()
        if error is None and not answer.cancelled():
            self._world.observer.answered(transaction.record, elapsed_s)
        else:
            self._world.observer.refused(type(error).__name__)
        if self._open.get(transaction.record.id.int) is transaction:
            del self._open[transaction.record.id.int]
        if self._in_flight == 0:
            self._drained.set()

    # --- what a failing stage means ----------------------------------------------------------------------------------

    def _lost_before_intent(self, batch: list[Transaction], error: Exception) -> None:
        for transaction in batch:
            transaction.refuse(Unavailable(f"could not be processed: {type(error).__name__}"))

    def _lost_around_intent(self, batch: list[Transaction], error: Exception) -> None:
        """The intent may be durable or not; nothing was sent. If it is, it must not stay open."""
        for transaction in batch:
            transaction.refuse(Unavailable("the database is not available"))
            decline(transaction.record, "record", "96", _NOT_SENT_REASON)
        self._afterwards.put([each.record for each in batch if each.record.owner is not None])

    def _lost_before_order(self, batch: list[Transaction], error: Exception) -> None:
        self._lost_unsent(batch, "order", error)

    def _lost_before_next_channel(self, batch: list[Transaction], error: Exception) -> None:
        self._lost_unsent(batch, "protect", error)

    def _lost_unsent(self, batch: list[Transaction], stage: str, error: Exception) -> None:
        """The last channel was not asked or could not serve, the next was not asked: no money can have moved."""
        for transaction in batch:
            decline(transaction.record, stage, "96", f"could not be processed: {type(error).__name__}")
        self.concluding.put(batch)

    def _lost_outcome(self, batch: list[Transaction], error: Exception) -> None:
        """Not durable: nobody may hear it. Recorded UNKNOWN as soon as the database is back, which reverses it."""
        for transaction in batch:
            transaction.refuse(Unavailable("the database is not available"))
            if transaction.record.state is not State.DECLINED:
                unknown(transaction.record, "conclude", "the outcome could not be recorded in time")
        self._afterwards.put([each.record for each in batch])

    # --- for those who look after the road ---------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def oldest_open_time_ms(self) -> int:
        """No authorization that began before this is still undecided in the journal.

        Budgets are a fraction of a second; the half minute covers those whose caller was answered late.
        """
        horizon_ms = self._world.clock.time_ms() - 30_000
        return min([horizon_ms, *(each.created_time_ms for each in self._afterwards.waiting)])

    def stop_admitting(self) -> None:
        """From now on `enter` refuses; what is on the road goes to its end."""
        self._admits = False

    async def drain(self, timeout_s: float) -> bool:
        """Wait until everybody on the road has an answer; False if time ran out."""
        self._drained.clear()
        if self._in_flight == 0:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._drained.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        self._deadlines.close()
        await self._afterwards.close()
        for task in self._elsewhere:
            task.cancel()
        await asyncio.gather(*self._elsewhere, return_exceptions=True)


def _undecided(batch: list[Transaction]) -> list[Transaction]:
    return [each for each in batch if not each.decided and not each.answer.done()]


def _consume(answer: "asyncio.Future[Authorization]") -> None:
    """Mark an exception as seen: a caller that went away is no error."""
    if not answer.cancelled():
        answer.exception()


def _pass_on(transaction: Transaction, first: "asyncio.Future[Authorization]") -> None:
    if transaction.answer.done():
        return
    error = first.exception()
    if error is not None:
        transaction.answer.set_exception(error)
    else:
        transaction.record = first.result()
        transaction.answer.set_result(first.result())


def _answer_is_late(transaction: Transaction) -> None:
    if not transaction.answer.done():
        transaction.refuse(Unavailable("no durable decision in time; send the same request again"))


def _channel_is_silent(transaction: Transaction) -> None:
    if transaction.reply is not None and not transaction.reply.done():
        transaction.reply.set_result(Unknown(Phase.SENT, "the channel did not answer in time"))


def _result_of(reply: "asyncio.Future[ChannelResult]") -> ChannelResult:
    if reply.cancelled():
        return Unknown(Phase.SENT, "the channel gave up")
    error = reply.exception()
    if error is not None:
        log.error("channel_raised", reason=type(error).__name__)
        return Unknown(Phase.SENT, "the channel failed")
    return reply.result()
