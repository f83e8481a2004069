"""The desk: two persons, the replay gate, rolling back, races, and what is refused while the live one stays."""

import asyncio
import json
from dataclasses import replace

import asyncpg
import pytest
from desk_scene import (
    ANN,
    BOB,
    CAT,
    DAY_MS,
    MODEL,
    NOW_MS,
    RULES,
    DeskScene,
    Judged,
    above,
    desk_scene,
    document,
    facts_with,
    report_of,
    rule,
    store,
)
from small_model import content

from switch.domain.access import Caller
from switch.domain.refusals import Invalid, Missing, NotPermitted, NotPossible, TooMany
from switch.domain.risk import Label
from switch.domain.risk_label import PaymentLabel
from switch.domain.risk_release import Release, ReleaseState, ReplayState
from switch.ports.risk_desk import InForce, ReplayFailed
from switch.store.risk_releases import CHUNK_BYTES
from switch.store.risk_replays import PostgresJudgementsRead


@pytest.fixture
async def scene(database: asyncpg.Pool) -> DeskScene:
    return await desk_scene(database)


# --- its life ---------------------------------------------------------------------------------------------------------


async def test_from_draft_to_live_to_retired(scene: DeskScene) -> None:
    one = await scene.added(above(100))
    assert (one.version, one.state, one.created_by) == (1, ReleaseState.DRAFT, "risk/ann")
    replay = await scene.replayed(one)
    assert (replay.state, replay.judged) == (ReplayState.DONE, 1_000)
    assert (await scene.desk.find(RULES, 1)).state is ReleaseState.REPLAYED
    live = await scene.desk.approve(RULES, 1, 0, BOB)
    assert (live.state, live.approved_by, live.replay_id, live.replaces) == (
        ReleaseState.LIVE, "risk/bob", replay.id, 0,
    )  # fmt: skip
    assert await scene.desk.in_force() == InForce(1, 0)
    two = await scene.live(above(200))
    assert two.replaces == 1
    assert await scene.desk.in_force() == InForce(2, 0)
    assert [each.state for each in await scene.desk.page(RULES, 9, 9)] == [ReleaseState.LIVE, ReleaseState.RETIRED]


async def test_the_text_stays_as_it_was_added(scene: DeskScene) -> None:
    text = document(rule("big", "amount_minor > 1")) + f"# {'中' * CHUNK_BYTES}\n"
    added = await scene.added(text)
    assert added.size_bytes > 2 * CHUNK_BYTES
    assert await scene.desk.content(RULES, 1) == text.encode()
    await scene.pool.execute("UPDATE risk_release_chunks SET content = 'x' WHERE number = 1")
    with pytest.raises(NotPossible, match="SHA-256"):
        await scene.desk.content(RULES, 1)


async def test_a_rule_set_is_judged_with_stored_scores_a_model_with_the_live_rules(scene: DeskScene) -> None:
    live = await scene.live(above(100))
    candidate = await scene.added(above(300))
    await scene.replayed(candidate)
    asked, from_ms, to_ms = scene.replay.asked[-1]
    assert (asked.rules, asked.model) == (above(300), None)
    assert (from_ms, to_ms) == (NOW_MS - 7 * DAY_MS, NOW_MS)
    model = replace(candidate, kind=MODEL)
    await scene.pool.execute(
        "INSERT INTO risk_releases SELECT 2, 1, 'm', sha256('trees'), 5, 1, 1, 'risk/ann', 1, '', 0, NULL, 0, '', 1;"
        "INSERT INTO risk_release_chunks VALUES (2, 1, 0, 'trees')"
    )
    replay = await scene.replayed(replace(model, version=1))
    asked, *_ = scene.replay.asked[-1]
    assert (asked.rules, asked.model) == (above(100), b"trees")
    assert (replay.live_rules, replay.live_model) == (live.version, 0)
    assert (await scene.desk.find(MODEL, 1)).state is ReleaseState.REPLAYED
    await scene.desk.roll_back(RULES, live.version, BOB)
    await scene.replayed(replace(model, version=1))
    asked, *_ = scene.replay.asked[-1]
    assert (asked.rules, asked.model) == (None, b"trees")


