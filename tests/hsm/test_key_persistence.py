"""Keys across restarts, and a key file that somebody changed. No module-wide token here: each test opens its own."""

import json
from pathlib import Path

import pytest

from hsm.errors import HsmError, MacMismatch
from hsm.keys import KeyState, KeyStore, KeyUsage
from hsm.token import create_token, open_token


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return create_token(tmp_path / "token")


def refuse_open(place: Path, error: type[HsmError]) -> None:
    with open_token(place) as token, pytest.raises(error):
        KeyStore(token)


def test_keys_of_every_usage_survive_a_restart(place: Path) -> None:
    with open_token(place) as token:
        store = KeyStore(token)
        for usage in KeyUsage:
            store.generate(f"key/{usage.lower()}", usage)
        inventory = store.inventory()
        public = store.public_key("key/signing")
    assert {(each.usage, each.algorithm, each.state) for each in inventory} == {
        (KeyUsage.PIN_KEY, "TDES-3KEY", KeyState.CURRENT),
        (KeyUsage.MAC_KEY, "TDES-2KEY", KeyState.CURRENT),
        (KeyUsage.KEY_TRANSPORT, "TDES-3KEY", KeyState.CURRENT),
        (KeyUsage.SIGNING, "RSA-2048", KeyState.CURRENT),
        (KeyUsage.SEALING, "AES-256", KeyState.CURRENT),
        (KeyUsage.HASHING, "HMAC-SHA-256", KeyState.CURRENT),
        (KeyUsage.KEY_STORAGE, "AES-256", KeyState.CURRENT),
    }
    assert all(int(each.kcv, 16) >= 0 and len(each.kcv) in (6, 10) for each in inventory)
    with open_token(place) as token:
        again = KeyStore(token)
        assert again.inventory() == inventory
        assert again.public_key("key/signing") == public


@pytest.mark.parametrize("field", ["label", "usage", "state", "sealed"])
def test_a_changed_entry_of_the_key_file_is_found_out(place: Path, field: str) -> None:
    with open_token(place) as token:
        KeyStore(token).generate("mac", KeyUsage.MAC_KEY)
    path = place / "working-keys.json"
    assert path.stat().st_mode & 0o777 == 0o600
    document = json.loads(path.read_text())
    entry = document["keys"][0]
    changed = {"label": "other", "usage": "PIN_KEY", "state": "previous", "sealed": "A" + entry["sealed"][1:]}
    if entry["sealed"].startswith("A"):
        changed["sealed"] = "B" + entry["sealed"][1:]
    entry[field] = changed[field]
    path.write_text(json.dumps(document))
    refuse_open(place, MacMismatch)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2, "keys": []}', '{"version": 1, "keys": [{}]}'])
def test_a_broken_key_file_is_an_error(place: Path, content: str) -> None:
    with open_token(place) as token:
        KeyStore(token).generate("mac", KeyUsage.MAC_KEY)
    (place / "working-keys.json").write_text(content)
    refuse_open(place, HsmError)
