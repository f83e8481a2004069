"""Keys across restarts, crashes, and a key file that somebody changed. Each test opens a token of its own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hsm import key_register
from hsm.algorithms import CUP_FINANCIAL
from hsm.audit import AuditTrail, Phase
from hsm.direct import DirectHsm
from hsm.errors import HsmError, HsmUnavailable, MacMismatch
from hsm.keys import KeyPlace, KeyState, KeyStore, KeyUsage
from hsm.token import create_token, open_token
from hsm.usages import GENERATED, Exportability


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return create_token(tmp_path / "token")


def refuse_open(place: Path, error: type[HsmError], match: str | None = None) -> None:
    with open_token(place) as token, pytest.raises(error, match=match):
        KeyStore(token)


def test_keys_of_every_usage_survive_a_restart(place: Path) -> None:
    with open_token(place) as token:
        store = KeyStore(token)
        usages = [usage for usage in KeyUsage if usage is not KeyUsage.KEY_STORAGE]
        for usage in usages:
            store.generate(f"key/{usage.lower()}", usage)
        inventory = store.inventory()
        public = store.public_key("key/signing")
        assert store.verify() == []
    made = [each for each in inventory if each.label.startswith("key/")]
    assert {(each.usage, each.algorithm, each.state) for each in made} == {
        (usage, GENERATED[usage], KeyState.CURRENT) for usage in usages
    }
    assert all(int(each.kcv, 16) >= 0 and len(each.kcv) in (6, 10) for each in inventory)
    with open_token(place) as token:
        again = KeyStore(token)
        assert again.inventory() == inventory
        assert again.public_key("key/signing") == public
        assert again.verify() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("label", "other"),
        ("key_version", 2),
        ("usage", "PIN_KEY"),
        ("mode", "N"),
        ("exportability", "E"),
        ("state", "previous"),
        ("kcv", "000000"),
        ("place", "token"),
        ("created_time_ms", 1),
        ("state_since_time_ms", 1),
        ("expires_time_ms", 1),
        ("identifier", "00" * 16),
    ],
)
@pytest.mark.parametrize("label", ["mac", "pin"])
def test_a_changed_entry_of_the_key_file_is_found_out(place: Path, label: str, field: str, value: Any) -> None:
    """One key on the host, one in the token. The file's seal is wrong in any case; `verify` checks each entry's too."""
    with open_token(place) as token:
        store = KeyStore(token)
        store.generate("mac", KeyUsage.MAC_KEY)
        store.generate("pin", KeyUsage.PIN_KEY)
        path = place / "keys.json"
        assert path.stat().st_mode & 0o777 == 0o600
        document = json.loads(path.read_text())
        [entry] = [each for each in document["keys"] if each["label"] == label]
        entry[field] = {"PIN_KEY": "PVV_KEY"}.get(value, value) if label == "pin" else value
        if (label, field) == ("pin", "place"):
            entry[field] = "host"
        path.write_text(json.dumps(document))
        assert any(label in each or "other" in each for each in store.verify())
        with pytest.raises(HsmError):
            store.reload()
    refuse_open(place, MacMismatch)


@pytest.mark.parametrize("change", ["remove", "swap", "older", "seal", "audit"])
def test_the_key_file_as_a_whole_is_authentic(place: Path, change: str) -> None:
    with open_token(place) as token:
        store = KeyStore(token)
        store.generate("mac", KeyUsage.MAC_KEY)
        older = json.loads((place / "keys.json").read_text())
        store.rotate("mac", activate=True)
    document = json.loads((place / "keys.json").read_text())
    if change == "remove":
        document["keys"].pop()
    elif change == "swap":
        document["keys"].reverse()
    elif change == "older":  # the entry of the time when it was current: genuine by itself
        [old] = [each for each in older["keys"] if each["label"] == "mac"]
        document["keys"] = [each for each in document["keys"] if each["label"] != "mac"] + [old]
    elif change == "seal":
        document["seal"] = older["seal"]
    else:
        document["audit"] = older["audit"]
    (place / "keys.json").write_text(json.dumps(document))
    refuse_open(place, MacMismatch)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"version": 3, "keys": []}', '{"version": 2, "keys": [{}], "audit": "", "seal": ""}']
)
def test_a_broken_key_file_is_an_error(place: Path, content: str) -> None:
    with open_token(place) as token:
        KeyStore(token).generate("mac", KeyUsage.MAC_KEY)
    (place / "keys.json").write_text(content)
    refuse_open(place, HsmUnavailable)


def test_a_lost_key_file_is_not_begun_anew(place: Path) -> None:
    with open_token(place) as token:
        KeyStore(token).generate("pin", KeyUsage.PIN_KEY)
    kept = (place / "keys.json").read_bytes()
    (place / "keys.json").unlink()
    refuse_open(place, HsmUnavailable, "missing")
    (place / "key-audit.jsonl").unlink()
    refuse_open(place, HsmUnavailable, "missing")
    (place / "keys.json").write_bytes(kept)
    with open_token(place) as token:
        assert "pin" in KeyStore(token)


def test_an_older_key_file_is_refused(place: Path) -> None:
    """Else a retired key would be back in service. With the trail of the same day it is a backup that was restored."""
    trail = place / "key-audit.jsonl"
    with open_token(place) as token:
        KeyStore(token).generate("mac", KeyUsage.MAC_KEY)
        old, old_trail = (place / "keys.json").read_bytes(), trail.read_bytes()
        KeyStore(token).retire("mac")
    (place / "keys.json").write_bytes(old)
    refuse_open(place, HsmUnavailable, "older")
    trail.write_bytes(old_trail)
    with open_token(place) as token:
        assert "mac" in KeyStore(token)


def test_a_backup_of_the_folder_is_a_token(place: Path, tmp_path: Path) -> None:
    with open_token(place) as token:
        store = KeyStore(token)
        store.generate("mac", KeyUsage.MAC_KEY)
        store.generate("pin", KeyUsage.PIN_KEY)
        inventory = store.inventory()
    shutil.copytree(place, tmp_path / "restored")
    with open_token(tmp_path / "restored") as token:
        restored = KeyStore(token)
        assert restored.inventory() == inventory
        assert restored.verify() == []


class Crash(Exception):
    pass


STEPS: dict[str, Callable[[KeyStore], object]] = {
    "create host": lambda store: store.generate("new", KeyUsage.MAC_KEY),
    "create token": lambda store: store.generate("new", KeyUsage.PIN_KEY),
    "rotate host": lambda store: store.rotate("mac", activate=True),
    "rotate token": lambda store: store.rotate("pin", activate=True),
    "rotate storage": lambda store: store.rotate("hsm/storage"),
    "retire token": lambda store: store.retire("pin"),
    "retire host": lambda store: store.retire("mac"),
}


@pytest.mark.parametrize("moment", ["intent", "file", "line", "destroy"])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_leaves_the_old_or_the_new(
    place: Path, monkeypatch: pytest.MonkeyPatch, step: str, moment: str
) -> None:
    """Killed after the intent, after the file, after the line: the states are whole and the trail tells of them."""
    hsm = DirectHsm.open(place)
    hsm.store.generate("mac", KeyUsage.MAC_KEY)
    hsm.store.generate("pin", KeyUsage.PIN_KEY)
    before = hsm.store.inventory()
    appended = AuditTrail.append

    def crash(*_: object) -> None:
        raise Crash

    def crash_after_line(trail: AuditTrail, line: str) -> None:
        if moment != "line" or '"phase": "intent"' in line:
            appended(trail, line)
        if moment == "line" and '"phase": "done"' in line:
            raise Crash

    with monkeypatch.context() as patch:
        if moment == "intent":
            patch.setattr(key_register, "write_key_file", crash)
        elif moment == "file":
            write = key_register.write_key_file

            def write_and_crash(path: Path, file: Any) -> None:
                write(path, file)
                raise Crash

            patch.setattr(key_register, "write_key_file", write_and_crash)
        elif moment == "line":
            patch.setattr(AuditTrail, "append", crash_after_line)
        else:
            patch.setattr(hsm.store._ring, "destroy_retired", crash)
        with pytest.raises(Crash):
            STEPS[step](hsm.store)
    hsm.close()
    again = DirectHsm.open(place)
    try:
        if moment == "intent":
            assert again.store.inventory() == before
            assert again.store.audit_lines()[-1].phase is Phase.INTENT
            strays = [each for each in again.store.verify() if "does not name" in each]
            assert len(strays) == (step in ("create token", "rotate token", "rotate storage"))
            assert len(again.store.remove_strays()) == len(strays)
            assert again.store.verify() == []
        else:
            assert again.store.inventory() != before
            assert again.store.audit_lines()[-1].phase is Phase.DONE
            assert again.store.verify() == []
        if "mac" in again.store:
            [mac] = again.run_now("macs", [("mac", CUP_FINANCIAL, b"")])
            assert isinstance(mac, bytes)
        again.store.generate("after", KeyUsage.MAC_KEY)
        assert again.store.verify_audit() == []
    finally:
        again.close()


def test_the_storage_key_is_rotated(place: Path) -> None:
    """Everything on the host is sealed anew at once; the old key is gone, so the old file opens nothing any more."""
    hsm = DirectHsm.open(place)
    hsm.store.generate("mac", KeyUsage.MAC_KEY)
    hsm.store.generate("kbpk", KeyUsage.KEY_BLOCK, exportability=Exportability.TRUSTED)
    hsm.store.retire("kbpk")
    items = [("mac", CUP_FINANCIAL, b"data")]
    before, old_file = hsm.run_now("macs", items), (place / "keys.json").read_bytes()
    hsm.store.rotate("hsm/storage", reason="yearly")
    assert hsm.run_now("macs", items) == before
    assert hsm.store.verify() == []
    states = [(each.version, each.state) for each in hsm.store.inventory() if each.label == "hsm/storage"]
    assert states == [(2, KeyState.CURRENT), (1, KeyState.RETIRED)]
    assert sum(label == b"hsm/storage" for _, label, _ in hsm.store.token.core.objects()) == 1
    hsm.close()
    again = DirectHsm.open(place)
    assert again.run_now("macs", items) == before
    again.close()
    (place / "keys.json").write_bytes(old_file)
    refuse_open(place, HsmUnavailable)


def test_a_retired_key_is_destroyed(place: Path) -> None:
    hsm = DirectHsm.open(place)
    for label, usage in (("pin", KeyUsage.PIN_KEY), ("mac", KeyUsage.MAC_KEY)):
        made = hsm.store.generate(label, usage)
        hsm.store.retire(label, reason="no longer used")
        [gone] = [each for each in hsm.store.inventory() if each.label == label]
        assert (gone.state, gone.kcv, gone.name) == (KeyState.RETIRED, made.kcv, None)
        assert label not in hsm.store
        assert label not in hsm.context.keys
    assert b"pin" not in {label for _, label, _ in hsm.store.token.core.objects()}
    entries = {each["label"]: each for each in json.loads((place / "keys.json").read_text())["keys"]}
    assert len(entries["mac"]["seal"]) == 40  # 28 bytes: a seal of nothing
    assert hsm.store.generate("pin", KeyUsage.PIN_KEY).version == 2
    assert hsm.store.find("pin").place is KeyPlace.TOKEN
    with pytest.raises(HsmError, match="another usage"):
        hsm.store.generate("mac", KeyUsage.PIN_KEY)
    hsm.close()
