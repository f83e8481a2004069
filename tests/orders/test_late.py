"""Who pays too late, or second, is given his money back: by itself, exactly once, whatever fails on the way."""

import asyncio

import pytest

from switch.domain.authorization import FollowOnRequest
from switch.domain.journal_event import EventKind
from switch.domain.money import Money
from switch.domain.order import OrderState, PaymentState
from switch.domain.states import Operation, State
from switch.orders.pursue import Pursuit
from switch.payments.errors import Unavailable
from switch.ports import StoreUnavailable, Unknown
from switch.ports.channels import Phase


async def scanned(scene, order):
    """A code of the wallet, paid at the wallet; nobody here knows yet."""
    payment = await scene.desk.channel_code(order, "alipay")
    scene.wallet.scan(payment, order.money.amount_minor)
    return payment


async def test_a_scanned_code_pays_the_order(scene):
    order = await scene.create()
    payment = await scanned(scene, order)
    await scene.work()
    order = await scene.now(order)
    assert (order.state, order.paid_by, order.paid_scheme) == (OrderState.PAID, payment.authorization_id, "alipay")


async def test_the_wallets_word_alone_pays_nothing(scene):
    """Only what the authorization says counts: the wallet's answer is not asked for here."""
    order = await scene.create()
    await scanned(scene, order)
    await scene.database.execute("UPDATE order_payments SET due_time_ms = 0")
    await scene.pursuit.turn()
    assert (await scene.now(order)).state is OrderState.PAYING


async def test_of_two_payers_the_second_is_given_his_money_back(scene):
    """One scans the wallet's code while another pays by card."""
    order = await scene.create()
    loser = await scanned(scene, order)
    order, winner = await scene.desk.pay(order, scene.paying())
    assert (order.state, winner.state) == (OrderState.PAID, PaymentState.WON)
    await scene.work()
    assert (await scene.payment(loser)).state is PaymentState.UNDONE
    assert scene.wallet.held == {winner.authorization_id: 1_250}
    assert (await scene.now(order)).paid_by == winner.authorization_id


async def test_the_loser_by_card_is_told(scene):
    """The wallet's payment is learnt while the card's authorization is on its way."""
    order = await scene.create()
    winner = await scanned(scene, order)
    authorize = scene.payments.authorize

    async def meanwhile(request, budget_s):
        record = await authorize(request, budget_s)
        await scene.work(2)
        return record

    scene.payments.authorize = meanwhile
    # The worker may find the card's own payment as well: whichever is learnt first wins, and only one does.
    order, payment = await scene.desk.pay(order, scene.paying())
    await scene.work()
    states = {(await scene.payment(each)).state for each in (winner, payment)}
    assert states == {PaymentState.WON, PaymentState.UNDONE}
    assert sum(scene.wallet.held.values()) == 1_250


@pytest.mark.parametrize("end", ["close", "expire"])
async def test_an_unpaid_code_of_an_ended_order_is_closed_at_the_channel(scene, end):
    order = await scene.create(lives_s=60)
    payment = await scene.desk.channel_code(order, "alipay")
    await ended(scene, order, end)
    await scene.work()
    assert scene.wallet.closed == {payment.authorization_id}
    scene.wallet.scan(payment, 1_250)
    await scene.work()
    assert scene.wallet.held == {}
    assert (await scene.payment(payment)).state is PaymentState.UNDONE


async def ended(scene, order, end):
    if end == "close":
        await scene.desk.close(scene.merchant_id, order.id, "user/ann")
    else:
        scene.clock.ahead_ms = 61_000
        assert await scene.pursuit.expire() == 1


@pytest.mark.parametrize("end", ["close", "expire"])
async def test_a_late_payment_is_refunded_exactly_once(scene, end):
    """Approved in the journal before the order ended, and learnt by the order afterwards."""
    order = await scene.create(lives_s=60)
    payment = await scanned(scene, order)
    await scene.database.execute("UPDATE follow_ups SET due_time_ms = 0")
    await scene.resolver.turn()
    assert (await scene.payments.find(order.merchant.id, payment.authorization_id)).state is State.APPROVED
    await ended(scene, order, end)
    await scene.work(4)
    await scene.work(4)
    assert scene.wallet.held == {payment.authorization_id: 0}
    assert scene.wallet.count(Operation.REFUND) == 1
    assert (await scene.payment(payment)).state is PaymentState.UNDONE
    ended_as = {"close": OrderState.CLOSED, "expire": OrderState.EXPIRED}[end]
    assert ((await scene.now(order)).state, (await scene.now(order)).paid_by) == (ended_as, None)


async def test_two_that_are_given_back_in_one_millisecond_are_two(scene):
    """Of one merchant: a name that both had would give back the first alone, and leave the second for a day."""
    orders = [await scene.create(key=f"k{each}") for each in range(3)]
    payments = [await scene.desk.channel_code(each, "alipay") for each in orders]
    for order in orders:
        await scene.desk.close(scene.merchant_id, order.id, "user/ann")
    stands = scene.clock.time_ms()
    scene.clock.time_ms = lambda: stands
    assert await scene.pursuit.turn() == 3
    await scene.work()
    assert scene.wallet.closed == {each.authorization_id for each in payments}
    assert {(await scene.payment(each)).state for each in payments} == {PaymentState.UNDONE}


