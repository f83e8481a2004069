"""PIN verification, generation and change, judged from outside: clear blocks and references are another library's."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psec
import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsm import _core, _pin
from hsm.errors import (
    InvalidCommand,
    KeyNotFound,
    KeyUsageError,
    PinFormatError,
    PinMismatch,
    TooManyFailures,
)
from hsm.guard import Guard, GuardLimits
from hsm.token import open_token
from hsm.vectors.checks import VectorFailed
from hsm.vectors.clear_pin import KNOWN_KEY, enciphered, format_0
from hsm.vectors.pin import CHECKS
from hsm.vectors.workshop import Workshop

PAN = "6225880000001239"
PVK = "0123456789ABCDEFFEDCBA9876543210"
AES_KEY = "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"
SM4_KEY = "0123456789ABCDEFFEDCBA9876543210"
TABLE = "1234567890123456"
LAYOUT = (TABLE, 0, 16, "F")
DIGITS = "0123456789"
OUTSIDE = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
QUICK = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

PINS = st.text(DIGITS, min_size=4, max_size=12)
PANS = st.text(DIGITS, min_size=12, max_size=19)


def block_of(pin: str, pan: str = PAN) -> bytes:
    """A block of format 0 under the known key."""
    return enciphered(format_0(pin, pan))


def clear_of(block: bytes) -> bytes:
    return Cipher(TripleDES(bytes.fromhex(KNOWN_KEY)), modes.ECB()).decryptor().update(block)


def pin_of(block: bytes, pan: str) -> str:
    """The PIN of a block of format 0 under the known key; the block must be well formed."""
    clear = clear_of(block)
    length = clear[0]
    pin = bytes(a ^ b for a, b in zip(clear, format_0("", pan), strict=True)).hex()[2:]
    pin = "".join(f"{int(digit, 16) ^ 15:X}" for digit in pin[:length])  # format_0 of no PIN is all fill
    assert block_of(pin, pan) == block
    return pin


def pvv_of(pin: str, index: str = "1", pan: str = PAN, key: str = PVK) -> str:
    return psec.pin.generate_visa_pvv(bytes.fromhex(key), index, pin[:4], pan)


def in_token(bench: Workshop, usage: str, value_hex: str, kind: str = "DES") -> str:
    """A key of this value inside the token."""
    value = bytes.fromhex(value_hex)
    mask = bytes(range(1, len(value) + 1))
    parts = [mask, bytes(a ^ b for a, b in zip(value, mask, strict=True))]
    token = bench.context.token
    handle = token.create_secret(_core.combine_host_key(usage, usage, parts, kind), _core.PERMISSIONS[usage])
    return bench.put(_core.TokenKey(f"token/{usage}/{handle}", usage, token, kind, handle))


@pytest.fixture(scope="module")
def bench(token_directory: Path) -> Iterator[Workshop]:
    with open_token(token_directory) as token:
        yield Workshop(token.core)


@pytest.fixture(autouse=True)
def fresh_guard(bench: Workshop) -> None:
    bench.context.guard = Guard()


@pytest.fixture
def known(bench: Workshop) -> str:
    return bench.load("PIN_KEY", KNOWN_KEY)


@pytest.fixture
def pvv_key(bench: Workshop) -> str:
    return bench.load("PVV_KEY", PVK)


@pytest.fixture
def ibm_key(bench: Workshop) -> str:
    return bench.load("IBM3624_KEY", PVK)


def unguarded(bench: Workshop) -> None:
    bench.context.guard = Guard(GuardLimits(failures=10**6, in_all=10**6, burst=10**6))


# --- vectors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", sorted(CHECKS))
def test_vectors(bench: Workshop, vectors: Any, category: str) -> None:
    assert vectors[category]
    for vector in vectors[category]:
        CHECKS[category](bench, vector["inputs"], vector["outputs"])


@pytest.mark.parametrize("category", sorted(CHECKS))
def test_a_wrong_vector_fails(bench: Workshop, vectors: Any, category: str) -> None:
    """Each output by itself, its last digit turned into another."""
    vector = vectors[category][0]
    for name, value in vector["outputs"].items():
        changed = value[:-1] + ("0" if value[-1] != "0" else "1")
        with pytest.raises(VectorFailed, match=name):
            CHECKS[category](bench, vector["inputs"], {**vector["outputs"], name: changed})


# --- PVV --------------------------------------------------------------------------------------------------------------


@OUTSIDE
@QUICK
@given(PINS, PANS, st.sampled_from(DIGITS))
def test_pvv_as_another_implementation(
    bench: Workshop, known: str, pvv_key: str, pin: str, pan: str, index: str
) -> None:
    item = (known, 0, block_of(pin, pan), pan, pvv_key, index)
    expected = pvv_of(pin, index, pan)
    assert bench.one("generate_pvvs", *item) == expected
    assert bench.one("verify_pins_pvv", *item, expected) is None


def test_letters_stand_in_where_digits_do_not_suffice(bench: Workshop, known: str, pvv_key: str) -> None:
    """The block is dd5abafeebef5aeb, found by search with another library: 5, 5, then D and D less ten."""
    pan = "0000000262310"
    assert bench.one("generate_pvvs", known, 0, block_of("4524", pan), pan, pvv_key, "3") == "5533"


def test_every_other_pvv_is_refused(bench: Workshop, known: str, pvv_key: str) -> None:
    unguarded(bench)
    item = (known, 0, block_of("1234"), PAN, pvv_key, "1")
    right = bench.one("generate_pvvs", *item)
    results = bench.run("verify_pins_pvv", [(*item, f"{number:04d}") for number in range(10_000)])
    assert [f"{number:04d}" for number, each in enumerate(results) if each is None] == [right]


@OUTSIDE
@pytest.mark.parametrize("pin_place", ["host", "token"])
@pytest.mark.parametrize("pvv_place", ["host", "token"])
def test_keys_may_be_in_the_token_or_on_the_host(bench: Workshop, pin_place: str, pvv_place: str) -> None:
    pin_key = in_token(bench, "PIN_KEY", KNOWN_KEY) if pin_place == "token" else bench.load("PIN_KEY", KNOWN_KEY)
    pvv_key = in_token(bench, "PVV_KEY", PVK) if pvv_place == "token" else bench.load("PVV_KEY", PVK)
    ibm_key = in_token(bench, "IBM3624_KEY", PVK) if pvv_place == "token" else bench.load("IBM3624_KEY", PVK)
    item = (pin_key, 0, block_of("1234"), PAN)
    pvv = pvv_of("1234")
    assert bench.one("generate_pvvs", *item, pvv_key, "1") == pvv
    assert bench.one("verify_pins_pvv", *item, pvv_key, "1", pvv) is None
    assert bench.one("change_pins", pin_key, 0, item[2], block_of("9876"), PAN, pvv_key, "1", pvv) == pvv_of("9876")
    offset = bench.one("generate_ibm3624_offsets", *item, ibm_key, *LAYOUT, 4)
    assert offset == psec.pin.generate_ibm3624_offset(bytes.fromhex(PVK), TABLE, "1234", PAN, 0, 16, "F")
    assert bench.one("verify_pins_ibm3624", *item, ibm_key, *LAYOUT, offset) is None
    made = bench.one("generate_pins", pin_key, 0, 6, PAN)
    assert bench.one("compare_pins", pin_key, 0, made, bench.load("PIN_KEY", KNOWN_KEY), 0, made, PAN) is None


def formats_of(bench: Workshop, known: str, pin: str) -> dict[int, tuple[str, int, bytes]]:
    """The same PIN in every format, each as (key, format, block)."""
    aes = bench.load("PIN_KEY", AES_KEY, "AES")
    block = block_of(pin)
    return {
        0: (known, 0, block),
        1: (known, 1, enciphered(bytes.fromhex(f"1{len(pin):X}{pin}".ljust(16, "7")))),
        3: (known, 3, bench.one("translate_pins", known, 0, known, 3, block, PAN)),
        4: (aes, 4, bench.one("translate_pins", known, 0, aes, 4, block, PAN)),
    }


@OUTSIDE
@pytest.mark.parametrize("pin_format", [0, 1, 3, 4])
def test_every_format(bench: Workshop, known: str, pvv_key: str, pin_format: int) -> None:
    block = formats_of(bench, known, "123456")[pin_format]
    assert bench.one("generate_pvvs", *block, PAN, pvv_key, "1") == pvv_of("123456")
    assert bench.one("verify_pins_pvv", *block, PAN, pvv_key, "1", pvv_of("123456")) is None
    with pytest.raises(PinMismatch):
        bench.one("verify_pins_pvv", *block, PAN, pvv_key, "2", pvv_of("123456"))


BROKEN = ["0312FFFFFFFFFFFF", "0D123456789012345"[:16], "04123AFFFFFFFFFF", "041234FFFFFFFFF0", "141234FFFFFFFFFF"]


def broken(field: str) -> bytes:
    account = bytes(a ^ b for a, b in zip(format_0("", PAN), bytes.fromhex("00" + "F" * 14), strict=True))
    return enciphered(bytes(a ^ b for a, b in zip(bytes.fromhex(field), account, strict=True)))


def test_a_broken_block_is_broken_in_one_place_only(bench: Workshop, known: str, pvv_key: str) -> None:
    """The blocks of the tests below, with nothing broken, are good ones."""
    assert broken("041234FFFFFFFFFF") == block_of("1234")


@pytest.mark.parametrize("field", BROKEN)
def test_an_invalid_block_ends_as_a_wrong_pin_does(
    bench: Workshop, known: str, pvv_key: str, ibm_key: str, field: str
) -> None:
    for command, key, given_with in [
        ("verify_pins_pvv", pvv_key, ("1", "5432")),
        ("verify_pins_ibm3624", ibm_key, (*LAYOUT, "543210")),
    ]:
        wrong, invalid = bench.run(
            command, [(known, 0, block, PAN, key, *given_with) for block in (block_of("123456"), broken(field))]
        )
        assert type(wrong) is type(invalid) is PinMismatch
        assert str(wrong) == str(invalid)
    wrong, invalid = bench.run(
        "compare_pins",
        [(known, 0, block, known, 0, block_of("1234"), PAN) for block in (block_of("12345"), broken(field))],
    )
    assert type(wrong) is type(invalid) is PinMismatch
    assert str(wrong) == str(invalid)


@pytest.mark.parametrize("field", BROKEN)
def test_no_pvv_of_an_invalid_block_verifies(bench: Workshop, known: str, pvv_key: str, field: str) -> None:
    """Not even the value its nibbles would give."""
    unguarded(bench)
    item = (known, 0, broken(field), PAN, pvv_key, "1")
    results = bench.run("verify_pins_pvv", [(*item, f"{number:04d}") for number in range(10_000)])
    assert {type(each) for each in results} == {PinMismatch}
    with pytest.raises(PinFormatError):
        bench.one("generate_pvvs", *item)


# --- change -----------------------------------------------------------------------------------------------------------


@OUTSIDE
def test_change(bench: Workshop, known: str, pvv_key: str) -> None:
    item = (known, 0, block_of("1234"), block_of("567890"), PAN, pvv_key, "1")
    assert bench.one("change_pins", *item, pvv_of("1234")) == pvv_of("567890")


@OUTSIDE
def test_an_invalid_new_pin_says_nothing_about_the_old_one(bench: Workshop, known: str, pvv_key: str) -> None:
    old, wrong = block_of("1234"), block_of("4321")
    items = [(known, 0, each, broken(BROKEN[0]), PAN, pvv_key, "1", pvv_of("1234")) for each in (old, wrong)]
    right, mistaken = bench.run("change_pins", items)
    assert type(right) is type(mistaken) is PinFormatError
    assert str(right) == str(mistaken)


@OUTSIDE
def test_a_wrong_or_invalid_old_pin_changes_nothing(bench: Workshop, known: str, pvv_key: str) -> None:
    blocks = [block_of("4321"), broken(BROKEN[0]), broken(BROKEN[2])]
    items = [(known, 0, each, block_of("5678"), PAN, pvv_key, "1", pvv_of("1234")) for each in blocks]
    assert {(type(each), str(each)) for each in bench.run("change_pins", items)} == {
        (PinMismatch, f"a PIN does not verify under {pvv_key}")
    }


# --- IBM 3624 ---------------------------------------------------------------------------------------------------------


@OUTSIDE
@QUICK
@given(PINS, PANS, st.integers(0, 8), st.integers(4, 12), st.sampled_from("0123456789ABCDEF"), st.data())
def test_offset_as_another_implementation(
    bench: Workshop, known: str, ibm_key: str, pin: str, pan: str, start: int, length: int, pad: str, data: Any
) -> None:
    """IBM's partial check: the last digits of an offset over the whole PIN."""
    length = min(length, len(pan) - start)
    check_length = data.draw(st.integers(4, len(pin)))
    item = (known, 0, block_of(pin, pan), pan, ibm_key, TABLE, start, length, pad)
    whole = psec.pin.generate_ibm3624_offset(bytes.fromhex(PVK), TABLE, pin, pan, start, length, pad)
    assert bench.one("generate_ibm3624_offsets", *item, check_length) == whole[-check_length:]
    assert bench.one("verify_pins_ibm3624", *item, whole[-check_length:]) is None


