"""Format-preserving encryption against a plain writing-out of SP 800-38G, and every bad input."""

import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import InvalidCommand, KeyNotFound, KeyUsageError
from hsm.vectors.data import CHECKS
from hsm.vectors.workshop import Workshop, workshop

KEYS = [
    "2B7E151628AED2A6ABF7158809CF4F3C",
    "2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F",
    "2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94",
]
DIGITS = string.digits + string.ascii_lowercase
PAN = "4111111111111111"
TWEAK = bytes.fromhex("D8E7920AFA330A")


@pytest.fixture(scope="module")
def bench(token_directory: Path) -> Iterator[Workshop]:
    with workshop(token_directory) as made:
        yield made


@cache
def fpe_key(bench: Workshop, key_hex: str = KEYS[0]) -> str:
    return bench.load("FPE_KEY", key_hex, "AES")


@pytest.mark.parametrize("category", ["ff1", "ff3_1"])
def test_vectors(bench: Workshop, vectors: Any, category: str) -> None:
    for vector in vectors[category]:
        CHECKS[category](bench, vector["inputs"], vector["outputs"])


# --- SP 800-38G, step by step -----------------------------------------------------------------------------------------


def aes(key: bytes, data: bytes) -> bytes:
    encryptor = Cipher(AES(key), modes.ECB()).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def num(numerals: list[int], radix: int) -> int:
    value = 0
    for each in numerals:
        value = value * radix + each
    return value


def written(value: int, radix: int, length: int) -> list[int]:
    numerals = []
    for _ in range(length):
        value, last = divmod(value, radix)
        numerals.append(last)
    return numerals[::-1]


