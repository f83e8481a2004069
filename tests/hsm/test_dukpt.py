"""The commands of DUKPT, held against published vectors, `cryptography` and the standard library."""

import hashlib
import hmac
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from hsm import _core
from hsm.errors import (
    HsmError,
    InvalidCommand,
    KeyNotFound,
    KeyUsageError,
    MacMismatch,
    PinFormatError,
    TooManyFailures,
)
from hsm.vectors.workshop import Workshop, workshop

PAN = "4012345678909"
TARGET = "A1439D67319DFD6461022CD0EFA27AD3"

# X9.24-1:2009, A.4, the first row.
TDES_BDK = "0123456789ABCDEFFEDCBA9876543210"
TDES_KSN = bytes.fromhex("FFFF9876543210E00001")
TDES_TRANSACTION = bytes.fromhex("042666B49184CFA368DE9628D0397BC9")
TDES_BLOCK = bytes.fromhex("1B9C1845EB993A7A")
TDES_DATA = b"4012345678909D987"

# X9.24-3:2017, supplement, AES-128: the first row, and what it says of the keys.
AES_BDK = "FEDCBA9876543210F1F1F1F1F1F1F1F1"
AES_KSN = bytes.fromhex("123456789012345600000001")
AES_TRANSACTION = bytes.fromhex("4F21B565BAD9835E112B6465635EAE44")
AES_BLOCK = bytes.fromhex("A912150391AB65A67E52883D81CE2D15")
AES_PAN = "4111111111111111"
AES_MAC_KEY = bytes.fromhex("A2DC23DE6FDE0824A2BC321E08E4B8B7")
AES_DATA_KEY = bytes.fromhex("A35C412EFD41FDB98B69797C02DCD08F")


@pytest.fixture(scope="module")
def shop(token_directory: Path) -> Iterator[Workshop]:
    with workshop(token_directory) as made:
        yield made


@pytest.fixture
def tdes(shop: Workshop) -> str:
    return shop.load("DUKPT_BASE", TDES_BDK, mode="X")


@pytest.fixture
def aes(shop: Workshop) -> str:
    return shop.load("DUKPT_BASE", AES_BDK, "AES", mode="X")


@pytest.fixture
def aes_in_token(shop: Workshop) -> str:
    token, value = shop.context.token, bytes.fromhex(AES_BDK)
    handle = token.create_secret(
        _core.combine_host_key("clear", "DUKPT_BASE", [value, bytes(16)], "AES"), _core.PERMISSIONS["DUKPT_BASE"]
    )
    return shop.put(_core.TokenKey("token/bdk", "DUKPT_BASE", token, "AES", handle, mode="X"))


def des3(key: bytes, block: bytes) -> bytes:
    return Cipher(TripleDES((key * 3)[:24]), modes.ECB()).encryptor().update(block)


def aes_working_key(usage: str, algorithm: str, bits: str, number: int = 1) -> bytes:
    """X9.24-3:2017, 6.3.2: one block of key material under the published transaction key."""
    data = bytes.fromhex(f"01{number:02}{usage}{algorithm}{bits}") + AES_KSN[4:]
    return Cipher(AES(AES_TRANSACTION), modes.ECB()).encryptor().update(data)


def clear_block(pin: str, pan: str) -> bytes:
    field = f"0{len(pin)}{pin}".ljust(16, "F")
    return (int(field, 16) ^ int(pan[-13:-1], 16)).to_bytes(8)


# --- PINs ------------------------------------------------------------------------------------------------------------


def test_pins_of_every_key_type_reach_a_static_key(shop: Workshop, tdes: str, aes: str, aes_in_token: str) -> None:
    target = shop.load("PIN_KEY", TARGET)
    two = des3(aes_working_key("1000", "0000", "0080"), clear_block("1234", AES_PAN))
    three_key = aes_working_key("1000", "0001", "00C0") + aes_working_key("1000", "0001", "00C0", 2)[:8]
    three = des3(three_key, clear_block("1234", AES_PAN))
    items = [
        (tdes, TDES_KSN, "TDES-2", 0, target, 0, TDES_BLOCK, PAN),
        (aes, AES_KSN, "AES-128", 4, target, 0, AES_BLOCK, AES_PAN),
        (aes_in_token, AES_KSN, "AES-128", 4, target, 0, AES_BLOCK, AES_PAN),
        (aes, AES_KSN, "TDES-2", 0, target, 0, two, AES_PAN),
        (aes, AES_KSN, "TDES-3", 0, target, 0, three, AES_PAN),
    ]
    expected = [
        des3(bytes.fromhex(TARGET), clear_block("1234", pan)) for pan in (PAN, AES_PAN, AES_PAN, AES_PAN, AES_PAN)
    ]
    assert shop.run("translate_dukpt_pins", items) == expected


