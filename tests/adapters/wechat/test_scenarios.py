"""One scenario suite with the same expectations over API v3, by public key and by certificate, and over API v2."""

import asyncio
from typing import Any

import pytest

from adapters.simulation import Behaviour, Scenario
from adapters.wechat.simulator.orders import RefundOutcome
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, Declined, Phase, Unknown


@pytest.fixture(params=["v3", "v3 by certificate", "v2"])
async def till(
    request: pytest.FixtureRequest, till_for: Any, settings_for: Any, simulator: Any, v2_settings: Any,
    certificate_settings: Any,
) -> Any:  # fmt: skip
    changes: dict[str, dict[str, Any]] = {
        "v3": {},
        "v3 by certificate": certificate_settings(simulator),
        "v2": v2_settings,
    }
    made = await till_for(settings_for(simulator, **changes[request.param]))
    for _ in range(1_500):
        if made.channel.health().ready:
            return made
        await asyncio.sleep(0.02)
    raise AssertionError(made.channel.health().detail)


def a_minute_later(simulator: Any) -> None:
    """By the platform's clock, which may be five minutes off before a signature is refused."""
    simulator.world.ahead_s += 61.0


def states(simulator: Any) -> list[str]:
    return [entry["trade_state"] for entry in simulator.book() if entry["kind"] == "payment"]


async def test_approve(till: Any, simulator: Any) -> None:
    result = await till.do_one(till.sale(1_234))
    assert isinstance(result, Approved)
    assert simulator.book()[0]["transaction_id"] == result.channel_reference


@pytest.mark.parametrize(("code", "answered"), [("51", "51"), ("61", "61"), ("54", "54"), ("55", "05")])
async def test_decline(till: Any, simulator: Any, code: str, answered: str) -> None:
    result = await till.do_one(till.sale(990_100 + int(code)))
    assert isinstance(result, Declined)
    assert (result.response_code, states(simulator)) == (answered, ["PAYERROR"])


async def test_a_system_error_is_no_decline(till: Any, simulator: Any) -> None:
    result = await till.do_one(till.sale(990_196))
    assert isinstance(result, Unknown)
    assert (result.phase, simulator.book()) == (Phase.SENT, [])


async def test_silent_then_reversed(till: Any, simulator: Any) -> None:
    sale = till.sale(990_200, deadline_s=0.2)
    assert await till.do_one(sale) == Unknown(Phase.SENT, "no answer before the deadline")
    assert states(simulator) == ["SUCCESS"]
    assert await till.do_one(till.follow(sale, Operation.REVERSAL)) == Approved()
    assert states(simulator) == ["REVOKED"]


async def test_late_but_in_time(till: Any) -> None:
    assert isinstance(await till.do_one(till.sale(990_201)), Approved)


async def test_a_duplicate_has_one_effect(till: Any, simulator: Any) -> None:
    sale = till.sale()
    first = await till.do_one(sale)
    sale.repeat = 1
    assert await till.do_one(sale) == first
    assert states(simulator) == ["SUCCESS"]


@pytest.mark.parametrize("amount_minor", [990_204, 990_205, 990_206], ids=["disconnect", "malformed", "forged"])
async def test_an_unusable_answer_is_unknown_and_the_inquiry_tells(till: Any, amount_minor: int) -> None:
    sale = till.sale(amount_minor)
    result = await till.do_one(sale)
    assert isinstance(result, Unknown)
    assert result.phase is Phase.SENT
    assert isinstance(await till.do_one(till.follow(sale, Operation.INQUIRY)), Approved)


@pytest.mark.parametrize(
    ("behaviour", "state"), [(Behaviour.USER_PAYING, "SUCCESS"), (Behaviour.USER_PAYING_DECLINED, "PAYERROR")]
)
async def test_user_paying(till: Any, simulator: Any, behaviour: Behaviour, state: str) -> None:
    simulator.scenarios.put(Scenario(behaviour, delay_ms=60_000))
    sale = till.sale()
    assert await till.do_one(sale) == AwaitingPayer()
    a_minute_later(simulator)
    result = await till.do_one(till.follow(sale, Operation.INQUIRY))
    assert isinstance(result, Approved if state == "SUCCESS" else Declined)
    assert states(simulator) == [state]


async def test_refunds_in_parts_up_to_what_was_paid(till: Any, simulator: Any) -> None:
    sale = till.sale(1_000)
    await till.do_one(sale)
    parts = [till.follow(sale, Operation.REFUND, amount) for amount in (400, 600)]
    assert [type(each) for each in await till.do(*parts)] == [AwaitingPayer, AwaitingPayer]
    a_minute_later(simulator)
    for each in parts:
        each.repeat = 1
    assert [type(each) for each in await till.do(*parts)] == [Approved, Approved]
    assert isinstance(await till.do_one(till.follow(sale, Operation.REFUND, 1)), Declined)
    assert simulator.book()[0]["refunded_minor"] == 1_000


@pytest.mark.parametrize(("status", "result"), [("CLOSED", Declined), ("ABNORMAL", Unknown)])
async def test_a_refund_that_does_not_arrive(till: Any, simulator: Any, status: str, result: type) -> None:
    """CLOSED gives the merchant its money back, and the order may be refunded again; ABNORMAL waits for a person."""
    for book in simulator.world.books.values():
        book.refund_outcomes.append(RefundOutcome(status, settles_after_ms=60_000))
    sale = till.sale(1_000)
    await till.do_one(sale)
    refund = till.follow(sale, Operation.REFUND, 400)
    assert isinstance(await till.do_one(refund), AwaitingPayer)
    a_minute_later(simulator)
    inquiry = till.follow(sale, Operation.INQUIRY)
    inquiry.trace = dict(refund.trace)
    assert isinstance(await till.do_one(inquiry), result)
    assert simulator.book()[0]["refunded_minor"] == (0 if status == "CLOSED" else 400)


async def test_a_reversal_before_its_original(till: Any, simulator: Any) -> None:
    sale = till.sale()
    assert await till.do_one(till.follow(sale, Operation.REVERSAL)) == Approved()
    result = await till.do_one(sale)
    assert isinstance(result, Declined)
    assert (result.response_code, states(simulator)) == ("12", ["REVOKED"])


async def test_reversals_are_idempotent(till: Any, simulator: Any) -> None:
    sale = till.sale()
    await till.do_one(sale)
    for _ in range(3):
        assert await till.do_one(till.follow(sale, Operation.REVERSAL)) == Approved()
    assert states(simulator) == ["REVOKED"]


async def test_an_inquiry_after_nothing_is_no_decline(till: Any) -> None:
    assert isinstance(await till.do_one(till.follow(till.sale(), Operation.INQUIRY)), Unknown)


@pytest.mark.parametrize("operation", [Operation.PRE_AUTHORIZATION, Operation.CAPTURE, Operation.INCREMENT])
async def test_what_wechat_pay_lacks_is_refused_by_name(till: Any, simulator: Any, operation: Operation) -> None:
    request = till.sale()
    request.operation = operation
    assert await till.do_one(request) == Declined("40", f"WeChat Pay has no {operation.name} here")
    assert simulator.book() == []
