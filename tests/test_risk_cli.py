"""`payswitch risk check`, `train` and `evaluate`, tiny."""

import json
from pathlib import Path

import pytest
import small_model
from typer.testing import CliRunner

from switch import risk_cli, risk_evaluation
from switch.risk.labelled import history_line
from switch.risk.model_file import read
from switch.risk.population import stream
from switch.risk.starter import STARTER_FILE

COMMAND = risk_cli.risk_app


def test_seeds_are_kept_apart() -> None:
    assert risk_cli._SEEDS_FROM == stream.EVALUATION_SEEDS_FROM
    assert max(risk_evaluation.TRAINING_SEEDS) < stream.EVALUATION_SEEDS_FROM
    assert (risk_cli._PAYMENTS, risk_cli._DAYS) == (stream.PAYMENTS, stream.DAYS)
    refused = CliRunner().invoke(COMMAND, ["train", "x", "--training-seed", str(stream.EVALUATION_SEEDS_FROM)])
    assert refused.exit_code == risk_cli.EXIT_USAGE
    refused = CliRunner().invoke(COMMAND, ["evaluate", "--seed", "2"])
    assert refused.exit_code == risk_cli.EXIT_USAGE
    assert "seed 2" in refused.output


def test_a_history_becomes_a_model(tmp_path: Path) -> None:
    history, out = tmp_path / "history.jsonl", tmp_path / "model"
    history.write_bytes(b"".join(history_line(each) for each in small_model.history(3000)))
    done = CliRunner().invoke(COMMAND, ["train", str(out), "--history", str(history), "--every", "1"])
    assert done.exit_code == 0, done.output
    assert read(out.read_bytes()).header.trained_from == "history.jsonl"
    assert "average precision" in done.output


@pytest.mark.parametrize(
    ("content", "code"), [(b"{\n", risk_cli.EXIT_REFUSED), (b"", risk_cli.EXIT_REFUSED), (None, risk_cli.EXIT_USAGE)]
)
def test_a_history_that_is_wrong_is_refused(tmp_path: Path, content: bytes | None, code: int) -> None:
    history, out = tmp_path / "history.jsonl", tmp_path / "model"
    if content is not None:
        history.write_bytes(content)
    refused = CliRunner().invoke(COMMAND, ["train", str(out), "--history", str(history)])
    assert refused.exit_code == code
    assert not out.exists()


def test_an_evaluation_is_shown_and_drawn(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_bytes(small_model.content())
    arguments = ["evaluate", "--seed", "1003", "--payments", "1000", "--days", "6", "--model", str(model)]
    done = CliRunner().invoke(COMMAND, [*arguments, "--processes", "1", "--plot", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert set(document["arms"]) == {"none", "rules", "model", "both"}
    assert document["arms"]["none"]["legitimate_declined"] == 0
    assert (tmp_path / "risk_precision_recall.png").stat().st_size > 10_000
    assert b"<svg" in (tmp_path / "risk_precision_recall.svg").read_bytes()


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("tree\n")
    refused = CliRunner().invoke(COMMAND, ["evaluate", "--payments", "1000", "--model", str(tmp_path / "model")])
    assert refused.exit_code == risk_cli.EXIT_REFUSED
    assert "refused" in refused.output


def test_check_says_what_a_rule_set_needs() -> None:
    shown = CliRunner().invoke(COMMAND, ["check", str(STARTER_FILE)])
    assert shown.exit_code == 0
    assert "contactless_no_pin v1 live: step_up with 61" in shown.output.splitlines()


def test_check_names_every_place(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(STARTER_FILE.read_text().replace("amount_minor >", "amount_minr >"))
    shown = CliRunner().invoke(COMMAND, ["check", str(wrong)])
    assert shown.exit_code == risk_cli.EXIT_REFUSED
    assert "the nearest is 'amount_minor'" in shown.stderr
    assert CliRunner().invoke(COMMAND, ["check", str(tmp_path / "none")]).exit_code == risk_cli.EXIT_USAGE
