"""The benchmark in small: that its ways agree, and that it says what it measured."""

import pytest

from benchmarks import routing


def test_a_small_run_fills_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert routing.main(["--ranges", "2000", "--lookups", "500", "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2,000 ranges (")
    for way in ("BIN table", "bisect", "dictionary", "settings", "100 rules, listed", "100 rules, cost"):
        assert f"| {way} |" in said


def test_ways_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "by_dictionary", lambda ranges, values: (lambda pan: -2, 0))
    with pytest.raises(AssertionError, match="the ways differ"):
        routing.run(100, 10, 1)
