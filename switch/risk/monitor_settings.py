"""The figures that the monitors of accounts, devices and doors keep to."""

from dataclasses import dataclass

from switch.risk.sources import Network

CREDENTIAL_STUFFING = "credential_stuffing"
CREDENTIAL_GUESSING = "credential_guessing"
SCANNING = "scanning"
BLOCKABLE = (CREDENTIAL_STUFFING, CREDENTIAL_GUESSING, SCANNING)
"""Alerts that are about an address, and that may block it."""


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """How many make an alert; the windows are in docs/risk_monitors.md.

    short_ms: the window of what a machine does. stuffed_accounts: tried in vain from one address. guessing_addresses:
    that tried one account in vain. anomaly_failures: of an account, before somebody enters from a new network without
    a bound device. failures_before_success: from one address at one account. takeover_ms: in which three changes of an
    account, the password's first, are one story. dormant_ms: without a sign-in. devices_of_account: added in a day, or
    paid with in 30. code_guesses, pin_failed_cards: at one terminal, the cards different ones. again_ms: for so long
    the same alert of the same subject is not raised again. block_ms: of an address, for the alerts in blocking; 0: none
    is blocked. never_blocked: proxies and one's own networks.
    """

    short_ms: int = 600_000
    stuffed_accounts: int = 20
    guessing_addresses: int = 10
    anomaly_failures: int = 5
    failures_before_success: int = 8
    takeover_ms: int = 3_600_000
    dormant_ms: int = 90 * 86_400_000
    devices_of_account: int = 5
    accounts_of_device: int = 5
    device_declines: int = 10
    refused_cards: int = 5
    code_guesses: int = 20
    pin_failed_cards: int = 10
    bad_signatures: int = 10
    certificate_refusals: int = 5
    role_misuses: int = 20
    scans: int = 30
    wrong_credentials: int = 10
    again_ms: int = 3_600_000
    block_ms: int = 900_000
    blocking: frozenset[str] = frozenset(BLOCKABLE)
    never_blocked: tuple[Network, ...] = ()
