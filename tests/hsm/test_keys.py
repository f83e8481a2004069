import pickle
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from hsm import _core, algorithms
from hsm.direct import DirectHsm
from hsm.errors import HsmUnavailable, InvalidCommand, KeyExists, KeyNotFound, KeyUsageError
from hsm.keys import STORAGE_LABEL, KeyStore, KeyUsage
from hsm.token import OpenToken

PART = bytes(range(16))


def test_a_key_from_components_is_their_exclusive_or(hsm: DirectHsm) -> None:
    """FIPS 197 C.1: AES-128 under 00 01 … 0f; here the KCV is of the key 0 XOR parts, three ways the same."""
    mask, other = bytes([0x5A] * 16), bytes([0x3C] * 16)
    third = bytes(a ^ b ^ c for a, b, c in zip(PART, mask, other, strict=True))
    two = bytes(a ^ b for a, b in zip(PART, mask, strict=True))
    first = hsm.store.import_components("parts/1", KeyUsage.PIN_KEY, [mask, two])
    second = hsm.store.import_components("parts/2", KeyUsage.PIN_KEY, [bytearray(third), mask, other])
    third_info = hsm.store.import_components("parts/3", KeyUsage.MAC_KEY, [other, third, mask])
    assert first.kcv == second.kcv == third_info.kcv


@pytest.mark.parametrize(
    ("usage", "components", "family"),
    [
        (KeyUsage.PIN_KEY, [], None),
        (KeyUsage.PIN_KEY, [PART], None),
        (KeyUsage.PIN_KEY, [PART, PART], None),  # cancel out
        (KeyUsage.PIN_KEY, [PART, PART[:8]], None),
        (KeyUsage.PIN_KEY, [PART[:8], bytes(8)], None),  # single DES
        (KeyUsage.PIN_KEY, [PART[:9], bytes(9)], None),
        (KeyUsage.PIN_KEY, [PART * 2, bytes(32)], None),  # no DES key has 32 bytes
        (KeyUsage.PIN_KEY, [PART * 2, bytes(32)], "HMAC"),
        (KeyUsage.CARD_VERIFICATION, [PART, bytes(16)], "AES"),
        (KeyUsage.HASHING, [PART, bytes(16)], None),  # shorter than the hash
        (KeyUsage.SIGNING, [PART, bytes(16)], None),
    ],
)
def test_components_that_make_no_key(hsm: DirectHsm, usage: KeyUsage, components: Any, family: str | None) -> None:
    with pytest.raises(InvalidCommand):
        hsm.store.import_components("refused", usage, components, family)
    assert "refused" not in hsm.store


def test_a_label_is_taken_once(hsm: DirectHsm) -> None:
    made = hsm.store.ensure("taken", KeyUsage.PIN_KEY)
    assert hsm.store.ensure("taken", KeyUsage.PIN_KEY) == made
    for usage in (KeyUsage.PIN_KEY, KeyUsage.MAC_KEY, KeyUsage.SIGNING):
        with pytest.raises(KeyExists):
            hsm.store.generate("taken", usage)
    with pytest.raises(KeyUsageError):
        hsm.store.ensure("taken", KeyUsage.SEALING)


@pytest.mark.parametrize("label", ["", "a?pending", "a\n", "é", "x" * 129])
def test_a_label_that_is_none(hsm: DirectHsm, label: str) -> None:
    with pytest.raises(InvalidCommand):
        hsm.store.generate(label, KeyUsage.PIN_KEY)


@pytest.mark.parametrize(
    ("usage", "algorithm"),
    [
        (KeyUsage.SEALING, "TDES-3KEY"),
        (KeyUsage.SIGNING, "AES-256"),
        (KeyUsage.PIN_KEY, "RSA-2048"),
        (KeyUsage.PIN_KEY, "ROT-13"),
        (KeyUsage.PIN_KEY, "DES"),
    ],
)
def test_an_algorithm_that_does_not_fit(hsm: DirectHsm, usage: KeyUsage, algorithm: str) -> None:
    with pytest.raises(InvalidCommand):
        hsm.store.generate("misfit", usage, algorithm)


def test_rsa_public_key_verifies_signatures(hsm: DirectHsm) -> None:
    public = load_pem_public_key(hsm.store.generate_rsa("signer"))
    assert isinstance(public, RSAPublicKey)
    [signature] = hsm.run_now("sign", [("signer", b"data")])
    assert isinstance(signature, bytes)
    public.verify(signature, b"data", PKCS1v15(), SHA256())
    assert public.key_size == 2048
    with pytest.raises(KeyUsageError):
        hsm.store.public_key(STORAGE_LABEL)
    with pytest.raises(KeyNotFound):
        hsm.store.public_key("nobody")


def test_the_storage_key_opens_nothing_for_a_caller(hsm: DirectHsm) -> None:
    """Else a caller could read working keys out of their file."""
    for results in (
        hsm.run_now("unseal", [(STORAGE_LABEL, bytes(44), b"")]),
        hsm.run_now("seal", [(STORAGE_LABEL, b"", b"")]),
        hsm.run_now("keyed_hashes", [(STORAGE_LABEL, b"")]),
        hsm.run_now("sign", [(STORAGE_LABEL, b"")]),
    ):
        assert isinstance(results[0], KeyUsageError)


def test_nothing_shows_a_key(hsm: DirectHsm, make_key: Any) -> None:
    value = "0123456789ABCDEFFEDCBA9876543210"
    label = make_key(KeyUsage.MAC_KEY, value)
    key = hsm.store.keys[label]
    shown = " ".join(map(repr, (hsm, hsm.store, hsm.store.token, hsm.store.token.core, key, hsm.store.find(label))))
    assert value.lower() not in shown.lower()
    assert repr(bytes.fromhex(value))[2:-1] not in shown
    for each in (key, hsm.store.token.core):
        with pytest.raises(TypeError):
            pickle.dumps(each)


def test_an_unprotected_key_is_not_loaded(hsm: DirectHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless:
        def __getattr__(self, name: str) -> Any:
            return getattr(hsm.store.token.core, name)

        def is_protected(self, handle: int) -> bool:
            assert hsm.store.token.core.is_protected(handle)
            return False

    token = OpenToken(hsm.store.token.directory, hsm.store.token.core)
    monkeypatch.setattr(token, "core", Careless())
    with pytest.raises(HsmUnavailable, match="can be read out"):
        KeyStore(token)


def test_a_key_made_by_hand_does_nothing(hsm: DirectHsm) -> None:
    """The core is given a dictionary: an object in it that holds no secret must not crash it."""
    keys: dict[str, _core.Key] = {"x": _core.Key("x", "MAC_KEY"), "y": _core.Key("y", "SEALING")}  # type: ignore[call-arg]
    [mac] = _core.macs(keys, [("x", algorithms.CUP_FINANCIAL, b"")])
    [sealed] = _core.seal(hsm.store.token.core, keys, [("y", b"", b"")])
    assert isinstance(mac, KeyUsageError)
    assert isinstance(sealed, KeyUsageError)
