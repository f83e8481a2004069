"""RiskService over a real socket: roles, fields, errors, pages, and why a payment was judged as it was."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc.aio
import pytest
from desk_scene import (
    NOW_MS,
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
from small_model import content, facts_of

from payswitch.v1 import access_pb2, common_pb2
from payswitch.v1 import risk_pb2 as pb
from switch.api.errors import NotAllowed
from switch.api.guarded import add_guarded
from switch.api.risk_service import RiskServicer
from switch.domain.access import Caller, Role
from switch.domain.risk import Label, Outcome
from switch.domain.risk_label import PaymentLabel
from switch.risk.explaining import Explaining
from switch.risk.facts import FACTS
from switch.store.risk_replays import PostgresJudgementsRead

SERVICE = pb.DESCRIPTOR.services_by_name["RiskService"]
STARTER = document(rule("starter", "amount_minor > 999", "review"), name="starter")


class NamedGate:
    """Whoever the metadata names, `role/id`, behind the same roles as everywhere."""

    async def admit(self, context: Any, request: Any, access: access_pb2.Access) -> Caller:
        name = dict(context.invocation_metadata())["who"]
        role = Role[name.partition("/")[0].upper()]
        if role not in access.roles:
            raise NotAllowed("not open to the caller's role")
        return Caller(name, frozenset({role}))


@dataclass
class Door:
    channel: grpc.aio.Channel
    scene: DeskScene

    async def __call__(self, request: Any, who: str = "risk/ann") -> Any:
        """The call is found by the request's name."""
        name = type(request).__name__.removesuffix("Request")
        call = self.channel.unary_unary(
            f"/{SERVICE.full_name}/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=getattr(pb, f"{name}Response").FromString,
        )
        return await call(request, metadata=(("who", who),))

    async def refused(self, request: Any, who: str = "risk/ann") -> tuple[str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self(request, who)
        return error.value.code().name, error.value.details() or ""

    async def added(self, text: str) -> pb.RiskRelease:
        return (await self(pb.AddRuleSetRequest(name="rules", document=text))).rule_set

    async def replayed(self, version: int) -> pb.Replay:
        begun = (await self(pb.ReplayRuleSetRequest(version=version), "risk/cat")).replay
        await self.scene.replaying.wait()
        return (await self(pb.GetReplayRequest(id=begun.id), "operator/op")).replay


@pytest.fixture
async def door(database: asyncpg.Pool) -> AsyncIterator[Door]:
    scene = await desk_scene(database)
    judgements = PostgresJudgementsRead(database)
    server, gate = grpc.aio.server(), NamedGate()
    explaining = Explaining(scene.releases, judgements, judgements, STARTER)
    add_guarded(SERVICE, RiskServicer(scene.desk, explaining), gate, server)  # type: ignore[arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Door(channel, scene)
    await server.stop(None)


async def test_from_a_text_to_what_judges_and_back(door: Door) -> None:
    added = await door.added(above(100))
    assert (added.version, added.state, added.created_by) == (1, pb.RISK_RELEASE_STATE_DRAFT, "risk/ann")
    approve = pb.ApproveRuleSetRequest(version=1)
    assert await door.refused(approve, "risk/bob") == ("FAILED_PRECONDITION", "it was not replayed")
    door.scene.replay.report = report_of(5)
    replay = await door.replayed(1)
    assert (replay.state, replay.rules_version, replay.of_model) == (pb.REPLAY_STATE_DONE, 1, False)
    assert replay.report.newly_declined_basis_points == 50
    assert await door.refused(approve) == ("PERMISSION_DENIED", "who wrote it does not approve it")
    live = (await door(approve, "risk/bob")).rule_set
    assert (live.state, live.replay_id) == (pb.RISK_RELEASE_STATE_LIVE, replay.id)
    assert (await door(pb.ListRuleSetsRequest())).live_version == 1
    gone = (await door(pb.RollBackRuleSetRequest(version=1), "operator/op")).rule_set
    assert gone.state == pb.RISK_RELEASE_STATE_ROLLED_BACK
    assert (await door(pb.ListRuleSetsRequest())).live_version == 0


async def test_much_more_declined_is_confirmed_by_its_figure(door: Door) -> None:
    await door.added(above(0))
    door.scene.replay.report = report_of(1_000)
    assert (await door.replayed(1)).report.newly_declined_basis_points == 10_000
    code, text = await door.refused(pb.ApproveRuleSetRequest(version=1), "risk/bob")
    assert code == "FAILED_PRECONDITION"
    assert "100.00 %" in text
    confirmed = pb.ApproveRuleSetRequest(version=1, newly_declined_basis_points=10_000)
    assert (await door(confirmed, "risk/bob")).rule_set.state == pb.RISK_RELEASE_STATE_LIVE


async def test_a_text_comes_back_as_it_was_written(door: Door) -> None:
    await door.added(above(100))
    assert (await door(pb.GetRuleSetRequest(version=1))).document == above(100)
    starter = await door(pb.GetRuleSetRequest())
    assert starter.document == 'name = "starter"\n'
    assert not starter.HasField("rule_set")


async def test_pages_go_from_the_newest_to_the_oldest(door: Door) -> None:
    for minor in range(5):
        await door.added(above(minor + 1))
    versions, token = [], ""
    while True:
        page = await door(pb.ListRuleSetsRequest(page_size=2, page_token=token))
        versions.append([each.version for each in page.rule_sets])
        token = page.next_page_token
        if not token:
            break
    assert versions == [[5, 4], [3, 2], [1]]
    assert (await door(pb.ListModelsRequest())).models == []


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (pb.AddRuleSetRequest(name="x", document="{"), "INVALID_ARGUMENT", "document: no TOML"),
        (
            pb.AddRuleSetRequest(name="x", document=document(rule("x", "amount_minr > 1"))),
            "INVALID_ARGUMENT",
            "document: rules[0].when:1:1: there is no fact or function 'amount_minr'",
        ),
        (pb.AddModelRequest(name="x", content=b"PK"), "INVALID_ARGUMENT", "content: the first line"),
        (pb.GetRuleSetRequest(version=7), "NOT_FOUND", "there is no rule set of version 7"),
        (pb.GetModelRequest(version=7), "NOT_FOUND", "there is no model of version 7"),
        (pb.GetReplayRequest(id="7"), "INVALID_ARGUMENT", "id: is not a UUID"),
        (pb.GetReplayRequest(id=f"{7:032x}"), "NOT_FOUND", "there is no such replay"),
        (pb.ListRuleSetsRequest(page_size=101), "INVALID_ARGUMENT", "page_size"),
        (pb.ListRuleSetsRequest(page_token="-1"), "INVALID_ARGUMENT", "page_token"),
        (pb.ListRuleSetsRequest(page_token="9" * 30), "INVALID_ARGUMENT", "page_token"),
        (pb.GetJudgementRequest(authorization_id=f"{7:032x}"), "INVALID_ARGUMENT", "merchant_id"),
        (pb.GetJudgementRequest(merchant_id="m1", authorization_id=f"{7:032x}"), "NOT_FOUND", "no judgement"),
        (pb.RollBackModelRequest(version=1), "NOT_FOUND", "there is no model of version 1"),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, str) else None,
)
async def test_bad_input(door: Door, request_: Any, code: str, text: str) -> None:
    found = await door.refused(request_)
    assert found[0] == code
    assert found[1].startswith(text) or text in found[1]


