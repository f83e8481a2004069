"""The desk: rule sets and models are added, replayed, approved by a second person, put in force and rolled back."""

import asyncio
from typing import Final
from uuid import UUID

from switch.domain.access import Caller
from switch.domain.audit import AuditEntry
from switch.domain.refusals import Invalid, Missing, NotInForce, NotPossible
from switch.domain.risk_release import Release, ReleaseKind, ReleaseState, Replay
from switch.ports import Clock
from switch.ports.risk_desk import Candidate, InForce, Judgements, ReleaseDesk, Replays
from switch.risk.document import RulesRefused
from switch.risk.gate import GateRules, check_replay, check_second_person
from switch.risk.model import load_model
from switch.risk.model_file import ModelRefused
from switch.risk.replaying import Replaying
from switch.risk.watch import rules_of, whole_content

LARGEST_MODEL_BYTES: Final = 5 * 1024 * 1024  # that fits into one call
_LONGEST_NAME: Final = 80
_CALLS: Final = {ReleaseKind.RULES: "RuleSet", ReleaseKind.MODEL: "Model"}
_SUBJECTS: Final = {ReleaseKind.RULES: "rule_set", ReleaseKind.MODEL: "model"}
_FIELDS: Final = {ReleaseKind.RULES: "document", ReleaseKind.MODEL: "content"}


class RiskDesk:
    """Raises the refusals of `switch.domain.refusals`, and StoreUnavailable. starter: version 0 of the rules."""

    def __init__(
        self, releases: ReleaseDesk, replays: Replays, judgements: Judgements, replaying: Replaying, clock: Clock,
        gate: GateRules, starter: str,
    ) -> None:  # fmt: skip
        self._releases = releases
        self._replays = replays
        self._judgements = judgements
        self._replaying = replaying
        self._clock = clock
        self._gate = gate
        self._starter = starter

    # --- adding -------------------------------------------------------------------------------------------------------

    async def add(self, kind: ReleaseKind, name: str, content: bytes, caller: Caller) -> Release:
        """A draft, checked as it would be to be put in force. Raises Invalid with every place that is wrong."""
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or not name.strip():
            raise Invalid("name", f"must be 1 to {_LONGEST_NAME} printable characters")
        await asyncio.to_thread(check_content, kind, content)
        entry = AuditEntry(
            "", caller.name, f"RiskService.Add{_CALLS[kind]}", _SUBJECTS[kind], {}, {"state": "DRAFT", "name": name}
        )
        return await self._releases.add(kind, name, content, entry, self._clock.time_ms())

    # --- reading ------------------------------------------------------------------------------------------------------

    async def in_force(self) -> InForce:
        return await self._releases.in_force()

    async def page(self, kind: ReleaseKind, before: int, limit: int) -> list[Release]:
        return await self._releases.page(kind, before, limit)

    async def find(self, kind: ReleaseKind, version: int) -> Release:
        found = await self._releases.find(kind, version)
        if found is None:
            raise Missing(f"there is no {_SUBJECTS[kind].replace('_', ' ')} of version {version}")
        return found

    async def content(self, kind: ReleaseKind, version: int) -> bytes:
        """As it was added; of version 0 the starter rules' text."""
        if kind is ReleaseKind.RULES and version == 0:
            return self._starter.encode()
        try:
            return await whole_content(self._releases, kind, version)
        except NotInForce as error:
            raise NotPossible(str(error)) from None

    # --- replaying ----------------------------------------------------------------------------------------------------

    async def replay(
        self, kind: ReleaseKind, version: int, from_time_ms: int, to_time_ms: int, caller: Caller
    ) -> Replay:
        """Begins it. A rule set is judged with the scores that are stored, a model with the rule set that is live."""
        release = await self.find(kind, version)
        in_force = await self._releases.in_force()
        content = await self.content(kind, version)
        if kind is ReleaseKind.RULES:
            candidate = Candidate(content.decode())
        else:
            live = await self.content(ReleaseKind.RULES, in_force.rules) if in_force.rules else None
            candidate = Candidate(None if live is None else live.decode(), content)
        return await self._replaying.start(release, candidate, in_force, (from_time_ms, to_time_ms), caller)

    async def find_replay(self, replay_id: UUID) -> Replay:
        return await self._replaying.find(replay_id)

    # --- what is live -------------------------------------------------------------------------------------------------

    async def approve(self, kind: ReleaseKind, version: int, confirmed_basis_points: int, caller: Caller) -> Release:
        """By another person than wrote it, on its last replay; it is live then. confirmed_basis_points: the share that
        it would newly decline, where that is above the setting."""
        release = await self.find(kind, version)
        check_second_person(release, caller)
        in_force = await self._releases.in_force()
        replay = check_replay(
            release, await self._replays.latest(kind, version), in_force, await self._judgements.oldest_time_ms(),
            self._clock.time_ms(), confirmed_basis_points, self._gate,
        )  # fmt: skip
        await self._check_usable(kind, version)
        after = {"state": "LIVE", "replaces": in_force.of(kind), "replay": str(replay.id)}
        if confirmed_basis_points:
            after["confirmed_basis_points"] = confirmed_basis_points
        entry = self._entry("Approve", release, {"state": release.state.name}, after, caller)
        return await self._releases.put_in_force(release, in_force, replay.id, entry, self._clock.time_ms())

    async def roll_back(self, kind: ReleaseKind, version: int, caller: Caller) -> Release:
        """At once, by anybody, without a replay: what it replaced is live again. Told again it changes nothing."""
        release = await self.find(kind, version)
        if release.state is ReleaseState.ROLLED_BACK:
            return release
        if release.state is not ReleaseState.LIVE:
            raise NotPossible(f"it is {release.state.name}, not live")
        if release.replaces:
            await self._check_usable(kind, release.replaces)
        after = {"state": "ROLLED_BACK", "live": release.replaces}
        entry = self._entry("RollBack", release, {"state": "LIVE"}, after, caller)
        return await self._releases.roll_back(release, entry, self._clock.time_ms())

    async def _check_usable(self, kind: ReleaseKind, version: int) -> None:
        """What no process can put in force any more does not go live."""
        try:
            await asyncio.to_thread(check_content, kind, await self.content(kind, version))
        except Invalid as error:
            raise NotPossible(f"version {version} cannot be put in force any more: {error}") from None

    def _entry(
        self, call: str, release: Release, before: dict[str, object], after: dict[str, object], caller: Caller
    ) -> AuditEntry:
        kind = release.kind
        return AuditEntry(
            "", caller.name, f"RiskService.{call}{_CALLS[kind]}", f"{_SUBJECTS[kind]}/{release.version}", before, after
        )


def check_content(kind: ReleaseKind, content: bytes) -> None:
    """Raises Invalid: with the places of a document, with the reason of a model."""
    field = _FIELDS[kind]
    if kind is ReleaseKind.RULES:
        try:
            content.decode()
            rules_of(content, 0)
        except UnicodeDecodeError:
            raise Invalid(field, "is not UTF-8") from None
        except RulesRefused as error:
            raise Invalid(field, str(error)) from None
        return
    if len(content) > LARGEST_MODEL_BYTES:
        raise Invalid(field, f"larger than {LARGEST_MODEL_BYTES} bytes")
    try:
        load_model(content)
    except ModelRefused as error:
        raise Invalid(field, str(error)) from None
    except ImportError as error:
        raise NotPossible(f"this process has no library for models: {error}") from None