async def test_every_change_is_in_the_audit_trail(scene: DeskScene) -> None:
    release = await scene.added(above(100))
    replay = await scene.replayed(release)
    await scene.desk.approve(RULES, 1, 0, BOB)
    await scene.desk.roll_back(RULES, 1, CAT)
    assert await scene.audited() == [
        ("risk/ann", "RiskService.AddRuleSet", "rule_set/1"),
        ("risk/bob", "RiskService.ApproveRuleSet", "rule_set/1"),
        ("risk/cat", "RiskService.RollBackRuleSet", "rule_set/1"),
    ]
    texts = await scene.pool.fetch("SELECT before, after FROM audit_trail ORDER BY id")
    assert [(json.loads(row["before"]), json.loads(row["after"])) for row in texts] == [
        ({}, {"state": "DRAFT", "name": "test"}),
        ({"state": "REPLAYED"}, {"state": "LIVE", "replaces": 0, "replay": str(replay.id)}),
        ({"state": "LIVE"}, {"state": "ROLLED_BACK", "live": 0}),
    ]


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("{", ["no TOML"]),
        (document(rule("x", "amount_minr > 1")), ["rules[0].when:1:1", "amount_minr"]),
        (document(rule("x", "currency > 1")), ["rules[0].when:1:"]),
        (document(rule("x", "pin_given"), rule("x", "pin_given", "explode")), ["rules[1].id", "rules[1].action"]),
    ],
)
async def test_a_malformed_document_is_refused_with_its_places(scene: DeskScene, text: str, places: list[str]) -> None:
    await scene.live(above(100))
    with pytest.raises(Invalid) as refused:
        await scene.added(text)
    assert refused.value.field == "document"
    assert all(place in str(refused.value) for place in places), str(refused.value)
    assert await scene.desk.in_force() == InForce(1, 0)
    assert len(await scene.desk.page(RULES, 9, 9)) == 1


async def test_what_is_no_model_is_refused(scene: DeskScene) -> None:
    with pytest.raises(Invalid, match="content: the first line"):
        await scene.desk.add(MODEL, "m", b"pickle", ANN)
    with pytest.raises(Invalid, match="content: larger than"):
        await scene.desk.add(MODEL, "m", bytes(5 * 1024 * 1024 + 1), ANN)


@pytest.mark.parametrize("name", ["", " ", "x" * 81, "a\nb"])
async def test_a_name_is_readable(scene: DeskScene, name: str) -> None:
    with pytest.raises(Invalid, match="name"):
        await scene.desk.add(RULES, name, above(1).encode(), ANN)


async def test_what_is_not_there_is_missing(scene: DeskScene) -> None:
    for act in (
        scene.desk.find(RULES, 4),
        scene.desk.replay(RULES, 4, 0, 0, ANN),
        scene.desk.approve(RULES, 4, 0, BOB),
        scene.desk.roll_back(RULES, 4, BOB),
    ):
        with pytest.raises(Missing, match="there is no rule set of version 4"):
            await act


# --- two persons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["risk", "operator"])
async def test_the_author_never_approves(scene: DeskScene, role: str) -> None:
    release = await scene.added(above(100))
    await scene.replayed(release, who=BOB)
    with pytest.raises(NotPermitted, match="who wrote it does not approve it"):
        await scene.desk.approve(RULES, 1, 0, Caller(f"{role}/ann"))
    assert await scene.desk.in_force() == InForce()
    assert (await scene.desk.approve(RULES, 1, 0, BOB)).state is ReleaseState.LIVE


# --- the gate ---------------------------------------------------------------------------------------------------------


async def approved(scene: DeskScene, release: Release, confirmed: int = 0) -> Release:
    return await scene.desk.approve(release.kind, release.version, confirmed, BOB)


