"""The whole life of a payment with a direct issuer, and what the issuer says by itself."""

import asyncio

import pytest
from issuer_loopback import LoopbackSwitch
from prometheus_client import REGISTRY

from adapters.issuer.messages import IssuerNotice
from adapters.simulation import Behaviour, Scenario
from switch.client.issuer import NoticeRefused
from switch.domain.authorization import Authorization
from switch.domain.states import Operation
from switch.ports import Approved, Declined, Notice, Phase, Unknown


def refused(cause: str) -> float:
    labels = {"issuer": "bank", "cause": cause}
    return REGISTRY.get_sample_value("payswitch_issuer_refused_total", labels) or 0.0


async def follow(switch: LoopbackSwitch, operation: Operation, amount_minor: int, of: Authorization) -> str:
    result = await switch.ask(switch.request(amount_minor, operation, of=of))
    assert isinstance(result, Approved | Declined)
    return result.response_code


async def test_a_hold_is_raised_and_captured_in_parts(switch: LoopbackSwitch) -> None:
    simulator = await switch.simulator()
    hold = switch.request(4_000, Operation.PRE_AUTHORIZATION, card=1)  # of 50.00
    assert isinstance(await switch.ask(hold), Approved)
    original = hold.authorization
    assert await follow(switch, Operation.INCREMENT, 1_001, original) == "51"
    assert await follow(switch, Operation.INCREMENT, 600, original) == "00"
    assert await follow(switch, Operation.INCREMENT, 400, original) == "00"
    assert await follow(switch, Operation.CAPTURE, 4_500, original) == "00"
    assert await follow(switch, Operation.CAPTURE, 501, original) == "64"
    assert await follow(switch, Operation.CAPTURE, 500, original) == "00"
    assert await follow(switch, Operation.REFUND, 4_999, original) == "00"
    assert await follow(switch, Operation.REFUND, 2, original) == "64"
    assert await follow(switch, Operation.REFUND, 1, original) == "00"
    account = list(simulator.ledger.accounts.values())[1]
    assert (account.balance_minor, account.held_minor) == (5_000, 0)


async def test_a_sale_is_not_raised_nor_captured(switch: LoopbackSwitch) -> None:
    await switch.simulator()
    sale = switch.request(1_000)
    await switch.ask(sale)
    assert await follow(switch, Operation.INCREMENT, 1, sale.authorization) == "12"
    assert await follow(switch, Operation.CAPTURE, 1, sale.authorization) == "12"


async def test_a_repeated_increment_has_one_effect(switch: LoopbackSwitch) -> None:
    simulator = await switch.simulator()
    hold = switch.request(1_000, Operation.PRE_AUTHORIZATION)
    await switch.ask(hold)
    increment = switch.request(500, Operation.INCREMENT, of=hold.authorization)
    for repeat in range(3):
        increment.repeat = repeat
        assert isinstance(await switch.ask(increment), Approved)
    assert next(iter(simulator.ledger.accounts.values())).held_minor == 1_500


async def inquired(switch: LoopbackSwitch, of: Authorization) -> object:
    return await switch.ask(switch.request(of.money.amount_minor, Operation.INQUIRY, of=of))


async def test_an_inquiry_tells_what_became_of_it(switch: LoopbackSwitch) -> None:
    simulator = await switch.simulator()
    never = switch.authorization(Operation.SALE, 100)
    assert await inquired(switch, never) == Declined("25", "not seen")
    sale = switch.request(1_000)
    approved = await switch.ask(sale)
    learnt = await inquired(switch, sale.authorization)
    assert learnt == Approved("00", approved.approval_code)
    declined = switch.request(990_105)
    await switch.ask(declined)
    assert await inquired(switch, declined.authorization) == Declined("05")
    part = switch.request(990_110)
    await switch.ask(part)
    assert (await inquired(switch, part.authorization)).approved_minor == 495_055
    await follow(switch, Operation.REVERSAL, 1_000, sale.authorization)
    assert await inquired(switch, sale.authorization) == Declined("22", "reversed or voided")
    assert {line["state"] for line in simulator.book() if line["operation"] == "inquiry"} == {"answered"}


async def test_a_repeated_inquiry_is_answered_anew(switch: LoopbackSwitch) -> None:
    await switch.simulator()
    sale = switch.request(1_000)
    await switch.ask(sale)
    inquiry = switch.request(1_000, Operation.INQUIRY, of=sale.authorization)
    assert isinstance(await switch.ask(inquiry), Approved)
    await follow(switch, Operation.VOID, 1_000, sale.authorization)
    inquiry.repeat = 1
    assert await switch.ask(inquiry) == Declined("22", "reversed or voided")


