"""`payswitch risk share` as an analyst runs it."""

import json
from pathlib import Path

import asyncpg
import pytest
from case_scene import case_scene
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from desk_scene import ANN
from stix_made import bundle, indicator
from typer.testing import CliRunner, Result

from switch.domain.risk import ListKind, Subject
from switch.domain.risk_listing import ListingEntry
from switch.risk.listing_desk import Wanted
from switch.risk.subjects import address_key
from switch.risk_share_cli import share_app

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(32))
OURS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(share_app, [str(each) for each in arguments])


@pytest.fixture
def files(tmp_path: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    pem = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    monkeypatch.setenv("PAYSWITCH_RISK_SHARE__PARTNERS", json.dumps([{"id": "bank", "public_key": pem}]))
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", postgres_dsn)
    key = OURS.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "own.pem").write_bytes(key)
    content = bundle(indicator(valid_until="2999-01-01T00:00:00Z"))
    (tmp_path / "in.json").write_bytes(content)
    (tmp_path / "in.json.sig").write_bytes(SIGNER.sign(content))
    return tmp_path


@pytest.fixture
async def listed(database: asyncpg.Pool) -> None:
    scene = await case_scene(database)
    entries = [ListingEntry(Subject.IP, address_key("192.0.2.9"), 0, "192.0.2.9")]
    scene.clock.now_ms = 32_000_000_000_000
    await scene.lists.add(Wanted(ListKind.BLOCK, "stolen", "a test", ANN.name, entries), ANN)


@pytest.mark.usefixtures("listed", "logging_restored")
def test_what_it_writes_is_signed_and_can_be_verified(files: Path) -> None:
    out = files / "out.json"
    done = run("export", "--partner", "bank", "--out", out, "--key", files / "own.pem")
    assert done.exit_code == 0, done.output
    content = out.read_bytes()
    assert b"192.0.2.9" in content
    OURS.public_key().verify((files / "out.json.sig").read_bytes(), content)
    assert sorted(each.name for each in files.iterdir() if each.name.startswith("out")) == ["out.json", "out.json.sig"]


@pytest.mark.usefixtures("listed", "logging_restored")
def test_a_bundle_is_taken_once(files: Path) -> None:
    first, second = (run("import", "--partner", "bank", files / "in.json") for _ in range(2))
    assert first.exit_code == second.exit_code == 0, first.output
    assert "1 indicators, 0 known" in first.stdout
    assert "1 on share_bank" in first.stdout
    assert "1 known" in second.stdout
    assert "nothing new" in second.stdout


@pytest.mark.usefixtures("listed", "logging_restored")
def test_what_is_refused_says_why(files: Path) -> None:
    (files / "in.json").write_bytes(b"{}")
    for arguments, code, told in (
        (("import", "--partner", "bank", files / "in.json"), 1, "the signature is not this partner's"),
        (("import", "--partner", "nobody", files / "in.json"), 1, "no such partner"),
        (("import", "--partner", "bank", files / "none.json"), 2, "No such file"),
        (("export", "--partner", "bank", "--out", files / "o", "--key", files / "in.json"), 2, "in PEM"),
        (("export", "--partner", "nobody", "--out", files / "o", "--key", files / "own.pem"), 1, "no such partner"),
    ):
        done = run(*arguments)
        assert (done.exit_code, told in done.output) == (code, True), done.output
    assert not (files / "o").exists()
