import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner, Result

from switch import cli

COMMANDS = (
    *("serve", "demo", "simulators", "authorize", "migrate", "check-config"),
    *("pki", "hsm", "bill", "routes", "terminals"),
)


@pytest.fixture
def payswitch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(cli.app, arguments)


def text_of(result: Result) -> str:
    return result.stdout + result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(payswitch, command: str) -> None:
    assert command in payswitch("--help").stdout
    shown = payswitch(command, "--help")
    assert shown.exit_code == 0
    assert "Usage:" in shown.stdout


def test_certificates_are_made(payswitch, tmp_path: Path) -> None:
    assert payswitch("pki", "init").stdout.split() == [".payswitch/pki/ca.pem", ".payswitch/pki/server.pem"]
    made = payswitch("pki", "issue", "issuer", "bank-1", "--folder", str(tmp_path / "keys")).stdout.split()
    assert made == [str(tmp_path / "keys" / f"issuer-bank-1.{kind}") for kind in ("pem", "key")]
    assert all(Path(each).is_file() for each in made)


def test_an_impossible_participant_is_refused(payswitch) -> None:
    result = payswitch("pki", "issue", "acquirer", "a/b")
    assert result.exit_code == cli.EXIT_USAGE
    assert "payswitch://" in text_of(result)


def test_settings_are_checked(payswitch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", "postgresql://payswitch:hunter2@db/payswitch")
    monkeypatch.setenv("PAYSWITCH_LISTN", "x")
    result = payswitch("check-config")
    assert result.exit_code == 0
    assert 'listen = "127.0.0.1:7443"' in result.stdout
    assert "did you mean PAYSWITCH_LISTEN?" in result.stderr
    assert "hunter2" not in text_of(result)


@pytest.mark.parametrize("command", ["check-config", "serve", "migrate"])
def test_a_wrong_setting_ends_the_command(payswitch, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("PAYSWITCH_LEASE_MS", "1")
    result = payswitch(command)
    assert result.exit_code == cli.EXIT_USAGE
    assert "PAYSWITCH_LEASE_MS (lease_ms in the file)" in text_of(result)


def test_authorize_wants_one_credential(payswitch) -> None:
    for arguments in ([], ["--code", "1", "--card", "2"]):
        assert payswitch("authorize", "1.00", *arguments).exit_code == cli.EXIT_USAGE


def test_the_exit_code_is_what_the_command_returned(payswitch, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    module = ModuleType("switch.demo.run")
    module.main = lambda keep: asked.update(keep=keep) or 3
    monkeypatch.setitem(sys.modules, "switch.demo.run", module)
    assert payswitch("demo", "--keep").exit_code == 3
    assert asked == {"keep": True}


def test_the_benchmark_reads_its_own_options(payswitch, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    module = ModuleType("benchmarks.load")
    module.main = lambda arguments: asked.extend(arguments) or 0
    monkeypatch.setitem(sys.modules, "benchmarks.load", module)
    assert payswitch("bench", "--seconds", "1", "--help").exit_code == 0
    assert asked == ["--seconds", "1", "--help"]


def test_help_needs_nothing_heavy() -> None:
    heavy = ("grpc", "asyncpg", "pydantic", "cryptography", "aiohttp", "matplotlib")
    code = f"import sys, switch.cli; print([name for name in {heavy} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output == "[]\n"


def test_an_hsm_process_gets_the_settings_of_the_hsm_and_nothing_else(
    payswitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr("hsm.serve.main", lambda arguments: asked.append(arguments) or 3)
    monkeypatch.setenv("PAYSWITCH_HSM__MODULE", "/usr/lib/module.so")
    result = payswitch("hsm", "serve", "--socket", "run/a.sock", "--only", "slow", "--admit", "0", "--admit", "nobody")
    assert result.exit_code == 3
    [arguments] = asked
    assert arguments == [
        *("--directory", ".payswitch/tokens", "--socket", "run/a.sock", "--only", "slow"),
        *("--module", "/usr/lib/module.so", "--admit", "0", "--admit", "nobody"),
    ]
    assert payswitch("hsm", "serve", "--socket", "a", "--only", "everything").exit_code == cli.EXIT_USAGE