async def test_why_a_payment_was_judged_as_it_was(door: Door) -> None:
    facts = facts_with(amount_minor=1_250, card_known=True, card_lists=["stolen"], pin_given=True, currency="CNY")
    judged = Judged(facts, Outcome.DECLINE, NOW_MS, "59", ("list:stolen", "starter"), ("counters",), model_score=None)
    await store(door.scene.pool, [judged])
    labels = PostgresJudgementsRead(door.scene.pool)
    await labels.put_labels([PaymentLabel("m1", judged.id, "case", Label.FRAUD, 9)])
    found = await door(pb.GetJudgementRequest(merchant_id="m1", authorization_id=str(judged.id)))
    assert (found.outcome, found.response_code, found.model_score) == (pb.RISK_OUTCOME_DECLINE, "59", -1)
    assert found.amount == common_pb2.Money(amount_minor=1_250, currency="CNY")
    assert list(found.absent) == ["counters"]
    assert [(each.id, each.action, each.reason_zh) for each in found.fired] == [
        ("list:stolen", "", ""), ("starter", "review", "过多"),
    ]  # fmt: skip
    shown = {each.name: getattr(each, each.WhichOneof("value")) for each in found.facts}
    assert shown["amount_minor"] == 1_250
    assert shown["pin_given"] is True
    assert shown["currency"] == "CNY"
    assert list(shown["card_lists"].values) == ["stolen"]
    assert set(shown) == set(facts)
    assert [(each.label, each.source) for each in found.labels] == [(pb.RISK_LABEL_FRAUD, "case")]


