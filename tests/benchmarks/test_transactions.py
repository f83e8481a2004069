"""The benchmark in small: that it fills, searches in every way, and says what it measured."""

import pytest

from benchmarks import transactions


def test_a_small_run_fills_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert transactions.main(["--rows", "2000", "--times", "2"]) == 0
    said = capsys.readouterr().out
    assert "2,000 rows of 1 merchant(s)" in said
    for name in ("look-up by primary key", *transactions.filters(2_000)):
        assert f"| {name} |" in said
    assert " and goes on |" not in said  # 2,000 rows are searched to the end
    assert "| retrieval reference |" in said
