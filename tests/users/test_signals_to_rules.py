"""From the doors to the road: what happens at a log-in is a fact of the payment that comes after it. Real Redis."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest_asyncio
import redis.asyncio as redis
from people_scene import PASSWORD, Scene, StillClock, fresh_login, open_scene, refused
from signal_scene import Counted, MemoryAlerts
from town import NothingCounted

from payswitch.v1 import user_pb2 as pb
from switch.domain.payer import Payer
from switch.domain.risk import Action, FactValue, Judged, Outcome, Rule, Subject
from switch.ports.risk import Sighting
from switch.risk.blocks import DoorBlocks
from switch.risk.monitor import LiveRisk, PaymentMonitor, Presented
from switch.risk.monitor_settings import MonitorSettings
from switch.risk.packing import unpack_facts
from switch.risk.rules import RuleSet
from switch.risk.signal_watch import SignalWatch
from switch.risk.subjects import own, user_key
from switch.store.signal_windows import RedisSignalWindows
from switch.store.velocity import RedisVelocity

PATIENT_S = 2.0
REASON = {"en": "prove yourself", "zh": "请验证"}
GUESSED = Rule("guessed", 1, "risk", "user_login_failures_1h >= 3", Action.STEP_UP, REASON, response_code="70")


@dataclass
class Watched:
    scene: Scene
    watch: SignalWatch
    monitor: PaymentMonitor
    alerts: MemoryAlerts

    async def forget(self, key: str) -> None:
        client = redis.Redis.from_url(self.scene.redis_url)
        assert await client.delete(key)
        await client.aclose()

    async def pay(self, user_id: str) -> Judged:
        """A payment of that user, as the road judges it."""
        key = user_key(Payer(user=own(UUID(user_id))))
        facts: dict[str, FactValue] = {f"{each}_known": each is Subject.USER for each in Subject}
        [judged] = await self.monitor.judge([Presented(facts, Sighting(uuid4().hex, {Subject.USER: key}, 100))])
        return judged


@pytest_asyncio.fixture(loop_scope="module")
async def watched(scene: Scene) -> AsyncIterator[Watched]:
    windows = RedisSignalWindows(scene.redis_url, timeout_s=PATIENT_S)
    velocity = RedisVelocity(scene.redis_url, timeout_s=PATIENT_S)
    # Redis's counters go by its own clock: what happened in another year is in none of their windows.
    clock = StillClock(time.time_ns() // 1_000_000)
    alerts, blocks = MemoryAlerts(), DoorBlocks(clock)
    settings = MonitorSettings()
    watch = SignalWatch(windows, velocity, alerts, blocks, clock, Counted(), settings, uuid4().hex)
    live = LiveRisk(RuleSet([GUESSED]))
    monitor = PaymentMonitor(live, velocity, velocity, clock, NothingCounted(), lambda: 1)
    own_scene = await open_scene(scene.database, scene.redis_url, scene.hsm.hsm, signals=watch)
    own_scene.clock.now_ms = clock.now_ms
    yield Watched(own_scene, watch, monitor, alerts)
    await own_scene.close()
    await windows.close()
    await velocity.close()


async def test_failures_at_the_door_are_a_fact_of_the_next_payment(watched: Watched) -> None:
    person = await watched.scene.person()
    for _ in range(3):
        with refused("UNAUTHENTICATED"):
            await watched.scene.stub.LogIn(pb.LogInRequest(login=person.login, password="not the password"))
    assert (await watched.pay(person.tokens.user_id)).judgement.outcome is Outcome.PASS  # not told yet
    await watched.watch.flush()
    judged = await watched.pay(person.tokens.user_id)
    facts = unpack_facts(judged.packed_facts)
    assert facts["user_login_failures_1h"] == facts["user_login_failures_1d"] == 3
    assert (judged.judgement.outcome, judged.judgement.fired) == (Outcome.STEP_UP, ("guessed",))


async def test_who_mistypes_twice_pays(watched: Watched) -> None:
    person = await watched.scene.person()
    for _ in range(2):
        with refused("UNAUTHENTICATED"):
            await watched.scene.stub.LogIn(pb.LogInRequest(login=person.login, password="not the password"))
    await watched.watch.flush()
    assert (await watched.pay(person.tokens.user_id)).judgement.outcome is Outcome.PASS


async def test_what_was_changed_is_known_by_its_minutes(watched: Watched) -> None:
    person = await watched.scene.person()
    await watched.watch.flush()
    before = unpack_facts((await watched.pay(person.tokens.user_id)).packed_facts)
    assert before["user_password_changed_minutes"] == 1_000_000_000  # never
    change = pb.ChangePasswordRequest(current_password=PASSWORD, new_password="another horse battery")
    await person.call("ChangePassword", change)
    await person.bind_device()
    await watched.watch.flush()
    after = unpack_facts((await watched.pay(person.tokens.user_id)).packed_facts)
    for mark in ("registered", "signed_in", "password_changed", "device_added"):
        assert isinstance(after[f"user_{mark}_minutes"], int)
        assert after[f"user_{mark}_minutes"] < 1_000_000_000


async def test_a_take_over_at_the_real_doors_is_one_alert(watched: Watched) -> None:
    person = await watched.scene.person()
    await watched.watch.flush()
    watched.alerts.alerts.clear()
    # Registered long ago, as the windows in Redis know it.
    key = user_key(Payer(user=own(UUID(person.tokens.user_id))))
    await watched.forget(f"signals:{{0}}:history:{key}")
    watched.scene.later(1_000)
    reset = await watched.scene.stub.RequestPasswordReset(pb.RequestPasswordResetRequest(login=person.login))
    code = await watched.scene.code(person.login)
    person.password = "a third horse battery"
    request = pb.ResetPasswordRequest(reset_id=reset.reset_id, code=code, new_password=person.password)
    await watched.scene.stub.ResetPassword(request)
    await person.log_in()
    await person.set_up_totp()
    await watched.watch.flush()
    assert watched.alerts.alerts == {}
    await person.bind_device()
    await watched.watch.flush()
    [alert] = watched.alerts.alerts.values()
    assert (alert.kind, alert.key, alert.facts) == (
        "account_takeover",
        key,
        {"steps": ["device", "factor", "password"]},
    )
    assert person.login not in repr(alert)


async def test_logins_that_nobody_has_are_stuffing_too(watched: Watched) -> None:
    for _ in range(20):
        with refused("UNAUTHENTICATED"):
            await watched.scene.stub.LogIn(pb.LogInRequest(login=fresh_login(), password="not the password"))
    await watched.watch.flush()
    assert "credential_stuffing" in {each.kind for each in watched.alerts.alerts.values()}
