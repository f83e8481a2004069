"""The monitor of accounts: logging in, and what is changed afterwards. Pure: windows and times are given.

An account's history is one window of elements, each by the time it was last: signed_in, new_network, returned (signed
in after having been dormant), registered, and the steps of a take-over.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from switch.domain.risk import Subject
from switch.ports.signals import Note, Noted, Signal, SignalKind
from switch.risk.findings import DAY_MS, HOUR_MS, NOTHING_FOUND, Finding, Verdict, Who
from switch.risk.monitor_settings import CREDENTIAL_STUFFING, MonitorSettings
from switch.risk.subjects import address_key

_PASSWORD: Final = "password"  # noqa: S105 - an element
_REGISTERED, _SIGNED_IN, _NEW_NETWORK, _RETURNED = "registered", "signed_in", "new_network", "returned"
_STEPS: Final = {
    SignalKind.PASSWORD_CHANGED: _PASSWORD,
    SignalKind.PASSWORD_RESET: _PASSWORD,
    SignalKind.FACTOR_CHANGED: "factor",
    SignalKind.RECOVERY_CODE_USED: "factor",
    SignalKind.DEVICE_ADDED: "device",
    SignalKind.CARD_ADDED: "card",
}
_CHANGES: Final = _STEPS | {SignalKind.REGISTERED: _REGISTERED}
_TAKEOVER_STEPS: Final = 3
_DORMANT_STEPS: Final = 2
_AT_ONCE: Final = {
    SignalKind.TOKEN_REUSED: ("refresh_token_reused", 500, "a refresh token was used twice: the session was ended"),
    SignalKind.PASSKEY_COPIED: ("passkey_copied", 600, "a passkey's counter went back: there may be a copy of it"),
}


class AccountMonitor:
    """Meets `switch.risk.findings.SignalMonitor`."""

    def __init__(self, settings: MonitorSettings) -> None:
        self._settings = settings

    def notes(self, signal: Signal, who: Who) -> list[Note]:
        user = who.keys.get(Subject.USER, "")
        if signal.kind is SignalKind.LOGIN_FAILED:
            return self._notes_of_failure(signal, who, user)
        if not user:
            return []
        if signal.kind is SignalKind.SIGNED_IN:
            return self._notes_of_sign_in(signal, who, user)
        if signal.kind is SignalKind.CARD_REFUSED:
            return [Note(f"refused_cards:{user}", who.once, DAY_MS)]
        step = _CHANGES.get(signal.kind)
        return [self._history(user, step, whole=True)] if step is not None else []

    def judge(self, signal: Signal, who: Who, noted: Sequence[Noted]) -> Verdict:
        user = who.keys.get(Subject.USER, "")
        if signal.kind is SignalKind.LOGIN_FAILED:
            return self._judge_failure(who, user, noted)
        if not user:
            return NOTHING_FOUND
        if signal.kind is SignalKind.SIGNED_IN:
            return self._judge_sign_in(signal, who, user, noted)
        if signal.kind is SignalKind.CARD_REFUSED:
            return self._judge_refused_cards(user, noted[0].count)
        if signal.kind in _AT_ONCE:
            kind, severity, text = _AT_ONCE[signal.kind]
            return Verdict([Finding(kind, Subject.USER, user, severity, text)])
        if signal.kind in _STEPS:
            return self._judge_change(user, noted[0].ages_ms)
        return NOTHING_FOUND

    def _history(self, user: str, element: str, *, whole: bool = False) -> Note:
        """Twice the time after which an account is dormant: longer than it needs to be found so."""
        return Note(f"history:{user}", element, 2 * self._settings.dormant_ms, whole)

    # --- failures -----------------------------------------------------------------------------------------------------

    def _notes_of_failure(self, signal: Signal, who: Who, user: str) -> list[Note]:
        """Always four, so that their answers have their places; those of nobody are looked at alone."""
        short_ms = self._settings.short_ms
        tried = signal.about or user
        return [
            Note(f"stuffed:{who.source}", tried if who.source else "", short_ms),
            Note(f"entered:{who.source}", "", short_ms),
            Note(f"guessed:{user}", (who.source or "unknown") if user else "", HOUR_MS),
            Note(f"failed:{user}", f"{who.source} {who.once}" if user else "", HOUR_MS),
        ]

    def _judge_failure(self, who: Who, user: str, noted: Sequence[Noted]) -> Verdict:
        settings, (stuffed, entered, guessed, _) = self._settings, noted
        findings = []
        # Where many live behind one address, some mistype and more come in.
        if who.source and stuffed.count >= settings.stuffed_accounts and stuffed.count > 2 * entered.count:
            findings.append(
                Finding(
                    CREDENTIAL_STUFFING, Subject.IP, address_key(who.source), 700,
                    f"{stuffed.count} accounts were tried in vain from one address, {entered.count} entered",
                    {"accounts": stuffed.count, "entered": entered.count}, who.source,
                )
            )  # fmt: skip
        if user and guessed.count >= settings.guessing_addresses:
            text = f"{guessed.count} addresses tried this account in vain within an hour"
            findings.append(
                Finding("distributed_guessing", Subject.USER, user, 600, text, {"addresses": guessed.count})
            )
        return Verdict(findings)

    # --- signing in ---------------------------------------------------------------------------------------------------

    def _notes_of_sign_in(self, signal: Signal, who: Who, user: str) -> list[Note]:
        notes = [
            Note(f"entered:{who.source}", user if who.source else "", self._settings.short_ms),
            Note(f"failed:{user}", "", HOUR_MS, whole=True),
            self._history(user, _SIGNED_IN),
        ]
        return [*notes, self._history(user, _NEW_NETWORK)] if signal.new_network else notes

    def _judge_sign_in(self, signal: Signal, who: Who, user: str, noted: Sequence[Noted]) -> Verdict:
        settings, failed, before_ms = self._settings, noted[1], noted[2].before_ms
        # Whoever signs the call with a bound device's key is its owner.
        findings = [] if signal.device_id is not None else self._entered(signal, who.source, user, failed)
        returned = before_ms is not None and before_ms >= settings.dormant_ms
        return Verdict(findings, [self._history(user, _RETURNED)] if returned else [])

    def _entered(self, signal: Signal, source: str, user: str, failed: Noted) -> list[Finding]:
        """An owner who enters from elsewhere, while somebody guesses, is not the guesser."""
        settings, findings = self._settings, []
        here = sum(each.startswith(f"{source} ") for each in failed.ages_ms)
        if here >= settings.failures_before_success:
            text = f"entered after {here} failures from the same address within an hour"
            findings.append(Finding("success_after_failures", Subject.USER, user, 700, text, {"failures": here}))
        if signal.new_network and failed.count >= settings.anomaly_failures:
            text = f"entered from a new network, without a bound device, after {failed.count} failures"
            findings.append(Finding("login_anomaly", Subject.USER, user, 500, text, {"failures": failed.count}))
        return findings

    # --- changes ------------------------------------------------------------------------------------------------------

    def _judge_change(self, user: str, ages_ms: Mapping[str, int]) -> Verdict:
        findings = []
        recent = {name: age_ms for name, age_ms in ages_ms.items() if age_ms <= self._settings.takeover_ms}
        password_ms = recent.get(_PASSWORD)
        steps = _steps_since(recent, password_ms)
        # Who has just registered sets everything up at once.
        if password_ms is not None and len(steps) >= _TAKEOVER_STEPS and _REGISTERED not in recent:
            severity = 900 if _NEW_NETWORK in recent else 800
            text = f"the password was changed, then {', '.join(sorted(steps - {_PASSWORD}))}"
            findings.append(Finding("account_takeover", Subject.USER, user, severity, text, {"steps": sorted(steps)}))
        returned_ms = ages_ms.get(_RETURNED)
        if returned_ms is not None and returned_ms <= DAY_MS:
            steps = _steps_since(ages_ms, returned_ms)
            if len(steps) >= _DORMANT_STEPS:
                text = f"dormant for long, then within a day: {', '.join(sorted(steps))}"
                findings.append(Finding("dormant_then_active", Subject.USER, user, 600, text, {"steps": sorted(steps)}))
        return Verdict(findings)

    def _judge_refused_cards(self, user: str, count: int) -> Verdict:
        if count < self._settings.refused_cards:
            return NOTHING_FOUND
        text = f"{count} cards were declined when they were added, within a day"
        return Verdict([Finding("card_testing", Subject.USER, user, 600, text, {"cards": count})])


def _steps_since(ages_ms: Mapping[str, int], since_ms: int | None) -> set[str]:
    """since_ms: how long ago it began."""
    if since_ms is None:
        return set()
    return {step for step in _STEPS.values() if step in ages_ms and ages_ms[step] <= since_ms}
