"""RiskService: risk analysts write, replay and approve; what was judged is explained."""

import asyncio
from collections.abc import Sequence
from typing import Final

from payswitch.v1 import risk_pb2 as pb
from switch.api import risk_answers as answers
from switch.domain.access import Caller
from switch.domain.refusals import Invalid, NotPossible
from switch.domain.risk_release import Release, ReleaseKind
from switch.risk.desk import RiskDesk
from switch.risk.explaining import Explaining
from switch.risk.facts import FACTS
from switch.risk.model_file import ModelRefused, read

_RULES: Final = ReleaseKind.RULES
_MODEL: Final = ReleaseKind.MODEL


class RiskServicer:
    def __init__(self, desk: RiskDesk, explaining: Explaining) -> None:
        self._desk = desk
        self._explaining = explaining

    # --- rule sets ----------------------------------------------------------------------------------------------------

    async def AddRuleSet(self, request: pb.AddRuleSetRequest, caller: Caller) -> pb.AddRuleSetResponse:
        added = await self._desk.add(_RULES, request.name, request.document.encode(), caller)
        return pb.AddRuleSetResponse(rule_set=answers.release(added))

    async def ListRuleSets(self, request: pb.ListRuleSetsRequest, caller: Caller) -> pb.ListRuleSetsResponse:
        page, token = await self._page(_RULES, request)
        live = (await self._desk.in_force()).rules
        return pb.ListRuleSetsResponse(rule_sets=map(answers.release, page), next_page_token=token, live_version=live)

    async def GetRuleSet(self, request: pb.GetRuleSetRequest, caller: Caller) -> pb.GetRuleSetResponse:
        release = None
        if request.version:
            release = answers.release(await self._desk.find(_RULES, request.version))
        content = await self._desk.content(_RULES, request.version)
        return pb.GetRuleSetResponse(rule_set=release, document=content.decode())

    async def ReplayRuleSet(self, request: pb.ReplayRuleSetRequest, caller: Caller) -> pb.ReplayRuleSetResponse:
        begun = await self._desk.replay(_RULES, request.version, request.from_time_ms, request.to_time_ms, caller)
        return pb.ReplayRuleSetResponse(replay=answers.replay(begun))

    async def ApproveRuleSet(self, request: pb.ApproveRuleSetRequest, caller: Caller) -> pb.ApproveRuleSetResponse:
        live = await self._desk.approve(_RULES, request.version, request.newly_declined_basis_points, caller)
        return pb.ApproveRuleSetResponse(rule_set=answers.release(live))

    async def RollBackRuleSet(self, request: pb.RollBackRuleSetRequest, caller: Caller) -> pb.RollBackRuleSetResponse:
        gone = await self._desk.roll_back(_RULES, request.version, caller)
        return pb.RollBackRuleSetResponse(rule_set=answers.release(gone))

    # --- models -------------------------------------------------------------------------------------------------------

    async def AddModel(self, request: pb.AddModelRequest, caller: Caller) -> pb.AddModelResponse:
        added = await self._desk.add(_MODEL, request.name, request.content, caller)
        return pb.AddModelResponse(model=answers.release(added))

    async def ListModels(self, request: pb.ListModelsRequest, caller: Caller) -> pb.ListModelsResponse:
        page, token = await self._page(_MODEL, request)
        live = (await self._desk.in_force()).model
        return pb.ListModelsResponse(models=map(answers.release, page), next_page_token=token, live_version=live)

    async def GetModel(self, request: pb.GetModelRequest, caller: Caller) -> pb.GetModelResponse:
        release = await self._desk.find(_MODEL, request.version)
        content = await self._desk.content(_MODEL, request.version)
        try:
            header = (await asyncio.to_thread(read, content)).header
        except ModelRefused as error:
            raise NotPossible(f"it cannot be read any more: {error}") from None
        return pb.GetModelResponse(
            model=answers.release(release),
            features=header.features,
            metrics=header.metrics,
            payments=header.payments,
            frauds=header.frauds,
            from_time_ms=header.from_time_ms,
            to_time_ms=header.to_time_ms,
        )

    async def ReplayModel(self, request: pb.ReplayModelRequest, caller: Caller) -> pb.ReplayModelResponse:
        begun = await self._desk.replay(_MODEL, request.version, request.from_time_ms, request.to_time_ms, caller)
        return pb.ReplayModelResponse(replay=answers.replay(begun))

    async def ApproveModel(self, request: pb.ApproveModelRequest, caller: Caller) -> pb.ApproveModelResponse:
        live = await self._desk.approve(_MODEL, request.version, request.newly_declined_basis_points, caller)
        return pb.ApproveModelResponse(model=answers.release(live))

    async def RollBackModel(self, request: pb.RollBackModelRequest, caller: Caller) -> pb.RollBackModelResponse:
        gone = await self._desk.roll_back(_MODEL, request.version, caller)
        return pb.RollBackModelResponse(model=answers.release(gone))

    # --- what was found -----------------------------------------------------------------------------------------------

    async def GetReplay(self, request: pb.GetReplayRequest, caller: Caller) -> pb.GetReplayResponse:
        found = await self._desk.find_replay(answers.identity("id", request.id))
        return pb.GetReplayResponse(replay=answers.replay(found))

    async def GetJudgement(self, request: pb.GetJudgementRequest, caller: Caller) -> pb.GetJudgementResponse:
        if not 0 < len(request.merchant_id) <= 15:
            raise Invalid("merchant_id", "must be 1 to 15 characters")
        identity = answers.identity("authorization_id", request.authorization_id)
        return answers.judgement(await self._explaining.explain(request.merchant_id, identity))

    async def ListFacts(self, request: pb.ListFactsRequest, caller: Caller) -> pb.ListFactsResponse:
        return pb.ListFactsResponse(facts=map(answers.fact, FACTS))

    async def _page(
        self, kind: ReleaseKind, request: pb.ListRuleSetsRequest | pb.ListModelsRequest
    ) -> tuple[Sequence[Release], str]:
        size = answers.page_size(request.page_size)
        found = await self._desk.page(kind, answers.before(request.page_token), size + 1)
        page = found[:size]
        return page, str(page[-1].version) if len(found) > size else ""
