"""MACs of every kind against other implementations, what each key may do, and the bound on failures."""

import hmac
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psec.mac
import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.hmac import HMAC
from hypothesis import given
from hypothesis import strategies as st

from hsm import algorithms
from hsm.commands import COMMANDS, Context
from hsm.errors import InvalidCommand, KeyNotFound, KeyUsageError, MacMismatch, TooManyFailures
from hsm.failure_budget import FailureBudgets
from hsm.guard import GuardLimits
from hsm.vectors.mac import CHECKS
from hsm.vectors.workshop import Workshop, workshop

SINGLE = "0123456789ABCDEF"
DOUBLE = SINGLE + "FEDCBA9876543210"
TRIPLE = DOUBLE + "89ABCDEF01234567"
LONG = DOUBLE + "00112233445566778899AABBCCDDEEFF"
DATA = b"2000 0123456789 000000 001"
messages = st.binary(max_size=100)


@pytest.fixture(scope="module")
def bench(token_directory: Path) -> Iterator[Workshop]:
    with workshop(token_directory) as made:
        yield made


@pytest.mark.parametrize("category", sorted(CHECKS))
def test_vectors(bench: Workshop, vectors: Any, category: str) -> None:
    for vector in vectors[category]:
        CHECKS[category](bench, vector["inputs"], vector["outputs"])


@cache
def mac_key(bench: Workshop, key_hex: str, kind: str) -> str:
    return bench.load("MAC_KEY", key_hex, kind)


def mac(bench: Workshop, key_hex: str, kind: str, algorithm: str, data: bytes) -> bytes:
    """Made and verified."""
    key = mac_key(bench, key_hex, kind)
    made: bytes = bench.one("macs", key, algorithm, data)
    bench.one("verify_macs", key, algorithm, data, made)
    return made


@pytest.mark.parametrize(
    ("key", "kind", "cipher"),
    [
        (TRIPLE, "DES", TripleDES),
        (DOUBLE, "AES", AES),
        (LONG[:48], "AES", AES),
        (LONG, "AES", AES),
        (DOUBLE, "SM4", SM4),
    ],
)
@given(data=messages)
def test_cmac_is_that_of_cryptography(bench: Workshop, key: str, kind: str, cipher: Any, data: bytes) -> None:
    other = CMAC(cipher(bytes.fromhex(key)))
    other.update(data)
    expected = other.finalize()
    assert mac(bench, key, kind, algorithms.CMAC, data) == expected
    assert mac(bench, key, kind, algorithms.CMAC_8, data) == expected[:8]
    assert mac(bench, key, kind, "cmac-4", data) == expected[:4]


@pytest.mark.parametrize("key", [DOUBLE, LONG, LONG + LONG])
@given(data=messages)
def test_hmac_is_that_of_others(bench: Workshop, key: str, data: bytes) -> None:
    other = HMAC(bytes.fromhex(key), SM3())
    other.update(data)
    assert mac(bench, key, "HMAC", algorithms.HMAC_SM3, data) == (expected := other.finalize())
    assert mac(bench, key, "HMAC", "hmac-sm3-16", data) == expected[:16]
    expected = hmac.digest(bytes.fromhex(key), data, "sha256")
    assert mac(bench, key, "HMAC", algorithms.HMAC_SHA256, data) == expected
    assert mac(bench, key, "HMAC", "hmac-sha256-16", data) == expected[:16]


@pytest.mark.filterwarnings("ignore:TripleDES has been moved")
@pytest.mark.parametrize("padding", [1, 2, 3])
@given(data=messages.filter(bool))
def test_chained_macs_are_those_of_psec(bench: Workshop, padding: int, data: bytes) -> None:
    aes = psec.mac.generate_cbc_mac(bytes.fromhex(LONG), data, padding, algorithm=psec.mac.Algorithm.AES)
    assert mac(bench, LONG, "AES", f"iso9797-alg1-pad{padding}", data) == aes
    assert mac(bench, LONG, "AES", f"iso9797-alg1-pad{padding}-8", data) == aes[:8]
    des = psec.mac.generate_cbc_mac(bytes.fromhex(TRIPLE), data, padding)
    assert mac(bench, TRIPLE, "DES", f"iso9797-alg1-pad{padding}", data) == des
    assert mac(bench, TRIPLE, "DES", f"iso9797-alg1-pad{padding}-4", data) == des[:4]