async def test_nothing_goes_live_without_a_replay(scene: DeskScene) -> None:
    release = await scene.added(above(100))
    with pytest.raises(NotPossible, match="was not replayed"):
        await approved(scene, release)
    scene.replay.failure = ReplayFailed("the database is not available")
    assert (await scene.replayed(release)).failure == "the database is not available"
    with pytest.raises(NotPossible, match="was not replayed"):
        await approved(scene, release)


async def test_a_replay_of_another_content_is_none(scene: DeskScene) -> None:
    release = await scene.added(above(100))
    await scene.replayed(release)
    await scene.pool.execute("UPDATE risk_replays SET sha256 = sha256('other')")
    with pytest.raises(NotPossible, match="was not replayed"):
        await approved(scene, release)


async def test_a_model_that_goes_live_outdates_a_rule_sets_replay(scene: DeskScene) -> None:
    release = await scene.added(above(100))
    await scene.replayed(release)
    await scene.desk.add(MODEL, "small", content(), BOB)
    model = await scene.desk.find(MODEL, 1)
    await scene.replayed(model)
    assert (await scene.desk.approve(MODEL, 1, 0, ANN)).state is ReleaseState.LIVE
    with pytest.raises(NotPossible, match="against rule set 0 and model 0; live are 0 and 1"):
        await approved(scene, release)


async def test_a_replay_grows_old(scene: DeskScene) -> None:
    release = await scene.added(above(100))
    await scene.replayed(release)
    scene.clock.now_ms += 24 * 3_600_000 + 1
    with pytest.raises(NotPossible, match="older than 24 h"):
        await approved(scene, release)
    scene.clock.now_ms -= 1
    assert (await approved(scene, release)).state is ReleaseState.LIVE


async def test_a_replay_counts_against_what_was_live_then(scene: DeskScene) -> None:
    release = await scene.added(above(100))
    await scene.replayed(release)
    await scene.live(above(50))
    with pytest.raises(NotPossible, match="replayed against rule set 0 and model 0; live are 2 and 0"):
        await approved(scene, release)
    scene.clock.now_ms += 1
    await scene.replayed(release)
    assert (await approved(scene, release)).replaces == 2


@pytest.mark.parametrize(
    ("from_days", "to_ms", "covers"),
    [(7, NOW_MS, True), (6.9, NOW_MS, False), (7, NOW_MS - 1, False), (30, NOW_MS, True)],
)
async def test_a_replay_covers_the_last_days(scene: DeskScene, from_days: float, to_ms: int, covers: bool) -> None:
    await store(scene.pool, [Judged(facts_with(amount_minor=1), time_ms=NOW_MS - 40 * DAY_MS)])
    release = await scene.added(above(100))
    await scene.replayed(release, int(NOW_MS - from_days * DAY_MS), to_ms)
    if covers:
        assert (await approved(scene, release)).state is ReleaseState.LIVE
        return
    with pytest.raises(NotPossible, match="does not cover the 7 days before it, or all there is"):
        await approved(scene, release)


async def test_all_there_is_is_enough(scene: DeskScene) -> None:
    oldest_ms = NOW_MS - 2 * DAY_MS  # and so is its day's beginning
    await store(scene.pool, [Judged(facts_with(amount_minor=1), time_ms=oldest_ms)])
    release = await scene.added(above(100))
    await scene.replayed(release, oldest_ms + 1)
    with pytest.raises(NotPossible, match="does not cover"):
        await approved(scene, release)
    scene.clock.now_ms += 1
    await scene.replayed(release, oldest_ms)
    assert (await approved(scene, release)).state is ReleaseState.LIVE


@pytest.mark.parametrize(
    ("newly", "confirmed", "goes_live"),
    [
        (5, 0, True),
        (6, 0, False),
        (6, 59, False),
        (6, 61, False),
        (6, 10_000, False),
        (6, 60, True),
        (1_000, 0, False),
        (1_000, 9_999, False),
        (1_000, 10_000, True),
    ],
)
async def test_who_declines_much_more_needs_the_exact_figure(
    scene: DeskScene, newly: int, confirmed: int, goes_live: bool
) -> None:
    scene.replay.report = report_of(newly, 1_500, declined_before=500)
    release = await scene.added(above(0))
    await scene.replayed(release)
    if goes_live:
        assert (await approved(scene, release, confirmed)).state is ReleaseState.LIVE
        return
    share = newly * 10
    told = f"{share / 100:.2f} % of what was let pass.* newly_declined_basis_points {share}"
    with pytest.raises(NotPossible, match=told):
        await approved(scene, release, confirmed)
    assert await scene.desk.in_force() == InForce()