async def test_a_model_goes_the_same_way_and_its_score_is_explained(door: Door) -> None:
    added = (await door(pb.AddModelRequest(name="small", content=content()))).model
    assert (added.version, added.size_bytes) == (1, len(content()))
    shown = await door(pb.GetModelRequest(version=1), "operator/op")
    assert shown.payments > shown.frauds > 0
    assert "amount_minor" in shown.features
    begun = (await door(pb.ReplayModelRequest(version=1))).replay
    assert (begun.of_model, begun.rules_version, begun.model_version) == (True, 0, 1)
    await door.scene.replaying.wait()
    assert await door.refused(pb.ApproveModelRequest(version=1)) == (
        "PERMISSION_DENIED", "who wrote it does not approve it",
    )  # fmt: skip
    live = (await door(pb.ApproveModelRequest(version=1), "risk/bob")).model
    assert live.state == pb.RISK_RELEASE_STATE_LIVE
    assert (await door(pb.ListModelsRequest())).live_version == 1
    assert (await door(pb.ListRuleSetsRequest())).live_version == 0
    [facts] = facts_of(1)
    judged = Judged(facts_with(**facts), model_score=77, model_version=1)
    await store(door.scene.pool, [judged])
    found = await door(pb.GetJudgementRequest(merchant_id="m1", authorization_id=str(judged.id)))
    weights = [abs(each.weight) for each in found.contributions]
    assert 0 < len(weights) <= 8
    assert weights == sorted(weights, reverse=True)
    assert {each.fact for each in found.contributions} <= set(shown.features)
    assert (await door(pb.RollBackModelRequest(version=1))).model.state == pb.RISK_RELEASE_STATE_ROLLED_BACK
    assert (await door(pb.ListModelsRequest())).live_version == 0


async def test_a_rule_set_that_cannot_be_read_any_more_explains_nothing_and_the_facts_stay(door: Door) -> None:
    judged = Judged(facts_with(amount_minor=5), fired=("gone",), rules_version=9, model_version=9, model_score=3)
    await store(door.scene.pool, [judged])
    found = await door(pb.GetJudgementRequest(merchant_id="m1", authorization_id=str(judged.id)))
    assert [(each.id, each.action) for each in found.fired] == [("gone", "")]
    assert (found.rules_version, found.model_version, found.model_score) == (9, 9, 3)
    assert len(found.facts) == len(judged.facts)
    assert found.contributions == []


async def test_the_facts_are_the_published_ones(door: Door) -> None:
    found = (await door(pb.ListFactsRequest(), "operator/op")).facts
    assert [(each.name, each.type, tuple(each.needs), each.source) for each in found] == [
        (each.name, each.type.value, each.needs, each.source) for each in FACTS
    ]