def test_an_initial_key_serves_its_device(shop: Workshop, tdes: str) -> None:
    initial = shop.load("DUKPT_INITIAL", "6AC292FAA1315B4D858AB3A3D7D5933A", mode="X")
    target = shop.load("PIN_KEY", TARGET)
    items = [(base, TDES_KSN, "TDES-2", 0, target, 0, TDES_BLOCK, PAN) for base in (tdes, initial)]
    first, second = shop.run("translate_dukpt_pins", items)
    assert first == second == des3(bytes.fromhex(TARGET), clear_block("1234", PAN))


def test_pins_go_from_device_to_device_and_back(shop: Workshop, tdes: str, aes: str) -> None:
    terminal, gateway = (tdes, TDES_KSN, "TDES-2", 0), (aes, AES_KSN, "AES-128", 4)
    moved = shop.one("translate_pins_between_dukpt", *terminal, *gateway, TDES_BLOCK, PAN)
    assert len(moved) == 16
    assert shop.one("translate_pins_between_dukpt", *gateway, *terminal, moved, PAN) == TDES_BLOCK


@pytest.mark.parametrize(
    ("source_format", "target_format", "block", "pan"),
    [
        (4, 0, TDES_BLOCK, PAN),  # a format of AES
        (2, 0, TDES_BLOCK, PAN),
        (0, 4, TDES_BLOCK, PAN),
        (0, 1, TDES_BLOCK, PAN),  # bound to a PAN: not to format 1
        (3, 0, TDES_BLOCK, PAN),  # the block is of format 0
        (0, 0, TDES_BLOCK, "4012345678919"),
        (0, 0, TDES_BLOCK, ""),
        (0, 0, TDES_BLOCK, "40123456789O9"),
        (0, 0, TDES_BLOCK[:7], PAN),
        (0, 0, TDES_BLOCK * 2, PAN),
        (0, 0, b"", PAN),
        (0, 0, bytes(8), PAN),
    ],
)
def test_pin_blocks_that_are_refused(
    shop: Workshop, tdes: str, source_format: int, target_format: int, block: bytes, pan: str
) -> None:
    item = (tdes, TDES_KSN, "TDES-2", source_format, shop.load("PIN_KEY", TARGET), target_format, block, pan)
    with pytest.raises(PinFormatError) as refused:
        shop.one("translate_dukpt_pins", *item)
    assert PAN not in str(refused.value)


def test_the_next_counter_has_another_pin_key(shop: Workshop, tdes: str) -> None:
    """A format-0 block under the key before is no block of this one."""
    after = TDES_KSN[:-1] + b"\2"
    with pytest.raises(PinFormatError):
        shop.one("translate_dukpt_pins", tdes, after, "TDES-2", 0, shop.load("PIN_KEY", TARGET), 0, TDES_BLOCK, PAN)


def test_good_and_bad_items_keep_their_places(shop: Workshop, tdes: str, aes: str) -> None:
    target, mac = shop.load("PIN_KEY", TARGET), shop.load("MAC_KEY", TARGET)
    decipher_only = shop.load("PIN_KEY", TARGET, mode="D")
    good = (tdes, TDES_KSN, "TDES-2", 0, target, 0, TDES_BLOCK, PAN)
    items = [
        good,
        ("nowhere", *good[1:]),
        (target, *good[1:]),
        good,
        (tdes, AES_KSN, *good[2:]),
        (tdes, bytes(10), *good[2:]),
        (tdes, TDES_KSN, "AES-128", *good[3:]),
        (*good[:4], mac, *good[5:]),
        (*good[:4], decipher_only, *good[5:]),
        (aes, AES_KSN, "HMAC-128", *good[3:]),
        (*good[:4], "nowhere", *good[5:]),
        good,
    ]
    results = shop.run("translate_dukpt_pins", items)
    expected = des3(bytes.fromhex(TARGET), clear_block("1234", PAN))
    assert [results[index] for index in (0, 3, 11)] == [expected] * 3
    kinds = [type(each) for each in results if not isinstance(each, bytes)]
    assert kinds == [
        KeyNotFound,
        KeyUsageError,
        InvalidCommand,
        InvalidCommand,
        InvalidCommand,
        KeyUsageError,
        KeyUsageError,
        InvalidCommand,
        KeyNotFound,
    ]


