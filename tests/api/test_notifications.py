"""The door for notifications over real sockets: who is believed, what is bounded, what the peer hears."""

import asyncio
import contextlib
import hashlib
import hmac
import socket
from dataclasses import replace
from types import SimpleNamespace
from uuid import uuid4

import aiohttp
import pytest
from prometheus_client import REGISTRY

from switch.api.listener import Bounds
from switch.api.notices import Notices
from switch.api.notifications import DoorSettings, NotificationDoor
from switch.ports import Hastened, Notice, NotificationRefused, StoreUnavailable

KEY = b"shared with the peer"
IDENTITY = "0f6d2c1e-5a3b-4c8d-9e7f-1a2b3c4d5e6f"
BOUNDS = Bounds(connections=4, life_s=30.0, body_bytes=2_000, headers=16, header_bytes=512)
REASONS = (
    *("forged", "expired", "malformed", "failed", "unavailable", "not_found", "too_busy"),
    *("too_slow", "too_many", "too_large", "no_request"),
)


def signed(body, **headers):
    return {"Sign": hmac.digest(KEY, body, "sha256").hex(), **headers}


class Verifying:
    """Body: reference|refund reference|event|time. Refuses as a real channel does."""

    name = "pay"

    def read_notification(self, headers, body):
        sign = {name.lower(): value for name, value in headers.items()}.get("sign", "")
        if not hmac.compare_digest(sign, hmac.digest(KEY, body, hashlib.sha256).hex()):
            raise NotificationRefused("forged")
        parts = body.decode("ascii", "replace").split("|")
        if len(parts) != 4:
            raise NotificationRefused("malformed")
        if parts[3] == "old":
            raise NotificationRefused("expired")
        if parts[3] == "bug":
            raise ZeroDivisionError
        return Notice("pay", parts[0], parts[1], parts[2], "PAID")

    def notification_answer(self, accepted):
        return (200, "text/plain", b"success") if accepted else (500, "text/plain", b"fail")


class Hastening:
    """The journal's part that the door uses."""

    def __init__(self):
        self.asked = []
        self.says = Hastened.DUE
        self.gate = asyncio.Event()
        self.gate.set()
        self.busy = asyncio.Event()

    async def hasten(self, notice, merchant_id, authorization_id):
        self.asked.append((notice.reference, notice.refund_reference, merchant_id, authorization_id))
        if len(self.asked) == 2:
            self.busy.set()
        await self.gate.wait()
        if self.says is None:
            raise StoreUnavailable("down")
        return self.says


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def time_ms(self):
        return 0

    def monotonic_s(self):
        return self.now_s


@pytest.fixture
async def door(request):
    """`port`, `journal`, `clock`, `woken` (how often), `counted(outcome)`, `post(path, body, headers)`.

    Its parameter: how long a connection lives.
    """
    journal, clock, woken = Hastening(), Clock(), []
    bounds = replace(BOUNDS, life_s=getattr(request, "param", BOUNDS.life_s))
    notices = Notices(journal, lambda: woken.append(1))
    settings = DoorSettings(concurrency=2, per_second=20, bounds=bounds)
    notifications = NotificationDoor({"pay": Verifying()}, notices, clock, settings)
    port = await notifications.start("127.0.0.1", 0)
    before = {}

    def counted(outcome, channel="pay"):
        labels = {"channel": channel, "outcome": outcome}
        now = REGISTRY.get_sample_value("payswitch_notifications_total", labels) or 0.0
        change = now - before.get((channel, outcome), 0.0)
        before[channel, outcome] = now
        return change

    for outcome in (*REASONS, *map(str, Hastened)):
        counted(outcome)
        counted(outcome, "")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def post(path, body=b"", headers=None, method="POST"):
            async with session.request(method, path, data=body, headers=headers) as response:
                return response.status, await response.read()

        yield SimpleNamespace(
            port=port, journal=journal, clock=clock, woken=woken, counted=counted, post=post, door=notifications
        )
    await notifications.close()


def message(reference, refund="", event=None, time=""):
    body = f"{reference}|{refund}|{event or uuid4().hex}|{time}".encode()
    return body, signed(body)


