"""The HSM's benchmark and soak, tiny, so that they cannot rot. Their figures decide nothing here."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.hsm.own import OPERATIONS
from benchmarks.hsm.page import WANTED
from benchmarks.hsm.peers import PEERS


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.hsm", *arguments], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_operation_is_measured_every_way(tmp_path: Path) -> None:
    page = run("--seconds", "0.01", "--rounds", "1", "--output", str(tmp_path))
    found = json.loads((tmp_path / "hsm.json").read_text())
    assert set(found["rates"]) == {each.name for each in OPERATIONS}
    for ways in found["rates"].values():
        assert {"direct, one call", "direct, batches", "process, batches"} <= set(ways)
        assert all(rate > 0 for rates in ways.values() for rate in rates)
    assert {peer for ways in found["rates"].values() for peer in ways} > set(PEERS)
    assert set(found["scaling"]) == {"1", "2"}
    assert all(name in page for name, *_ in WANTED)
    assert "| – |" not in page.partition("ratio to python-pkcs11")[2]


def test_keys_are_rotated_under_four_clients_and_nothing_fails() -> None:
    said = run("--soak", "--seconds", "3")
    assert "3 keys rotated in the middle, failures: none" in said