@pytest.mark.parametrize("item", [(), ("base", TDES_KSN), ("base", None, "TDES-2", 0, "key", 0, TDES_BLOCK, PAN)])
def test_a_tuple_of_another_shape_is_a_bug(shop: Workshop, tdes: str, item: tuple[Any, ...]) -> None:
    target = shop.load("PIN_KEY", TARGET)
    mended = tuple({"base": tdes, "key": target}.get(each, each) if isinstance(each, str) else each for each in item)
    with pytest.raises((ValueError, TypeError)):
        shop.run("translate_dukpt_pins", [mended])
    good = (tdes, TDES_KSN, "TDES-2", 0, target, 0, TDES_BLOCK, PAN)
    assert isinstance(shop.one("translate_dukpt_pins", *good), bytes)


# --- MACs ------------------------------------------------------------------------------------------------------------


def cmac(key: bytes, data: bytes) -> bytes:
    made = CMAC(AES(key) if key is AES_MAC_KEY else TripleDES((key * 3)[:24]))
    made.update(data)
    return made.finalize()


@pytest.mark.parametrize("data", [b"", b"x", bytes(16), bytes(range(100))])
def test_macs_of_aes_dukpt(shop: Workshop, aes: str, data: bytes) -> None:
    hmac_key = aes_working_key("2000", "0005", "0080")
    tdes_key = aes_working_key("2000", "0000", "0080")
    results = shop.run(
        "dukpt_macs",
        [
            (aes, AES_KSN, "AES-128", "request", "cmac", data),
            (aes, AES_KSN, "TDES-2", "request", "cmac", data),
            (aes, AES_KSN, "HMAC-128", "request", "hmac-sha256", data),
        ],
    )
    assert results == [
        cmac(AES_MAC_KEY, data),
        cmac(tdes_key, data),
        hmac.new(hmac_key, data, hashlib.sha256).digest(),
    ]


def test_each_direction_has_its_key(shop: Workshop, tdes: str, aes: str) -> None:
    def all_macs(base: str, ksn: bytes, key_type: str) -> list[bytes]:
        directions = ("request", "response", "both")
        return shop.run("dukpt_macs", [(base, ksn, key_type, each, "cmac", b"data") for each in directions])

    assert len(set(all_macs(aes, AES_KSN, "AES-128"))) == 3
    request, response, both = all_macs(tdes, TDES_KSN, "TDES-2")
    assert request == both != response


@pytest.mark.parametrize(
    ("key_type", "algorithm"),
    [
        ("AES-128", "iso9797-alg3-pad1"),
        ("AES-128", "hmac-sha256"),
        ("HMAC-128", "cmac"),
        ("HMAC-128", "iso9797-alg3-pad1"),
        ("TDES-2", "hmac-sha256"),
        ("TDES-2", "cup-financial"),
        ("TDES-2", "iso9797-alg3-pad4"),
        ("TDES-2", ""),
    ],
)
def test_algorithms_that_do_not_fit_the_key(shop: Workshop, aes: str, key_type: str, algorithm: str) -> None:
    with pytest.raises(InvalidCommand):
        shop.one("dukpt_macs", aes, AES_KSN, key_type, "request", algorithm, b"data")


def test_there_are_three_directions(shop: Workshop, tdes: str) -> None:
    with pytest.raises(InvalidCommand, match="direction"):
        shop.one("dukpt_macs", tdes, TDES_KSN, "TDES-2", "back", "cmac", b"data")


