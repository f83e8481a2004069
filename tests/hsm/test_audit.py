"""The audit trail: what is written, and every way of tampering with it found out."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hsm.audit import AuditTrail, Change, Phase
from hsm.errors import HsmError, InvalidCommand, KeyExists, KeyNotFound, KeyUsageError
from hsm.keys import KeyStore, KeyUsage
from hsm.token import create_token, open_token


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return create_token(tmp_path / "token")


@pytest.fixture
def store(place: Path) -> Iterator[KeyStore]:
    with open_token(place) as token:
        yield KeyStore(token, actor="ann", clock_ms=lambda: 1_700_000_000_123)


def trail(place: Path) -> Path:
    return place / "key-audit.jsonl"


def test_every_event_leaves_its_lines(store: KeyStore, place: Path) -> None:
    store.generate("mac", KeyUsage.MAC_KEY)
    store.rotate("mac", reason="monthly")
    store.actor = "bob"
    store.activate("mac")
    store.retire("mac?previous")
    store.record("ceremony", "zmk", "begun")
    lines = store.audit_lines()
    assert [(each.event.action, each.phase) for each in lines] == [
        ("start", Phase.DONE),
        *(
            (action, phase)
            for action in ("create", "rotate", "activate", "retire")
            for phase in (Phase.INTENT, Phase.DONE)
        ),
        ("ceremony", Phase.DONE),
    ]
    assert [each.sequence for each in lines] == list(range(1, 11))
    assert {each.actor for each in lines[:5]} == {"ann"}
    assert {each.actor for each in lines[5:]} == {"bob"}
    assert {(each.uid, each.time_ms) for each in lines} == {(os.getuid(), 1_700_000_000_123)}
    created, rotated, activated, retired = lines[2], lines[4], lines[6], lines[8]
    old, new = created.event.changes[0].kcv, rotated.event.changes[0].kcv
    assert created.event.changes == (Change("mac", 1, old, "", "current"),)
    assert rotated.event.changes == (Change("mac", 2, new, "", "pending"),)
    assert activated.event.changes == (
        Change("mac", 2, new, "pending", "current"),
        Change("mac", 1, old, "current", "previous"),
    )
    assert retired.event.changes == (Change("mac", 1, old, "previous", "retired"),)
    assert (rotated.event.label, rotated.event.usage, rotated.event.reason) == ("mac", "MAC_KEY", "monthly")
    assert trail(place).stat().st_mode & 0o777 == 0o600
    assert store.verify() == []


def test_failed_attempts_are_recorded(store: KeyStore) -> None:
    store.generate("mac", KeyUsage.MAC_KEY)
    attempts: list[tuple[str, type[HsmError], Callable[[], object]]] = [
        ("create", KeyExists, lambda: store.generate("mac", KeyUsage.MAC_KEY)),
        ("create", InvalidCommand, lambda: store.generate("x" * 1000, KeyUsage.MAC_KEY)),
        (
            "import",
            InvalidCommand,
            lambda: store.import_components("pin", KeyUsage.PIN_KEY, [b"secret!!", b"secret!!"]),
        ),
        ("import", KeyNotFound, lambda: store.import_working_key("mak", KeyUsage.MAC_KEY, "nobody", bytes(16))),
        ("export", KeyUsageError, lambda: store.export_key_block("mac", "nobody")),
        ("rotate", KeyNotFound, lambda: store.rotate("nobody")),
        ("activate", KeyNotFound, lambda: store.activate("mac")),
        ("retire", KeyUsageError, lambda: store.retire("hsm/audit")),
    ]
    for action, error, attempt in attempts:
        with pytest.raises(error):
            attempt()
        last = store.audit_lines()[-1]
        assert (last.event.action, last.phase) == (action, Phase.FAILED)
        assert error.__name__ in last.event.reason
        assert len(last.event.label) <= 128
    assert b"secret" not in trail(store.token.directory).read_bytes()
    assert store.verify() == []


def test_no_command_can_use_the_audit_key(store: KeyStore) -> None:
    """Else whoever may call commands could write lines of the trail."""
    assert "hsm/audit" not in store.keys
    assert store.find("hsm/audit").usage is KeyUsage.HASHING


def edit(place: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    lines = trail(place).read_bytes().splitlines(keepends=True)
    trail(place).write_bytes(b"".join(change(lines)))


def _other_digit(digit: bytes) -> bytes:
    return b"0" if digit == b"f" else b"f"


TAMPERING: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "changed": lambda lines: [*lines[:3], lines[3].replace(b'"actor": "ann"', b'"actor": "eve"'), *lines[4:]],
    "changed tag": lambda lines: [*lines[:3], lines[3][:-4] + _other_digit(lines[3][-4:-3]) + b'"}\n', *lines[4:]],
    "first removed": lambda lines: lines[1:],
    "removed": lambda lines: lines[:3] + lines[4:],
    "two removed": lambda lines: lines[:2] + lines[4:],
    "moved": lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]],
    "twice": lambda lines: [*lines[:3], lines[3], *lines[3:]],
    "inserted": lambda lines: [*lines[:3], b"{}\n", *lines[3:]],
    "not text": lambda lines: [*lines[:3], b"\xff\xfe\n", *lines[3:]],
    "empty line": lambda lines: [*lines[:3], b"\n", *lines[3:]],
    "cut by two": lambda lines: lines[:-2],
    "cut by many": lambda lines: lines[:2],
    "emptied": lambda lines: [],
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_found(store: KeyStore, place: Path, name: str) -> None:
    for label in ("a", "b", "c"):
        store.generate(label, KeyUsage.MAC_KEY)
    before = trail(place).read_bytes()
    edit(place, TAMPERING[name])
    assert trail(place).read_bytes() != before
    assert store.verify_audit() != []
    again = KeyStore(store.token)  # the switch goes on: what was done stays visible, what comes is recorded
    again.generate("later", KeyUsage.MAC_KEY)
    assert again.verify_audit() != []
    assert again.audit_lines()[-1].event.label == "later"


def test_a_removed_file_is_found(store: KeyStore, place: Path) -> None:
    store.generate("mac", KeyUsage.MAC_KEY)
    trail(place).unlink()
    assert store.verify_audit() != []
    store.generate("pin", KeyUsage.PIN_KEY)
    assert store.verify_audit() != []


def test_the_last_line_comes_back(store: KeyStore, place: Path) -> None:
    """It stands in keys.json as well: a crash between the two, or a cut by one line, loses nothing."""
    store.generate("mac", KeyUsage.MAC_KEY)
    before = trail(place).read_bytes()
    edit(place, lambda lines: lines[:-1])
    assert store.verify_audit() != []
    store.reload()
    assert trail(place).read_bytes() == before
    assert store.verify_audit() == []


@pytest.mark.parametrize("kept", [1, 100, -1])
def test_a_torn_last_line_is_mended(store: KeyStore, place: Path, kept: int) -> None:
    store.generate("mac", KeyUsage.MAC_KEY)
    before = trail(place).read_bytes()
    edit(place, lambda lines: [*lines[:-1], lines[-1][:kept]])
    store.reload()
    assert trail(place).read_bytes() == before
    store.generate("pin", KeyUsage.PIN_KEY)
    assert store.verify() == []


def test_lines_of_two_processes_make_one_chain(store: KeyStore) -> None:
    other = KeyStore(store.token, actor="other")
    for number in range(3):
        store.generate(f"a/{number}", KeyUsage.MAC_KEY)
        other.generate(f"b/{number}", KeyUsage.MAC_KEY)
    assert store.verify() == []
    assert len(other.audit_lines()) == 13


def test_a_trail_of_another_token_is_not_taken(store: KeyStore, place: Path, tmp_path: Path) -> None:
    line = trail(place).read_text().splitlines()[0]
    foreign = AuditTrail(trail(place), lambda body: bytes(32), lambda: 0)
    assert foreign.problems(line) != []
    record = json.loads(line)
    assert record["previous"] == "0" * 64
    assert set(record) == {
        *("sequence", "time_ms", "actor", "uid", "phase", "action", "label", "usage", "changes", "reason"),
        *("previous", "tag"),
    }


def test_key_material_is_nowhere(store: KeyStore, place: Path) -> None:
    value = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    store.import_components("mac", KeyUsage.MAC_KEY, [value, bytes(16)])
    store.import_components("pin", KeyUsage.PIN_KEY, [value, bytes(16)])
    shown = (place / "keys.json").read_bytes() + trail(place).read_bytes()
    for form in (value, value.hex().encode(), value.hex().upper().encode(), repr(value)[2:-1].encode()):
        assert form not in shown


def test_a_line_longer_than_the_tail_that_is_read(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of an upgrade names every key."""
    monkeypatch.setattr("hsm.audit.TAIL_BYTES", 100)
    store.generate("mac", KeyUsage.MAC_KEY)
    store.reload()
    store.reload()
    assert [each.sequence for each in store.audit_lines()] == [1, 2, 3]
    assert store.verify() == []
