"""Money properties of the ledger over any life of a payment, in memory: entering is pure."""

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from switch.domain.contract import Contract, Rate
from switch.domain.entering import PaymentBooks, enter, enters, posting_id, postings_of
from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.ledger import DISPUTED, FEES, LOSSES, MERCHANT, Leg, Posting, PostingKind
from switch.domain.money import Money
from switch.domain.states import EntryMode, Operation

NIL = UUID(int=0)

rates = st.builds(
    Rate, st.just(""), st.just(""), st.just(0), st.integers(0, 1_000), st.integers(0, 50), st.integers(0, 100),
    st.integers(0, 3_000),
)  # fmt: skip
parts = st.lists(st.integers(1, 50_000), min_size=1, max_size=5)


@dataclass
class Ledger:
    """What `enter` says, kept as the database keeps it."""

    contract: Contract | None
    books: PaymentBooks = field(default_factory=PaymentBooks)
    entered: dict[UUID, Posting] = field(default_factory=dict)

    def tell(self, kind: EventKind, amount: int, number: int = 0, operation: Operation = Operation.SALE) -> None:
        event = JournalEvent(
            number + 1, "m", UUID(int=9 << 80), UUID(int=number), kind, operation, Money(amount, "CNY"), 86_400_000,
            0, "a", "t", "unionpay", EntryMode.NFC, "00", "r", b"", "",
        )  # fmt: skip
        if not enters(event):
            return
        one = enter(event, self.contract, self.books, "", {})
        if one is not None:
            self.entered.setdefault(one.posting.id, one.posting)

    def total(self, account: str, *kinds: PostingKind) -> int:
        return sum(
            leg.amount_minor
            for each in self.entered.values()
            for leg in each.legs
            if leg.account == account and (not kinds or each.kind in kinds)
        )


def contract_with(rate: Rate, returns: bool) -> Contract:
    return Contract("m", 1, "2020-01-01", "CNY", (rate,), refunds_return_fee=returns)


@given(rates, parts, st.lists(st.integers(1, 50_000), max_size=8), st.booleans(), st.booleans())
def test_the_books_of_a_payment_hold_whatever_happens(
    rate: Rate, captures: list[int], refunds: list[int], returns: bool, undone: bool
) -> None:
    ledger = Ledger(contract_with(rate, returns))
    for number, amount in enumerate(captures, 1):
        ledger.tell(EventKind.CAPTURED, amount, number)
    captured, taken = sum(captures), -ledger.total(FEES)
    refunded = 0
    for number, wanted in enumerate(refunds, 100):
        amount = min(wanted, captured - refunded)
        if amount:
            ledger.tell(EventKind.REFUNDED, amount, number)
            refunded += amount
        kept = -ledger.total(FEES)
        assert 0 <= kept <= taken <= captured
        if returns and refunded == captured:
            assert kept == 0
        if not returns:
            assert kept == taken
    if undone:
        ledger.tell(EventKind.UNDONE, captured - refunded)
        assert ledger.total(FEES) == ledger.total("channel:unionpay") == ledger.total(MERCHANT) == 0
    sums = Counter[str]()
    for each in ledger.entered.values():
        assert sum(leg.amount_minor for leg in each.legs) == 0
        sums[each.currency] += sum(leg.amount_minor for leg in each.legs)
    assert set(sums.values()) <= {0}
    assert ledger.total(MERCHANT) == -ledger.total("channel:unionpay") - ledger.total(FEES)


@given(rates, st.integers(1, 100_000), st.lists(st.integers(1, 100), min_size=1, max_size=12))
def test_a_fee_returned_in_any_parts_is_returned_whole(rate: Rate, amount: int, weights: list[int]) -> None:
    ledger = Ledger(contract_with(rate, returns=True))
    ledger.tell(EventKind.APPROVED, amount)
    fee, left, rest = -ledger.total(FEES), amount, sum(weights)
    for number, weight in enumerate(weights, 1):
        part = left * weight // rest
        if part:
            ledger.tell(EventKind.REFUNDED, part, number)
        left, rest = left - part, rest - weight
        # Never more than half a minor unit from its proportion.
        returned = fee + ledger.total(FEES)
        assert abs(2 * returned * amount - 2 * fee * (amount - left)) <= amount
    assert left == 0
    assert ledger.total(FEES) == ledger.total(MERCHANT) == 0


@given(rates, parts, st.permutations(range(5)))
def test_told_again_in_any_order_nothing_is_entered_twice(rate: Rate, captures: list[int], order: list[int]) -> None:
    ledger = Ledger(contract_with(rate, returns=False))
    for number, amount in enumerate(captures, 1):
        ledger.tell(EventKind.CAPTURED, amount, number)
    before = dict(ledger.entered)
    for number in order:
        if number < len(captures):
            ledger.tell(EventKind.CAPTURED, captures[number], number + 1)
    assert ledger.entered == before
    assert len(before) == len(captures)


@given(
    rates, st.integers(1, 100_000), st.data(),
    st.sampled_from([PostingKind.DISPUTE_WON, PostingKind.DISPUTE_LOST]), st.integers(0, 500),
)  # fmt: skip
def test_disputes_beside_refunds_keep_the_merchants_account_exact(
    rate: Rate, amount: int, data: st.DataObject, end: PostingKind, dispute_fee: int
) -> None:
    """Whoever enters a dispute uses `Posting`: it cannot be out of balance, and touches no other account."""
    ledger = Ledger(contract_with(rate, returns=True))
    ledger.tell(EventKind.APPROVED, amount)
    refunded = data.draw(st.integers(0, amount))
    if refunded:
        ledger.tell(EventKind.REFUNDED, refunded, 1)
    disputed = data.draw(st.integers(1, amount))

    def post(kind: PostingKind, *legs: Leg) -> None:
        number = UUID(int=10_000 + kind)
        posting = Posting("m", number, kind, "1970-01-02", "CNY", legs, "dispute/1", 0)
        ledger.entered.setdefault(number, posting)

    for _ in range(2):  # delivered twice
        post(PostingKind.CHARGEBACK, Leg(MERCHANT, disputed), Leg(DISPUTED, -disputed))
        gets = MERCHANT if end is PostingKind.DISPUTE_WON else "channel:unionpay"
        post(end, Leg(DISPUTED, disputed), Leg(gets, -disputed))
        if dispute_fee:
            post(PostingKind.DISPUTE_FEE, Leg(MERCHANT, dispute_fee), Leg(FEES, -dispute_fee))
    fee = min(max((amount * rate.basis_points * 2 + 10_000) // 20_000 + rate.fixed_minor, rate.minimum_minor), amount)
    fee = min(fee, rate.cap_minor or fee)
    returned = (fee * refunded * 2 + amount) // (2 * amount)
    lost = disputed if end is PostingKind.DISPUTE_LOST else 0
    assert -ledger.total(MERCHANT) == amount - fee - refunded + returned - lost - dispute_fee
    assert ledger.total(DISPUTED) == ledger.total(LOSSES) == 0
    assert sum(leg.amount_minor for each in ledger.entered.values() for leg in each.legs) == 0


@given(st.uuids(), st.uuids(), st.sampled_from(EventKind), st.sampled_from(EventKind))
def test_postings_are_named_apart_and_found_by_their_payment(
    payment: UUID, follow_on: UUID, kind: EventKind, other: EventKind
) -> None:
    low, high = postings_of(payment)
    assert low <= posting_id(payment, kind, follow_on) <= high
    assert (posting_id(payment, kind, NIL) == posting_id(payment, other, NIL)) == (kind is other)
