"""Orders are made once, paid once, and closed or expired only where nobody is paying."""

import asyncio
import secrets
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from order_scene import until

from switch.domain.merchant import MerchantState
from switch.domain.money import Money
from switch.domain.order import OrderFilter, OrderState, PaymentState
from switch.domain.refusals import Exists, Invalid, Missing, NotPermitted, NotPossible
from switch.domain.states import EntryMode, Operation
from switch.orders.desk import OrderDesk
from switch.ports import Approved, Declined

NEWEST = UUID(int=(1 << 128) - 1)


# --- made -------------------------------------------------------------------------------------------------------------


async def test_a_repeat_is_the_same_order_and_other_content_is_refused(scene):
    order = await scene.create(key="k1", number="A-1")
    assert await scene.create(key="k1", number="A-1") == order
    with pytest.raises(Exists):
        await scene.create(1_251, key="k1", number="A-1")
    assert (await scene.now(order)).money == Money(1_250, "CNY")


async def test_racing_repeats_make_one_order(scene):
    orders = await asyncio.gather(*(scene.create(key="same") for _ in range(8)))
    assert len({each.id for each in orders}) == 1


async def test_a_repeat_is_told_how_the_order_stands(scene):
    order = await scene.create(key="k")
    await scene.desk.pay(order, scene.paying())
    assert (await scene.create(key="k")).state is OrderState.PAID


@pytest.mark.parametrize("lives_s", [59, 86_401])
async def test_an_order_lives_a_minute_to_a_day(scene, lives_s):
    with pytest.raises(Invalid, match="expires_in_s"):
        await scene.create(lives_s=lives_s)


async def test_only_an_active_merchant_makes_orders(scene):
    with pytest.raises(Missing):
        await scene.create(merchant_id="nobody")
    profile = scene.people.profiles[scene.merchant_id]
    scene.people.profiles[scene.merchant_id] = replace(profile, state=MerchantState.SUSPENDED)
    with pytest.raises(NotPossible):
        await scene.create()


async def test_another_merchants_order_is_not_found(scene):
    order = await scene.create()
    with pytest.raises(Missing):
        await scene.desk.find("m2", order.id)
    with pytest.raises(Missing):
        await scene.desk.find(scene.merchant_id, uuid4())


async def test_pages_stay_as_they_are_while_orders_are_made(scene):
    orders = [await scene.create(number=f"N{number % 2}") for number in range(5)]
    newest_first = sorted((each.id for each in orders), reverse=True)
    first = await scene.store.list(scene.merchant_id, OrderFilter(), NEWEST, 2)
    scene.clock.ahead_ms += 1
    await scene.create()
    rest = await scene.store.list(scene.merchant_id, OrderFilter(), first[-1].id, 10)
    assert [each.id for each in (*first, *rest)] == newest_first
    numbered = await scene.store.list(scene.merchant_id, OrderFilter(number="N1"), NEWEST, 10)
    assert {each.number for each in numbered} == {"N1"}
    assert len(numbered) == 2
    paid = frozenset({OrderState.PAID})
    assert await scene.store.list(scene.merchant_id, OrderFilter(paid), NEWEST, 10) == []
    made_ms = orders[0].created_time_ms
    assert await scene.store.list(scene.merchant_id, OrderFilter(to_ms=made_ms), NEWEST, 10) == []
    assert len(await scene.store.list(scene.merchant_id, OrderFilter(from_ms=made_ms), NEWEST, 10)) == 6


# --- paid -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [EntryMode.MERCHANT_QR, EntryMode.NFC, EntryMode.BLUETOOTH])
async def test_a_card_pays_it_whichever_way_the_payer_got_it(scene, entry):
    order = await scene.create()
    order, payment = await scene.desk.pay(order, scene.paying(entry=entry))
    assert (order.state, payment.state) == (OrderState.PAID, PaymentState.WON)
    record = await scene.payments.find(order.merchant.id, order.paid_by)
    assert (record.entry, record.captured_minor, record.acquirer_id) == (entry, 1_250, "acme")
    assert scene.wallet.held == {order.paid_by: 1_250}


