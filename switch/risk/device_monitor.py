"""The monitor of devices: who binds them, who pays with them, and what they say of themselves. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from switch.domain.risk import FactValue, Subject
from switch.ports.signals import Note, Noted, Signal, SignalKind
from switch.risk.findings import DAY_MS, Finding, Verdict, Who
from switch.risk.monitor_settings import MonitorSettings

_KEY_KNOWN_MS: Final = 30 * DAY_MS
_YOUNG_MINUTES: Final = 24 * 60
_MOST_SEVERE: Final = 1000

# What of a stored judgement says something of its device.
DEVICE_FACTS: Final = frozenset(
    {
        *("device_users_30d", "user_devices_30d", "device_declines_1d", "device_age_minutes"),
        *("device_emulator", "device_rooted", "device_debugged", "device_tampered"),
    }
)


class DeviceMonitor:
    """Meets `switch.risk.findings.SignalMonitor` for devices that are bound; `of_payment` sees those that pay."""

    def __init__(self, settings: MonitorSettings) -> None:
        self._settings = settings

    def notes(self, signal: Signal, who: Who) -> list[Note]:
        user, device = who.keys.get(Subject.USER), who.keys.get(Subject.DEVICE)
        if signal.kind is not SignalKind.DEVICE_ADDED or user is None or device is None:
            return []
        notes = [Note(f"devices:{user}", device, DAY_MS)]
        # The same key under several accounts: one machine that calls itself many devices.
        return [*notes, Note(f"device_key:{signal.about}", user, _KEY_KNOWN_MS)] if signal.about else notes

    def judge(self, signal: Signal, who: Who, noted: Sequence[Noted]) -> Verdict:
        if not noted:
            return Verdict()
        findings = self._many_devices(who.keys[Subject.USER], noted[0].count, "added within a day")
        if len(noted) > 1 and noted[1].count >= self._settings.accounts_of_device:
            count = noted[1].count
            text = f"{count} accounts bound one and the same key as a device of theirs"
            findings.append(
                Finding("shared_device_key", Subject.DEVICE, who.keys[Subject.DEVICE], 700, text, {"accounts": count})
            )
        return Verdict(findings)

    def of_payment(self, keys: Mapping[Subject, str], facts: Mapping[str, FactValue]) -> list[Finding]:
        """facts: of a stored judgement, those of DEVICE_FACTS that were known."""
        findings = []
        user, device = keys.get(Subject.USER), keys.get(Subject.DEVICE)
        if user is not None:
            findings += self._many_devices(user, _number(facts, "user_devices_30d"), "paid with in 30 days")
        if device is None:
            return findings
        young = _number(facts, "device_age_minutes") < _YOUNG_MINUTES and "device_age_minutes" in facts
        doubt = (100 if young else 0) + (100 if facts.get("device_rooted") is True else 0)

        def found(kind: str, severity: int, text: str, **what: int) -> None:
            findings.append(Finding(kind, Subject.DEVICE, device, min(_MOST_SEVERE, severity + doubt), text, what))

        accounts = _number(facts, "device_users_30d")
        if accounts >= self._settings.accounts_of_device:
            found("many_accounts_on_device", 600, f"{accounts} accounts paid with this device in 30 days",
                  accounts=accounts)  # fmt: skip
        if facts.get("device_tampered") is True:
            found("device_tampered", 600, "the app on this device is not the publisher's")
        if facts.get("device_emulator") is True:
            found("device_emulator", 500, "this device is an emulator")
        declines = _number(facts, "device_declines_1d")
        if declines >= self._settings.device_declines:
            found("device_declines", 500, f"{declines} payments of this device were declined in a day",
                  declines=declines)  # fmt: skip
        return findings

    def _many_devices(self, user: str, count: int, how: str) -> list[Finding]:
        if count < self._settings.devices_of_account:
            return []
        return [Finding("many_devices", Subject.USER, user, 400, f"{count} devices {how}", {"devices": count})]


def _number(facts: Mapping[str, FactValue], name: str) -> int:
    value = facts.get(name, 0)
    return value if isinstance(value, int) else 0
