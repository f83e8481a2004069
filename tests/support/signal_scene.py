"""A watch over signals whose world is in memory: a clock that stands until it is moved, alerts in a list."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from switch.ports import CountersUnavailable, StoreUnavailable
from switch.ports.risk import Alert, Happening, Mark, Sighting
from switch.ports.signals import Note, Noted, Signal, SignalKind
from switch.risk.blocks import DoorBlocks
from switch.risk.memory_windows import MemorySignalWindows
from switch.risk.monitor_settings import MonitorSettings
from switch.risk.signal_watch import SignalWatch

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


class MovedClock:
    def __init__(self) -> None:
        self.now_ms = 1_790_000_000_000

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000


class Told:
    """Meets `Velocity`: keeps what it is told. down: every call fails."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []
        self.marks: list[Mark] = []
        self.down = False
        self.heard = asyncio.Event()

    async def see(self, sightings: Sequence[Sighting]) -> list[dict[str, int]]:
        return [{} for _ in sightings]

    async def tell(self, happenings: Sequence[Happening], marks: Sequence[Mark] = ()) -> None:
        if self.down:
            raise CountersUnavailable("down")
        self.happenings += happenings
        self.marks += marks
        self.heard.set()


class MemoryAlerts:
    """Meets `Alerts`: each id once. down: every call fails."""

    def __init__(self) -> None:
        self.alerts: dict[str, Alert] = {}
        self.calls = 0
        self.down = False

    async def raise_alerts(self, alerts: Sequence[Alert]) -> None:
        self.calls += 1
        if self.down:
            raise StoreUnavailable("down")
        for each in alerts:
            self.alerts.setdefault(each.id, each)


class SharedWindows:
    """Those of several processes. down: every call fails."""

    def __init__(self, inner: MemorySignalWindows) -> None:
        self.inner = inner
        self.down = False

    def _check(self) -> None:
        if self.down:
            raise CountersUnavailable("down")

    async def note(self, notes: Sequence[Note]) -> list[Noted]:
        self._check()
        return await self.inner.note(notes)

    async def block(self, source: str, block_ms: int) -> None:
        self._check()
        await self.inner.block(source, block_ms)

    async def blocks(self) -> Mapping[str, int]:
        self._check()
        return await self.inner.blocks()


class Counted:
    """Meets `SignalObserver`."""

    def __init__(self) -> None:
        self.signals: Counter[SignalKind] = Counter()
        self.drops: Counter[str] = Counter()
        self.alerts: Counter[str] = Counter()
        self.blocks: Counter[str] = Counter()

    def signalled(self, kind: SignalKind) -> None:
        self.signals[kind] += 1

    def dropped(self, why: str, count: int) -> None:
        self.drops[why] += count

    def found(self, kind: str) -> None:
        self.alerts[kind] += 1

    def blocked(self, kind: str) -> None:
        self.blocks[kind] += 1


class Heard:
    """Meets `Signals`: keeps them."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []

    def report(self, signal: Signal) -> None:
        self.signals.append(signal)

    def kinds(self) -> list[str]:
        return [each.kind.value for each in self.signals]

    def of(self, kind: SignalKind) -> list[Signal]:
        return [each for each in self.signals if each.kind is kind]


class Process:
    """One of the switch's, and what it shares with the others of the scene."""

    def __init__(self, scene: "SignalScene", name: str, most: int) -> None:
        self.counted = Counted()
        self.blocks = DoorBlocks(scene.clock, scene.settings.never_blocked)
        self.watch = SignalWatch(
            scene.windows, scene.told, scene.alerts, self.blocks, scene.clock, self.counted, scene.settings, name, most
        )


class SignalScene:
    def __init__(self, most: int = 10_000, **settings: Any) -> None:
        self.clock = MovedClock()
        self.settings = MonitorSettings(**settings)
        self.windows = SharedWindows(MemorySignalWindows(self.clock.time_ms))
        self.told = Told()
        self.alerts = MemoryAlerts()
        self.here = Process(self, "here", most)
        self.there = Process(self, "there", most)

    def later(self, ms: int) -> None:
        self.clock.now_ms += ms

    async def tell(self, *signals: Signal, process: Process | None = None) -> None:
        watch = (process or self.here).watch
        for each in signals:
            watch.report(each)
        await watch.flush()

    def kinds(self) -> list[str]:
        """Of the alerts that were raised, in order."""
        return [each.kind for each in self.alerts.alerts.values()]

    def alert(self, kind: str) -> Alert:
        [found] = [each for each in self.alerts.alerts.values() if each.kind == kind]
        return found


def failed(user: UUID | None, address: str, login: str = "") -> Signal:
    about = login or (user.hex if user is not None else "nobody")
    return Signal(SignalKind.LOGIN_FAILED, user, address=address, about=about)


def entered(user: UUID, address: str, device: UUID | None = None, *, new_network: bool = False) -> Signal:
    return Signal(SignalKind.SIGNED_IN, user, device, address, new_network=new_network)


def changed(kind: SignalKind, user: UUID, address: str = "192.0.2.1") -> Signal:
    return Signal(kind, user, address=address)


def addresses(network: str = "198.51.100") -> Iterator[str]:
    return (f"{network}.{number}" for number in range(1, 255))
