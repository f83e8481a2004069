"""Derivation of DUKPT keys: the vectors, an implementation of its own beside it, keys in the token, what is refused."""

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsm import _core, _dukpt
from hsm.errors import HsmError, InvalidCommand, KeyUsageError
from hsm.vectors.__main__ import failures
from hsm.vectors.checks import VectorFailed
from hsm.vectors.dukpt import CHECKS
from hsm.vectors.table import ODD
from hsm.vectors.workshop import Workshop, workshop

TDES_BDK = "0123456789ABCDEFFEDCBA9876543210"
TDES_KSN = bytes.fromhex("FFFF9876543210E00001")
AES_BDK = "FEDCBA9876543210F1F1F1F1F1F1F1F1"
AES_KSN = bytes.fromhex("123456789012345600000001")

# Key type → (algorithm indicator, bits): X9.24-3:2017, 6.2 and table 3.
KEY_TYPES = {
    "TDES-2": (0, 128),
    "TDES-3": (1, 192),
    "AES-128": (2, 128),
    "AES-192": (3, 192),
    "AES-256": (4, 256),
    "HMAC-128": (5, 128),
    "HMAC-192": (5, 192),
    "HMAC-256": (5, 256),
}
PURPOSES = {
    "key-encryption": 0x0002,
    "pin": 0x1000,
    "mac-request": 0x2000,
    "mac-response": 0x2001,
    "mac-both": 0x2002,
    "data-request": 0x3000,
    "data-response": 0x3001,
    "data-both": 0x3002,
    "key-derivation": 0x8000,
}
VARIANTS = {
    "pin": "00000000000000FF",
    "mac-request": "000000000000FF00",
    "mac-both": "000000000000FF00",
    "mac-response": "00000000FF000000",
    "data-request": "0000000000FF0000",
    "data-both": "0000000000FF0000",
    "data-response": "000000FF00000000",
}
ONCE_A_MODULE = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def bench(token_directory: Path) -> Iterator[Workshop]:
    with workshop(token_directory) as made:
        yield made


# --- the standards again, in Python ----------------------------------------------------------------------------------


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def aes(key: bytes, block: bytes) -> bytes:
    return Cipher(AES(key), modes.ECB()).encryptor().update(block)


def tdes(key: bytes, data: bytes) -> bytes:
    return Cipher(TripleDES((key * 3)[:24]), modes.ECB()).encryptor().update(data)


