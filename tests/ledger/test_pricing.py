"""Payments that were entered without a fee, priced once a contract tells it: in addition, once, and to the fen."""

import asyncio
from random import Random

import pytest
from books import DAY, NEXT_DAY, SHOP, Books, life, moved

from switch.domain.books import StatementLine
from switch.domain.business_day import begins_ms
from switch.domain.contract import Rate
from switch.domain.journal_event import EventKind
from switch.domain.ledger import PostingKind
from switch.domain.pricing import LateFees
from switch.domain.states import Operation
from switch.settlement.pricing import RUNNER


async def entries(books: Books) -> set[tuple[object, ...]]:
    rows = await books.pool.fetch("SELECT * FROM ledger_entries")
    return {tuple(row.values()) for row in rows}


async def waiting(books: Books) -> int:
    """How many payments still wait, by both tables."""
    listed = await books.pool.fetchval("SELECT count(*) FROM ledger_unpriced_payments")
    counted = await books.pool.fetchval("SELECT COALESCE(sum(payments), 0)::int FROM ledger_unpriced")
    assert listed == counted
    return int(listed)


async def test_a_contract_prices_what_came_before_it(books: Books) -> None:
    await books.sale(10_000)
    await books.sale(20_000)
    assert await books.pricing.price(RUNNER) == []
    before = await entries(books)
    await books.close_day()
    books.merchants.sign(from_day=DAY)
    books.clock.now_ms = begins_ms(NEXT_DAY) + 3_600_000
    assert await books.pricing.price(RUNNER) == [LateFees(SHOP, DAY, "CNY", 2, 180, 1)]
    assert await books.pricing.price(RUNNER) == []
    after = await entries(books)
    assert before < after
    assert await books.balance() == -(30_000 - 180)
    assert await books.balance("fees") == -180
    added = await books.pool.fetch("SELECT DISTINCT day::text, kind, source FROM ledger_entries WHERE kind = 15")
    assert {(row["day"], row["source"].partition("/")[0]) for row in added} == {(NEXT_DAY, "priced")}
    assert await waiting(books) == 0
    assert await books.checker.check("") == []


async def test_it_is_in_the_statement_and_in_the_audit_trail(books: Books) -> None:
    sale = await books.sale(10_000)
    books.merchants.sign(from_day=DAY)
    await books.pricing.price("finance/ann", SHOP)
    parts = [each async for each in books.accounts.statement(SHOP, "CNY", DAY, NEXT_DAY)]
    lines = [each for each in parts if isinstance(each, StatementLine)]
    assert [(each.kind, each.gross_minor, each.fee_minor, each.amount_minor) for each in lines] == [
        (PostingKind.PAYMENT, 10_000, 0, 10_000),
        (PostingKind.PRICING, 0, 60, -60),
    ]
    assert lines[1].source == f"priced/{sale.authorization_id}"
    [told] = await books.pool.fetch("SELECT merchant_id, who, act, subject, after FROM audit_trail")
    assert (told["merchant_id"], told["who"], told["act"]) == (SHOP, "finance/ann", "SettlementService.PricePayments")
    assert told["subject"] == f"unpriced/{DAY}/CNY"
    assert '"fee_minor": 60' in told["after"].replace('":60', '": 60')


async def test_many_at_once_price_each_payment_once(books: Books) -> None:
    await books.feed_in(*(books.event(amount=10_000) for _ in range(1_203)))
    await books.follower.catch_up()
    books.merchants.sign(from_day=DAY)
    rounds = await asyncio.gather(*(books.pricing.price(RUNNER) for _ in range(3)))
    assert sum(each.payments for done in rounds for each in done) == 1_203
    assert await books.balance("fees") == -1_203 * 60
    assert await waiting(books) == 0


async def test_what_no_contract_tells_goes_on_waiting(books: Books) -> None:
    books.merchants.sign("m2", currency="HKD")
    books.merchants.sign("m3", rates=(Rate("alipay", "", 0, 38),))
    for merchant in (SHOP, "m2", "m3"):
        await books.sale(500, merchant_id=merchant)
    await books.sale(500, merchant_id="m3", day=NEXT_DAY)
    books.merchants.sign("m3", from_day=NEXT_DAY)
    books.clock.now_ms += 61_000
    await books.sale(500, merchant_id="m3", day=NEXT_DAY)
    assert await books.pricing.price(RUNNER) == [LateFees("m3", NEXT_DAY, "CNY", 1, 3, 2)]
    assert await books.balance("fees", "m3") == -6
    _, unpriced = await books.days.totals(DAY)
    assert [each.merchant_id for each in unpriced] == [SHOP, "m2", "m3"]
    assert await books.pricing.price("finance/ann", "m2") == []


async def test_refunds_get_their_part_of_a_late_fee_back(books: Books) -> None:
    sale = await books.sale(10_000)
    await books.enter(books.event(EventKind.REFUNDED, 2_500, of=sale))
    books.merchants.sign(from_day=DAY, refunds_return_fee=True)
    await books.pricing.price(RUNNER)
    assert await books.balance("fees") == -45
    books.clock.now_ms += 61_000  # the ledger knows the contract, too
    await books.enter(books.event(EventKind.REFUNDED, 7_500, of=sale))
    assert await books.balance("fees") == 0
    assert await books.checker.check("") == []