async def test_a_repeat_of_the_payer_is_one_payment(scene):
    order, paying = await scene.create(), scene.paying()
    results = await asyncio.gather(*(scene.desk.pay(order, paying) for _ in range(5)))
    assert len({payment.authorization_id for _, payment in results}) == 1
    assert scene.wallet.count(Operation.SALE) == 1
    _, payment = await scene.desk.pay(order, paying)
    assert payment.state is PaymentState.WON


async def test_what_was_tried_is_found_by_the_merchants_number(scene):
    order = await scene.create(number="A-1")
    await scene.create(number="A-2")
    _, payment = await scene.desk.pay(order, scene.paying())
    found = [await scene.store.payments_of_number(scene.merchant_id, each) for each in ("A-1", "A-2", "")]
    assert found == [[payment.authorization_id], [], []]
    assert await scene.store.payments_of_number("m2", "A-1") == []


async def test_two_cards_at_once_do_not_both_pay(scene):
    order = await scene.create()
    results = await asyncio.gather(*(scene.desk.pay(order, scene.paying()) for _ in range(6)), return_exceptions=True)
    won = [each for each in results if not isinstance(each, BaseException)]
    assert len(won) == 1
    assert all(isinstance(each, NotPossible) for each in results if isinstance(each, BaseException))
    assert list(scene.wallet.held.values()) == [1_250]


async def test_a_decline_leaves_it_to_others(scene):
    order = await scene.create()
    scene.wallet.sale = Declined("51")
    order, payment = await scene.desk.pay(order, scene.paying())
    assert (order.state, payment.state, payment.response_code) == (OrderState.PAYING, PaymentState.FAILED, "51")
    scene.wallet.sale = Approved()
    order, _ = await scene.desk.pay(order, scene.paying())
    assert order.state is OrderState.PAID


async def test_a_part_of_the_amount_does_not_pay_it_and_goes_back(scene):
    order = await scene.create()
    scene.wallet.sale = Approved("10", approved_minor=1_000)
    order, payment = await scene.desk.pay(order, scene.paying())
    assert (order.state, payment.state) == (OrderState.PAYING, PaymentState.UNDOING)
    scene.wallet.held[payment.authorization_id] = 1_000
    await scene.work()
    assert (await scene.payment(payment)).state is PaymentState.UNDONE
    assert scene.wallet.held[payment.authorization_id] == 0


async def test_a_large_order_needs_a_second_factor(scene):
    order = await scene.create(100_001)
    with pytest.raises(NotPermitted, match="step-up needed"):
        await scene.desk.pay(order, scene.paying())
    order, _ = await scene.desk.pay(order, scene.paying(stepped_up=True))
    assert order.state is OrderState.PAID


async def test_what_was_paid_in_a_day_without_one_counts(scene):
    payer = scene.paying()

    async def pay(amount_minor, **changes):
        paying = replace(payer, key=uuid4().hex, **changes)
        return await scene.desk.pay(await scene.create(amount_minor), paying)

    await pay(60_000)
    with pytest.raises(NotPermitted, match="step-up needed"):
        await pay(40_001)
    assert await scene.desk.needs_step_up(payer.user_id, Money(40_001, "CNY"))
    assert not await scene.desk.needs_step_up(payer.user_id, Money(40_000, "CNY"))
    await pay(90_000, stepped_up=True)
    scene.wallet.sale = Declined("51")
    await pay(40_000)
    scene.wallet.sale = Approved()
    await pay(40_000)  # neither what was proved nor what was declined counts
    with pytest.raises(NotPermitted):
        await pay(1)
    await scene.desk.pay(await scene.create(1), scene.paying())  # another payer
    scene.clock.ahead_ms = 86_400_000
    await pay(100_000)


