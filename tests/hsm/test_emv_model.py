"""Every EMV command against a second implementation in plain Python, over cards, transactions and keys at random."""

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm.commands import emv
from hsm.errors import CryptogramMismatch
from hsm.token import open_token
from hsm.vectors.workshop import Workshop

CRYPTOGRAM_DERIVATIONS = (
    emv.CARD_KEY,
    emv.EMV_COMMON,
    emv.MASTERCARD_SKD,
    emv.EMV2000_TREE_4_8,
    emv.EMV2000_TREE_2_16,
)
SCRIPT_DERIVATIONS = (
    emv.EMV_COMMON,
    emv.VISA_SECURE_MESSAGING,
    emv.EMV2000_TREE_4_8,
    emv.EMV2000_TREE_2_16,
)
VALUES = {
    "EMV_CRYPTOGRAM": "0123456789ABCDEFFEDCBA9876543210",
    "EMV_INTEGRITY": "FEDCBA98765432100123456789ABCDEF",
    "EMV_CONFIDENTIALITY": "89ABCDEF0123456776543210FEDCBA98",
    "EMV_DYNAMIC_NUMBER": "A4A84F83C825CDB05723AD197989DCAB",
    "PIN_KEY": "1C2D3E4F5A6B7C8D9EAFB0C1D2E3F405",
}


# --- the second implementation ----------------------------------------------------------------------------------------


def des(key: bytes, data: bytes, *, decipher: bool = False) -> bytes:
    """Triple DES in ECB; K K K for 8 bytes of key, K1 K2 K1 for 16."""
    cipher = Cipher(TripleDES((key * 3)[:24]), modes.ECB())
    return (cipher.decryptor() if decipher else cipher.encryptor()).update(data)


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def odd_parity(key: bytes) -> bytes:
    return bytes(byte & 0xFE | (byte >> 1).bit_count() % 2 ^ 1 for byte in key)


def decimal(hexadecimal: str) -> str:
    digits = [each for each in hexadecimal if each in "0123456789"]
    letters = [str("abcdef".index(each)) for each in hexadecimal if each in "abcdef"]
    return "".join(digits + letters)


def model_card_key(issuer: bytes, option: str, pan: str, psn: str) -> bytes:
    digits = pan + (psn or "00")
    if option == "B" and len(pan) > 16:
        packed = bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)
        half = bytes.fromhex(decimal(hashlib.sha1(packed).hexdigest())[:16])
    else:
        half = bytes.fromhex(digits.rjust(16, "0")[-16:])
    return odd_parity(des(issuer, half) + des(issuer, xor(half, b"\xff" * 8)))


