"""Frames: whatever arrives, however it is cut, is read or refused; by name where the request has a number."""

from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsm import errors
from hsm.errors import HsmError, HsmUnavailable, InvalidCommand, KeyNotFound
from hsm.wire import BadFrame, Codec, FrameReader, FrameTooLarge, WireLimits, error_of

SMALL = WireLimits(frame_bytes=256, items=8)

ERRORS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, HsmError)]

# name -> (body of a request, its number if it can be known). New finds are kept here.
CORPUS: dict[str, tuple[bytes, int | None]] = {
    "nothing": (b"", None),
    "not msgpack": (b"\xc1", None),
    "a number alone": (b"\x05", None),
    "an empty list": (b"\x90", None),
    "a list of nothing known": (b"\x93\xc0\xc0\xc0", None),
    "a negative number": (msgpack.packb([-1, "ping", []]), None),
    "a number beyond 32 bits": (msgpack.packb([2**32, "ping", []]), None),
    "true is no number": (msgpack.packb([True, "ping", []]), None),
    "the number as text": (msgpack.packb(["7", "ping", []]), None),
    "cut in the items": (msgpack.packb([7, "ping", [[1, 2], [3, 4]]])[:-1], 7),
    "cut after the number": (b"\x93\x07", 7),
    "more than a body": (msgpack.packb([7, "ping", []]) + b"\0", 7),
    "no items": (msgpack.packb([7, "ping"]), 7),
    "four parts": (msgpack.packb([7, "ping", [], 1]), 7),
    "items are text": (msgpack.packb([7, "ping", "items"]), 7),
    "items are a map": (msgpack.packb([7, "ping", {}]), 7),
    "an item is a map": (msgpack.packb([7, "ping", [{1: 2}]]), 7),
    "the command is bytes": (msgpack.packb([7, b"ping", []]), 7),
    "a long command": (msgpack.packb([7, "x" * 65, []]), 7),
    "text that is no UTF-8": (b"\x93\x07\xa4ping\x91\xa1\xff", 7),
    "an extension": (msgpack.packb([7, "ping", [msgpack.ExtType(1, b"x")]]), 7),
    "an error, which only answers have": (b"\x93\x07\xa4ping\x91\xc7\x02\x01ab", 7),
    "a time": (msgpack.packb([7, "ping", [msgpack.Timestamp(1)]]), 7),
    "too many items": (msgpack.packb([7, "ping", [0] * 9]), 7),
    "a list that promises 4 billion items": (b"\x93\x07\xa4ping\xdd\xff\xff\xff\xff", 7),
    "bytes that promise 4 GiB": (b"\x93\x07\xa4ping\x91\xc6\xff\xff\xff\xff", 7),
    "lists within lists": (b"\x93\x07\xa4ping" + b"\x91" * 5000, 7),
    "a list promised as the head": (b"\xdd\xff\xff\xff\xff\x07", 7),
}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=10,
)


@pytest.mark.parametrize("name", CORPUS)
def test_known_bad_bodies(name: str) -> None:
    body, number = CORPUS[name]
    with pytest.raises(BadFrame) as caught:
        Codec(SMALL).read_request(body)
    assert caught.value.number == number


@given(st.binary(max_size=300))
@example(b"\x93\x07\xa4ping\xc8\x00\x01\x01\x00")
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    codec = Codec(SMALL)
    try:
        request = codec.read_request(body)
    except BadFrame:
        return
    frame = codec.request(*request)
    assert codec.request(*codec.read_request(frame[4:])) == frame


@given(st.binary(max_size=300))
@example(b"\x92\x07\xc7\x00\x01")
@example(b"\x92\x07\xc7\x03\x01\x92\xa1\xff")
@example(b"\x92\x07\xd6\xff\x00\x00\x00\x00")
def test_any_bytes_are_an_answer_or_refused(body: bytes) -> None:
    try:
        answer = Codec(SMALL).read_answer(body)
    except BadFrame:
        return
    assert isinstance(answer.results, list | HsmError)


