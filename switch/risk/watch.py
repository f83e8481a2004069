"""Follows the live rule set and the live model, as the desk says: asks about once a second, exchanges one reference."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from switch.domain.refusals import NotInForce
from switch.domain.risk import FactValue
from switch.domain.risk_release import ReleaseKind
from switch.following import VersionWatch
from switch.ports.risk_desk import Releases
from switch.risk.desk_metrics import MODEL_DRIFT, MODEL_REFUSALS, MODEL_VERSION, RULES_REFUSALS, RULES_VERSION
from switch.risk.document import RulesRefused, read_rules
from switch.risk.model import Model, load_model
from switch.risk.model_file import ModelRefused
from switch.risk.monitor import LiveRisk
from switch.risk.rules import RuleSet, compile_rules

log = structlog.get_logger()

_WATCHED: Final = partial(load_model, watched=True)


class VersionedModel:
    """Meets `switch.risk.monitor.Scorer`."""

    def __init__(self, model: Model, version: int) -> None:
        self.model = model
        self.version = version

    def score(self, rows: Sequence[Mapping[str, FactValue]]) -> list[int]:
        return self.model.score(rows)


class RiskWatch:
    """Keeps `live` at the versions that the database says.

    What cannot be put in force here changes nothing: what judged before goes on judging, and readiness tells. starter:
    version 0 of the rules; version 0 of the model is none.
    """

    def __init__(
        self,
        releases: Releases,
        live: LiveRisk,
        starter: RuleSet,
        interval_s: float = 1.0,
        load: Callable[[bytes], Model] = _WATCHED,
    ) -> None:
        self._releases = releases
        self._live = live
        self._starter = starter
        self._load = load
        self._rules = VersionWatch("risk_rules", self._live_rules, self._take_rules, RULES_REFUSALS, interval_s)
        self._model = VersionWatch("risk_model", self._live_model, self._take_model, MODEL_REFUSALS, interval_s)

    async def begin(self) -> None:
        """Put in force what is live before anything is judged. Raises NotInForce for a rule set, StoreUnavailable.

        Without its model a process begins all the same, as the switch runs without one, and readiness tells.
        """
        await self._rules.begin()
        await self._model.look()

    def start(self) -> None:
        self._rules.start()
        self._model.start()

    async def close(self) -> None:
        await self._rules.close()
        await self._model.close()

    async def look(self) -> None:
        """Once. Never raises; what was refused is not tried again."""
        await self._rules.look()
        await self._model.look()

    def state(self) -> tuple[bool, str]:
        """(whether what is live is in force, a line for an operator)."""
        rules, version = self._live.rules, self._model.version
        text = f"rule set {rules.version}, rules: {len(rules.rules)}; model {version or 'none'}"
        told = [
            f"{name} {watch.refused[0]} is live but not in force here: {watch.refused[1]}"
            for name, watch in (("rule set", self._rules), ("model", self._model))
            if watch.refused is not None
        ]
        return not told, "; ".join((*told, f"in force: {text}")) if told else text

    # --- rules --------------------------------------------------------------------------------------------------------

    async def _live_rules(self) -> int:
        return (await self._releases.in_force()).rules

    async def _take_rules(self, version: int) -> None:
        rules = self._starter if version == 0 else await self._compiled(version)
        self._live.rules = rules
        RULES_VERSION.set(version)
        log.info("risk_rules_in_force", version=version, rules=len(rules.rules))

    async def _compiled(self, version: int) -> RuleSet:
        content = await whole_content(self._releases, ReleaseKind.RULES, version)
        try:
            return await asyncio.to_thread(rules_of, content, version)
        except RulesRefused as error:
            raise NotInForce("rules", str(error)) from None

    # --- the model ----------------------------------------------------------------------------------------------------

    async def _live_model(self) -> int:
        return (await self._releases.in_force()).model

    async def _take_model(self, version: int) -> None:
        scorer = None if version == 0 else await self._loaded(version)
        self._live.scorer = scorer
        MODEL_DRIFT.drift = scorer.model.drift if scorer is not None else None
        MODEL_VERSION.set(version)
        log.info("risk_model_in_force", version=version)

    async def _loaded(self, version: int) -> VersionedModel:
        content = await whole_content(self._releases, ReleaseKind.MODEL, version)
        try:
            return VersionedModel(await asyncio.to_thread(self._load, content), version)
        except ModelRefused as error:
            raise NotInForce("model", str(error)) from None
        except ImportError as error:
            raise NotInForce("library", f"the extra `model` is not installed: {error}") from None


def rules_of(content: bytes, version: int) -> RuleSet:
    """Raises RulesRefused."""
    return compile_rules(read_rules(content.decode("utf-8", "replace")), version)


async def whole_content(releases: Releases, kind: ReleaseKind, version: int) -> bytes:
    """As it was added. Raises NotInForce where it is not."""
    release = await releases.find(kind, version)
    if release is None:
        raise NotInForce("missing", f"there is no version {version}")
    content = await releases.content(kind, version)
    if hashlib.sha256(content).hexdigest() != release.sha256:
        raise NotInForce("content", "its SHA-256 is not the one with which it was added")
    return content
