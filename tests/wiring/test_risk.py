"""Risk control's desk opened as a process opens it; a replay in processes of its own, over days in the database."""

import asyncio
import multiprocessing
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from desk_scene import ANN, BOB, DAY_MS, NOW_MS, RULES, Judged, document, emptied, facts_with, rule, store
from small_model import content

from payswitch.v1 import risk_pb2 as pb
from switch.api.guarded import access_of
from switch.config import Settings
from switch.domain.identity import lowest_id_at
from switch.domain.risk import Label, Outcome
from switch.domain.risk_label import PaymentLabel
from switch.domain.risk_replay import Tally
from switch.ops.lifecycle import EXIT_CLEAN, Lifecycle
from switch.ports.risk_desk import Candidate, ReplayFailed
from switch.risk.document import read_rules
from switch.risk.model import load_model
from switch.risk.packing import pack_facts
from switch.risk.rejudge import Rejudging, Then
from switch.risk.watch import rules_of
from switch.store.heavy import HeavyConnections
from switch.store.judgement_pages import JudgementPart, judgements_in, parts_between
from switch.store.risk_replays import PostgresJudgementsRead
from switch.wiring.foundation import SystemClock
from switch.wiring.platform import Platform
from switch.wiring.risk import open_risk
from switch.wiring.risk_replay import ProcessReplays

FROM_MS, TO_MS = NOW_MS - 2 * DAY_MS, NOW_MS - DAY_MS // 2
STARTER = read_rules(document(rule("starter", "amount_minor > 8000"), name="starter"))
CANDIDATE = document(rule("big", "amount_minor > 9000"), rule("late", "hour > 20", "review"))


@pytest.fixture
async def pool(database: asyncpg.Pool) -> asyncpg.Pool:
    await emptied(database)
    return database


@pytest.fixture
async def partitions(pool: asyncpg.Pool) -> AsyncIterator[None]:
    """Three days have their own."""
    names = []
    for day in range(3):
        first_ms = NOW_MS - (3 - day) * DAY_MS
        names.append(f"risk_judgements_{datetime.fromtimestamp(first_ms / 1000, UTC):%Y%m%d}")
        bounds = f"FROM ('{lowest_id_at(first_ms)}') TO ('{lowest_id_at(first_ms + DAY_MS)}')"
        await pool.execute(f"CREATE TABLE {names[-1]} PARTITION OF risk_judgements FOR VALUES {bounds}")
    yield
    await pool.execute(f"DROP TABLE {', '.join(names)}")


@pytest.fixture
async def days(pool: asyncpg.Pool, partitions: None) -> list[Judged]:
    """Judgements of three days; some outside of the range, some labelled."""
    dice = random.Random(1)
    judged = [
        Judged(
            facts_with(amount_minor=dice.randrange(10_000) + 1, hour=dice.randrange(24)),
            dice.choice(list(Outcome)),
            NOW_MS - 3 * DAY_MS + dice.randrange(3 * DAY_MS),
            fired=("big",) if dice.random() < 0.1 else (),
            currency=dice.choice(["CNY", "JPY"]),
        )
        for _ in range(3_000)
    ]
    await store(pool, judged)
    labels = [PaymentLabel("m1", each.id, "case", dice.choice(list(Label)), 7) for each in judged[::5]]
    again = [PaymentLabel("m1", each.id, "dispute", Label.FRAUD, 8) for each in judged[::10]]
    await PostgresJudgementsRead(pool).put_labels(labels + again)
    return judged


async def labels_by_id(pool: asyncpg.Pool) -> dict[Any, int]:
    rows = await pool.fetch("SELECT authorization_id, label FROM risk_labels ORDER BY time_ms")
    return {row["authorization_id"]: row["label"] for row in rows}


def then(judged: Judged, label: int | None) -> Then:
    return Then(
        judged.outcome, judged.response_code, int(judged.facts["amount_minor"]), judged.currency,  # type: ignore[arg-type]
        judged.fired, judged.absent, 0, pack_facts(judged.facts), label,
    )  # fmt: skip


def heard_into(told: list[int]) -> Callable[[int], Awaitable[None]]:
    async def heard(judged: int) -> None:
        told.append(judged)

    return heard


@pytest.mark.parametrize("with_model", [False, True])
async def test_processes_find_what_judging_one_by_one_finds(
    pool: asyncpg.Pool, postgres_dsn: str, days: list[Judged], with_model: bool
) -> None:
    text = document(rule("scored", "model_score > 20")) if with_model else CANDIDATE
    model = content() if with_model else None
    labels = await labels_by_id(pool)
    inside = [each for each in days if FROM_MS <= each.time_ms < TO_MS]
    assert 1_000 < len(inside) < 2_000
    by_hand = Rejudging(rules_of(text.encode(), 0), load_model(model) if model else None)
    by_hand.take([then(each, labels.get(each.id)) for each in inside])
    told: list[int] = []
    replays = ProcessReplays(postgres_dsn, STARTER, processes=2, part_pages=8)
    report = await replays(Candidate(text, model), FROM_MS, TO_MS, heard_into(told))
    assert report == by_hand.report
    assert report.declined.payments > 0
    assert report.fraud.payments > report.legitimate.payments > 0
    assert told == sorted(told)
    assert told[-1] == len(inside)
    assert len(told) > 3


