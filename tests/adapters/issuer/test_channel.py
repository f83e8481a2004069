"""The channel and the strict issuer over a real socket."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from adapters.simulation import Behaviour, Scenario
from switch.domain.authorization import CodeCredential
from switch.domain.money import Money
from switch.domain.sensitive import PaymentCode
from switch.domain.states import Operation
from switch.ports import Approved, Declined, Phase, Unknown


def answers(kind: str) -> float:
    return REGISTRY.get_sample_value("payswitch_issuer_answers_total", {"issuer": "bank", "kind": kind}) or 0.0


async def test_names_itself_as_the_road_expects(switch):
    channel = switch.channel
    assert (channel.name, channel.pin_key, channel.pin_format) == ("issuer:bank", "issuer/bank/zpk", 0)
    assert channel.operations == {each for each in Operation if each is not Operation.ORDER}


async def test_a_sale_is_approved_and_booked(switch):
    simulator = await switch.simulator()
    result = await switch.ask(switch.request(1_000, pin="1234"))
    assert isinstance(result, Approved)
    assert (result.response_code, len(result.approval_code), result.approved_minor) == ("00", 6, None)
    (line,) = simulator.book()
    assert (line["state"], line["amount_minor"], line["masked_pan"]) == ("approved", 1_000, "625900******0005")
    assert simulator.connection.pin_key_check_values == {switch.target: "ABCDEF"}


async def test_a_batch_is_answered_in_order_of_its_requests(switch):
    await switch.simulator()
    requests = [switch.request(100 + n if n % 3 else 990_151) for n in range(300)]
    results = await asyncio.gather(*switch.channel.send(requests))
    assert [type(result) is Declined for result in results] == [n % 3 == 0 for n in range(300)]


@pytest.mark.parametrize(
    ("amount_minor", "card", "pin", "code"),
    [
        (990_105, 0, "", "05"),
        (5_001, 1, "", "51"),
        (100, 2, "", "54"),
        (100, 0, "4321", "55"),
        (990_141, 0, "1234", "41"),
    ],
)
async def test_declines(switch, amount_minor, card, pin, code):
    await switch.simulator()
    result = await switch.ask(switch.request(amount_minor, card=card, pin=pin))
    assert isinstance(result, Declined)
    assert result.response_code == code


async def test_partial_approval(switch):
    await switch.simulator()
    result = await switch.ask(switch.request(990_110))
    assert isinstance(result, Approved)
    assert (result.response_code, result.approved_minor) == ("10", 495_055)


async def test_hold_capture_refund_and_their_limits(switch):
    simulator = await switch.simulator()
    hold = switch.request(1_000, Operation.PRE_AUTHORIZATION)
    assert isinstance(await switch.ask(hold), Approved)

    async def follow(operation: Operation, amount_minor: int) -> str:
        result = await switch.ask(switch.request(amount_minor, operation, of=hold.authorization))
        return result.response_code

    assert await follow(Operation.REFUND, 1) == "64"
    assert await follow(Operation.CAPTURE, 600) == "00"
    assert await follow(Operation.CAPTURE, 600) == "64"
    assert await follow(Operation.CAPTURE, 400) == "00"
    assert await follow(Operation.REFUND, 700) == "00"
    assert await follow(Operation.REFUND, 400) == "64"
    account = next(iter(simulator.ledger.accounts.values()))
    assert (account.balance_minor, account.held_minor) == (1_000_000_000 - 300, 0)


async def test_void(switch):
    await switch.simulator()
    sale = switch.request(1_000)
    await switch.ask(sale)
    assert isinstance(await switch.ask(switch.request(1_000, Operation.VOID, of=sale.authorization)), Approved)
    again = await switch.ask(switch.request(1_000, Operation.VOID, of=sale.authorization))
    assert (type(again), again.response_code) == (Declined, "22")


async def test_a_reversal_is_named_by_its_original_and_repeats_have_one_effect(switch):
    simulator = await switch.simulator()
    sale = switch.request(1_000)
    await switch.ask(sale)
    for repeat in range(3):
        reversal = switch.request(1_000, Operation.REVERSAL, of=sale.authorization)
        reversal.repeat = repeat
        assert reversal.trace == {"message_id": sale.trace["message_id"] + "-reversal"}
        assert isinstance(await switch.ask(reversal), Approved)
    assert [line["state"] for line in simulator.book()] == ["reversed", "approved"]
    assert simulator.book()[1]["times_seen"] == 3
    assert next(iter(simulator.ledger.accounts.values())).balance_minor == 1_000_000_000


async def test_a_reversal_that_overtakes_its_original_declines_it(switch):
    simulator = await switch.simulator()
    sale = switch.request(1_000)
    reversal = await switch.ask(switch.request(1_000, Operation.REVERSAL, of=sale.authorization))
    assert isinstance(reversal, Approved)
    assert reversal.response_code == "25"
    late = await switch.ask(sale)
    assert (type(late), late.response_code) == (Declined, "22")
    assert simulator.book()[1]["state"] == "tombstone"


async def test_a_repeat_has_one_effect_and_the_same_answer(switch):
    simulator = await switch.simulator()
    sale = switch.request(1_000)
    first = await switch.ask(sale)
    sale.repeat = 1
    assert await switch.ask(sale) == first
    assert [line["times_seen"] for line in simulator.book()] == [2]


async def test_silence_leaves_the_caller_to_its_deadline_and_a_late_answer_is_left(switch):
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.DELAY, delay_ms=60))
    late_before = answers("late")
    future = switch.channel.send([switch.request()])[0]
    await asyncio.sleep(0.02)
    assert not future.done()
    future.set_result(Unknown(Phase.SENT, "the caller's deadline passed"))
    await switch.settled(lambda: answers("late") == late_before + 1)
    assert isinstance(future.result(), Unknown)
    assert switch.hub.credit("bank") == (1024, 1024)


async def test_delay_does_not_hold_back_others_of_the_same_batch(switch):
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.DELAY, delay_ms=80, amount_minor=7))
    slow, quick = switch.channel.send([switch.request(7), switch.request(8)])
    assert isinstance(await quick, Approved)
    assert not slow.done()
    assert isinstance(await slow, Approved)


async def test_a_duplicate_answer_is_counted_and_left(switch):
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.DUPLICATE))
    before = answers("unmatched")
    assert isinstance(await switch.ask(switch.request()), Approved)
    await switch.settled(lambda: answers("unmatched") == before + 1)
    assert switch.hub.credit("bank") == (1024, 1024)


async def test_a_malformed_answer_leaves_one_payment_unknown_and_the_link_alive(switch):
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.MALFORMED, times=1))
    result = await switch.ask(switch.request())
    assert result == Unknown(Phase.SENT, "malformed answer: response_code")
    assert isinstance(await switch.ask(switch.request()), Approved)


async def test_an_answer_to_a_message_never_sent_reaches_nobody(switch):
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.FORGED, times=1))
    before = answers("unmatched")
    future = switch.channel.send([switch.request()])[0]
    await switch.settled(lambda: answers("unmatched") == before + 1)
    assert not future.done()
    assert isinstance(await switch.ask(switch.request()), Approved)


async def test_a_cut_link_leaves_sent_messages_unknown_and_comes_back(switch):
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.DISCONNECT, times=1))
    assert await switch.ask(switch.request()) == Unknown(Phase.SENT, "link lost")
    assert [line["state"] for line in simulator.book()] == ["approved"]
    await switch.settled(lambda: switch.channel.health().ready)
    assert isinstance(await switch.ask(switch.request()), Approved)


async def test_without_a_link_nothing_is_sent(switch):
    assert await switch.ask(switch.request()) == Unknown(Phase.NOT_SENT, "no link")
    health = switch.channel.health()
    assert (health.ready, health.detail) == (False, "the issuer is not signed on")


async def test_credit_bounds_what_is_unanswered(switch):
    simulator = await switch.simulator(credit=3)
    simulator.scenarios.put(Scenario(Behaviour.DELAY, delay_ms=50))
    results = await asyncio.gather(*switch.channel.send([switch.request() for _ in range(5)]))
    assert [type(result) for result in results] == [Approved, Approved, Approved, Unknown, Unknown]
    assert results[4] == Unknown(Phase.NOT_SENT, "no credit")
    assert switch.channel.health().detail == "1 links, 0 of 3 messages unanswered"


async def test_two_links_share_the_load_and_one_survives_the_other(switch):
    first, second = await switch.simulator(credit=10), await switch.simulator(credit=10)
    results = await asyncio.gather(*switch.channel.send([switch.request() for _ in range(8)]))
    assert all(isinstance(result, Approved) for result in results)
    assert (len(first.book()), len(second.book())) == (4, 4)
    await first.close()
    await switch.settled(lambda: switch.hub.link_count("bank") == 1)
    assert isinstance(await switch.ask(switch.request()), Approved)
    assert len(second.book()) == 5


async def test_one_issuer_may_dial_the_same_switch_twice(switch):
    simulator = await switch.simulator(links_per_process=2, credit=5)
    await switch.settled(lambda: switch.hub.link_count("bank") == 2)
    results = await asyncio.gather(*switch.channel.send([switch.request() for _ in range(10)]))
    assert all(isinstance(result, Approved) for result in results)
    assert len(simulator.book()) == 10


async def test_sign_off_finishes_what_is_open_and_sign_on_returns(switch):
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.DELAY, delay_ms=80, times=1))
    future = switch.channel.send([switch.request()])[0]
    await switch.settled(lambda: bool(simulator.book()))
    leaving = asyncio.create_task(simulator.sign_off())
    await switch.settled(lambda: not switch.channel.health().ready)
    assert await switch.ask(switch.request()) == Unknown(Phase.NOT_SENT, "no link")
    assert isinstance(await future, Approved)
    await leaving
    await simulator.sign_on()
    await switch.settled(lambda: switch.channel.health().ready)
    assert isinstance(await switch.ask(switch.request()), Approved)


async def test_drain_lets_open_messages_finish(switch):
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.DELAY, delay_ms=80, times=1))
    future = switch.channel.send([switch.request()])[0]
    await switch.settled(lambda: bool(simulator.book()))
    await switch.servicer.drain(limit_s=5)
    assert isinstance(future.result(), Approved)
    assert switch.hub.link_count("bank") == 0


async def test_drain_ends_in_time_when_an_issuer_stays_silent(switch):
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.SILENT))
    future = switch.channel.send([switch.request()])[0]
    await switch.settled(lambda: bool(simulator.book()))
    await switch.servicer.drain(limit_s=0.1)
    assert await asyncio.wait_for(future, 30) == Unknown(Phase.SENT, "link lost")


async def test_what_an_issuer_cannot_do_is_not_sent(switch):
    await switch.simulator()
    wallet = switch.request()
    wallet.credential = CodeCredential("alipay", PaymentCode("285012345678901234"))
    assert await switch.ask(wallet) == Unknown(Phase.NOT_SENT, "an issuer takes cards only")
    order = switch.request(operation=Operation.ORDER)
    assert await switch.ask(order) == Unknown(Phase.NOT_SENT, "an issuer link has no such operation")
    assert await switch.ask(switch.request(within_s=-1)) == Unknown(Phase.NOT_SENT, "deadline passed")


async def test_closing_leaves_open_messages_unknown(switch):
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.SILENT))
    future = switch.channel.send([switch.request()])[0]
    await switch.channel.close()
    assert future.result() == Unknown(Phase.SENT, "the switch is closing")
    assert await switch.ask(switch.request()) == Unknown(Phase.NOT_SENT, "the switch is closing")


async def test_a_silent_issuer_gets_its_credit_back(switch, monkeypatch):
    monkeypatch.setattr("adapters.issuer.channel.FORGET_AFTER_S", 0.0)
    simulator = await switch.simulator(credit=1)
    simulator.scenarios.put(Scenario(Behaviour.SILENT, times=1))
    future = switch.channel.send([switch.request(within_s=0.05)])[0]
    assert not switch.channel.health().ready
    await switch.settled(lambda: switch.channel.health().ready)
    assert future.result() == Unknown(Phase.SENT, "never answered")
    assert isinstance(await switch.ask(switch.request()), Approved)


async def test_a_repeat_takes_over_from_the_message_that_waits(switch):
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.SILENT, times=1))
    sale = switch.request()
    first = switch.channel.send([sale])[0]
    sale.repeat = 1
    assert isinstance(await switch.ask(sale), Approved)
    assert first.result() == Unknown(Phase.SENT, "repeated before it was answered")
    assert switch.hub.credit("bank") == (1024, 1024)


async def test_the_message_hides_the_card(switch):
    from adapters.issuer.codec import message_of

    message = message_of(switch.request(pin="1234"), 100)
    assert "6259000000000005" not in repr(message)
    assert "pin_block" not in repr(message)
    assert message.money == Money(1_000, "CNY")
