"""Independent codecs read every message that travels, and what they write is read here."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iso8583_elsewhere import INDEPENDENT, LAYOUTS, Codec

from adapters.unionpay._codec import Header, decode, encode
from adapters.unionpay.format import FIELDS, Kind
from adapters.unionpay.frame import Framer
from switch.domain.authorization import CardCredential, CodeCredential
from switch.domain.sensitive import Pan, PaymentCode, Sensitive
from switch.domain.states import EntryMode, Operation
from switch.ports import Approved, Declined

HEADER = 46
_TEXT = {Kind.N: "0123456789", Kind.AN: "09AZaz", Kind.ANS: "09AZaz .-\xe9", Kind.Z: "0123456789="}
EVERY = pytest.mark.parametrize("codec", INDEPENDENT, ids=lambda each: each.name)


def agree(codec: Codec, message: bytes) -> None:
    header, mti, fields = decode(message)
    assert codec.decode(message[HEADER:]) == (mti, fields)
    assert codec.encode(mti, fields) == message[HEADER:]
    assert encode(header, mti, fields) == message


class Tap:
    """Stands between the channel and the network and keeps every message of both."""

    def __init__(self, port: int) -> None:
        self.to_network: list[bytes] = []
        self.to_member: list[bytes] = []
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Tap":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(each.wait_closed() for each in self._writers), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += (writer, inner_writer)
        for source, target, kept in (
            (reader, inner_writer, self.to_network), (inner_reader, writer, self.to_member),
        ):  # fmt: skip
            self._tasks.add(asyncio.create_task(self._pass_on(source, target, kept)))

    @staticmethod
    async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: list[bytes]) -> None:
        framer = Framer()
        while data := await source.read(65536):
            kept += framer.feed(data)
            target.write(data)
        target.close()


async def test_every_message_of_every_operation(
    network: Any, start_channel: Any, exchange_on: Any, make_request: Any, rich: Any, hsm: Any
) -> None:
    async with Tap(network.port) as tap:
        channel = await start_channel(tap.port)
        advising = await start_channel(tap.port, captures_by_advice=True, slot=4)
        exchange, by_advice = exchange_on(channel), exchange_on(advising)
        emv = bytes.fromhex("9F2608112233445566778882027C009F360201239F3704010203045F340101")
        track = Sensitive(f"{rich.pan}={rich.expiry_yymm}2010000000000")
        card = CardCredential(Pan(rich.pan), rich.expiry_yymm, "001", track, emv)
        long = list(network.accounts.values())[3]
        code = CodeCredential("unionpay", PaymentCode(long.payment_code))

        async def done(*arguments: Any, on: Any = exchange, **more: Any) -> Any:
            request = make_request(*arguments, **more)
            assert isinstance(await on(request), Approved)
            return request

        sale = await done(card, 1_000, pin_block=hsm.pin_block(rich.pin, rich.pan))
        await done(code, 700, entry=EntryMode.PAYER_CODE)
        await done(rich, 600, Operation.REFUND, original=sale)
        await done(rich, 990_110)
        assert isinstance(await exchange(make_request(rich, 990_151)), Declined)
        voided = await done(rich, 500, entry=EntryMode.KEYED)
        await done(rich, 500, Operation.VOID, original=voided)
        hold = await done(rich, 2_000, Operation.PRE_AUTHORIZATION)
        await done(rich, 700, Operation.CAPTURE, original=hold)
        await done(rich, 300, Operation.CAPTURE, original=hold, on=by_advice)
        hold.authorization.captured_minor = 1_000
        await done(rich, 1_000, Operation.VOID, original=hold)
        hold.authorization.captured_minor = 0
        await done(rich, 2_000, Operation.VOID, original=hold)
        undone = await done(rich, 800)
        reversal = await done(rich, 800, Operation.REVERSAL, original=undone)
        reversal.repeat = 1
        assert isinstance(await exchange(reversal), Approved)
        await network.reset_keys()
        await network.begin_cutover()
        await network.end_cutover()
        for link in list(network.connections):
            assert await link.echo()
            assert await link.notify("planned work at night")
        await channel.close()
        await advising.close()
    sent = [decode(each)[1] for each in tap.to_network]
    received = [decode(each)[1] for each in tap.to_member]
    assert set(sent) == {"0100", "0200", "0220", "0420", "0421", "0630", "0810", "0820", "0830"}
    assert set(received) == {"0110", "0210", "0230", "0430", "0620", "0800", "0820", "0830"}
    assert {decode(each)[2].get(70) for each in tap.to_network if decode(each)[1] == "0820"} >= {"001", "002"}
    for codec in INDEPENDENT:
        for message in tap.to_network + tap.to_member:
            agree(codec, message)


@EVERY
def test_captured_messages(codec: Codec, captured: list[bytes]) -> None:
    for message in captured:
        agree(codec, message)


def _values(number: int) -> st.SearchStrategy[Any]:
    form, layout = FIELDS[number], LAYOUTS[number]
    least = 1 if layout.prefix else layout.width
    most = min(layout.width, 40) if layout.prefix else layout.width
    if layout.binary:
        return st.binary(min_size=least, max_size=most)
    if form.kind is Kind.XN:
        return st.from_regex(r"[CD][0-9]{8}", fullmatch=True)
    return st.text(_TEXT[form.kind], min_size=least, max_size=most)


def test_the_table_is_the_pages() -> None:
    """Every field of the page, with its widths; what the table has beyond it is not sent."""
    for number, layout in LAYOUTS.items():
        form = FIELDS[number]
        assert (form.prefix, form.length, form.kind is Kind.B) == (layout.prefix, layout.width, layout.binary), number
    assert FIELDS.keys() - LAYOUTS.keys() == {5, 6, 9, 10, 16}


@EVERY
@given(
    st.sampled_from(["0100", "0200", "0210", "0220", "0230", "0420", "0421", "0430", "0620", "0630", "0800", "0820"]),
    st.fixed_dictionaries({3: _values(3)}, optional={number: _values(number) for number in LAYOUTS if number != 3}),
)
@settings(max_examples=60, deadline=None)
def test_what_they_write_is_read(codec: Codec, mti: str, fields: dict[int, Any]) -> None:
    body = codec.encode(mti, fields)
    header = encode(Header("00010344", "44190440"), "0000", {})[:HEADER]
    message = header[:2] + b"%04d" % (HEADER + len(body)) + header[6:] + body
    assert decode(message)[1:] == (mti, fields)
    agree(codec, message)