def model_tree(card: bytes, atc: bytes, branches: int, height: int) -> bytes:
    """By the recursion of the standard: a node of a level from its parent and grandparent."""

    @functools.cache
    def node(level: int, number: int) -> bytes:
        if level == 0:
            return card
        grandparent = node(level - 2, number // branches**2) if level > 1 else bytes(16)
        step = bytes(7) + bytes([number % branches])
        left = xor(grandparent[:8], step)
        right = xor(xor(grandparent[8:], step), bytes(7) + b"\xf0")
        parent = node(level - 1, number // branches)
        return des(parent, left) + des(parent, right)

    number = int.from_bytes(atc)
    return odd_parity(xor(node(height, number), node(height - 2, number // branches**2)))


def model_common(card: bytes, field: bytes) -> bytes:
    return odd_parity(b"".join(des(card, field[:2] + third + field[3:]) for third in (b"\xf0", b"\x0f")))


def model_session_key(card: bytes, derivation: str, atc: bytes, un: bytes) -> bytes:
    match derivation:
        case emv.CARD_KEY:
            return card
        case emv.EMV_COMMON:
            return model_common(card, atc + bytes(6))
        case emv.MASTERCARD_SKD:
            return model_common(card, atc + bytes(2) + un)
        case emv.EMV2000_TREE_4_8:
            return model_tree(card, atc, 4, 8)
        case _:
            return model_tree(card, atc, 2, 16)


def model_script_key(card: bytes, derivation: str, diversifier: bytes) -> bytes:
    match derivation:
        case emv.EMV_COMMON:
            return model_common(card, diversifier)
        case emv.VISA_SECURE_MESSAGING:
            return xor(card, bytes(6) + diversifier + bytes(6) + xor(diversifier, b"\xff\xff"))
        case _:
            return model_session_key(card, derivation, diversifier, b"")


def pad(data: bytes, method: int) -> bytes:
    data += b"\x80" if method == 2 else b""
    return data + bytes(-len(data) % 8)


def model_mac(key: bytes, data: bytes, method: int = 2) -> bytes:
    padded, state = pad(data, method), bytes(8)
    for offset in range(0, len(padded), 8):
        state = des(key[:8], xor(state, padded[offset : offset + 8]))
    return des(key[:8], des(key[8:], state, decipher=True))


def model_encipher(key: bytes, encipherment: str, data: bytes) -> bytes:
    if encipherment == "visa":
        return des(key, pad(bytes([len(data)]) + data, 2))
    padded = data if encipherment == "mastercard" and len(data) % 8 == 0 else pad(data, 2)
    cipher = Cipher(TripleDES((key * 3)[:24]), modes.CBC(bytes(8)))
    return cipher.encryptor().update(padded)


def model_pin_block(pin_format: int, pin: str, pan: str, filler: str) -> bytes:
    """Clear, of format 0, 1, 2 or 3; filler: 14 characters that the format allows."""
    field = bytes.fromhex(f"{pin_format}{len(pin):X}{pin}{filler[len(pin) :]}")
    return xor(field, bytes.fromhex("0000" + pan[:-1][-12:].rjust(12, "0"))) if pin_format in (0, 3) else field


# --- strategies -------------------------------------------------------------------------------------------------------


def digits(least: int, most: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=least, max_size=most)


CARDS = st.tuples(st.sampled_from("AB"), digits(12, 19), st.one_of(st.just(""), digits(2, 2)))
ATCS = st.binary(min_size=2, max_size=2)
UNS = st.binary(min_size=4, max_size=4)
SCRIPT_SESSIONS = st.sampled_from(SCRIPT_DERIVATIONS).flatmap(
    lambda name: st.tuples(st.just(name), st.binary(min_size=8, max_size=8) if name == emv.EMV_COMMON else ATCS)
)
ENCIPHERMENTS = st.sampled_from(("visa", "mastercard", "emv"))
FILLERS = {0: "F" * 14, 1: "0123456789ABCD", 3: "ABCDEFFEDCBAAB"}

many = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def bench(token_directory: Path) -> Iterator[Workshop]:
    with open_token(token_directory) as token:
        yield Workshop(token.core)


@pytest.fixture(scope="module")
def labels(bench: Workshop) -> dict[str, str]:
    return {usage: bench.load(usage, value) for usage, value in VALUES.items()}


def card_key(usage: str, card: tuple[str, str, str]) -> bytes:
    return model_card_key(bytes.fromhex(VALUES[usage]), *card)


# --- tests ------------------------------------------------------------------------------------------------------------


def test_the_model_makes_a_published_cryptogram() -> None:
    data = bytes.fromhex("000000010000000000001000084000000010800840980704001111111158003456A08003242000")
    card = model_card_key(bytes.fromhex("12345678" * 4), "A", "1234567890123456", "00")
    assert model_mac(model_common(card, bytes.fromhex("3456") + bytes(6)), data).hex() == "55be45dd2c9e0cbf"


@many
@given(CARDS, st.sampled_from(CRYPTOGRAM_DERIVATIONS), ATCS, UNS, st.sampled_from((1, 2)), st.binary(min_size=1))
def test_cryptograms(
    bench: Workshop,
    labels: dict[str, str],
    card: tuple[str, str, str],
    derivation: str,
    atc: bytes,
    un: bytes,
    padding: int,
    data: bytes,
) -> None:
    item = (labels["EMV_CRYPTOGRAM"], *card, derivation, atc, un, padding, data)
    session = model_session_key(card_key("EMV_CRYPTOGRAM", card), derivation, atc, un)
    expected = model_mac(session, data, padding)
    assert bench.one("generate_cryptograms", *item) == expected
    assert bench.run("verify_cryptograms", [(*item, expected)]) == [None]
    [refused] = bench.run("verify_cryptograms", [(*item, xor(expected, bytes(7) + b"\x01"))])
    assert isinstance(refused, CryptogramMismatch)


@many
@given(
    CARDS,
    st.sampled_from(CRYPTOGRAM_DERIVATIONS),
    st.sampled_from(CRYPTOGRAM_DERIVATIONS),
    ATCS,
    UNS,
    st.one_of(
        st.tuples(st.just(1), st.binary(min_size=2, max_size=2), st.just(b"")),
        st.tuples(st.just(2), st.binary(min_size=4, max_size=4), st.binary(max_size=8)),
    ),
)
def test_responses(
    bench: Workshop,
    labels: dict[str, str],
    card: tuple[str, str, str],
    derivation: str,
    response_derivation: str,
    atc: bytes,
    un: bytes,
    response: tuple[int, bytes, bytes],
) -> None:
    key = card_key("EMV_CRYPTOGRAM", card)
    arqc = model_mac(model_session_key(key, derivation, atc, un), b"transaction")
    method, code, proprietary = response
    session = model_session_key(key, response_derivation, atc, un)
    expected = (
        des(session, xor(arqc, code + bytes(6))) if method == 1 else model_mac(session, arqc + code + proprietary)[:4]
    )
    head = (labels["EMV_CRYPTOGRAM"], *card)
    assert bench.one("generate_arpcs", *head, response_derivation, atc, un, arqc, *response) == expected
    transaction = (*head, derivation, atc, un, 2, b"transaction", arqc)
    answered = bench.one("verify_cryptograms_and_respond", *transaction, response_derivation, *response)
    assert answered == expected


@many
@given(CARDS, SCRIPT_SESSIONS, st.binary(min_size=1), st.integers(4, 8), ENCIPHERMENTS)
def test_scripts(
    bench: Workshop,
    labels: dict[str, str],
    card: tuple[str, str, str],
    session: tuple[str, bytes],
    data: bytes,
    length: int,
    encipherment: str,
) -> None:
    key = model_script_key(card_key("EMV_INTEGRITY", card), *session)
    assert (
        bench.one("script_macs", labels["EMV_INTEGRITY"], *card, *session, data, length)
        == (model_mac(key, data)[:length])
    )
    data = data[:240]
    key = model_script_key(card_key("EMV_CONFIDENTIALITY", card), *session)
    item = (labels["EMV_CONFIDENTIALITY"], *card, *session, encipherment, data)
    assert bench.one("encipher_script_data", *item) == model_encipher(key, encipherment, data)


@many
@given(CARDS, SCRIPT_SESSIONS, ENCIPHERMENTS, st.sampled_from((0, 1, 3)), digits(4, 12), st.none() | digits(4, 12))
def test_pin_changes(
    bench: Workshop,
    labels: dict[str, str],
    card: tuple[str, str, str],
    session: tuple[str, bytes],
    encipherment: str,
    pin_format: int,
    pin: str,
    current: str | None,
) -> None:
    pan, head = card[1], b"\x84\x24\x00\x02\x10"
    keys = (labels["EMV_INTEGRITY"], labels["EMV_CONFIDENTIALITY"], labels["EMV_CRYPTOGRAM"])
    block, current_block = (
        des(bytes.fromhex(VALUES["PIN_KEY"]), model_pin_block(pin_format, each, pan, FILLERS[pin_format]))
        if each
        else b""
        for each in (pin, current)
    )
    mask = bytes(4) + card_key("EMV_CRYPTOGRAM", card)[4:8]
    clear = {
        "vis": xor(
            xor(model_pin_block(0, pin, "0" * 16, "F" * 14), mask), bytes.fromhex((current or "").ljust(16, "0"))
        ),
        "iso-2": model_pin_block(2, pin, pan, "F" * 14),
    }
    for layout in ("vis",) if current else ("vis", "iso-2"):
        item = (*keys, *card, *session, layout, encipherment, head, 5, labels["PIN_KEY"], pin_format)
        script = bench.one("pin_change_scripts", *item, block, current_block)
        confidentiality = model_script_key(card_key("EMV_CONFIDENTIALITY", card), *session)
        enciphered = model_encipher(confidentiality, encipherment, clear[layout])
        integrity = model_script_key(card_key("EMV_INTEGRITY", card), *session)
        assert script == enciphered + model_mac(integrity, head + enciphered)[:5]


@many
@given(CARDS, digits(4, 4), digits(4, 4), digits(3, 3), st.binary(min_size=1, max_size=76), UNS, ATCS)
def test_card_codes(
    bench: Workshop,
    labels: dict[str, str],
    card: tuple[str, str, str],
    counter: str,
    expiry: str,
    service_code: str,
    track: bytes,
    un: bytes,
    atc: bytes,
) -> None:
    key, head = card_key("EMV_DYNAMIC_NUMBER", card), (labels["EMV_DYNAMIC_NUMBER"], *card)
    field = bytes.fromhex((counter + card[1][4:] + expiry + service_code).ljust(32, "0"))
    dcvv = decimal(des(key, xor(des(key[:8], field[:8]), field[8:])).hex())[:3]
    assert bench.one("dcvvs", *head, counter, expiry, service_code) == dcvv
    assert bench.run("verify_dcvvs", [(*head, counter, expiry, service_code, dcvv)]) == [None]
    cvc3 = f"{int.from_bytes(des(key, model_mac(key, track)[6:] + un + atc)[6:]):05d}"
    assert bench.one("cvc3s", *head, track, un, atc) == cvc3
    for length in (3, 4, 5):
        assert bench.run("verify_cvc3s", [(*head, track, un, atc, cvc3[-length:])]) == [None]
