"""After 10003 and 20000: queried every 3 s, cancelled at 60 s, and only then called failed.

The road, the resolver with its default settings, the channel and the simulator are the real ones; the journal is in
memory, and one clock of the test's own is everybody's.
"""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from town import alipay_code, request_of, town

from adapters.alipay.channel import AlipayChannel
from adapters.simulation import Behaviour, Scenario
from switch.domain.states import EntryMode, Operation, State
from switch.payments.resolve import Resolver, ResolveSettings
from switch.payments.road import Road

__all__ = ["alipay_code", "request_of", "town"]


class SetClock:
    """Unix time that only the test moves; the loop's own time, since sockets go by it."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class Watch:
    """What the resolver does over a stretch of time: (second, operation) of each message, until the row has ended."""

    def __init__(self, town: Any, channel: AlipayChannel, clock: SetClock) -> None:
        self.town, self.channel, self.clock = town, channel, clock
        self.sent: list[tuple[int, Operation]] = []
        self.began_ms = clock.now_ms
        send = channel.send

        def noting(requests: Any) -> Any:
            self.sent += [((clock.now_ms - self.began_ms) // 1_000, each.operation) for each in requests]
            return send(requests)

        channel.send = noting  # type: ignore[method-assign]

    async def until_ended(self) -> State:
        """Each follow-up is asked for when it is due, as the journal's lease would have it."""
        resolver, journal = Resolver(self.town.world, ResolveSettings()), self.town.journal
        due_ms = self.clock.now_ms + int(self.town.settings.inquiry_after_s * 1_000)
        journal.follow_ups[0].first_due_time_ms = due_ms
        for _ in range(100):
            if not journal.follow_ups:
                break
            self.clock.now_ms = due_ms
            await resolver.turn()
            due_ms = self.clock.now_ms + int(journal.pauses_s[-1] * 1_000)
        (row,) = journal.rows.values()
        return State(row.state)


@pytest.fixture
async def clock(town: Any) -> SetClock:
    return SetClock(town.world.clock.time_ms())


@pytest.fixture
async def watch(town: Any, channel: AlipayChannel, clock: SetClock) -> Watch:
    channel.name = "first"
    channel._clock = town.world.clock = clock
    town.world.channels["first"] = channel
    town.road = Road(town.world, replace(town.settings, answer_budget_ms=20_000))
    for _ in range(3_000):
        if channel.health().ready:
            return Watch(town, channel, clock)
        await asyncio.sleep(0.01)
    raise AssertionError("the channel was not ready within thirty seconds")


async def paid(town: Any, request_of: Any, code: Any, **changes: Any) -> Any:
    return await town.road.enter(request_of(credential=code, entry=EntryMode.PAYER_CODE, **changes), 20.0)


@pytest.mark.parametrize("answer", ["10003", "20000"])
async def test_a_payer_who_does_nothing_is_cancelled_after_a_minute(
    watch: Watch, town: Any, simulator: Any, request_of: Any, alipay_code: Any, answer: str
) -> None:
    scenario = {
        "10003": Scenario(Behaviour.USER_PAYING, delay_ms=10**7),
        "20000": Scenario(Behaviour.DECLINE, code="98"),
    }[answer]
    simulator.scenarios.put(scenario)
    record = await paid(town, request_of, alipay_code)
    assert (record.state, record.response_code) == (State.AWAITING_PAYER, "09")
    assert await watch.until_ended() is State.REVERSED
    seconds = [second for second, operation in watch.sent if operation is Operation.INQUIRY]
    assert seconds == list(range(3, 64, 3))
    assert watch.sent[-1] == (63, Operation.REVERSAL)
    (booked,) = simulator.book()
    assert (booked["payments"], booked["cancelled"], booked["status"]) == (0, True, "TRADE_CLOSED")


async def test_a_payment_that_alipay_did_not_know_of_is_found(
    watch: Watch, town: Any, simulator: Any, request_of: Any, alipay_code: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers 20000 and has the money all the same: asked, it says so, and nothing is cancelled."""
    body = simulator._body

    def unsure(key: str, value: Any, *rest: Any) -> bytes:
        if key == "alipay_trade_pay_response":
            value = {"code": "20000", "msg": "Service Currently Unavailable", "sub_code": "aop.ACQ.SYSTEM_ERROR"}
        return bytes(body(key, value, *rest))

    monkeypatch.setattr(simulator, "_body", unsure)
    record = await paid(town, request_of, alipay_code)
    assert record.state is State.AWAITING_PAYER
    assert await watch.until_ended() is State.APPROVED
    assert watch.sent[1:] == [(3, Operation.INQUIRY)]
    (booked,) = simulator.book()
    assert (booked["payments"], booked["cancelled"]) == (1, False)


async def test_a_payer_who_pays_after_all(
    watch: Watch, town: Any, simulator: Any, request_of: Any, alipay_code: Any
) -> None:
    simulator.scenarios.put(Scenario(Behaviour.USER_PAYING, delay_ms=10_000))
    await paid(town, request_of, alipay_code)
    began_s = simulator._clock_s()
    simulator._clock_s = lambda: began_s + (watch.clock.now_ms - watch.began_ms) / 1_000
    assert await watch.until_ended() is State.APPROVED
    assert [each[0] for each in watch.sent] == [0, 3, 6, 9, 12]
