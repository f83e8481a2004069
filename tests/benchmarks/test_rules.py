"""The benchmark in small: that its ways agree, and that it says what it measured."""

import pytest

from benchmarks import rules


def test_a_small_run_fills_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert rules.main(["--payments", "64", "--rounds", "1", "--entries", "100"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("50 live rules over ")
    for way in ("judge: one expression", "one by one", "one expression, a variable a fact", "Python's own bytecode"):
        assert f"| {way}" in said
    assert "lists of 100 entries: " in said


def test_ways_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "in_python", lambda set_: lambda facts: [True] * len(set_.compiled))
    with pytest.raises(AssertionError, match="finds something else"):
        rules.run(64, 1, 10)
