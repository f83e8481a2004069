"""What the monitors of accounts, devices and doors find, and who a signal is about. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Final, Protocol

from switch.domain.payer import Payer
from switch.domain.risk import Subject
from switch.ports.risk import Alert
from switch.ports.signals import Note, Noted, Signal
from switch.risk.sources import canonical, source_of
from switch.risk.subjects import address_key, device_key, own, terminal_key, user_key

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Who:
    """keys: of the subjects that a signal names, as the road's counters have them. source: where the caller is, as
    doors count it (`source_of`). once: no other signal's.
    """

    keys: Mapping[Subject, str]
    source: str
    once: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should see. source: the address that it is about, if it is to be blocked where the settings
    say so."""

    kind: str
    subject: Subject
    key: str
    severity: int
    text: str
    facts: Mapping[str, object] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """notes: to be noted besides; their answers are of no interest."""

    findings: Sequence[Finding] = ()
    notes: Sequence[Note] = ()


NOTHING_FOUND: Final = Verdict()


class SignalMonitor(Protocol):
    """Two pure steps: what is to be counted of a signal, and what that says. The second gets the answers in order."""

    def notes(self, signal: Signal, who: Who) -> list[Note]: ...

    def judge(self, signal: Signal, who: Who, noted: Sequence[Noted]) -> Verdict: ...


def who_of(signal: Signal, once: str) -> Who:
    keys = dict(signal.keys)
    if signal.user_id is not None:
        keys[Subject.USER] = user_key(Payer(user=own(signal.user_id)))
    if signal.device_id is not None:
        keys[Subject.DEVICE] = device_key(Payer(device=own(signal.device_id)))
    if signal.terminal is not None:
        keys[Subject.TERMINAL] = terminal_key(*signal.terminal)
    address = canonical(signal.address)
    if address:
        keys[Subject.IP] = address_key(address)
    return Who(keys, source_of(address), once)


def alert_of(finding: Finding, now_ms: int, again_ms: int) -> Alert:
    """Its id is the same for the same finding in every process, until again_ms has gone round."""
    name = f"{finding.kind} {finding.subject} {finding.key} {now_ms // again_ms}"
    alert_id = blake2s(name.encode(), digest_size=16).hexdigest()
    return Alert(
        alert_id, finding.kind, finding.subject, finding.key, finding.severity, now_ms, finding.text, finding.facts
    )
