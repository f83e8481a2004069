"""Every field is checked and named; business declines are answers; the stream answers like the unary call."""

import asyncio
import time
from uuid import uuid4

import grpc
import pytest

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2
from switch.ports import Approved, AwaitingPayer, Declined


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_an_approval_and_its_repeat_are_equal(stub, tap):
    request = tap()
    first = await stub.Authorize(request)
    assert first.decision == common_pb2.DECISION_APPROVED
    assert (first.response_code, first.entry, first.channel) == ("00", common_pb2.ENTRY_MODE_NFC, "first")
    assert first.approved.amount_minor == 1200
    assert await stub.Authorize(request) == first


async def test_a_decline_is_an_answer(stub, tap, town):
    town.first.script = lambda request: Declined("51", "no money")
    answer = await stub.Authorize(tap())
    assert (answer.decision, answer.response_code) == (common_pb2.DECISION_DECLINED, "51")


async def test_an_order_is_answered_with_the_code_to_scan(stub, tap, town):
    town.first.script = lambda request: AwaitingPayer(code="https://qr.alipay.com/bax1")
    request = tap()
    request.order.scheme = "alipay"
    answer = await stub.Authorize(request)
    assert (answer.decision, answer.response_code) == (common_pb2.DECISION_AWAITING_PAYER, "09")
    assert (answer.order_code, answer.entry) == ("https://qr.alipay.com/bax1", common_pb2.ENTRY_MODE_MERCHANT_QR)
    assert await stub.Authorize(request) == answer
    shown = await stub.Get(pb.GetRequest(merchant_id="m1", authorization_id=answer.authorization_id))
    assert shown.authorization.answer == answer
    assert shown.authorization.kind == pb.AUTHORIZATION_KIND_SALE


