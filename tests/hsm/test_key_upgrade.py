"""A token of the first layout, made here by core calls, comes up as one of the present layout."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm import _core, key_register, key_upgrade
from hsm.algorithms import CUP_FINANCIAL
from hsm.direct import DirectHsm
from hsm.errors import HsmError, HsmUnavailable, MacMismatch
from hsm.keys import KeyPlace, KeyState, KeyStore, KeyUsage
from hsm.new_keys import specify, token_key
from hsm.token import create_token, open_token

MAC_PARTS = [bytes(range(16)), bytes([0x5A] * 16)]


class Crash(Exception):
    pass


@pytest.fixture
def old_place(tmp_path: Path) -> Path:
    """A storage, a sealing, a double-length PIN and an RSA key in the token; a MAC key of three ages outside."""
    place = create_token(tmp_path / "token")
    with open_token(place) as token:
        core = token.core
        storage = put_old(core, "hsm/storage", KeyUsage.KEY_STORAGE, core.generate_secret("AES", 32, 3))
        put_old(core, "journal/seal", KeyUsage.SEALING, core.generate_secret("AES", 32, 3))
        pin = _core.combine_host_key("acquirer/zpk", "PIN_KEY", MAC_PARTS)
        put_old(core, "acquirer/zpk", KeyUsage.PIN_KEY, core.create_secret(pin, 3), "TDES-2KEY")
        put_old(core, "alipay/app", KeyUsage.SIGNING, core.generate_rsa())
        entries = [
            put_old_host_key(core, storage, state, number) for number, state in enumerate(KeyState) if number < 3
        ]
    (place / "working-keys.json").write_text(json.dumps({"version": 1, "keys": entries}))
    return place


def put_old(core: _core.Token, label: str, usage: KeyUsage, handle: int, algorithm: str | None = None) -> _core.Key:
    new = token_key(core, specify(label, usage, algorithm), handle)
    identifier = "|".join((usage, "current", algorithm or specify(label, usage).algorithm, new.kcv))
    core.store(handle, label.encode(), identifier.encode())
    return new.key


def put_old_host_key(core: _core.Token, storage: _core.Key, state: KeyState, number: int) -> dict[str, str]:
    assert isinstance(storage, _core.TokenKey)
    key = _core.combine_host_key("unionpay/mak", "MAC_KEY", [MAC_PARTS[0], bytes([number + 1] * 16)])
    sealed = _core.seal_host_key(core, storage, key, "\n".join(("unionpay/mak", "MAC_KEY", state)).encode())
    return {
        "label": "unionpay/mak",
        "usage": "MAC_KEY",
        "state": state,
        "kcv": key.check_value(),
        "sealed": base64.b64encode(sealed).decode(),
    }


@pytest.fixture
def upgraded(old_place: Path) -> Iterator[DirectHsm]:
    hsm = DirectHsm.open(old_place)
    yield hsm
    hsm.close()


def states(store: KeyStore) -> set[tuple[str, str, str]]:
    return {(each.label, each.state, each.place) for each in store.inventory()}


EXPECTED = {
    ("hsm/storage", "current", "token"),
    ("hsm/audit", "current", "token"),
    ("journal/seal", "current", "token"),
    ("acquirer/zpk", "current", "token"),
    ("alipay/app", "current", "token"),
    ("unionpay/mak", "pending", "host"),
    ("unionpay/mak", "current", "host"),
    ("unionpay/mak", "previous", "host"),
}


def test_all_keys_come_along(upgraded: DirectHsm, old_place: Path) -> None:
    store = upgraded.store
    assert states(store) == EXPECTED
    assert store.verify() == []
    assert [each.event.action for each in store.audit_lines()] == ["upgrade"]
    assert not (old_place / "working-keys.json").exists()
    identifiers = [identifier for _, _, identifier in store.token.core.objects()]
    assert len(identifiers) == 5
    assert all(len(each) == 16 for each in identifiers)
    assert {each.mode for each in store.inventory() if each.label != "hsm/audit"} == {"N"}
    versions = {each.state: each.version for each in store.inventory() if each.label == "unionpay/mak"}
    assert versions == {KeyState.PREVIOUS: 1, KeyState.CURRENT: 2, KeyState.PENDING: 3}


async def test_they_are_the_same_keys(upgraded: DirectHsm) -> None:
    for number, name in enumerate(("unionpay/mak?pending", "unionpay/mak", "unionpay/mak?previous")):
        expected = {"x": _core.combine_host_key("x", "MAC_KEY", [MAC_PARTS[0], bytes([number + 1] * 16)])}
        assert await upgraded.macs([(name, CUP_FINANCIAL, b"data")]) == _core.macs(
            dict(expected), [("x", CUP_FINANCIAL, b"data")]
        )
    same = _core.combine_host_key("x", "PIN_KEY", MAC_PARTS)
    assert upgraded.key_check_value("acquirer/zpk") == same.check_value()
    await upgraded.activate_working_key("unionpay/mak")
    assert upgraded.store.find("unionpay/mak").version == 3


@pytest.mark.parametrize("moment", ["copying", "file", "removing"])
def test_a_crash_during_the_upgrade(old_place: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch, open_token(old_place) as token:
        if moment == "copying":
            patch.setattr(key_upgrade, "_from_file", crash)
        else:
            patch.setattr(key_register, {"file": "write_key_file", "removing": "remove_old_keys"}[moment], crash)
        with pytest.raises(Crash):
            KeyStore(token)
    for _ in range(2):
        with open_token(old_place) as token:
            store = KeyStore(token)
            assert states(store) == EXPECTED
            assert store.verify() == []
            assert len(store.token.core.objects()) == 5
            assert not (old_place / "working-keys.json").exists()


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [("label", "other", MacMismatch), ("kcv", "000000", HsmUnavailable), ("state", "old", HsmUnavailable)],
)
def test_a_changed_old_file_is_not_taken_over(old_place: Path, field: str, value: str, error: type[HsmError]) -> None:
    path = old_place / "working-keys.json"
    document = json.loads(path.read_text())
    document["keys"][0][field] = value
    path.write_text(json.dumps(document))
    with open_token(old_place) as token, pytest.raises(error):
        KeyStore(token)
    assert not (old_place / "keys.json").exists()


def test_the_upgrade_keeps_what_the_token_does(upgraded: DirectHsm) -> None:
    [sealed] = upgraded.run_now("seal", [("journal/seal", b"data", b"")])
    assert upgraded.run_now("unseal", [("journal/seal", sealed, b"")]) == [b"data"]
    assert upgraded.store.public_key("alipay/app").startswith(b"-----BEGIN PUBLIC KEY-----")
    assert upgraded.store.find("journal/seal").place is KeyPlace.TOKEN