async def test_where_nothing_was_judged_that_is_confirmed(scene: DeskScene) -> None:
    scene.replay.report = report_of(0, 0)
    release = await scene.added(above(100))
    await scene.replayed(release)
    with pytest.raises(NotPossible, match=r"nothing that it could be replayed over.*newly_declined_basis_points 10000"):
        await approved(scene, release)
    assert (await approved(scene, release, 10_000)).state is ReleaseState.LIVE


# --- rolling back -----------------------------------------------------------------------------------------------------


async def test_back_at_once_to_the_one_before(scene: DeskScene) -> None:
    await scene.live(above(100))
    await scene.live(above(200))
    gone = await scene.desk.roll_back(RULES, 2, ANN)
    assert gone.state is ReleaseState.ROLLED_BACK
    assert await scene.desk.in_force() == InForce(1, 0)
    assert (await scene.desk.roll_back(RULES, 2, ANN)).state is ReleaseState.ROLLED_BACK  # told again
    assert await scene.desk.in_force() == InForce(1, 0)
    await scene.desk.roll_back(RULES, 1, ANN)
    assert await scene.desk.in_force() == InForce(0, 0)
    with pytest.raises(NotPossible, match="is ROLLED_BACK: add it anew"):
        await scene.desk.approve(RULES, 2, 0, BOB)


async def test_only_what_is_live_is_rolled_back(scene: DeskScene) -> None:
    await scene.live(above(100))
    await scene.live(above(200))
    draft = await scene.added(above(300))
    for version, state in ((1, "RETIRED"), (draft.version, "DRAFT")):
        with pytest.raises(NotPossible, match=f"it is {state}, not live"):
            await scene.desk.roll_back(RULES, version, BOB)
    assert await scene.desk.in_force() == InForce(2, 0)


async def test_not_to_what_cannot_judge_any_more(scene: DeskScene) -> None:
    await scene.live(above(100))
    await scene.live(above(200))
    broken = b'name = "x"\nrules = 4'
    await scene.pool.execute("UPDATE risk_release_chunks SET content = $1 WHERE version = 1", broken)
    await scene.pool.execute("UPDATE risk_releases SET sha256 = sha256($1) WHERE version = 1", broken)
    with pytest.raises(NotPossible, match="version 1 cannot be put in force any more"):
        await scene.desk.roll_back(RULES, 2, BOB)
    assert await scene.desk.in_force() == InForce(2, 0)


# --- races ------------------------------------------------------------------------------------------------------------


async def test_of_two_approvals_at_once_one_wins(scene: DeskScene) -> None:
    for minor in (100, 200):
        await scene.replayed(await scene.added(above(minor)))
    ended = await asyncio.gather(
        scene.desk.approve(RULES, 1, 0, BOB), scene.desk.approve(RULES, 2, 0, CAT), return_exceptions=True
    )
    [won] = [each for each in ended if isinstance(each, Release)]
    [lost] = [each for each in ended if isinstance(each, BaseException)]
    assert isinstance(lost, NotPossible)
    assert await scene.desk.in_force() == InForce(won.version, 0)
    other = await scene.desk.find(RULES, 3 - won.version)
    assert other.state is ReleaseState.REPLAYED


async def test_of_one_approved_twice_one_approval_counts(scene: DeskScene) -> None:
    await scene.replayed(await scene.added(above(100)))
    ended = await asyncio.gather(
        scene.desk.approve(RULES, 1, 0, BOB), scene.desk.approve(RULES, 1, 0, CAT), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in ended) == ["NotPossible", "Release"]
    assert [act for _, act, _ in await scene.audited()].count("RiskService.ApproveRuleSet") == 1