@given(st.integers(0, 2**32 - 1), st.text(max_size=64), st.lists(VALUES, max_size=5))
def test_a_request_comes_through_as_it_was(number: int, command: str, items: list[Any]) -> None:
    codec = Codec()
    frame = codec.request(number, command, items)
    [body] = codec.reader().feed(frame)
    assert codec.read_request(body) == (number, command, items)


@given(st.lists(st.binary(max_size=60), max_size=6), st.lists(st.integers(0, 400), max_size=8))
def test_frames_are_the_same_however_the_stream_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(len(each).to_bytes(4) + each for each in bodies)
    places = sorted({0, len(stream), *(each for each in cuts if each < len(stream))})
    reader = FrameReader(60)
    assert [body for a, b in pairwise(places) for body in reader.feed(stream[a:b])] == bodies
    assert not reader.broken


@given(st.binary(max_size=200), st.integers(1, 200))
def test_any_stream_breaks_at_the_same_place_however_it_is_cut(stream: bytes, step: int) -> None:
    whole, pieces = FrameReader(30), FrameReader(30)
    found = whole.feed(stream)
    assert [body for at in range(0, len(stream), step) for body in pieces.feed(stream[at : at + step])] == found
    assert pieces.broken == whole.broken
    if whole.broken:
        assert whole.feed(b"\0\0\0\1x") == []


def test_a_length_beyond_the_limit_breaks_after_what_came_before() -> None:
    reader = FrameReader(30)
    assert reader.feed(b"\0\0\0\1a\0\0\0\x1f" + b"b" * 31) == [b"a"]
    assert reader.broken


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_comes_back_as_its_class(error: type[HsmError]) -> None:
    codec = Codec()
    [body] = codec.reader().feed(codec.answer(1, [b"good", error("why"), None]))
    results = codec.read_answer(body).results
    assert isinstance(results, list)
    assert [type(each) for each in results] == [bytes, error, type(None)]
    assert str(results[1]) == "why"
    whole = codec.read_answer(codec.answer(1, error("why"))[4:]).results
    assert (type(whole), str(whole)) == (error, "why")


def test_two_items_that_fail_alike_have_an_exception_each() -> None:
    codec = Codec()
    results = codec.read_answer(codec.answer(1, [KeyNotFound("no key a")] * 2)[4:]).results
    assert isinstance(results, list)
    assert results[0] is not results[1]


@pytest.mark.parametrize("code", ["", "HsmErrorr", "ValueError", "KeyError", "annotations", "__name__"])
def test_an_unknown_code_is_an_unavailable_hsm(code: str) -> None:
    assert type(error_of(code, "why")) is HsmUnavailable


def test_the_text_of_a_foreign_exception_does_not_travel() -> None:
    codec = Codec()
    frame = codec.answer(1, [ValueError("6225880000000005")])
    assert b"6225880000000005" not in frame
    [error] = codec.read_answer(frame[4:]).results  # type: ignore[misc]
    assert repr(error) == "HsmUnavailable('an internal error: ValueError')"


def test_a_long_message_is_cut() -> None:
    codec = Codec()
    [error] = codec.read_answer(codec.answer(1, [KeyNotFound("x" * 5000)])[4:]).results  # type: ignore[misc]
    assert len(str(error)) == 200


@pytest.mark.parametrize("item", [1 << 64, object(), {1}, 1j])
def test_what_no_frame_can_carry_is_refused_by_who_sends_it(item: object) -> None:
    codec = Codec()
    with pytest.raises(InvalidCommand):
        codec.request(1, "macs", [(item,)])
    # The packer is whole afterwards.
    assert codec.read_request(codec.request(2, "macs", [("a",)])[4:]).items == [("a",)]
    assert type(codec.read_answer(codec.answer(3, [item])[4:]).results) is HsmUnavailable


def test_what_is_too_long_for_a_frame() -> None:
    codec = Codec(SMALL)
    with pytest.raises(FrameTooLarge):
        codec.request(1, "seal", [("k", bytes(300), b"")])
    assert type(codec.read_answer(codec.answer(1, [bytes(300)])[4:]).results) is InvalidCommand
