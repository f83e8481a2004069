"""The ledger follows the journal: what is entered, with which fee, and that it is entered once."""

import asyncio
from collections import Counter, defaultdict
from fractions import Fraction
from random import Random

import pytest
from books import DAY, NEXT_DAY, NIL, SHOP, Books, HandClock, life

from switch.domain.business_day import begins_ms
from switch.domain.contract import Rate
from switch.domain.journal_event import EventKind
from switch.domain.states import Operation
from switch.store.ledger_follower import LedgerFollower


async def test_a_sale_is_the_channels_debt_the_merchants_claim_and_our_fee(books: Books) -> None:
    books.merchants.sign()
    sale = await books.sale(10_000)
    rows = await books.pool.fetch("SELECT * FROM ledger_entries ORDER BY leg")
    assert [(row["account"], row["amount_minor"]) for row in rows] == [
        ("channel:unionpay", 10_000), ("merchant", -9_940), ("fees", -60),
    ]  # fmt: skip
    assert {(row["day"].isoformat(), row["kind"], row["authorization_id"], row["source"]) for row in rows} == {
        (DAY, 1, sale.authorization_id, f"approved/{sale.authorization_id}")
    }


async def test_what_moves_no_money_is_not_entered(books: Books) -> None:
    books.merchants.sign()
    held = books.event(operation=Operation.PRE_AUTHORIZATION)
    told = [books.event(kind) for kind in (EventKind.DECLINED, EventKind.UNANSWERED)]
    await books.enter(
        held, *told, books.event(EventKind.INCREMENTED, of=held), books.event(EventKind.UNDONE, 0, of=held)
    )
    assert await books.pool.fetchval("SELECT count(*) FROM ledger_entries") == 0


async def test_a_refund_keeps_the_fee_unless_the_contract_returns_it(books: Books) -> None:
    books.merchants.sign()
    books.merchants.sign("m2", refunds_return_fee=True)
    for merchant, fee_left in ((SHOP, -60), ("m2", -40)):
        sale = await books.sale(10_000, merchant_id=merchant)
        await books.enter(books.event(EventKind.REFUNDED, 3_333, of=sale))
        assert await books.balance("fees", merchant) == fee_left
        assert await books.balance("merchant", merchant) == -(10_000 - 3_333 + fee_left)


async def test_whether_a_fee_returns_is_of_the_contract_when_the_payment_began(books: Books) -> None:
    books.merchants.sign(refunds_return_fee=True)
    sale = await books.sale(10_000)
    books.merchants.sign(from_day=NEXT_DAY, refunds_return_fee=False)
    await books.enter(books.event(EventKind.REFUNDED, 10_000, of=sale, day=NEXT_DAY))
    assert await books.balance("fees") == 0


async def test_an_undone_payment_gives_back_what_is_left_of_its_fee(books: Books) -> None:
    books.merchants.sign()
    sale = await books.sale(10_000)
    await books.enter(books.event(EventKind.REFUNDED, 4_000, of=sale), books.event(EventKind.UNDONE, 6_000, of=sale))
    assert [await books.balance(each) for each in ("fees", "merchant", "channel:unionpay")] == [0, 0, 0]


async def test_a_payment_that_is_all_fee_is_entered(books: Books) -> None:
    books.merchants.sign(rates=(Rate("", "", 0, 60, minimum_minor=10),))
    await books.sale(3)
    assert [await books.balance(each) for each in ("fees", "merchant", "channel:unionpay")] == [-3, 0, 3]


async def test_without_a_contract_there_is_no_fee_and_it_is_told(books: Books) -> None:
    books.merchants.sign("m2", currency="HKD")
    books.merchants.sign("m3", rates=(Rate("alipay", "", 0, 38),))
    for merchant in (SHOP, "m2", "m3"):
        await books.sale(500, merchant_id=merchant)
        await books.sale(700, merchant_id=merchant)
        assert await books.balance("merchant", merchant) == -1_200
    _, unpriced = await books.days.totals(DAY)
    assert [(each.merchant_id, each.payments, each.amount_minor) for each in unpriced] == [
        (SHOP, 2, 1_200), ("m2", 2, 1_200), ("m3", 2, 1_200),
    ]  # fmt: skip


async def test_the_tier_is_of_the_month_before_gross(books: Books) -> None:
    books.merchants.sign(rates=(Rate("", "", 0, 100), Rate("", "", 50_000, 50)))
    await books.sale(30_000, day="2026-01-31")
    first = await books.sale(20_000, day="2026-02-01")
    await books.enter(books.event(EventKind.REFUNDED, 20_000, of=first))
    # January had 30,000: the first tier; these make February's volume.
    assert await books.balance("fees") == -500
    late = books.event(amount=40_000, day="2026-02-28", position=900)
    march = books.event(amount=10_000, day="2026-03-01", position=901)
    await books.enter(late, march)  # of one batch, in this order
    assert await books.balance("fees") == -500 - 400 - 50


async def test_a_contract_is_asked_once_for_many_and_again_after_a_minute(books: Books) -> None:
    books.merchants.sign()
    await books.feed_in(*(books.event() for _ in range(120)))
    await books.follower.catch_up()
    assert books.merchants.asked == [((SHOP,), DAY)]
    books.merchants.sign(from_day=DAY, rates=(Rate("", "", 0, 0),))
    books.clock.now_ms += 61_000
    fees = await books.balance("fees")
    await books.sale()
    assert await books.balance("fees") == fees