async def test_an_undone_payment_costs_nothing(books: Books) -> None:
    sale = await books.sale(10_000)
    await books.enter(books.event(EventKind.UNDONE, 10_000, of=sale))
    books.merchants.sign(from_day=DAY)
    assert [each.fee_minor for each in await books.pricing.price(RUNNER)] == [0]
    later = await books.sale(10_000, merchant_id="m2")
    books.merchants.sign("m2", from_day=DAY)
    await books.pricing.price(RUNNER)
    await books.enter(books.event(EventKind.UNDONE, 10_000, of=later))
    assert await books.balance("fees") == await books.balance("fees", "m2") == 0
    assert await waiting(books) == 0


async def test_a_capture_is_priced_by_its_day_and_returns_by_the_payments(books: Books) -> None:
    first = books.event(amount=9_000, operation=Operation.PRE_AUTHORIZATION)
    captured = books.event(EventKind.CAPTURED, 9_000, of=first, day=NEXT_DAY)
    await books.enter(first, captured, books.event(EventKind.REFUNDED, 9_000, of=first, day=NEXT_DAY))
    books.merchants.sign(from_day=NEXT_DAY, refunds_return_fee=True)
    assert [(each.day, each.fee_minor) for each in await books.pricing.price(RUNNER)] == [(NEXT_DAY, 54)]


async def test_the_tier_is_that_of_the_payments_month(books: Books) -> None:
    await books.sale(60_000, day="2026-02-10")
    await books.sale(10_000)
    books.merchants.sign(from_day="2026-02-01", rates=(Rate("", "", 0, 100), Rate("", "", 50_000, 50)))
    assert [(each.day, each.fee_minor) for each in await books.pricing.price(RUNNER)] == [
        ("2026-02-10", 600),
        (DAY, 50),
    ]


# --- the card's type --------------------------------------------------------------------------------------------------

BY_TYPE = (Rate("", "", 0, 100), Rate("", "debit", 0, 30, cap_minor=20), Rate("unionpay", "credit", 0, 60))


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "later"])
async def test_a_rate_by_card_type_is_that_of_the_bin_table(books: Books, late: bool) -> None:
    books.card_types.types |= {"622588": "debit", "622599": "credit", "622577": "charge"}
    if not late:
        books.merchants.sign(from_day=DAY, rates=BY_TYPE)
    for prefix, channel in (("622588", "unionpay"), ("622599", "unionpay"), ("622599", "alipay"), ("", "wechat")):
        await books.sale(10_000, card_prefix=prefix, channel=channel)
    await books.sale(10_000, card_prefix="622577")
    await books.sale(10_000, card_prefix="400000")
    if late:
        books.merchants.sign(from_day=DAY, rates=BY_TYPE)
        await books.pricing.price(RUNNER)
    fees = await books.pool.fetch("SELECT -amount_minor AS fee FROM ledger_entries WHERE account = 'fees'")
    assert sorted(row["fee"] for row in fees) == [20, 60, 100, 100, 100, 100]


# --- whatever happens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("returns", [False, True], ids=["fees-stay", "fees-return"])
@pytest.mark.parametrize("seed", range(6))
async def test_priced_late_costs_what_it_costs_at_once(books: Books, seed: int, returns: bool) -> None:
    """The same lives, of one merchant whose contract was there and of one whose contract came in the middle."""
    random = Random(seed)
    terms = {"from_day": DAY, "rates": (Rate("", "", 0, 61, fixed_minor=3),), "refunds_return_fee": returns}
    books.merchants.sign("m1", **terms)
    told = [event for _ in range(40) for event in life(books, random, merchant_id="m1")]
    # A void of what was refunded whole is refused on the road.
    told = [each for each in told if each.kind is not EventKind.UNDONE or each.money.amount_minor]
    half = len(told) // 2
    for number, event in enumerate(told):
        twin = books.event(
            event.kind, event.money.amount_minor, merchant_id="m2", operation=event.operation, time_ms=event.time_ms,
            created_time_ms=event.created_time_ms, authorization_id=event.authorization_id,
            follow_on_id=event.follow_on_id,
        )  # fmt: skip
        await books.feed_in(moved(event, position=twin.position * 2), moved(twin, position=twin.position * 2 + 1))
        if number % 7 == 0:
            await books.follower.catch_up()
        if number == half:
            await books.follower.catch_up()
            books.clock.now_ms += 61_000
            books.merchants.sign("m2", **terms)
            await books.pricing.price(RUNNER)
    await books.follower.catch_up()
    await books.pricing.price(RUNNER)
    for account in ("merchant", "fees", "channel:unionpay"):
        assert await books.balance(account, "m1") == await books.balance(account, "m2")
    assert await books.balance("fees", "m1") != 0
    assert await waiting(books) == 0
    assert await books.checker.check("") == []
