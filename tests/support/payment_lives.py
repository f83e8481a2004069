"""Random lives of payments, led through the journal's own methods."""

import time
from random import Random
from uuid import UUID

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.ports import FollowUp, FollowUpResult
from switch.store.journal import PostgresJournal

_AMOUNTS = (1, 700, 10_000)
_ENDINGS = (State.APPROVED, State.APPROVED, State.APPROVED, State.DECLINED, State.UNKNOWN)
_FOLLOWING = (Operation.REFUND, Operation.REFUND, Operation.VOID, Operation.REVERSAL, Operation.CAPTURE)
_FOLLOWING_HELD = (
    Operation.CAPTURE,
    Operation.CAPTURE,
    Operation.CAPTURE,
    Operation.INCREMENT,
    Operation.REFUND,
    Operation.VOID,
)


class PaymentLives:
    """lateness_ms: a process's clock is behind by up to so much."""

    def __init__(self, journal: PostgresJournal, owner: UUID, random: Random, lateness_ms: int = 0) -> None:
        self._journal = journal
        self._owner = owner
        self._random = random
        self._lateness_ms = lateness_ms
        self._merchants = [f"m{random.getrandbits(40)}" for _ in range(2)]
        self._number = 0
        self._payments: list[Authorization] = []
        self._sent: list[Authorization] = []
        self._asked: list[tuple[FollowOn, Authorization]] = []
        self.acts = {
            self.begin: 6, self.answer: 6, self.refuse_at_once: 1, self.follow: 14, self.finish: 14, self.resolve: 4,
            self.overtake: 1,
        }  # fmt: skip

    async def act(self) -> None:
        (chosen,) = self._random.choices(list(self.acts), list(self.acts.values()))
        await chosen()

    async def begin(self) -> None:
        intents = [self._intent() for _ in range(3)]
        assert await self._journal.record_intents(intents) == [None] * 3
        self._payments += intents
        self._sent += intents

    async def refuse_at_once(self) -> None:
        """Before any channel: as the road records it, without a time of its answer."""
        intent = self._intent()
        intent.state, intent.decision, intent.response_code = State.DECLINED, Decision.DECLINED, "54"
        intent.channel, intent.trace = "", {}
        assert await self._journal.record_intents([intent]) == [None]
        self._payments.append(intent)

    async def overtake(self) -> None:
        """A reversal whose original has not come."""
        intent = self._intent()
        reversal = self._follow_on(intent, Operation.REVERSAL, 0)
        intent.state, intent.decision, intent.fingerprint = State.REVERSED, Decision.DECLINED, b""
        await self._journal.begin_follow_on(reversal, intent)

    async def answer(self) -> None:
        self._random.shuffle(self._sent)
        records, self._sent = self._sent[:3], self._sent[3:]
        for record in records:
            self._conclude(record, self._random.choice((*_ENDINGS, State.AWAITING_PAYER)))
        await self._journal.record_outcomes(records, [0.0] * len(records))

    async def follow(self) -> None:
        if not self._payments:
            return
        approved = [each for each in self._payments if each.state is State.APPROVED]
        original = self._random.choice(approved[-9:] if approved and self._random.random() < 0.8 else self._payments)
        held = original.operation is Operation.PRE_AUTHORIZATION
        operation = self._random.choice(_FOLLOWING_HELD if held else _FOLLOWING)
        whole = operation in (Operation.VOID, Operation.REVERSAL)
        follow_on = self._follow_on(original, operation, 0 if whole else self._random.choice(_AMOUNTS))
        stored, now = await self._journal.begin_follow_on(follow_on, None)
        if stored.state is State.SENT and now is not None:
            self._asked.append((follow_on, now))

    async def finish(self) -> None:
        if not self._asked:
            return
        follow_on, original = self._asked.pop(self._random.randrange(len(self._asked)))
        self._end(follow_on, self._random.choice(_ENDINGS))
        await self._journal.finish_follow_on(follow_on, original)

    async def resolve(self) -> None:
        claimed = await self._journal.claim_follow_ups(self._owner, 4, 60)
        await self._journal.finish_follow_ups([(each, self._result(each)) for each in claimed])

    def _result(self, follow_up: FollowUp) -> FollowUpResult:
        if self._random.random() < 0.3:
            return FollowUpResult(None, 0.0)
        if follow_up.follow_on is not None:
            self._end(follow_up.follow_on, self._random.choice((State.APPROVED, State.DECLINED)))
            return FollowUpResult(follow_up.follow_on.state)
        if follow_up.operation is Operation.INQUIRY:
            self._conclude(follow_up.authorization, self._random.choice(_ENDINGS))
            return FollowUpResult(follow_up.authorization.state)
        follow_up.trace = {"message_id": f"reversal-{self._next()}"}
        return FollowUpResult(self._random.choice((State.REVERSED, State.REVERSED, State.DEAD_LETTER)))

    def _conclude(self, record: Authorization, state: State) -> None:
        decisions = {State.UNKNOWN: Decision.UNKNOWN, State.AWAITING_PAYER: Decision.AWAITING_PAYER}
        record.state, record.decision = state, decisions.get(state, Decision.DECLINED)
        record.response_code, record.answered_time_ms = "51", self._now_ms()
        if state is State.APPROVED:
            part = self._random.choice((1, 1, 1, 2))
            record.decision, record.response_code = Decision.APPROVED, "00"
            record.approved_minor = record.money.amount_minor // part
            record.captured_minor = 0 if record.operation is Operation.PRE_AUTHORIZATION else record.approved_minor

    def _end(self, follow_on: FollowOn, state: State) -> None:
        follow_on.state, follow_on.answered_time_ms = state, self._now_ms()
        follow_on.response_code = {State.APPROVED: "00", State.DECLINED: "05"}.get(state, "68")

    def _intent(self) -> Authorization:
        number, now_ms, random = self._next(), self._now_ms(), self._random
        merchant = random.choice(self._merchants)
        entry = random.choice((EntryMode.NFC, EntryMode.PAYER_CODE, EntryMode.MERCHANT_QR))
        operation = random.choice((Operation.SALE, Operation.SALE, Operation.PRE_AUTHORIZATION, Operation.ORDER))
        traces: list[dict[str, str]] = [
            {"stan": f"{number:06}", "transmission": "1127120000"}, {"out_trade_no": f"p{number}"},
            {"message_id": f"i{number}", "out_trade_no": "never"}, {},
        ]  # fmt: skip
        return Authorization(
            id=computed_id("acquirer", merchant, now_ms, f"{merchant}-{number}"), acquirer_id="acquirer",
            merchant_id=merchant, terminal_id=random.choice(("t1", "t2", "t3")), merchant_category_code="5411",
            operation=operation, money=Money(random.choice((10_000, 33_333)), random.choice(("CNY", "CNY", "USD"))),
            entry=entry,
            masked_credential=random.choice(("622588******1234", "28**************34", "")), fingerprint=b"f" * 16,
            payer_key=random.choice((b"", b"ann", b"bob", b"cy")), channel=random.choice(("unionpay", "alipay")),
            attempt=1, trace=random.choice(traces), owner=self._owner, created_time_ms=now_ms,
        )  # fmt: skip

    def _follow_on(self, original: Authorization, operation: Operation, amount_minor: int) -> FollowOn:
        number, now_ms = self._next(), self._now_ms()
        trace = self._random.choice(({"stan": f"{number:06}"}, {"out_trade_no": "p", "out_refund_no": f"r{number}"}))
        return FollowOn(
            id=computed_id("acquirer", original.merchant_id, now_ms, f"{original.merchant_id}-{number}"),
            authorization_id=original.id, acquirer_id="acquirer", merchant_id=original.merchant_id,
            operation=operation, money=Money(amount_minor, original.money.currency), fingerprint=b"o" * 16,
            trace=trace, created_time_ms=now_ms,
        )  # fmt: skip

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _now_ms(self) -> int:
        return time.time_ns() // 1_000_000 - self._random.randrange(self._lateness_ms + 1)
