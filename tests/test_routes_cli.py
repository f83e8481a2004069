"""`payswitch routes` as an operator uses it, on a database of its own."""

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from routing_scene import BINS
from typer.testing import CliRunner, Result

from switch import cli
from switch.routes_cli import EXIT_REFUSED, EXIT_USAGE
from switch.store.embedded import EmbeddedPostgres

PLAN = """
name = "{name}"
[[bins]]
name = "main"
sha256 = "{sha256}"
[[rules]]
name = "debit"
channels = ["{channel}", "unionpay"]
[rules.when]
card_type = ["debit"]
[[rules]]
name = "rest"
channels = ["unionpay"]
[[expect]]
name = "a debit card"
card = "622588"
first = "{channel}"
"""

Routes = Callable[..., Result]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="payswitch-tests-") as path:
        yield Path(path)


@pytest.fixture
def routes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Routes:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PAYSWITCH_ISSUERS", '["bank"]')
    monkeypatch.setattr("switch.ops.logs.configure", lambda level: None)  # it is for a whole process
    return lambda *arguments: CliRunner().invoke(cli.app, ["routes", *map(str, arguments)])


@pytest.fixture
def database(postgres_server: EmbeddedPostgres, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", postgres_dsn)

    async def empty() -> None:
        connection = await asyncpg.connect(postgres_dsn)
        await connection.execute("DELETE FROM routing_plans; DELETE FROM routing_changes")
        await connection.execute("DELETE FROM bin_table_chunks; DELETE FROM bin_tables")
        await connection.close()

    yield
    asyncio.run(empty())


def write(folder: Path, name: str = "autumn", channel: str = "issuer:bank", bins: bytes = BINS) -> tuple[Path, Path]:
    plan, table = folder / "plan.toml", folder / "bins.csv"
    plan.write_text(PLAN.format(name=name, channel=channel, sha256=hashlib.sha256(bins).hexdigest()))
    table.write_bytes(bins)
    return plan, table


def test_a_plan_is_validated_from_its_files_alone(routes: Routes, folder: Path) -> None:
    plan, table = write(folder)
    result = routes("validate", plan, "--bins", table)
    assert (result.exit_code, result.stdout) == (
        0, "autumn: good; rules: 2, contracts: 0, PAN ranges: 3, expectations met: 1\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"channel": "issuer:other"}, "rules[0].channels[0]: there is no channel 'issuer:other'; there are alipay"),
        ({"bins": BINS + b"62,,16,X,,,,\n"}, "bins[0] (main): line 5: scheme is not 1 to 32 of a-z"),
    ],
)
def test_a_wrong_plan_ends_the_command_with_place_and_reason(
    routes: Routes, folder: Path, fields: dict[str, str], reason: str
) -> None:
    plan, table = write(folder, **fields)
    result = routes("validate", plan, "--bins", table)
    assert result.exit_code == EXIT_REFUSED
    assert reason in result.stderr


def test_another_table_than_the_plan_names_is_refused(routes: Routes, folder: Path) -> None:
    plan, table = write(folder)
    table.write_bytes(BINS + b"\n")
    result = routes("validate", plan, "--bins", table)
    assert result.exit_code == EXIT_REFUSED
    assert "bins[0]: the SHA-256 of main is not the one that the plan names" in result.stderr


def test_a_table_that_is_not_given_is_missed(routes: Routes, folder: Path) -> None:
    plan, _ = write(folder)
    result = routes("validate", plan)
    assert (result.exit_code, "bins[0]: the table main is not at hand" in result.stderr) == (EXIT_REFUSED, True)


@pytest.mark.parametrize("option", ["other=bins.csv", "main=none.csv"])
def test_a_wrong_option_is_told_from_a_wrong_plan(routes: Routes, folder: Path, option: str) -> None:
    plan, _ = write(folder)
    assert routes("validate", plan, "--bins", option).exit_code == EXIT_USAGE
    assert routes("validate", "none.toml").exit_code == EXIT_USAGE


