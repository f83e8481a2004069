"""Envelopes: RFC 9180's vector with its private key in a token, and `cryptography`'s HPKE both ways."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm import _core
from hsm.algorithms import MAX_DATA_BYTES
from hsm.commands import SLOW
from hsm.direct import DirectHsm
from hsm.envelope import Aead, seal_envelope, seal_with
from hsm.errors import HsmUnavailable, InvalidCommand, KeyNotFound, KeyUsageError, MacMismatch
from hsm.token import CONFIGURATION, create_token, find_module
from hsm.vectors.workshop import Workshop, workshop

CURVE = ec.SECP256R1()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SUITES = {
    Aead.AES_128_GCM: Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_128_GCM),
    Aead.AES_256_GCM: Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
}

# RFC 9180, A.3.1: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, mode base, sequence number 0
INFO = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
EPHEMERAL = 0x4995788EF4B9D6132B249CE59A77281493EB39AF373D236A1FE415CB0C2D7BEB
ENCAPSULATED = bytes.fromhex(
    "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac9"
    "8536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4"
)
RECEIVER = 0xF3CE7FDAE57E1A310D87F1EBBDE6F328BE0A99CDBCADF4D6589CF29DE4B8FFD2
RECEIVER_POINT = bytes.fromhex(
    "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a82"
    "6a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0"
)
AAD = bytes.fromhex("436f756e742d30")
PLAINTEXT = bytes.fromhex("4265617574792069732074727574682c20747275746820626561757479")
CIPHERTEXT = bytes.fromhex("5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434")

# The product cannot put a private key of a given value into a token, so another PKCS #11 client does, beforehand.
IMPORT = """
import sys
import pkcs11
from pkcs11.util.ec import encode_named_curve_parameters
module, pin_path, *scalars = sys.argv[1:]
[token] = [slot.get_token() for slot in pkcs11.lib(module).get_slots(token_present=True)
           if slot.get_token().label == "payswitch"]
with open(pin_path) as file, token.open(rw=True, user_pin=file.read().strip()) as session:
    for scalar in scalars:
        session.create_object({
            pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
            pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.EC,
            pkcs11.Attribute.TOKEN: True,
            pkcs11.Attribute.PRIVATE: True,
            pkcs11.Attribute.SENSITIVE: True,
            pkcs11.Attribute.EXTRACTABLE: False,
            pkcs11.Attribute.DERIVE: True,
            pkcs11.Attribute.LABEL: scalar,
            pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1"),
            pkcs11.Attribute.VALUE: bytes.fromhex(scalar),
        })
"""


@pytest.fixture(scope="module")
def bench(token_directory: Path) -> Iterator[Workshop]:
    with workshop(token_directory) as made:
        yield made


@pytest.fixture(scope="module")
def key(bench: Workshop) -> str:
    return generate(bench, "envelope")


def generate(bench: Workshop, label: str, mode: str = "N") -> str:
    token = bench.context.token
    return bench.put(_core.TokenKey(label, "ENVELOPE", token, "EC", token.generate_ec_p256(), mode=mode))


def point_of(bench: Workshop, label: str) -> bytes:
    key = bench.context.keys[label]
    assert isinstance(key, _core.TokenKey)
    assert key.public_point is not None
    return key.public_point


def test_the_sealing_side_against_rfc_9180() -> None:
    sealed = seal_with(ec.derive_private_key(EPHEMERAL, CURVE), RECEIVER_POINT, INFO, AAD, PLAINTEXT, Aead.AES_128_GCM)
    assert sealed == (ENCAPSULATED, CIPHERTEXT)


def test_the_opening_side_against_rfc_9180(tmp_path: Path) -> None:
    """With the vector's private key in the token, and with its negative, which is the same key to ECDH."""
    pytest.importorskip("pkcs11")
    place = create_token(tmp_path / "token")
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(CONFIGURATION.format(tokens=place / "tokens"))
    scalars = [each.to_bytes(32).hex() for each in (RECEIVER, ORDER - RECEIVER)]
    subprocess.run(
        [sys.executable, "-c", IMPORT, find_module(), str(place / "user-pin"), *scalars],
        check=True,
        env={**os.environ, "SOFTHSM2_CONF": str(configuration)},
    )
    with workshop(place) as bench:
        token = bench.context.token
        handles = [token.load(handle) for handle, label, _ in token.objects() if label.decode() in scalars]
        assert len(handles) == 2
        for handle in handles:
            label = bench.put(_core.TokenKey("rfc", "ENVELOPE", token, "EC", handle))
            assert point_of(bench, label) == RECEIVER_POINT
            assert bench.one("open_envelopes", label, 1, ENCAPSULATED, INFO, AAD, CIPHERTEXT) == PLAINTEXT