def ff1(key: bytes, tweak: bytes, radix: int, text: list[int]) -> list[int]:
    """Algorithm 7."""
    n, t = len(text), len(tweak)
    u = n // 2
    v = n - u
    a, b = text[:u], text[u:]
    b_bytes = ((radix**v - 1).bit_length() + 7) // 8
    d = 4 * -(-b_bytes // 4) + 4
    p = b"\1\2\1" + radix.to_bytes(3, "big") + bytes([10, u % 256]) + n.to_bytes(4, "big") + t.to_bytes(4, "big")
    for i in range(10):
        q = tweak + bytes((-t - b_bytes - 1) % 16) + bytes([i]) + num(b, radix).to_bytes(b_bytes, "big")
        r = bytes(16)
        for start in range(0, len(p + q), 16):
            r = aes(key, bytes(x ^ y for x, y in zip(r, (p + q)[start : start + 16], strict=True)))
        s = r
        for j in range(1, -(-d // 16)):
            s += aes(key, bytes(x ^ y for x, y in zip(r, j.to_bytes(16, "big"), strict=True)))
        m = u if i % 2 == 0 else v
        c = (num(a, radix) + int.from_bytes(s[:d], "big")) % radix**m
        a, b = b, written(c, radix, m)
    return a + b


def ff3_1(key: bytes, tweak: bytes, radix: int, text: list[int]) -> list[int]:
    """Algorithm 9."""
    n = len(text)
    v = n // 2
    u = n - v
    a, b = text[:u], text[u:]
    bits = f"{int.from_bytes(tweak, 'big'):056b}"
    left, right = int(bits[:28] + "0000", 2), int(bits[32:] + bits[28:32] + "0000", 2)
    for i in range(8):
        m, w = (u, right) if i % 2 == 0 else (v, left)
        p = (w ^ i).to_bytes(4, "big") + num(b[::-1], radix).to_bytes(12, "big")
        s = aes(key[::-1], p[::-1])[::-1]
        c = (num(a[::-1], radix) + int.from_bytes(s, "big")) % radix**m
        a, b = b, written(c, radix, m)[::-1]
    return a + b


def longest_half(radix: int) -> int:
    length = 0
    while radix ** (length + 1) <= 2**96:
        length += 1
    return length


def shortest_text(radix: int) -> int:
    length = 2
    while radix**length < 1_000_000:
        length += 1
    return length


@given(data=st.data())
def test_any_radix_and_length_as_the_standard_says(bench: Workshop, data: st.DataObject) -> None:
    radix = data.draw(st.sampled_from([2, 3, 10, 16, 26, 36, 62, 64, 100, 255, 256]))
    length = data.draw(st.integers(shortest_text(radix), 2 * longest_half(radix)))
    numerals = data.draw(st.lists(st.integers(0, radix - 1), min_size=length, max_size=length))
    key_hex = data.draw(st.sampled_from(KEYS))
    alphabet = "".join(chr(0x4E00 + index) for index in range(radix)) if radix > 36 else DIGITS[:radix]
    text = "".join(alphabet[each] for each in numerals)
    long_tweak = data.draw(st.binary(max_size=256))
    short_tweak = data.draw(st.binary(min_size=7, max_size=7))
    key, value = fpe_key(bench, key_hex), bytes.fromhex(key_hex)
    for algorithm, tweak, expected in (
        ("ff1", long_tweak, ff1(value, long_tweak, radix, numerals)),
        ("ff3-1", short_tweak, ff3_1(value, short_tweak, radix, numerals)),
    ):
        enciphered = bench.one("fpe_encipher", key, algorithm, tweak, alphabet, text)
        assert enciphered == "".join(alphabet[each] for each in expected)
        assert bench.one("fpe_decipher", key, algorithm, tweak, alphabet, enciphered) == text
        if radix <= 36:
            assert bench.one("fpe_encipher", key, algorithm, tweak, radix, text) == enciphered


@pytest.mark.parametrize("algorithm", ["ff1", "ff3-1"])
def test_extreme_values(bench: Workshop, algorithm: str) -> None:
    for radix, length in ((2, 192), (2, 191), (10, 56), (16, 48), (36, 36), (10, 6), (36, 4)):
        for text in ("0" * length, DIGITS[radix - 1] * length):
            enciphered = bench.one("fpe_encipher", fpe_key(bench), algorithm, TWEAK, radix, text)
            numerals = [DIGITS.index(each) for each in text]
            cipher = ff1 if algorithm == "ff1" else ff3_1
            expected = cipher(bytes.fromhex(KEYS[0]), TWEAK, radix, numerals)
            assert [DIGITS.index(each) for each in enciphered] == expected
            assert bench.one("fpe_decipher", fpe_key(bench), algorithm, TWEAK, radix, enciphered) == text


@pytest.mark.parametrize("algorithm", ["ff1", "ff3-1"])
def test_every_text_of_a_domain_has_one_of_its_own(bench: Workshop, algorithm: str) -> None:
    texts = [f"{number:06}" for number in range(0, 1_000_000, 97)]
    items = [(fpe_key(bench), algorithm, TWEAK, 10, each) for each in texts]
    enciphered = bench.run("fpe_encipher", items)
    assert len(set(enciphered)) == len(texts)
    assert bench.run("fpe_decipher", [(*item[:4], each) for item, each in zip(items, enciphered, strict=True)]) == texts


def test_keys_may_change_within_a_batch(bench: Workshop) -> None:
    items = [(fpe_key(bench, KEYS[index % 3]), "ff3-1", TWEAK, 10, PAN) for index in (0, 1, 2, 2, 0, 1)]
    singles = [bench.one("fpe_encipher", *each) for each in items]
    assert bench.run("fpe_encipher", items) == singles
    assert len(set(singles)) == 3


def test_tweak_and_algorithm_matter(bench: Workshop) -> None:
    key = fpe_key(bench)
    tries = [("ff1", b""), ("ff1", TWEAK), ("ff1", TWEAK + b"\0"), ("ff3-1", TWEAK), ("ff3-1", bytes(7))]
    assert len({bench.one("fpe_encipher", key, *each, 10, PAN) for each in tries}) == len(tries)


@pytest.mark.parametrize(
    ("algorithm", "tweak", "alphabet", "text"),
    [
        ("ff1", 7, 10, "12345"),
        ("ff1", 7, 10, ""),
        ("ff1", 7, 10, "1"),
        ("ff1", 7, 2, "1" * 19),
        ("ff1", 7, 36, "abc"),
        ("ff1", 7, 10, "1" * 57),
        ("ff1", 7, 10, "1" * 58),
        ("ff1", 7, 2, "1" * 193),
        ("ff1", 7, 10, "1" * 100_000),
        ("ff1", 257, 10, PAN),
        ("ff3-1", 7, 10, "12345"),
        ("ff3-1", 7, 10, "1" * 57),
        ("ff3-1", 6, 10, PAN),
        ("ff3-1", 8, 10, PAN),
        ("ff3-1", 0, 10, PAN),
        ("ff3", 7, 10, PAN),
        ("FF1", 7, 10, PAN),
        ("", 7, 10, PAN),
        ("ff1", 7, 10, "411111111111111a"),
        ("ff1", 7, 10, "4111 1111 1111"),
        ("ff1", 7, 10, "٤١١١١١١١١١١"),
        ("ff1", 7, 36, "ABCDEFGHIJ"),
        ("ff1", 7, 9, "123456789"),
        ("ff1", 7, "abc", "abcabcabcabcabcd"),
        ("ff1", 7, "", PAN),
        ("ff1", 7, "1", "1" * 30),
        ("ff1", 7, "01234567889", PAN),
        ("ff1", 7, "".join(map(chr, range(0x4E00, 0x4E00 + 257))), chr(0x4E00) * 10),
        ("ff1", 7, 1, "0" * 16),
        ("ff1", 7, 37, PAN),
        ("ff1", 7, -10, PAN),
        ("ff1", 7, 10**30, PAN),
    ],
)
def test_bad_items(bench: Workshop, algorithm: str, tweak: int, alphabet: int | str, text: str) -> None:
    good = (fpe_key(bench), "ff1", b"", 10, PAN)
    bad = (fpe_key(bench), algorithm, bytes(tweak), alphabet, text)
    for command in ("fpe_encipher", "fpe_decipher"):
        results = bench.run(command, [good, bad, good])
        assert [type(each) for each in results] == [str, InvalidCommand, str]
        assert len(text) < 2 or text not in str(results[1])


def test_usage_and_mode_of_use(bench: Workshop) -> None:
    item = ("ff1", b"", 10, PAN)
    assert isinstance(bench.run("fpe_encipher", [("nobody", *item)])[0], KeyNotFound)
    for usage in ("DATA_KEY", "MAC_KEY"):
        key = bench.load(usage, KEYS[0], "AES")
        assert isinstance(bench.run("fpe_encipher", [(key, *item)])[0], KeyUsageError)
    for kind in ("DES", "SM4", "HMAC"):
        key = bench.load("FPE_KEY", KEYS[0], kind)
        assert isinstance(bench.run("fpe_encipher", [(key, *item)])[0], InvalidCommand)
    for mode, encipher, decipher in (("E", str, KeyUsageError), ("D", KeyUsageError, str), ("B", str, str)):
        key = bench.load("FPE_KEY", KEYS[0], "AES", mode)
        assert isinstance(bench.run("fpe_encipher", [(key, *item)])[0], encipher)
        assert isinstance(bench.run("fpe_decipher", [(key, *item)])[0], decipher)


@pytest.mark.parametrize(
    "item", [("ff1", b"", 10), ("ff1", None, 10, PAN), ("ff1", b"", None, PAN), ("ff1", b"", 10, None)]
)
def test_a_wrong_shape_is_a_bug_of_the_caller(bench: Workshop, item: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        bench.run("fpe_encipher", [(fpe_key(bench), *item)])
