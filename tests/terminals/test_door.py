"""The listener: what cannot be read, what is too slow, too much or too many; and the end."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from counter import CARD
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.unionpay.pos.codec import Header, decode, encode, frame
from adapters.unionpay.pos.format import FIELDS, Kind, MalformedMessage
from adapters.unionpay.pos.messages import PosKind
from adapters.unionpay.pos.simulator import CHIP, KEYED, STRIPE
from switch.domain.authorization import Merchant
from switch.domain.states import Operation, State
from switch.domain.terminal import Terminal
from switch.ports import Approved
from switch.terminals import requests
from switch.terminals.refusals import Refused
from switch.terminals.settings import DoorLimits


def code(message: Any) -> str:
    return str(message.fields[39])


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"GET / HTTP/1.1\r\nHost: switch\r\n\r\n", "frame"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", "frame"),
        (b"\0\0", "frame"),
        (b"\xff\xff", "frame"),
        (frame(bytes(40)), "malformed"),
        (frame(encode(Header(), "0200", {}) + b"x"), "malformed"),
        (frame(encode(Header(), "0320", {11: "000001"})), None),
        (frame(encode(Header(), "0999", {11: "000001"})), "message_type"),
        (frame(encode(Header(), "0210", {11: "000001"})), "message_type"),
    ],
)
async def test_what_is_no_message_ends_the_connection(shop: Any, refusals: Any, data: bytes, cause: str | None) -> None:
    terminal = await shop.terminal(await shop.open())
    await terminal.send_bytes(data)
    if cause is None:
        assert code(await terminal.receive()) == "30"
        return
    assert await terminal.hung_up()
    assert refusals(cause) == 1


async def test_a_message_that_never_ends(shop: Any, refusals: Any) -> None:
    """A byte now and then does not keep it alive: its time runs from the first one."""
    terminal = await shop.terminal(await shop.open(DoorLimits(message_s=0.2)))
    data = frame(terminal.build("0820", {60: "00000001301"}, mac=False).data)
    ended = asyncio.create_task(terminal.hung_up())
    for byte in data[:-1]:
        if ended.done():
            break
        try:
            await terminal.send_bytes(bytes([byte]))
        except ConnectionError:
            break
        await asyncio.sleep(0.02)
    assert await ended
    assert refusals("slow") == 1


async def test_a_message_in_small_pieces_is_read(shop: Any) -> None:
    terminal = await shop.terminal(await shop.open())
    for byte in frame(terminal.build("0820", {60: "00000001301"}, mac=False).data):
        await terminal.send_bytes(bytes([byte]))
        await asyncio.sleep(0)
    assert code(await terminal.receive()) == "00"


async def test_a_message_that_is_cut_off(shop: Any, refusals: Any) -> None:
    terminal = await shop.terminal(await shop.open())
    await terminal.send_bytes(frame(terminal.build("0820", {}, mac=False).data)[:-1])
    terminal.finish()
    assert await terminal.hung_up()
    assert refusals("truncated") == 1


async def test_silence_is_ended(shop: Any, refusals: Any) -> None:
    terminal = await shop.terminal(await shop.open(DoorLimits(idle_s=0.1)))
    assert await terminal.hung_up()
    assert refusals("idle") == 1


async def test_too_many_connections(shop: Any, refusals: Any) -> None:
    port = await shop.open(DoorLimits(connections=2))
    first, _ = await shop.terminal(port), await shop.terminal(port)
    assert code(await first.echo()) == "00"
    assert await (await shop.terminal(port)).hung_up()
    assert refusals("too_many_connections") == 1
    assert code(await first.echo()) == "00"


async def test_too_many_of_one_address(shop: Any, refusals: Any) -> None:
    port = await shop.open(DoorLimits(connections_per_address=1))
    first = await shop.terminal(port)
    assert code(await first.echo()) == "00"
    assert await (await shop.terminal(port)).hung_up()
    assert refusals("too_many_of_address") == 1
    await first.close()
    async with asyncio.timeout(30):
        while True:  # the switch notices in its own time
            try:
                again = await shop.terminal(port)
                assert code(await again.echo()) == "00"
                break
            except ConnectionError:
                await asyncio.sleep(0.02)


async def test_a_message_larger_than_the_setting(shop: Any, refusals: Any) -> None:
    terminal = await shop.terminal(await shop.open(DoorLimits(message_bytes=64)))
    await terminal.send_bytes(frame(terminal.build("0820", {63: "x" * 100}, mac=False).data))
    assert await terminal.hung_up()
    assert refusals("frame") == 1


async def test_another_network_is_not_served(shop: Any, refusals: Any) -> None:
    terminal = await shop.terminal(await shop.open(networks=frozenset({"0777"})))
    await terminal.send_bytes(frame(terminal.build("0820", {60: "00000001301"}, mac=False).data))
    assert await terminal.hung_up()
    assert refusals("network") == 1


async def test_only_so_many_are_under_way(shop: Any) -> None:
    """What is beyond the bound waits in the peer's own buffers, and is answered in its turn."""
    terminal = await shop.signed_on(limits=DoorLimits(in_flight=2))
    shop.first.script = lambda request: None
    messages = [terminal.build("0200", terminal.payment(CARD, 1000 + index)) for index in range(5)]
    await terminal.send_bytes(b"".join(frame(each.data) for each in messages))
    await until(lambda: len(shop.first.sent) == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(shop.first.sent) == 2
    shop.first.script = lambda request: Approved("00", "123456")
    for each in list(shop.first.replies):
        each.set_result(Approved("00", "123456"))
    codes = [code(await terminal.receive()) for _ in messages]
    assert codes == ["00"] * 5


async def test_the_drain_answers_what_was_read(shop: Any, refusals: Any) -> None:
    terminal = await shop.signed_on()
    shop.first.script = lambda request: None
    message = terminal.build("0200", terminal.payment(CARD, 1200))
    await terminal.send_bytes(frame(message.data))
    await until(lambda: bool(shop.first.sent))
    draining = asyncio.create_task(shop.doors[0].drain(10.0))
    await asyncio.sleep(0)
    shop.first.replies[0].set_result(Approved("00", "123456"))
    assert code(await terminal.receive()) == "00"
    assert await draining
    assert await terminal.hung_up()
    with pytest.raises(ConnectionError):
        await shop.terminal(terminal.port)
    assert [each.operation for each in shop.first.sent] == [Operation.SALE]


# --- fields that are wrong in every way ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "answer", "cause"),
    [
        ({4: None}, "30", "field_missing"),
        ({4: "000000000000"}, "13", "amount"),
        ({3: None}, "40", "unsupported"),
        ({3: "310000"}, "40", "unsupported"),
        ({25: "14"}, "40", "unsupported"),
        ({49: "999"}, "30", "currency"),
        ({49: None}, "30", "field_missing"),
        ({22: None}, "30", "field_missing"),
        ({22: "032"}, "40", "entry_mode"),
        ({22: "992"}, "40", "entry_mode"),
        ({22: "011"}, "30", "pin_and_entry_mode"),
        ({52: bytes(8)}, "30", "pin_and_entry_mode"),
        ({2: None}, "30", "card"),
        ({2: "6225880000000002"}, "30", "card"),
        ({2: "62"}, "30", "card"),
        ({2: "9999000000000004"}, "30", "card"),
        ({14: None}, "30", "card"),
        ({14: "4913"}, "30", "card"),
        ({22: "022"}, "30", "card"),
        ({22: "022", 35: "6225880000000001=49"}, "30", "card"),
        ({22: "022", 35: "6225880000000002=49122011"}, "30", "card"),
        ({22: "022", 35: "6225880000000019=49122011"}, "30", "card"),
        ({22: "052"}, "30", "card"),
        ({22: "072", 55: b"\x9f"}, "30", "emv"),
        ({22: "072", 55: bytes.fromhex("9F260801020304050607089F2701")}, "30", "emv"),
        ({22: "072", 55: bytes.fromhex("5A086225880000000019")}, "30", "emv"),
        ({55: bytes.fromhex("9F2701809F360200019505000000000082027C00")}, "30", "emv_and_entry_mode"),
        ({60: None}, "30", "field_missing"),
        ({60: "22"}, "30", "field_60"),
        ({60: "22000009"}, "77", "batch"),
    ],
)
async def test_fields_that_are_wrong(
    shop: Any, refusals: Any, changes: dict[int, Any], answer: str, cause: str
) -> None:
    terminal = await shop.signed_on()
    fields = {**terminal.payment(CARD, 1200), **changes}
    fields = {number: value for number, value in fields.items() if value is not None}
    assert code(await terminal.exchange("0200", fields)) == answer
    assert refusals(cause) == 1
    assert shop.first.sent == []
    assert shop.journal.rows == {}