@pytest.mark.parametrize("aead", list(Aead))
@pytest.mark.parametrize("length", [0, 1, 16, 1000])
def test_envelopes_of_cryptography(bench: Workshop, key: str, aead: Aead, length: int) -> None:
    public = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, point_of(bench, key))
    plaintext = os.urandom(length)
    sealed = SUITES[aead].encrypt(plaintext, public, b"info")
    assert bench.one("open_envelopes", key, int(aead), sealed[:65], b"info", b"", sealed[65:]) == plaintext


@pytest.mark.parametrize("aead", list(Aead))
def test_envelopes_for_cryptography(aead: Aead) -> None:
    private = ec.generate_private_key(CURVE)
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    encapsulated, ciphertext = seal_envelope(point, b"info", b"", b"plaintext", aead)
    assert SUITES[aead].decrypt(encapsulated + ciphertext, private, b"info") == b"plaintext"


@pytest.mark.parametrize("aead", list(Aead))
def test_seal_and_open(bench: Workshop, key: str, aead: Aead) -> None:
    point = point_of(bench, key)
    for info, aad, plaintext in ((b"", b"", b""), (bytes(3000), b"aad", b"x"), (b"i", os.urandom(2000), bytes(60000))):
        encapsulated, ciphertext = seal_envelope(point, info, aad, plaintext, aead)
        assert bench.one("open_envelopes", key, int(aead), encapsulated, info, aad, ciphertext) == plaintext


def test_many_keys_and_many_envelopes(bench: Workshop) -> None:
    """Secrets and coordinates with leading zero bytes come once in 256: enough to meet some."""
    for number in range(20):
        label = generate(bench, f"key-{number}")
        point = point_of(bench, label)
        assert point[0] == 4
        assert point[64] % 2 == 0
        sealed = [seal_envelope(point, b"", b"", index.to_bytes(2)) for index in range(50)]
        results = bench.run("open_envelopes", [(label, 1, enc, b"", b"", ciphertext) for enc, ciphertext in sealed])
        assert results == [index.to_bytes(2) for index in range(50)]


def test_what_a_changed_envelope_is(bench: Workshop, key: str) -> None:
    enc, ciphertext = seal_envelope(point_of(bench, key), b"info", b"aad", b"plaintext")
    other = generate(bench, "another")
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    changed = [
        (other, 1, enc, b"info", b"aad", ciphertext),
        (key, 2, enc, b"info", b"aad", ciphertext),
        (key, 1, enc, b"Info", b"aad", ciphertext),
        (key, 1, enc, b"info", b"aae", ciphertext),
        (key, 1, enc, b"infoa", b"ad", ciphertext),
        (key, 1, enc, b"info", b"aad", ciphertext[:-1]),
        (key, 1, enc, b"info", b"aad", ciphertext[:15]),
        (key, 1, enc, b"info", b"aad", b""),
        (key, 1, seal_envelope(point_of(bench, key), b"info", b"aad", b"")[0], b"info", b"aad", ciphertext),
    ]
    changed += [
        (key, 1, each, b"info", b"aad", ciphertext)
        for each in (
            b"",
            bytes(65),
            enc[:64],
            enc + b"\0",
            b"\x02" + enc[1:33],
            b"\x02" + enc[1:],
            enc[:64] + bytes([enc[64] ^ 1]),
            b"\x04" + b"\xff" * 64,
            b"\x04" + bytes(63) + b"\x05",
            p384.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        )
    ]
    for index in range(len(ciphertext)):
        flipped = ciphertext[:index] + bytes([ciphertext[index] ^ 0x80]) + ciphertext[index + 1 :]
        changed.append((key, 1, enc, b"info", b"aad", flipped))
    results = bench.run("open_envelopes", changed)
    assert {type(each) for each in results} == {MacMismatch}
    assert len({str(each) for each in results}) == 1
    assert bench.one("open_envelopes", key, 1, enc, b"info", b"aad", ciphertext) == b"plaintext"


