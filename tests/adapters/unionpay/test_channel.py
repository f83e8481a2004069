"""The channel against the strict network over real sockets: every operation and every scenario."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from adapters.simulation import Behaviour, Scenario
from adapters.unionpay import metrics
from adapters.unionpay.simulator import Account, UnionPaySimulator, generate_accounts
from switch.domain.authorization import CardCredential, CodeCredential
from switch.domain.sensitive import Pan, PaymentCode
from switch.domain.states import EntryMode, Operation
from switch.ports import Approved, Declined, Phase, Unknown


def entry_of(network: UnionPaySimulator, request: Any) -> dict[str, Any]:
    [entry] = [each for each in network.book() if each["stan"] == request.trace["stan"]]
    return entry


def fate(name: str) -> float:
    return metrics.REPLIES.labels(name)._value.get()


def refused(cause: str) -> float:
    return metrics.REFUSED.labels(cause)._value.get()


async def test_sale(network: Any, exchange: Any, make_request: Any, rich: Account) -> None:
    before_minor = rich.balance_minor
    request = make_request(rich, 1_234)
    result = await exchange(request)
    assert isinstance(result, Approved)
    assert result.retrieval_reference == request.trace["rrn"]
    assert len(result.approval_code) == 6
    assert rich.balance_minor == before_minor - 1_234
    entry = entry_of(network, request)
    assert (entry["state"], entry["code"], entry["amount_minor"]) == ("approved", "00", 1_234)
    assert rich.pan not in str(network.book())


async def test_chip_data_is_answered(exchange: Any, make_request: Any, rich: Account) -> None:
    card = CardCredential(Pan(rich.pan), rich.expiry_yymm, "001", None, bytes.fromhex("9F26081122334455667788"))
    result = await exchange(make_request(card))
    assert isinstance(result, Approved)
    assert result.emv_response[:2] == bytes.fromhex("910A")
    assert len(result.emv_response) == 12


async def test_payment_code(network: Any, exchange: Any, make_request: Any) -> None:
    account = list(network.accounts.values())[3]
    code = CodeCredential("unionpay", PaymentCode(account.payment_code))
    request = make_request(code, 700, entry=EntryMode.PAYER_CODE)
    assert isinstance(await exchange(request), Approved)
    assert entry_of(network, request)["pan_masked"][-4:] == account.pan[-4:]
    reversal = make_request(code, 700, Operation.REVERSAL, original=request)
    assert isinstance(await exchange(reversal), Approved)
    stranger = CodeCredential("unionpay", PaymentCode("6299999999999999999"))
    assert await exchange(make_request(stranger, entry=EntryMode.PAYER_CODE)) == _declined("14")


class _declined:  # noqa: N801 - reads as a value
    def __init__(self, code: str) -> None:
        self.code = code

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Declined) and other.response_code == self.code

    def __repr__(self) -> str:
        return f"declined {self.code}"


async def test_declines(network: Any, exchange: Any, make_request: Any, rich: Account) -> None:
    _, poor, expired, *_ = network.accounts.values()
    assert await exchange(make_request(poor, 101)) == _declined("51")
    assert await exchange(make_request(expired)) == _declined("54")
    assert await exchange(make_request(CardCredential(Pan(rich.pan), "2911"))) == _declined("54")
    assert await exchange(make_request(CardCredential(Pan("6225880000009995"), "3012"))) == _declined("14")
    assert await exchange(make_request(rich, 990_161)) == _declined("61")
    assert isinstance(await exchange(make_request(poor, 100)), Approved)
    assert poor.balance_minor == 0


async def test_partial_approval(exchange: Any, make_request: Any, rich: Account) -> None:
    before_minor = rich.balance_minor
    result = await exchange(make_request(rich, 990_110))
    assert isinstance(result, Approved)
    assert (result.response_code, result.approved_minor) == ("10", 495_055)
    assert rich.balance_minor == before_minor - 495_055


async def test_pin(exchange: Any, make_request: Any, rich: Account, hsm: Any) -> None:
    right, wrong = hsm.pin_block(rich.pin, rich.pan), hsm.pin_block("999999", rich.pan)
    assert isinstance(await exchange(make_request(rich, pin_block=right)), Approved)
    assert await exchange(make_request(rich, pin_block=wrong)) == _declined("55")
    assert isinstance(await exchange(make_request(rich, pin_block=right)), Approved)
    assert await exchange(make_request(rich, pin_block=b"\x00" * 8)) == _declined("99")
    for code in ("55", "55", "75", "75"):
        assert await exchange(make_request(rich, pin_block=wrong)) == _declined(code)
    assert await exchange(make_request(rich, pin_block=right)) == _declined("75")


@pytest.mark.parametrize("pin", ["1234", "123456789012"])
async def test_pin_lengths(exchange: Any, make_request: Any, rich: Account, hsm: Any, pin: str) -> None:
    rich.pin = pin
    assert isinstance(await exchange(make_request(rich, pin_block=hsm.pin_block(pin, rich.pan))), Approved)


async def test_silence_then_reversal(network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any) -> None:
    before_minor = rich.balance_minor
    request = make_request(rich, 990_200)
    channel.prepare([request])
    [future] = channel.send([request])
    await asyncio.sleep(0.1)
    assert not future.done()
    future.set_result(Unknown(Phase.SENT, "deadline"))
    reversal = make_request(rich, 990_200, Operation.REVERSAL, original=request)
    assert isinstance(await exchange(reversal), Approved)
    assert reversal.trace["rrn"] == request.trace["rrn"]
    assert reversal.trace["stan"] != request.trace["stan"]
    assert entry_of(network, request)["state"] == "reversed"
    assert rich.balance_minor == before_minor


async def test_late_reply_is_counted_and_left(channel: Any, make_request: Any, rich: Account) -> None:
    late = fate("late")
    request = make_request(rich, 990_201)
    channel.prepare([request])
    [future] = channel.send([request])
    await asyncio.sleep(0.03)
    future.set_result(Unknown(Phase.SENT, "deadline"))
    await asyncio.sleep(0.15)
    assert future.result() == Unknown(Phase.SENT, "deadline")
    assert fate("late") == late + 1


async def test_no_reply_ever(start_channel: Any, exchange_on: Any, network: Any, make_request: Any, rich: Any) -> None:
    """Nobody gave up on it: the link forgets it after the late window, as Unknown."""
    exchange = exchange_on(await start_channel(network.port, late_window_s=0.1))
    result = await exchange(make_request(rich, 990_200))
    assert result == Unknown(Phase.SENT, "no reply")


async def test_duplicate_reply(exchange: Any, make_request: Any, rich: Account) -> None:
    duplicates = refused("duplicate")
    assert isinstance(await exchange(make_request(rich, 990_203)), Approved)
    assert isinstance(await exchange(make_request(rich)), Approved)
    assert refused("duplicate") == duplicates + 1


async def test_disconnect(
    network: Any, channel: Any, exchange: Any, make_request: Any, rich: Account, until: Any
) -> None:
    request = make_request(rich, 990_204)
    assert await exchange(request) == Unknown(Phase.SENT, "link lost")
    assert not channel.health().ready
    assert entry_of(network, request)["state"] == "approved"
    await until(lambda: channel.health().ready)
    assert isinstance(await exchange(make_request(rich)), Approved)


async def test_malformed_reply(channel: Any, make_request: Any, rich: Account, exchange: Any) -> None:
    malformed = refused("malformed_field")
    request = make_request(rich, 990_205)
    channel.prepare([request])
    [future] = channel.send([request])
    await asyncio.sleep(0.1)
    assert not future.done()
    assert refused("malformed_field") == malformed + 1
    assert isinstance(await exchange(make_request(rich)), Approved)  # the link survives


async def test_forged_reply(exchange: Any, make_request: Any, rich: Account, hsm: Any, until: Any) -> None:
    bad, activations = refused("bad_mac"), hsm.activations
    result = await exchange(make_request(rich, 990_206))
    assert result == Unknown(Phase.SENT, "the reply is not authentic")
    assert refused("bad_mac") == bad + 1
    await until(lambda: hsm.activations > activations)  # perhaps our key is wrong: the channel asks for new ones
    assert isinstance(await exchange(make_request(rich)), Approved)


async def test_reversal_overtakes_its_original(
    network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any
) -> None:
    before_minor = rich.balance_minor
    original = make_request(rich, 5_000)
    channel.prepare([original])
    reversal = make_request(rich, 5_000, Operation.REVERSAL, original=original)
    result = await exchange(reversal)
    assert isinstance(result, Approved)
    assert result.response_code == "25"
    [future] = channel.send([original])
    assert await asyncio.wait_for(future, 30) == _declined("22")
    assert rich.balance_minor == before_minor
    assert entry_of(network, original)["state"] == "declined"


async def test_repeated_reversal_has_one_effect(network: Any, exchange: Any, make_request: Any, rich: Any) -> None:
    before_minor = rich.balance_minor
    original = make_request(rich, 5_000)
    await exchange(original)
    reversal = make_request(rich, 5_000, Operation.REVERSAL, original=original)
    assert isinstance(await exchange(reversal), Approved)
    name = dict(reversal.trace)
    for repeat in (1, 2):
        reversal.repeat = repeat
        assert isinstance(await exchange(reversal), Approved)
        assert reversal.trace == name
    again = make_request(rich, 5_000, Operation.REVERSAL, original=original)
    assert isinstance(await exchange(again), Approved)
    assert rich.balance_minor == before_minor
    assert entry_of(network, original)["state"] == "reversed"


async def test_a_duplicate_has_no_effect(channel: Any, exchange: Any, make_request: Any, rich: Any) -> None:
    request = make_request(rich, 900)
    assert isinstance(await exchange(request), Approved)
    balance_minor = rich.balance_minor
    [future] = channel.send([request])
    assert await asyncio.wait_for(future, 30) == _declined("94")
    request.repeat = 1
    assert isinstance(await exchange(request), Approved)  # 0201: answered as before
    assert rich.balance_minor == balance_minor


async def test_a_name_in_flight_is_refused(channel: Any, make_request: Any, rich: Any) -> None:
    request = make_request(rich, 990_201)
    channel.prepare([request])
    first, second = channel.send([request, request])
    assert await asyncio.wait_for(second, 30) == Unknown(Phase.NOT_SENT, "duplicate_name")
    assert isinstance(await asyncio.wait_for(first, 30), Approved)


async def test_refunds_are_limited(network: Any, exchange: Any, make_request: Any, rich: Any) -> None:
    before_minor = rich.balance_minor
    sale = make_request(rich, 1_000)
    await exchange(sale)
    part = make_request(rich, 600, Operation.REFUND, original=sale)
    assert isinstance(await exchange(part), Approved)
    part.repeat = 1
    assert isinstance(await exchange(part), Approved)
    assert await exchange(make_request(rich, 401, Operation.REFUND, original=sale)) == _declined("64")
    assert isinstance(await exchange(make_request(rich, 400, Operation.REFUND, original=sale)), Approved)
    assert rich.balance_minor == before_minor
    entry = entry_of(network, sale)
    assert (entry["state"], entry["refunded_minor"]) == ("refunded", 1_000)
    unknown = make_request(rich, 1_000)
    unknown.trace = sale.trace | {"stan": "000000"}
    assert await exchange(make_request(rich, 400, Operation.REFUND, original=unknown)) == _declined("25")


async def test_pre_authorization_capture_void(network: Any, exchange: Any, make_request: Any, rich: Any) -> None:
    before_minor = rich.balance_minor
    hold = make_request(rich, 2_000, Operation.PRE_AUTHORIZATION)
    assert isinstance(await exchange(hold), Approved)
    assert rich.balance_minor == before_minor - 2_000
    assert isinstance(await exchange(make_request(rich, 1_500, Operation.CAPTURE, original=hold)), Approved)
    assert await exchange(make_request(rich, 501, Operation.CAPTURE, original=hold)) == _declined("64")
    assert await exchange(make_request(rich, 2_000, Operation.VOID, original=hold)) == _declined("22")
    hold.authorization.captured_minor = 1_500
    assert isinstance(await exchange(make_request(rich, 1_500, Operation.VOID, original=hold)), Approved)
    hold.authorization.captured_minor = 0
    assert entry_of(network, hold)["captured_minor"] == 0
    assert isinstance(await exchange(make_request(rich, 2_000, Operation.VOID, original=hold)), Approved)
    assert entry_of(network, hold)["state"] == "voided"
    assert rich.balance_minor == before_minor


async def test_void_of_a_sale(network: Any, exchange: Any, make_request: Any, rich: Any) -> None:
    before_minor = rich.balance_minor
    sale = make_request(rich, 3_000)
    await exchange(sale)
    assert await exchange(make_request(rich, 2_999, Operation.VOID, original=sale)) == _declined("64")
    void = make_request(rich, 3_000, Operation.VOID, original=sale)
    assert isinstance(await exchange(void), Approved)
    assert await exchange(make_request(rich, 3_000, Operation.VOID, original=sale)) == _declined("22")
    assert rich.balance_minor == before_minor


async def test_another_card_cannot_undo(network: Any, exchange: Any, make_request: Any, rich: Any) -> None:
    poor = list(network.accounts.values())[1]
    sale = make_request(rich)
    await exchange(sale)
    assert await exchange(make_request(poor, 1_000, Operation.VOID, original=sale)) == _declined("22")


async def test_a_batch_is_one_batch(start_channel: Any, make_request: Any, network: Any, hsm: Any) -> None:
    accounts = generate_accounts(200)
    network.accounts.update({each.pan: each for each in accounts})
    channel = await start_channel(network.port, links=2)
    requests = [make_request(account, 100 + n) for n, account in enumerate(accounts)]
    channel.prepare(requests)
    started_s = time.perf_counter()
    results = await asyncio.wait_for(asyncio.gather(*channel.send(requests)), 30)
    assert all(isinstance(each, Approved) for each in results)
    assert [each.retrieval_reference for each in results] == [each.trace["rrn"] for each in requests]
    assert time.perf_counter() - started_s < 5


async def test_what_cannot_be_said_does_not_harm_its_neighbours(channel: Any, make_request: Any, rich: Any) -> None:
    good, no_credential, long_pan = make_request(rich), make_request(rich), make_request(rich)
    no_credential.credential = None
    long_pan.credential = CardCredential(Pan("6" * 20))
    channel.prepare([good, no_credential, long_pan])
    results = await asyncio.wait_for(asyncio.gather(*channel.send([good, no_credential, long_pan])), 30)
    assert isinstance(results[0], Approved)
    assert results[1] == Unknown(Phase.NOT_SENT, "no card and no UnionPay code")
    assert results[2] == Unknown(Phase.NOT_SENT, "field 2: its length is out of bounds")


async def test_given_up_before_it_was_sent(network: Any, channel: Any, make_request: Any, rich: Any) -> None:
    request = make_request(rich)
    channel.prepare([request])
    [future] = channel.send([request])
    future.set_result(Unknown(Phase.NOT_SENT, "deadline"))
    await asyncio.sleep(0.05)
    assert network.book() == []


async def test_lost_hsm(channel: Any, exchange: Any, make_request: Any, rich: Any, hsm: Any) -> None:
    hsm.broken = True
    assert await exchange(make_request(rich)) == Unknown(Phase.NOT_SENT, "hsm_unavailable")
    hsm.broken = False
    request = make_request(rich, 990_201)
    channel.prepare([request])
    [future] = channel.send([request])
    await asyncio.sleep(0.03)
    hsm.broken = True
    result = await asyncio.wait_for(future, 30)
    assert result == Unknown(Phase.SENT, "the reply's MAC could not be verified")
    hsm.broken = False
    assert isinstance(await exchange(make_request(rich)), Approved)


async def test_scenario_by_control(network: Any, exchange: Any, make_request: Any, rich: Any) -> None:
    network.scenarios.put(Scenario(Behaviour.DECLINE, code="41", times=1))
    network.scenarios.put(Scenario(Behaviour.DELAY, delay_ms=30, times=1))
    assert await exchange(make_request(rich)) == _declined("41")
    assert isinstance(await exchange(make_request(rich)), Approved)


@pytest.mark.parametrize("missing", [{"city": ""}, {"name": ""}])
async def test_sparse_merchants(exchange: Any, make_request: Any, rich: Any, missing: Any) -> None:
    request = make_request(rich)
    request.merchant = replace(request.merchant, **missing)
    assert isinstance(await exchange(request), Approved)


@pytest.mark.parametrize("operation", [Operation.INQUIRY, Operation.INCREMENT, Operation.ORDER])
async def test_what_the_protocol_lacks_is_refused_by_name(
    network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any, operation: Operation
) -> None:
    good, lacking = make_request(rich), make_request(rich, operation=operation)
    channel.prepare([good, lacking])
    results = await asyncio.wait_for(asyncio.gather(*channel.send([good, lacking])), 30)
    assert isinstance(results[0], Approved)
    assert results[1] == Declined("40", f"unionpay has no {operation.name.lower()}")
    assert operation not in channel.operations
    assert len(network.book()) == 1


async def test_a_completion_may_be_told_instead_of_asked(
    network: Any, start_channel: Any, exchange_on: Any, make_request: Any, rich: Any
) -> None:
    exchange = exchange_on(await start_channel(network.port, captures_by_advice=True))
    hold = make_request(rich, 2_000, Operation.PRE_AUTHORIZATION)
    await exchange(hold)
    for amount_minor in (1_500, 500):
        assert isinstance(await exchange(make_request(rich, amount_minor, Operation.CAPTURE, original=hold)), Approved)
    assert await exchange(make_request(rich, 1, Operation.CAPTURE, original=hold)) == _declined("64")
    assert [each["mti"] for each in network.book()] == ["0100", "0220", "0220", "0220"]
    refund = make_request(rich, 2_000, Operation.REFUND, original=hold)
    assert isinstance(await exchange(refund), Approved)
