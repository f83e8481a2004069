"""The benchmark in small: that it judges all that it filled in, by all of its rules, and says what it measured."""

import asyncpg
from desk_scene import emptied

from benchmarks import replay
from switch.risk.watch import rules_of


async def test_a_small_run_fills_the_page(postgres_dsn: str, database: asyncpg.Pool) -> None:
    await emptied(database)
    try:
        figures = await replay.measured(postgres_dsn, 600, 1, None, 16)
    finally:
        await database.execute("DROP TABLE risk_judgements_20260101")
    assert len(rules_of(replay.document().encode(), 0).rules) == replay.RULES
    report = figures.report
    assert (report.judged.payments, report.declined_before.payments) == (600, 3)
    assert report.missing == {}
    assert len([each for each in report.rules.values() if each.fired]) > replay.RULES // 2
    said = replay.page(figures)
    assert said.startswith("600 judgements")
    for row in ("| replay |", "| largest resident set |", "judged 600, newly declined"):
        assert row in said
