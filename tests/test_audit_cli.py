"""`payswitch audit` on a real database and a real token."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from audit_scene import add, empty_trail, signing_hsm
from typer.testing import CliRunner, Result

from switch import cli
from switch.store.pool import create_pool
from switch.wiring.audit import SIGNING_KEY


@pytest.fixture
def trail(postgres_dsn: str) -> Iterator[Any]:
    """Works on the database."""

    def run(work: Any) -> Any:
        async def on_pool() -> Any:
            async with await create_pool(postgres_dsn, size=2) as pool:
                return await work(pool)

        return asyncio.run(on_pool())

    run(empty_trail)
    yield run
    run(empty_trail)


@pytest.fixture
def payswitch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_dsn: str, logging_restored: None, trail: Any
) -> Any:
    signing_hsm(tmp_path / "state" / "tokens").close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", postgres_dsn)
    monkeypatch.setenv("PAYSWITCH_HSM__MODE", "direct")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli.app, ["audit", *arguments, "--state-dir", "state"])

    return run


def test_it_is_signed_verified_and_found_broken(payswitch: Any, trail: Any) -> None:
    trail(lambda pool: add(pool, "Made", "Changed", "Removed"))
    made = payswitch("checkpoint")
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["sequence"] == 3
    assert Path("state/audit/checkpoints.jsonl").read_text() == made.stdout
    assert "nothing was added" in payswitch("checkpoint").stdout
    whole = payswitch("verify")
    assert (whole.exit_code, whole.stdout) == (
        0, "3 entries fit, 3 of them confirmed by checkpoints; 0 wait for their place\n",
    )  # fmt: skip
    trail(lambda pool: pool.execute("DELETE FROM audit_trail WHERE sequence = 2"))
    broken = payswitch("verify")
    assert broken.exit_code == 1
    assert broken.stdout.startswith("entry 2 is missing, before entry 3 (Removed thing/Removed")


def test_it_is_verified_without_the_hsm(payswitch: Any, trail: Any, tmp_path: Path) -> None:
    trail(lambda pool: add(pool, "Made"))
    assert payswitch("checkpoint").exit_code == 0
    other = signing_hsm(tmp_path / "other")
    Path("other.pem").write_bytes(other.store.public_key(SIGNING_KEY))
    other.close()
    foreign = payswitch("verify", "--public-key", "other.pem")
    assert (foreign.exit_code, "not one of audit/sign" in foreign.stdout) == (1, True)
    Path("bad.pem").write_text("nothing")
    assert payswitch("verify", "--public-key", "bad.pem").exit_code == 2
    Path("bad.jsonl").write_text("{}\n")
    assert "bad.jsonl, line 1" in payswitch("verify", "--checkpoints", "bad.jsonl").stderr
    assert payswitch("verify", "--checkpoints", "none.jsonl").exit_code == 3


def test_entries_are_found(payswitch: Any, trail: Any) -> None:
    async def write(pool: asyncpg.Pool) -> None:
        await add(pool, "UserService.LogOut", who="user/1", merchant_id="")
        await add(pool, "MerchantService.AddStore", "MerchantService.AddTerminal", who="user/2")

    trail(write)

    def acts(*arguments: str) -> list[str]:
        result = payswitch("list", "--json", *arguments)
        assert result.exit_code == 0, result.output
        return [json.loads(line)["act"].partition(".")[2] for line in result.stdout.splitlines()]

    assert acts() == ["AddTerminal", "AddStore", "LogOut"]
    assert acts("--limit", "1") == ["AddTerminal"]
    assert acts("--who", "user/1") == ["LogOut"]
    assert acts("--merchant", "m1", "--act", "MerchantService.AddS") == ["AddStore"]
    assert acts("--merchant", "") == ["LogOut"]
    assert acts("--subject", "thing/MerchantService.AddStore") == ["AddStore"]
    assert acts("--until", "2020-01-01") == []
    assert acts("--since", "2020-01-01") == ["AddTerminal", "AddStore", "LogOut"]
    [line] = payswitch("list", "--who", "user/1").stdout.splitlines()
    assert line.endswith('Z #- - user/1 UserService.LogOut thing/UserService.LogOut {"was":1} -> {"is":"新"}')


def test_an_older_schema_says_what_to_do(payswitch: Any, trail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switch.store.audit_chain._HEAD", "SELECT sequence FROM not_there")
    result = payswitch("verify", "--public-key", "/dev/null")
    assert result.exit_code == 2
    result = payswitch("verify")
    assert (result.exit_code, "payswitch migrate" in result.stderr) == (3, True)
