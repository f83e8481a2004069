"""Invariant 9, for any sequence of increments, captures, refunds, voids and reversals, against a channel's own book."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.states import Operation, State
from switch.ports import FollowUpResult, Journal
from switch.store.journal import PostgresJournal

_APPROVED_MINOR = 10_000
_UNDOES = (Operation.VOID, Operation.REVERSAL)
Step = tuple[Operation, int, State, State | None]
# Of each step: what is asked, for how much, what the channel says at once, and what it says to the repeat.
_STEPS = st.lists(
    st.tuples(
        st.sampled_from([Operation.INCREMENT, Operation.CAPTURE, Operation.CAPTURE, Operation.REFUND, *_UNDOES]),
        st.sampled_from([2_500, 5_000, _APPROVED_MINOR]),
        st.sampled_from([State.APPROVED, State.DECLINED, State.UNKNOWN, State.UNKNOWN]),
        st.sampled_from([State.APPROVED, State.DECLINED, *[None] * 5]),
    ),
    min_size=3,
    max_size=12,
)


@dataclass
class Book:
    """What the channel itself holds for us: it does as it is asked, and knows nothing of our rules."""

    authorized_minor: int = _APPROVED_MINOR
    captured_minor: int = 0
    refunded_minor: int = 0
    undone: bool = False
    open: list[FollowOn] = field(default_factory=list)

    def do(self, follow_on: FollowOn) -> None:
        amount_minor = follow_on.money.amount_minor
        if follow_on.operation is Operation.INCREMENT:
            self.authorized_minor += amount_minor
        elif follow_on.operation is Operation.CAPTURE:
            self.captured_minor += amount_minor
        elif follow_on.operation is Operation.REFUND:
            self.refunded_minor += amount_minor
        else:
            self.undo()
        assert 0 <= self.refunded_minor <= self.captured_minor <= self.authorized_minor
        assert not self.undone or self.captured_minor == 0

    def undo(self) -> None:
        """All of it, increments too. Of what was captured later or refunded nothing may be undone."""
        assert self.refunded_minor == 0
        assert self.captured_minor in (0, _APPROVED_MINOR)
        self.undone, self.captured_minor = True, 0


def agree(record: Authorization, book: Book) -> None:
    """Ours is never more generous than theirs; what is open is reserved by us, and not with them yet."""
    assert 0 <= record.refunded_minor <= record.captured_minor <= record.approved_minor
    assert record.approved_minor == _APPROVED_MINOR + record.incremented_minor == book.authorized_minor
    pending = {
        operation: sum(each.money.amount_minor for each in book.open if each.operation is operation)
        for operation in (Operation.CAPTURE, Operation.REFUND)
    }
    if record.state is State.APPROVED:
        assert record.captured_minor == book.captured_minor + pending[Operation.CAPTURE]
        assert record.refunded_minor == book.refunded_minor + pending[Operation.REFUND]
    else:
        assert record.captured_minor == record.refunded_minor


async def walk(
    journal: Journal, original: Authorization, make_follow_on: Callable[..., FollowOn], owner: UUID,
    steps: list[Step],
) -> None:  # fmt: skip
    book = Book(captured_minor=original.captured_minor)
    for operation, amount_minor, said, later in steps:
        follow_on = make_follow_on(original, operation, 0 if operation in _UNDOES else amount_minor)
        stored, _ = await journal.begin_follow_on(follow_on, None)
        if stored.state is State.SENT:
            follow_on.state, follow_on.response_code, follow_on.answered_time_ms = said, "00", 1
            if said is State.APPROVED:
                book.do(follow_on)
            elif said is State.UNKNOWN and operation not in _UNDOES:
                book.open.append(replace(follow_on))
            await journal.finish_follow_on(follow_on, original)
        await _pursue(journal, owner, original, book, later)
        record = await journal.find(original.merchant_id, original.id)
        assert record is not None
        if record.state is not State.APPROVED:
            book.open = [each for each in book.open if each.operation is not Operation.INCREMENT]
        agree(record, book)


async def _pursue(journal: Journal, owner: UUID, original: Authorization, book: Book, said: State | None) -> None:
    """One turn of the resolver: None is silence."""
    for work in await journal.claim_follow_ups(owner, 100, 60):
        follow_on = work.follow_on
        if work.authorization.id != original.id:
            continue  # an earlier example's
        if follow_on is None:
            if said is State.APPROVED:
                book.undo()
            result = FollowUpResult(State.REVERSED if said is State.APPROVED else None)
        else:
            if said is State.APPROVED:
                book.do(follow_on)
            if said is not None:
                follow_on.state, follow_on.response_code = said, "00"
                book.open = [each for each in book.open if each.id != follow_on.id]
            result = FollowUpResult(said)
        await journal.finish_follow_ups([(work, result)])


@pytest.mark.timeout(600)
@settings(
    max_examples=200, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(operation=st.sampled_from([Operation.PRE_AUTHORIZATION] * 3 + [Operation.SALE]), steps=_STEPS)
async def test_no_sequence_breaks_the_order_of_amounts(
    journal: PostgresJournal, approve: Callable[..., Any], make_follow_on: Callable[..., FollowOn], owner: UUID,
    operation: Operation, steps: list[Step],
) -> None:  # fmt: skip
    original = await approve(operation=operation)
    await walk(journal, original, make_follow_on, owner, steps)