def test_a_wrong_digit_anywhere_is_refused(bench: Workshop, known: str, ibm_key: str) -> None:
    unguarded(bench)
    offset = bench.one("generate_ibm3624_offsets", known, 0, block_of("123456"), PAN, ibm_key, *LAYOUT, 6)
    wrong = [f"{(123456 + 10**place) % 10**6:06d}" for place in range(6)]
    items = [(known, 0, block_of(pin), PAN, ibm_key, *LAYOUT, offset) for pin in [*wrong, "123456"]]
    results = bench.run("verify_pins_ibm3624", items)
    assert [type(each) for each in results] == [PinMismatch] * 6 + [type(None)]


def test_an_offset_longer_than_the_pin(bench: Workshop, known: str, ibm_key: str) -> None:
    item = (known, 0, block_of("1234"), PAN, ibm_key, *LAYOUT)
    with pytest.raises(PinFormatError):
        bench.one("generate_ibm3624_offsets", *item, 5)
    with pytest.raises(PinMismatch):
        bench.one("verify_pins_ibm3624", *item, "00000")


@pytest.mark.parametrize(
    "table",
    [
        "0000000000000000",
        "0000000000000001",  # Bond and Zieliński's first step
        "0123456012345601",  # seven distinct digits
        "0123456799999990",  # 9 six times
        "012345678901234",
        "01234567890123456",
        "012345678901234x",
        "012345678901234５",
    ],
)
def test_a_table_for_an_attack_is_refused(bench: Workshop, known: str, ibm_key: str, table: str) -> None:
    item = (known, 0, block_of("1234"), PAN, ibm_key, table, 0, 16, "F")
    for command, last in [("generate_ibm3624_offsets", 4), ("verify_pins_ibm3624", "0000")]:
        with pytest.raises(InvalidCommand, match="table"):
            bench.one(command, *item, last)


