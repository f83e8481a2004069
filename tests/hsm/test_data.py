"""Encryption of data against other implementations, every bad input, and what each key may do."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from hsm.algorithms import MAX_DATA_BYTES
from hsm.errors import InvalidCommand, KeyNotFound, KeyUsageError, PaddingError
from hsm.vectors.data import CHECKS, enciphered_over_and_over
from hsm.vectors.workshop import Workshop, workshop

KEY = "0123456789ABCDEFFEDCBA9876543210"
LONG = KEY + "00112233445566778899AABBCCDDEEFF"
CIPHERS = [
    (LONG[:48], "DES", TripleDES, 8),
    (KEY, "AES", AES, 16),
    (LONG[:48], "AES", AES, 16),
    (LONG, "AES", AES, 16),
    (KEY, "SM4", SM4, 16),
]
MODES = {"ecb": lambda iv: modes.ECB(), "cbc": modes.CBC, "ctr": modes.CTR}
under_every_cipher = pytest.mark.parametrize(("key_hex", "kind", "cipher", "size"), CIPHERS)


@pytest.fixture(scope="module")
def bench(token_directory: Path) -> Iterator[Workshop]:
    with workshop(token_directory) as made:
        yield made


@cache
def data_key(bench: Workshop, key_hex: str, kind: str) -> str:
    return bench.load("DATA_KEY", key_hex, kind)


def other(cipher: Any, key_hex: str, mode: str, iv: bytes, data: bytes) -> bytes:
    encryptor = Cipher(cipher(bytes.fromhex(key_hex)), MODES[mode](iv)).encryptor()
    enciphered: bytes = encryptor.update(data) + encryptor.finalize()
    return enciphered


@pytest.mark.parametrize("category", ["sm4_ecb"])
def test_vectors(bench: Workshop, vectors: Any, category: str) -> None:
    for vector in vectors[category]:
        CHECKS[category](bench, vector["inputs"], vector["outputs"])


@under_every_cipher
@given(data=st.data())
def test_chaining_is_that_of_cryptography(
    bench: Workshop, key_hex: str, kind: str, cipher: Any, size: int, data: st.DataObject
) -> None:
    mode = data.draw(st.sampled_from(["ecb", "cbc", "ctr"] if size == 16 else ["ecb", "cbc"]))
    length = data.draw(st.integers(0, 1100)) if mode == "ctr" else size * data.draw(st.integers(0, 140))
    clear = data.draw(st.binary(min_size=1, max_size=16)) * length
    clear, iv = clear[:length], b"" if mode == "ecb" else data.draw(st.binary(min_size=size, max_size=size))
    key = data_key(bench, key_hex, kind)
    enciphered = bench.one("encipher", key, mode, "none", iv, clear)
    assert enciphered == other(cipher, key_hex, mode, iv, clear)
    assert bench.one("decipher", key, mode, "none", iv, enciphered) == clear


@pytest.mark.parametrize("iv", ["FF" * 16, "00" * 8 + "FF" * 7 + "FE"])
def test_counter_carries_through_all_its_bytes(bench: Workshop, iv: str) -> None:
    clear = bytes(100)
    enciphered = bench.one("encipher", data_key(bench, KEY, "AES"), "ctr", "none", bytes.fromhex(iv), clear)
    assert enciphered == other(AES, KEY, "ctr", bytes.fromhex(iv), clear)


@under_every_cipher
@given(clear=st.binary(max_size=40))
def test_padding(bench: Workshop, key_hex: str, kind: str, cipher: Any, size: int, clear: bytes) -> None:
    key, iv = data_key(bench, key_hex, kind), bytes(range(size))
    padder = PKCS7(size * 8).padder()
    counted = padder.update(clear) + padder.finalize()
    one_bit = clear + b"\x80" + bytes(-(len(clear) + 1) % size)
    for padding, padded in (("pkcs7", counted), ("iso9797-2", one_bit)):
        for mode, vector in (("cbc", iv), ("ecb", b"")):
            enciphered = bench.one("encipher", key, mode, padding, vector, clear)
            assert enciphered == other(cipher, key_hex, mode, vector, padded)
            assert bench.one("decipher", key, mode, padding, vector, enciphered) == clear


@pytest.mark.parametrize(
    ("padding", "end"),
    [
        ("pkcs7", "00"),
        ("pkcs7", "11"),
        ("pkcs7", "FF"),
        ("pkcs7", "010202020302"),
        ("pkcs7", "11" * 16),
        ("iso9797-2", "00" * 16),
        ("iso9797-2", "01"),
        ("iso9797-2", "8001"),
        ("iso9797-2", "8100"),
    ],
)
def test_wrong_padding(bench: Workshop, padding: str, end: str) -> None:
    key = data_key(bench, KEY, "SM4")
    clear = (bytes.fromhex("80" + "AA" * 31) + bytes.fromhex(end))[-32:]
    enciphered = bench.one("encipher", key, "ecb", "none", b"", clear)
    good = bench.one("encipher", key, "ecb", padding, b"", clear)
    items = [(key, "ecb", padding, b"", each) for each in (enciphered, good, b"")]
    results = bench.run("decipher", items)
    assert isinstance(results[0], PaddingError)
    assert results[1] == clear
    assert isinstance(results[2], PaddingError)
    assert str(results[0]) == str(results[2])


def test_reenciphering_between_all_ciphers(bench: Workshop) -> None:
    clear = bytes(range(256)) * 5 + bytes(16)  # more than one chunk
    for key_hex, kind, _, size in CIPHERS:
        source, source_iv = data_key(bench, key_hex, kind), bytes(range(size))
        stored = bench.one("encipher", source, "cbc", "none", source_iv, clear)
        for other_hex, other_kind, cipher, other_size in CIPHERS:
            target, target_iv = data_key(bench, other_hex, other_kind), bytes(range(7, 7 + other_size))
            for mode, iv in (("ecb", b""), ("cbc", target_iv)):
                [moved] = bench.run("reencipher", [(source, "cbc", source_iv, target, mode, iv, stored)])
                assert moved == other(cipher, other_hex, mode, iv, clear)
                back = bench.one("reencipher", target, mode, iv, source, "cbc", source_iv, moved)
                assert back == stored


def test_reenciphering_refuses_what_would_show_the_data(bench: Workshop) -> None:
    source, target = data_key(bench, KEY, "AES"), data_key(bench, LONG, "AES")
    des, iv = data_key(bench, LONG[:48], "DES"), bytes(16)
    results = bench.run(
        "reencipher",
        [
            (source, "ecb", b"", target, "ctr", iv, bytes(32)),
            (source, "ctr", iv, target, "cbc", iv, bytes(32)),
            (source, "ecb", b"", target, "cbc", iv, bytes(31)),
            (des, "ecb", b"", target, "cbc", iv, bytes(24)),
            (source, "ecb", b"", target, "cbc", iv, bytes(32)),
            (source, "ecb", b"", target, "cbc", iv, b""),
        ],
    )
    assert [type(each) for each in results] == [*[InvalidCommand] * 4, bytes, bytes]


@pytest.mark.parametrize(
    ("kind", "mode", "padding", "iv", "length"),
    [
        ("AES", "ecb", "none", 0, 15),
        ("AES", "cbc", "none", 16, 17),
        ("DES", "cbc", "none", 8, 12),
        ("AES", "cbc", "none", 0, 16),
        ("AES", "cbc", "none", 8, 16),
        ("AES", "cbc", "none", 17, 16),
        ("DES", "cbc", "none", 16, 16),
        ("AES", "ecb", "none", 16, 16),
        ("AES", "ctr", "none", 12, 16),
        ("AES", "ctr", "pkcs7", 16, 16),
        ("DES", "ctr", "none", 8, 16),
        ("DES", "ctr", "none", 16, 16),
        ("AES", "cbc", "zeros", 16, 16),
        ("AES", "cfb", "none", 16, 16),
        ("AES", "CBC", "none", 16, 16),
        ("AES", "", "none", 16, 16),
        ("HMAC", "ecb", "none", 0, 16),
        ("AES", "cbc", "none", 16, MAX_DATA_BYTES + 16),
    ],
)
def test_bad_items(bench: Workshop, kind: str, mode: str, padding: str, iv: int, length: int) -> None:
    bad = (data_key(bench, KEY, kind), mode, padding, bytes(iv), bytes(length))
    good = (data_key(bench, KEY, "AES"), "cbc", "none", bytes(16), bytes(16))
    for command in ("encipher", "decipher"):
        assert [type(each) for each in bench.run(command, [good, bad, good])] == [bytes, InvalidCommand, bytes]


def test_what_is_enciphered_can_be_deciphered(bench: Workshop) -> None:
    key = data_key(bench, KEY, "AES")
    most = MAX_DATA_BYTES - 1
    assert len(bench.one("encipher", key, "ecb", "pkcs7", b"", bytes(most))) == MAX_DATA_BYTES
    [result] = bench.run("encipher", [(key, "ecb", "pkcs7", b"", bytes(MAX_DATA_BYTES))])
    assert isinstance(result, InvalidCommand)


def test_single_des_protects_nothing(bench: Workshop) -> None:
    [result] = bench.run("encipher", [(bench.load("DATA_KEY", KEY[:16]), "ecb", "none", b"", bytes(8))])
    assert isinstance(result, InvalidCommand)


def test_only_data_keys(bench: Workshop) -> None:
    data = data_key(bench, KEY, "AES")
    for usage in ("MAC_KEY", "PIN_KEY", "FPE_KEY", "KEY_TRANSPORT"):
        key = bench.load(usage, KEY, "AES")
        for command in ("encipher", "decipher"):
            assert isinstance(bench.run(command, [(key, "ecb", "none", b"", bytes(16))])[0], KeyUsageError)
        both = [(key, "ecb", b"", data, "ecb", b"", bytes(16)), (data, "ecb", b"", key, "ecb", b"", bytes(16))]
        assert [type(each) for each in bench.run("reencipher", both)] == [KeyUsageError] * 2
    assert isinstance(bench.run("encipher", [("nobody", "ecb", "none", b"", b"")])[0], KeyNotFound)


def test_mode_of_use(bench: Workshop) -> None:
    free = data_key(bench, KEY, "AES")
    allowed = {}
    for mode in "BDENCGVX":
        key = bench.load("DATA_KEY", KEY, "AES", mode)
        block, iv = bytes(16), bytes(16)
        tries = [
            bench.run("encipher", [(key, "ecb", "none", b"", block)]),
            bench.run("decipher", [(key, "ecb", "none", b"", block)]),
            bench.run("encipher", [(key, "ctr", "none", iv, block)]),
            bench.run("decipher", [(key, "ctr", "none", iv, block)]),
            bench.run("reencipher", [(key, "ecb", b"", free, "ecb", b"", block)]),
            bench.run("reencipher", [(free, "ecb", b"", key, "ecb", b"", block)]),
        ]
        assert {type(result) for [result] in tries} <= {bytes, KeyUsageError}
        allowed[mode] = "".join("+" if isinstance(result, bytes) else "-" for [result] in tries)
    none = dict.fromkeys("CGVX", "------")
    assert allowed == {"B": "++++++", "N": "++++++", "E": "+----+", "D": "-+--+-", **none}


def test_a_wrong_shape_is_a_bug_of_the_caller(bench: Workshop) -> None:
    key = data_key(bench, KEY, "AES")
    for item in ((key, "ecb", "none", b""), (key, "ecb", "none", None, bytes(16)), (key, "ecb", "none", b"", "text")):
        with pytest.raises((TypeError, ValueError)):
            bench.run("encipher", [item])


def test_one_byte_results_are_their_own(bench: Workshop) -> None:
    """Python shares its one-byte strings: none of them may be written to."""
    key = data_key(bench, KEY, "AES")
    for number in range(256):
        bench.one("encipher", key, "ctr", "none", bytes(16), bytes([number]))
        bench.one("decipher", key, "ctr", "none", bytes(16), bytes([number]))
    assert [bytes([number])[0] for number in range(256)] == list(range(256))


def test_over_and_over_is_what_it_says(bench: Workshop) -> None:
    key, block = data_key(bench, KEY, "SM4"), bytes.fromhex(KEY)
    for times in (1, 2, 4097):
        expected = block
        for _ in range(times):
            expected = other(SM4, KEY, "ecb", b"", expected)
        assert enciphered_over_and_over(bench, key, block, times) == expected
