"""Replays that somebody asked for: begun, heard of while they run, ended."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from uuid import UUID, uuid4

import structlog

from switch.domain.access import Caller
from switch.domain.refusals import Invalid, Missing, TooMany
from switch.domain.risk_release import Release, Replay, ReplayState
from switch.domain.risk_replay import ReplayReport
from switch.ports import Clock, StoreUnavailable
from switch.ports.risk_desk import Candidate, InForce, Rejudge, ReplayFailed, Replays
from switch.risk.gate import GateRules

log = structlog.get_logger()

_BEAT_S: Final = 5.0
# So long without a beat its process is gone.
SILENT_MS: Final = 60_000


class Replaying:
    """One at a time in this process: a replay takes its cores."""

    def __init__(
        self, replays: Replays, rejudge: Rejudge, clock: Clock, rules: GateRules, identity: Callable[[], UUID] = uuid4
    ) -> None:
        self._replays = replays
        self._rejudge = rejudge
        self._clock = clock
        self._rules = rules
        self._identity = identity
        self._taken = False
        self._judged = 0
        self._task: asyncio.Task[None] | None = None

    async def start(
        self, release: Release, candidate: Candidate, in_force: InForce, time: tuple[int, int], caller: Caller
    ) -> Replay:
        """time: Unix milliseconds of payments' transmission, from and to (excluded); 0 for either: what going live
        demands. Raises Invalid, TooMany."""
        now_ms = self._clock.time_ms()
        from_ms, to_ms = time[0] or self._rules.from_time_ms(now_ms), time[1] or now_ms
        if not 0 < from_ms < to_ms <= now_ms:
            raise Invalid("to_time_ms", "must be after from_time_ms, and not in the future")
        if self._taken:
            raise TooMany("another replay is running here; wait for it")
        replay = Replay(
            self._identity(), release.kind, release.version, release.sha256, in_force.rules, in_force.model, from_ms,
            to_ms, ReplayState.RUNNING, caller.name, now_ms, now_ms,
        )  # fmt: skip
        self._taken = True  # before the first wait
        try:
            await self._replays.begin(replay)
        except BaseException:
            self._taken = False
            raise
        self._task = asyncio.create_task(self._run(replay, candidate), name="risk replay")
        return replay

    async def find(self, replay_id: UUID) -> Replay:
        """One whose process is gone has failed. Raises Missing."""
        found = await self._replays.find_replay(replay_id)
        if found is None:
            raise Missing("there is no such replay")
        silent = found.state is ReplayState.RUNNING and self._clock.time_ms() - found.beat_time_ms > SILENT_MS
        return replace(found, state=ReplayState.FAILED, failure="its process is gone") if silent else found

    async def wait(self) -> None:
        """Until the one that runs here has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """What runs is given up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, replay: Replay, candidate: Candidate) -> None:
        self._judged = 0
        beating = asyncio.create_task(self._beat(replay.id), name="risk replay's beat")
        try:
            report = await self._rejudge(candidate, replay.from_time_ms, replay.to_time_ms, self._heard)
            await self._replays.done(replay, report, self._clock.time_ms())
            _log_end(replay, report)
        except ReplayFailed as error:
            await self._fail(replay, str(error))
        except asyncio.CancelledError:
            await self._fail(replay, "its process was ended")
            raise
        except Exception:
            log.exception("risk_replay_failed", replay=str(replay.id))
            await self._fail(replay, "a fault of the switch: see its log")
        finally:
            beating.cancel()
            self._taken = False

    async def _heard(self, judged: int) -> None:
        self._judged = judged

    async def _beat(self, replay_id: UUID) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            try:
                await self._replays.beat(replay_id, self._judged, self._clock.time_ms())
            except StoreUnavailable as error:
                log.warning("risk_replay_not_heard", reason=str(error))

    async def _fail(self, replay: Replay, failure: str) -> None:
        """What cannot be written now is found out by its silence."""
        log.warning("risk_replay_failed", replay=str(replay.id), reason=failure)
        try:
            await self._replays.failed(replay.id, failure, self._clock.time_ms())
        except StoreUnavailable as error:
            log.warning("risk_replay_not_heard", reason=str(error))


def _log_end(replay: Replay, report: ReplayReport) -> None:
    log.info(
        "risk_replay_done", replay=str(replay.id), kind=replay.kind.name, version=replay.version,
        judged=report.judged.payments, newly_declined=report.newly_declined.payments,
    )  # fmt: skip
