"""What the journal tells of a payment that was judged: counts for the road's rules, and what its device says. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from switch.domain.journal_event import EventKind
from switch.domain.judged_event import JudgedEvent
from switch.domain.risk import Subject
from switch.domain.velocity import WINDOWS
from switch.ports.risk import Happening, Later
from switch.ports.signals import Signal, SignalKind
from switch.risk.device_monitor import DEVICE_FACTS, DeviceMonitor
from switch.risk.findings import Finding
from switch.risk.packing import unpack_facts, unpack_subjects

# DE39: wrong PIN; PIN tries exceeded, of an earlier message and of this one.
PIN_FAILED: Final = frozenset({"55", "38", "75"})
OLDEST_MS: Final = max(WINDOWS.values()) * 1000
"""What happened before that is in no window."""


@dataclass(frozen=True, slots=True)
class Told:
    happenings: Sequence[Happening]
    signals: Sequence[Signal]
    findings: Sequence[Finding]


def told_by(event: JudgedEvent, reference_currency: str, devices: DeviceMonitor) -> Told:
    """The same however often it is told."""
    keys, laters = unpack_subjects(event.packed_subjects), _laters(event)
    name = f"{event.authorization_id.hex}:{event.kind.value}:{event.follow_on_id.hex}"
    amount_minor = event.amount_minor if event.currency == reference_currency else 0
    happenings = [
        Happening(name, each, keys, event.time_ms, amount_minor if each is Later.REFUNDS else 0) for each in laters
    ]
    signals = [Signal(SignalKind.PIN_FAILED, keys=keys)] if Later.PIN_FAILURES in laters else []
    findings: list[Finding] = []
    if event.kind in (EventKind.APPROVED, EventKind.DECLINED) and Subject.DEVICE in keys:
        findings = devices.of_payment(keys, unpack_facts(event.packed_facts, DEVICE_FACTS))
    return Told(happenings, signals, findings)


def _laters(event: JudgedEvent) -> list[Later]:
    """Who was declined by ourselves was declined for what is counted already: it would feed itself."""
    if event.kind is EventKind.DECLINED and event.channel:
        pin_failed = event.response_code in PIN_FAILED
        return [Later.DECLINES, Later.PIN_FAILURES] if pin_failed else [Later.DECLINES]
    if event.kind is EventKind.REFUNDED:
        return [Later.REFUNDS]
    # A pre-authorization that was given up, the wallet's proof of a card among them, gives nothing back.
    return [Later.REFUNDS] if event.kind is EventKind.UNDONE and event.amount_minor else []
