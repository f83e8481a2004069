"""Settlement batches: who is paid what, by whose hands, and that no money moves twice."""

import asyncio
import csv
import json
from io import StringIO
from typing import Any

import grpc
import pytest
from books import DAY, NEXT_DAY, SHOP, Books

from hsm.errors import HsmUnavailable
from switch.api.errors import status_of
from switch.domain.access import Caller, Role
from switch.domain.business_day import begins_ms, later
from switch.domain.journal_event import EventKind
from switch.domain.merchant import MerchantState
from switch.domain.refusals import Exists, Invalid, Missing, NotPermitted, NotPossible
from switch.domain.settlement import TRANSITIONS, Batch, Payout, PayoutState, batch_id_of
from switch.settlement import net

NUMBER = "6222021001234567890"
_SEALED_NUMBER = "SELECT sealed_number FROM settlement_payouts WHERE merchant_id ="
# Of other connections to this database.
_OPEN_TRANSACTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
      AND state LIKE 'idle in transaction%'
"""

ANN, BOB = (Caller(f"finance/{name}", frozenset({Role.FINANCE})) for name in ("ann", "bob"))


async def states(books: Books, batch: Batch) -> dict[str, PayoutState]:
    return {each.merchant_id: each.state for each in await books.batches.payouts(batch.id)}


async def reasons(books: Books, batch: Batch) -> dict[str, tuple[int, str]]:
    return {each.merchant_id: (each.balance_minor, each.reason) for each in await books.batches.left_out(batch.id)}


async def holds(books: Books) -> None:
    assert await books.checker.check("") == []


@pytest.fixture
async def earned(books: Books) -> Books:
    """A closed day: 9,940 are the shop's, of which 5 % are to be held back for 30 days."""
    books.merchants.sign(reserve_basis_points=500, reserve_days=30)
    await books.sale(10_000)
    await books.close_day()
    return books


async def test_a_batch_from_the_first_person_to_the_bank(earned: Books) -> None:
    books = earned
    batch = await books.settlements.create("k", "CNY", ANN)
    assert (batch.through_day, batch.payouts, batch.total_minor, batch.reserve_minor) == (DAY, 1, 9_443, 497)
    accounts = ("merchant", "in_transit", "reserve", "bank")
    assert [await books.balance(each) for each in accounts] == [0, -9_443, -497, 0]
    with pytest.raises(NotPermitted):
        await books.settlements.release(batch.id, ANN)
    released = await books.settlements.release(batch.id, BOB)
    assert (released.state, released.decided_by) == (PayoutState.RELEASED, "finance/bob")
    assert await books.settlements.release(batch.id, BOB) == released
    assert [await books.balance(each) for each in accounts] == [0, -9_443, -497, 0]
    assert await books.settlements.confirm(batch.id, [], ANN) == 1
    assert await books.settlements.confirm(batch.id, [SHOP], ANN) == 0
    assert [await books.balance(each) for each in accounts] == [0, 0, -497, -9_443]
    found = await books.batches.find(batch.id)
    assert found is not None
    assert found.state is PayoutState.PAID
    acts = await books.pool.fetch("SELECT act, who, after FROM audit_trail ORDER BY id")
    assert [(row["act"], row["who"]) for row in acts] == [
        ("SettlementService.CreateBatch", "finance/ann"), ("SettlementService.ReleaseBatch", "finance/bob"),
        ("SettlementService.ConfirmPayouts", "finance/ann"),
    ]  # fmt: skip
    assert json.loads(acts[0]["after"])["total_minor"] == 9_443
    assert "6222021001234567890" not in str(acts)
    await holds(books)


async def test_the_same_person_under_another_role_does_not_release(earned: Books) -> None:
    batch = await earned.settlements.create("k", "CNY", ANN)
    with pytest.raises(NotPermitted):
        await earned.settlements.release(batch.id, Caller("operator/ann", frozenset({Role.FINANCE})))