def test_a_key_keeps_to_its_table(bench: Workshop, known: str, ibm_key: str) -> None:
    """With two good tables the difference of two offsets gives digits of the intermediate PIN away."""
    item, other_key = (known, 0, block_of("1234"), PAN), bench.load("IBM3624_KEY", PVK)
    second = "2134567890123456"
    assert bench.one("generate_ibm3624_offsets", *item, ibm_key, *LAYOUT, 4)
    for command, last in [("generate_ibm3624_offsets", 4), ("verify_pins_ibm3624", "0000")]:
        with pytest.raises(InvalidCommand, match="another decimalisation table"):
            bench.one(command, *item, ibm_key, second, 0, 16, "F", last)
    assert bench.one("generate_ibm3624_offsets", *item, other_key, second, 0, 16, "F", 4)
    assert bench.one("generate_ibm3624_offsets", *item, ibm_key, *LAYOUT, 4)


@pytest.mark.parametrize(
    ("start", "length", "pad"),
    [(-1, 16, "F"), (0, 3, "F"), (0, 17, "F"), (1, 16, "F"), (13, 4, "F"), (2**31 - 1, 4, "F"), (0, 16, "G"),
     (0, 16, "f"), (0, 16, ""), (0, 16, "FF")],
)  # fmt: skip
def test_bad_validation_data_are_refused(
    bench: Workshop, known: str, ibm_key: str, start: int, length: int, pad: str
) -> None:
    item = (known, 0, block_of("1234"), PAN, ibm_key, TABLE, start, length, pad)
    for command, last in [("generate_ibm3624_offsets", 4), ("verify_pins_ibm3624", "0000")]:
        with pytest.raises(InvalidCommand, match="validation data"):
            bench.one(command, *item, last)


