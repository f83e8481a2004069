"""Every field of a frame wrong in every way, in both directions: no money moves, and the next frame is served.

Sign-ons, frames of messages that are open here and at another issuer, and bytes that are hardly frames. Each example
has a door of its own.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from adapters.issuer.channel import IssuerChannel
from adapters.issuer.hub import IssuerHub
from adapters.issuer.messages import IssuerAnswer, IssuerMessage
from payswitch.v1 import issuer_pb2 as pb
from payswitch.v1 import issuer_pb2_grpc
from switch.api.issuer_service import IssuerServicer
from switch.client.issuer import IssuerConnection
from switch.domain.authorization import Authorization, CardCredential, Merchant
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation
from switch.ports import Approved, ChannelRequest, ChannelResult

SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
MINE, THEIRS = (str(computed_id("acq", merchant, 1_750_000_000_000, "k")) + "-1" for merchant in ("mine", "theirs"))

MESSAGE_IDS = st.sampled_from([MINE, THEIRS, MINE.upper(), MINE + "-reversal", "", "x", "\x00" * 99]) | st.text()
TEXTS = st.sampled_from(["", "00", "10", "11", "51", "25", "A0", "000", "0", "\u0660\u0660", "\n"]) | st.text(
    max_size=80
)
NUMBERS = st.sampled_from([0, 1, -1, 999, 1_000, 1_001, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)
SMALL = st.sampled_from([0, 1, 65_536, 65_537, 2**32 - 1]) | st.integers(0, 2**32 - 1)
ENUMS = st.integers(-1, 7) | st.sampled_from([2**31 - 1, -(2**31)])
MONEYS = st.fixed_dictionaries({}, optional={"amount_minor": NUMBERS, "currency": st.sampled_from(["CNY", "", "XYZ"])})
OUTCOMES = st.fixed_dictionaries(
    {}, optional={"state": ENUMS, "response_code": TEXTS, "approval_code": TEXTS, "approved": MONEYS}
)
ANSWERS = st.fixed_dictionaries(
    {"message_id": MESSAGE_IDS, "response_code": TEXTS},
    optional={
        "approval_code": TEXTS, "approved": MONEYS, "emv_response": st.binary(max_size=300), "reason": TEXTS,
        "outcome": OUTCOMES,
    },
)  # fmt: skip
LINES = st.fixed_dictionaries(
    {},
    optional={
        "kind": ENUMS, "message_id": MESSAGE_IDS, "amount": MONEYS, "fee_minor": NUMBERS, "booked_time_ms": NUMBERS,
    },
)  # fmt: skip
FRAMES = st.one_of(
    st.fixed_dictionaries({"answers": st.fixed_dictionaries({"answers": st.lists(ANSWERS, max_size=4)})}),
    st.fixed_dictionaries({"sign_on": st.fixed_dictionaries({"issuer_id": TEXTS, "credit": SMALL})}),
    st.fixed_dictionaries({"echo": st.fixed_dictionaries({"nonce": st.integers(0, 2**64 - 1)})}),
    st.fixed_dictionaries({"credit_change": st.fixed_dictionaries({"credit": SMALL})}),
    st.fixed_dictionaries(
        {"notice": st.fixed_dictionaries({"notice_id": TEXTS, "message_id": MESSAGE_IDS, "state": ENUMS})}
    ),
    st.fixed_dictionaries(
        {
            "bill_chunk": st.fixed_dictionaries(
                {"request_id": TEXTS, "sequence": SMALL, "lines": st.lists(LINES, max_size=3), "last": st.booleans()}
            )
        }
    ),
    st.just({"sign_off": {}}),
    st.just({}),
)


def valid_or_broken(frame: dict[str, Any], flips: list[tuple[int, int]], cut: int) -> bytes:
    """The frame's bytes, some of them changed, some cut off."""
    data = bytearray(pb.ConnectRequest(**frame).SerializeToString())
    for position, value in flips:
        if data:
            data[position % len(data)] ^= value
    return bytes(data[: len(data) - cut] if cut else data)


BYTES = st.builds(
    valid_or_broken,
    FRAMES,
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 255)), max_size=3),
    st.integers(0, 3),
) | st.binary(max_size=60)