async def test_a_refused_payment_leaves_the_order_to_others(scene):
    order = await scene.create(100_001)
    with pytest.raises(NotPermitted):
        await scene.desk.pay(order, scene.paying())
    assert await scene.payments_of(order) == []
    assert (await scene.now(order)).state is OrderState.OPEN


async def test_of_some_at_once_one_sees_the_other(scene):
    for _ in range(8):
        payer = scene.paying()
        await scene.desk.pay(await scene.create(1), payer)  # he is known: nothing but his row's lock makes them wait
        scene.wallet.held.clear()
        orders = [await scene.create(60_000) for _ in range(4)]
        results = await asyncio.gather(
            *(scene.desk.pay(each, replace(payer, key=each.key)) for each in orders), return_exceptions=True
        )
        assert sum(isinstance(each, NotPermitted) for each in results) == 3
        assert list(scene.wallet.held.values()) == [60_000]


async def test_one_key_for_every_order_does_not_hide_what_was_paid(scene):
    payer = scene.paying(key="same")
    await scene.desk.pay(await scene.create(60_000), payer)
    with pytest.raises(NotPermitted):
        await scene.desk.pay(await scene.create(60_000), payer)


async def test_every_currency_has_a_limit_of_its_own(scene):
    payer = scene.paying()
    desk = OrderDesk(
        scene.store, scene.payments, scene.people, scene.people, scene.clock, secrets.token_bytes,
        replace(scene.settings, step_up_above_minor={"CNY": 100_000, "JPY": 20_000}),
    )  # fmt: skip

    async def pay(amount_minor, currency):
        order = await scene.create(money=Money(amount_minor, currency))
        return await desk.pay(order, replace(payer, key=uuid4().hex))

    await pay(100_000, "CNY")
    await pay(20_000, "JPY")
    for currency in ("CNY", "JPY", "USD"):  # of one that has none nothing is paid unproved
        with pytest.raises(NotPermitted):
            await pay(1, currency)


async def test_a_repeat_is_answered_though_the_limit_is_reached(scene):
    payer = scene.paying()
    code = await scene.shop.create(scene.merchant_id, ("", "T1"), "Till", "CNY", "user/ann")
    order, payment = await scene.desk.pay_shop_code(code, 100_000, payer, "user/x")
    assert payment.state is PaymentState.WON
    again = await scene.desk.pay_shop_code(code, 100_000, payer, "user/x")
    assert (again[0].id, again[1].authorization_id) == (order.id, payment.authorization_id)
    with pytest.raises(NotPermitted):
        await scene.desk.pay_shop_code(code, 1, replace(payer, key="next"), "user/x")
    assert len(await scene.database.fetch("SELECT FROM orders")) == 1


async def test_another_users_card_is_no_card(scene):
    order, mine, other = await scene.create(), scene.paying(), scene.paying()
    with pytest.raises(Missing):
        await scene.desk.pay(order, replace(mine, card_id=other.card_id))
    assert (await scene.now(order)).state is OrderState.OPEN


async def test_a_suspended_merchant_takes_no_payment_and_repeats_are_answered(scene):
    paid, paying = await scene.create(), scene.paying()
    await scene.desk.pay(paid, paying)
    order = await scene.create()
    profile = scene.people.profiles[scene.merchant_id]
    scene.people.profiles[scene.merchant_id] = replace(profile, state=MerchantState.SUSPENDED)
    with pytest.raises(NotPossible, match="SUSPENDED"):
        await scene.desk.pay(order, scene.paying())
    with pytest.raises(NotPossible, match="SUSPENDED"):
        await scene.desk.channel_code(order, "alipay")
    _, payment = await scene.desk.pay(paid, paying)
    assert (payment.state, scene.wallet.count(Operation.SALE)) == (PaymentState.WON, 1)


