"""The acquirer's SDK against a scripted switch on a real socket."""

import asyncio
import time
from uuid import UUID

import grpc
import pytest

from payswitch.v1 import authorization_pb2 as pb
from switch.client.acquirer import AcquirerClient
from switch.client.errors import (
    ConflictingPayment,
    InvalidPayment,
    NotPermitted,
    OutcomeUnknown,
    PaymentRefused,
    SwitchUnavailable,
)


def payment(key: str = "") -> pb.AuthorizeRequest:
    return pb.AuthorizeRequest(merchant_id="m1", amount={"amount_minor": 100, "currency": "CNY"}, idempotency_key=key)


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def test_each_call_gets_its_own_answer(connect):
    client = await connect()
    keys = [f"k{n}" for n in range(300)]
    answers = await asyncio.gather(*(client.authorize(payment(key)) for key in keys))
    assert [answer.authorization_id for answer in answers] == keys


async def test_calls_made_while_frames_are_in_flight_travel_together(connect, switch):
    client = await connect(max_frame_items=64)

    async def till(count: int) -> None:
        for _ in range(count):
            await client.authorize(payment())

    await asyncio.gather(*(till(20) for _ in range(50)))
    assert len(switch.items) == 1_000
    assert len(switch.frames) < 250
    assert max(map(len, switch.frames)) <= 64


async def test_a_lone_call_leaves_at_once(connect, switch):
    client = await connect()
    for _ in range(5):
        await client.authorize(payment())
    assert [len(frame) for frame in switch.frames] == [1] * 5


async def test_frames_without_answer_do_not_hold_back_others_for_long(connect, switch):
    client = await connect(max_frames_in_flight=2)
    switch.reply = lambda item: None if item.request.idempotency_key == "silent" else switch.approve(item)
    silent = []
    for _ in range(2):
        silent.append(asyncio.create_task(client.authorize(payment("silent"), budget_ms=3_000)))
        await until(lambda: len(switch.frames) == len(silent))
    await client.authorize(payment("quick"))
    assert not any(each.done() for each in silent)
    for task in silent:
        with pytest.raises(OutcomeUnknown):
            await task


async def test_key_and_time_are_filled_in_once(connect, switch):
    client = await connect()
    request = payment()
    before_ms = time.time_ns() // 1_000_000
    await client.authorize(request)
    assert UUID(request.idempotency_key).version == 4
    assert before_ms <= request.transmission_time_ms <= before_ms + 5_000
    await client.authorize(request)
    first, second = (item.request for item in switch.items)
    assert first == second
    assert switch.items[0].sequence != switch.items[1].sequence


async def test_the_budget_travels(connect, switch):
    client = await connect()
    await client.authorize(payment(), budget_ms=20_000)
    assert 10_000 < switch.items[0].budget_ms <= 20_000


async def test_a_lost_stream_is_reopened_and_the_same_request_repeated(connect, switch):
    client = await connect()
    switch.cut_after_frames = 1
    request = payment()
    answer = await client.authorize(request, budget_ms=20_000)
    assert answer.authorization_id == request.idempotency_key
    assert switch.streams == 2
    first, second = (item.request for item in switch.items)
    assert first == second
    assert switch.items[1].budget_ms < switch.items[0].budget_ms


async def test_a_restarted_switch_is_found_again(connect, switch):
    client = await connect()
    await client.authorize(payment())
    await switch.stop()
    await until(lambda: not client.ready.is_set())
    with pytest.raises(SwitchUnavailable, match="nothing was sent"):
        await client.authorize(payment(), budget_ms=50)
    await switch.start()
    answer = await client.authorize(payment(), budget_ms=5_000)
    assert answer.response_code == "00"


async def test_unavailable_is_repeated_within_the_budget(connect, switch):
    client = await connect()

    def reply(item):
        if len(switch.frames) < 3:
            return switch.error(item, grpc.StatusCode.UNAVAILABLE, "no database")
        return switch.approve(item)

    switch.reply = reply
    await client.authorize(payment(), budget_ms=20_000)
    assert len({item.request.idempotency_key for item in switch.items}) == 1
    assert len({item.request.transmission_time_ms for item in switch.items}) == 1
    assert len(switch.items) == 3


async def test_unavailable_for_good_is_refused_after_few_repeats(connect, switch):
    client = await connect()
    switch.reply = lambda item: switch.error(item, grpc.StatusCode.UNAVAILABLE, "no database")
    with pytest.raises(SwitchUnavailable, match="no database"):
        await client.authorize(payment(), budget_ms=20_000)
    assert len(switch.items) == 4
    with pytest.raises(SwitchUnavailable):
        await client.authorize(payment(), budget_ms=10)
    assert len(switch.items) <= 5


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidPayment),
        (grpc.StatusCode.ALREADY_EXISTS, ConflictingPayment),
        (grpc.StatusCode.PERMISSION_DENIED, NotPermitted),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, SwitchUnavailable),
        (grpc.StatusCode.FAILED_PRECONDITION, PaymentRefused),
        (grpc.StatusCode.INTERNAL, OutcomeUnknown),
        (grpc.StatusCode.DEADLINE_EXCEEDED, OutcomeUnknown),
    ],
)
async def test_errors_say_what_the_switch_said(connect, switch, code, kind):
    client = await connect()
    switch.reply = lambda item: switch.error(item, code, "amount.currency: unknown")
    with pytest.raises(kind) as caught:
        await client.authorize(payment())
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.message) == (code, "amount.currency: unknown")
    assert len(switch.items) == 1


