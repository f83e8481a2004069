"""`payswitch keys`, and a ceremony at a real terminal (a pty)."""

import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hsm.keys import KeyState, KeyStore
from hsm.token import open_token
from switch import cli, hidden_input, key_ceremony
from switch.hidden_input import BadComponent, NoTerminal, read_component

ROOT = Path(__file__).parent.parent
FIRST, SECOND = "0123456789ABCDEFFEDCBA9876543210", "1111111111111111 2222222222222222"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    return lambda *arguments, **options: CliRunner().invoke(cli.app, ["keys", *arguments], **options)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / ".payswitch" / "tokens"


def inventory(keys: Callable[..., Result]) -> dict[tuple[str, str], dict[str, object]]:
    shown = keys("list", "--json")
    assert shown.exit_code == 0
    return {(each["label"], each["state"]): each for each in json.loads(shown.stdout)}


@pytest.mark.parametrize(
    "command",
    ["list", "create", "import", "export", "rotate", "activate", "retire", "verify", "ceremony", "audit"],
)
def test_every_command_explains_itself(keys: Callable[..., Result], command: str) -> None:
    assert command in keys("--help").stdout
    shown = keys(command, "--help")
    assert shown.exit_code == 0
    assert "Usage:" in shown.stdout


def test_a_key_through_its_life(keys: Callable[..., Result]) -> None:
    made = keys("create", "acquirer/mac", "--usage", "MAC_KEY", "--algorithm", "AES-128", "--as", "Ann Example")
    assert made.exit_code == 0, made.stderr
    assert "version 1, current, MAC_KEY AES-128, KCV" in made.stdout
    assert "version 2, pending" in keys("rotate", "acquirer/mac", "--reason", "monthly").stdout
    assert "version 2, current" in keys("activate", "acquirer/mac").stdout
    assert keys("retire", "acquirer/mac?previous").exit_code == 2
    assert keys("retire", "acquirer/mac?previous", "--yes").exit_code == 0
    assert keys("rotate", "acquirer/mac", "--activate").exit_code == 0
    found = inventory(keys)
    assert {state for label, state in found if label == "acquirer/mac"} == {"retired", "previous", "current"}
    table = keys("list").stdout
    assert "acquirer/mac" in table
    assert str(found["acquirer/mac", "current"]["kcv"]) in table
    assert keys("verify").exit_code == 0
    shown = keys("audit").stdout
    assert "Ann Example" in shown
    assert "monthly" in shown
    assert "1 current→previous" in shown
    assert len(keys("audit", "--json", "--last", "2").stdout.splitlines()) == 2


def test_what_is_due_is_marked(keys: Callable[..., Result]) -> None:
    soon = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 10 * 86400))
    for label, day in (("past", "2020-01-31"), ("soon", soon), ("later", "2999-12-31")):
        assert keys("create", label, "--usage", "MAC_KEY", "--expires", day).exit_code == 0
    rows = {line.split()[0]: line for line in keys("list").stdout.splitlines() if line.split()}
    assert rows["past"].rstrip().endswith("2020-01-31 DUE")
    assert rows["soon"].rstrip().endswith(f"{soon} soon")
    assert rows["later"].rstrip().endswith("2999-12-31")
    assert {label: each["due"] for (label, _), each in inventory(keys).items() if "/" not in label} == {
        "past": True,
        "soon": False,
        "later": False,
    }


