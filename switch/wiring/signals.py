"""The wiring of the monitors of accounts, devices and doors: whoever is told, what counts it, what follows."""

import secrets
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Final

import structlog

from switch.config import Settings
from switch.domain.judged_event import JudgedEvent
from switch.ops.lifecycle import Lifecycle
from switch.ops.metrics import BLOCKED_ADDRESSES, RISK_MALFORMED
from switch.ops.signals import SignalCounts
from switch.payments.world import RoadSettings
from switch.ports import Clock
from switch.ports.risk import Alert, Alerts
from switch.risk.blocks import DoorBlocks
from switch.risk.device_monitor import DeviceMonitor
from switch.risk.later_counts import OLDEST_MS, told_by
from switch.risk.monitor_settings import MonitorSettings
from switch.risk.signal_watch import SignalWatch
from switch.store.feed_consumer import FeedConsumer
from switch.store.risk_counters import CONSUMER, applying
from switch.store.signal_windows import RedisSignalWindows
from switch.store.velocity import RedisVelocity
from switch.wiring.feed import open_consumer
from switch.wiring.platform import Platform

log = structlog.get_logger()

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
# Nobody waits for what is told: it may take longer than the road's own counters.
_TELL_TIMEOUT_S: Final = 0.25


class LoggedAlerts:
    """Meets `switch.ports.risk.Alerts`: those that are kept are logged, too."""

    def __init__(self, kept: Alerts) -> None:
        self._kept = kept

    async def raise_alerts(self, alerts: Sequence[Alert]) -> None:
        await self._kept.raise_alerts(alerts)
        for each in alerts:
            log.warning(
                "risk_alert", id=each.id, kind=each.kind, subject=each.subject.value, key=each.key,
                severity=each.severity, text=each.text,
            )  # fmt: skip


def open_signals(
    settings: Settings, lifecycle: Lifecycle, clock: Clock, redis_url: str, alerts: Alerts
) -> tuple[SignalWatch, DoorBlocks]:
    figures, counts = monitor_settings(settings), SignalCounts()
    windows = RedisSignalWindows(redis_url)
    velocity = RedisVelocity(redis_url, malformed=RISK_MALFORMED.inc, timeout_s=_TELL_TIMEOUT_S)
    blocks = DoorBlocks(clock, figures.never_blocked, counts.refused)
    watch = SignalWatch(
        windows, velocity, LoggedAlerts(alerts), blocks, clock, counts, figures, secrets.token_hex(8),
        settings.risk_monitors.buffer,
    )  # fmt: skip
    watch.start()
    BLOCKED_ADDRESSES.set_function(lambda: len(blocks))
    lifecycle.on_close("signals' windows", windows.close)
    lifecycle.on_close("signals' velocity", velocity.close)
    lifecycle.on_close("signals", watch.close)
    return watch, blocks


def open_risk_counters(platform: Platform, watch: SignalWatch) -> None:
    """The follower of the journal that tells counters, and the monitor of devices, what became of payments."""
    devices, currency = DeviceMonitor(monitor_settings(platform.settings)), RoadSettings().reference_currency
    clock = platform.clock

    def tell(event: JudgedEvent) -> None:
        told = told_by(event, currency, devices)
        watch.count(told.happenings)
        watch.find(told.findings)
        for signal in told.signals:
            watch.report(signal)

    apply = applying(tell, lambda: clock.time_ms() - OLDEST_MS)
    open_consumer(platform, FeedConsumer(platform.following, CONSUMER, apply, right_of_way=platform.right_of_way))


def monitor_settings(settings: Settings) -> MonitorSettings:
    section = settings.risk_monitors
    return MonitorSettings(
        short_ms=section.window_minutes * _MINUTE_MS,
        stuffed_accounts=section.stuffed_accounts,
        guessing_addresses=section.guessing_addresses,
        anomaly_failures=section.anomaly_failures,
        failures_before_success=section.failures_before_success,
        takeover_ms=section.takeover_minutes * _MINUTE_MS,
        dormant_ms=section.dormant_days * _DAY_MS,
        devices_of_account=section.devices_of_account,
        accounts_of_device=section.accounts_of_device,
        device_declines=section.device_declines,
        refused_cards=section.refused_cards,
        code_guesses=section.code_guesses,
        pin_failed_cards=section.pin_failed_cards,
        bad_signatures=section.bad_signatures,
        certificate_refusals=section.certificate_refusals,
        role_misuses=section.role_misuses,
        scans=section.scans,
        wrong_credentials=section.wrong_credentials,
        again_ms=section.alert_again_minutes * _MINUTE_MS,
        block_ms=section.block_minutes * _MINUTE_MS,
        blocking=frozenset(section.blocking),
        never_blocked=tuple(ip_network(each) for each in section.never_blocked),
    )