async def test_a_verified_one_hastens_and_wakes(door):
    identity = uuid4()
    answer = await door.post(f"/notify/pay/m1/{identity.hex}", *message(identity.hex))
    assert answer == (200, b"success")
    assert door.journal.asked == [(identity.hex, "", "m1", identity)]
    assert (door.woken, door.counted("hastened")) == ([1], 1)


async def test_without_ids_in_the_path_the_reference_says_which(door):
    identity = uuid4()
    assert (await door.post("/notify/pay", *message(identity.hex, "r1")))[0] == 200
    assert door.journal.asked == [(identity.hex, "r1", None, identity)]


async def test_a_reference_that_is_no_id_of_ours_is_unknown(door):
    assert (await door.post("/notify/pay", *message("order-17")))[0] == 500
    assert (door.journal.asked, door.counted("unknown")) == ([], 1)


async def test_a_reference_may_carry_its_attempt(door):
    identity = uuid4()
    assert (await door.post("/notify/pay", *message(f"{identity}-2")))[0] == 200
    assert door.journal.asked == [(f"{identity}-2", "", None, identity)]


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (Hastened.DUE, None),
        (Hastened.FINAL, None),
        (Hastened.BEING_REVERSED, None),
        (Hastened.UNKNOWN, "unknown"),
        (Hastened.MISDIRECTED, "misdirected"),
        (Hastened.IN_FLIGHT, "recorded"),
        (None, "down"),
    ],
)
async def test_a_peer_on_a_stream_hears_why(says, error):
    journal = Hastening()
    journal.says = says
    notice = Notice("issuer:x", f"{uuid4()}-1", event="e")
    acting = Notices(journal, lambda: None).act(notice)
    if error is None:
        await acting
        return
    with pytest.raises((NotificationRefused, StoreUnavailable), match=error):
        await acting


async def test_the_same_event_hastens_once(door):
    """What is replayed is signed, and still cannot make us ask again and again."""
    identity = uuid4()
    body, headers = message(identity.hex, event="e7")
    for _ in range(3):
        assert await door.post(f"/notify/pay/m1/{identity}", body, headers) == (200, b"success")
    assert (len(door.journal.asked), door.counted("hastened"), door.counted("repeated")) == (1, 1, 2)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda body, headers: (body, {}), "forged"),
        (lambda body, headers: (body, {"Sign": "00" * 32}), "forged"),
        (lambda body, headers: (body + b"x", headers), "forged"),
        (lambda body, headers: (b"", headers), "forged"),
        (lambda body, headers: (body, [("Sign", headers["Sign"]), ("Sign", headers["Sign"])]), "forged"),
        (lambda body, headers: (b"only one part", signed(b"only one part")), "malformed"),
        (lambda body, headers: message(uuid4().hex, time="old"), "expired"),
        (lambda body, headers: message(uuid4().hex, time="bug"), "failed"),
    ],
)
async def test_what_is_not_believed_asks_nothing(door, spoil, cause):
    identity = uuid4()
    answer = await door.post(f"/notify/pay/m1/{identity}", *spoil(*message(identity.hex)))
    assert answer == (500, b"fail")
    assert (door.journal.asked, door.woken, door.counted(cause)) == ([], [], 1)


@pytest.mark.parametrize(
    ("says", "status"),
    [
        (Hastened.FINAL, 200),
        (Hastened.BEING_REVERSED, 200),
        (Hastened.IN_FLIGHT, 500),
        (Hastened.UNKNOWN, 500),
        (Hastened.MISDIRECTED, 500),
        (None, 500),
    ],
)
async def test_what_moves_nothing_is_counted_by_its_reason(door, says, status):
    door.journal.says = says
    identity = uuid4()
    assert (await door.post(f"/notify/pay/m1/{identity}", *message(identity.hex)))[0] == status
    assert (door.woken, door.counted(says.value if says else "unavailable")) == ([], 1)


@pytest.mark.parametrize(
    "path",
    ["/", "/notify", "/notify/", "/notify/other", "/notify/pay/m1", "/notify/pay/m1/17", "/notify/pay/../../etc/passwd",
     f"/notify/pay/m%20/{IDENTITY}", f"/notify/pay/m1/{IDENTITY}/more", f"/notify/pay/{'m' * 16}/{IDENTITY}"],
)  # fmt: skip
async def test_other_paths_are_not_found(door, path):
    assert (await door.post(path, *message(uuid4().hex)))[0] == 404
    assert (door.journal.asked, door.counted("not_found", "")) == ([], 1)