async def test_nobody_pays_after_its_time_though_it_has_not_expired_yet(scene):
    order = await scene.create(lives_s=60)
    scene.clock.ahead_ms = 60_000
    with pytest.raises(NotPossible, match="EXPIRED"):
        await scene.desk.pay(order, scene.paying())
    assert scene.wallet.asked == []


# --- the channel's code -----------------------------------------------------------------------------------------------


async def test_a_wallets_code_is_asked_for_once(scene):
    order = await scene.create()
    payments = await asyncio.gather(*(scene.desk.channel_code(order, "alipay") for _ in range(6)))
    assert len({each.code for each in payments}) == 1
    assert scene.wallet.count(Operation.ORDER) == 1


async def test_a_wallets_code_that_is_too_old_is_called_off_and_made_anew(scene):
    order = await scene.create(lives_s=86_400)
    old = await scene.desk.channel_code(order, "alipay")
    scene.clock.ahead_ms = 101 * 60_000
    new = await scene.desk.channel_code(order, "alipay")
    assert new.code != old.code
    await scene.work()
    assert scene.wallet.closed == {old.authorization_id}
    assert (await scene.payment(new)).state is PaymentState.AWAITING


async def test_a_wallet_that_gives_no_code_says_so(scene):
    order = await scene.create()
    with pytest.raises(NotPossible):  # no route for that scheme
        await scene.desk.channel_code(order, "wechat")
    with pytest.raises(Invalid):
        await scene.desk.channel_code(order, "unionpay")


# --- closed and expired -----------------------------------------------------------------------------------------------


async def test_closing_is_repeatable_and_never_of_what_is_paid(scene):
    order = await scene.create()
    for _ in range(2):
        assert (await scene.desk.close(scene.merchant_id, order.id, "user/ann")).state is OrderState.CLOSED
    with pytest.raises(NotPossible):
        await scene.desk.pay(order, scene.paying())
    paid, _ = await scene.desk.pay(await scene.create(), scene.paying())
    with pytest.raises(NotPossible, match="PAID"):
        await scene.desk.close(scene.merchant_id, paid.id, "user/ann")
    trail = await scene.database.fetch(
        "SELECT act, after FROM audit_trail WHERE merchant_id = $1 AND subject = $2", scene.merchant_id,
        f"order/{order.id}",
    )  # fmt: skip
    assert {tuple(each) for each in trail} == {
        ("OrderService.CreateOrder", '{"amount_minor":1250,"currency":"CNY","number":""}'),
        ("OrderService.CloseOrder", '{"state":"CLOSED"}'),
    }
    assert len(trail) == 2


async def test_it_expires_in_time_and_not_before(scene):
    order, other = await scene.create(lives_s=60), await scene.create(lives_s=61)
    scene.clock.ahead_ms = 59_000
    assert await scene.pursuit.expire() == 0
    scene.clock.ahead_ms = other.created_time_ms - order.created_time_ms + 60_500
    assert await scene.pursuit.expire() == 1
    assert [(await scene.now(each)).state for each in (order, other)] == [OrderState.EXPIRED, OrderState.OPEN]


async def test_neither_expiry_nor_closing_overtakes_a_payment_under_way(scene):
    order = await scene.create(lives_s=60)
    answer = asyncio.Event()
    authorize = scene.payments.authorize

    async def slowly(request, budget_s):
        record = await authorize(request, budget_s)
        await answer.wait()
        return record

    scene.payments.authorize = slowly
    paying = asyncio.create_task(scene.desk.pay(order, scene.paying()))

    async def begun():
        return (await scene.now(order)).state is OrderState.PAYING

    await until(begun)
    scene.clock.ahead_ms = 61_000
    assert await scene.pursuit.expire() == 0
    with pytest.raises(NotPossible, match="under way"):
        await scene.desk.close(scene.merchant_id, order.id, "user/ann")
    answer.set()
    order, payment = await paying
    assert (order.state, payment.state) == (OrderState.PAID, PaymentState.WON)
    assert await scene.pursuit.expire() == 0
