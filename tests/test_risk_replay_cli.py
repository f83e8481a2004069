"""`payswitch risk replay` as an analyst runs it."""

import json
from pathlib import Path

import asyncpg
import pytest
import typer
from desk_scene import NOW_MS, Judged, document, emptied, facts_with, rule, store
from typer.testing import CliRunner

from switch.domain.risk import Label, Outcome
from switch.domain.risk_replay import ReplayReport, RuleTally, Tally
from switch.risk_replay_cli import lines_of, replay

CANDIDATE = document(rule("big", "amount_minor > 500"))


@pytest.fixture
def command() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(replay)
    return app


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "rules.toml"
    file.write_text(CANDIDATE)
    return file


@pytest.fixture
async def judged(database: asyncpg.Pool, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await emptied(database)
    await store(
        database,
        [
            Judged(facts_with(amount_minor=100), time_ms=NOW_MS),
            Judged(facts_with(amount_minor=900), time_ms=NOW_MS + 1),
            Judged(facts_with(amount_minor=50), Outcome.DECLINE, NOW_MS + 2, "59", ("old",), currency="JPY"),
            Judged(facts_with(amount_minor=901), time_ms=NOW_MS + 60_000),
        ],
    )
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", postgres_dsn)


TIME = ["--from", "2026-01-01T08:00", "--to", "2026-01-01T08:01"]  # Shanghai's; NOW_MS is midnight UTC


@pytest.mark.usefixtures("judged", "logging_restored")
def test_it_says_what_would_have_changed(command: typer.Typer, rules: Path) -> None:
    done = CliRunner().invoke(command, [*TIME, "--rules", str(rules)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["judged", "3", "CNY", "1,000,", "JPY", "50"]
    assert lines[3].split() == ["newly", "declined", "1", "CNY", "900"]
    assert lines[4].split() == ["no", "longer", "declined", "1", "JPY", "50"]
    assert "newly declined of what was let pass: 50.00 %" in lines
    assert lines[-2].split() == ["big", "0", "1", "0", "0", "0", "0"]
    assert lines[-1].split() == ["old", "1", "0", "0", "0", "0", "0"]


@pytest.mark.usefixtures("judged", "logging_restored")
def test_as_json(command: typer.Typer, rules: Path) -> None:
    done = CliRunner().invoke(command, [*TIME, "--rules", str(rules), "--json"])
    found = json.loads(done.stdout)
    assert found["judged"] == {"payments": 3, "amounts": {"CNY": 1_000, "JPY": 50}}
    assert found["newly_declined_basis_points"] == 5_000


@pytest.mark.usefixtures("judged", "logging_restored")
def test_a_document_that_is_none_is_refused_with_its_places(command: typer.Typer, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(document(rule("x", "amount_minr > 1")))
    done = CliRunner().invoke(command, [*TIME, "--rules", str(file)])
    assert done.exit_code == 1
    assert "rules[0].when:1:1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--from", "2026-01-01"], "give --rules, --model or both"),
        (["--from", "yesterday", "--rules", "x"], "must be 2026-01-05"),
        (["--from", "2026-01-02", "--to", "2026-01-01", "--rules", "x"], "--to must be after --from"),
        ([*TIME, "--rules", "/nowhere/rules.toml"], "cannot read /nowhere/rules.toml"),
    ],
)
@pytest.mark.usefixtures("logging_restored")
def test_a_wrong_command_line_is_told(command: typer.Typer, arguments: list[str], text: str) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert text in done.stderr


def test_labels_and_missing_facts_are_shown() -> None:
    report = ReplayReport(judged=Tally(9), fraud=Tally(4, {"CNY": 40}), fraud_declined=Tally(3, {"CNY": 30}))
    report.rules["big"] = RuleTally(fired=3, fraud=int(Label.FRAUD))
    report.missing["hour"] = 1_234
    lines = list(lines_of(report))
    assert [line.split() for line in lines if line.startswith("  caught  ")][-1] == ["caught", "3", "CNY", "30"]
    assert lines[-1] == "not stored: hour, in 1,234 judgements that should have it"
