"""`payswitch retention show` on a real database."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from switch import cli
from switch.store.partitions import ensure_partitions
from switch.store.pool import create_pool

OLD_MS = int(datetime(2021, 4, 1, 12, tzinfo=UTC).timestamp() * 1000)
PARTITIONS = ("authorizations_20210401", "risk_judgements_20210401")


@pytest.fixture
def old_day(postgres_dsn: str) -> Any:
    async def make() -> None:
        async with await create_pool(postgres_dsn, size=1) as pool:
            await ensure_partitions(pool, OLD_MS, days_back=0, days_ahead=0)

    async def unmake() -> None:
        connection = await asyncpg.connect(postgres_dsn)
        await connection.execute("; ".join(f"DROP TABLE IF EXISTS {name}" for name in PARTITIONS))
        await connection.execute("DELETE FROM webhook_alerts; DELETE FROM feed_readings")
        await connection.close()

    asyncio.run(make())
    yield
    asyncio.run(unmake())


def test_it_shows_what_would_go_and_what_holds(
    old_day: None, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, logging_restored: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", postgres_dsn)

    def shown(days: int) -> list[list[str]]:
        monkeypatch.setenv("PAYSWITCH_RETENTION__JOURNAL_DAYS", str(days))
        result = CliRunner().invoke(cli.app, ["retention", "show"])
        assert result.exit_code == 0, result.output
        return [line.split("\t") for line in result.stdout.splitlines()]

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(postgres_dsn)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(execute("DELETE FROM feed_readings; INSERT INTO feed_readings VALUES ('first', 1)"))
    asyncio.run(
        execute("DELETE FROM webhook_alerts; INSERT INTO webhook_alerts VALUES ('m', gen_random_uuid(), 1, 'x')")
    )
    rows = shown(400)
    assert rows[0] == [
        "journal day 2021-04-01", "before 2021-04-02T00:00Z", "held: the feed, which has not read so far",
    ]  # fmt: skip
    assert [row[2] for row in rows if row[0] == "webhook_alerts"] == ["1 rows"]
    asyncio.run(execute("DELETE FROM feed_readings"))
    assert shown(400)[0] == ["journal day 2021-04-01", "before 2021-04-02T00:00Z", "the whole day"]
    assert not [row for row in shown(0) if row[0].startswith("journal day")]
    assert (
        CliRunner().invoke(cli.app, ["retention", "show"], env={"PAYSWITCH_RETENTION__JOURNAL_DAYS": "30"}).exit_code
        == 2
    )