@pytest.mark.parametrize("check_length", [3, 13, 0, -1])
def test_bad_check_lengths_are_refused(bench: Workshop, known: str, ibm_key: str, check_length: int) -> None:
    item = (known, 0, block_of("1234"), PAN, ibm_key, *LAYOUT)
    with pytest.raises(InvalidCommand):
        bench.one("generate_ibm3624_offsets", *item, check_length)
    if check_length >= 0:
        with pytest.raises(InvalidCommand):
            bench.one("verify_pins_ibm3624", *item, "0" * check_length)


# --- comparison -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 1, 3, 4])
@pytest.mark.parametrize("right", [0, 1, 3, 4])
def test_comparison_over_formats_and_keys(bench: Workshop, known: str, left: int, right: int) -> None:
    one, same = formats_of(bench, known, "1234"), formats_of(bench, known, "1234")
    if left == right == 1:
        with pytest.raises(PinFormatError):
            bench.one("compare_pins", *one[left], *same[right], PAN)
        return
    assert bench.one("compare_pins", *one[left], *same[right], PAN) is None
    for pin in ("1235", "12340", "12349"):  # also a PIN that begins as the other one does
        other = formats_of(bench, known, pin)
        with pytest.raises(PinMismatch):
            bench.one("compare_pins", *one[left], *other[right], PAN)
        with pytest.raises(PinMismatch):
            bench.one("compare_pins", *other[left], *one[right], PAN)