def test_key_blocks_by_file_and_by_pipe(keys: Callable[..., Result], tmp_path: Path) -> None:
    keys("create", "kbpk", "--usage", "KEY_BLOCK")
    keys("create", "zpk", "--usage", "PIN_KEY", "--exportability", "E")
    block = keys("export", "zpk", "--under", "kbpk").stdout
    assert block.startswith("D0112P0TB00E0000")
    (tmp_path / "block").write_text(block)
    assert keys("import", "copy/1", "--under", "kbpk", "--file", str(tmp_path / "block")).exit_code == 0
    assert keys("import", "copy/2", "--under", "kbpk", input=block).exit_code == 0
    keys("rotate", "zpk", "--activate")
    second = keys("export", "zpk", "--under", "kbpk").stdout
    assert keys("import", "copy/2", "--under", "kbpk", input=second).exit_code == 1
    assert keys("import", "copy/2", "--under", "kbpk", "--new-version", input=second).exit_code == 0
    found = inventory(keys)
    assert found["copy/1", "current"]["kcv"] == found["copy/2", "current"]["kcv"] == found["zpk", "previous"]["kcv"]
    assert found["copy/2", "pending"]["kcv"] == found["zpk", "current"]["kcv"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("list",), 1, "create it first"),
        (("create", "x", "--usage", "ANYTHING"), 2, "ANYTHING"),
        (("create", "x", "--usage", "MAC_KEY", "--algorithm", "ROT-13"), 2, "no algorithm"),
        (("create", "x", "--usage", "MAC_KEY", "--mode", "Q"), 2, "no mode"),
        (("create", "x", "--usage", "MAC_KEY", "--mode", "B"), 1, "mode of use"),
        (("create", "x", "--usage", "SEALING", "--exportability", "E"), 1, "no key block"),
        (("create", "x", "--usage", "MAC_KEY", "--as", ""), 2, "a name has"),
        (("create", "x", "--usage", "MAC_KEY", "--expires", "soon"), 2, "soon"),
        (("create", "a?b", "--usage", "MAC_KEY"), 1, "without '?'"),
        (("ceremony", "x", "--usage", "MAC_KEY", "--custodians", "1"), 2, "custodians"),
        (("ceremony", "x", "--usage", "MAC_KEY"), 1, "broken off"),
        (("import", "x", "--under", "y", "--file", "missing"), 2, "cannot read"),
    ],
)
def test_exit_codes(keys: Callable[..., Result], arguments: tuple[str, ...], status: int, words: str) -> None:
    result = keys(*arguments)
    assert result.exit_code == status
    assert words in result.stdout + result.stderr


def test_tampering_is_shown(keys: Callable[..., Result], place: Path) -> None:
    keys("create", "mac", "--usage", "MAC_KEY")
    trail = place / "key-audit.jsonl"
    trail.write_text(trail.read_text().replace('"label": "mac"', '"label": "moc"', 1))
    for command in ("verify", "audit"):
        result = keys(command)
        assert result.exit_code == 1
        assert "was changed" in result.stdout + result.stderr


def test_no_settings_no_keys(keys: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSWITCH_LEASE_MS", "1")
    assert keys("list").exit_code == 2


# --- the ceremony -----------------------------------------------------------------------------------------------------


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[bytearray | BaseException]:
    """What the hidden prompt gives, one after the other."""
    waiting: list[bytearray | BaseException] = []

    def read(prompt: str, show: object) -> bytearray:
        given = waiting.pop(0)
        if isinstance(given, BaseException):
            raise given
        return given

    monkeypatch.setattr(hidden_input, "read_component", read)
    return waiting


def component(text: str) -> bytearray:
    return bytearray.fromhex(text)


def test_a_ceremony(keys: Callable[..., Result], typed: list[bytearray | BaseException], place: Path) -> None:
    given = [component(FIRST), component("FF" * 16), component(SECOND)]
    typed += [given[0], BadComponent("not that"), given[1], given[2]]
    answers = "Ann\ny\nAnn\nBob\nn\ny\ny\ny\n"  # Bob may not be Ann; his first component is not what his sheet says
    result = keys("ceremony", "zmk", "--usage", "KEY_TRANSPORT", "--algorithm", "TDES-2KEY", input=answers)
    assert result.exit_code == 0, result.stdout + result.stderr
    assert all(each == bytearray(16) for each in given)
    with open_token(place) as token:
        store = KeyStore(token)
        found = store.find("zmk")
        assert (found.algorithm, found.state) == ("TDES-2KEY", KeyState.CURRENT)
        reasons = [each.event.reason for each in store.audit_lines() if each.event.action == "ceremony"]
    assert result.stdout.count(found.kcv) == 4  # shown, confirmed by two, and stored
    assert [each.split(",")[0] for each in reasons] == [
        "begun: KEY_TRANSPORT TDES-2KEY",
        "component 1 by Ann",
        "component 2 by Bob",
        f"check value {found.kcv} confirmed by Ann",
        f"check value {found.kcv} confirmed by Bob",
        "ended: version 1",
    ]
    for line in (FIRST, SECOND[:16]):
        assert line not in result.stdout.upper() + (place / "key-audit.jsonl").read_text().upper()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ("Ann\ny\nBob\ny\ny\nn\n", "Bob did not confirm"),
        ("Ann\ny\nAnn\nAnn\n \n", "no name of their own"),
        ("Ann\nn\nn\nn\n", "was not given"),
        ("Ann\ny\n", "broken off"),
    ],
)
def test_a_ceremony_that_fails(
    keys: Callable[..., Result], typed: list[bytearray | BaseException], place: Path, answers: str, words: str
) -> None:
    given = [component(FIRST), component(SECOND), component(SECOND)]
    typed += given
    result = keys("ceremony", "zmk", "--usage", "PIN_KEY", "--algorithm", "TDES-2KEY", input=answers)
    assert result.exit_code == 1
    assert words in result.stderr
    with open_token(place) as token:
        store = KeyStore(token)
        assert "zmk" not in store
        last = store.audit_lines()[-1]
        assert (last.event.action, last.phase, last.event.label) == ("ceremony", "failed", "zmk")
    taken = len(given) - len(typed)
    assert all(each == bytearray(16) for each in given[:taken])


