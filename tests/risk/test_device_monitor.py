"""Patterns of devices, each beside an honest twin."""

from uuid import uuid4

import pytest
from signal_scene import SignalScene

from switch.domain.risk import FactValue, Subject
from switch.ports.signals import Signal, SignalKind
from switch.risk.device_monitor import DEVICE_FACTS, DeviceMonitor
from switch.risk.facts import BY_NAME
from switch.risk.monitor_settings import MonitorSettings

KEYS = {Subject.USER: "11" * 16, Subject.DEVICE: "22" * 16}
HONEST: dict[str, FactValue] = {
    "device_users_30d": 2,
    "user_devices_30d": 2,
    "device_declines_1d": 1,
    "device_age_minutes": 500_000,
    "device_emulator": False,
    "device_rooted": False,
    "device_debugged": False,
    "device_tampered": False,
}


def found(**facts: FactValue) -> list[tuple[str, int]]:
    monitor = DeviceMonitor(MonitorSettings())
    return [(each.kind, each.severity) for each in monitor.of_payment(KEYS, HONEST | facts)]


def test_it_reads_published_facts() -> None:
    assert set(BY_NAME) >= DEVICE_FACTS


def test_a_couples_tablet_is_nothing() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("facts", "kind", "severity"),
    [
        ({"device_users_30d": 5}, "many_accounts_on_device", 600),
        ({"device_users_30d": 5, "device_age_minutes": 60}, "many_accounts_on_device", 700),
        ({"user_devices_30d": 5}, "many_devices", 400),
        ({"device_tampered": True}, "device_tampered", 600),
        ({"device_emulator": True}, "device_emulator", 500),
        ({"device_emulator": True, "device_rooted": True}, "device_emulator", 600),
        ({"device_declines_1d": 10}, "device_declines", 500),
    ],
)
def test_each_is_found(facts: dict[str, FactValue], kind: str, severity: int) -> None:
    assert found(**facts) == [(kind, severity)]


@pytest.mark.parametrize(
    "facts",
    [
        {"device_users_30d": 4},
        {"user_devices_30d": 4},
        {"device_declines_1d": 9},
        {"device_rooted": True},
        {"device_age_minutes": 0},
    ],
)
def test_a_tinkerers_new_phone_is_nothing(facts: dict[str, FactValue]) -> None:
    assert found(**facts) == []


def test_what_is_not_known_is_nothing() -> None:
    monitor = DeviceMonitor(MonitorSettings())
    assert monitor.of_payment(KEYS, {}) == []
    assert monitor.of_payment({Subject.CARD: "33" * 16}, HONEST | {"device_emulator": True}) == []


async def test_devices_added_one_after_the_other_are_found_and_two_are_not() -> None:
    scene, farm, honest = SignalScene(), uuid4(), uuid4()
    for _ in range(5):
        await scene.tell(Signal(SignalKind.DEVICE_ADDED, farm, uuid4()))
    await scene.tell(*(Signal(SignalKind.DEVICE_ADDED, honest, uuid4()) for _ in range(2)))
    assert scene.kinds() == ["many_devices"]


async def test_one_key_under_many_accounts_is_one_machine() -> None:
    scene = SignalScene()
    for number in range(5):
        await scene.tell(Signal(SignalKind.DEVICE_ADDED, uuid4(), uuid4(), about="the key"))
        assert scene.kinds() == (["shared_device_key"] if number == 4 else [])


async def test_one_person_who_binds_his_phone_anew_is_not() -> None:
    scene, user = SignalScene(devices_of_account=100), uuid4()
    for _ in range(8):
        await scene.tell(Signal(SignalKind.DEVICE_ADDED, user, uuid4(), about="the key"))
    assert scene.kinds() == []