def test_chained_mac_with_sm4_is_the_last_block_of_cbc(bench: Workshop) -> None:
    key = bench.load("DATA_KEY", DOUBLE, "SM4")
    for length in (1, 15, 16, 17, 40):
        data = bytes(range(length))
        blocks = data + bytes(-length % 16)
        expected = bench.one("encipher", key, "cbc", "none", bytes(16), blocks)[-16:]
        assert mac(bench, DOUBLE, "SM4", "iso9797-alg1-pad1", data) == expected
    assert mac(bench, DOUBLE, "SM4", "iso9797-alg1-pad1", b"") == bench.one(
        "encipher", key, "ecb", "none", b"", bytes(16)
    )


def test_terminal_mac_takes_single_and_double_keys_and_any_length(bench: Workshop) -> None:
    for key in (SINGLE, DOUBLE):
        for data in (b"", b"\x30", bytes(8), DATA):
            whole = mac(bench, key, "DES", algorithms.CUP_ECB_BINARY, data)
            assert mac(bench, key, "DES", algorithms.CUP_ECB, data) == whole[:4].hex().upper().encode()
    assert mac(bench, DOUBLE, "DES", "cup-ecb", b"") == mac(bench, DOUBLE, "DES", "cup-ecb", bytes(16))


@pytest.mark.parametrize(
    ("algorithm", "key", "kind"),
    [
        ("cmac", SINGLE, "DES"),
        ("cmac", DOUBLE, "HMAC"),
        ("hmac-sha256", DOUBLE, "AES"),
        ("hmac-sm3", DOUBLE, "SM4"),
        ("hmac-sm3", DOUBLE, "DES"),
        ("iso9797-alg1-pad1", DOUBLE, "HMAC"),
        ("iso9797-alg3-pad1", SINGLE, "DES"),
        ("iso9797-alg3-pad2", DOUBLE, "AES"),
        ("iso9797-alg3-pad2-4", LONG, "AES"),
        ("cup-financial", DOUBLE, "AES"),
        ("cup-key-reset", DOUBLE, "SM4"),
        ("cup-ecb", DOUBLE, "SM4"),
        ("cup-ecb-binary", DOUBLE, "HMAC"),
        ("cmac-5", DOUBLE, "AES"),
        ("cmac-16", DOUBLE, "AES"),
        ("cmac-", DOUBLE, "AES"),
        ("CMAC", DOUBLE, "AES"),
        ("hmac-sha256-4", DOUBLE, "HMAC"),
        ("cup-financial-4", DOUBLE, "DES"),
    ],
)
def test_algorithm_and_key_must_fit(bench: Workshop, algorithm: str, key: str, kind: str) -> None:
    label = bench.load("MAC_KEY", key, kind)
    good = ("hmac-sm3" if kind == "HMAC" else "iso9797-alg1-pad1", b"")
    results = bench.run("macs", [(label, algorithm, DATA), (label, *good)])
    assert [type(each) for each in results] == [InvalidCommand, bytes]
    [result] = bench.run("verify_macs", [(label, algorithm, DATA, b"")])
    assert isinstance(result, InvalidCommand)


def test_mode_of_use(bench: Workshop) -> None:
    done = {}
    for mode in "CGVNSXBDE":
        key = bench.load("MAC_KEY", DOUBLE, "AES", mode)
        generated = bench.run("macs", [(key, "cmac", DATA)])[0]
        checked = bench.run("verify_macs", [(key, "cmac", DATA, mac(bench, DOUBLE, "AES", "cmac", DATA))])[0]
        assert generated.__class__ in (bytes, KeyUsageError)
        done[mode] = (isinstance(generated, bytes), checked is None)
    assert {mode for mode, (generates, _) in done.items() if generates} == set("CGNS")
    assert {mode for mode, (_, checks) in done.items() if checks} == set("CVN")


