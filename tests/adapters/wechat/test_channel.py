"""The channel against the simulator, over real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from adapters.simulation import Behaviour, Scenario
from adapters.wechat.metrics import LATE_ANSWERS, UNVERIFIED_ANSWERS
from switch.domain.money import Money
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, Declined, Phase, Unknown


def entry(simulator: Any, request: Any) -> dict[str, Any]:
    number = request.trace["out_trade_no"]
    return next(e for e in simulator.book() if e["kind"] == "payment" and e["out_trade_no"] == number)


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(1_500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come about within 30 s")


async def reachable(channel: Any) -> None:
    await eventually(lambda: bool(channel.health().ready))


# --- sale -----------------------------------------------------------------------------------------------------------


async def test_a_sale_is_approved_and_booked_once(till: Any, simulator: Any) -> None:
    sale = till.sale(1_234)
    result = await till.do_one(sale)
    assert isinstance(result, Approved)
    assert result.response_code == "00"
    booked = entry(simulator, sale)
    assert result.channel_reference == booked["transaction_id"]
    assert (booked["trade_state"], booked["amount_minor"]) == ("SUCCESS", 1_234)
    assert sale.trace["out_trade_no"] == sale.authorization.id.hex
    assert sale.credential.code.reveal() not in str(simulator.book())


async def test_a_repeat_has_one_effect_and_the_same_answer(till: Any, simulator: Any) -> None:
    sale = till.sale()
    first = await till.do_one(sale)
    sale.repeat = 1
    assert await till.do_one(sale) == first
    assert len(simulator.book()) == 1


async def test_a_batch_is_signed_by_one_hsm_call(till: Any, hsm: Any) -> None:
    results = await till.do(*(till.sale() for _ in range(8)))
    assert [type(each) for each in results] == [Approved] * 8
    assert hsm.batches == [8]


@pytest.mark.parametrize(
    ("code", "response_code", "reason"),
    [
        ("51", "51", "NOT_ENOUGH"),
        ("61", "61", "RULE_LIMIT"),
        ("30", "30", "PARAM_ERROR"),
        ("55", "05", "TRADE_ERROR"),
    ],
)
async def test_scripted_declines(till: Any, simulator: Any, code: str, response_code: str, reason: str) -> None:
    sale = till.sale(990_100 + int(code))
    assert await till.do_one(sale) == Declined(response_code, reason)
    assert entry(simulator, sale)["trade_state"] == "PAYERROR"


@pytest.mark.parametrize(("ending", "response_code"), [("0051", "51"), ("0054", "54"), ("0062", "62")])
async def test_the_codes_ending_chooses_the_payer(till: Any, ending: str, response_code: str) -> None:
    result = await till.do_one(till.sale(1_000, f"10{uuid4().int % 10**12:012d}{ending}"))
    assert isinstance(result, Declined)
    assert result.response_code == response_code


async def test_a_payment_code_is_good_for_one_payment(till: Any) -> None:
    first = till.sale()
    second = till.sale(code=first.credential.code.reveal())
    await till.do_one(first)
    assert await till.do_one(second) == Declined("14", "AUTH_CODE_INVALID")


async def test_the_same_number_with_another_amount_stays_unknown(till: Any, simulator: Any) -> None:
    """OUT_TRADE_NO_USED speaks of an order that is there, and not of one that failed."""
    sale = till.sale(1_000)
    await till.do_one(sale)
    other = till.sale(2_000)
    other.trace = dict(sale.trace)
    assert await till.do_one(other) == Unknown(Phase.SENT, "OUT_TRADE_NO_USED")
    assert entry(simulator, sale)["amount_minor"] == 1_000


async def test_what_could_only_be_refused_is_not_sent(till: Any, hsm: Any) -> None:
    wrong_code, euro, capture = till.sale(code="280000000000000000"), till.sale(), till.sale()
    euro.money = Money(100, "EUR")
    capture.operation = Operation.CAPTURE
    no_code = till.sale()
    no_code.credential = None
    results = await till.do(wrong_code, euro, capture, no_code)
    assert [each.response_code for each in results] == ["14", "40", "40", "14"]
    assert "2800" not in str(results)
    assert hsm.batches == []


# --- what goes wrong ------------------------------------------------------------------------------------------------


async def test_silence_is_unknown_at_the_deadline(till: Any, simulator: Any) -> None:
    sale = till.sale(990_200, deadline_s=1.0)
    started_s = time.monotonic()
    assert await till.do_one(sale) == Unknown(Phase.SENT, "no answer before the deadline")
    assert time.monotonic() - started_s < 20
    assert entry(simulator, sale)["trade_state"] == "SUCCESS"
    assert await till.do_one(till.follow(sale, Operation.REVERSAL)) == Approved()
    assert entry(simulator, sale)["trade_state"] == "REVOKED"


async def test_an_answer_in_time_after_a_delay(till: Any) -> None:
    assert isinstance(await till.do_one(till.sale(990_201)), Approved)


async def test_a_late_answer_is_counted_and_left(till: Any, simulator: Any) -> None:
    simulator.scenarios.put(Scenario(Behaviour.DELAY, delay_ms=300))
    late = LATE_ANSWERS.labels("sale")
    before = late._value.get()
    sale = till.sale(deadline_s=0.1)
    till.channel.prepare([sale])
    future = till.channel.send([sale])[0]
    result = await future
    assert isinstance(result, Unknown)
    await eventually(lambda: late._value.get() == before + 1)
    assert future.result() is result


async def test_a_result_given_by_the_caller_is_left(till: Any) -> None:
    sale = till.sale()
    till.channel.prepare([sale])
    future = till.channel.send([sale])[0]
    future.set_result(Unknown(Phase.SENT, "the caller's own"))
    await asyncio.sleep(0.05)
    assert future.result() == Unknown(Phase.SENT, "the caller's own")


async def test_duplicate_means_nothing_over_http(till: Any) -> None:
    assert isinstance(await till.do_one(till.sale(990_203)), Approved)


@pytest.mark.parametrize("amount_minor", [990_204, 990_205, 990_206], ids=["disconnect", "malformed", "forged"])
async def test_an_unusable_answer_is_unknown_and_the_inquiry_tells(
    till: Any, simulator: Any, amount_minor: int
) -> None:
    sale = till.sale(amount_minor)
    result = await till.do_one(sale)
    assert isinstance(result, Unknown)
    assert result.phase is Phase.SENT
    booked = entry(simulator, sale)
    assert booked["trade_state"] == "SUCCESS"
    told = await till.do_one(till.follow(sale, Operation.INQUIRY))
    assert told == Approved(channel_reference=booked["transaction_id"])


async def test_a_forged_answer_is_counted(till: Any) -> None:
    counter = UNVERIFIED_ANSWERS.labels("sale", "forged")
    before = counter._value.get()
    assert await till.do_one(till.sale(990_206)) == Unknown(
        Phase.SENT, "unverified answer: the signature does not match"
    )
    assert counter._value.get() == before + 1


async def test_a_system_error_is_unknown(till: Any, simulator: Any) -> None:
    assert await till.do_one(till.sale(990_196)) == Unknown(Phase.SENT, "HTTP 500")
    assert simulator.book() == []


async def test_a_verified_429_was_not_processed(till: Any, simulator: Any) -> None:
    assert await till.do_one(till.sale(990_191)) == Unknown(Phase.NOT_SENT, "FREQUENCY_LIMITED")
    assert simulator.book() == []


async def test_a_refused_connection_is_not_sent_and_found_again(till: Any, simulator: Any) -> None:
    await reachable(till.channel)
    await simulator.stop_listening()
    result = await till.do_one(till.sale())
    assert isinstance(result, Unknown)
    assert result.phase is Phase.NOT_SENT
    assert not till.channel.health().ready
    await simulator.resume()
    await reachable(till.channel)
    assert isinstance(await till.do_one(till.sale()), Approved)


@pytest.mark.parametrize("whole", [True, False])
async def test_nothing_leaves_unsigned(till: Any, simulator: Any, hsm: Any, whole: bool) -> None:
    hsm.fail, hsm.fail_items = whole, not whole
    assert await till.do(till.sale(), till.sale()) == [Unknown(Phase.NOT_SENT, "signing failed")] * 2
    assert simulator.book() == []


async def test_a_past_deadline_is_not_sent(till: Any, hsm: Any) -> None:
    assert await till.do_one(till.sale(deadline_s=-0.1)) == Unknown(Phase.NOT_SENT, "the deadline has passed")
    assert hsm.batches == []


async def test_silent_sales_fill_their_own_lane_only(till_for: Any, settings_for: Any, simulator: Any) -> None:
    till = await till_for(settings_for(simulator, max_connections=2))
    silent = [till.sale(990_200, deadline_s=0.2) for _ in range(3)]
    results = await till.do(*silent)
    assert [each.phase for each in results] == [Phase.SENT, Phase.SENT, Phase.NOT_SENT]
    assert await till.do_one(till.follow(silent[0], Operation.REVERSAL)) == Approved()


async def test_closing_ends_what_is_in_flight(till_for: Any, settings_for: Any, simulator: Any) -> None:
    till = await till_for(settings_for(simulator))
    sales = [till.sale(990_200), till.sale()]
    till.channel.prepare(sales)
    flying = till.channel.send(sales[:1])
    await asyncio.sleep(0.1)
    unsent = till.channel.send(sales[1:])
    await till.channel.close()
    results = [each.result() for each in flying + unsent]
    assert [each.phase for each in results] == [Phase.SENT, Phase.NOT_SENT]
    assert await till.do_one(till.sale()) == Unknown(Phase.NOT_SENT, "the channel is not started")
    assert till.channel.health().detail == "closed"


async def test_our_own_wrong_signature(till_for: Any, settings_for: Any, simulator: Any) -> None:
    """The 401 itself is signed: believed for a sale, no word about the payment for an inquiry or a reversal."""
    till = await till_for(settings_for(simulator, merchant_serial_no="00"))
    sale = till.sale()
    assert await till.do_one(sale) == Declined("96", "SIGN_ERROR")
    for operation in (Operation.INQUIRY, Operation.REVERSAL):
        assert await till.do_one(till.follow(sale, operation)) == Unknown(Phase.SENT, "SIGN_ERROR")


# --- the payer types a password -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "state"), [(Behaviour.USER_PAYING, "SUCCESS"), (Behaviour.USER_PAYING_DECLINED, "PAYERROR")]
)
async def test_user_paying(till: Any, simulator: Any, behaviour: Behaviour, state: str) -> None:
    simulator.scenarios.put(Scenario(behaviour, delay_ms=150))
    sale = till.sale()
    assert await till.do_one(sale) == AwaitingPayer()
    assert await till.do_one(till.follow(sale, Operation.INQUIRY)) == AwaitingPayer()
    await asyncio.sleep(0.2)
    result = await till.do_one(till.follow(sale, Operation.INQUIRY))
    if state == "SUCCESS":
        assert isinstance(result, Approved)
    else:
        assert result == Declined("05", "PAYERROR")
    assert entry(simulator, sale)["trade_state"] == state


async def test_a_reversal_ends_the_wait_for_the_payer(till: Any) -> None:
    sale = till.sale(990_207)
    assert await till.do_one(sale) == AwaitingPayer()
    assert await till.do_one(till.follow(sale, Operation.REVERSAL)) == Approved()
    assert await till.do_one(till.follow(sale, Operation.INQUIRY)) == Declined("12", "REVOKED")


# --- reversal, void, inquiry ----------------------------------------------------------------------------------------


async def test_an_inquiry_after_nothing_is_no_decline(till: Any) -> None:
    """The payment may still be on its way."""
    assert await till.do_one(till.follow(till.sale(), Operation.INQUIRY)) == Unknown(Phase.SENT, "ORDER_NOT_EXIST")


async def test_a_reversal_before_its_original_declines_it(till: Any, simulator: Any) -> None:
    sale = till.sale()
    assert await till.do_one(till.follow(sale, Operation.REVERSAL)) == Approved()
    assert await till.do_one(sale) == Declined("12", "ORDER_REVERSED")
    assert entry(simulator, sale)["tombstone"]


@pytest.mark.parametrize("operation", [Operation.REVERSAL, Operation.VOID])
async def test_reversals_and_voids_are_idempotent(till: Any, simulator: Any, operation: Operation) -> None:
    sale = till.sale()
    await till.do_one(sale)
    for _ in range(3):
        assert await till.do_one(till.follow(sale, operation)) == Approved()
    assert entry(simulator, sale)["trade_state"] == "REVOKED"
    assert len(simulator.book()) == 1


async def test_too_early_a_reversal_is_tried_again(till_for: Any, settings_for: Any, simulator_for: Any) -> None:
    simulator = await simulator_for(reversal_after_s=0.2)
    till = await till_for(settings_for(simulator, reversal_after_s=0.2))
    assert till.channel.reversal_after_s == 0.2
    sale = till.sale()
    await till.do_one(sale)
    assert await till.do_one(till.follow(sale, Operation.REVERSAL)) == Unknown(Phase.SENT, "INVALID_REQUEST")
    assert await till.do_one(till.follow(sale, Operation.VOID)) == Declined("12", "INVALID_REQUEST")
    await asyncio.sleep(0.25)
    assert await till.do_one(till.follow(sale, Operation.REVERSAL)) == Approved()


# --- refund ---------------------------------------------------------------------------------------------------------


async def test_a_refund_in_parts_up_to_what_was_paid(till: Any, simulator: Any) -> None:
    sale = till.sale(1_000)
    await till.do_one(sale)
    first, second = (till.follow(sale, Operation.REFUND, amount) for amount in (400, 600))
    assert [type(each) for each in await till.do(first, second)] == [AwaitingPayer, AwaitingPayer]
    simulator.world.ahead_s += 61.0  # a minute later, by the platform's clock
    assert [type(each) for each in await till.do(first, second)] == [Approved, Approved]
    assert first.trace["out_refund_no"] != second.trace["out_refund_no"]
    too_much = till.follow(sale, Operation.REFUND, 1)
    assert await till.do_one(too_much) == Declined("12", "INVALID_REQUEST")
    assert entry(simulator, sale)["refunded_minor"] == 1_000
    assert isinstance(await till.do_one(till.follow(sale, Operation.INQUIRY)), Approved)


async def test_a_repeated_refund_has_one_effect(till: Any, simulator: Any) -> None:
    sale = till.sale(1_000)
    await till.do_one(sale)
    refund = till.follow(sale, Operation.REFUND, 300)
    first = await till.do_one(refund)
    assert isinstance(first, AwaitingPayer)  # PROCESSING is no outcome
    refund.repeat = 1
    simulator.world.ahead_s += 61.0
    assert await till.do_one(refund) == Approved(channel_reference=first.channel_reference)
    assert [e["status"] for e in simulator.book() if e["kind"] == "refund"] == ["SUCCESS"]
    assert entry(simulator, sale)["refunded_minor"] == 300


async def test_an_inquiry_after_a_refund(till: Any) -> None:
    sale = till.sale(1_000)
    await till.do_one(sale)
    refund = till.follow(sale, Operation.REFUND, 300)
    accepted = await till.do_one(refund)
    inquiry = till.follow(sale, Operation.INQUIRY)
    inquiry.trace = dict(refund.trace)
    assert await till.do_one(inquiry) == accepted
    inquiry.trace = refund.trace | {"out_refund_no": "none"}
    assert await till.do_one(inquiry) == Unknown(Phase.SENT, "RESOURCE_NOT_EXISTS")


async def test_a_refund_of_nothing_or_of_too_much(till: Any) -> None:
    sale = till.sale(1_000)
    till.channel.prepare([sale])
    assert await till.do_one(till.follow(sale, Operation.REFUND, 500)) == Declined("25", "RESOURCE_NOT_EXISTS")
    result = await till.do_one(till.follow(sale, Operation.REFUND, 1_001))
    assert isinstance(result, Declined)
    assert result.response_code == "30"


# --- a peer that is not the platform --------------------------------------------------------------------------------


@pytest.fixture
async def impostor(till_for: Any, settings_for: Any, simulator: Any) -> AsyncIterator[Any]:
    """A server that answers whatever it is told to, unsigned, and a till that asks it."""
    answers: list[web.Response] = []

    async def handle(request: web.Request) -> web.Response:
        return answers.pop()

    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    till = await till_for(settings_for(simulator, base_url=f"http://127.0.0.1:{runner.addresses[0][1]}"))

    async def ask(response: web.Response) -> Any:
        answers.append(response)
        return await till.do_one(till.sale())

    yield ask
    await runner.cleanup()


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429])
async def test_an_unsigned_answer_is_never_believed(impostor: Any, status: int) -> None:
    body = b'{"trade_state":"SUCCESS","code":"SIGN_ERROR"}'
    result = await impostor(web.Response(status=status, body=body))
    assert result == Unknown(Phase.SENT, "unverified answer: header wechatpay-timestamp is missing")


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_broken_server_is_unknown(impostor: Any, status: int) -> None:
    assert await impostor(web.Response(status=status, text="<html>")) == Unknown(Phase.SENT, f"HTTP {status}")


async def test_a_redirect_is_not_followed(impostor: Any) -> None:
    response = web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})
    assert isinstance(await impostor(response), Unknown)


async def test_an_endless_answer_is_given_up(impostor: Any) -> None:
    assert await impostor(web.Response(body=b"x" * 300_000)) == Unknown(Phase.SENT, "no answer: InvalidAnswer")


async def test_the_payment_code_is_in_no_text(till: Any) -> None:
    sale = till.sale(code="134567890123456789")
    till.channel.prepare([sale])
    assert "134567890123456789" not in repr(sale) + repr(till.channel._dialect.begin(sale).call)
