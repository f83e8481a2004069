"""The issuer's SDK against a scripted switch on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from typing import Any

import grpc
import grpc.aio
import pytest

from adapters.issuer.messages import IssuerAnswer, IssuerBillLine, IssuerMessage, IssuerNotice, StandInApproval
from payswitch.v1 import issuer_pb2 as pb
from payswitch.v1 import issuer_pb2_grpc
from switch.client.issuer import IssuerConnection, NoticeRefused
from switch.client.issuer_frames import bill_frames
from switch.domain.bill import BillKind
from switch.domain.money import Money
from switch.domain.states import EntryMode, Operation


class FakeDoor(issuer_pb2_grpc.IssuerServiceServicer):
    """Signs on whoever comes; frames put into `say` go out, frames that come in are kept in `heard`."""

    def __init__(self) -> None:
        self.sign_ons: list[pb.SignOn] = []
        self.heard: asyncio.Queue[pb.ConnectRequest] = asyncio.Queue()
        self.say: asyncio.Queue[pb.ConnectResponse | None] = asyncio.Queue()
        self.refusal = ""
        self.signs_on = asyncio.Event()
        self.signs_on.set()
        self.server: Any = None
        self.port = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def Connect(self, request_iterator: Any, context: Any) -> None:
        first = await context.read()
        self.sign_ons.append(first.sign_on)
        if self.refusal:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, self.refusal)
        await self.signs_on.wait()
        await context.write(pb.ConnectResponse(signed_on=pb.SignedOn(pin_key_check_value="ABCDEF")))
        listening = asyncio.create_task(self._listen(context))
        try:
            while (frame := await self.say.get()) is not None:
                await context.write(frame)
        finally:
            listening.cancel()

    async def _listen(self, context: Any) -> None:
        while (frame := await context.read()) is not grpc.aio.EOF:
            self.heard.put_nowait(frame)

    async def start(self) -> None:
        self.server = grpc.aio.server()
        issuer_pb2_grpc.add_IssuerServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()

    def messages(self, *messages: pb.IssuerMessage) -> None:
        self.say.put_nowait(pb.ConnectResponse(messages=pb.IssuerMessages(messages=messages)))

    async def answers(self) -> list[pb.IssuerAnswer]:
        frame = await asyncio.wait_for(self.heard.get(), 30)
        return list(frame.answers.answers)


def sale(message_id: str) -> pb.IssuerMessage:
    return pb.IssuerMessage(
        message_id=message_id,
        operation=pb.ISSUER_OPERATION_SALE,
        amount={"amount_minor": 1_000, "currency": "CNY"},
        pan="6259000000000005",
        expiry="4912",
        pin={"block": bytes(8)},
        entry=1,
        budget_ms=100,
    )


async def approve(messages: list[IssuerMessage]) -> list[IssuerAnswer]:
    return [IssuerAnswer(message.message_id, "00") for message in messages]


@pytest.fixture
async def door() -> AsyncIterator[FakeDoor]:
    fake = FakeDoor()
    await fake.start()
    yield fake
    await fake.server.stop(0)


Dial = Callable[..., Awaitable[IssuerConnection]]


@pytest.fixture
async def dial(door: FakeDoor) -> AsyncIterator[Dial]:
    opened: list[tuple[IssuerConnection, asyncio.Task[None]]] = []

    async def dial_(handler: Any = approve, ready: bool = True, **options: Any) -> IssuerConnection:
        connection = IssuerConnection(options.pop("targets", door.target), "bank", handler, **options)
        opened.append((connection, asyncio.create_task(connection.run())))
        if ready:
            await asyncio.wait_for(connection.ready.wait(), 30)
        return connection

    yield dial_
    for connection, running in opened:
        await connection.close(timeout_s=0.1)
        await asyncio.wait_for(running, 30)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def test_signs_on_and_learns_the_key(door, dial):
    connection = await dial(credit=77)
    assert (door.sign_ons[0].issuer_id, door.sign_ons[0].credit) == ("bank", 77)
    assert connection.pin_key_check_values == {door.target: "ABCDEF"}


async def test_a_frame_goes_to_the_handler_as_one_batch(door, dial):
    batches: list[list[IssuerMessage]] = []

    async def handler(messages: list[IssuerMessage]) -> list[IssuerAnswer]:
        batches.append(messages)
        return [
            IssuerAnswer(messages[0].message_id, "10", "A1", Money(500, "CNY"), b"\x91\x00", "part"),
            IssuerAnswer(messages[1].message_id, "51"),
        ]

    await dial(handler)
    door.messages(sale("a"), sale("b"))
    first, second = await door.answers()
    assert (first.message_id, first.response_code, first.approval_code) == ("a", "10", "A1")
    assert (first.approved.amount_minor, first.emv_response, first.reason) == (500, b"\x91\x00", "part")
    assert not second.HasField("approved")
    (batch,) = batches
    got = batch[0]
    assert (got.operation, got.entry, got.money) == (Operation.SALE, EntryMode.NFC, Money(1_000, "CNY"))
    assert (got.pan.reveal(), got.pin_block, got.budget_ms) == ("6259000000000005", bytes(8), 100)


async def test_answers_come_in_completion_order(door, dial):
    release = asyncio.Event()

    async def handler(messages: list[IssuerMessage]) -> list[IssuerAnswer]:
        if messages[0].message_id == "slow":
            await release.wait()
        return await approve(messages)

    await dial(handler)
    door.messages(sale("slow"))
    door.messages(sale("quick"))
    assert [answer.message_id for answer in await door.answers()] == ["quick"]
    release.set()
    assert [answer.message_id for answer in await door.answers()] == ["slow"]


async def test_answers_that_wait_travel_together_and_bounded(door, dial):
    await dial(max_frame_answers=40)
    door.messages(*(sale(str(n)) for n in range(100)))
    assert [len(await door.answers()) for _ in range(3)] == [40, 40, 20]


async def test_an_answer_may_be_given_later(door, dial):
    async def handler(messages: list[IssuerMessage]) -> list[IssuerAnswer]:
        return await approve([message for message in messages if message.message_id != "later"])

    connection = await dial(handler)
    door.messages(sale("later"), sale("now"))
    assert [answer.message_id for answer in await door.answers()] == ["now"]
    connection.answer([IssuerAnswer("later", "05"), IssuerAnswer("never-asked", "00")])
    assert [answer.message_id for answer in await door.answers()] == ["later"]


async def test_a_handler_that_fails_answers_nothing_and_the_link_lives(door, dial):
    async def handler(messages: list[IssuerMessage]) -> list[IssuerAnswer]:
        if messages[0].message_id == "bad":
            raise KeyError("6259000000000005")
        return await approve(messages)

    await dial(handler)
    door.messages(sale("bad"))
    door.messages(sale("good"))
    assert [answer.message_id for answer in await door.answers()] == ["good"]


async def test_an_operation_newer_than_the_sdk_is_refused(door, dial):
    await dial()
    unknown = sale("new")
    unknown.operation = 99
    door.messages(unknown, sale("old"))
    answers = {answer.message_id: answer.response_code for answer in await door.answers()}
    if len(answers) == 1:
        answers |= {answer.message_id: answer.response_code for answer in await door.answers()}
    assert answers == {"new": "40", "old": "00"}


async def test_echo_is_returned(door, dial):
    await dial()
    door.say.put_nowait(pb.ConnectResponse(echo=pb.Echo(nonce=7)))
    frame = await asyncio.wait_for(door.heard.get(), 30)
    assert frame.echo.nonce == 7


async def test_dials_again_when_the_switch_hangs_up(door, dial):
    connection = await dial()
    door.say.put_nowait(None)
    await until(lambda: len(door.sign_ons) == 2)
    await asyncio.wait_for(connection.ready.wait(), 30)
    door.messages(sale("a"))
    assert len(await door.answers()) == 1


async def test_dials_again_when_the_switch_was_down(door, dial):
    await door.server.stop(0)
    connection = await dial(ready=False)
    await asyncio.sleep(0.05)
    assert not connection.ready.is_set()
    await door.start()
    await asyncio.wait_for(connection.ready.wait(), 30)


async def test_keeps_dialling_when_refused(door, dial):
    door.refusal = "not yet"
    connection = await dial(ready=False)
    await until(lambda: len(door.sign_ons) >= 2)
    assert not connection.ready.is_set()
    door.refusal = ""
    await asyncio.wait_for(connection.ready.wait(), 30)


async def test_a_silent_switch_is_left(door, dial):
    await dial(silence_limit_s=0.1)
    await until(lambda: len(door.sign_ons) >= 2)


async def test_a_switch_that_ignores_the_credit_is_left(door, dial):
    async def handler(messages: list[IssuerMessage]) -> list[IssuerAnswer]:
        return []

    await dial(handler, credit=2)
    door.messages(*(sale(str(n)) for n in range(5)))
    await until(lambda: len(door.sign_ons) >= 2)


async def test_one_link_to_each_target(door, dial):
    other = FakeDoor()
    await other.start()
    try:
        connection = await dial(targets=[door.target, other.target])
        await until(lambda: len(connection.pin_key_check_values) == 2)
        other.messages(sale("b"))
        assert [answer.message_id for answer in await other.answers()] == ["b"]
    finally:
        await other.server.stop(0)


async def test_sign_off_says_so_and_stays_off(door, dial):
    connection = await dial()
    leaving = asyncio.create_task(connection.sign_off())
    frame = await asyncio.wait_for(door.heard.get(), 30)
    assert frame.WhichOneof("frame") == "sign_off"
    door.say.put_nowait(None)
    await asyncio.wait_for(leaving, 30)
    await asyncio.sleep(0.15)
    assert len(door.sign_ons) == 1
    connection.sign_on()
    await asyncio.wait_for(connection.ready.wait(), 30)


# --- bills, notices, credit -------------------------------------------------------------------------------------------


def bill_line(number: int, kind: BillKind = BillKind.PAYMENT) -> IssuerBillLine:
    return IssuerBillLine(kind, f"m{number}", Money(number, "CNY"), 1_750_000_000_000, fee_minor=1)


async def asked_bill(door: FakeDoor, day: str = "2026-03-04") -> pb.BillChunk:
    door.say.put_nowait(pb.ConnectResponse(bill_request=pb.BillRequest(request_id="r", day=day)))
    return (await asyncio.wait_for(door.heard.get(), 30)).bill_chunk


async def test_a_bill_comes_in_parts_with_its_totals(door, dial):
    days: list[date] = []

    async def bill(day: date) -> list[IssuerBillLine]:
        days.append(day)
        return [bill_line(number) for number in range(1, 1_201)] + [bill_line(5, BillKind.REFUND)]

    await dial(bill=bill)
    chunks = [await asked_bill(door)]
    while not chunks[-1].last:
        chunks.append((await asyncio.wait_for(door.heard.get(), 30)).bill_chunk)
    assert days == [date(2026, 3, 4)]
    assert [(each.sequence, len(each.lines), len(each.totals)) for each in chunks] == [
        (0, 500, 0), (1, 500, 0), (2, 201, 2),
    ]  # fmt: skip
    totals = {each.kind: (each.lines, each.amount_minor, each.fee_minor) for each in chunks[-1].totals}
    assert totals == {
        pb.ISSUER_BILL_KIND_PAYMENT: (1_200, 1_200 * 1_201 // 2, 1_200),
        pb.ISSUER_BILL_KIND_REFUND: (1, 5, 1),
    }


async def test_an_empty_bill_is_one_part(door, dial):
    async def bill(day: date) -> list[IssuerBillLine]:
        return []

    await dial(bill=bill)
    chunk = await asked_bill(door)
    assert (chunk.sequence, chunk.last, chunk.not_ready, len(chunk.lines)) == (0, True, False, 0)


async def test_a_bill_that_cannot_be_had_is_said_to_be_made_later(door, dial):
    async def bill(day: date) -> list[IssuerBillLine] | None:
        if day.year == 2025:
            raise OSError("the books are elsewhere")
        return None

    await dial(bill=bill)
    for day in ("2026-03-04", "2025-03-04", "yesterday"):
        chunk = await asked_bill(door, day)
        assert (chunk.request_id, chunk.not_ready, chunk.last) == ("r", True, False)


async def test_payments_go_before_a_bill(door, dial):
    async def bill(day: date) -> list[IssuerBillLine]:
        return [bill_line(number) for number in range(1, 2_001)]

    connection = await dial(bill=bill)
    link = next(iter(connection._lines)).link
    link._bills.append(bill_frames("r", [bill_line(number) for number in range(1, 1_001)]))
    link.answer([IssuerAnswer("a", "00")])
    frames = [(await asyncio.wait_for(door.heard.get(), 30)).WhichOneof("frame") for _ in range(3)]
    assert frames == ["answers", "bill_chunk", "bill_chunk"]


async def test_a_notice_is_repeated_until_it_is_taken(door, dial):
    connection = await dial()
    telling = asyncio.create_task(connection.notify(IssuerNotice("n1", "m1", "r1", 2)))
    heard = [await asyncio.wait_for(door.heard.get(), 30)]
    door.say.put_nowait(pb.ConnectResponse(notice_answer=pb.NoticeAnswer(notice_id="n1", cause="unavailable")))
    heard.append(await asyncio.wait_for(door.heard.get(), 30))
    door.say.put_nowait(None)  # the stream is lost before the answer
    heard.append(await asyncio.wait_for(door.heard.get(), 30))
    assert not telling.done()
    door.say.put_nowait(pb.ConnectResponse(notice_answer=pb.NoticeAnswer(notice_id="n1", accepted=True)))
    await asyncio.wait_for(telling, 30)
    said = [(each.notice.notice_id, each.notice.message_id, each.notice.state) for each in heard]
    assert said == [("n1", "m1", 2)] * 3


async def test_a_refused_notice_is_not_repeated(door, dial):
    connection = await dial()
    telling = asyncio.create_task(connection.notify(IssuerNotice("n1", "m1")))
    await asyncio.wait_for(door.heard.get(), 30)
    door.say.put_nowait(pb.ConnectResponse(notice_answer=pb.NoticeAnswer(notice_id="n1", cause="foreign")))
    with pytest.raises(NoticeRefused, match="foreign"):
        await asyncio.wait_for(telling, 30)


async def test_credit_is_said_again_and_kept_for_the_next_stream(door, dial):
    connection = await dial(credit=5)
    connection.change_credit(7)
    frame = await asyncio.wait_for(door.heard.get(), 30)
    assert frame.credit_change.credit == 7
    door.say.put_nowait(None)
    await until(lambda: len(door.sign_ons) == 2)
    assert door.sign_ons[1].credit == 7


async def test_a_credit_that_changes_during_the_sign_on_is_said(door, dial):
    door.signs_on.clear()
    connection = await dial(ready=False, credit=5)
    await until(lambda: len(door.sign_ons) == 1)
    connection.change_credit(7)
    door.signs_on.set()
    frame = await asyncio.wait_for(door.heard.get(), 30)
    assert frame.credit_change.credit == 7


async def test_an_advice_says_what_it_stands_for(door, dial):
    seen: list[IssuerMessage] = []

    async def handler(messages: list[IssuerMessage]) -> list[IssuerAnswer]:
        seen.extend(messages)
        return await approve(messages)

    await dial(handler)
    advice = sale("a")
    advice.operation = pb.ISSUER_OPERATION_ADVICE
    advice.stand_in.operation = pb.ISSUER_OPERATION_PRE_AUTHORIZATION
    advice.stand_in.approval_code, advice.stand_in.approved_time_ms = "S00001", 9
    advice.track2 = "6259000000000005=4912201"
    nonsense = sale("b")
    nonsense.operation = pb.ISSUER_OPERATION_ADVICE
    door.messages(advice, nonsense)
    answers = {each.message_id: each.response_code for each in await door.answers()}
    if len(answers) == 1:
        answers |= {each.message_id: each.response_code for each in await door.answers()}
    assert answers == {"a": "00", "b": "40"}
    [got] = seen
    assert (got.operation, got.stand_in) == (Operation.PRE_AUTHORIZATION, StandInApproval("S00001", 9))
    assert got.track2.reveal() == "6259000000000005=4912201"
    assert "6259000000000005" not in repr(got)