def test_a_mac_of_another_length_never_verifies(bench: Workshop) -> None:
    for algorithm, kind in (("cmac", "AES"), ("cmac-8", "AES"), ("cmac-4", "SM4"), ("hmac-sha256", "HMAC")):
        key = bench.load("MAC_KEY", DOUBLE, kind)
        whole = bench.one("macs", key, algorithm, DATA)
        longer = bench.one("macs", key, algorithm.removesuffix("-4").removesuffix("-8"), DATA)
        tries = [b"", whole[:-1], whole[:4], whole[:2], whole + b"\0", longer + b"\0", longer]
        wrong = [each for each in tries if each != whole]
        results = bench.run("verify_macs", [(key, algorithm, DATA, each) for each in [*wrong, whole]])
        assert [type(each) for each in results] == [*[MacMismatch] * len(wrong), type(None)]


def test_every_bit_counts(bench: Workshop) -> None:
    key = bench.load("MAC_KEY", DOUBLE, "SM4")
    whole = bench.one("macs", key, "cmac", DATA)
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MacMismatch, match=r"^a MAC does not verify under"):
            bench.one("verify_macs", key, "cmac", DATA, bytes(changed))


def test_previous_key_verifies_and_makes_nothing(bench: Workshop) -> None:
    new, old = bench.load("MAC_KEY", DOUBLE, "AES"), bench.load("MAC_KEY", LONG, "AES")
    before = bench.one("macs", old, "cmac", DATA)
    bench.context.keys[new + algorithms.PREVIOUS] = bench.context.keys[old]
    bench.one("verify_macs", new, "cmac", DATA, before)
    assert bench.one("macs", new, "cmac", DATA) != before


# --- the bound on failures --------------------------------------------------------------------------------------------


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bounded(bench: Workshop, clock: Clock) -> Context:
    """Five failures, then two a second."""
    limits = GuardLimits(burst=5, per_second=2.0)
    return Context(bench.context.token, bench.context.keys, mac_failures=FailureBudgets(limits, clock))


def verify(context: Context, *items: tuple[str, str, bytes, bytes]) -> list[type]:
    return [type(each) for each in COMMANDS["verify_macs"](context, items)]


def test_guessing_runs_dry_and_recovers(bench: Workshop, bounded: Context, clock: Clock) -> None:
    key = bench.load("MAC_KEY", DOUBLE)
    data = (key, "cup-financial", DATA)
    good, bad = (*data, bench.one("macs", *data)), (*data, b"00000000")
    assert verify(bounded, good, *[bad] * 6, good) == [type(None), *[MacMismatch] * 5, *[TooManyFailures] * 2]
    assert verify(bounded, good) == [TooManyFailures]
    clock.now_s += 0.5
    assert verify(bounded, good, bad, good) == [type(None), MacMismatch, TooManyFailures]
    clock.now_s += 3600
    assert verify(bounded, *[bad] * 6) == [*[MacMismatch] * 5, TooManyFailures]


def test_one_large_batch_gets_no_more_guesses(bench: Workshop, bounded: Context) -> None:
    key = bench.load("MAC_KEY", DOUBLE)
    results = verify(bounded, *[(key, "cmac-4", DATA, number.to_bytes(4, "big")) for number in range(1000)])
    assert results.count(MacMismatch) == 5
    assert results.count(TooManyFailures) == 995


def test_failures_of_one_key_are_not_those_of_another(bench: Workshop, bounded: Context) -> None:
    one, other = bench.load("MAC_KEY", DOUBLE), bench.load("MAC_KEY", DOUBLE)
    verify(bounded, *[(one, "cmac", DATA, b"")] * 9)
    good = bench.one("macs", other, "cmac", DATA)
    assert verify(bounded, (one, "cmac", DATA, good), (other, "cmac", DATA, good)) == [TooManyFailures, type(None)]


def test_only_wrong_macs_count(bench: Workshop, bounded: Context) -> None:
    key = bench.load("MAC_KEY", DOUBLE)
    items = [("nobody", "cmac", DATA, b""), (key, "nothing", DATA, b""), (key, "cmac", bytes(65537), b"")] * 3
    assert set(verify(bounded, *items)) == {KeyNotFound, InvalidCommand}
    assert bounded.mac_failures.untouched(5)


def test_a_key_that_recovered_is_forgotten(bench: Workshop, bounded: Context, clock: Clock) -> None:
    key = bench.load("MAC_KEY", DOUBLE)
    verify(bounded, (key, "cmac", DATA, b""))
    assert not bounded.mac_failures.untouched(1)
    clock.now_s += 0.5
    assert bounded.mac_failures.untouched(1)