# --- new PINs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(4, 13))
@pytest.mark.parametrize("pin_format", [0, 3, 4])
def test_new_pins(bench: Workshop, known: str, pin_format: int, length: int) -> None:
    key = bench.load("PIN_KEY", AES_KEY, "AES") if pin_format == 4 else known
    block = bench.one("generate_pins", key, pin_format, length, PAN)
    translated = bench.one("translate_pins", key, pin_format, known, 0, block, PAN)
    assert len(pin_of(translated, PAN)) == length


def test_new_pins_are_random_and_without_bias(bench: Workshop, known: str) -> None:
    """480,000 digits. Chi-squared with 9 degrees of freedom passes 60 less than once in a million runs; random bytes
    modulo 10 would reach about 180."""
    blocks = bench.run("generate_pins", [(known, 0, 12, PAN)] * 40_000)
    fields = (int.from_bytes(clear_of(b"".join(blocks))) ^ int.from_bytes(format_0("0" * 12, PAN) * 40_000)).to_bytes(
        320_000
    )
    pins = [fields[start + 1 : start + 7].hex() for start in range(0, 320_000, 8)]  # 0C 12 digits FF, less 0C 00… FF
    assert len(set(pins)) == 40_000
    for digits in ("".join(pins), "".join(pin[0] for pin in pins), "".join(pin[11] for pin in pins)):
        counts, expected = Counter(digits), len(digits) / 10
        assert counts.keys() == set(DIGITS)
        assert sum((counts[digit] - expected) ** 2 / expected for digit in DIGITS) < 60


@pytest.mark.parametrize(("pin_format", "length"), [(0, 3), (0, 13), (0, -1), (1, 4), (2, 4), (4, 4), (5, 4)])
def test_a_new_pin_that_cannot_be_is_refused(bench: Workshop, known: str, pin_format: int, length: int) -> None:
    with pytest.raises((InvalidCommand, PinFormatError)):
        bench.one("generate_pins", known, pin_format, length, PAN)


# --- the guard --------------------------------------------------------------------------------------------------------


@OUTSIDE
def test_guessing_a_pin_ends(bench: Workshop, known: str, pvv_key: str) -> None:
    """By verification and change together, and whatever digits of the PAN change that the PVV is not made from."""
    failures = GuardLimits().failures
    pvv = pvv_of("1234")
    wrong = [block_of(f"{number:04d}") for number in range(failures)]
    for turn, block in enumerate(wrong):
        pan = f"{turn:03d}{PAN[:-1]}0"  # three digits more in front, another check digit: format 0 reads it alike
        blocks = (block,) if turn % 2 else (block, block_of("5678"))
        command = "verify_pins_pvv" if turn % 2 else "change_pins"
        with pytest.raises(PinMismatch):
            bench.one(command, known, 0, *blocks, pan, pvv_key, "1", pvv)
    [refused] = bench.run("verify_pins_pvv", [(known, 0, block_of("1234"), PAN, pvv_key, "1", pvv)])
    assert isinstance(refused, TooManyFailures)
    other = "6225880000101239"
    assert (
        bench.one("verify_pins_pvv", known, 0, block_of("1234", other), other, pvv_key, "1", pvv_of("1234", pan=other))
        is None
    )


def test_guessing_an_offset_ends(bench: Workshop, known: str, ibm_key: str) -> None:
    items = [(known, 0, block_of("1234"), PAN, ibm_key, *LAYOUT, f"{number:04d}") for number in range(50)]
    results = bench.run("verify_pins_ibm3624", items)
    assert sum(not isinstance(each, TooManyFailures) for each in results) <= GuardLimits().failures + 1