@pytest.mark.parametrize(
    ("mti", "changes", "answer", "cause"),
    [
        ("0220", {3: "200000"}, "30", "field_missing"),
        ("0220", {3: "200000", 61: "000001"}, "30", "field_61"),
        ("0220", {3: "200000", 61: "000001000099"}, "25", "no_original"),
        ("0400", {61: "00"}, "30", "field_61"),
        ("0400", {3: "990000"}, "30", "reversal_of_what"),
        ("0400", {25: "99"}, "30", "reversal_of_what"),
        ("0400", {4: "000000000000"}, "13", "amount"),
        ("0500", {}, "30", "field_missing"),
        ("0320", {}, "40", "unsupported"),
        ("0620", {}, "40", "unsupported"),
    ],
)
async def test_follow_ons_that_are_wrong(
    shop: Any, refusals: Any, mti: str, changes: dict[int, Any], answer: str, cause: str
) -> None:
    terminal = await shop.signed_on()
    assert code(await terminal.exchange(mti, {**terminal.payment(CARD, 1200), **changes})) == answer
    assert refusals(cause) == 1
    assert shop.first.sent == []


async def test_proved_messages_of_random_fields(shop: Any, refusals: Any) -> None:
    """Each gets an answer of its own, none is a fault of ours, and what was not approved had no effect."""
    rng = random.Random(8583)
    alphabets = {Kind.N: "0123456789", Kind.Z: "0123456789=", Kind.AN: "09AZaz ", Kind.ANS: " !09AZaz~"}
    terminal = await shop.signed_on()
    approved = 0
    for _ in range(400):
        fields: dict[int, Any] = dict(terminal.payment(CARD, rng.randrange(1, 5000), rng.choice([KEYED, STRIPE, CHIP])))
        for number in rng.sample(sorted(FIELDS.keys() - {11, 41, 42, 64}), rng.randrange(0, 4)):
            form = FIELDS[number]
            length = rng.randint(1, form.length) if form.prefix else form.length
            if rng.random() < 0.3:
                fields.pop(number, None)
            elif form.kind is Kind.B:
                fields[number] = rng.randbytes(length)
            else:
                fields[number] = "".join(rng.choices(alphabets[form.kind], k=length))
        fields |= rng.choice([{}, {3: "030000", 25: "06"}, {3: "200000", 61: "000001000001"}, {25: "06"}])
        answer = await terminal.exchange(rng.choice(["0100", "0200", "0220", "0400", "0320", "0500"]), fields)
        approved += code(answer) == "00"
        if code(answer) == "77":
            await terminal.sign_on()  # a settlement was among them, and closed the batch
    assert approved > 20
    assert refusals("internal") == refusals("malformed") == 0
    effects = [each for each in shop.journal.rows.values() if each.state is State.APPROVED]
    assert len(effects) <= approved


