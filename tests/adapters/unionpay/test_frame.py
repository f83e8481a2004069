"""The framer: any cut of the stream gives the same messages, garbage is named and bounded."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.unionpay._codec import Header, encode_frame
from adapters.unionpay.format import HEADER_LENGTH
from adapters.unionpay.frame import FrameError, Framer, Remedy

FRAMES = [encode_frame(Header("1", "2"), "0820", {11: f"{n:06d}", 70: "301"}) for n in range(4)]
STREAM = b"0000" + FRAMES[0] + FRAMES[1] + b"00000000" + FRAMES[2] + FRAMES[3] + b"0000"
MESSAGES = [frame[4:] for frame in FRAMES]


def test_byte_by_byte(captured: list[bytes]) -> None:
    framer = Framer()
    stream = b"".join(f"{len(message):04d}".encode() + message + b"0000" for message in captured)
    got = [message for byte in stream for message in framer.feed(bytes((byte,)))]
    assert got == captured
    assert framer.keep_alives == len(captured)
    assert framer.error is None


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_cut(cuts: list[int]) -> None:
    framer = Framer()
    edges = [0, *sorted(cuts), len(STREAM)]
    got = [m for start, end in pairwise(edges) for m in framer.feed(STREAM[start:end])]
    assert got == MESSAGES
    assert framer.keep_alives == 4


@pytest.mark.parametrize(
    "garbage",
    [b"\xff" * 10, b"GET / HTTP/1.1\r\n", b"9999" + b"x" * 10, b"0045" + b"x" * 60, b"0100" + b"\x2e\x02" + b"0101"],
)
def test_garbage_between_frames(garbage: bytes) -> None:
    framer = Framer()
    assert framer.feed(FRAMES[0]) == MESSAGES[:1]
    assert framer.feed(garbage + FRAMES[1] + FRAMES[2]) == []
    assert framer.error is not None
    assert framer.error.remedy is Remedy.RESYNCHRONISE
    with pytest.raises(FrameError):
        framer.feed(b"0000")
    assert framer.resynchronise() == MESSAGES[1:3]
    assert framer.skipped_ever == len(garbage)
    assert framer.feed(FRAMES[3]) == MESSAGES[3:]
    assert framer.error is None


def test_messages_before_the_garbage_are_kept() -> None:
    framer = Framer()
    assert framer.feed(FRAMES[0] + b"garbage bytes") == MESSAGES[:1]
    assert framer.error is not None


def test_resynchronises_byte_by_byte() -> None:
    framer = Framer()
    got = []
    for byte in b"no frame at all" + FRAMES[0] + FRAMES[1]:
        got += framer.feed(bytes((byte,)))
        while framer.error is not None:
            got += framer.resynchronise()
    assert got == MESSAGES[:2]


def test_endless_garbage_drops_the_link() -> None:
    framer = Framer(garbage_limit=1_000)
    framer.feed(b"x" * 600)
    assert framer.resynchronise() == []
    assert framer.error is None
    framer.feed(b"x" * 600)
    assert framer.error is not None
    assert framer.error.remedy is Remedy.DROP
    with pytest.raises(FrameError):
        framer.resynchronise()


@given(st.binary(max_size=400))
def test_never_raises_and_never_hoards(junk: bytes) -> None:
    longest = HEADER_LENGTH + 20
    framer = Framer(longest)
    for _ in range(3):
        framer.feed(junk)
        while framer.error is not None and framer.error.remedy is Remedy.RESYNCHRONISE:
            framer.resynchronise()
        assert framer.error is None
        assert len(framer._buffer) < 4 + longest