def test_a_plan_is_explained_before_it_is_loaded(routes: Routes, folder: Path) -> None:
    plan, table = write(folder)
    asked = ("explain", "--file", plan, "--bins", f"main={table}")
    assert routes(*asked, "--card", "622588").stdout == "plan 0, rule debit: issuer:bank then unionpay\n"
    down = routes(*asked, "--card", "622588", "--unready", "issuer:bank")
    assert down.stdout == "plan 0, rule debit: unionpay then issuer:bank (issuer:bank not ready)\n"
    assert routes(*asked, "--code", "28").stdout == "plan 0, rule rest: unionpay\n"
    assert routes(*asked, "--code", "99").exit_code == EXIT_USAGE
    assert routes(*asked, "--card", "622588", "--code", "28").exit_code == EXIT_USAGE
    refused = routes(*asked, "--card", "6225880000000005")
    assert refused.exit_code == EXIT_USAGE
    assert "6225880000000005" not in refused.stderr


def test_the_life_of_a_plan(routes: Routes, folder: Path, database: None) -> None:
    assert "no plan is live" in routes("list").stdout
    assert routes("explain", "--card", "622588").stdout == "plan 0, rule cards: unionpay\n"
    assert routes("rollback").exit_code == EXIT_REFUSED

    plan, table = write(folder)
    loaded = routes("load", plan, "--bins", table, "--as", "ann")
    assert loaded.stdout.startswith("version 1: autumn, a draft")
    assert routes("explain", "--card", "622588").stdout == "plan 0, rule cards: unionpay\n"
    assert routes("activate", 1, "--as", "bob").stdout == "version 1 is live instead of 0\n"
    assert routes("explain", "--card", "622588").stdout == "plan 1, rule debit: issuer:bank then unionpay\n"

    # The table is stored: it need not be given again.
    plan, _ = write(folder, name="winter", channel="alipay")
    assert routes("load", plan).exit_code == 0
    assert routes("explain", "--card", "622588", "--version", 2).stdout == "plan 2, rule debit: alipay then unionpay\n"
    assert routes("activate", 2).stdout == "version 2 is live instead of 1\n"
    assert routes("rollback").stdout == "version 1 is live instead of 2\n"
    assert routes("rollback").stdout == "version 2 is live instead of 1\n"

    listed = json.loads(routes("list", "--json").stdout)
    assert [(each["version"], each["name"], each["state"]) for each in listed] == [
        (1, "autumn", "retired"),
        (2, "winter", "live"),
    ]
    assert listed[0]["created_by"] == "ann"
    assert routes("show", 2).stdout == plan.read_text() + "\n"
    assert routes("show", 3).exit_code == EXIT_REFUSED
    assert routes("activate", 3).exit_code == EXIT_REFUSED


def test_a_plan_that_fails_is_neither_stored_nor_put_in_force(
    routes: Routes, folder: Path, database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, table = write(folder)
    assert routes("load", plan, "--bins", table).exit_code == 0
    assert routes("activate", 1).exit_code == 0
    write(folder, channel="issuer:other")
    assert routes("load", plan, "--bins", table).exit_code == EXIT_REFUSED
    write(folder, name="winter", channel="alipay")
    assert routes("load", plan).exit_code == 0
    # It was good when it was loaded; it is checked again when it is to go live.
    monkeypatch.setenv("PAYSWITCH_ALIPAY__GATEWAY_URL", "")
    refused = routes("activate", 2)
    assert refused.exit_code == EXIT_REFUSED
    assert "there is no channel 'alipay'" in refused.stderr
    states = [(each["version"], each["state"]) for each in json.loads(routes("list", "--json").stdout)]
    assert states == [(1, "live"), (2, "draft")]


def test_without_a_database_the_command_says_so(routes: Routes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")
    result = routes("list")
    assert result.exit_code == EXIT_REFUSED
    assert "the database cannot be used" in result.stderr