async def test_a_late_outcome_is_learnt_and_moves_nothing_by_itself(switch: LoopbackSwitch) -> None:
    simulator = await switch.simulator()
    simulator.scenarios.put(Scenario(Behaviour.SILENT, times=1))
    sale = switch.request(1_000)
    future = switch.channel.send([sale])[0]
    await switch.settled(lambda: bool(simulator.book()))
    name = sale.trace["message_id"]
    await asyncio.wait_for(simulator.notify(name), 30)
    [notice] = switch.notices
    assert (notice.channel, notice.reference, notice.said) == ("issuer:bank", name, "approved")
    assert not future.done()
    assert isinstance(await inquired(switch, sale.authorization), Approved)
    future.cancel()


@pytest.mark.parametrize(
    "notice",
    [
        IssuerNotice("", "m-1", state=1),
        IssuerNotice("x" * 65, "m-1", state=1),
        IssuerNotice("n", "", state=1),
        IssuerNotice("n", "m 1", state=1),
        IssuerNotice("n", "m" * 65, state=1),
        IssuerNotice("n", "m-1", "\x00", state=1),
        IssuerNotice("n", "m-1", state=0),
        IssuerNotice("n", "m-1", state=77),
        IssuerNotice("n", "m-1", state=-1),
    ],
)
async def test_a_notice_that_cannot_be_is_refused(switch: LoopbackSwitch, notice: IssuerNotice) -> None:
    simulator = await switch.simulator()
    before = refused("notice_malformed")
    with pytest.raises(NoticeRefused, match="malformed"):
        await asyncio.wait_for(simulator.connection.notify(notice), 30)
    assert (switch.notices, refused("notice_malformed")) == ([], before + 1)
    assert isinstance(await switch.ask(switch.request()), Approved)


async def test_a_repeated_notice_is_the_same_event(switch: LoopbackSwitch) -> None:
    simulator = await switch.simulator()
    notice = IssuerNotice("n-1", "m-1", "m-2", 2)
    await simulator.connection.notify(notice)
    await simulator.connection.notify(notice)
    assert switch.notices == [Notice("issuer:bank", "m-1", "m-2", "n-1", "declined")] * 2


async def test_a_reversal_before_its_original_buries_it(switch: LoopbackSwitch) -> None:
    simulator = await switch.simulator()
    sale = switch.request(1_000)
    assert await follow(switch, Operation.REVERSAL, 1_000, sale.authorization) == "25"
    result = await switch.ask(sale)
    assert isinstance(result, Declined)
    assert result.response_code == "22"
    assert await inquired(switch, sale.authorization) == Declined("25", "not seen")
    assert next(iter(simulator.ledger.accounts.values())).balance_minor == 1_000_000_000


async def test_answers_out_of_order_find_their_messages(switch: LoopbackSwitch) -> None:
    simulator = await switch.simulator()
    for amount_minor, delay_ms in ((1, 60), (2, 40), (3, 20)):
        simulator.scenarios.put(Scenario(Behaviour.DELAY, delay_ms=delay_ms, amount_minor=amount_minor))
    requests = [switch.request(amount) for amount in (1, 2, 3, 4)]
    finished: list[int] = []
    futures = switch.channel.send(requests)
    for request, future in zip(requests, futures, strict=True):
        future.add_done_callback(lambda _, amount=request.money.amount_minor: finished.append(amount))
    results = await asyncio.gather(*futures)
    codes = {line["amount_minor"]: line for line in simulator.book()}
    assert finished == [4, 3, 2, 1]
    for request, result in zip(requests, results, strict=True):
        entry = simulator.ledger.entry(request.trace["message_id"])
        assert result.approval_code == entry.approval_code
        assert codes[request.money.amount_minor]["message_id"] == request.trace["message_id"]


async def test_credit_is_raised_and_lowered_while_messages_flow(switch: LoopbackSwitch) -> None:
    simulator = await switch.simulator(credit=1)
    simulator.scenarios.put(Scenario(Behaviour.DELAY, delay_ms=100))
    first = switch.channel.send([switch.request(), switch.request()])
    assert first[1].result() == Unknown(Phase.NOT_SENT, "no credit")
    simulator.connection.change_credit(3)
    await switch.settled(lambda: switch.hub.credit("bank") == (2, 3))
    more = switch.channel.send([switch.request() for _ in range(3)])
    assert [each.done() for each in more] == [False, False, True]
    simulator.connection.change_credit(0)
    await switch.settled(lambda: switch.hub.credit("bank") == (0, 0))
    assert await switch.ask(switch.request()) == Unknown(Phase.NOT_SENT, "no credit")
    results = await asyncio.gather(first[0], *more[:2])
    assert all(isinstance(each, Approved) for each in results)
    simulator.connection.change_credit(2)
    await switch.settled(lambda: switch.hub.credit("bank") == (2, 2))