def test_a_mac_is_cut_by_the_name_of_its_algorithm_only(shop: Workshop, tdes: str) -> None:
    def item(algorithm: str) -> tuple[Any, ...]:
        return (tdes, TDES_KSN, "TDES-2", "request", algorithm, TDES_DATA)

    whole, cut = (shop.one("dukpt_macs", *item(f"iso9797-alg3-pad1{ending}")) for ending in ("", "-4"))
    assert cut.hex().upper() == "9CCC7817"  # X9.24-1:2009, A.4
    assert whole[:4] == cut
    assert shop.one("verify_dukpt_macs", *item("iso9797-alg3-pad1-4"), cut) is None
    with pytest.raises(MacMismatch):
        shop.one("verify_dukpt_macs", *item("iso9797-alg3-pad1"), cut)


@pytest.mark.parametrize("field", ["data", "mac", "first", "short", "empty", "long", "direction", "ksn", "algorithm"])
def test_macs_that_do_not_verify(shop: Workshop, tdes: str, field: str) -> None:
    item = [tdes, TDES_KSN, "TDES-2", "request", "iso9797-alg3-pad1", TDES_DATA]
    mac = shop.one("dukpt_macs", *item)
    item.append(mac)
    changes: dict[str, tuple[int, Any]] = {
        "data": (5, TDES_DATA[:-1] + b"8"),
        "mac": (6, mac[:-1] + bytes([mac[-1] ^ 1])),
        "first": (6, bytes([mac[0] ^ 0x80]) + mac[1:]),
        "short": (6, mac[:4]),
        "empty": (6, b""),
        "long": (6, mac + b"\0"),
        "direction": (3, "response"),
        "ksn": (1, TDES_KSN[:-1] + b"\2"),
        "algorithm": (4, "iso9797-alg3-pad2"),
    }
    position, value = changes[field]
    item[position] = value
    with pytest.raises(MacMismatch) as refused:
        shop.one("verify_dukpt_macs", *item)
    assert str(refused.value) == f"a MAC does not verify under {tdes}"


def test_guessing_is_stopped_for_the_device_and_not_for_others(shop: Workshop, tdes: str) -> None:
    def item(ksn: bytes, mac: bytes) -> tuple[Any, ...]:
        return (tdes, ksn, "TDES-2", "request", "iso9797-alg3-pad1-4", TDES_DATA, mac)

    def of_counter(counter: int) -> bytes:
        return TDES_KSN[:-1] + bytes([counter])

    good = bytes.fromhex("9CCC7817")
    other = b"\xaa" + TDES_KSN[1:]
    mac_of_other = shop.one("dukpt_macs", *item(other, b"")[:-1])
    guesses = [item(of_counter(1 + index % 3), bytes([index] * 8)) for index in range(12)]
    results = [type(each) for each in shop.run("verify_dukpt_macs", guesses)]
    assert results == [MacMismatch] * 10 + [TooManyFailures] * 2
    last, free = shop.run("verify_dukpt_macs", [item(TDES_KSN, good), item(other, mac_of_other)])
    assert (type(last), free) == (TooManyFailures, None)


def test_a_mac_of_an_aes_device_is_counted_by_its_device(shop: Workshop, aes: str) -> None:
    ksns = [AES_KSN[:8] + counter.to_bytes(4) for counter in range(1, 12)]
    items = [(aes, each, "AES-128", "request", "cmac", b"data", bytes(16)) for each in ksns]
    assert [type(each) for each in shop.run("verify_dukpt_macs", items)] == [MacMismatch] * 10 + [TooManyFailures]


# --- data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1, 2, 127, 128, 4096])
@pytest.mark.parametrize("chaining", ["CBC", "ECB"])
def test_data_under_aes(shop: Workshop, aes: str, chaining: str, blocks: int) -> None:
    data = bytes(index * 7 % 256 for index in range(16 * blocks))
    iv = bytes(range(16)) if chaining == "CBC" else b""
    mode = modes.CBC(iv) if chaining == "CBC" else modes.ECB()
    item = (aes, AES_KSN, "AES-128", "request", chaining, iv)
    enciphered = shop.one("dukpt_encipher", *item, data)
    assert enciphered == Cipher(AES(AES_DATA_KEY), mode).encryptor().update(data)
    assert shop.one("dukpt_decipher", *item, enciphered) == data