@pytest.mark.parametrize("bad", ["00" * 16, "01" * 8, "01" * 24])
def test_components_that_fit_no_key(
    keys: Callable[..., Result], typed: list[bytearray | BaseException], bad: str
) -> None:
    typed += [component(bad)] * key_ceremony.ATTEMPTS
    result = keys("ceremony", "zmk", "--usage", "PIN_KEY", "--algorithm", "TDES-2KEY", input="Ann\n")
    assert result.exit_code == 1
    assert "was not given" in result.stderr


def test_at_a_terminal(tmp_path: Path) -> None:
    """The whole command at a pty: components are not echoed, and not in the process's arguments or environment."""
    terminal, side = pty.openpty()
    program = "from switch.cli import main; main()"
    arguments = [
        "keys",
        "ceremony",
        "zmk",
        "--usage",
        "PIN_KEY",
        "--algorithm",
        "TDES-2KEY",
        "--state-dir",
        str(tmp_path),
    ]
    running = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, stdin=side, stdout=side, stderr=side, close_fds=True
    )
    os.close(side)
    shown = bytearray()
    try:
        for prompt, answer in (
            (b"Custodian's name", "Ann"),
            (b"not shown): ", FIRST),
            (b"sheet? [y/N]", "y"),
            (b"Custodian's name", "Bob"),
            (b"not shown): ", SECOND),
            (b"sheet? [y/N]", "y"),
            (b"key? [y/N]", "y"),
            (b"key? [y/N]", "y"),
        ):
            shown += read_until(terminal, prompt)
            os.write(terminal, answer.encode() + b"\n")
        shown += read_until(terminal, None)
        assert running.wait(30) == 0, shown
    finally:
        running.kill()
        running.wait()
        os.close(terminal)
    text = shown.decode().upper()
    assert FIRST not in text
    assert SECOND not in text
    assert "VERSION 1, CURRENT, PIN_KEY TDES-2KEY" in text


def read_until(terminal: int, wanted: bytes | None) -> bytes:
    """What the process writes until `wanted` appears; None: until it ends."""
    found, deadline = b"", time.monotonic() + 30
    while wanted is None or wanted not in found:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, found
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            part = b""
        if not part:
            assert wanted is None, found
            break
        found += part
    return found


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch):
    """A pty whose other end is this process's standard input."""
    mine, side = pty.openpty()
    stdin = os.fdopen(side, "r")
    monkeypatch.setattr(sys, "stdin", stdin)
    yield mine
    stdin.close()
    os.close(mine)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"0123456789abcdef\n", "0123456789abcdef"),
        (b"01 23 45 67 89 AB CD EF\r\n", "0123456789abcdef"),
        (b"0123456789abcde\n", None),
        (b"\n", None),
        (b"0123456789abcdeg\n", None),
        (b"0x23456789abcdef\n", None),
    ],
)
def test_hexadecimal_at_a_hidden_prompt(terminal: int, line: bytes, expected: str | None) -> None:
    before = termios.tcgetattr(sys.stdin.fileno())

    def show(text: str) -> None:
        if text == "? ":  # only now: what was typed ahead of the prompt is thrown away
            assert not termios.tcgetattr(sys.stdin.fileno())[3] & termios.ECHO
            os.write(terminal, line)

    if expected is None:
        with pytest.raises(BadComponent):
            read_component("? ", show)
    else:
        assert read_component("? ", show) == bytearray.fromhex(expected)
    assert termios.tcgetattr(sys.stdin.fileno()) == before


def test_components_come_from_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, FIRST.encode() + b"\n")
    os.close(write_end)
    with os.fdopen(read_end) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(NoTerminal):
            read_component("? ", lambda text: None)