@given(st.binary(min_size=1, max_size=300))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_behind_a_good_header(junk: bytes) -> None:
    """The pure part of the desk never fails but by its own refusals: whatever the codec lets through."""

    try:
        fields = decode(encode(Header(), "0200", {})[:11] + junk).fields
    except MalformedMessage:
        return
    terminal = Terminal(Merchant("m"), "T0000001", "acme", "tmk")
    try:
        requests.authorization_request(terminal, PosKind.SALE, fields, "key", 1)
    except Refused:
        return


CARD_FIELDS = st.fixed_dictionaries(
    {4: st.just("000000001200"), 49: st.just("156"), 22: st.sampled_from(["012", "022", "052", "071", "072"])},
    optional={
        2: st.text("0123456789", min_size=1, max_size=19), 14: st.text("0123456789", min_size=4, max_size=4),
        23: st.text("0123456789", min_size=3, max_size=3), 35: st.text("0123456789=", min_size=1, max_size=37),
        52: st.binary(min_size=8, max_size=8), 55: st.binary(min_size=1, max_size=255),
    },
)  # fmt: skip


@given(CARD_FIELDS)
@settings(max_examples=300, deadline=None)
def test_any_card_fields(fields: dict[int, Any]) -> None:
    """Nothing but `Refused` comes of whatever the fields hold."""

    terminal = Terminal(Merchant("m"), "T0000001", "acme", "tmk")
    try:
        request = requests.authorization_request(terminal, PosKind.SALE, fields, "key", 1)
    except Refused:
        return
    assert request.money.amount_minor == 1200