def test_guessing_by_comparison_ends(bench: Workshop, known: str) -> None:
    """A translated block is no new subject, nor is another PAN under which both blocks can be read; and comparing a
    block with itself buys nothing without end."""
    other = bench.load("PIN_KEY", PVK)
    read_alike = PAN[:4] + "9" + PAN[5:]  # it is 8 in PAN: adds a one to the PIN's fourth digit, which stays a digit
    assert bench.one("compare_pins", known, 0, block_of("8888"), known, 0, block_of("8888"), read_alike) is None
    block = block_of("8888")
    moved = bench.one("translate_pins", known, 0, other, 0, block, PAN)
    mismatches = 0
    for number in range(200):
        key, target = ((known, block), (other, moved))[number % 2]
        pan = PAN if number % 3 else read_alike
        [result] = bench.run("compare_pins", [(key, 0, target, known, 0, block_of(f"{number:04d}"), pan)])
        mismatches += isinstance(result, PinMismatch)
        bench.run("compare_pins", [(known, 0, block, known, 0, block, PAN)])
    assert mismatches == GuardLimits().in_all


# --- keys, shapes, batches --------------------------------------------------------------------------------------------


def commands_of(pin_key: str, pvv_key: str, ibm_key: str, pan: str = PAN) -> list[tuple[Any, ...]]:
    """One item of each command that opens a block of 1234."""
    block = block_of("1234")
    return [
        ("generate_pvvs", pin_key, 0, block, pan, pvv_key, "1"),
        ("verify_pins_pvv", pin_key, 0, block, pan, pvv_key, "1", "0000"),
        ("change_pins", pin_key, 0, block, block, pan, pvv_key, "1", "0000"),
        ("generate_ibm3624_offsets", pin_key, 0, block, pan, ibm_key, *LAYOUT, 4),
        ("verify_pins_ibm3624", pin_key, 0, block, pan, ibm_key, *LAYOUT, "0000"),
        ("compare_pins", pin_key, 0, block, pin_key, 0, block, pan),
    ]


def test_usages_are_kept(bench: Workshop, known: str, pvv_key: str, ibm_key: str) -> None:
    for command in commands_of(pvv_key, pvv_key, ibm_key):
        with pytest.raises(KeyUsageError):
            bench.one(*command)
    for command in commands_of(known, ibm_key, pvv_key)[:5]:
        with pytest.raises(KeyUsageError):
            bench.one(*command)
    with pytest.raises(KeyUsageError):
        bench.one("generate_pins", pvv_key, 0, 4, PAN)
    for command in commands_of("nobody", pvv_key, ibm_key) + commands_of(known, "nobody", "nobody")[:5]:
        with pytest.raises(KeyNotFound):
            bench.one(*command)


@pytest.mark.parametrize(
    ("mode", "allowed"),
    [
        ("G", {"generate_pvvs", "generate_ibm3624_offsets"}),
        ("V", {"verify_pins_pvv", "verify_pins_ibm3624"}),
        ("C", {"generate_pvvs", "generate_ibm3624_offsets", "verify_pins_pvv", "verify_pins_ibm3624", "change_pins"}),
        ("E", set()),
    ],
)
def test_modes_of_verification_keys_are_kept(bench: Workshop, known: str, mode: str, allowed: set[str]) -> None:
    pvv_key, ibm_key = bench.load("PVV_KEY", PVK, mode=mode), bench.load("IBM3624_KEY", PVK, mode=mode)
    for command, *item in commands_of(known, pvv_key, ibm_key)[:5]:
        [result] = bench.run(command, [tuple(item)])
        assert isinstance(result, KeyUsageError) == (command not in allowed), command


def test_modes_of_pin_keys_are_kept(bench: Workshop, pvv_key: str, ibm_key: str) -> None:
    enciphers, deciphers = bench.load("PIN_KEY", KNOWN_KEY, mode="E"), bench.load("PIN_KEY", KNOWN_KEY, mode="D")
    for command, *item in commands_of(enciphers, pvv_key, ibm_key):
        [result] = bench.run(command, [tuple(item)])
        assert isinstance(result, KeyUsageError), command
    for command, *item in commands_of(deciphers, pvv_key, ibm_key):
        [result] = bench.run(command, [tuple(item)])
        assert not isinstance(result, KeyUsageError), command
    assert isinstance(bench.one("generate_pins", enciphers, 0, 4, PAN), bytes)
    with pytest.raises(KeyUsageError):
        bench.one("generate_pins", deciphers, 0, 4, PAN)


@pytest.mark.parametrize(
    ("value", "kind"), [(PVK[:16], "DES"), (PVK, "AES"), (PVK, "SM4"), (PVK, "HMAC"), (PVK * 2, "SM2")]
)
def test_verification_keys_are_double_or_triple_length_des(bench: Workshop, known: str, value: str, kind: str) -> None:
    pvv_key, ibm_key = bench.load("PVV_KEY", value, kind), bench.load("IBM3624_KEY", value, kind)
    for command in commands_of(known, pvv_key, ibm_key)[:5]:
        with pytest.raises(InvalidCommand):
            bench.one(*command)