def aes_step(key: bytes, usage: int, key_type: str, tail: bytes) -> bytes:
    algorithm, bits = KEY_TYPES[key_type]
    blocks = [
        aes(key, bytes([1, number]) + b"".join(each.to_bytes(2) for each in (usage, algorithm, bits)) + tail)
        for number in range(1, 1 + -(-bits // 128))
    ]
    return b"".join(blocks)[: bits // 8]


def aes_transaction_key(bdk: bytes, device: bytes, counter: int) -> bytes:
    own = f"AES-{8 * len(bdk)}"
    key = aes_step(bdk, 0x8001, own, device)
    reached = 0
    for bit in reversed(range(32)):
        if counter & 1 << bit:
            reached |= 1 << bit
            key = aes_step(key, 0x8000, own, device[4:] + reached.to_bytes(4))
    return key


MASK = bytes.fromhex("C0C0C0C000000000") * 2


def tdes_transaction_key(bdk: bytes, ksn: bytes) -> bytes:
    whole = int.from_bytes(ksn)
    device = (whole & ~0x1FFFFF).to_bytes(10)
    key = tdes(bdk, device[:8]) + tdes(xor(bdk, MASK), device[:8])
    register = int.from_bytes(device[2:])
    for bit in reversed(range(21)):
        if whole & 1 << bit:
            register |= 1 << bit
            halves = [
                xor(tdes(each[:8], xor(register.to_bytes(8), each[8:])), each[8:]) for each in (xor(key, MASK), key)
            ]
            key = b"".join(halves)
    return key


def tdes_working_key(transaction: bytes, purpose: str) -> bytes:
    variant = xor(transaction, bytes.fromhex(VARIANTS[purpose]) * 2)
    return tdes(variant, variant) if purpose.startswith("data") else variant


def counters(bits: int, most: int) -> st.SearchStrategy[int]:
    """Counters that a device uses: 1 to `most` one bits."""
    return st.sets(st.integers(0, bits - 1), min_size=1, max_size=most).map(lambda ones: sum(1 << bit for bit in ones))


def same(bench: Workshop, derived: _core.HostKey, value: bytes) -> bool:
    return derived.same_value(bench.key(bench.load("DUKPT_INITIAL", value.hex(), derived.kind)))


@ONCE_A_MODULE
@given(data=st.data(), length=st.sampled_from([16, 24, 32]), device=st.binary(min_size=8, max_size=8))
def test_aes_keys_are_those_of_the_standard(bench: Workshop, data: st.DataObject, length: int, device: bytes) -> None:
    bdk = data.draw(st.binary(min_size=length, max_size=length).filter(any))
    counter = data.draw(counters(32, 16))
    key_type = data.draw(
        st.sampled_from([name for name in KEY_TYPES if "TDES" in name or int(name[-3:]) <= 8 * length])
    )
    purpose = data.draw(st.sampled_from(sorted(PURPOSES)))
    if key_type.startswith("HMAC") or (purpose == "key-derivation" and not key_type.startswith("AES")):
        purpose = "mac-both"
    base, token = bench.key(bench.load("DUKPT_BASE", bdk.hex(), "AES")), bench.context.token
    ksn, transaction = device + counter.to_bytes(4), aes_transaction_key(bdk, device, counter)
    assert same(bench, _dukpt.derive_transaction_key(token, base, ksn, "derived"), transaction)
    expected = aes_step(transaction, PURPOSES[purpose], key_type, device[4:] + counter.to_bytes(4))
    derived = _dukpt.derive_working_key(token, base, ksn, key_type, purpose, "derived")
    assert same(bench, derived, expected)
    assert derived.kind == ("DES" if key_type.startswith("TDES") else key_type[:-4])


@ONCE_A_MODULE
@given(
    bdk=st.binary(min_size=16, max_size=16).filter(any),
    device=st.integers(0, 2**59 - 1),
    counter=counters(21, 10),
    purpose=st.sampled_from(sorted(VARIANTS)),
)
def test_tdes_keys_are_those_of_the_standard(
    bench: Workshop, bdk: bytes, device: int, counter: int, purpose: str
) -> None:
    base, token = bench.key(bench.load("DUKPT_BASE", bdk.hex())), bench.context.token
    ksn = (device << 21 | counter).to_bytes(10)
    transaction = tdes_transaction_key(bdk, ksn)
    assert same(bench, _dukpt.derive_transaction_key(token, base, ksn, "derived"), transaction)
    derived = _dukpt.derive_working_key(token, base, ksn, "TDES-2", purpose, "derived")
    assert same(bench, derived, tdes_working_key(transaction, purpose))


# --- vectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("category", "count"), [("dukpt_tdes", 79), ("dukpt_aes", 50)])
def test_every_vector_passes_and_none_is_odd(
    bench: Workshop, vectors: dict[str, list[dict[str, Any]]], category: str, count: int
) -> None:
    assert not {each["id"] for each in vectors[category]} & ODD.keys()
    outcomes = list(failures(bench, vectors[category]))
    assert [each for each in outcomes if each[1] is not None] == []
    assert len(outcomes) == count


def changed(text: str) -> str:
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def test_a_vector_with_any_output_changed_fails(bench: Workshop, vectors: dict[str, list[dict[str, Any]]]) -> None:
    for category, check in CHECKS.items():
        shapes = {tuple(each["outputs"]): each for each in vectors[category]}
        for vector in shapes.values():
            for name in vector["outputs"]:
                outputs = copy.deepcopy(vector["outputs"])
                if name == "working_keys":
                    key = next(iter(outputs[name]))
                    outputs[name][key] = changed(outputs[name][key])
                else:
                    outputs[name] = changed(outputs[name])
                with pytest.raises((VectorFailed, HsmError)):
                    check(bench, vector["inputs"], outputs)


# --- keys in the token -----------------------------------------------------------------------------------------------


def in_token(bench: Workshop, usage: str, value: bytes, kind: str = "AES") -> _core.TokenKey:
    token = bench.context.token
    handle = token.create_secret(
        _core.combine_host_key(usage, usage, [value, bytes(len(value))], kind), _core.PERMISSIONS[usage]
    )
    return _core.TokenKey(f"token/{usage}", usage, token, kind, handle, mode="X")


@pytest.mark.parametrize("length", [16, 24, 32])
def test_aes_keys_in_the_token_derive_as_those_on_the_host(bench: Workshop, length: int) -> None:
    token, value = bench.context.token, bytes(range(1, 1 + length))
    base = in_token(bench, "DUKPT_BASE", value)
    ksn = AES_KSN[:8] + (0xFFFF0000).to_bytes(4)
    device = AES_KSN[:8]
    initial_value = aes_step(value, 0x8001, f"AES-{8 * length}", device)
    transaction = aes_transaction_key(value, device, 0xFFFF0000)
    assert same(bench, _dukpt.derive_initial_key(token, base, ksn, "derived"), initial_value)
    for start in (base, in_token(bench, "DUKPT_INITIAL", initial_value)):
        assert same(bench, _dukpt.derive_transaction_key(token, start, ksn, "derived"), transaction)
        derived = _dukpt.derive_working_key(token, start, ksn, "AES-128", "pin", "derived")
        assert same(bench, derived, aes_step(transaction, 0x1000, "AES-128", ksn[4:]))


def test_a_refusal_gives_the_lock_of_the_token_back(bench: Workshop) -> None:
    base = in_token(bench, "DUKPT_BASE", bytes.fromhex(AES_BDK))
    for _ in range(2):
        with pytest.raises(InvalidCommand, match="stronger"):
            _dukpt.derive_working_key(bench.context.token, base, AES_KSN, "AES-256", "pin", "derived")


def test_tdes_keys_in_the_token_are_refused(bench: Workshop) -> None:
    base = in_token(bench, "DUKPT_BASE", bytes.fromhex(TDES_BDK), "DES")
    with pytest.raises(KeyUsageError, match="in the token"):
        _dukpt.derive_initial_key(bench.context.token, base, TDES_KSN, "derived")


# --- what is refused -------------------------------------------------------------------------------------------------


def tdes_ksn(counter: int) -> bytes:
    return (int.from_bytes(TDES_KSN) >> 21 << 21 | counter).to_bytes(10)


def aes_ksn(counter: int) -> bytes:
    return AES_KSN[:8] + counter.to_bytes(4)


@pytest.mark.parametrize("counter", [1, 0x1FF800, 0b1111111111, 0x100000])
def test_counters_of_tdes_devices(bench: Workshop, counter: int) -> None:
    base = bench.key(bench.load("DUKPT_BASE", TDES_BDK))
    _dukpt.derive_transaction_key(bench.context.token, base, tdes_ksn(counter), "derived")


@pytest.mark.parametrize("counter", [0, 0b11111111111, 0x1FFC00, 0x1FFFFF])
def test_counters_no_tdes_device_has(bench: Workshop, counter: int) -> None:
    base = bench.key(bench.load("DUKPT_BASE", TDES_BDK))
    with pytest.raises(InvalidCommand, match="counter"):
        _dukpt.derive_transaction_key(bench.context.token, base, tdes_ksn(counter), "derived")
    _dukpt.derive_initial_key(bench.context.token, base, tdes_ksn(counter), "of all counters")


@pytest.mark.parametrize("counter", [1, 0xFFFF, 0xFFFF0000, 0x80000000])
def test_counters_of_aes_devices(bench: Workshop, counter: int) -> None:
    base = bench.key(bench.load("DUKPT_BASE", AES_BDK, "AES"))
    _dukpt.derive_transaction_key(bench.context.token, base, aes_ksn(counter), "derived")


@pytest.mark.parametrize("counter", [0, 0x1FFFF, 0xFFFF8000, 0xFFFFFFFF])
def test_counters_no_aes_device_has(bench: Workshop, counter: int) -> None:
    base = bench.key(bench.load("DUKPT_BASE", AES_BDK, "AES"))
    with pytest.raises(InvalidCommand, match="counter"):
        _dukpt.derive_transaction_key(bench.context.token, base, aes_ksn(counter), "derived")
    _dukpt.derive_initial_key(bench.context.token, base, aes_ksn(counter), "of all counters")


@pytest.mark.parametrize(("value", "kind", "right"), [(TDES_BDK, "DES", 10), (AES_BDK, "AES", 12)])
@pytest.mark.parametrize("length", [0, 8, 9, 10, 11, 12, 13, 5000])
def test_the_length_of_a_ksn(bench: Workshop, value: str, kind: str, right: int, length: int) -> None:
    base = bench.key(bench.load("DUKPT_BASE", value, kind))
    derive = functools.partial(_dukpt.derive_transaction_key, bench.context.token, base, (b"\1" * 5000)[:length])
    if length == right:
        derive("derived")
    else:
        with pytest.raises(InvalidCommand, match=f"has {right} bytes"):
            derive("derived")


@pytest.mark.parametrize(
    ("bdk", "kind", "key_type", "purpose"),
    [
        (AES_BDK, "AES", "AES-192", "pin"),
        (AES_BDK, "AES", "AES-256", "pin"),
        (AES_BDK, "AES", "HMAC-192", "mac-both"),
        (AES_BDK + AES_BDK[:16], "AES", "AES-256", "pin"),
        (AES_BDK, "AES", "DES", "pin"),
        (AES_BDK, "AES", "AES-128", "mac"),
        (AES_BDK, "AES", "HMAC-128", "pin"),
        (AES_BDK, "AES", "HMAC-128", "data-both"),
        (AES_BDK, "AES", "HMAC-128", "key-encryption"),
        (AES_BDK, "AES", "TDES-2", "key-derivation"),
        (TDES_BDK, "DES", "TDES-3", "pin"),
        (TDES_BDK, "DES", "AES-128", "pin"),
        (TDES_BDK, "DES", "HMAC-128", "mac-request"),
        (TDES_BDK, "DES", "TDES-2", "key-encryption"),
        (TDES_BDK, "DES", "TDES-2", "key-derivation"),
    ],
)
def test_keys_the_standards_do_not_have(bench: Workshop, bdk: str, kind: str, key_type: str, purpose: str) -> None:
    base, ksn = bench.key(bench.load("DUKPT_BASE", bdk, kind)), AES_KSN if kind == "AES" else TDES_KSN
    with pytest.raises(InvalidCommand):
        _dukpt.derive_working_key(bench.context.token, base, ksn, key_type, purpose, "derived")


@pytest.mark.parametrize(
    ("usage", "value", "kind", "mode", "error"),
    [
        ("DUKPT_BASE", TDES_BDK[:16], "DES", "X", InvalidCommand),
        ("DUKPT_BASE", TDES_BDK + TDES_BDK[:16], "DES", "X", InvalidCommand),
        ("DUKPT_INITIAL", TDES_BDK + TDES_BDK[:16], "DES", "X", InvalidCommand),
        ("DUKPT_BASE", TDES_BDK, "SM4", "X", InvalidCommand),
        ("DUKPT_BASE", TDES_BDK, "HMAC", "X", InvalidCommand),
        ("DUKPT_BASE", TDES_BDK, "DES", "B", KeyUsageError),
        ("PIN_KEY", TDES_BDK, "DES", "N", KeyUsageError),
    ],
)
def test_base_keys_that_are_none(
    bench: Workshop, usage: str, value: str, kind: str, mode: str, error: type[HsmError]
) -> None:
    base = bench.key(bench.load(usage, value, kind, mode))
    with pytest.raises(error):
        _dukpt.derive_transaction_key(bench.context.token, base, TDES_KSN, "derived")


def test_derived_keys_have_the_usage_of_their_purpose(bench: Workshop) -> None:
    token, base = bench.context.token, bench.key(bench.load("DUKPT_BASE", AES_BDK, "AES"))
    initial = _dukpt.derive_initial_key(token, base, AES_KSN, "initial")
    transaction = _dukpt.derive_transaction_key(token, base, AES_KSN, "transaction")
    pin = _dukpt.derive_working_key(token, base, AES_KSN, "TDES-3", "pin", "pin")
    assert (initial.usage, initial.mode, initial.length, initial.label) == ("DUKPT_INITIAL", "X", 16, "initial")
    assert (pin.usage, pin.kind, pin.length) == ("PIN_KEY", "DES", 24)
    for none in (transaction, _dukpt.derive_working_key(token, base, AES_KSN, "AES-128", "key-derivation", "further")):
        with pytest.raises(KeyUsageError, match="may not derive"):
            _dukpt.derive_transaction_key(token, none, AES_KSN, "derived")
    with pytest.raises(KeyUsageError):
        _dukpt.derive_initial_key(token, initial, AES_KSN, "derived")
