"""The issuers' door, spoken to with bare frames over a real socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import date
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from prometheus_client import REGISTRY

from adapters.issuer.hub import IssuerHub, IssuerLink
from adapters.issuer.messages import (
    BillChunk,
    BillRequest,
    IssuerAnswer,
    IssuerBillLine,
    IssuerBillTotal,
    IssuerMessage,
    IssuerNotice,
    StandInApproval,
)
from payswitch.v1 import issuer_pb2 as pb
from payswitch.v1 import issuer_pb2_grpc
from switch.api.issuer_service import IssuerServicer, LinkLimits
from switch.domain.bill import BillKind
from switch.domain.money import Money
from switch.domain.sensitive import Pan, Sensitive
from switch.domain.states import EntryMode, Operation


class Taker:
    def __init__(self) -> None:
        self.answers: list[IssuerAnswer] = []
        self.lost: list[tuple[IssuerLink, set[str]]] = []
        self.chunks: list[BillChunk] = []

    def take_bill_chunk(self, chunk):
        self.chunks.append(chunk)

    def take_answers(self, answers):
        self.answers += answers

    def link_lost(self, link, unsent_message_ids):
        self.lost.append((link, set(unsent_message_ids)))


def message(number: int) -> IssuerMessage:
    return IssuerMessage(
        message_id=f"m{number}",
        operation=Operation.SALE,
        authorization_id="a",
        money=Money(1_000, "CNY"),
        pan=Pan("6259000000000005"),
        expiry_yymm="4912",
        pin_block=bytes(8),
        emv=b"\x95\x00",
        entry=EntryMode.NFC,
        transmission_time_ms=5,
        budget_ms=150,
        repeat=2,
    )


Door = Callable[..., Awaitable[SimpleNamespace]]


@pytest.fixture
async def open_door() -> AsyncIterator[Door]:
    """Opens a door that takes every caller for `identity`; returns it with a stub, a raw stream method and the hub."""
    opened: list[tuple[Any, Any]] = []

    async def open_(identity: str = "bank", **limits: Any) -> SimpleNamespace:
        hub, taker = IssuerHub(), Taker()
        hub.register("bank", taker)

        async def authenticate(context: object) -> str:
            return identity

        check_values = {"issuer/bank/zpk": "08D7B4"}
        servicer = IssuerServicer(
            hub, authenticate, check_values.__getitem__, lambda: "process-1", LinkLimits(**limits)
        )
        server = grpc.aio.server()
        issuer_pb2_grpc.add_IssuerServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        opened.append((channel, server))
        stub = issuer_pb2_grpc.IssuerServiceStub(channel)
        return SimpleNamespace(hub=hub, taker=taker, servicer=servicer, stub=stub, channel=channel)

    yield open_
    for channel, server in opened:
        await channel.close()
        await server.stop(0.2)


async def signed_on(door: SimpleNamespace, credit: int = 0) -> Any:
    stream = door.stub.Connect()
    await stream.write(pb.ConnectRequest(sign_on=pb.SignOn(issuer_id="bank", credit=credit)))
    frame = await stream.read()
    assert frame.WhichOneof("frame") == "signed_on"
    return stream


def refusals() -> float:
    [family] = [each for each in REGISTRY.collect() if each.name == "payswitch_issuer_refused"]
    return sum(
        each.value for each in family.samples if each.name.endswith("_total") and "link_" in each.labels["cause"]
    )


async def status(stream: Any) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(30):
        with suppress(grpc.aio.AioRpcError):  # the status comes after the last frame is read
            while await stream.read() is not grpc.aio.EOF:
                continue
        return await stream.code(), await stream.details()


async def refusal(door: SimpleNamespace, frame: pb.ConnectRequest) -> tuple[grpc.StatusCode, str]:
    stream = door.stub.Connect()
    await stream.write(frame)
    return await status(stream)


async def answered(door: SimpleNamespace, stream: Any, *message_ids: str) -> None:
    answers = [pb.IssuerAnswer(message_id=each, response_code="00") for each in message_ids]
    await stream.write(pb.ConnectRequest(answers=pb.IssuerAnswers(answers=answers)))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def test_sign_on_names_the_process_and_the_key(open_door):
    door = await open_door()
    stream = door.stub.Connect()
    await stream.write(pb.ConnectRequest(sign_on=pb.SignOn(issuer_id="bank")))
    frame = await stream.read()
    assert (frame.signed_on.switch_process, frame.signed_on.pin_key_check_value) == ("process-1", "08D7B4")
    assert door.hub.credit("bank") == (1024, 1024)
    stream.cancel()


async def test_another_participants_id_is_refused(open_door):
    door = await open_door(identity="other")
    code, details = await refusal(door, pb.ConnectRequest(sign_on=pb.SignOn(issuer_id="bank")))
    assert (code, details) == (grpc.StatusCode.PERMISSION_DENIED, "sign_on.issuer_id: not the certificate's")


async def test_an_unknown_issuer_is_refused(open_door):
    door = await open_door(identity="other")
    code, details = await refusal(door, pb.ConnectRequest(sign_on=pb.SignOn(issuer_id="other")))
    assert (code, details) == (grpc.StatusCode.PERMISSION_DENIED, "sign_on.issuer_id: other is no issuer here")


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (pb.ConnectRequest(), "frame"),
        (pb.ConnectRequest(echo=pb.Echo(nonce=1)), "frame"),
        (pb.ConnectRequest(sign_on=pb.SignOn(issuer_id="bank", credit=65_537)), "sign_on.credit"),
    ],
)
async def test_a_wrong_first_frame(open_door, frame, field):
    code, details = await refusal(await open_door(), frame)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(f"{field}:")


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (pb.ConnectRequest(), "frame"),
        (pb.ConnectRequest(sign_on=pb.SignOn(issuer_id="bank")), "frame.sign_on"),
        (
            pb.ConnectRequest(answers={"answers": [{"message_id": "m1"}, {"response_code": "00"}]}),
            "answers.answers[1].message_id",
        ),
        (pb.ConnectRequest(echo=pb.Echo(nonce=99)), "echo.nonce"),
        (pb.ConnectRequest(credit_change=pb.CreditChange(credit=65_537)), "credit_change.credit"),
    ],
)
async def test_a_malformed_later_frame_ends_the_stream_and_names_the_field(open_door, frame, field):
    door, before = await open_door(), refusals()
    stream = await signed_on(door)
    await stream.write(frame)
    code, details = await status(stream)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(f"{field}:")
    assert door.hub.link_count("bank") == 0
    assert refusals() == before + 1


async def test_bytes_that_are_no_frame(open_door):
    door = await open_door()
    connect = door.channel.stream_stream("/payswitch.v1.IssuerService/Connect")
    stream = connect()
    await stream.write(b"\xff\xff\xff")
    assert await status(stream) == (grpc.StatusCode.INVALID_ARGUMENT, "frame: not a ConnectRequest")


async def test_no_sign_on_in_time(open_door):
    door = await open_door(sign_on_s=0.05)
    stream = door.stub.Connect()
    assert await status(stream) == (grpc.StatusCode.DEADLINE_EXCEEDED, "no sign_on came")


async def test_messages_travel_whole_and_together(open_door):
    door = await open_door(frame_messages=4)
    stream = await signed_on(door)
    links = door.hub.deliver("bank", [message(n) for n in range(6)])
    assert len(set(links)) == 1
    first, second = await stream.read(), await stream.read()
    assert [len(frame.messages.messages) for frame in (first, second)] == [4, 2]
    got = first.messages.messages[0]
    assert (got.message_id, got.operation, got.pan, got.expiry) == (
        "m0",
        pb.ISSUER_OPERATION_SALE,
        *("6259000000000005", "4912"),
    )
    assert (got.amount.amount_minor, got.amount.currency, got.pin.block, got.pin.format) == (1_000, "CNY", bytes(8), 0)
    assert (got.entry, got.budget_ms, got.repeat, got.emv) == (EntryMode.NFC, 150, 2, b"\x95\x00")
    await answered(door, stream, "m0", "m3")
    await until(lambda: len(door.taker.answers) == 2)
    assert door.taker.answers[1] == IssuerAnswer("m3", "00")
    stream.cancel()


async def test_what_a_lost_stream_had_not_begun_to_write_is_named(open_door):
    door = await open_door()
    stream = await signed_on(door)
    door.hub.deliver("bank", [message(1)])
    await stream.read()
    stream.cancel()
    await until(lambda: bool(door.taker.lost))
    assert door.taker.lost[0][1] == set()


async def test_echo_comes_and_its_answer_keeps_the_stream(open_door):
    door = await open_door(echo_interval_s=0.1, dead_after_s=2.0)
    stream = await signed_on(door)
    nonces = []
    for _ in range(24):
        frame = await stream.read()
        nonces.append(frame.echo.nonce)
        await stream.write(pb.ConnectRequest(echo=frame.echo))
    assert nonces == list(range(1, 25))
    stream.cancel()


async def test_a_dead_peer_is_cut(open_door):
    door = await open_door(echo_interval_s=0.05, dead_after_s=0.1)
    stream = await signed_on(door)
    code, details = await status(stream)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details.startswith("no frame for")
    assert door.hub.link_count("bank") == 0


async def test_an_issuer_that_does_not_answer_echoes_is_cut(open_door):
    """It may say other things meanwhile: they show that it is there, not that it follows."""
    door = await open_door(echo_interval_s=0.05, dead_after_s=2.0)
    stream = await signed_on(door)
    cause = {"issuer": "bank", "cause": "link_no_echo"}
    before = REGISTRY.get_sample_value("payswitch_issuer_refused_total", cause) or 0

    async def talk() -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await stream.write(pb.ConnectRequest(credit_change=pb.CreditChange(credit=5)))
                await asyncio.sleep(0.01)

    talking = asyncio.create_task(talk())
    code, details = await status(stream)
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details.startswith("no answer to an echo for")
    assert REGISTRY.get_sample_value("payswitch_issuer_refused_total", cause) == before + 1


async def test_the_processes_are_told_at_sign_on_and_when_they_change(open_door):
    door = await open_door()
    two = [("process-1", "a:1"), ("process-2", "b:1")]
    door.servicer.tell_processes(two)
    stream = door.stub.Connect()
    await stream.write(pb.ConnectRequest(sign_on=pb.SignOn(issuer_id="bank")))
    told = (await stream.read()).signed_on.processes
    assert [(each.name, each.address) for each in told.processes] == two
    door.servicer.tell_processes(two)  # no news
    door.servicer.tell_processes(two[:1])
    door.servicer.tell_processes([*two, ("process-3", "a:1")])  # replaces what has not been written yet
    frame = await stream.read()
    assert [each.name for each in frame.processes.processes] == ["process-1", "process-2", "process-3"]
    stream.cancel()


async def test_a_process_that_is_held_already_sends_the_caller_on(open_door):
    door = await open_door()
    held = pb.SignOn(issuer_id="bank", switch_processes_held=["process-2", "process-1"])
    code, details = await refusal(door, pb.ConnectRequest(sign_on=held))
    assert (code, details) == (grpc.StatusCode.ALREADY_EXISTS, "this is process-1")
    assert door.hub.link_count("bank") == 0
    another = pb.SignOn(issuer_id="bank", switch_processes_held=["process-2"])
    stream = door.stub.Connect()
    await stream.write(pb.ConnectRequest(sign_on=another))
    assert (await stream.read()).signed_on.switch_process == "process-1"
    stream.cancel()


async def test_what_stands_in_a_message_for_a_card_that_was_read(open_door):
    door = await open_door()
    stream = await signed_on(door)
    advice = message(1)
    advice.track2, advice.stand_in = Sensitive("6259000000000005=4912201"), StandInApproval("S00001", 77)
    door.hub.deliver("bank", [advice])
    [got] = (await stream.read()).messages.messages
    assert (got.operation, got.track2) == (pb.ISSUER_OPERATION_ADVICE, "6259000000000005=4912201")
    assert (got.stand_in.operation, got.stand_in.approval_code) == (pb.ISSUER_OPERATION_SALE, "S00001")
    assert got.stand_in.approved_time_ms == 77
    stream.cancel()


async def test_notices_are_answered_by_what_became_of_them(open_door):
    causes = iter(["", "foreign", "unavailable"])
    taken: list[tuple[str, IssuerNotice]] = []

    async def take(issuer_id: str, notice: IssuerNotice) -> str:
        taken.append((issuer_id, notice))
        return next(causes)

    door = await open_door()
    door.servicer._take_notice = take
    stream = await signed_on(door)
    answers = []
    for number in range(3):
        notice = pb.IssuerNotice(notice_id=f"n{number}", message_id="m1", refund_message_id="r1", state=1)
        await stream.write(pb.ConnectRequest(notice=notice))
        answer = (await stream.read()).notice_answer
        answers.append((answer.notice_id, answer.accepted, answer.cause))
    assert answers == [("n0", True, ""), ("n1", False, "foreign"), ("n2", False, "unavailable")]
    assert taken[0] == ("bank", IssuerNotice("n0", "m1", "r1", 1))
    stream.cancel()


async def test_notices_that_nobody_can_record_are_bounded_and_come_again(open_door):
    door = await open_door()
    hold = asyncio.Event()

    async def take(issuer_id: str, notice: IssuerNotice) -> str:
        await hold.wait()
        return ""

    door.servicer._take_notice = take
    stream = await signed_on(door)
    for number in range(33):
        await stream.write(pb.ConnectRequest(notice=pb.IssuerNotice(notice_id=f"n{number}", message_id="m", state=1)))
    first = (await stream.read()).notice_answer
    assert (first.notice_id, first.cause) == ("n32", "unavailable")
    hold.set()
    assert [(await stream.read()).notice_answer.accepted for _ in range(32)] == [True] * 32
    stream.cancel()


async def test_the_bill_is_asked_for_and_its_parts_go_to_the_issuers_channel(open_door):
    door = await open_door()
    stream = await signed_on(door)
    assert door.hub.ask_bill("bank", BillRequest("r1", date(2026, 3, 4))) is not None
    asked = (await stream.read()).bill_request
    assert (asked.request_id, asked.day) == ("r1", "2026-03-04")
    chunk = pb.BillChunk(request_id="r1", sequence=2, last=True)
    chunk.lines.add(kind=pb.ISSUER_BILL_KIND_REFUND, message_id="m1", fee_minor=-3, booked_time_ms=9)
    chunk.lines[0].amount.amount_minor, chunk.lines[0].amount.currency = 5, "CNY"
    chunk.lines.add(kind=99)
    chunk.totals.add(kind=pb.ISSUER_BILL_KIND_REFUND, currency="CNY", lines=1, amount_minor=5, fee_minor=-3)
    await stream.write(pb.ConnectRequest(bill_chunk=chunk))
    await until(lambda: bool(door.taker.chunks))
    [got] = door.taker.chunks
    assert (got.request_id, got.sequence, got.last, got.not_ready) == ("r1", 2, True, False)
    assert got.lines[0] == IssuerBillLine(BillKind.REFUND, "m1", Money(5, "CNY"), 9, fee_minor=-3)
    assert got.lines[1].kind is None
    assert got.totals == [IssuerBillTotal(BillKind.REFUND, "CNY", 1, 5, -3)]
    stream.cancel()


async def test_drain_tells_waits_and_refuses_the_next(open_door):
    door = await open_door()

    class Counting(Taker):
        def take_answers(self, answers):
            super().take_answers(answers)
            for _ in answers:
                door.hub.settle(link)

    stream = await signed_on(door)
    (link,) = door.hub.deliver("bank", [message(1)])
    door.hub._takers["bank"] = Counting()
    draining = asyncio.create_task(door.servicer.drain(limit_s=5))
    frames = [(await stream.read()).WhichOneof("frame") for _ in range(2)]
    assert frames == ["messages", "drain"]
    assert door.hub.deliver("bank", [message(2)]) == [None]
    assert not draining.done()
    await answered(door, stream, "m1")
    await asyncio.wait_for(draining, 30)
    assert await status(stream) == (grpc.StatusCode.OK, "")
    code, details = await refusal(door, pb.ConnectRequest(sign_on=pb.SignOn(issuer_id="bank")))
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "draining")


async def test_sign_off_ends_a_stream_with_nothing_open(open_door):
    door = await open_door()
    stream = await signed_on(door)
    await stream.write(pb.ConnectRequest(sign_off=pb.SignOff()))
    assert await status(stream) == (grpc.StatusCode.OK, "")


async def test_streams_of_one_issuer_are_bounded(open_door):
    door = await open_door(links_per_issuer=1)
    stream = await signed_on(door)
    code, _ = await refusal(door, pb.ConnectRequest(sign_on=pb.SignOn(issuer_id="bank")))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    stream.cancel()