@pytest.mark.parametrize(("value", "kind"), [(PVK, "HMAC"), (PVK * 2, "SM2")])
def test_a_pin_key_that_enciphers_nothing_is_refused(
    bench: Workshop, known: str, pvv_key: str, ibm_key: str, value: str, kind: str
) -> None:
    odd = bench.load("PIN_KEY", value, kind)
    commands = [*commands_of(odd, pvv_key, ibm_key), ("generate_pins", odd, 0, 4, PAN)]
    for each in (0, 4):
        commands.append(("translate_pins", known, 0, odd, each, block_of("1234"), PAN))
        commands.append(("translate_pins", odd, each, known, 0, block_of("1234"), PAN))
    for command in commands:
        with pytest.raises(PinFormatError):
            bench.one(*command)


@pytest.mark.parametrize(
    "pan", ["", "62258800000", "62258800000012345678", "622588000000123x", "６２２５８８００００００１２"]
)
def test_a_wrong_pan_is_refused_and_not_repeated(
    bench: Workshop, known: str, pvv_key: str, ibm_key: str, pan: str
) -> None:
    for command in [*commands_of(known, pvv_key, ibm_key, pan), ("generate_pins", known, 0, 4, pan)]:
        with pytest.raises(PinFormatError) as raised:
            bench.one(*command)
        assert not pan or pan not in str(raised.value)


@pytest.mark.parametrize(
    ("pin_format", "length"), [(0, 7), (0, 9), (0, 0), (0, 16), (2, 8), (4, 8), (4, 16), (5, 8), (-1, 8)]
)
def test_a_block_that_cannot_fit_is_refused(
    bench: Workshop, known: str, pvv_key: str, ibm_key: str, pin_format: int, length: int
) -> None:
    block = bytes(length)
    for command, *item in commands_of(known, pvv_key, ibm_key):
        with pytest.raises(PinFormatError):
            bench.one(command, item[0], pin_format, block, *item[3:])


@pytest.mark.parametrize(
    ("index", "pvv"), [("", "1234"), ("12", "1234"), ("A", "1234"), ("1", "123"), ("1", "12345"), ("1", "12A4")]
)
def test_bad_digits_beside_a_pvv_are_refused(bench: Workshop, known: str, pvv_key: str, index: str, pvv: str) -> None:
    with pytest.raises(InvalidCommand):
        bench.one("verify_pins_pvv", known, 0, block_of("1234"), PAN, pvv_key, index, pvv)
    with pytest.raises(InvalidCommand):
        bench.one("change_pins", known, 0, block_of("1234"), block_of("1234"), PAN, pvv_key, index, pvv)


@OUTSIDE
def test_failing_items_leave_the_others_alone(bench: Workshop, known: str, pvv_key: str, ibm_key: str) -> None:
    good = (known, 0, block_of("1234"), PAN, pvv_key, "1", pvv_of("1234"))
    bad = [
        ("nobody", *good[1:]),
        (pvv_key, *good[1:]),
        (known, 0, bytes(7), *good[3:]),
        (known, 0, bytes(8), *good[3:]),
        (*good[:5], "x", good[6]),
        (*good[:6], "0000"),
    ]
    results = bench.run("verify_pins_pvv", [each for one in bad for each in (good, one)])
    assert results[::2] == [None] * 6
    expected = [KeyNotFound, KeyUsageError, PinFormatError, PinMismatch, InvalidCommand, PinMismatch]
    assert [type(each) for each in results[1::2]] == expected
    offsets = [(*good[:4], ibm_key, table, 0, 16, "F", 4) for table in (TABLE, "0" * 16, TABLE)]
    first, refused, last = bench.run("generate_ibm3624_offsets", offsets)
    assert first == last
    assert isinstance(refused, InvalidCommand)


def test_empty_batches(bench: Workshop) -> None:
    for command in {each[0] for each in commands_of("", "", "")} | {"generate_pins"}:
        assert bench.run(command, []) == []


@pytest.mark.parametrize("at", range(1, 7))
def test_a_tuple_of_another_shape_raises(bench: Workshop, known: str, pvv_key: str, at: int) -> None:
    item = [known, 0, block_of("1234"), PAN, pvv_key, "1", "0000"]
    with pytest.raises((TypeError, ValueError)):
        bench.run("verify_pins_pvv", [(*item[:at], *item[at + 1 :])])
    if at != 4:  # a label that is None is one that no key has
        item[at] = None
        with pytest.raises(TypeError):
            bench.run("verify_pins_pvv", [tuple(item)])