async def test_versions_are_given_once(scene: DeskScene) -> None:
    added = await asyncio.gather(*(scene.added(above(minor)) for minor in range(1, 7)))
    assert sorted(each.version for each in added) == [1, 2, 3, 4, 5, 6]
    for each in added:
        assert await scene.desk.content(RULES, each.version) in [above(minor).encode() for minor in range(1, 7)]


# --- replays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [(NOW_MS, NOW_MS), (NOW_MS - 5, NOW_MS + 1), (-5, 0)])
async def test_a_time_that_is_none_is_refused(scene: DeskScene, time: tuple[int, int]) -> None:
    await scene.added(above(100))
    with pytest.raises(Invalid, match="to_time_ms"):
        await scene.desk.replay(RULES, 1, *time, ANN)


async def test_one_replay_at_a_time(scene: DeskScene) -> None:
    going = asyncio.Event()

    async def slow(*asked: object) -> object:
        await going.wait()
        return report_of()

    scene.replaying._rejudge = slow  # type: ignore[assignment]
    await scene.added(above(100))
    begun = await scene.desk.replay(RULES, 1, 0, 0, ANN)
    with pytest.raises(TooMany, match="another replay is running"):
        await scene.desk.replay(RULES, 1, 0, 0, BOB)
    assert (await scene.desk.find_replay(begun.id)).state is ReplayState.RUNNING
    going.set()
    await scene.replaying.wait()
    assert (await scene.desk.find_replay(begun.id)).state is ReplayState.DONE
    await scene.replayed(await scene.desk.find(RULES, 1))


async def test_a_replay_that_ends_with_its_process_has_failed(scene: DeskScene) -> None:
    async def endless(*asked: object) -> object:
        await asyncio.Event().wait()
        return report_of()

    scene.replaying._rejudge = endless  # type: ignore[assignment]
    release = await scene.added(above(100))
    begun = await scene.desk.replay(RULES, 1, 0, 0, ANN)
    scene.clock.now_ms += 60_001
    silent = await scene.desk.find_replay(begun.id)
    assert (silent.state, silent.failure) == (ReplayState.FAILED, "its process is gone")
    await asyncio.sleep(0)
    await scene.replaying.close()
    ended = await scene.desk.find_replay(begun.id)
    assert (ended.state, ended.failure) == (ReplayState.FAILED, "its process was ended")
    with pytest.raises(NotPossible, match="was not replayed"):
        await approved(scene, release)


async def test_a_fault_of_ours_fails_the_replay(scene: DeskScene) -> None:
    scene.replay.failure = ZeroDivisionError()
    replay = await scene.replayed(await scene.added(above(100)))
    assert (replay.state, replay.failure) == (ReplayState.FAILED, "a fault of the switch: see its log")


async def test_a_report_comes_back_as_it_was_made(scene: DeskScene) -> None:
    report = report_of(3, 700, 20)
    report.judged.amounts |= {"CNY": 2**45, "JPY": 1}
    report.rule("above").fired = 4
    report.missing["ip_lists"] = 9
    scene.replay.report = report
    assert (await scene.replayed(await scene.added(above(100)))).report == report


# --- labels -----------------------------------------------------------------------------------------------------------


async def test_of_one_source_the_latest_label_stays(scene: DeskScene) -> None:
    labels = PostgresJudgementsRead(scene.pool)
    judged = Judged(facts_with(amount_minor=1))
    told = [
        PaymentLabel("m1", judged.id, "case", Label.FRAUD, 20),
        PaymentLabel("m1", judged.id, "dispute", Label.FRAUD, 30),
        PaymentLabel("m1", judged.id, "case", Label.LEGITIMATE, 40),
    ]
    await labels.put_labels(told)
    await labels.put_labels([PaymentLabel("m1", judged.id, "case", Label.FRAUD, 10)])  # late, and older
    assert await labels.labels_of("m1", judged.id) == [told[2], told[1]]
