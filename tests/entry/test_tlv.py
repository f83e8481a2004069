"""BER-TLV against a plain oracle, and everything that must be refused."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from switch.entry._tlv import DEEPEST, LARGEST_BYTES, MOST_TAGS, encode, encode_present, parse_flat, parse_nested
from switch.entry.errors import EntryError

FIELD = "nfc.emv"
ONE_BYTE_TAGS = st.integers(1, 0xFF).filter(lambda tag: tag & 0x1F != 0x1F)
TWO_BYTE_TAGS = st.builds(
    lambda first, second: first << 8 | second,
    st.sampled_from([0x1F, 0x5F, 0x7F, 0x9F, 0xBF, 0xDF]),
    st.integers(0, 0x7F),
)
THREE_BYTE_TAGS = st.builds(lambda a, b: 0xDF0000 | a << 8 | b, st.integers(0x81, 0xFF), st.integers(0, 0x7F))
TAGS = ONE_BYTE_TAGS | TWO_BYTE_TAGS | THREE_BYTE_TAGS
OBJECTS = st.dictionaries(TAGS, st.binary(max_size=140), max_size=6)


@given(OBJECTS.filter(bool))
def test_what_was_encoded_is_parsed(walk, tags):
    data = encode(tags.items())
    assert parse_flat(data, FIELD) == tags
    assert walk(data) == list(tags.items())


@given(st.binary(min_size=1, max_size=60))
@example(bytes.fromhex("9F8001AA"))
@example(bytes.fromhex("1F80000101"))
@example(bytes.fromhex("0001AA"))
@example(bytes.fromhex("5A8101AA"))
@example(bytes.fromhex("DF81808001AA"))
@example(bytes.fromhex("DF8180808001AA"))
def test_any_bytes_mean_what_the_oracle_says(walk, data):
    try:
        objects = walk(data)
    except ValueError:
        with pytest.raises(EntryError):
            parse_flat(data, FIELD)
        return
    if len({tag for tag, _ in objects}) < len(objects):
        with pytest.raises(EntryError, match="twice"):
            parse_flat(data, FIELD)
    else:
        assert parse_flat(data, FIELD) == dict(objects)


@given(st.binary(min_size=1, max_size=200))
def test_nested_walk_answers_or_refuses_any_bytes(data):
    try:
        tree = parse_nested(data, FIELD)
    except EntryError:
        return
    assert tree
    assert len(tree) <= MOST_TAGS


def test_nested_walk_agrees_with_flat_on_each_level():
    inner = encode([(0x9F26, bytes(8)), (0x9F36, b"\0\1")])
    data = encode([(0x85, b"CPV01"), (0x61, encode([(0x4F, b"\xa0"), (0x63, inner)]))])
    tree = parse_nested(data, FIELD)
    assert tree == [(0x85, b"CPV01"), (0x61, [(0x4F, b"\xa0"), (0x63, [(0x9F26, bytes(8)), (0x9F36, b"\0\1")])])]
    assert parse_flat(inner, FIELD) == dict(tree[1][1][1][1])


def test_truncation_at_every_byte_is_refused_or_is_a_boundary(walk):
    tags = {0x9F26: bytes(8), 0x57: bytes(130), 0xDF8101: b"x", 0x50: bytes(300)}
    data = encode(tags.items())
    boundaries = {len(encode(list(tags.items())[:count])) for count in range(1, len(tags) + 1)}
    for size in range(1, len(data)):
        if size in boundaries:
            assert len(parse_flat(data[:size], FIELD)) == len(walk(data[:size]))
        else:
            with pytest.raises(EntryError):
                parse_flat(data[:size], FIELD)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "empty"),
        ("9F", "ends inside a tag, at byte 0"),
        ("9F2608", "a length beyond the end"),
        ("5A", "ends inside a length"),
        ("5A82", "ends inside a length"),
        ("5A80AA0000", "an indefinite length"),
        ("5A8300000101", "a length of more than 2 bytes"),
        ("5AFF", "a length of more than 2 bytes"),
        ("9F80018001", "a malformed tag"),
        ("9FFFFFFF01", "a tag longer than 4 bytes"),
        ("950100" + "00", "a malformed tag, at byte 3"),
        ("950100950100", "tag 95 twice"),
    ],
)
def test_refusals_name_the_field_and_the_place(data, reason):
    with pytest.raises(EntryError) as refused:
        parse_flat(bytes.fromhex(data), FIELD)
    assert refused.value.field == FIELD
    assert refused.value.reason.startswith(reason)
    assert str(refused.value) == f"{FIELD}: {refused.value.reason}"


def test_limits_hold_exactly():
    full = encode([(0x50, bytes(LARGEST_BYTES - 4))])
    assert len(full) == LARGEST_BYTES
    assert parse_flat(full, FIELD)
    with pytest.raises(EntryError, match="longer than 1024 bytes"):
        parse_flat(encode([(0x50, bytes(LARGEST_BYTES - 3))]), FIELD)
    many = [(0x9F00 | index, b"") for index in range(MOST_TAGS + 1)]
    assert len(parse_flat(encode(many[:-1]), FIELD)) == MOST_TAGS
    for parse in (parse_flat, parse_nested):
        with pytest.raises(EntryError, match="more than 64 tags"):
            parse(encode(many), FIELD)


def nested(levels: int, tag: int = 0x61) -> bytes:
    data = b"\x50\x00"
    for _ in range(levels - 1):
        data = encode([(tag, data)])
    return data


def test_depth_is_bounded_exactly():
    assert parse_nested(nested(DEEPEST), FIELD)
    with pytest.raises(EntryError, match="nested deeper than 8"):
        parse_nested(nested(DEEPEST + 1), FIELD)


def test_a_thousand_levels_are_refused_cheaply():
    deep = nested(1000)
    with pytest.raises(EntryError, match="longer than"):
        parse_nested(deep, FIELD)
    # Within the size: a claim of depth, without the lengths to hold it, and the deepest that fits.
    with pytest.raises(EntryError):
        parse_nested(b"\x61\x81\x82" * 340, FIELD)
    fitting = nested(290)
    assert len(fitting) <= LARGEST_BYTES
    began = time.process_time()
    for _ in range(1000):
        with pytest.raises(EntryError, match="nested deeper than 8"):
            parse_nested(fitting, FIELD)
    assert time.process_time() - began < 1


def test_encoder_refuses_what_is_not_a_tag():
    for tag in (0, 0x9F, 0x5A00, 0x9F80, 0x9F8080, 0x1F8001):
        with pytest.raises(ValueError, match="is not a tag"):
            encode([(tag, b"")])
    with pytest.raises(ValueError, match="65,535"):
        encode([(0x50, bytes(0x10000))])


@pytest.mark.parametrize(
    ("length", "head"), [(0, "5000"), (127, "507F"), (128, "508180"), (255, "5081FF"), (256, "50820100")]
)
def test_lengths_are_shortest(length, head):
    assert encode([(0x50, bytes(length))]) == bytes.fromhex(head) + bytes(length)


def test_encode_present_keeps_the_order_asked():
    tags = {0x9A: b"\x26\x01\x01", 0x95: bytes(5), 0x5A: b"secret"}
    assert encode_present(tags, (0x95, 0x9F26, 0x9A)) == encode([(0x95, bytes(5)), (0x9A, b"\x26\x01\x01")])
