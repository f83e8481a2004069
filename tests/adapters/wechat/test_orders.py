"""Orders that the payer scans: native, closed or refunded whole to undo them."""

from typing import Any

import pytest

from adapters.wechat.simulator.world import CallFault
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, Declined, Phase, Unknown


def entry(simulator: Any, kind: str = "payment") -> dict[str, Any]:
    [found] = [each for each in simulator.book() if each["kind"] == kind]
    return found


def scan(simulator: Any, code_url: str) -> None:
    """What the control endpoint does for a payer with money."""
    world = simulator.world
    for book in world.books.values():
        book.scan(code_url.rpartition("pr=")[2], world.payers.scanning(""), world.now_ms())


async def ordered(till: Any) -> tuple[Any, str]:
    order = till.order(1_000)
    result = await till.do_one(order)
    assert isinstance(result, AwaitingPayer)
    return order, result.code


async def test_an_order_is_scanned_and_found_paid(till: Any, simulator: Any) -> None:
    order, code = await ordered(till)
    assert code.startswith("weixin://wxpay/bizpayurl?pr=")
    assert isinstance(await till.do_one(till.follow(order, Operation.INQUIRY)), AwaitingPayer)
    scan(simulator, code)
    paid = await till.do_one(till.follow(order, Operation.INQUIRY))
    assert paid == Approved(channel_reference=entry(simulator)["transaction_id"])


async def test_an_order_again_is_the_same_order(till: Any, simulator: Any) -> None:
    order, code = await ordered(till)
    order.repeat = 1
    assert await till.do_one(order) == AwaitingPayer(code=code)
    assert entry(simulator)["trade_type"] == "NATIVE"


async def test_the_platform_is_told_where_to_tell(till: Any, simulator: Any) -> None:
    order, _ = await ordered(till)
    [book] = simulator.world.books.values()
    [found] = book.orders(0)
    assert found.notify_url == f"http://127.0.0.1:9/notify/wechat/merchant-1/{order.authorization.id.hex}"


async def test_without_a_door_there_are_no_orders(till_for: Any, settings_for: Any, simulator: Any) -> None:
    till = await till_for(settings_for(simulator, notify_url=""))
    assert Operation.ORDER not in till.channel.operations
    assert await till.do_one(till.order()) == Declined("40", "WeChat Pay has no ORDER here")


@pytest.mark.parametrize("operation", [Operation.REVERSAL, Operation.VOID])
async def test_an_unpaid_order_is_closed(till: Any, simulator: Any, operation: Operation) -> None:
    order, code = await ordered(till)
    for _ in range(2):
        assert await till.do_one(till.follow(order, operation)) == Approved()
    assert entry(simulator)["trade_state"] == "CLOSED"
    with pytest.raises(Exception, match="INVALID_REQUEST"):
        scan(simulator, code)
    assert isinstance(await till.do_one(till.follow(order, Operation.INQUIRY)), Declined)


@pytest.mark.parametrize("operation", [Operation.REVERSAL, Operation.VOID])
async def test_an_order_that_turns_out_paid_is_refunded_whole_and_once(
    till: Any, simulator: Any, operation: Operation
) -> None:
    order, code = await ordered(till)
    scan(simulator, code)
    assert isinstance(await till.do_one(till.follow(order, operation)), AwaitingPayer)  # PROCESSING
    simulator.world.ahead_s += 61.0
    for _ in range(2):
        assert isinstance(await till.do_one(till.follow(order, operation)), Approved)
    assert (entry(simulator, "refund")["amount_minor"], entry(simulator)["refunded_minor"]) == (1_000, 1_000)


async def test_a_partly_refunded_order_is_not_undone_silently(till: Any, simulator: Any) -> None:
    order, code = await ordered(till)
    scan(simulator, code)
    await till.do_one(till.follow(order, Operation.REFUND, 300))
    assert await till.do_one(till.follow(order, Operation.VOID)) == Declined("12", "INVALID_REQUEST")
    assert await till.do_one(till.follow(order, Operation.REVERSAL)) == Unknown(Phase.SENT, "INVALID_REQUEST")
    assert entry(simulator)["refunded_minor"] == 300


async def test_the_undoing_of_nothing_says_so(till: Any) -> None:
    """The resolver asks some times more before it believes that the order never arrived."""
    assert await till.do_one(till.follow(till.order(), Operation.REVERSAL)) == Declined("25", "ORDER_NOT_EXIST")


@pytest.mark.parametrize(
    ("path", "status", "code", "reason"),
    [
        ("/close", 500, "SYSTEM_ERROR", "HTTP 500"),
        ("/close", 429, "FREQUENCY_LIMITED", "HTTP 429"),
        ("/close", 403, "NO_AUTH", "NO_AUTH"),
        ("/refunds", 500, "SYSTEM_ERROR", "HTTP 500"),
        ("/refunds", 403, "NOT_ENOUGH", "NOT_ENOUGH"),
    ],
)
async def test_an_undoing_that_fails_on_its_way(
    till: Any, simulator: Any, path: str, status: int, code: str, reason: str
) -> None:
    order, code_url = await ordered(till)
    scan(simulator, code_url)
    simulator.world.faults.append(CallFault(path, status, code))
    assert await till.do_one(till.follow(order, Operation.REVERSAL)) == Unknown(Phase.SENT, reason)
    assert isinstance(await till.do_one(till.follow(order, Operation.REVERSAL)), AwaitingPayer)