async def test_a_key_makes_one_batch_whoever_asks_at_once(earned: Books) -> None:
    made = await asyncio.gather(*(earned.settlements.create("k", "CNY", who) for who in (ANN, BOB, ANN)))
    assert made[0] == made[1] == made[2]
    assert await earned.balance("in_transit") == -9_443
    assert await earned.pool.fetchval("SELECT count(*) FROM audit_trail") == 1
    with pytest.raises(Exists):
        await earned.settlements.create("k", "HKD", ANN)


async def test_two_batches_at_once_set_a_balance_aside_once(earned: Books) -> None:
    made = await asyncio.gather(
        *(earned.settlements.create(key, "CNY", ANN) for key in ("k1", "k2", "k3")), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in made) == ["Batch", "NotPossible", "NotPossible"]
    assert await earned.balance("in_transit") == -9_443
    await holds(earned)


async def test_a_refund_while_a_batch_is_made_is_in_it_or_after_it(
    earned: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale = await earned.sale(50_000, day=NEXT_DAY)
    refund = earned.event(EventKind.REFUNDED, 1_000, of=sale, day=NEXT_DAY)
    known = earned.settlements._known

    async def then_refunded(*arguments: Any) -> Any:
        found = await known(*arguments)
        await earned.enter(refund)
        return found

    monkeypatch.setattr(earned.settlements, "_known", then_refunded)
    batch = await earned.settlements.create("k", "CNY", ANN)
    assert batch.total_minor + batch.reserve_minor == 9_940 - 1_000


async def test_what_is_not_closed_yet_is_not_paid_and_what_left_is_missing_at_once(earned: Books) -> None:
    sale = await earned.sale(50_000, day=NEXT_DAY)
    await earned.enter(earned.event(EventKind.REFUNDED, 1_000, of=sale, day=NEXT_DAY))
    batch = await earned.settlements.create("k", "CNY", ANN)
    assert batch.total_minor + batch.reserve_minor == 9_940 - 1_000


async def test_who_is_left_out_is_told_why(books: Books) -> None:
    """An amount for each, in the order of `net._hindrance`."""
    sale = books.event(amount=500, merchant_id="m1")
    books.merchants.sign("m1")
    books.merchants.sign("m2", currency="HKD")
    books.merchants.sign("m3")
    books.merchants.states["m3"] = MerchantState.SUSPENDED
    books.merchants.sign("m4")
    books.merchants.sign("m5", bank_code="1234")
    books.merchants.sign("m6", reserve_basis_points=10_000, reserve_days=1)
    books.merchants.sign()
    await books.enter(sale, books.event(EventKind.REFUNDED, 500, of=sale))  # the fee of 3 stays owed
    for number, amount in ((2, 1_000), (3, 1_000), (4, 100), (5, 1_000), (6, 1_000)):
        await books.sale(amount, merchant_id=f"m{number}")
    await books.sale(800, merchant_id="m7")  # never onboarded
    await books.sale(1_000)
    await books.close_day()
    batch = await books.settlements.create("k", "CNY", ANN)
    assert await states(books, batch) == {SHOP: PayoutState.DRAFT}
    assert await reasons(books, batch) == {
        "m1": (-3, net.NEGATIVE), "m2": (1_000, net.NO_CONTRACT), "m3": (994, net.NOT_ACTIVE),
        "m4": (99, net.BELOW_MINIMUM), "m5": (994, net.BANK_DETAILS), "m6": (994, net.BELOW_MINIMUM),
        "m7": (800, net.NO_CONTRACT),
    }  # fmt: skip


async def test_a_full_batch_leaves_the_rest_for_the_next(books: Books) -> None:
    for number in range(3):
        books.merchants.sign(f"m{number}")
        await books.sale(1_000, merchant_id=f"m{number}")
    await books.close_day()
    books.settlements._rules = type(books.settlements._rules)(books.settlements._rules.debtor, largest_batch=2)
    first, second = [await books.settlements.create(key, "CNY", ANN) for key in ("k1", "k2")]
    assert list(await states(books, first)) == ["m0", "m1"]
    assert await reasons(books, first) == {"m2": (994, net.FULL)}
    assert list(await states(books, second)) == ["m2"]


async def test_a_debt_is_carried_over_and_settled_first(books: Books) -> None:
    books.merchants.sign()
    sale = await books.sale(10_000)
    await books.close_day()
    batch = await books.settlements.create("k1", "CNY", ANN)
    await books.enter(books.event(EventKind.REFUNDED, 10_000, of=sale, day=NEXT_DAY))
    await books.sale(30_000, day=NEXT_DAY)
    await books.close_day(NEXT_DAY)
    second = await books.settlements.create("k2", "CNY", ANN)
    assert (batch.total_minor, second.total_minor) == (9_940, 30_000 - 180 - 10_000)
    await holds(books)


async def test_nothing_to_pay_is_refused_with_its_reasons(books: Books) -> None:
    with pytest.raises(NotPossible, match="no day is closed"):
        await books.settlements.create("k", "CNY", ANN)
    await books.sale(500)
    await books.close_day()
    with pytest.raises(NotPossible, match=net.NO_CONTRACT):
        await books.settlements.create("k", "CNY", ANN)
    for key, currency in (("", "CNY"), ("k" * 65, "CNY"), ("k", "XXX")):
        with pytest.raises(Invalid):
            await books.settlements.create(key, currency, ANN)


async def test_a_rejected_batch_gives_everything_back_and_may_be_made_anew(earned: Books) -> None:
    books = earned
    batch = await books.settlements.create("k1", "CNY", ANN)
    rejected = await books.settlements.reject(batch.id, "wrong day", ANN)
    assert (rejected.state, rejected.reason) == (PayoutState.REJECTED, "wrong day")
    assert await books.settlements.reject(batch.id, "again", BOB) == rejected
    assert [await books.balance(each) for each in ("merchant", "in_transit", "reserve")] == [-9_940, 0, 0]
    for act in (books.settlements.release(batch.id, BOB), books.settlements.confirm(batch.id, [], BOB)):
        with pytest.raises(NotPossible):
            await act
    assert (await books.settlements.create("k2", "CNY", ANN)).total_minor == 9_443
    # Its reserve is not given back a second time.
    await books.batches.release_due("2030-01-01", 1)
    assert await books.balance("reserve") == 0
    assert await books.balance() == -497
    await holds(books)


async def test_the_reserve_comes_back_by_itself_when_its_day_is_closed(earned: Books) -> None:
    books = earned
    await books.settlements.create("k", "CNY", ANN)
    due = later(NEXT_DAY, 30)
    await books.close_day(NEXT_DAY)
    await books.close_day(later(due, -1))
    assert await books.balance("reserve") == -497
    await books.close_day(due)
    assert [await books.balance(each) for each in ("reserve", "merchant")] == [0, -497]
    assert await books.batches.release_due(due, 1) == 0
    assert (await books.settlements.create("k2", "CNY", ANN)).payouts == 1
    await holds(books)


@pytest.mark.parametrize("after_paid", [False, True])
async def test_a_returned_payout_is_the_merchants_again_once(earned: Books, after_paid: bool) -> None:
    books = earned
    batch = await books.settlements.create("k", "CNY", ANN)
    with pytest.raises(NotPossible):
        await books.settlements.give_back(batch.id, SHOP, "account closed", ANN)
    await books.settlements.release(batch.id, BOB)
    if after_paid:
        await books.settlements.confirm(batch.id, [SHOP], ANN)
    assert await books.settlements.give_back(batch.id, SHOP, "account closed", ANN) == 1
    assert await books.settlements.give_back(batch.id, SHOP, "account closed", ANN) == 0
    assert [await books.balance(each) for each in ("merchant", "in_transit", "bank")] == [-9_443, 0, 0]
    with pytest.raises(NotPossible):
        await books.settlements.confirm(batch.id, [SHOP], ANN)
    assert await books.settlements.confirm(batch.id, [], ANN) == 0
    assert [await books.balance(each) for each in ("merchant", "in_transit", "bank")] == [-9_443, 0, 0]
    again = await books.settlements.create("k2", "CNY", ANN)
    assert again.total_minor + again.reserve_minor == 9_443
    await holds(books)


async def test_paid_and_returned_at_once_is_one_after_the_other(earned: Books) -> None:
    books = earned
    batch = await books.settlements.create("k", "CNY", ANN)
    await books.settlements.release(batch.id, BOB)
    await asyncio.gather(
        *(books.settlements.confirm(batch.id, [], who) for who in (ANN, BOB)),
        books.settlements.give_back(batch.id, SHOP, "no such account", ANN),
    )
    assert await states(books, batch) == {SHOP: PayoutState.RETURNED}
    assert [await books.balance(each) for each in ("merchant", "in_transit", "bank")] == [-9_443, 0, 0]
    await holds(books)


async def test_what_is_not_there_is_missing(earned: Books) -> None:
    unknown = batch_id_of("none")
    for act in (
        earned.settlements.release(unknown, BOB), earned.settlements.reject(unknown, "r", BOB),
        earned.settlements.details(unknown), earned.settlements.payout_file(unknown, "csv", BOB),
        earned.settlements.confirm(unknown, [], BOB), earned.settlements.give_back(unknown, SHOP, "r", BOB),
    ):  # fmt: skip
        with pytest.raises(Missing):
            await act
    batch = await earned.settlements.create("k", "CNY", ANN)
    await earned.settlements.release(batch.id, BOB)
    with pytest.raises(Missing):
        await earned.settlements.confirm(batch.id, [SHOP, "nobody"], ANN)
    assert await states(earned, batch) == {SHOP: PayoutState.RELEASED}


async def test_a_file_had_twice_is_one_payment(earned: Books) -> None:
    books = earned
    batch = await books.settlements.create("k", "CNY", ANN)
    with pytest.raises(NotPossible, match="DRAFT"):
        await books.settlements.payout_file(batch.id, "csv", ANN)
    await books.settlements.release(batch.id, BOB)
    before = [await books.balance(each) for each in ("merchant", "in_transit", "bank")]
    files = [await books.settlements.payout_file(batch.id, form, BOB) for form in ("csv", "pain.001")]
    # Neither what was paid meanwhile nor other settings, another clock or another contract change it.
    await books.settlements.give_back(batch.id, SHOP, "account closed", ANN)
    books.clock.now_ms += 86_400_000
    books.merchants.sign(account_number="999999", from_day=DAY)
    books.settlements._rules = type(books.settlements._rules)(type(books.settlements._rules.debtor)("X", "1", "2"))
    again = [await books.settlements.payout_file(batch.id, form, ANN) for form in ("csv", "pain.001")]
    assert again == files
    assert before == [0, -9_443, 0]
    handed_out = await books.pool.fetch("SELECT who FROM audit_trail WHERE act LIKE '%GetPayoutFile' ORDER BY id")
    assert [row["who"] for row in handed_out] == ["finance/bob"] * 2 + ["finance/ann"] * 2
    await books.pool.execute("UPDATE settlement_payouts SET account_name = 'Other Shop'")
    with pytest.raises(NotPossible, match="would differ"):
        await books.settlements.payout_file(batch.id, "csv", ANN)


async def test_an_account_number_is_kept_sealed_and_shown_masked(earned: Books) -> None:
    batch = await earned.settlements.create("k", "CNY", ANN)
    await earned.settlements.release(batch.id, BOB)
    await earned.settlements.payout_file(batch.id, "csv", BOB)
    [row] = await earned.pool.fetch("SELECT * FROM settlement_payouts")
    assert row["masked_number"] == "***************7890"
    kept = [row, *await earned.pool.fetch("SELECT * FROM audit_trail")]
    assert NUMBER not in str(kept)
    assert NUMBER.encode() not in row["sealed_number"]
    for payouts in ((await earned.settlements.details(batch.id))[1], await earned.batches.payouts_of(SHOP, None, 2)):
        assert [each.masked_number for each in payouts] == ["***************7890"]


async def test_a_sealed_number_opens_for_its_own_payout_only(books: Books) -> None:
    """Whoever can write to the database sends nobody's money elsewhere: not between merchants, not between batches."""
    for merchant, number in (("m1", "6222000000000001"), ("m2", "6222000000000002")):
        books.merchants.sign(merchant, account_number=number)
    batches = []
    for day in (DAY, NEXT_DAY):
        for merchant in ("m1", "m2"):
            await books.sale(1_000, merchant_id=merchant, day=day)
        await books.close_day(day)
        batches.append(await books.settlements.create(day, "CNY", ANN))
        await books.settlements.release(batches[-1].id, BOB)
    assert await books.batches.account_numbers(batches[0].id) == {"m1": "6222000000000001", "m2": "6222000000000002"}
    for of, into in ((("m2", batches[0].id), ("m1", batches[0].id)), (("m1", batches[1].id), ("m1", batches[0].id))):
        sealed = [await books.pool.fetchval(f"{_SEALED_NUMBER} $1 AND batch_id = $2", *key) for key in (of, into)]
        put = "UPDATE settlement_payouts SET sealed_number = $3 WHERE merchant_id = $1 AND batch_id = $2"
        await books.pool.execute(put, *into, sealed[0])
        with pytest.raises(NotPossible, match="of m1 cannot be opened"):
            await books.settlements.payout_file(batches[0].id, "csv", BOB)
        await books.pool.execute(put, *into, sealed[1])
    assert b"6222000000000001" in (await books.settlements.payout_file(batches[0].id, "csv", BOB)).content


@pytest.mark.parametrize("fault", ["down", "ill"])
async def test_without_the_hsm_nothing_is_half_done(earned: Books, fault: str) -> None:
    setattr(earned.hsm, fault, True)
    with pytest.raises(HsmUnavailable) as caught:
        await earned.settlements.create("k", "CNY", ANN)
    assert status_of(caught.value) == (grpc.StatusCode.UNAVAILABLE, "the HSM is not available")
    assert await earned.batches.batches(None, 2) == []
    assert await earned.balance() == -9_940
    setattr(earned.hsm, fault, False)
    batch = await earned.settlements.create("k", "CNY", ANN)
    setattr(earned.hsm, fault, True)
    # Whatever needs no number goes on.
    await earned.settlements.release(batch.id, BOB)
    for form in ("csv", "pain.001"):
        with pytest.raises(HsmUnavailable):
            await earned.settlements.payout_file(batch.id, form, BOB)
    [kept] = await earned.pool.fetch("SELECT csv_digest, pain_digest FROM settlement_batches")
    assert tuple(kept) == (b"", b"")
    acts = await earned.pool.fetch("SELECT act FROM audit_trail ORDER BY id")
    assert [row["act"] for row in acts] == ["SettlementService.CreateBatch", "SettlementService.ReleaseBatch"]
    assert await earned.settlements.confirm(batch.id, [], ANN) == 1
    setattr(earned.hsm, fault, False)
    assert NUMBER.encode() in (await earned.settlements.payout_file(batch.id, "csv", BOB)).content


async def test_nothing_is_locked_while_the_hsm_works(earned: Books) -> None:
    open_transactions: list[int] = []

    async def looked_at() -> None:
        open_transactions.append(await earned.pool.fetchval(_OPEN_TRANSACTIONS))

    earned.hsm.asked = looked_at
    batch = await earned.settlements.create("k", "CNY", ANN)
    await earned.settlements.release(batch.id, BOB)
    await earned.settlements.payout_file(batch.id, "csv", BOB)
    assert open_transactions == [0, 0]


async def test_the_csv_says_who_gets_what(earned: Books) -> None:
    batch = await earned.settlements.create("k", "CNY", ANN)
    await earned.settlements.release(batch.id, BOB)
    file = await earned.settlements.payout_file(batch.id, "csv", BOB)
    [row] = csv.DictReader(StringIO(file.content.decode(), newline=""))
    assert row == {
        "message_id": batch.id.hex, "end_to_end_id": f"{batch.id.hex[:16]}-{SHOP}", "merchant_id": SHOP,
        "account_name": "Corner Shop", "account_number": "6222021001234567890", "bank_code": "102290020018",
        "amount": "94.43", "currency": "CNY", "execution_date": NEXT_DAY,
    }  # fmt: skip


async def test_without_an_account_of_ours_nothing_is_released(earned: Books) -> None:
    batch = await earned.settlements.create("k", "CNY", ANN)
    earned.settlements._rules = type(earned.settlements._rules)(type(earned.settlements._rules.debtor)())
    with pytest.raises(NotPossible, match="debtor"):
        await earned.settlements.release(batch.id, BOB)


async def test_who_was_suspended_after_the_draft_is_not_paid(earned: Books) -> None:
    batch = await earned.settlements.create("k", "CNY", ANN)
    earned.merchants.states[SHOP] = MerchantState.SUSPENDED
    with pytest.raises(NotPossible, match=f"no longer active: {SHOP}"):
        await earned.settlements.release(batch.id, BOB)
    await earned.settlements.reject(batch.id, "suspended", BOB)
    assert await earned.balance() == -9_940


async def test_batches_and_payouts_are_listed_newest_first(earned: Books) -> None:
    made: list[Batch] = []
    for number in range(3):
        made.append(await earned.settlements.create(f"k{number}", "CNY", ANN))
        await earned.settlements.reject(made[-1].id, "again", ANN)
        earned.clock.now_ms += 1
    listed = await earned.batches.batches(None, 2)
    assert [each.id for each in listed] == [made[2].id, made[1].id]
    rest = await earned.batches.batches((listed[-1].created_time_ms, listed[-1].id), 2)
    assert [each.id for each in rest] == [made[0].id]
    payouts: list[Payout] = await earned.batches.payouts_of(SHOP, None, 2)
    assert [each.batch_id for each in payouts] == [made[2].id, made[1].id]
    assert "6222021001234567890" not in repr(payouts)


def test_no_state_leads_back() -> None:
    assert set(TRANSITIONS) == set(PayoutState)

    def reachable(state: PayoutState) -> set[PayoutState]:
        return set(TRANSITIONS[state]).union(*(reachable(each) for each in TRANSITIONS[state]))

    assert all(state not in reachable(state) for state in PayoutState)


@pytest.mark.parametrize(
    ("name", "number", "code", "right"),
    [
        ("Corner Shop", "6222021001234567890", "102290020018", True),
        ("街角商店", "GB82WEST12345698765432", "BKCHCNBJ110", True),
        ("", "6222021001234567890", "BKCHCNBJ", False),
        ("=HYPERLINK(1)", "6222021001234567890", "BKCHCNBJ", False),
        ("@x", "6222021001234567890", "BKCHCNBJ", False),
        ("Shop\n", "6222021001234567890", "BKCHCNBJ", False),
        ("S" * 141, "6222021001234567890", "BKCHCNBJ", False),
        ("Shop", "", "BKCHCNBJ", False),
        ("Shop", "1" * 35, "BKCHCNBJ", False),
        ("Shop", "=1+1", "BKCHCNBJ", False),
        ("Shop", "62220210", "BKCH", False),
        ("Shop", "62220210", "10229002001", False),
        ("Shop", "62220210", "", False),
    ],
)
def test_an_account_that_a_file_cannot_name_is_not_paid_to(name: str, number: str, code: str, right: bool) -> None:
    assert net.payable(name, number, code) is right


async def test_begins_of_the_clock(books: Books) -> None:
    """The day that a batch is made on is the clock's, in Shanghai."""
    books.merchants.sign()
    await books.sale()
    await books.close_day()
    books.clock.now_ms = begins_ms(later(NEXT_DAY, 1)) - 1
    await books.settlements.create("k", "CNY", ANN)
    days = await books.pool.fetch("SELECT DISTINCT day FROM ledger_entries WHERE kind = 4")
    assert [row["day"].isoformat() for row in days] == [NEXT_DAY]
