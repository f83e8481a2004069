"""The benchmark of judging in small: it judges what it measures, with the counters there."""

from benchmarks import judging


async def test_a_few_payments_are_judged() -> None:
    figures = await judging.measured(rounds=1, batches=1, scorer=None, alone=20)
    assert figures.absences == 0
    assert figures.judged_us > 0
    assert "50 rules" in judging.lines(figures)[0]