ENDS = (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
GRPCS_OWN = {"UsageError", "InternalError", "ExecuteBatchError"}


class Door:
    """Two issuers' channels behind one door; `who` is the caller's certificate."""

    def __init__(self) -> None:
        self.hub = IssuerHub()
        self.channels = {name: IssuerChannel(name, self.hub) for name in ("mine", "theirs")}
        self.who = "mine"
        self.target = ""
        self.channel: Any = None

    async def signed_on(self) -> Any:
        connect = self.channel.stream_stream("/payswitch.v1.IssuerService/Connect")
        stream = connect()
        await stream.write(pb.ConnectRequest(sign_on=pb.SignOn(issuer_id=self.who)).SerializeToString())
        assert pb.ConnectResponse.FromString(await stream.read()).WhichOneof("frame") == "signed_on"
        return stream

    def ask(self, name: str, message_id: str) -> "asyncio.Future[ChannelResult]":
        record = Authorization(
            computed_id("acq", name, 1_750_000_000_000, "k"), "acq", name, "t", "5999", Operation.SALE,
            Money(1_000, "CNY"), EntryMode.KEYED, "",
        )  # fmt: skip
        request = ChannelRequest(
            Operation.SALE, record, record.money, CardCredential(Pan("6259000000000005")), Merchant(name),
            asyncio.get_running_loop().time() + 30, trace={"message_id": message_id},
        )  # fmt: skip
        return self.channels[name].send([request])[0]


@asynccontextmanager
async def opened() -> AsyncIterator[Door]:
    door = Door()
    server = grpc.aio.server()
    servicer = IssuerServicer(door.hub, lambda _: door.who, lambda _: "ABCDEF", lambda: "p")
    issuer_pb2_grpc.add_IssuerServiceServicer_to_server(servicer, server)
    door.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    door.channel = grpc.aio.insecure_channel(door.target)
    try:
        yield door
    finally:
        await door.channel.close()
        await server.stop(0)


def believed(frames: list[bytes]) -> bool:
    """Whether one of the frames says, in every field as it must be, that the issuer approved MINE."""
    for data in frames:
        try:
            frame = pb.ConnectRequest.FromString(data)
        except Exception:
            continue
        for answer in frame.answers.answers:
            if answer.message_id == MINE and answer.response_code in ("00", "10", "11"):
                return True
    return False


async def play(frames: list[bytes]) -> None:
    """A stream on which `frames` come, beside another issuer's; then a new stream, which must work."""
    with capture_logs() as logged:
        await _play(frames)
    failures = [each["why"] for each in logged if str(each.get("why", "")).startswith("stream failed")]
    assert all(why.removeprefix("stream failed: ") in GRPCS_OWN for why in failures), failures


async def _play(frames: list[bytes]) -> None:
    async with opened() as door:
        door.who = "theirs"
        other = await door.signed_on()
        door.who = "mine"
        stream = await door.signed_on()
        mine, theirs = door.ask("mine", MINE), door.ask("theirs", THEIRS)
        await stream.read(), await other.read()
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for data in frames:
                await stream.write(data)
            await stream.done_writing()
            while await stream.read() is not grpc.aio.EOF:
                continue
        # What else than these it may be is only that gRPC failed to write on a stream that was over.
        assert await asyncio.wait_for(stream.code(), 30) in (*ENDS, grpc.StatusCode.INTERNAL)
        result = await asyncio.wait_for(mine, 30)  # answered, or lost with the stream
        assert not isinstance(result, Approved) or believed(frames)
        assert not theirs.done()  # nobody answers for another issuer
        again = await door.signed_on()
        next_one = door.ask("mine", "next")
        await again.read()
        answer = pb.ConnectRequest(answers={"answers": [{"message_id": "next", "response_code": "00"}]})
        await again.write(answer.SerializeToString())
        assert isinstance(await asyncio.wait_for(next_one, 30), Approved)
        again.cancel()
        other.cancel()


@SETTINGS
@given(st.lists(FRAMES.map(lambda frame: pb.ConnectRequest(**frame).SerializeToString()), min_size=1, max_size=4))
def test_frames_with_wrong_fields(frames: list[bytes]) -> None:
    asyncio.run(play(frames))


@SETTINGS
@given(st.lists(BYTES, min_size=1, max_size=4))
def test_bytes_that_are_hardly_frames(frames: list[bytes]) -> None:
    asyncio.run(play(frames))


def test_an_answer_to_another_issuers_message_is_counted_and_left() -> None:
    def unmatched() -> float:
        labels = {"issuer": "mine", "kind": "unmatched"}
        return REGISTRY.get_sample_value("payswitch_issuer_answers_total", labels) or 0

    frame = pb.ConnectRequest(answers={"answers": [{"message_id": THEIRS, "response_code": "00"}]})
    before = unmatched()
    asyncio.run(play([frame.SerializeToString()]))
    assert unmatched() == before + 1


@SETTINGS
@given(st.fixed_dictionaries({}, optional={"issuer_id": TEXTS, "credit": SMALL}), st.lists(TEXTS, max_size=3))
def test_sign_ons(sign_on: dict[str, Any], held: list[str]) -> None:
    async def run() -> None:
        async with opened() as door:
            stream = issuer_pb2_grpc.IssuerServiceStub(door.channel).Connect()
            frame = pb.SignOn(**sign_on, switch_processes_held=held)
            await stream.write(pb.ConnectRequest(sign_on=frame))
            allowed = frame.issuer_id == "mine" and frame.credit <= 65_536
            try:
                assert (await stream.read()).WhichOneof("frame") == "signed_on"
                assert allowed
            except (grpc.aio.AioRpcError, AttributeError):
                assert not allowed
                assert door.hub.link_count("mine") == 0
            stream.cancel()

    asyncio.run(run())


# --- from the switch --------------------------------------------------------------------------------------------------

MESSAGES = st.fixed_dictionaries(
    {"message_id": MESSAGE_IDS},
    optional={
        "operation": ENUMS, "amount": MONEYS, "pan": TEXTS, "entry": ENUMS, "emv": st.binary(max_size=9),
        "track2": TEXTS, "stand_in": st.fixed_dictionaries({"operation": ENUMS}), "budget_ms": SMALL,
    },
)  # fmt: skip
PROCESSES = st.fixed_dictionaries({"name": TEXTS, "address": st.sampled_from(["", "x", "127.0.0.1:1", "\x00:1"])})
RESPONSES = st.one_of(
    st.fixed_dictionaries({"messages": st.fixed_dictionaries({"messages": st.lists(MESSAGES, max_size=3)})}),
    st.fixed_dictionaries({"processes": st.fixed_dictionaries({"processes": st.lists(PROCESSES, max_size=3)})}),
    st.fixed_dictionaries({"bill_request": st.fixed_dictionaries({"request_id": TEXTS, "day": TEXTS})}),
    st.fixed_dictionaries({"notice_answer": st.fixed_dictionaries({"notice_id": TEXTS, "cause": TEXTS})}),
    st.fixed_dictionaries({"signed_on": st.fixed_dictionaries({"switch_process": TEXTS})}),
    st.just({"drain": {}}),
    st.just({}),
).map(lambda frame: pb.ConnectResponse(**frame).SerializeToString()) | st.binary(max_size=40)


async def told(frames: list[bytes]) -> None:
    """A door that says these frames to the first who dials, and behaves to the second."""
    sign_ons = 0
    answered = asyncio.Event()

    async def connect(requests: AsyncIterator[bytes], context: Any) -> None:
        nonlocal sign_ons
        sign_ons += 1
        first = sign_ons == 1
        await context.read()
        await context.write(pb.ConnectResponse(signed_on=pb.SignedOn(switch_process="p")).SerializeToString())
        if first:
            for frame in frames:
                await context.write(frame)
            return
        good = pb.ConnectResponse(messages={"messages": [{"message_id": "good", "operation": 1, "budget_ms": 50}]})
        await context.write(good.SerializeToString())
        while (data := await context.read()) is not grpc.aio.EOF:
            if any(each.message_id == "good" for each in pb.ConnectRequest.FromString(data).answers.answers):
                answered.set()

    handler = grpc.method_handlers_generic_handler(
        "payswitch.v1.IssuerService", {"Connect": grpc.stream_stream_rpc_method_handler(connect)}
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def approve(messages: list[IssuerMessage]) -> list[IssuerAnswer]:
        return [IssuerAnswer(message.message_id, "00") for message in messages]

    connection = IssuerConnection(f"127.0.0.1:{port}", "mine", approve)
    running = asyncio.create_task(connection.run())
    try:
        await asyncio.wait({running, asyncio.create_task(answered.wait())}, timeout=60, return_when="FIRST_COMPLETED")
        assert answered.is_set()
        assert not running.done()
    finally:
        await connection.close(timeout_s=0.2)
        await asyncio.wait_for(running, 30)
        await server.stop(0)


@settings(SETTINGS, max_examples=50)
@example([b"\x00"])  # gRPC gives None for it
@given(st.lists(RESPONSES, min_size=1, max_size=3))
def test_a_switch_that_talks_nonsense_is_left_and_dialled_again(frames: list[bytes]) -> None:
    asyncio.run(told(frames))