async def test_an_order_whose_payment_is_not_known_keeps_no_other_from_expiring(scene):
    """While the road is away those would fill every batch."""
    stuck, other = await scene.create(lives_s=60), await scene.create(lives_s=61)

    async def away(request, budget_s):
        raise Unavailable("cannot be reached")

    scene.payments.authorize = away
    _, payment = await scene.desk.pay(stuck, scene.paying())
    assert payment.state is PaymentState.BEGUN
    scene.clock.ahead_ms = 62_000
    assert await scene.store.expire(scene.clock.time_ms(), 1) == 1
    assert (await scene.now(other)).state is OrderState.EXPIRED
    assert (await scene.now(stuck)).state is OrderState.PAYING


async def late(scene):
    order = await scene.create()
    payment = await scanned(scene, order)
    await scene.database.execute("UPDATE follow_ups SET due_time_ms = 0")
    await scene.resolver.turn()
    await scene.desk.close(scene.merchant_id, order.id, "user/ann")
    return payment


async def test_many_workers_at_once_refund_once(scene):
    payment = await late(scene)
    others = [Pursuit(scene.store, scene.work_store, scene.payments, scene.clock, scene.settings) for _ in range(4)]
    await asyncio.gather(*(each.turn() for each in (scene.pursuit, *others)))
    assert scene.wallet.count(Operation.REFUND) == 1
    assert scene.wallet.held == {payment.authorization_id: 0}


async def test_a_refused_refund_is_asked_for_again_until_it_is_taken(scene):
    payment = await late(scene)
    scene.wallet.refuses_refunds = 2
    await scene.work()
    assert scene.wallet.count(Operation.REFUND) == 3
    assert scene.wallet.held == {payment.authorization_id: 0}
    assert (await scene.payment(payment)).undo_number == 2


async def test_a_silent_refund_is_pursued_under_its_own_name(scene):
    payment = await late(scene)
    answer, silent = scene.wallet.answer, [True]

    def once_silent(request):
        result = answer(request)
        if request.operation is Operation.REFUND and silent:
            silent.pop()
            scene.wallet.held[request.authorization.id] += request.money.amount_minor  # it never arrived
            return Unknown(Phase.SENT, "silent")
        return result

    scene.town.first.script = once_silent
    await scene.work()
    assert scene.wallet.held == {payment.authorization_id: 0}
    assert (await scene.payment(payment)).state is PaymentState.UNDONE
    refunds = await scene.journal.find_follow_ons(scene.merchant_id, payment.authorization_id)
    assert [(each.operation, each.state) for each in refunds] == [(Operation.REFUND, State.APPROVED)]


async def test_a_road_that_is_away_loses_nothing(scene):
    payment = await late(scene)
    follow_on, tries = scene.payments.follow_on, []

    async def away_at_first(request):
        tries.append(request)
        if len(tries) < 3:
            raise Unavailable("away")
        return await follow_on(request)

    scene.payments.follow_on = away_at_first
    await scene.work()
    assert len({(each.idempotency_key, each.transmission_time_ms) for each in tries}) == 1
    assert scene.wallet.held == {payment.authorization_id: 0}


async def test_a_refund_that_a_person_made_meanwhile_is_not_made_again(scene):
    payment = await late(scene)
    now_ms = scene.clock.time_ms()
    request = FollowOnRequest(
        Operation.REFUND, "acme", scene.merchant_id, payment.authorization_id, "by hand", now_ms, Money(1_250, "CNY")
    )
    assert (await scene.payments.follow_on(request)).state is State.APPROVED
    await scene.work()
    assert (await scene.payment(payment)).state is PaymentState.UNDOING
    await scene.event(EventKind.REFUNDED, payment, 1_250)
    await scene.work()
    assert (await scene.payment(payment)).state is PaymentState.UNDONE
    assert scene.wallet.count(Operation.REFUND) == 1


# --- what never got an answer -----------------------------------------------------------------------------------------


async def test_a_payment_whose_answer_was_lost_is_found_by_the_worker(scene):
    order, paying = await scene.create(), scene.paying()
    authorize = scene.payments.authorize

    async def lost(request, budget_s):
        await authorize(request, budget_s)
        raise Unavailable("no answer")

    scene.payments.authorize = lost
    _, payment = await scene.desk.pay(order, paying)
    assert payment.state is PaymentState.BEGUN
    await scene.work()
    assert (await scene.now(order)).state is OrderState.PAID
    _, again = await scene.desk.pay(order, paying)
    assert (again.state, scene.wallet.count(Operation.SALE)) == (PaymentState.WON, 1)