async def test_silence_ends_with_the_outcome_unknown(connect, switch):
    client = await connect(grace_ms=20)
    switch.reply = lambda item: None
    begun_s = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="no answer within the budget"):
        await client.authorize(payment(), budget_ms=60)
    assert 0.06 <= time.monotonic() - begun_s < 30


async def test_a_cancelled_calls_answer_is_discarded(connect, switch):
    client = await connect()
    switch.delay_s = 0.05
    call = asyncio.create_task(client.authorize(payment()))
    await until(lambda: bool(switch.frames))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: client.discarded_answers == 1)
    assert (await client.authorize(payment())).response_code == "00"


async def test_a_call_cancelled_before_its_frame_is_never_sent(connect, switch):
    client = await connect()
    call = asyncio.create_task(client.authorize(payment("cancelled")))
    await asyncio.sleep(0)
    call.cancel()
    await client.authorize(payment("kept"))
    assert [item.request.idempotency_key for item in switch.items] == ["kept"]


async def test_outstanding_calls_are_bounded(connect, switch):
    client = await connect(max_outstanding=10)
    switch.delay_s = 0.05
    results = await asyncio.gather(*(client.authorize(payment()) for _ in range(15)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, SwitchUnavailable)]
    assert len(refused) == 5
    assert refused[0].code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(switch.items) == 10


async def test_a_refused_stream_fails_its_calls_with_the_reason(connect, switch):
    switch.refuse_streams = "certificate of nobody"
    client = await connect(ready=False)
    with pytest.raises(NotPermitted, match="certificate of nobody"):
        await client.authorize(payment(), budget_ms=20_000)


async def test_an_unreachable_switch_refuses_in_time_and_keeps_nothing(unused_tcp_port):
    async with AcquirerClient(f"127.0.0.1:{unused_tcp_port}") as client:
        begun_s = time.monotonic()
        results = await asyncio.gather(
            *(client.authorize(payment(), budget_ms=50) for _ in range(100)), return_exceptions=True
        )
        assert time.monotonic() - begun_s < 30
        assert all(isinstance(result, SwitchUnavailable) for result in results)
        assert not client._waiting


async def test_close_waits_for_open_calls_and_takes_no_more(connect, switch):
    client = await connect()
    switch.delay_s = 0.05
    calls = [asyncio.create_task(client.authorize(payment())) for _ in range(3)]
    await until(lambda: bool(switch.frames))
    await client.close()
    assert [call.result().response_code for call in calls] == ["00"] * 3
    with pytest.raises(SwitchUnavailable, match="closing"):
        await client.authorize(payment())


async def test_close_fails_what_stays_silent(connect, switch):
    client = await connect()
    switch.reply = lambda item: None
    call = asyncio.create_task(client.authorize(payment(), budget_ms=5_000))
    await until(lambda: bool(switch.frames))
    await client.close(timeout_s=0.05)
    with pytest.raises(OutcomeUnknown, match="closed"):
        await call


async def test_a_stream_that_has_died_silently_is_replaced(connect, switch, monkeypatch):
    monkeypatch.setattr("switch.client.acquirer._DEAD_AFTER_S", 0.05)
    client = await connect(grace_ms=0)
    switch.reply = lambda item: None
    with pytest.raises(OutcomeUnknown):
        await client.authorize(payment(), budget_ms=100)
    switch.reply = switch.approve
    assert (await client.authorize(payment(), budget_ms=20_000)).response_code == "00"
    assert switch.streams == 2


async def test_calls_of_their_own(connect, switch):
    client = await connect()
    assert (await client.authorize_unary(payment())).response_code == "51"
    follow_on = {"merchant_id": "m1", "authorization_id": "a"}
    capture, refund = pb.CaptureRequest(follow_on=follow_on), pb.RefundRequest(follow_on=follow_on)
    assert isinstance(await client.capture(capture), pb.CaptureResponse)
    assert isinstance(await client.refund(refund), pb.RefundResponse)
    assert isinstance(await client.void(pb.VoidRequest(follow_on=follow_on)), pb.VoidResponse)
    assert isinstance(await client.increment(pb.IncrementRequest(follow_on=follow_on)), pb.IncrementResponse)
    assert isinstance(await client.reverse(pb.ReverseRequest(follow_on=follow_on)), pb.ReverseResponse)
    assert isinstance(await client.get(pb.GetRequest(merchant_id="m1")), pb.GetResponse)
    keys = [request.follow_on.idempotency_key for request in switch.unary[1:6]]
    assert len(set(keys)) == 5
    assert keys[0] == capture.follow_on.idempotency_key
    assert all(request.follow_on.transmission_time_ms for request in switch.unary[1:6])


async def test_watch_yields_every_change(connect, switch):
    client = await connect()
    changes = [change.authorization.state async for change in client.watch(pb.WatchRequest(merchant_id="m1"))]
    assert changes == [pb.AUTHORIZATION_STATE_AWAITING_PAYER, pb.AUTHORIZATION_STATE_APPROVED]
    switch.unary_error = (grpc.StatusCode.NOT_FOUND, "no such authorization")
    with pytest.raises(PaymentRefused, match="no such authorization"):
        [change async for change in client.watch(pb.WatchRequest(merchant_id="m1"))]


async def test_a_failed_call_of_its_own(connect, switch):
    client = await connect()
    switch.unary_error = (grpc.StatusCode.INVALID_ARGUMENT, "amount: missing")
    with pytest.raises(InvalidPayment, match="amount: missing"):
        await client.authorize_unary(payment())
    switch.unary_error = (grpc.StatusCode.UNAVAILABLE, "gone")
    with pytest.raises(OutcomeUnknown):  # gRPC says UNAVAILABLE for a connection lost half-way as well
        await client.authorize_unary(payment())