@pytest.mark.parametrize("blocks", [1, 3, 300])
@pytest.mark.parametrize(("direction", "variant"), [("request", 5), ("response", 3), ("both", 5)])
def test_data_under_tdes(shop: Workshop, tdes: str, direction: str, variant: int, blocks: int) -> None:
    mask = bytes(0xFF if index % 8 == variant else 0 for index in range(16))
    key = bytes(left ^ right for left, right in zip(TDES_TRANSACTION, mask, strict=True))
    key = des3(key, key)
    data, iv = bytes(index * 5 % 256 for index in range(8 * blocks)), bytes(range(8))
    item = (tdes, TDES_KSN, "TDES-2", direction, "CBC", iv)
    enciphered = shop.one("dukpt_encipher", *item, data)
    assert enciphered == Cipher(TripleDES((key * 3)[:24]), modes.CBC(iv)).encryptor().update(data)
    assert shop.one("dukpt_decipher", *item, enciphered) == data


@pytest.mark.parametrize("command", ["dukpt_encipher", "dukpt_decipher"])
@pytest.mark.parametrize(
    ("key_type", "chaining", "iv", "data"),
    [
        ("AES-128", "CBC", bytes(16), b""),
        ("AES-128", "CBC", bytes(16), bytes(15)),
        ("AES-128", "CBC", bytes(16), bytes(17)),
        ("AES-128", "CBC", bytes(16), bytes(8)),
        ("AES-128", "CBC", bytes(8), bytes(16)),
        ("AES-128", "CBC", bytes(17), bytes(16)),
        ("AES-128", "CBC", b"", bytes(16)),
        ("AES-128", "ECB", bytes(16), bytes(16)),
        ("AES-128", "CTR", bytes(16), bytes(16)),
        ("AES-128", "CBC", bytes(16), bytes(65536 + 16)),
        ("TDES-2", "CBC", bytes(16), bytes(16)),
        ("HMAC-128", "ECB", b"", bytes(16)),
    ],
)
def test_data_that_is_refused(
    shop: Workshop, aes: str, command: str, key_type: str, chaining: str, iv: bytes, data: bytes
) -> None:
    with pytest.raises(InvalidCommand):
        shop.one(command, aes, AES_KSN, key_type, "request", chaining, iv, data)


def test_data_under_keys_in_the_token(shop: Workshop, aes: str, aes_in_token: str) -> None:
    items = [(base, AES_KSN, "AES-128", "both", "ECB", b"", bytes(16)) for base in (aes, aes_in_token)]
    first, second = shop.run("dukpt_encipher", items)
    assert first == second


def test_threads_do_not_share_derived_keys(shop: Workshop, aes: str) -> None:
    """Long data lets the GIL go: meanwhile other threads derive other keys."""
    items = [
        (aes, AES_KSN[:-1] + bytes([1 + index]), "AES-128", "request", "ECB", b"", bytes(65536)) for index in range(8)
    ]
    alone = [shop.one("dukpt_encipher", *each) for each in items]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda each: shop.one("dukpt_encipher", *each), items * 8))
    assert together == alone * 8
    assert len(set(alone)) == 8


def test_no_error_carries_what_it_is_about(shop: Workshop, tdes: str, aes: str) -> None:
    target = shop.load("PIN_KEY", TARGET)
    pins = shop.run("translate_dukpt_pins", [(tdes, TDES_KSN, "TDES-2", 0, target, 0, bytes(8), PAN)])
    data = shop.run("dukpt_encipher", [(tdes, TDES_KSN, "TDES-2", "request", "CBC", bytes(8), TDES_DATA)])
    macs = shop.run("verify_dukpt_macs", [(aes, AES_KSN, "AES-128", "request", "cmac", TDES_DATA, bytes(16))])
    for error in pins + data + macs:
        assert isinstance(error, HsmError)
        for secret in (PAN, TDES_DATA.decode(), TDES_KSN.hex(), AES_KSN.hex(), TDES_BDK, AES_BDK):
            assert secret.lower() not in repr(error).lower()
