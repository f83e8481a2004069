"""The channel against the simulator, over real sockets."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from adapters.alipay.channel import AlipaySettings
from adapters.simulation import SCRIPTED_AMOUNTS_FROM_MINOR as SCRIPTED
from adapters.simulation import Behaviour, Scenario
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, Channel, Declined, Phase, Unknown

SILENT, DELAYED, LATE, DUPLICATE, DISCONNECT, MALFORMED, FORGED = (SCRIPTED + 200 + n for n in range(7))


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def until(condition: Any) -> None:
    for _ in range(3_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within thirty seconds")


def entry(simulator: Any, request: Any) -> dict[str, Any]:
    (found,) = [each for each in simulator.book() if each["out_trade_no"] == request.trace["out_trade_no"]]
    return found


def test_it_meets_the_port(channel: Channel) -> None:
    assert channel.name == "alipay"
    assert channel.operations == {
        Operation.SALE,
        Operation.ORDER,
        Operation.INQUIRY,
        Operation.REVERSAL,
        Operation.VOID,
        Operation.REFUND,
    }
    assert (channel.pin_key, channel.reversal_after_s) == ("", 0.0)


async def test_a_sale_is_approved_and_booked_once(channel: Any, simulator: Any, till: Any) -> None:
    request = till.sale(1_234)
    result = await till.ask(channel, request)
    assert isinstance(result, Approved)
    assert request.trace == {"out_trade_no": request.authorization.id.hex}
    booked = entry(simulator, request)
    assert (booked["status"], booked["amount_minor"], booked["payments"]) == ("TRADE_SUCCESS", 1_234, 1)
    assert result.channel_reference == booked["trade_no"]


@pytest.mark.parametrize(
    ("prefix", "code", "reason"),
    [
        ("2951", "51", "ACQ.BUYER_BALANCE_NOT_ENOUGH"),
        ("2961", "61", "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR"),
        ("2962", "62", "ACQ.BUYER_ENABLE_STATUS_FORBID"),
    ],
)
async def test_payers_who_cannot_pay(channel: Any, till: Any, prefix: str, code: str, reason: str) -> None:
    assert await till.ask(channel, till.sale(1_001, prefix=prefix)) == Declined(code, reason)


@pytest.mark.parametrize(("scripted", "code"), [("51", "51"), ("14", "14"), ("05", "05"), ("22", "22"), ("59", "59")])
async def test_a_scripted_decline(channel: Any, simulator: Any, till: Any, scripted: str, code: str) -> None:
    request = till.sale(SCRIPTED + 100 + int(scripted))
    result = await till.ask(channel, request)
    assert isinstance(result, Declined)
    assert result.response_code == code
    assert entry(simulator, request)["payments"] == 0


@pytest.mark.parametrize("code", ["91", "96", "98"])
async def test_an_alipay_that_does_not_know_is_asked_again(channel: Any, till: Any, code: str) -> None:
    sale = till.sale(SCRIPTED + 100 + int(code))
    assert await till.ask(channel, sale) == AwaitingPayer()
    result = await till.ask(channel, till.follow_on(sale, Operation.INQUIRY))
    assert result == Declined("25", "ACQ.TRADE_NOT_EXIST")


@pytest.mark.parametrize("amount_minor", [DELAYED, DUPLICATE])
async def test_slow_and_duplicate_answers_are_answers(channel: Any, till: Any, amount_minor: int) -> None:
    assert isinstance(await till.ask(channel, till.sale(amount_minor)), Approved)


@pytest.mark.parametrize(
    ("amount_minor", "reason"),
    [
        (SILENT, "timed_out"),
        (DISCONNECT, "connection_lost"),
        (MALFORMED, "malformed_answer"),
        (FORGED, "forged_answer"),
    ],
)
async def test_without_a_verified_answer_the_outcome_is_unknown_and_a_cancel_undoes_it(
    channel: Any, simulator: Any, till: Any, amount_minor: int, reason: str
) -> None:
    sale = till.sale(amount_minor)
    assert await till.ask(channel, sale) == Unknown(Phase.SENT, reason)
    assert entry(simulator, sale)["payments"] == 1
    assert isinstance(await till.ask(channel, till.follow_on(sale, Operation.INQUIRY)), Approved)
    assert isinstance(await till.ask(channel, till.follow_on(sale, Operation.REVERSAL)), Approved)
    booked = entry(simulator, sale)
    assert (booked["status"], booked["cancelled"], booked["payments"]) == ("TRADE_CLOSED", True, 1)


async def test_a_late_result_is_counted_and_left(channel: Any, till: Any) -> None:
    before = counted("payswitch_alipay_late_results_total")
    sale = till.sale(DELAYED)
    channel.prepare([sale])
    (future,) = channel.send([sale])
    await asyncio.sleep(0.02)
    given_up = Unknown(Phase.SENT, "deadline")
    future.set_result(given_up)
    await until(lambda: counted("payswitch_alipay_late_results_total") == before + 1)
    assert future.result() is given_up


@pytest.mark.parametrize(("behaviour", "agrees"), [("user_paying", True), ("user_paying_declined", False)])
async def test_a_payer_who_takes_time(channel: Any, simulator: Any, till: Any, behaviour: str, agrees: bool) -> None:
    simulator.scenarios.put(Scenario(Behaviour(behaviour), delay_ms=150, times=1))
    sale = till.sale()
    result = await till.ask(channel, sale)
    assert isinstance(result, AwaitingPayer)
    inquiry = till.follow_on(sale, Operation.INQUIRY)
    assert isinstance(await till.ask(channel, inquiry), AwaitingPayer)
    await asyncio.sleep(0.2)
    outcome = await till.ask(channel, till.follow_on(sale, Operation.INQUIRY))
    if agrees:
        assert outcome == Approved(channel_reference=result.channel_reference)
    else:
        assert outcome == Declined("05", "TRADE_CLOSED", channel_reference=result.channel_reference)
    assert entry(simulator, sale)["payments"] == int(agrees)


async def test_an_inquiry_about_nothing_is_25(channel: Any, till: Any) -> None:
    sale = till.sale()
    channel.prepare([sale])
    result = await till.ask(channel, till.follow_on(sale, Operation.INQUIRY))
    assert result == Declined("25", "ACQ.TRADE_NOT_EXIST")


async def test_a_cancel_that_overtakes_its_payment_closes_it(channel: Any, simulator: Any, till: Any) -> None:
    sale = till.sale()
    channel.prepare([sale])
    assert isinstance(await till.ask(channel, till.follow_on(sale, Operation.REVERSAL)), Approved)
    assert await till.ask(channel, sale) == Declined("22", "ACQ.TRADE_HAS_CLOSE")
    assert entry(simulator, sale)["payments"] == 0


@pytest.mark.parametrize("operation", [Operation.REVERSAL, Operation.VOID])
async def test_a_cancel_has_one_effect(channel: Any, accounts: Any, till: Any, operation: Operation) -> None:
    payer = accounts[""]
    balance_minor = payer.balance_minor
    sale = till.sale(500)
    await till.ask(channel, sale)
    for repeat in range(3):
        assert isinstance(await till.ask(channel, till.follow_on(sale, operation, repeat=repeat)), Approved)
    assert payer.balance_minor == balance_minor


async def test_a_repeated_sale_is_not_a_decline(channel: Any, simulator: Any, till: Any) -> None:
    sale = till.sale()
    await till.ask(channel, sale)
    assert await till.ask(channel, sale) == AwaitingPayer()
    assert isinstance(await till.ask(channel, till.follow_on(sale, Operation.INQUIRY)), Approved)
    assert entry(simulator, sale)["payments"] == 1


async def test_refunds_in_parts_up_to_the_amount(channel: Any, simulator: Any, till: Any) -> None:
    sale = till.sale(1_000)
    await till.ask(channel, sale)
    first = till.follow_on(sale, Operation.REFUND, 400)
    assert isinstance(await till.ask(channel, first), Approved)
    too_much = await till.ask(channel, till.follow_on(sale, Operation.REFUND, 601))
    assert too_much == Declined("64", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
    assert isinstance(await till.ask(channel, till.follow_on(sale, Operation.REFUND, 600)), Approved)
    booked = entry(simulator, sale)
    assert (booked["refunded_minor"], len(booked["refunds"]), booked["status"]) == (1_000, 2, "TRADE_CLOSED")
    # fund_change is N for a repeat: the refund query says that it was done.
    again = till.follow_on(sale, Operation.REFUND, 400, trace=first.trace, repeat=1)
    assert isinstance(await till.ask(channel, again), Approved)
    assert entry(simulator, sale)["refunded_minor"] == 1_000


async def test_a_refund_of_another_amount_under_the_same_number_is_refused(channel: Any, till: Any) -> None:
    sale = till.sale(1_000)
    await till.ask(channel, sale)
    refund = till.follow_on(sale, Operation.REFUND, 400, trace={"out_request_no": "r1"})
    assert isinstance(await till.ask(channel, refund), Approved)
    assert refund.trace["out_request_no"] == "r1"
    other = till.follow_on(sale, Operation.REFUND, 300, trace=refund.trace)
    assert await till.ask(channel, other) == Declined("94", "ACQ.DISCORDANT_REPEAT_REQUEST")


async def test_a_refund_without_an_answer_is_found_by_inquiry_and_by_repeat(
    channel: Any, simulator: Any, till: Any
) -> None:
    sale = till.sale(1_000)
    await till.ask(channel, sale)
    simulator.scenarios.put(Scenario(Behaviour.DISCONNECT, times=1))
    refund = till.follow_on(sale, Operation.REFUND, 400)
    assert await till.ask(channel, refund) == Unknown(Phase.SENT, "connection_lost")
    for operation in (Operation.INQUIRY, Operation.REFUND):
        follow_on = till.follow_on(sale, operation, 400, trace=refund.trace, repeat=1)
        assert isinstance(await till.ask(channel, follow_on), Approved)
    assert entry(simulator, sale)["refunded_minor"] == 400
    never_sent = till.follow_on(sale, Operation.INQUIRY, 400, trace={"out_request_no": "never"})
    assert await till.ask(channel, never_sent) == Unknown(Phase.SENT, "refund_not_confirmed")


@pytest.mark.parametrize(
    ("operation", "currency", "changes", "code"),
    [
        (Operation.SALE, "USD", {}, "40"),
        (Operation.PRE_AUTHORIZATION, "CNY", {}, "40"),
        (Operation.CAPTURE, "CNY", {}, "40"),
        (Operation.INCREMENT, "CNY", {}, "40"),
        (Operation.SALE, "CNY", {"credential": None}, "14"),
    ],
)
async def test_what_alipay_cannot_do_is_not_sent(
    channel: Any, simulator: Any, till: Any, operation: Operation, currency: str, changes: Any, code: str
) -> None:
    result = await till.ask(channel, till.sale(currency=currency, **({"operation": operation} | changes)))
    assert isinstance(result, Declined)
    assert result.response_code == code
    assert simulator.book() == []


async def test_a_code_of_another_wallet_is_not_sent(channel: Any, simulator: Any, till: Any) -> None:
    result = await till.ask(channel, till.sale(prefix="13"))
    assert result == Declined("14", "no_alipay_payment_code")
    assert simulator.book() == []


async def test_a_batch_is_signed_in_one_call(channel: Any, simulator: Any, till: Any, hsm: Any) -> None:
    await until(lambda: channel.health().ready)
    hsm.batches.clear()
    requests = [till.sale(100 + number) for number in range(20)]
    channel.prepare(requests)
    results = await asyncio.gather(*channel.send(requests))
    assert all(isinstance(result, Approved) for result in results)
    assert hsm.batches == [20]
    assert sorted(each["amount_minor"] for each in simulator.book()) == list(range(100, 120))


async def test_a_message_whose_deadline_has_passed_is_not_sent(channel: Any, simulator: Any, till: Any) -> None:
    late = till.sale()
    late.deadline_s = 0.0
    assert await till.ask(channel, late) == Unknown(Phase.NOT_SENT, "deadline_passed")
    assert simulator.book() == []


@pytest.mark.parametrize("failure", ["broken", "refuses"])
async def test_without_a_signature_nothing_is_sent(
    channel: Any, simulator: Any, till: Any, hsm: Any, failure: str
) -> None:
    await until(lambda: channel.health().ready)
    setattr(hsm, failure, True)
    assert await till.ask(channel, till.sale()) == Unknown(Phase.NOT_SENT, "not_signed")
    assert simulator.book() == []
    setattr(hsm, failure, False)
    assert isinstance(await till.ask(channel, till.sale()), Approved)


async def test_a_channel_that_is_down_and_comes_back(channel: Any, simulator: Any, till: Any) -> None:
    await until(lambda: channel.health().ready)
    await simulator.stop_listening()
    for _ in range(channel._settings.failures_to_open):
        result = await till.ask(channel, till.sale())
        assert isinstance(result, Unknown)
        assert result.phase is Phase.NOT_SENT
    assert not channel.health().ready
    assert await till.ask(channel, till.sale()) == Unknown(Phase.NOT_SENT, "circuit_open")
    await simulator.resume()
    await until(lambda: channel.health().ready)
    assert isinstance(await till.ask(channel, till.sale()), Approved)


async def test_a_gateway_that_is_away_from_the_start(channels: Any, simulator: Any, till: Any) -> None:
    await simulator.stop_listening()
    channel = await channels(simulator.gateway_url, simulator.public_key_pem)
    await until(lambda: channel.health().detail.startswith("no verified answer"))
    await simulator.resume()
    await until(lambda: channel.health().ready)


@pytest.mark.parametrize("status", [500, 502, 403, 302])
async def test_an_http_status_is_no_outcome(channels: Any, simulator: Any, served: Any, till: Any, status: int) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": simulator.gateway_url}, text="oops")

    # The probe will fail too and open the circuit; the sale is on its way before that.
    channel = await channels(await served(handler), simulator.public_key_pem)
    assert await till.ask(channel, till.sale()) == Unknown(Phase.SENT, f"http_{status}")
    assert simulator.book() == []


async def test_an_answer_without_end_is_cut(channels: Any, simulator: Any, served: Any, till: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b" " * 1_000_000)

    channel = await channels(await served(handler), simulator.public_key_pem)
    assert await till.ask(channel, till.sale()) == Unknown(Phase.SENT, "answer_too_long")


async def test_a_signed_answer_to_another_question_is_forged(
    channels: Any, simulator: Any, served: Any, till: Any
) -> None:
    """Someone in the middle plays back what Alipay signed for another payment."""
    replayed: list[tuple[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        form = await request.post()
        trade, amount = replayed[0]
        assert json.loads(str(form["biz_content"]))["out_trade_no"] != trade
        value = {"code": "10000", "trade_no": "1", "out_trade_no": trade, "total_amount": amount}
        key = request.query["method"].replace(".", "_") + "_response"
        return web.Response(body=simulator._body(key, value))

    replayed.append(("another", "1.00"))
    channel = await channels(await served(handler), simulator.public_key_pem)
    assert await till.ask(channel, till.sale(100)) == Unknown(Phase.SENT, "forged_answer")


@pytest.mark.parametrize(
    ("operation", "value", "expected"),
    [
        (Operation.SALE, {"code": "10000", "trade_no": "1", "total_amount": "0.99"}, "forged_answer"),
        (Operation.SALE, {"code": "10000", "trade_no": "1"}, "malformed_answer"),
        (Operation.SALE, {"code": "10000", "total_amount": "1.00"}, "malformed_answer"),
        (Operation.SALE, {"code": "99999"}, "code_99999"),
        (Operation.INQUIRY, {"code": "40002", "sub_code": "isv.invalid-signature"}, "isv.invalid-signature"),
        (Operation.INQUIRY, {"code": "10000", "trade_status": "DANCING"}, "malformed_answer"),
        (Operation.REVERSAL, {"code": "10000", "retry_flag": "Y"}, "cancel_must_be_retried"),
        (Operation.REVERSAL, {"code": "10000"}, "malformed_answer"),
        (Operation.REVERSAL, {"code": "40002", "sub_code": "isv.invalid-signature"}, "isv.invalid-signature"),
        (Operation.REFUND, {"code": "10000", "fund_change": "N"}, "refund_not_confirmed"),
        (Operation.REFUND, {"code": "10000", "fund_change": "Y", "refund_fee": "0.99"}, "forged_answer"),
    ],
)
async def test_answers_that_leave_the_outcome_open(
    channels: Any, simulator: Any, served: Any, till: Any, operation: Operation, value: dict[str, str], expected: str
) -> None:
    async def handler(request: web.Request) -> web.Response:
        content = json.loads(str((await request.post())["biz_content"]))
        key = request.query["method"].replace(".", "_") + "_response"
        return web.Response(body=simulator._body(key, {"out_trade_no": content["out_trade_no"]} | value))

    channel = await channels(await served(handler), simulator.public_key_pem)
    sale = till.sale(100)
    channel.prepare([sale])
    request = sale if operation is Operation.SALE else till.follow_on(sale, operation)
    assert await till.ask(channel, request) == Unknown(Phase.SENT, expected)


async def test_a_paid_status_under_the_key_of_a_payment_is_read_as_a_status(
    channels: Any, simulator: Any, served: Any, till: Any
) -> None:
    async def handler(request: web.Request) -> web.Response:
        content = json.loads(str((await request.post())["biz_content"]))
        key = request.query["method"].replace(".", "_") + "_response"
        value = {"code": "10000", "trade_no": "1", "total_amount": "1.00", "trade_status": "WAIT_BUYER_PAY"}
        return web.Response(body=simulator._body(key, value | {"out_trade_no": content["out_trade_no"]}))

    channel = await channels(await served(handler), simulator.public_key_pem)
    assert isinstance(await till.ask(channel, till.sale(100)), AwaitingPayer)


async def test_silent_sales_leave_room_for_their_cancels(channels: Any, simulator: Any, till: Any) -> None:
    channel = await channels(simulator.gateway_url, simulator.public_key_pem, max_connections=4, timeout_s=3.0)
    sales = [till.sale(SILENT) for _ in range(8)]
    channel.prepare(sales)
    futures = channel.send(sales)
    await until(lambda: len(simulator.book()) == 3)
    assert isinstance(await till.ask(channel, till.follow_on(sales[0], Operation.REVERSAL)), Approved)
    await channel.close()
    outcomes = [future.result() for future in futures]
    assert outcomes[:3] == [Unknown(Phase.SENT, "closed")] * 3
    assert outcomes[3:] == [Unknown(Phase.NOT_SENT, "closed")] * 5
    assert await till.ask(channel, till.sale()) == Unknown(Phase.NOT_SENT, "closed")


async def test_more_than_may_be_in_flight_is_refused_at_once(channels: Any, simulator: Any, till: Any) -> None:
    channel = await channels(simulator.gateway_url, simulator.public_key_pem, max_in_flight=2)
    requests = [till.sale(100) for _ in range(3)]
    channel.prepare(requests)
    *accepted, refused = await asyncio.gather(*channel.send(requests))
    assert [type(result) for result in accepted] == [Approved, Approved]
    assert refused == Unknown(Phase.NOT_SENT, "overloaded")
    assert isinstance(await till.ask(channel, till.sale()), Approved)


@pytest.mark.parametrize(
    ("broken", "event"), [(False, "alipay_answer_unverified"), (True, "alipay_task_died")], ids=["forged", "died"]
)
async def test_no_payment_code_is_shown_or_logged(
    channel: Any,
    till: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    broken: bool,
    event: str,
) -> None:
    await until(lambda: channel.health().ready)
    if broken:
        monkeypatch.setattr(channel._gateway, "signed", None)  # a fault of ours
    sale = till.sale(FORGED)
    code = sale.credential.code.reveal()
    await till.ask(channel, sale)
    captured = capsys.readouterr()
    assert event in captured.out + caplog.text
    assert code not in captured.out + captured.err + caplog.text + repr(channel) + repr(sale)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"gateway_url": "gateway.do"}, "gateway_url"),
        ({"gateway_url": "http://h/gateway.do?charset=gbk"}, "gateway_url"),
        ({"app_id": ""}, "app_id"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"alipay_public_key_pem": "x"}, "alipay_public_key_pem"),
    ],
)
def test_wrong_settings_are_named(simulator: Any, change: dict[str, Any], named: str) -> None:
    right = {
        "gateway_url": "http://h/gateway.do",
        "app_id": "2021",
        "alipay_public_key_pem": simulator.public_key_pem,
    }
    with pytest.raises(ValueError, match=named):
        AlipaySettings(**(right | change))