# --- SM4 --------------------------------------------------------------------------------------------------------------


def format_4(cipher: Cipher[modes.ECB], pin: str, pan: str) -> bytes:
    field = bytes.fromhex(f"4{len(pin):X}{pin}".ljust(16, "A") + "0123456789ABCDEF")
    pan_field = bytes.fromhex((f"{len(pan) - 12}{pan}").ljust(32, "0"))
    inner = cipher.encryptor().update(field)
    return cipher.encryptor().update(bytes(a ^ b for a, b in zip(inner, pan_field, strict=True)))


def pin_of_format_4(cipher: Cipher[modes.ECB], block: bytes, pan: str) -> str:
    pan_field = bytes.fromhex((f"{len(pan) - 12}{pan}").ljust(32, "0"))
    inner = bytes(a ^ b for a, b in zip(cipher.decryptor().update(block), pan_field, strict=True))
    field = cipher.decryptor().update(inner).hex()
    length = int(field[1], 16)
    assert field[:16] == f"4{length:x}{field[2 : 2 + length]}".ljust(16, "a")
    return field[2 : 2 + length]


@OUTSIDE
@pytest.mark.parametrize("pin", ["1234", "123456789012"])
def test_format_4_under_sm4(bench: Workshop, known: str, pvv_key: str, pin: str) -> None:
    """GB/T 32907 in the place of AES, the rest as ISO 9564-1 says."""
    sm4, sm4_key = Cipher(SM4(bytes.fromhex(SM4_KEY)), modes.ECB()), bench.load("PIN_KEY", SM4_KEY, "SM4")
    aes, aes_key = Cipher(AES(bytes.fromhex(AES_KEY)), modes.ECB()), bench.load("PIN_KEY", AES_KEY, "AES")
    given_block = format_4(sm4, pin, PAN)
    assert bench.one("translate_pins", sm4_key, 4, known, 0, given_block, PAN) == block_of(pin)
    back = bench.one("translate_pins", known, 0, sm4_key, 4, block_of(pin), PAN)
    assert pin_of_format_4(sm4, back, PAN) == pin
    to_aes = bench.one("translate_pins", sm4_key, 4, aes_key, 4, back, PAN)
    assert pin_of_format_4(aes, to_aes, PAN) == pin
    from_aes = bench.one("translate_pins", aes_key, 4, sm4_key, 4, to_aes, PAN)
    assert pin_of_format_4(sm4, from_aes, PAN) == pin
    assert bench.one("verify_pins_pvv", sm4_key, 4, given_block, PAN, pvv_key, "1", pvv_of(pin)) is None
    assert pin_of_format_4(sm4, bench.one("generate_pins", sm4_key, 4, 4, PAN), PAN).isdigit()
    assert bench.one("compare_pins", sm4_key, 4, from_aes, known, 0, block_of(pin), PAN) is None


def test_sm4_takes_no_other_format(bench: Workshop, known: str) -> None:
    sm4_key = bench.load("PIN_KEY", SM4_KEY, "SM4")
    for pin_format in (0, 1, 2, 3):
        with pytest.raises(PinFormatError):
            bench.one("translate_pins", known, 0, sm4_key, pin_format, block_of("1234"), PAN)


def test_a_sm4_block_of_another_card_is_refused(bench: Workshop, known: str) -> None:
    sm4_key = bench.load("PIN_KEY", SM4_KEY, "SM4")
    block = bench.one("translate_pins", known, 0, sm4_key, 4, block_of("1234"), PAN)
    with pytest.raises(PinFormatError):
        bench.one("translate_pins", sm4_key, 4, known, 0, block, "6225889999991239")


# --- format 2 ---------------------------------------------------------------------------------------------------------


def test_format_2_comes_from_every_format_and_never_from_a_bad_block(bench: Workshop, known: str) -> None:
    token, keys = bench.context.token, bench.context.keys
    for key, pin_format, block in formats_of(bench, known, "1234").values():
        made = _pin.encipher_chip_pin(token, keys, key, pin_format, block, PAN, known)
        assert clear_of(made).hex() == "241234ffffffffff"
    with pytest.raises(PinFormatError):
        _pin.encipher_chip_pin(token, keys, known, 0, broken(BROKEN[0]), PAN, known)
    with pytest.raises(KeyUsageError):
        _pin.encipher_chip_pin(token, keys, known, 0, block_of("1234"), PAN, bench.load("DATA_KEY", PVK))