async def test_events_that_come_again_are_entered_once(books: Books) -> None:
    books.merchants.sign(refunds_return_fee=True, rates=(Rate("", "", 0, 60), Rate("", "", 1, 50)))
    random = Random(5)
    await books.enter(*(event for _ in range(60) for event in life(books, random)))
    before = await books.pool.fetch("SELECT * FROM ledger_entries ORDER BY merchant_id, transaction_id, leg")
    volumes = await books.pool.fetch("SELECT * FROM ledger_volumes")
    await books.pool.execute("UPDATE feed_cursors SET position = 0")
    assert await books.follower.catch_up() > 60
    # Even where how far it has come was lost.
    await books.pool.execute("UPDATE feed_cursors SET position = 0")
    assert volumes == await books.pool.fetch("SELECT * FROM ledger_volumes")
    await books.pool.execute("UPDATE ledger_followed SET position = 0")
    await books.follower.catch_up()
    assert before == await books.pool.fetch("SELECT * FROM ledger_entries ORDER BY merchant_id, transaction_id, leg")


async def test_two_processes_enter_each_event_once(books: Books) -> None:
    books.merchants.sign()
    await books.feed_in(*(books.event(amount=100) for _ in range(300)))
    other = LedgerFollower(books.pool, books.merchants, books.card_types, HandClock(0), batch=7)
    while await books.pool.fetchval("SELECT position FROM ledger_followed") < 300:
        await asyncio.gather(books.follower.step(), other.step())
    assert await books.balance("channel:unionpay") == 30_000
    assert await books.pool.fetchval("SELECT volume_minor FROM ledger_volumes") == 30_000


async def test_a_batch_that_fails_leaves_nothing(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    books.merchants.sign()
    await books.feed_in(books.event())
    with monkeypatch.context() as broken:

        async def fail(*_: object) -> None:
            raise RuntimeError

        broken.setattr("switch.store.ledger_follower.keep_unpriced", fail)
        with pytest.raises(RuntimeError):
            await books.follower.step()
    assert await books.pool.fetchval("SELECT count(*) FROM ledger_entries") == 0
    assert await books.follower.catch_up() == 1
    assert await books.balance() == -9_940


async def test_every_account_of_random_lives_is_an_independent_sum(books: Books) -> None:
    """To the minor unit, with events of many merchants, channels, currencies and days mixed."""
    random = Random(11)
    points = {"a1": (60, True, 0), "b2": (38, False, 3), "c3": (250, True, 8)}
    for merchant, (basis_points, returns, least) in points.items():
        rates = (Rate("", "", 0, basis_points, minimum_minor=least, cap_minor=400),)
        books.merchants.sign(merchant, rates=rates, refunds_return_fee=returns)
        books.merchants.sign(merchant + "h", currency="HKD", rates=rates, refunds_return_fee=returns)
    lives = []
    for _ in range(250):
        merchant = random.choice(sorted(points))
        currency = random.choice(("CNY", "HKD"))
        channel = random.choice(("unionpay", "alipay", "issuer:bank-1"))
        name = merchant + ("h" if currency == "HKD" else "")
        fields = {"merchant_id": name, "channel": channel, "day": random.choice((DAY, NEXT_DAY))}
        lives.append([*life(books, random, currency=currency, **fields)])
    queue = [event for one in lives for event in one]
    await books.enter(*queue)
    expected: Counter[tuple[str, str]] = Counter()
    for one in lives:
        basis_points, returns, least = points[one[0].merchant_id[:2]]
        captured, refunded, fee, given = 0, 0, 0, 0
        for event in one:
            amount, sign, part = event.money.amount_minor, 0, 0
            sale = event.kind is EventKind.APPROVED and event.operation is not Operation.PRE_AUTHORIZATION
            if sale or event.kind is EventKind.CAPTURED:
                share = int(Fraction(amount * basis_points, 10_000) + Fraction(1, 2))
                sign, part = 1, min(max(share, least), 400, amount)
                captured, fee = captured + amount, fee + part
            elif event.kind is EventKind.REFUNDED:
                refunded += amount
                whole = int(Fraction(fee * refunded, captured) + Fraction(1, 2))
                sign, part = -1, whole - given if returns else 0
                given += part
            elif event.kind is EventKind.UNDONE:
                sign, part = -1, fee - given
            expected[event.merchant_id, f"channel:{event.channel}"] += sign * amount
            expected[event.merchant_id, "merchant"] -= sign * (amount - part)
            expected[event.merchant_id, "fees"] -= sign * part
    rows = await books.pool.fetch("SELECT merchant_id, account, sum(amount_minor) FROM ledger_entries GROUP BY 1, 2")
    assert {(row[0], row[1]): row[2] for row in rows if row[2]} == {key: each for key, each in expected.items() if each}
    assert len({row[0] for row in rows}) == 6
    assert await books.checker.check("") == []
    sums: defaultdict[str, int] = defaultdict(int)
    for row in await books.pool.fetch("SELECT currency, amount_minor FROM ledger_entries"):
        sums[row[0]] += row[1]
    assert sums == {"CNY": 0, "HKD": 0}


async def test_what_is_late_for_a_closed_day_is_of_the_next_open_one(books: Books) -> None:
    books.merchants.sign()
    sale = await books.sale(day=DAY)
    await books.close_day()
    await books.enter(books.event(EventKind.REFUNDED, 100, of=sale, time_ms=begins_ms(DAY) + 5, follow_on_id=NIL))
    days = await books.pool.fetch("SELECT DISTINCT day, kind FROM ledger_entries ORDER BY day")
    assert [(row["day"].isoformat(), row["kind"]) for row in days] == [(DAY, 1), (NEXT_DAY, 2)]
