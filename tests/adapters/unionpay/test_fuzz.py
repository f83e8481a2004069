"""Input wrong in every way, into the codec, the framer, the network and the link: nothing raises but MalformedMessage,
nothing moves money, everything is counted with its reason, and no reply reaches another's transaction.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import iso8583_oracle as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_member import financial_mac
from unionpay_ends import MAK, SALE, MemberEnd, NetworkEnd, frame, requests

from adapters.unionpay import metrics
from adapters.unionpay._codec import decode
from adapters.unionpay.format import FIELDS, LARGEST_MESSAGE_LENGTH, Kind, MalformedMessage
from adapters.unionpay.frame import Framer, Remedy
from adapters.unionpay.mac import financial_text
from switch.ports import Approved, Declined, Phase, Unknown

REQUESTS = requests()
SPLICES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=4)


def spoil(good: bytes, splices: list[tuple[float, int, bytes]], mend: bool) -> bytes:
    """Bytes replaced, removed and put in; mend: both lengths say what is there then."""
    spoilt = bytearray(good)
    for place, removed, added in splices:
        at = int(place * len(spoilt))
        spoilt[at : at + removed] = added
    if mend and 10 <= len(spoilt) <= 9999 + 4:
        length = b"%04d" % (len(spoilt) - 4)
        spoilt[:4] = length
        spoilt[6:10] = length
    return bytes(spoilt)


SPOILT = st.builds(spoil, st.sampled_from(sorted(REQUESTS.values())), SPLICES, st.booleans())


def cut(data: bytes) -> list[bytes]:
    """Its messages, those behind garbage too."""
    framer = Framer()
    messages = framer.feed(data)
    while framer.error is not None:
        messages += framer.resynchronise()
    return messages


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner() as runner:
        runner.run(work())


@given(SPOILT)
@settings(max_examples=300, deadline=None)
def test_the_codec(data: bytes) -> None:
    message = data[4:]

    def outcome(read: Callable[[bytes], Any]) -> Any:
        try:
            return read(message)[1:]
        except MalformedMessage as error:
            return error.field, error.reason

    assert outcome(decode) == outcome(oracle.decode)


@given(st.lists(st.one_of(SPOILT, st.sampled_from(sorted(REQUESTS.values())), st.binary(max_size=30)), max_size=6))
@settings(max_examples=150, deadline=None)
def test_the_framer(pieces: list[bytes]) -> None:
    """Whole or byte by byte: the same messages, and never more than one message is held."""
    stream = b"".join(pieces)

    def cut_in(step: int) -> list[bytes]:
        framer, messages = Framer(), []
        for at in range(0, len(stream), step):
            messages += framer.feed(stream[at : at + step])
            while framer.error is not None and framer.error.remedy is Remedy.RESYNCHRONISE:
                messages += framer.resynchronise()
            if framer.error is not None:
                break
            assert len(framer._buffer) <= LARGEST_MESSAGE_LENGTH + 4 + step
        return messages

    assert cut_in(len(stream) or 1) == cut_in(1)


@given(SPOILT)
@settings(max_examples=300, deadline=None)
def test_the_network(data: bytes) -> None:
    """Money moves only for what the MAC covers of the message that was sent."""

    async def work() -> None:
        end = NetworkEnd()
        before = end.balances()
        end.hear(data)
        if end.balances() != before:
            _, mti, fields = decode(cut(data)[0])
            assert fields[128] == financial_mac(MAK, mti, fields)
            originals = [decode(each[4:])[1:] for each in REQUESTS.values()]
            assert financial_text(mti, fields) in [financial_text(*each) for each in originals]
        heard = len(Framer().feed(data))
        answered = len(Framer().feed(end.wire.written))
        assert sum(end.network.refused.values()) + answered >= heard
        assert not end.network._tasks

    run(work)


def test_the_network_processes_what_is_good() -> None:
    """The other side of the same: the harness would notice money."""

    async def work() -> None:
        end = NetworkEnd()
        before = end.balances()
        end.hear(REQUESTS["sale"])
        assert end.balances()[0] == before[0] - 1_000
        assert end.wire.messages()[0][1][39] == "00"
        end.hear(REQUESTS["void"])
        assert end.balances() == before

    run(work)


# --- the member -------------------------------------------------------------------------------------------------------

REPLY_SPLICES = st.tuples(SPLICES, st.booleans(), st.integers(0, 2))


@given(REPLY_SPLICES)
@settings(max_examples=200, deadline=None)
def test_the_link(spoiling: tuple[list[tuple[float, int, bytes]], bool, int]) -> None:
    """A spoilt reply to one of three sales: the other two still wait, that one is not approved by what is not true."""
    splices, mend, which = spoiling

    async def work() -> None:
        end = MemberEnd()
        futures = await end.sell(1_000, 2_000, 3_000)
        reply = end.replies()[which]
        good = frame("0210", reply, to_network=False)
        spoilt = spoil(good, splices, mend)
        await end.hear(spoilt)
        for n, future in enumerate(futures):
            if n != which:
                assert not future.done()
        if futures[which].done():
            result = futures[which].result()
            _, mti, fields = decode(cut(spoilt)[0])
            if isinstance(result, Approved | Declined):
                assert financial_text(mti, fields) == financial_text("0210", reply)
            else:
                assert result.phase is Phase.SENT
        elif cut(spoilt):
            assert sum(end.refused().values()) >= 1

    run(work)


@given(st.permutations(range(5)), st.lists(st.integers(0, 4), max_size=4))
@settings(max_examples=60, deadline=None)
def test_order_and_repetition_do_not_matter(order: list[int], again: list[int]) -> None:
    """Each sale gets its own answer, and one."""

    async def work() -> None:
        end = MemberEnd()
        amounts = [1_000 + n for n in range(5)]
        futures = await end.sell(*amounts)
        codes = ["00", "51", "00", "05", "00"]
        frames = [
            frame("0210", reply | {39: code, 38: f"{n:06d}"}, to_network=False)
            for n, (reply, code) in enumerate(zip(end.replies(), codes, strict=True))
        ]
        await end.hear(b"".join(frames[n] for n in [*order, *again]))
        for n, (future, code) in enumerate(zip(futures, codes, strict=True)):
            result = future.result()
            assert result.response_code == code
            if code == "00":
                assert result.approval_code == f"{n:06d}"
        assert end.refused() == ({"duplicate": len(again)} if again else {})

    run(work)


def reply_with(changes: dict[int, Any]) -> Callable[[dict[int, Any]], bytes]:
    return lambda reply: frame("0210", {n: v for n, v in (reply | changes).items() if v is not None}, to_network=False)


@pytest.mark.parametrize(
    ("cause", "spoilt"),
    [
        ("unmatched", reply_with({11: "999999"})),
        ("unmatched", reply_with({37: "999999999999"})),
        ("unmatched", reply_with({37: None})),
        ("foreign", reply_with({7: "1127120001"})),
        ("foreign", reply_with({32: "00000001"})),
        ("foreign", reply_with({32: None})),
        ("wrong_mti", lambda reply: frame("0110", reply, to_network=False)),
        ("wrong_mti", lambda reply: frame("0430", reply, to_network=False)),
        ("unknown_mti", lambda reply: frame("0200", reply, to_network=False)),
        ("unknown_mti", lambda reply: frame("9999", reply, to_network=False)),
        ("bad_mac", lambda reply: frame("0210", reply | {128: b"00000000"}, to_network=False, mac=False)),
        ("bad_mac", lambda reply: frame("0210", reply, to_network=False, mac=False)),
        ("malformed_header", lambda reply: (good := frame("0210", reply, to_network=False))[:5] + b"\x07" + good[6:]),
        ("malformed_mti", lambda reply: (good := frame("0210", reply, to_network=False))[:50] + b"x" + good[51:]),
        ("malformed_field", lambda reply: frame("0210", reply, to_network=False).replace(b"0A1B", b"0\x01\x02B", 1)
            if b"0A1B" in frame("0210", reply, to_network=False)
            else frame("0210", reply, to_network=False).replace(str(reply[37]).encode(), b"\x01" * 12)),
        ("rejected", lambda reply: (good := frame("0210", reply, to_network=False))[:45] + b"00401" + good[50:]),
        ("unasked", lambda reply: frame("0830", {7: "1127120000", 11: "000001", 39: "00", 70: "301"}, mac=False)),
        ("unknown_request", lambda reply: frame("0820", {7: "1127120000", 11: "000001", 70: "999"}, mac=False)),
        ("key_reset", lambda reply: frame("0800", {7: "1127120000", 11: "000001", 70: "101"}, mac=False)),
        ("garbage", lambda reply: b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
)  # fmt: skip
def test_each_reason_is_counted_by_itself(cause: str, spoilt: Callable[[dict[int, Any]], bytes]) -> None:
    async def work() -> None:
        end = MemberEnd()
        [future] = await end.sell(1_000)
        await end.hear(spoilt(end.replies()[0]))
        assert end.refused() == {cause: 1}
        assert not future.done() or isinstance(future.result(), Unknown)

    run(work)


def test_what_decides_nothing_is_counted() -> None:
    async def work() -> None:
        end = MemberEnd()
        undecided = metrics.REPLIES.labels("undecided")._value.get()
        [future] = await end.sell(1_000)
        await end.hear(frame("0210", end.replies("ZZ")[0], to_network=False))
        assert future.result() == Unknown(Phase.SENT, "a response code that decides nothing")
        assert metrics.REPLIES.labels("undecided")._value.get() == undecided + 1

    run(work)


@pytest.mark.parametrize("number", sorted(SALE))
def test_every_field_left_out_or_wrong_at_the_network(number: int) -> None:
    """Left out: refused, unless the field is optional. Of a wrong kind: it does not even travel."""
    optional = {55}

    async def work() -> None:
        end = NetworkEnd()
        before = end.balances()
        end.hear(frame("0200", {n: v for n, v in SALE.items() if n != number}))
        code = end.wire.messages()[0][1].get(39)
        if number in optional:
            assert code == "00"
            return
        assert end.balances() == before
        # Without DE3 or DE25 nobody knows what it is; a stranger's link without DE33 is known by its header.
        assert code == ("12" if number in (3, 25) else "30")

    run(work)
    form = FIELDS[number]
    if form.kind is not Kind.B:
        wrong = "\x01" * form.length
        with pytest.raises(MalformedMessage):
            frame("0200", SALE | {number: wrong}, mac=False)
