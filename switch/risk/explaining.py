"""Why a payment was judged as it was: its facts, its rules as they were written then, what moved the model's score."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

import structlog

from switch.domain.refusals import Missing, NotInForce
from switch.domain.risk import FactValue, Rule
from switch.domain.risk_label import PaymentLabel
from switch.domain.risk_release import ReleaseKind
from switch.ports.risk_desk import Judgements, Labels, Releases, StoredJudgement
from switch.risk.document import RulesRefused, read_rules
from switch.risk.model import Contribution, Model, load_model
from switch.risk.model_file import ModelRefused
from switch.risk.packing import unpack_facts
from switch.risk.watch import whole_content

log = structlog.get_logger()
Kept = TypeVar("Kept")

# Versions that are kept once read: cases are mostly of the last days.
_KEPT: Final = 4


@dataclass(frozen=True, slots=True)
class Explained:
    """rules: by id, those of the rule set that judged; empty where it cannot be read any more."""

    judgement: StoredJudgement
    facts: Mapping[str, FactValue]
    rules: Mapping[str, Rule]
    contributions: Sequence[Contribution]
    labels: Sequence[PaymentLabel]


class Explaining:
    """starter: the text of version 0 of the rules."""

    def __init__(self, releases: Releases, judgements: Judgements, labels: Labels, starter: str) -> None:
        self._releases = releases
        self._judgements = judgements
        self._labels = labels
        self._starter = starter
        self._rules: dict[int, Mapping[str, Rule]] = {}
        self._models: dict[int, Model] = {}

    async def explain(self, merchant_id: str, authorization_id: UUID) -> Explained:
        """Raises Missing, StoreUnavailable."""
        judgement = await self._judgements.judgement(merchant_id, authorization_id)
        if judgement is None:
            raise Missing("there is no judgement of such a payment")
        facts = unpack_facts(judgement.facts)
        return Explained(
            judgement,
            facts,
            await self._rules_of(judgement.rules_version),
            await self._contributions(judgement.model_version, facts),
            await self._labels.labels_of(merchant_id, authorization_id),
        )

    async def _rules_of(self, version: int) -> Mapping[str, Rule]:
        if version not in self._rules:
            try:
                rules = await asyncio.to_thread(_rules_by_id, await self._text(version))
            except (NotInForce, RulesRefused) as error:
                log.warning("risk_rules_not_explained", version=version, reason=str(error))
                return {}
            _keep(self._rules, version, rules)
        return self._rules[version]

    async def _text(self, version: int) -> str:
        if version == 0:
            return self._starter
        return (await whole_content(self._releases, ReleaseKind.RULES, version)).decode("utf-8", "replace")

    async def _contributions(self, version: int, facts: Mapping[str, FactValue]) -> list[Contribution]:
        if version == 0:
            return []
        if version not in self._models:
            try:
                content = await whole_content(self._releases, ReleaseKind.MODEL, version)
                _keep(self._models, version, await asyncio.to_thread(load_model, content))
            except (NotInForce, ModelRefused, ImportError) as error:
                log.warning("risk_model_not_explained", version=version, reason=str(error))
                return []
        return (await asyncio.to_thread(self._models[version].contributions, [facts]))[0]


def _rules_by_id(text: str) -> Mapping[str, Rule]:
    return {each.id: each for each in read_rules(text).all_rules()}


def _keep(kept: dict[int, Kept], version: int, value: Kept) -> None:
    if len(kept) >= _KEPT:
        del kept[next(iter(kept))]
    kept[version] = value