@pytest.mark.parametrize(
    ("field", "spoil"),
    [
        ("kind", lambda r: setattr(r, "kind", pb.AUTHORIZATION_KIND_PRE_AUTHORIZATION)),
        ("pin", lambda r: setattr(r.pin, "block", b"12345678")),
    ],
)
async def test_an_order_is_a_sale_without_a_pin(stub, tap, town, field, spoil):
    request = tap()
    request.order.scheme = "alipay"
    spoil(request)
    code, text = await refused(stub.Authorize(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith(field)
    assert not town.first.sent


async def test_the_same_key_with_another_amount_already_exists(stub, tap):
    request = tap()
    await stub.Authorize(request)
    other = tap(amount_minor=1300)
    other.idempotency_key, other.transmission_time_ms = request.idempotency_key, request.transmission_time_ms
    code, _ = await refused(stub.Authorize(other))
    assert code is grpc.StatusCode.ALREADY_EXISTS


BAD_FIELDS = {
    "merchant_id": lambda r: setattr(r, "merchant_id", "no spaces"),
    "terminal_id": lambda r: setattr(r, "terminal_id", "123456789"),
    "idempotency_key": lambda r: setattr(r, "idempotency_key", ""),
    "transmission_time_ms": lambda r: setattr(r, "transmission_time_ms", -1),
    "amount.amount_minor": lambda r: setattr(r.amount, "amount_minor", 0),
    "amount.currency": lambda r: setattr(r.amount, "currency", "XXX"),
    "kind": lambda r: setattr(r, "kind", 99),
    "presented": lambda r: r.ClearField("nfc"),
    "nfc.emv": lambda r: setattr(r.nfc, "emv", r.nfc.emv[:-1]),
    "payer_code.code": lambda r: setattr(r.payer_code, "code", "990000000000000000"),
    "bluetooth.record": lambda r: setattr(r.bluetooth, "record", b"nonsense"),
    "keyed": lambda r: setattr(r.keyed, "pan", "6225880000000000"),
    "merchant_qr.payload": lambda r: setattr(r.merchant_qr, "payload", "00020101021126"),
    "pin.format": lambda r: setattr(r.pin, "format", 2),
    "pin.block": lambda r: setattr(r.pin, "block", b"short"),
    "order.scheme": lambda r: setattr(r.order, "scheme", "unionpay"),
    "merchant_name": lambda r: setattr(r, "merchant_name", "x" * 26),
    "merchant_city": lambda r: setattr(r, "merchant_city", "\n"),
    "merchant_country": lambda r: setattr(r, "merchant_country", "China"),
    "merchant_category_code": lambda r: setattr(r, "merchant_category_code", "12"),
}


@pytest.mark.parametrize("field", BAD_FIELDS)
async def test_a_bad_field_is_named_and_has_no_effect(stub, tap, town, field):
    request = tap()
    BAD_FIELDS[field](request)
    code, details = await refused(stub.Authorize(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(field)
    assert town.journal.rows == {}


@pytest.mark.parametrize("amount_minor", [-1, 1_000_000_000_000, 2**62])
async def test_amounts_out_of_bounds_are_refused(stub, tap, amount_minor):
    request = tap()
    request.amount.amount_minor = amount_minor
    code, details = await refused(stub.Authorize(request))
    assert (code, details.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "amount.amount_minor")


async def test_no_refusal_repeats_what_was_presented(stub, tap):
    request = tap()
    request.keyed.pan = "6225880000000000"
    _, details = await refused(stub.Authorize(request))
    assert "6225880000000000" not in details


async def test_an_acquirer_cannot_act_for_another(stub, tap):
    request = tap()
    request.acquirer_id = "other"
    code, _ = await refused(stub.Authorize(request))
    assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_malformed_protobuf_is_an_error_and_the_server_survives(channel, stub, tap, town):
    raw = channel.unary_unary("/payswitch.v1.AuthorizationService/Authorize")
    code, details = await refused(raw(b"\xff\xff\xff"))
    assert (code, "protobuf" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    stream = channel.stream_stream("/payswitch.v1.AuthorizationService/AuthorizeStream")()
    await stream.write(b"\xff\xff\xff")
    assert (await refused(stream.read()))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert town.journal.rows == {}
    assert (await stub.Authorize(tap())).response_code == "00"


async def test_the_callers_deadline_is_kept(stub, tap, town):
    town.first.script = lambda request: None
    for deadline_s in (1, 2, 4, 8, 16):  # the answer leaves 50 ms before, which a slow machine may need longer for
        started = time.monotonic()
        try:
            answer = await stub.Authorize(tap(), timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            continue
        assert answer.decision == common_pb2.DECISION_UNKNOWN
        assert time.monotonic() - started < deadline_s
        return
    raise AssertionError("no answer within the deadline")


async def frames_of(stub, items):
    async def out():
        for index in range(0, len(items), 3):
            yield pb.AuthorizeStreamRequest(items=items[index : index + 3])

    return [result async for frame in stub.AuthorizeStream(out()) for result in frame.results]


async def test_a_stream_answers_every_item_good_or_bad(stub, tap):
    bad = tap()
    bad.terminal_id = ""
    requests = [tap() for _ in range(7)] + [bad]
    items = [pb.AuthorizeStreamItem(sequence=n, request=each) for n, each in enumerate(requests)]
    results = {each.sequence: each for each in await frames_of(stub, items)}
    assert sorted(results) == list(range(8))
    assert {results[n].response.response_code for n in range(7)} == {"00"}
    assert results[7].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert results[7].error.message.startswith("terminal_id")


async def test_a_stream_answers_in_completion_order(stub, tap, town):
    silent, quick = tap(amount_minor=1300), tap()
    town.first.script = lambda request: None if request.money.amount_minor == 1300 else Approved()
    items = [
        pb.AuthorizeStreamItem(sequence=1, request=silent, budget_ms=5_000),
        pb.AuthorizeStreamItem(sequence=2, request=quick),
    ]
    assert [each.sequence for each in await frames_of(stub, items)] == [2, 1]


async def test_a_stream_items_budget_is_kept(stub, tap, town):
    town.first.script = lambda request: None
    started = time.monotonic()
    [result] = await frames_of(stub, [pb.AuthorizeStreamItem(sequence=1, request=tap(), budget_ms=2_000)])
    assert result.response.response_code == "68"
    assert time.monotonic() - started < 10


async def test_a_caller_that_leaves_its_stream_cancels_nothing(stub, tap, town):
    sent = asyncio.Event()
    town.first.script = lambda request: sent.set()
    call = stub.AuthorizeStream()
    await call.write(pb.AuthorizeStreamRequest(items=[pb.AuthorizeStreamItem(sequence=1, request=tap())]))
    await sent.wait()
    assert town.road.in_flight == 1
    call.cancel()
    town.first.replies[0].set_result(Approved())
    assert await town.road.drain(20.0)
    assert [each.response_code for each in town.journal.rows.values()] == ["00"]


async def test_get_shows_the_answer_the_route_and_later_operations(stub, tap):
    request = tap()
    answer = await stub.Authorize(request)
    follow_on = pb.FollowOn(
        merchant_id="m1", authorization_id=answer.authorization_id, idempotency_key=uuid4().hex,
        transmission_time_ms=time.time_ns() // 1_000_000,
    )  # fmt: skip
    refund = await stub.Refund(
        pb.RefundRequest(follow_on=follow_on, amount=common_pb2.Money(amount_minor=200, currency="CNY"))
    )
    assert refund.result.decision == common_pb2.DECISION_APPROVED
    shown = await stub.Get(pb.GetRequest(merchant_id="m1", authorization_id=answer.authorization_id))
    assert shown.authorization.answer == answer
    assert shown.authorization.masked_credential == "622588******0019"
    assert "rule cards" in shown.authorization.route_explanation
    assert shown.authorization.transmission_time_ms == request.transmission_time_ms
    assert [each.kind for each in shown.authorization.operations] == [pb.OPERATION_KIND_REFUND]


async def test_get_of_nothing_is_not_found(stub):
    code, _ = await refused(stub.Get(pb.GetRequest(merchant_id="m1", authorization_id=str(uuid4()))))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_watch_ends_with_the_final_state(stub, tap):
    answer = await stub.Authorize(tap())
    watching = stub.Watch(pb.WatchRequest(merchant_id="m1", authorization_id=answer.authorization_id))
    seen = [each.authorization.state async for each in watching]
    assert seen == [pb.AUTHORIZATION_STATE_APPROVED]


async def test_a_reversal_may_name_the_original_by_its_own_key(stub, tap):
    request = tap()
    answer = await stub.Authorize(request)
    reversal = await stub.Reverse(
        pb.ReverseRequest(
            follow_on=pb.FollowOn(
                merchant_id="m1", idempotency_key=uuid4().hex, transmission_time_ms=time.time_ns() // 1_000_000
            ),
            original=pb.OriginalRequest(
                idempotency_key=request.idempotency_key, transmission_time_ms=request.transmission_time_ms
            ),
        )
    )
    assert reversal.result.decision == common_pb2.DECISION_APPROVED
    shown = await stub.Get(pb.GetRequest(merchant_id="m1", authorization_id=answer.authorization_id))
    assert shown.authorization.state == pb.AUTHORIZATION_STATE_REVERSED


async def test_database_gone_is_unavailable(stub, tap, town):
    town.journal.down = True
    code, _ = await refused(stub.Authorize(tap()))
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_an_increment_shows_in_the_authorization_and_not_in_the_answer(stub, tap):
    """A repeat of the authorization is answered as before (invariant 11)."""
    request = tap()
    request.kind = pb.AUTHORIZATION_KIND_PRE_AUTHORIZATION
    first = await stub.Authorize(request)
    follow_on = pb.FollowOn(
        merchant_id="m1", authorization_id=first.authorization_id, idempotency_key=uuid4().hex,
        transmission_time_ms=time.time_ns() // 1_000_000,
    )  # fmt: skip
    wanted = pb.IncrementRequest(follow_on=follow_on, amount=common_pb2.Money(amount_minor=800, currency="CNY"))
    done = await stub.Increment(wanted)
    assert (done.result.decision, done.result.amount.amount_minor) == (common_pb2.DECISION_APPROVED, 800)
    assert await stub.Increment(wanted) == done
    assert await stub.Authorize(request) == first
    shown = (await stub.Get(pb.GetRequest(merchant_id="m1", authorization_id=first.authorization_id))).authorization
    assert (shown.approved_minor, shown.answer, shown.captured_minor) == (2000, first, 0)
    assert [each.kind for each in shown.operations] == [pb.OPERATION_KIND_INCREMENT]


async def test_an_increment_without_an_amount_is_refused(stub):
    follow_on = pb.FollowOn(
        merchant_id="m1", authorization_id=str(uuid4()), idempotency_key="k", transmission_time_ms=1
    )
    code, details = await refused(stub.Increment(pb.IncrementRequest(follow_on=follow_on)))
    assert (code, details.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "amount.currency")
