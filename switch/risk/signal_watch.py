"""From signals to counters, alerts and blocks: told at once, worked a moment later, off everybody's way.

report → buffer → windows over all processes → monitors → alerts, blocks
                → velocity counters and marks, which the road's rules read
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

import structlog

from switch.domain.risk import Subject
from switch.ports import Clock, CountersUnavailable, StoreUnavailable
from switch.ports.risk import Alert, Alerts, Happening, Later, Mark, Velocity
from switch.ports.signals import Note, Noted, Signal, SignalKind, SignalWindows
from switch.risk.account_monitor import AccountMonitor
from switch.risk.blocks import DoorBlocks
from switch.risk.device_monitor import DeviceMonitor
from switch.risk.door_monitor import DoorMonitor
from switch.risk.findings import Finding, SignalMonitor, Who, alert_of, who_of
from switch.risk.memory_windows import MemorySignalWindows
from switch.risk.monitor_settings import MonitorSettings

log = structlog.get_logger()

_PAUSE_S: Final = 0.2
# In a flood the road goes first: signals of some 50 µs each, then a rest for as long as all of them take or longer.
_AT_ONCE: Final = 64
_BREATH_S: Final = 0.01
_STORE_REST_S: Final = 1.0
_FOLLOW_S: Final = 0.7
_MOST_ALERTS: Final = 1000
_RAISED_KNOWN: Final = 10_000
_HAPPENINGS: Final = {SignalKind.LOGIN_FAILED: Later.LOGIN_FAILURES, SignalKind.WRONG_CODE: Later.WRONG_CODES}
_MARKS: Final = {
    SignalKind.REGISTERED: "registered",
    SignalKind.SIGNED_IN: "signed_in",
    SignalKind.PASSWORD_CHANGED: "password_changed",
    SignalKind.PASSWORD_RESET: "password_changed",
    SignalKind.FACTOR_CHANGED: "factor_changed",
    SignalKind.DEVICE_ADDED: "device_added",
    SignalKind.CARD_ADDED: "card_added",
}

_Item = TypeVar("_Item")


class SignalObserver(Protocol):
    def signalled(self, kind: SignalKind) -> None: ...

    def dropped(self, why: str, count: int) -> None:
        """why: full (came faster than they were worked) or counters (Redis was away)."""

    def found(self, kind: str) -> None:
        """An alert was raised."""

    def blocked(self, kind: str) -> None:
        """An address was blocked, for an alert of that kind."""


class SignalWatch:
    """Meets `switch.ports.signals.Signals`. most: of signals, and of counts, that wait. once: a name of this process.

    alerts: may be exchanged before `start`.
    """

    def __init__(
        self, windows: SignalWindows, velocity: Velocity, alerts: Alerts, blocks: DoorBlocks, clock: Clock,
        observer: SignalObserver, settings: MonitorSettings, once: str, most: int = 10_000,
    ) -> None:  # fmt: skip
        self.alerts = alerts
        self._windows = windows
        self._own = MemorySignalWindows(lambda: int(clock.monotonic_s() * 1000))
        self._velocity = velocity
        self._blocks = blocks
        self._clock = clock
        self._observer = observer
        self._settings = settings
        self._once = once
        self._most = most
        self._monitors: Sequence[SignalMonitor] = (
            AccountMonitor(settings), DeviceMonitor(settings), DoorMonitor(settings),
        )  # fmt: skip
        self._number = 0
        self._signals: deque[tuple[Signal, Who]] = deque()
        self._happenings: deque[Happening] = deque()
        self._marks: deque[Mark] = deque()
        self._alerts: deque[Alert] = deque()
        self._store_rests_until_s = 0.0
        self._raised: OrderedDict[str, None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    # --- telling: at once ---------------------------------------------------------------------------------------------

    def report(self, signal: Signal) -> None:
        self._observer.signalled(signal.kind)
        if len(self._signals) >= self._most:
            self._observer.dropped("full", 1)
            return
        self._number += 1
        self._signals.append((signal, who_of(signal, f"{self._once}:{self._number}")))

    def count(self, happenings: Iterable[Happening]) -> None:
        """What the journal tells of payments. As `report`: at once, and dropped where too much waits."""
        for each in happenings:
            if len(self._happenings) >= self._most:
                self._observer.dropped("full", 1)
            else:
                self._happenings.append(each)

    def find(self, findings: Iterable[Finding]) -> None:
        """What another monitor found. An alert that was raised of late is not raised again."""
        now_ms = self._clock.time_ms()
        for finding in findings:
            alert = alert_of(finding, now_ms, self._settings.again_ms)
            if alert.id in self._raised or len(self._alerts) >= _MOST_ALERTS:
                continue
            self._raised[alert.id] = None
            if len(self._raised) > _RAISED_KNOWN:
                self._raised.popitem(last=False)
            self._alerts.append(alert)
            self._observer.found(alert.kind)

    # --- working ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="signals")

    async def close(self) -> None:
        """What waits is worked once more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await self._work()

    async def flush(self) -> None:
        """Until nothing waits, but for alerts whose store is away."""
        while await self._work():
            pass

    async def follow_blocks(self) -> None:
        """Takes those that other processes made."""
        try:
            self._blocks.take(await self._windows.blocks())
        except CountersUnavailable:
            self._blocks.take(await self._own.blocks())

    async def _run(self) -> None:
        follow_at_s = 0.0
        while True:
            try:
                more = await self._work()
                if self._clock.monotonic_s() >= follow_at_s:
                    follow_at_s = self._clock.monotonic_s() + _FOLLOW_S
                    await self.follow_blocks()
            except Exception:
                log.exception("signals_not_worked")
                more = False
            await asyncio.sleep(_BREATH_S if more else _PAUSE_S)

    async def _work(self) -> bool:
        """One round; whether signals or counts are left."""
        signals = _take(self._signals)
        self._remember(signals)
        await self._judge(signals)
        await self._tell(_take(self._happenings), _take(self._marks))
        if self._clock.monotonic_s() >= self._store_rests_until_s:
            await self._raise(_take(self._alerts))
        return bool(self._signals or self._happenings or self._marks)

    async def _judge(self, signals: Sequence[tuple[Signal, Who]]) -> None:
        asked = [
            (monitor, signal, who, monitor.notes(signal, who)) for signal, who in signals for monitor in self._monitors
        ]
        noted = iter(await self._noted([note for *_, notes in asked for note in notes]))
        more: list[Note] = []
        for monitor, signal, who, notes in asked:
            verdict = monitor.judge(signal, who, [next(noted) for _ in notes])
            more += verdict.notes
            self.find(verdict.findings)
            for finding in verdict.findings:
                await self._block(finding)
        await self._noted(more)

    async def _noted(self, notes: Sequence[Note]) -> list[Noted]:
        """While Redis is gone each process looks at what came to it alone."""
        if not notes:
            return []
        try:
            return await self._windows.note(notes)
        except CountersUnavailable:
            return await self._own.note(notes)

    async def _block(self, finding: Finding) -> None:
        settings = self._settings
        if finding.kind not in settings.blocking or not settings.block_ms or not self._blocks.may_block(finding.source):
            return
        if self._blocks.holds(finding.source):
            return
        self._blocks.take({finding.source: settings.block_ms})
        self._observer.blocked(finding.kind)
        log.warning("address_blocked", reason=finding.kind, minutes=settings.block_ms // 60_000)
        try:
            await self._windows.block(finding.source, settings.block_ms)
        except CountersUnavailable:
            log.warning("block_not_shared", reason=finding.kind)

    def _remember(self, signals: Sequence[tuple[Signal, Who]]) -> None:
        """For the road's rules."""
        now_ms = self._clock.time_ms()
        for signal, who in signals:
            later, mark, user = _HAPPENINGS.get(signal.kind), _MARKS.get(signal.kind), who.keys.get(Subject.USER)
            if later is not None:
                self.count([Happening(who.once, later, who.keys, now_ms)])
            if mark is not None and user is not None:
                self._marks.append(Mark(mark, user, now_ms))

    async def _tell(self, happenings: Sequence[Happening], marks: Sequence[Mark]) -> None:
        if not happenings and not marks:
            return
        try:
            await self._velocity.tell(happenings, marks)
        except CountersUnavailable:
            self._observer.dropped("counters", len(happenings) + len(marks))

    async def _raise(self, alerts: Sequence[Alert]) -> None:
        if not alerts:
            return
        try:
            await self.alerts.raise_alerts(alerts)
        except StoreUnavailable as error:
            log.warning("alerts_not_raised_yet", count=len(alerts), reason=str(error))
            self._alerts.extendleft(reversed(alerts))
            self._store_rests_until_s = self._clock.monotonic_s() + _STORE_REST_S


def _take(waiting: "deque[_Item]") -> list[_Item]:
    return [waiting.popleft() for _ in range(min(_AT_ONCE, len(waiting)))]