def test_which_keys_may(bench: Workshop, key: str) -> None:
    token = bench.context.token
    enc, ciphertext = seal_envelope(point_of(bench, key), b"", b"", b"plaintext")
    bench.put(_core.TokenKey("rsa", "ENVELOPE", token, "RSA", token.generate_rsa()))
    bench.put(_core.TokenKey("sign", "SIGNING", token, "EC", token.generate_ec_p256()))
    labels = ["rsa", "sign", bench.load("ENVELOPE", "11" * 32, "SM2"), generate(bench, "enciphers", mode="E")]
    results = bench.run("open_envelopes", [(label, 1, enc, b"", b"", ciphertext) for label in labels])
    assert [type(each) for each in results] == [KeyUsageError] * 4
    mixed = bench.run("open_envelopes", [(each, 1, enc, b"", b"", ciphertext) for each in (key, "nobody", key)])
    assert mixed[0] == mixed[2] == b"plaintext"
    assert isinstance(mixed[1], KeyNotFound)
    deciphers = generate(bench, "deciphers", mode="D")
    enc, ciphertext = seal_envelope(point_of(bench, deciphers), b"", b"", b"plaintext")
    assert bench.one("open_envelopes", deciphers, 1, enc, b"", b"", ciphertext) == b"plaintext"


def test_bounds(bench: Workshop, key: str) -> None:
    enc, ciphertext = seal_envelope(point_of(bench, key), b"", b"", b"plaintext")
    much = bytes(MAX_DATA_BYTES + 1)
    results = bench.run(
        "open_envelopes",
        [
            *((key, aead, enc, b"", b"", ciphertext) for aead in (0, 3, -1)),
            (key, 1, much, b"", b"", ciphertext),
            (key, 1, enc, much, b"", ciphertext),
            (key, 1, enc, b"", much, ciphertext),
            (key, 1, enc, b"", b"", much),
        ],
    )
    assert [type(each) for each in results] == [InvalidCommand] * 7
    for item in ((key, 1, enc, b"", b""), (key, 1, None, b"", b"", b""), (key, "1", enc, b"", b"", b"")):
        with pytest.raises((TypeError, ValueError)):
            bench.run("open_envelopes", [item])
    for point in (b"", bytes(65), enc[:64], b"\x04" + b"\xff" * 64):
        with pytest.raises(InvalidCommand):
            seal_envelope(point, b"", b"", b"plaintext")


def test_a_private_key_stays_in_the_token(bench: Workshop) -> None:
    token = bench.context.token
    handle = token.generate_ec_p256()
    assert token.is_protected(handle)
    stored = token.store(handle, b"test/ec", b"")
    try:
        copy = token.load(stored)
        assert token.is_protected(stored)
        assert token.is_protected(copy)
        assert token.ec_public_point(copy) == token.ec_public_point(handle)
    finally:
        token.destroy(stored)
    aes = token.generate_secret("AES", 32, _core.PERMISSIONS["SEALING"])
    with pytest.raises(HsmUnavailable, match="C_DeriveKey"):
        token.ec_public_point(aes)
    sealed = seal_envelope(token.ec_public_point(handle), b"", b"", b"plaintext")
    bench.put(_core.TokenKey("gone", "ENVELOPE", token, "EC", handle))
    token.destroy(handle)
    [result] = bench.run("open_envelopes", [("gone", 1, sealed[0], b"", b"", sealed[1])])
    assert isinstance(result, HsmUnavailable)


def test_threads(bench: Workshop, key: str) -> None:
    point = point_of(bench, key)

    def work(number: int) -> bool:
        data = number.to_bytes(8)
        enc, ciphertext = seal_envelope(point, data, data, data)
        return bench.run("open_envelopes", [(key, 1, enc, data, data, ciphertext)]) == [data]

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(work, range(200)))


async def test_in_threads_of_the_hsm(token_directory: Path, bench: Workshop, key: str) -> None:
    assert "open_envelopes" in SLOW
    hsm = DirectHsm.open(token_directory)
    try:
        hsm.store.keys["envelope"] = bench.context.keys[key]
        sealed = [seal_envelope(point_of(bench, key), b"", b"", bytes([number])) for number in range(9)]
        items = [("envelope", 1, enc, b"", b"", ciphertext) for enc, ciphertext in sealed]
        assert await hsm.run("open_envelopes", items) == [bytes([number]) for number in range(9)]
    finally:
        hsm.close()
