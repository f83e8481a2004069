"""`payswitch terminals`, on a database and a token of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.unionpay.pos.simulator import des
from hsm.keys import KeyStore, KeyUsage
from hsm.token import create_token, open_token
from switch import cli, hidden_input
from switch.store.embedded import EmbeddedPostgres

Command = Callable[..., Result]
SHOP = ("104110053110001", "T0000001")
ADD = ("add", *SHOP, "--acquirer", "acme", "--name", "Corner Shop")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_server: EmbeddedPostgres) -> Command:
    monkeypatch.setenv("PAYSWITCH_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", postgres_server.dsn())
    token = create_token(tmp_path / "tokens")
    with open_token(token) as opened:
        store = KeyStore(opened)
        store.generate(f"terminal/{SHOP[0]}/{SHOP[1]}/tmk", KeyUsage.KEY_TRANSPORT, "TDES-2KEY")
        store.generate("zone", KeyUsage.PIN_KEY, "TDES-2KEY")
        store.generate("receiving", KeyUsage.KEY_TRANSPORT, "TDES-2KEY", mode="D")
    return lambda *arguments, **options: CliRunner().invoke(cli.app, ["terminals", *arguments], **options)


def test_a_terminal_through_its_life(command: Command) -> None:
    added = command(*ADD, "--category", "5411", "--city", "Shanghai")
    assert added.exit_code == 0, added.stderr
    assert "KCV" in added.stdout
    again = command(*ADD)
    assert (again.exit_code, "already" in again.stderr) == (1, True)
    listed = command("list").stdout
    assert [each in listed for each in (*SHOP, "acme", "signed off", "Corner Shop")] == [True] * 5
    removed = command("remove", *SHOP)
    assert (removed.exit_code, "still in the HSM" in removed.stdout) == (0, True)
    assert command("remove", *SHOP).exit_code == 1
    assert SHOP[0] not in command("list").stdout


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        (("--key", "no/such/key"), 1),
        (("--key", "zone"), 1),
        (("--key", "receiving"), 1),
        (("--category", "54"), 2),
        (("--acquirer", "a b"), 2),
        (("--name", "x" * 26), 2),
        (("--city", "x" * 14), 2),
        (("--custodians", "1"), 2),
    ],
)
def test_what_is_refused(command: Command, changed: tuple[str, str], status: int) -> None:
    arguments = list(ADD)
    if changed[0] in arguments:
        arguments[arguments.index(changed[0]) + 1] = changed[1]
    else:
        arguments += changed
    refused = command(*arguments)
    assert (refused.exit_code, bool(refused.stderr)) == (status, True)
    assert SHOP[1] not in command("list").stdout


@pytest.mark.parametrize("names", [("m" * 16, "T0000001"), ("m1", "T1"), ("m-1", "T0000001"), ("m1", "T-000001")])
def test_names_that_no_message_could_carry(command: Command, names: tuple[str, str]) -> None:
    assert command("add", *names, "--acquirer", "acme", "--name", "Corner Shop").exit_code == 2


def test_a_master_key_from_components_needs_a_terminal_to_type_at(command: Command) -> None:
    """The ceremony is `payswitch keys ceremony`'s: components never come from a pipe."""
    refused = command(*ADD, "--key", "fresh", "--custodians", "2")
    assert refused.exit_code == 1
    assert "no key" in refused.stderr or "terminal" in refused.stderr


def test_a_master_key_is_formed(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the custodians typed is the published key: its check value is shown, and the key is in the HSM."""
    published = bytes.fromhex("CA5D92598DCA48CE8A4C76361A9269E9")
    mask = bytes(range(1, 17))
    components = iter([bytearray(mask), bytearray(a ^ b for a, b in zip(published, mask, strict=True))])
    monkeypatch.setattr(hidden_input, "read_component", lambda prompt, show: next(components))
    answers = "Ann\ny\nBob\ny\ny\ny\n"
    formed = command(*ADD, "--key", "formed/tmk", "--custodians", "2", "--as", "Ann Example", input=answers)
    assert formed.exit_code == 0, formed.stderr
    with open_token(tmp_path / "tokens") as opened:
        info = KeyStore(opened).find("formed/tmk")
    assert (info.usage, info.algorithm) == (KeyUsage.KEY_TRANSPORT, "TDES-2KEY")
    assert f"master key formed/tmk, KCV {info.kcv}" in formed.stdout
    assert info.kcv == des(published, bytes(8))[:3].hex().upper()
    assert command("remove", *SHOP).exit_code == 0