async def test_without_rules_the_starter_rules_judge(pool: asyncpg.Pool, postgres_dsn: str, days: list[Judged]) -> None:
    report = await ProcessReplays(postgres_dsn, STARTER)(Candidate(None), FROM_MS, TO_MS, heard_into([]))
    inside = [each for each in days if FROM_MS <= each.time_ms < TO_MS]
    assert report.rules["starter"].fired == sum(int(each.facts["amount_minor"]) > 8_000 for each in inside)  # type: ignore[arg-type]


async def test_parts_leave_nothing_out_and_read_nothing_twice(
    postgres_dsn: str, pool: asyncpg.Pool, days: list[Judged]
) -> None:
    heavy = HeavyConnections(postgres_dsn)
    parts = await parts_between(heavy, NOW_MS - 9 * DAY_MS, NOW_MS, part_pages=5)
    assert len(parts) > 10
    counts = [sum([len(rows) async for rows in judgements_in(heavy, each)]) for each in parts]
    assert sum(counts) == len(days)


async def test_what_comes_while_it_is_read_is_in_the_last_part(
    postgres_dsn: str, pool: asyncpg.Pool, days: list[Judged]
) -> None:
    heavy = HeavyConnections(postgres_dsn)
    parts = await parts_between(heavy, NOW_MS - 9 * DAY_MS, NOW_MS, part_pages=5)
    more = [Judged(facts_with(amount_minor=1), time_ms=NOW_MS - 1) for _ in range(500)]
    await store(pool, more)
    counts = [sum([len(rows) async for rows in judgements_in(heavy, each)]) for each in parts]
    assert sum(counts) == len(days) + len(more)


async def test_nothing_judged_is_an_empty_report(pool: asyncpg.Pool, postgres_dsn: str) -> None:
    report = await ProcessReplays(postgres_dsn, STARTER)(Candidate(CANDIDATE), FROM_MS, TO_MS, heard_into([]))
    assert report.judged == Tally()


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [(Candidate("{"), "no TOML"), (Candidate(CANDIDATE, b"pickle"), "the first line")],
)
async def test_a_candidate_that_is_none_fails(
    pool: asyncpg.Pool, postgres_dsn: str, candidate: Candidate, reason: str
) -> None:
    with pytest.raises(ReplayFailed, match=reason):
        await ProcessReplays(postgres_dsn, STARTER)(candidate, FROM_MS, TO_MS, heard_into([]))


async def test_a_process_that_ends_early_fails_the_replay(
    pool: asyncpg.Pool, postgres_dsn: str, days: list[Judged]
) -> None:
    replays = ProcessReplays(postgres_dsn, STARTER, processes=1)
    replays._dsn = "postgresql://nobody@127.0.0.1:1/none"
    part = JudgementPart("risk_judgements_default", 0, 1, lowest_id_at(0), lowest_id_at(1))

    async def parts(*asked: Any, **pages: Any) -> list[JudgementPart]:
        return [part]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("switch.wiring.risk_replay.parts_between", parts)
        with pytest.raises(ReplayFailed, match="the database is not available"):
            await replays(Candidate(CANDIDATE), FROM_MS, TO_MS, heard_into([]))


async def test_a_replay_that_is_given_up_leaves_no_process(
    pool: asyncpg.Pool, postgres_dsn: str, days: list[Judged]
) -> None:
    begun = asyncio.Event()

    async def heard(judged: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    replays = ProcessReplays(postgres_dsn, STARTER, part_pages=8)
    task = asyncio.create_task(replays(Candidate(CANDIDATE), FROM_MS, TO_MS, heard))
    await begun.wait()
    children = multiprocessing.active_children()
    assert children
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for child in children:
        await asyncio.to_thread(child.join, 60)
    assert [child.exitcode for child in children] == [0] * len(children)


async def test_it_is_served_and_ends(pool: asyncpg.Pool, postgres_dsn: str, days: list[Judged]) -> None:
    nothing: Any = None
    settings = Settings(postgres_url=postgres_dsn)
    lifecycle = Lifecycle(grace_s=0)
    platform = Platform(settings, lifecycle, pool, "", nothing, SystemClock(), nothing, nothing, {})
    [served] = open_risk(platform)
    assert all(access_of(each).roles and hasattr(served.servicer, each.name) for each in served.service.methods)
    servicer: Any = served.servicer
    starter = await servicer.GetRuleSet(pb.GetRuleSetRequest(), ANN)
    assert rules_of(starter.document.encode(), 0).rules
    added = await servicer.AddRuleSet(pb.AddRuleSetRequest(name="new", document=CANDIDATE), ANN)
    request = pb.ReplayRuleSetRequest(version=added.rule_set.version, from_time_ms=FROM_MS, to_time_ms=TO_MS)
    replay = (await servicer.ReplayRuleSet(request, BOB)).replay
    await servicer._desk._replaying.wait()
    done = (await servicer.GetReplay(pb.GetReplayRequest(id=replay.id), BOB)).replay
    assert done.state == pb.REPLAY_STATE_DONE
    inside = [each for each in days if FROM_MS <= each.time_ms < TO_MS]
    assert done.report.judged.payments == len(inside)
    assert (await servicer._desk.find(RULES, 1)).name == "new"
    lifecycle.stop("done")
    assert await lifecycle.run() == EXIT_CLEAN
