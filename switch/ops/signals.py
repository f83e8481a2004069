"""What the monitors of accounts, devices and doors count: `switch.risk.signal_watch.SignalObserver`, met by shape."""

from switch.ops.metrics import BLOCKED_REFUSALS, DOOR_BLOCKS, SIGNAL_ALERTS, SIGNALS, SIGNALS_DROPPED
from switch.ports.signals import SignalKind


class SignalCounts:
    """One per process."""

    def __init__(self) -> None:
        self._kinds = {each: SIGNALS.of(each.value) for each in SignalKind}

    def signalled(self, kind: SignalKind) -> None:
        self._kinds[kind].count += 1

    def dropped(self, why: str, count: int) -> None:
        SIGNALS_DROPPED.labels(why).inc(count)

    def found(self, kind: str) -> None:
        SIGNAL_ALERTS.labels(kind).inc()

    def blocked(self, kind: str) -> None:
        DOOR_BLOCKS.labels(kind).inc()

    def refused(self) -> None:
        BLOCKED_REFUSALS.inc()
