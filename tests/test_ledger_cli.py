"""`payswitch ledger check` on a real database, with a leg that nothing balances."""

import asyncio
from typing import Any

import asyncpg
import pytest
from books import EMPTY
from typer.testing import CliRunner, Result

from switch import cli

UNBALANCED = """
INSERT INTO ledger_entries (
    merchant_id, transaction_id, leg, day, kind, account, amount_minor, currency, source, time_ms)
VALUES ('m1', gen_random_uuid(), 1, '2026-11-02', 1, 'merchant', -100, 'CNY', 'test', 1)
"""


def on_database(dsn: str, statement: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(work())


@pytest.fixture
def payswitch(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, postgres_dsn: str, logging_restored: None) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", postgres_dsn)
    on_database(postgres_dsn, EMPTY)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli.app, ["ledger", "check", *arguments])

    yield run
    on_database(postgres_dsn, EMPTY)


def test_books_that_are_right_and_books_that_are_not(payswitch: Any, postgres_dsn: str) -> None:
    assert (payswitch().exit_code, payswitch().stdout) == (0, "")
    on_database(postgres_dsn, UNBALANCED)
    everything, day, other = payswitch(), payswitch("--day", "2026-11-02"), payswitch("--day", "2026-11-03")
    assert (everything.exit_code, day.exit_code, other.exit_code) == (1, 1, 0)
    for each in (everything, day):
        assert any(line.startswith("transaction") and "m1/" in line for line in each.stdout.splitlines()), each.stdout


def test_a_day_that_is_none_and_a_database_that_is_away(payswitch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert payswitch("--day", "yesterday").exit_code == 2
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert payswitch().exit_code == 3