async def test_what_was_never_recorded_leaves_a_tombstone_and_cannot_arrive_later(scene):
    order, paying = await scene.create(), scene.paying()
    authorize, kept = scene.payments.authorize, []

    async def never_sent(request, budget_s):
        kept.append(request)
        raise Unavailable("crashed before")

    scene.payments.authorize = never_sent
    _, payment = await scene.desk.pay(order, paying)
    await scene.work(2)
    assert (await scene.payment(payment)).state is PaymentState.BEGUN  # it may still be on its way
    scene.clock.ahead_ms = 11_000
    await scene.work()
    assert (await scene.payment(payment)).state is PaymentState.UNDONE
    record = await authorize(kept[0], 20.0)
    assert (record.response_code, scene.wallet.held) == ("22", {})
    scene.payments.authorize = authorize
    order, _ = await scene.desk.pay(order, scene.paying())
    assert order.state is OrderState.PAID


async def test_an_outcome_in_doubt_pays_nothing_and_ends_undone(scene):
    order = await scene.create()
    scene.wallet.sale = Unknown(Phase.SENT, "silent")
    order, payment = await scene.desk.pay(order, scene.paying())
    assert (order.state, payment.state) == (OrderState.PAYING, PaymentState.UNDOING)
    await scene.work()
    assert (await scene.payment(payment)).state is PaymentState.UNDONE
    assert payment.authorization_id in scene.wallet.closed


# --- the journal's events ---------------------------------------------------------------------------------------------


async def test_refunds_of_the_merchant_show_on_the_order(scene):
    order, payment = await scene.desk.pay(await scene.create(), scene.paying())
    await scene.event(EventKind.REFUNDED, payment, 250)
    order = await scene.now(order)
    assert (order.state, order.refunded_minor) == (OrderState.PARTLY_REFUNDED, 250)
    await scene.event(EventKind.REFUNDED, payment, 1_000)
    order = await scene.now(order)
    assert (order.state, order.refunded_minor) == (OrderState.REFUNDED, 1_250)


async def test_an_order_whose_payment_was_voided_is_refunded(scene):
    order, payment = await scene.desk.pay(await scene.create(), scene.paying())
    await scene.event(EventKind.UNDONE, payment, 1_250)
    assert (await scene.now(order)).state is OrderState.REFUNDED


async def test_an_event_makes_a_payment_due_at_once(scene):
    order = await scene.create()
    payment = await scanned(scene, order)
    await scene.database.execute("UPDATE follow_ups SET due_time_ms = 0")
    await scene.resolver.turn()
    assert await scene.pursuit.turn() == 0
    await scene.event(EventKind.APPROVED, payment, 1_250)
    assert await scene.pursuit.turn() == 1
    assert (await scene.now(order)).state is OrderState.PAID


async def test_events_of_other_payments_are_nobodys(scene):
    order, payment = await scene.desk.pay(await scene.create(), scene.paying())
    payment.authorization_id = payment.order_id
    await scene.event(EventKind.REFUNDED, payment, 1_250)
    assert (await scene.now(order)).state is OrderState.PAID


# --- whoever is told at the wrong moment ------------------------------------------------------------------------------


async def test_an_event_that_comes_while_it_is_looked_at_is_not_forgotten(scene):
    """Whoever asked too early puts it off by a minute: that must not undo what the event has hastened."""
    order = await scene.create(lives_s=86_400)
    payment = await scene.desk.channel_code(order, "alipay")
    await scene.database.execute("UPDATE order_payments SET due_time_ms = 1")
    scene.clock.ahead_ms = 600_000
    find = scene.payments.find

    async def too_early(merchant_id, authorization_id):
        record = await find(merchant_id, authorization_id)
        scene.wallet.scan(payment, 1_250)
        await scene.database.execute("UPDATE follow_ups SET due_time_ms = 0")
        await scene.resolver.turn()
        await scene.event(EventKind.APPROVED, payment, 1_250)
        return record

    scene.payments.find = too_early
    assert await scene.pursuit.turn() == 1
    scene.payments.find = find
    assert (await scene.now(order)).state is OrderState.PAYING
    assert await scene.pursuit.turn() == 1
    assert (await scene.now(order)).state is OrderState.PAID


async def test_an_event_that_comes_before_its_code_is_recorded_is_not_forgotten(scene):
    order = await scene.create()
    authorize = scene.payments.authorize

    async def slowly(request, budget_s):
        record = await authorize(request, budget_s)
        [payment] = await scene.payments_of(order)
        await scene.event(EventKind.APPROVED, payment, 1_250)
        return record

    scene.payments.authorize = slowly
    await scene.desk.channel_code(order, "alipay")
    assert await scene.pursuit.turn() == 1


async def test_what_a_failing_database_interrupts_waits_for_no_lease(scene):
    payment = await late(scene)
    find, names = scene.payments.find, []

    async def away(merchant_id, authorization_id):
        names.append(authorization_id)
        raise StoreUnavailable("away")

    scene.payments.find = away
    with pytest.raises(StoreUnavailable):
        await scene.pursuit.turn()
    scene.payments.find = find
    assert names == [payment.authorization_id]
    assert await scene.pursuit.turn() == 1
    assert scene.wallet.count(Operation.REFUND) == 1
