"""The monitor of doors: who signs wrongly, shows what he has not, guesses, or looks for what is there. Pure.

Only what nobody has vouched for is blocked, by its address: never whoever has shown a certificate, nor what claims to
be a participant's, or forged traffic would switch an acquirer off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from switch.domain.risk import Subject
from switch.ports.signals import Note, Noted, Signal, SignalKind
from switch.risk.findings import HOUR_MS, NOTHING_FOUND, Finding, Verdict, Who
from switch.risk.monitor_settings import CREDENTIAL_GUESSING, SCANNING, MonitorSettings
from switch.risk.subjects import address_key

Whom = tuple[Subject, str]


def _caller(signal: Signal, who: Who) -> Whom:
    """The closest that is known of whoever it was."""
    for subject in (Subject.TERMINAL, Subject.USER):
        if subject in who.keys:
            return subject, who.keys[subject]
    return _place(signal, who)


def _place(signal: Signal, who: Who) -> Whom:
    """Who tries is not known, or is not believed: where it comes from."""
    return Subject.IP, address_key(who.source or signal.participant)


def _terminal(signal: Signal, who: Who) -> Whom | None:
    key = who.keys.get(Subject.TERMINAL)
    return None if key is None else (Subject.TERMINAL, key)


def _each(signal: Signal, who: Who) -> str:
    return who.once


def _each_card(signal: Signal, who: Who) -> str:
    return who.keys.get(Subject.CARD, "")


@dataclass(frozen=True, slots=True)
class _Pattern:
    """So many different elements of one subject in a window. text: what is counted."""

    kind: str
    of: frozenset[SignalKind]
    most: int
    window_ms: int
    severity: int
    text: str
    whom: Callable[[Signal, Who], Whom | None] = _caller
    element: Callable[[Signal, Who], str] = _each
    blocks: bool = False


class DoorMonitor:
    """Meets `switch.risk.findings.SignalMonitor`."""

    def __init__(self, settings: MonitorSettings) -> None:
        self._of: Final = {each: pattern for pattern in _patterns(settings) for each in pattern.of}

    def notes(self, signal: Signal, who: Who) -> list[Note]:
        pattern = self._of.get(signal.kind)
        whom = None if pattern is None else pattern.whom(signal, who)
        if pattern is None or whom is None:
            return []
        return [Note(f"{pattern.kind}:{whom[0]}:{whom[1]}", pattern.element(signal, who), pattern.window_ms)]

    def judge(self, signal: Signal, who: Who, noted: Sequence[Noted]) -> Verdict:
        pattern = self._of.get(signal.kind)
        whom = None if pattern is None else pattern.whom(signal, who)
        if pattern is None or whom is None or noted[0].count < pattern.most:
            return NOTHING_FOUND
        count, (subject, key) = noted[0].count, whom
        source = who.source if pattern.blocks and not signal.participant else ""
        facts: dict[str, object] = {"count": count, "last": signal.kind.value}
        if signal.participant:
            facts["participant"] = signal.participant
        return Verdict(
            [Finding(pattern.kind, subject, key, pattern.severity, f"{count} {pattern.text}", facts, source)]
        )


def _patterns(settings: MonitorSettings) -> tuple[_Pattern, ...]:
    short_ms, kinds = settings.short_ms, SignalKind
    return (
        _Pattern("bad_signatures", frozenset({kinds.BAD_SIGNATURE}), settings.bad_signatures, short_ms, 600,
                 "messages with a signature or MAC that is not right"),
        _Pattern("certificate_misuse", frozenset({kinds.CERTIFICATE_REFUSED, kinds.WRONG_ROLE}),
                 settings.certificate_refusals, HOUR_MS, 700, "calls with a certificate that is not for them",
                 whom=_place),
        _Pattern("role_misuse", frozenset({kinds.NOT_PERMITTED}), settings.role_misuses, short_ms, 500,
                 "calls that are not open to the caller"),
        _Pattern(CREDENTIAL_GUESSING, frozenset({kinds.WRONG_CREDENTIAL}), settings.wrong_credentials, short_ms, 700,
                 "calls with an API credential that is none, or not from there", whom=_place, blocks=True),
        _Pattern(SCANNING, frozenset({kinds.MALFORMED, kinds.UNKNOWN_METHOD, kinds.UNKNOWN_PATH}), settings.scans,
                 short_ms, 500, "requests for what is not there, or that are none", whom=_place, blocks=True),
        _Pattern("code_guessing", frozenset({kinds.WRONG_CODE}), settings.code_guesses, HOUR_MS, 700,
                 "wrong payment codes at one terminal", whom=_terminal),
        _Pattern("pin_guessing", frozenset({kinds.PIN_FAILED}), settings.pin_failed_cards, HOUR_MS, 800,
                 "cards whose PIN was wrong at one terminal", whom=_terminal, element=_each_card),
    )  # fmt: skip
