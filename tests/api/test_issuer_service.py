"""The issuers' door, spoken to with bare frames over a real socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest

from adapters.issuer.hub import IssuerHub, IssuerLink
from adapters.issuer.messages import IssuerAnswer, IssuerMessage
from payswitch.v1 import issuer_pb2 as pb
from payswitch.v1 import issuer_pb2_grpc
from switch.api.issuer_service import IssuerServicer, LinkLimits
from switch.domain.money import Money
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation


class Taker:
    def __init__(self) -> None:
        self.answers: list[IssuerAnswer] = []
        self.lost: list[tuple[IssuerLink, set[str]]] = []

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
        servicer = IssuerServicer(hub, authenticate, check_values.__getitem__, "process-1", LinkLimits(**limits))
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


async def status(stream: Any) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(5):
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
    async with asyncio.timeout(5):
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
    door = await open_door()
    stream = await signed_on(door)
    await stream.write(frame)
    code, details = await status(stream)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(f"{field}:")
    assert door.hub.link_count("bank") == 0


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
    door = await open_door(echo_interval_s=0.05, dead_after_s=0.2)
    stream = await signed_on(door)
    nonces = []
    for _ in range(8):
        frame = await stream.read()
        nonces.append(frame.echo.nonce)
        await stream.write(pb.ConnectRequest(echo=frame.echo))
    assert nonces == list(range(1, 9))
    stream.cancel()


async def test_a_dead_peer_is_cut(open_door):
    door = await open_door(echo_interval_s=0.05, dead_after_s=0.1)
    stream = await signed_on(door)
    code, details = await status(stream)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details.startswith("no frame for")
    assert door.hub.link_count("bank") == 0


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
    await asyncio.wait_for(draining, 5)
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