async def test_only_posts_are_taken(door):
    assert (await door.post(f"/notify/pay/m1/{uuid4()}", method="GET"))[0] == 405


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_large_body_is_refused(door, chunked):
    async def pieces():
        for _ in range(30):
            yield b"x" * 100

    body = pieces() if chunked else b"x" * 2_001
    assert (await door.post("/notify/pay", body))[0] == 413
    assert (door.journal.asked, door.counted("too_large")) == ([], 1)


async def test_a_compressed_body_is_not_unpacked(door):
    body = b"\x1f\x8b" + b"\0" * 100
    assert await door.post("/notify/pay", body, {"Content-Encoding": "gzip"}) == (500, b"fail")
    assert door.counted("forged") == 1


async def test_more_than_the_bound_at_once_come_again(door):
    door.journal.gate.clear()
    waiting = [asyncio.create_task(door.post("/notify/pay", *message(uuid4().hex))) for _ in range(2)]
    async with asyncio.timeout(20):
        await door.journal.busy.wait()
        assert (await door.post("/notify/pay", *message(uuid4().hex)))[0] == 503
        door.journal.gate.set()
        assert [status for status, _ in await asyncio.gather(*waiting)] == [200, 200]
    assert door.counted("too_busy") == 1


async def test_more_than_the_bound_in_a_second_come_again(door):
    door.clock.now_s = 100.0
    statuses = [(await door.post("/notify/pay", b"nonsense"))[0] for _ in range(22)]
    assert statuses == [500] * 20 + [503] * 2
    door.clock.now_s += 0.125
    assert [(await door.post("/notify/pay", b"nonsense"))[0] for _ in range(3)] == [500, 500, 503]


# --- peers that are slow, many, or speak something else --------------------------------------------------------------


@contextlib.asynccontextmanager
async def dialled(door):
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def is_cut(reader):
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            while await reader.read(1_000):
                pass
    return True


HEAD = b"POST /notify/pay HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("door", [0.3], indirect=True)
@pytest.mark.parametrize("start", [b"", b"POST /not", HEAD, HEAD + b"Content-Length: 10\r\n\r\nabc"])
async def test_a_slow_peer_is_cut(door, start):
    async with dialled(door) as (reader, writer):
        writer.write(start)
        assert await is_cut(reader)
    assert door.counted("too_slow", "") == 1
    assert door.journal.asked == []


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", HEAD + b"X: " + b"y" * 600 + b"\r\n\r\n",
                 HEAD + b"X: y\r\n" * 17 + b"\r\n", b"POST /" + b"a" * 600 + b" HTTP/1.1\r\n\r\n"]
)  # fmt: skip
async def test_what_is_no_request_of_ours_is_cut(door, nonsense):
    async with dialled(door) as (reader, writer):
        writer.write(nonsense)
        assert await is_cut(reader)
    assert door.counted("no_request", "") == 1


async def test_endless_bytes_are_cut(door):
    async with dialled(door) as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 3_000)
        assert await is_cut(reader)
    assert door.counted("too_large", "") + door.counted("too_large") >= 1


async def test_a_connection_brings_one_request(door):
    async with dialled(door) as (reader, writer):
        writer.write((HEAD + b"Content-Length: 0\r\n\r\n") * 3)
        async with asyncio.timeout(20):
            assert (await reader.read(-1)).count(b"HTTP/1.1 500") == 1
    assert door.counted("forged") == 1


async def test_too_many_connections_are_cut_and_the_others_served(door):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(BOUNDS.connections):
            await stack.enter_async_context(dialled(door))
        reader, _ = await stack.enter_async_context(dialled(door))
        assert await is_cut(reader)
    assert door.counted("too_many", "") == 1
    assert (await door.post("/notify/pay", *message(uuid4().hex)))[0] == 200


async def test_it_shuts_while_peers_hang(door):
    async with dialled(door) as (reader, writer):
        writer.write(HEAD)
        async with asyncio.timeout(20):
            await door.door.close()
        assert await is_cut(reader)
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", door.port), timeout=1).close()
