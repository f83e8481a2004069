"""The EMV commands: vectors, keys in the token, modes of use, what they refuse, and what a batch makes of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from hsm import _core, _emv
from hsm.errors import (
    CardCodeMismatch,
    CryptogramMismatch,
    InvalidCommand,
    KeyNotFound,
    KeyUsageError,
    PinFormatError,
    TooManyFailures,
)
from hsm.token import open_token
from hsm.vectors import emv as checks
from hsm.vectors.__main__ import failures
from hsm.vectors.table import ODD
from hsm.vectors.workshop import Workshop

VALUE = "0123456789ABCDEFFEDCBA9876543210"
PAN = "1234567890123456"
ATC, UN, ARQC = bytes.fromhex("001C"), bytes.fromhex("ABCDEF12"), bytes.fromhex("7A788EA6B8A3E733")
DATA = bytes(range(37))
TRACK = bytes.fromhex("1234567890123456D12012061000110000000F")
BLOCK = bytes.fromhex("278CE4308BF9844D")  # PIN 9999, format 0, under VALUE
BAD_BLOCK = bytes(8)
CARD = ("A", PAN, "01")
TRANSACTION = ("mastercard-skd", ATC, UN, 2, DATA)
SCRIPT = ("emv-common", ARQC)

ITEMS: dict[str, tuple[Any, ...]] = {
    "generate_cryptograms": ("EMV_CRYPTOGRAM", *CARD, *TRANSACTION),
    "verify_cryptograms": ("EMV_CRYPTOGRAM", *CARD, *TRANSACTION, bytes(8)),
    "verify_cryptograms_and_respond": ("EMV_CRYPTOGRAM", *CARD, *TRANSACTION, bytes(8), "card-key", 1, b"00", b""),
    "generate_arpcs": ("EMV_CRYPTOGRAM", *CARD, "card-key", ATC, UN, ARQC, 1, b"00", b""),
    "script_macs": ("EMV_INTEGRITY", *CARD, *SCRIPT, DATA, 8),
    "encipher_script_data": ("EMV_CONFIDENTIALITY", *CARD, *SCRIPT, "emv", DATA),
    "dcvvs": ("EMV_DYNAMIC_NUMBER", *CARD, "3210", "1310", "226"),
    "verify_dcvvs": ("EMV_DYNAMIC_NUMBER", *CARD, "3210", "1310", "226", "000"),
    "cvc3s": ("EMV_DYNAMIC_NUMBER", *CARD, TRACK, UN, ATC),
    "verify_cvc3s": ("EMV_DYNAMIC_NUMBER", *CARD, TRACK, UN, ATC, "00000"),
}
"""A good item of every command but pin_change_scripts, with a usage in place of the key's label; what is verified is
wrong."""

MISMATCHES = (CryptogramMismatch, CardCodeMismatch)


@pytest.fixture(scope="module")
def token(token_directory: Path) -> Iterator[_core.Token]:
    with open_token(token_directory) as opened:
        yield opened.core


@pytest.fixture
def bench(token: _core.Token) -> Workshop:
    """One for each test: its keys take locked memory, of which there is not much."""
    return Workshop(token)


def with_key(bench: Workshop, item: tuple[Any, ...], mode: str = "N") -> tuple[Any, ...]:
    """The item with a new key of its own, so that no earlier failure counts against it."""
    return bench.load(item[0], VALUE, mode=mode), *item[1:]


def at(item: tuple[Any, ...], place: int, value: object) -> tuple[Any, ...]:
    return *item[:place], value, *item[place + 1 :]


def pin_change(bench: Workshop, layout: str = "vis", mode: str = "N") -> tuple[Any, ...]:
    integrity, confidentiality, cryptogram = (
        bench.load(usage, VALUE, mode=mode) for usage in ("EMV_INTEGRITY", "EMV_CONFIDENTIALITY", "EMV_CRYPTOGRAM")
    )
    keys = (integrity, confidentiality, cryptogram if layout == "vis" else "")
    pin_key = bench.load("PIN_KEY", VALUE)
    return (*keys, *CARD, *SCRIPT, layout, "visa", b"\x84\x24\x00\x02\x18", 8, pin_key, 0, BLOCK, b"")


# --- vectors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", checks.CHECKS)
def test_vectors(bench: Workshop, vectors: dict[str, list[dict[str, Any]]], category: str) -> None:
    results = list(failures(bench, vectors[category]))
    assert len(results) == len(vectors[category]) - sum(each["id"] in ODD for each in vectors[category])
    assert [each for each in results if each[1]] == []


@pytest.mark.parametrize("category", checks.CHECKS)
def test_a_changed_vector_is_noticed(bench: Workshop, vectors: dict[str, list[dict[str, Any]]], category: str) -> None:
    for vector in vectors[category]:
        for name, value in vector["outputs"].items():
            last = f"{int(value[-3], 16) ^ 2:X}" if not value.isdecimal() else str((int(value[-3]) + 1) % 10)
            changed = {**vector["outputs"], name: value[:-3] + last + value[-2:]}
            assert [each for _, each in failures(bench, [{**vector, "outputs": changed}])] != [None], vector["id"]


def test_option_b_of_a_short_pan_is_option_a(bench: Workshop) -> None:
    key = bench.load("EMV_DYNAMIC_NUMBER", "12345678" * 4)
    items = [(key, option, "123456789012", "", "3210", "1310", "226") for option in "AB"]
    assert bench.run("dcvvs", items) == ["719", "719"]  # jPOS says 824 for B


# --- keys -------------------------------------------------------------------------------------------------------------


def load_into_token(bench: Workshop, usage: str, mode: str) -> str:
    value = bytes.fromhex(VALUE)
    mask = bytes(range(16))
    token = bench.context.token
    components = [mask, bytes(a ^ b for a, b in zip(value, mask, strict=True))]
    handle = token.create_secret(_core.combine_host_key(usage, usage, components), _core.PERMISSIONS[usage])
    return bench.put(_core.TokenKey(f"token/{usage}/{mode}", usage, token, "DES", handle, mode=mode))


@pytest.mark.parametrize("command", ITEMS)
def test_keys_in_the_token_do_the_same(bench: Workshop, command: str) -> None:
    item = ITEMS[command]
    outside, inside = bench.load(item[0], VALUE), load_into_token(bench, item[0], "N")
    [left], [right] = (bench.run(command, [(label, *item[1:])]) for label in (outside, inside))
    assert left == right or (isinstance(left, MISMATCHES) and type(left) is type(right))


def test_a_card_in_the_token_from_cryptogram_to_pin_change(bench: Workshop) -> None:
    inside = [
        load_into_token(bench, usage, "X") for usage in ("EMV_INTEGRITY", "EMV_CONFIDENTIALITY", "EMV_CRYPTOGRAM")
    ]
    pin_key = load_into_token(bench, "PIN_KEY", "D")
    arqc = bench.one("generate_cryptograms", *with_key(bench, ITEMS["generate_cryptograms"]))
    item = at(ITEMS["verify_cryptograms_and_respond"], 9, arqc)
    response = bench.one("generate_arpcs", *with_key(bench, at(ITEMS["generate_arpcs"], 7, arqc)))
    assert bench.one("verify_cryptograms_and_respond", inside[2], *item[1:]) == response
    outside = pin_change(bench)
    assert bench.one("pin_change_scripts", *inside, *at(outside, 12, pin_key)[3:]) == (
        bench.one("pin_change_scripts", *outside)
    )


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("generate_cryptograms", "CGN"),
        ("verify_cryptograms", "CNVX"),
        ("verify_cryptograms_and_respond", "CNX"),
        ("generate_arpcs", "CGN"),
        ("script_macs", "CGNX"),
        ("encipher_script_data", "BEN"),
        ("dcvvs", "CGN"),
        ("verify_dcvvs", "CNVX"),
        ("cvc3s", "CGN"),
        ("verify_cvc3s", "CNVX"),
    ],
)
def test_modes_of_use(bench: Workshop, command: str, allowed: str) -> None:
    for mode in "BCDEGNVX":
        [result] = bench.run(command, [with_key(bench, ITEMS[command], mode)])
        assert isinstance(result, KeyUsageError) is (mode not in allowed), mode


@pytest.mark.parametrize(
    ("place", "usage", "allowed"),
    [(0, "EMV_INTEGRITY", "CGNX"), (1, "EMV_CONFIDENTIALITY", "BENX"), (2, "EMV_CRYPTOGRAM", "CGNX")],
)
def test_modes_of_use_for_a_pin_change(bench: Workshop, place: int, usage: str, allowed: str) -> None:
    item = pin_change(bench)
    for mode in "BCDEGNVX":
        [result] = bench.run("pin_change_scripts", [at(item, place, bench.load(usage, VALUE, mode=mode))])
        assert isinstance(result, KeyUsageError) is (mode not in allowed), mode


@pytest.mark.parametrize("command", ITEMS)
def test_keys_that_do_not_fit(bench: Workshop, command: str) -> None:
    usage, *rest = ITEMS[command]
    other = "EMV_INTEGRITY" if usage == "EMV_CRYPTOGRAM" else "EMV_CRYPTOGRAM"
    labels = [
        bench.load(other, VALUE),
        bench.load("PIN_KEY", VALUE),
        bench.load(usage, VALUE[:16]),
        bench.load(usage, VALUE + VALUE[:16]),
        bench.load(usage, VALUE, "AES"),
        bench.load(usage, VALUE, "SM4"),
        bench.load(usage, VALUE, "HMAC"),
    ]
    results = bench.run(command, [(label, *rest) for label in labels])
    assert [type(each) for each in results] == [KeyUsageError] * len(labels)
    [missing] = bench.run(command, [("nowhere", *rest)])
    assert isinstance(missing, KeyNotFound)


@pytest.mark.parametrize("place", [0, 1, 2, 12])
def test_keys_that_do_not_fit_a_pin_change(bench: Workshop, place: int) -> None:
    item = pin_change(bench)
    [wrong] = bench.run("pin_change_scripts", [at(item, place, bench.load("DATA_KEY", VALUE))])
    [missing] = bench.run("pin_change_scripts", [at(item, place, "nowhere")])
    assert (type(wrong), type(missing)) == (KeyUsageError, KeyNotFound)


def test_derived_keys_refuse_what_is_no_emv_key(bench: Workshop) -> None:
    token, card = bench.context.token, bench.key(bench.load("EMV_CRYPTOGRAM", VALUE))
    pin = bench.key(bench.load("PIN_KEY", VALUE))
    with pytest.raises(KeyUsageError):
        _emv.card_key_of(token, pin, "A", PAN, "", "card")
    with pytest.raises(KeyUsageError):
        _emv.session_key_of(token, pin, "emv-common", ATC, "session")
    with pytest.raises(KeyUsageError):
        _emv.encipher_with(token, pin, "emv", DATA)
    with pytest.raises(KeyUsageError):
        _emv.encipher_pin_with(token, card, None, "iso-2", "emv", card, 0, PAN, BLOCK, b"")
    with pytest.raises(InvalidCommand):
        _emv.encipher_pin_with(token, card, None, "vis", "emv", pin, 0, PAN, BLOCK, b"")
    with pytest.raises(InvalidCommand):
        _emv.tree_key_of(token, card, ATC, 4, 16, bytes(16), "session")


# --- what is refused --------------------------------------------------------------------------------------------------

NO_CARDS = [
    (1, "C"),
    (1, ""),
    (2, "12345678901"),
    (2, "1" * 20),
    (2, "12345678901234x6"),
    (3, "1"),
    (3, "0x"),
    (3, "001"),
]
NO_TRANSACTIONS = [(4, "visa-sm"), (4, ""), (5, b"\x01"), (5, b""), (6, b""), (6, bytes(3)), (7, 0), (7, 3), (8, b"")]
NO_SCRIPTS = [(4, "card-key"), (4, "mastercard-skd"), (4, "visa"), (5, b""), (5, ATC), (5, bytes(9))]
NO_TRACKS = [(4, b""), (5, bytes(3)), (6, bytes(3))]
NO_DATES = [(4, "321"), (4, "321A"), (5, "13100"), (6, "22")]
BAD: list[tuple[str, int, object]] = [
    *((command, *change) for command in ITEMS for change in NO_CARDS),
    *((command, *change) for command in list(ITEMS)[:3] for change in NO_TRANSACTIONS),
    *((command, *change) for command in ("script_macs", "encipher_script_data") for change in NO_SCRIPTS),
    *((command, *change) for command in ("cvc3s", "verify_cvc3s") for change in NO_TRACKS),
    *((command, *change) for command in ("dcvvs", "verify_dcvvs") for change in NO_DATES),
    *(("verify_cryptograms", 9, value) for value in (b"", bytes(7), bytes(9))),
    *(("verify_cryptograms_and_respond", 10, value) for value in ("", "visa-sm")),
    *(("verify_cryptograms_and_respond", 11, value) for value in (0, 2, 3)),
    *(("verify_cryptograms_and_respond", 12, value) for value in (b"", b"0", b"000")),
    ("verify_cryptograms_and_respond", 13, b"0"),
    *(("generate_arpcs", 4, value) for value in ("", "visa-sm")),
    *(("generate_arpcs", 7, value) for value in (b"", bytes(7))),
    *(("generate_arpcs", 8, value) for value in (0, 2, 3)),
    ("generate_arpcs", 10, b"0"),
    *(("script_macs", 7, value) for value in (3, 9)),
    ("script_macs", 6, b""),
    *(("encipher_script_data", 6, value) for value in ("", "Visa")),
    *(("encipher_script_data", 7, value) for value in (b"", bytes(241))),
    *(("verify_dcvvs", 7, value) for value in ("", "12", "1234", "x23")),
    *(("verify_cvc3s", 7, value) for value in ("", "12", "123456", "x23")),
]


@pytest.mark.parametrize(("command", "place", "value"), BAD)
def test_bad_values(bench: Workshop, command: str, place: int, value: object) -> None:
    [result] = bench.run(command, [with_key(bench, at(ITEMS[command], place, value))])
    assert type(result) is InvalidCommand
    assert PAN not in str(result)


def test_too_much_data(bench: Workshop) -> None:
    for command, place in (("generate_cryptograms", 8), ("script_macs", 6), ("cvc3s", 4)):
        [result] = bench.run(command, [with_key(bench, at(ITEMS[command], place, bytes(65537)))])
        assert type(result) is InvalidCommand


def test_proprietary_data_of_method_2_ends_at_8_bytes(bench: Workshop) -> None:
    item = with_key(bench, ITEMS["generate_arpcs"])[:8]
    good, bad = bench.run("generate_arpcs", [(*item, 2, bytes(4), bytes(length)) for length in (8, 9)])
    assert len(good) == 4
    assert type(bad) is InvalidCommand


@pytest.mark.parametrize("command", ITEMS)
def test_another_shape_is_a_bug_of_the_caller(bench: Workshop, command: str) -> None:
    item = with_key(bench, ITEMS[command])
    for wrong in (item[:-1], (*item, b""), at(item, len(item) - 1, None), at(item, 2, None)):
        with pytest.raises((TypeError, ValueError)):
            bench.run(command, [wrong])
    assert len(bench.run(command, [list(item)])) == 1  # what msgpack makes of a tuple; and the lock is free again


# --- verification -----------------------------------------------------------------------------------------------------


def test_good_and_bad_items_in_one_batch(bench: Workshop) -> None:
    good = with_key(bench, ITEMS["generate_cryptograms"])
    batch = [good, at(good, 0, "nowhere"), at(good, 1, "C"), at(good, 5, b""), good]
    first, *bad, last = bench.run("generate_cryptograms", batch)
    assert first == last
    assert len(first) == 8
    assert [type(each) for each in bad] == [KeyNotFound, InvalidCommand, InvalidCommand]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (2, "1234567890123457"),
        (3, "02"),
        (4, "emv-common"),
        (5, b"\x00\x1d"),
        (6, bytes(4)),
        (7, 1),
        (8, DATA + b"\x00"),
    ],
)
def test_a_cryptogram_holds_for_its_own_transaction_only(bench: Workshop, place: int, value: object) -> None:
    item = with_key(bench, ITEMS["generate_cryptograms"])
    arqc = bench.one("generate_cryptograms", *item)
    answer = ("card-key", 1, b"00", b"")
    assert bench.run("verify_cryptograms", [(*item, arqc)]) == [None]
    changed = (*at(item, place, value), arqc)
    [refused] = bench.run("verify_cryptograms", [changed])
    [unanswered] = bench.run("verify_cryptograms_and_respond", [(*changed, *answer)])
    assert type(refused) is type(unanswered) is CryptogramMismatch
    assert len(bench.one("verify_cryptograms_and_respond", *item, arqc, *answer)) == 8


def test_every_bit_of_a_cryptogram_counts(bench: Workshop) -> None:
    item = with_key(bench, ITEMS["generate_cryptograms"])
    arqc = int.from_bytes(bench.one("generate_cryptograms", *item))
    for bit in range(64):
        [result] = _emv.verify_cryptograms(
            bench.context.token, bench.context.keys, [(*item, (arqc ^ 1 << bit).to_bytes(8))]
        )
        assert isinstance(result, CryptogramMismatch)


def test_card_codes_that_are_wrong(bench: Workshop) -> None:
    for command, place in (("dcvvs", 3), ("cvc3s", 5)):
        item = with_key(bench, ITEMS[command])
        code = bench.one(command, *item)
        assert len(code) == place
        assert bench.run("verify_" + command, [(*item, code)]) == [None]
        for index in range(place):
            wrong = code[:index] + str((int(code[index]) + 1) % 10) + code[index + 1 :]
            [result] = bench.run("verify_" + command, [(*item, wrong)])
            assert type(result) is CardCodeMismatch


@pytest.mark.parametrize(
    "command", ["verify_cryptograms", "verify_cryptograms_and_respond", "verify_dcvvs", "verify_cvc3s"]
)
def test_failures_count_against_the_pan(bench: Workshop, command: str) -> None:
    item = with_key(bench, ITEMS[command])
    results = bench.run(command, [item] * 12)
    assert all(isinstance(each, MISMATCHES) for each in results[:10])
    assert [type(each) for each in results[10:]] == [TooManyFailures] * 2
    [other] = bench.run(command, [at(item, 2, "1234567890123457")])
    assert isinstance(other, MISMATCHES)


# --- PIN change -------------------------------------------------------------------------------------------------------


def encipher(clear: str) -> bytes:
    return Cipher(TripleDES(bytes.fromhex(VALUE + VALUE[:16])), modes.ECB()).encryptor().update(bytes.fromhex(clear))


def test_both_layouts_and_the_current_pin_differ(bench: Workshop) -> None:
    item = pin_change(bench)
    other = bench.one("pin_change_scripts", *pin_change(bench, "iso-2"))
    without, with_current = bench.run("pin_change_scripts", [item, at(item, 15, BLOCK)])
    assert [len(each) for each in (other, without, with_current)] == [24, 24, 24]
    assert len({other, without, with_current}) == 3


def test_the_script_is_what_its_parts_give(bench: Workshop) -> None:
    item = pin_change(bench, "iso-2", mode="N")
    script = bench.one("pin_change_scripts", *item)
    enciphered = bench.one("encipher_script_data", item[1], *CARD, *SCRIPT, "visa", bytes.fromhex("249999FFFFFFFFFF"))
    assert script == enciphered + bench.one("script_macs", item[0], *CARD, *SCRIPT, item[10] + enciphered, 8)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (13, 1),
        (13, 4),
        (13, 2),
        (14, BAD_BLOCK),
        (14, b""),
        (14, BLOCK + bytes(8)),
        (14, encipher("039999BADF876FE9")),  # a PIN of 3 digits
        (15, BAD_BLOCK),
        (15, BLOCK[:7]),
    ],
)
def test_pin_blocks_that_are_not_valid(bench: Workshop, place: int, value: object) -> None:
    [result] = bench.run("pin_change_scripts", [at(pin_change(bench), place, value)])
    assert type(result) is PinFormatError
    assert "PIN block" in str(result)


def test_a_pin_block_is_bound_to_its_pan(bench: Workshop) -> None:
    [result] = bench.run("pin_change_scripts", [at(pin_change(bench), 4, "1234567809876543")])
    assert type(result) is PinFormatError


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (3, "C"),
        (5, "1"),
        (6, "card-key"),
        (7, b""),
        (7, ATC),
        (8, "iso-0"),
        (9, "ecb"),
        (11, 3),
        (11, 9),
    ],
)
def test_bad_values_of_a_pin_change(bench: Workshop, place: int, value: object) -> None:
    [result] = bench.run("pin_change_scripts", [at(pin_change(bench), place, value)])
    assert type(result) is InvalidCommand


def test_format_2_has_no_place_for_the_current_pin(bench: Workshop) -> None:
    [result] = bench.run("pin_change_scripts", [at(pin_change(bench, "iso-2"), 15, BLOCK)])
    assert type(result) is InvalidCommand


def test_pin_blocks_that_fail_count_against_the_pan(bench: Workshop) -> None:
    item = pin_change(bench)
    results = bench.run("pin_change_scripts", [at(item, 14, BAD_BLOCK)] * 10 + [item])
    assert [type(each) for each in results[:10]] == [PinFormatError] * 10
    assert type(results[10]) is TooManyFailures


def test_format_4_under_aes(bench: Workshop) -> None:
    """ISO 9564-1, format 4: E(E(PIN field) xor PAN field)."""
    cipher = Cipher(AES(bytes.fromhex(VALUE)), modes.ECB())
    pin_field, pan_field = bytes.fromhex("449999AAAAAAAAAA0123456789ABCDEF"), bytes.fromhex(f"4{PAN}".ljust(32, "0"))
    inner = cipher.encryptor().update(pin_field)
    block = cipher.encryptor().update(bytes(a ^ b for a, b in zip(inner, pan_field, strict=True)))
    item = pin_change(bench)
    under_aes = (*item[:12], bench.load("PIN_KEY", VALUE, "AES"), 4, block, b"")
    assert bench.one("pin_change_scripts", *under_aes) == bench.one("pin_change_scripts", *item)
