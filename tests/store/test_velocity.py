import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis.asyncio as redis

from switch.domain.payer import Place
from switch.domain.risk import Subject
from switch.domain.velocity import COUNTED_PAIRS, MARKS, MOST_SUM, NEVER, PAIRS, WINDOWS, pair_name
from switch.ports import CountersUnavailable
from switch.ports.risk import Happening, Later, Mark, Sighting
from switch.risk.facts import COUNTERS, FACTS
from switch.store.embedded import EmbeddedRedis
from switch.store.velocity import RedisVelocity

# What a test waits for Redis at most: other work on the machine is no outage.
PATIENT_S = 2.0
SHANGHAI, BEIJING = Place(31_230_416, 121_473_701), Place(39_904_200, 116_407_396)
DAY_MS = 86_400_000


def key(number: int) -> str:
    """As a hash would be: no two alike in their first half."""
    return f"{number:08x}" * 4


CARD, MERCHANT, TERMINAL, USER, DEVICE, IP = (key(number) for number in range(1, 7))
TAP = {Subject.CARD: CARD, Subject.MERCHANT: MERCHANT, Subject.TERMINAL: TERMINAL}
EVERYTHING = TAP | {Subject.USER: USER, Subject.DEVICE: DEVICE, Subject.IP: IP}


@pytest.fixture
async def velocity(redis_url: str) -> AsyncIterator[RedisVelocity]:
    velocity = RedisVelocity(redis_url, timeout_s=PATIENT_S)
    yield velocity
    await velocity.close()


async def one(velocity: RedisVelocity, event: str, amount_minor: int = 100, **more: object) -> dict[str, int]:
    [facts] = await velocity.see([Sighting(event, TAP, amount_minor, **more)])  # type: ignore[arg-type]
    return facts


def now_ms() -> int:
    return int(time.time() * 1000)


# --- one round trip ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payments", [1, 64, 128])
async def test_a_batch_is_one_call_of_the_script(velocity: RedisVelocity, redis_url: str, payments: int) -> None:
    await one(velocity, "the script is loaded")
    async with redis.Redis.from_url(redis_url) as plain:
        before = await calls(plain)
        answers = await velocity.see([Sighting(f"{payments} {n}", EVERYTHING, 100) for n in range(payments)])
        assert len(answers) == payments
        assert await calls(plain) == {**before, "evalsha": before["evalsha"] + 1}


async def calls(plain: redis.Redis) -> dict[str, int]:
    """By command, those that clients sent: a script's own are none of them."""
    stats = await plain.info("commandstats")
    return {name: stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval")}


# --- what is answered -------------------------------------------------------------------------------------------------


async def test_every_published_counter_is_answered_for_a_payment_that_names_everything(velocity: RedisVelocity) -> None:
    [facts] = await velocity.see([Sighting("1", EVERYTHING, 100, SHANGHAI)])
    published = {each.name for each in FACTS if each.source == COUNTERS}
    not_counted = [f"{pair_name(*pair)}_" for pair in PAIRS if pair not in COUNTED_PAIRS]
    missing = published - set(facts)
    assert set(facts) <= published
    assert missing == {name for name in published if name.startswith(tuple(not_counted))}
    assert facts["card_count_1m"] == facts["user_merchant_count_30d"] == 1
    assert facts["device_sum_1d"] == 100
    assert facts["card_age_minutes"] == 0
    assert facts["card_idle_minutes"] == NEVER
    assert facts["ip_users_1h"] == facts["merchant_cards_30d"] == 1
    assert facts["user_registered_minutes"] == NEVER
    assert facts["card_travel_km"] == facts["card_declines_1h"] == facts["user_refund_sum_30d"] == 0


async def test_only_what_is_known_is_answered(velocity: RedisVelocity) -> None:
    [facts] = await velocity.see([Sighting("1", {Subject.MERCHANT: MERCHANT}, 100, SHANGHAI)])
    assert {name.partition("_")[0] for name in facts} == {"merchant"}
    assert await velocity.see([Sighting("2", {}, 100)]) == [{}]
    assert await velocity.see([]) == []


async def test_counted_in_order_and_each_event_once(velocity: RedisVelocity) -> None:
    batch = [Sighting(event, TAP, amount) for event, amount in (("1", 100), ("2", 30), ("1", 100), ("3", 7))]
    answers = await velocity.see(batch)
    assert [(each["card_count_1m"], each["card_sum_30d"]) for each in answers] == [
        (1, 100), (2, 130), (2, 130), (3, 137),
    ]  # fmt: skip
    again = await velocity.see(batch)
    assert {(each["card_merchant_count_1d"], each["terminal_sum_1m"]) for each in again} == {(3, 137)}


async def test_wanted_narrows_what_is_answered_and_not_what_is_counted(redis_url: str) -> None:
    velocity = RedisVelocity(
        redis_url, wanted=frozenset({"card_count_1m", "card_merchant_sum_1h"}), timeout_s=PATIENT_S
    )
    assert await one(velocity, "1") == {"card_count_1m": 1, "card_merchant_sum_1h": 100}
    velocity.want(frozenset({"merchant_count_30d"}))
    assert await one(velocity, "2") == {"merchant_count_30d": 2}
    velocity.want(frozenset({"card_travel_km"}))
    assert await one(velocity, "2a") == {}
    assert await one(velocity, "2b", place=SHANGHAI) == {"card_travel_km": 0}
    assert await one(velocity, "2c", place=BEIJING) == {"card_travel_km": 1067}
    velocity.want(frozenset())
    assert await one(velocity, "3") == {}
    velocity.want(None)
    assert (await one(velocity, "4"))["terminal_cards_1h"] == 1
    await velocity.close()


async def test_pairs_are_those_that_were_asked_for(redis_url: str) -> None:
    velocity = RedisVelocity(redis_url, pairs=[(Subject.MERCHANT, Subject.TERMINAL)], timeout_s=PATIENT_S)
    facts = await one(velocity, "1")
    assert facts["merchant_terminal_count_1m"] == 1
    assert not any(name.startswith("card_merchant_c") for name in facts)
    await velocity.close()


async def test_different_ones_are_counted(velocity: RedisVelocity) -> None:
    merchants = [key(100 + number % 7) for number in range(20)]
    batch = [Sighting(str(n), {Subject.CARD: CARD, Subject.MERCHANT: each}, 1) for n, each in enumerate(merchants)]
    answers = await velocity.see(batch)
    assert [each["card_merchants_1h"] for each in answers] == [1, 2, 3, 4, 5, 6, 7, *[7] * 13]
    assert answers[-1]["merchant_cards_30d"] == 1


async def test_no_more_than_a_thousand_different_ones_are_held(velocity: RedisVelocity, redis_url: str) -> None:
    sightings = [
        Sighting(str(number), {Subject.CARD: key(1000 + number), Subject.MERCHANT: MERCHANT}, 1)
        for number in range(1100)
    ]
    answers = await velocity.see(sightings)
    assert [each["merchant_cards_1h"] for each in answers] == [*range(1, 1001), *[1000] * 100]
    async with redis.Redis.from_url(redis_url) as client:
        assert 12_000 < await client.strlen(b"v:{0}:merchant:" + bytes.fromhex(MERCHANT)) < 13_600


# --- what becomes known later -----------------------------------------------------------------------------------------


async def test_what_happens_later_is_counted_at_its_own_time(velocity: RedisVelocity) -> None:
    now = now_ms()
    await velocity.tell([
        Happening("1", Later.DECLINES, EVERYTHING, now),
        Happening("2", Later.DECLINES, EVERYTHING, now - DAY_MS // 2),
        Happening("3", Later.DECLINES, EVERYTHING, now - 2 * DAY_MS),
        Happening("1", Later.REFUNDS, EVERYTHING, now - 7 * DAY_MS, 500),
        Happening("2", Later.REFUNDS, EVERYTHING, now + DAY_MS, 30),
        Happening("1", Later.LOGIN_FAILURES, {Subject.USER: USER, Subject.IP: IP}, now),
        Happening("1", Later.PIN_FAILURES, {Subject.CARD: CARD, Subject.USER: USER}, now),
    ])  # fmt: skip
    [facts] = await velocity.see([Sighting("1", EVERYTHING, 100)])
    assert (facts["card_declines_1h"], facts["ip_declines_1d"]) == (1, 2)
    assert (facts["user_refunds_1d"], facts["user_refunds_30d"]) == (1, 2)
    assert (facts["merchant_refund_sum_1d"], facts["merchant_refund_sum_30d"]) == (30, 530)
    assert (facts["user_login_failures_1h"], facts["ip_login_failures_1d"]) == (1, 1)
    assert (facts["card_pin_failures_1h"], facts["terminal_pin_failures_1h"]) == (1, 0)
    assert facts["card_count_30d"] == 1
    assert facts["card_idle_minutes"] == NEVER


async def test_told_again_it_adds_nothing(velocity: RedisVelocity) -> None:
    happening = Happening("1", Later.REFUNDS, TAP, now_ms(), 500)
    await velocity.tell([happening, happening])
    await velocity.tell([happening])
    facts = await one(velocity, "1")  # the same id, of another kind
    assert (facts["card_refunds_1d"], facts["card_refund_sum_1d"], facts["card_count_1d"]) == (1, 500, 1)


async def test_marks_are_the_latest_time(velocity: RedisVelocity) -> None:
    now = now_ms()
    marks = [Mark(name, USER, now - (number + 1) * 600_000) for number, name in enumerate(MARKS[:-1])]
    await velocity.tell([], marks)
    await velocity.tell([], [Mark("signed_in", USER, now - 7_200_000)])
    [facts] = await velocity.see([Sighting("1", {Subject.USER: USER}, 100)])
    assert [facts[f"user_{name}_minutes"] for name in MARKS] == [10, 20, 30, 40, 50, NEVER]


# --- journeys ---------------------------------------------------------------------------------------------------------


async def test_a_journey_and_the_same_again_for_a_repeat(velocity: RedisVelocity) -> None:
    first = await one(velocity, "1", place=SHANGHAI)
    assert (first["card_travel_km"], first["card_travel_kmh"]) == (0, 0)
    assert "card_travel_km" not in await one(velocity, "2")
    third = await one(velocity, "3", place=BEIJING)
    assert third["card_travel_km"] == 1067
    assert third["card_travel_kmh"] > 1067
    again = await one(velocity, "3", place=BEIJING)
    assert (again["card_travel_km"], again["card_travel_kmh"]) == (third["card_travel_km"], third["card_travel_kmh"])
    assert again["card_idle_minutes"] == third["card_idle_minutes"] == 0


# --- shared, repeated, gone -------------------------------------------------------------------------------------------

_PROCESS = """
import asyncio, sys
from switch.domain.risk import Subject
from switch.ports.risk import Happening, Later, Sighting
from switch.store.velocity import RedisVelocity

async def main(url, process):
    velocity = RedisVelocity(url, timeout_s=30)
    # Every event is seen by its own process and by the one after it: each is the other's retry.
    own = [f"{each}-{number}" for each in (process, (process + 1) % 8) for number in range(250)]
    subjects = {Subject.CARD: "ca" * 16, Subject.MERCHANT: "fe" * 16, Subject.USER: "05" * 16}
    for at in range(0, len(own), 50):
        batch = [Sighting(event, subjects, 3) for event in own[at : at + 50]]
        for sighting, facts in zip(batch, await velocity.see(batch)):
            assert 1 <= facts["card_count_1d"] == facts["user_count_1d"] <= 2000
        await velocity.tell([Happening(event, Later.DECLINES, subjects, 0) for event in own[at : at + 50]])
        await velocity.see(batch[::7])
    await velocity.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_eight_processes_with_retries_of_each_other_count_exactly(
    redis_url: str, velocity: RedisVelocity
) -> None:
    commands = [[sys.executable, "-c", _PROCESS, redis_url, str(process)] for process in range(8)]
    processes = [subprocess.Popen(each) for each in commands]  # noqa: ASYNC220 - all at once
    assert [await asyncio.to_thread(each.wait) for each in processes] == [0] * 8
    subjects = {Subject.CARD: "ca" * 16, Subject.MERCHANT: "fe" * 16, Subject.USER: "05" * 16}
    [facts] = await velocity.see([Sighting("0-0", subjects, 3)])
    for name in ("card", "merchant", "user", "card_merchant", "user_merchant"):
        for window in ("1h", "1d", "30d"):
            assert facts[f"{name}_count_{window}"] == 2000
            assert facts[f"{name}_sum_{window}"] == 6000


async def test_spread_over_hash_tags_the_answers_are_the_same(redis_url: str) -> None:
    velocity = RedisVelocity(redis_url, tags=4, timeout_s=PATIENT_S)
    batch = [Sighting(str(number), EVERYTHING | {Subject.CARD: key(90 + number % 5)}, 10) for number in range(150)]
    answers = await velocity.see(batch)
    assert [each["card_count_1h"] for each in answers] == [number // 5 + 1 for number in range(150)]
    assert [each["merchant_count_1h"] for each in answers] == list(range(1, 151))
    assert [each["card_merchant_sum_1h"] for each in answers] == [10 * (number // 5 + 1) for number in range(150)]
    assert [each["user_count_1d"] for each in await velocity.see(batch)] == [150] * 150
    await velocity.tell([Happening("1", Later.DECLINES, EVERYTHING, now_ms())], [Mark("signed_in", USER, now_ms())])
    [facts] = await velocity.see(batch[:1])
    assert facts["terminal_declines_1h"] == facts["ip_declines_1d"] == 1
    assert facts["user_signed_in_minutes"] == 0
    async with redis.Redis.from_url(redis_url) as client:
        tags = {each.split(b":")[1] for each in await client.keys("*")}
    assert tags == {b"{0}", b"{1}", b"{2}", b"{3}"}
    await velocity.close()


async def test_gone_then_free_of_cost_then_back(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "redis")
    now_s = 0.0
    velocity = RedisVelocity(await server.start(), timeout_s=PATIENT_S, rest_s=10, monotonic_s=lambda: now_s)
    assert (await one(velocity, "1"))["card_count_1m"] == 1
    await server.stop()
    for _ in range(3):
        with pytest.raises(CountersUnavailable):
            await one(velocity, "2")
    with pytest.raises(CountersUnavailable, match="resting"):
        await velocity.tell([Happening("1", Later.DECLINES, TAP, 0)])
    await server.start()
    now_s = 11.0
    assert (await one(velocity, "2"))["card_count_1m"] == 1  # and the script is there again
    assert (await one(velocity, "3"))["card_count_1m"] == 2
    await velocity.close()
    await server.stop()


async def test_a_silent_redis_costs_no_more_than_the_timeout(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(silent, tmp_path / "s")
    velocity = RedisVelocity(f"unix://{tmp_path / 's'}", timeout_s=0.02)
    started_s = time.perf_counter()
    with pytest.raises(CountersUnavailable):
        await one(velocity, "1")
    assert time.perf_counter() - started_s < PATIENT_S
    assert not await velocity.ready()
    await velocity.close()
    server.close()
    await server.wait_closed()


async def test_a_full_redis_is_an_outage_and_counts_nothing(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "redis")
    velocity = RedisVelocity(await server.start(), timeout_s=PATIENT_S)
    async with redis.Redis.from_url(server.url()) as client:
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", "1")
        with pytest.raises(CountersUnavailable, match="OOM"):
            await one(velocity, "1")
        await client.config_set("maxmemory", "0")
        assert (await one(velocity, "1"))["card_count_1m"] == 1
    await velocity.close()
    await server.stop()


# --- what is in Redis -------------------------------------------------------------------------------------------------


async def test_every_key_has_the_tag_and_ends(velocity: RedisVelocity, redis_url: str) -> None:
    await one(velocity, "1", place=SHANGHAI)
    await velocity.tell([Happening("1", Later.LOGIN_FAILURES, {Subject.IP: IP}, now_ms())])
    async with redis.Redis.from_url(redis_url) as client:
        ends_s = {each: await client.ttl(each) for each in await client.keys("*")}
    assert all(each.startswith(b"v:{0}:") for each in ends_s)
    long_s = {each.split(b":")[2] for each, end_s in ends_s.items() if 2_807_000 < end_s <= 2_808_000}
    assert long_s == {b"card", b"merchant", b"terminal", b"card_merchant"}
    assert 93_000 < ends_s[b"v:{0}:ip:" + bytes.fromhex(IP)] <= 93_600
    assert all(86_400 < end_s <= 2 * 86_400 for each, end_s in ends_s.items() if b":events:" in each)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda raw: b"",
        lambda raw: b"\x01",
        lambda raw: b"\x02" + raw[1:],
        lambda raw: raw[:-1],
        lambda raw: raw + b"\x00",
        lambda raw: b"\x01\xff" + raw[2:],
        lambda raw: b"\x01\x7f" + raw[2:],
        lambda raw: raw[:112] + b"\xff" + raw[113:],
        lambda raw: bytes(len(raw)),
        lambda raw: b"\xff" * len(raw),
    ],
    ids=["empty", "short", "version", "cut", "longer", "flag", "flags", "tail", "zeros", "ones"],
)
async def test_a_malformed_record_is_begun_anew(redis_url: str, break_it: Callable[[bytes], bytes]) -> None:
    malformed: list[int] = []
    velocity = RedisVelocity(redis_url, malformed=malformed.append, timeout_s=PATIENT_S)
    await one(velocity, "1", place=SHANGHAI)
    name = b"v:{0}:card:" + bytes.fromhex(CARD)
    async with redis.Redis.from_url(redis_url) as client:
        await client.set(name, break_it(await client.get(name)))
    facts = await one(velocity, "2")
    assert (facts["card_count_1m"], facts["merchant_count_1m"]) == (1, 2)
    assert malformed == [1]
    assert (await one(velocity, "3"))["card_count_1m"] == 2
    await velocity.close()


async def test_values_of_another_type_are_begun_anew(redis_url: str) -> None:
    malformed: list[int] = []
    velocity = RedisVelocity(redis_url, malformed=malformed.append, timeout_s=PATIENT_S)
    await one(velocity, "1")
    async with redis.Redis.from_url(redis_url) as client:
        for name in await client.keys("*"):
            await client.delete(name)
            await client.lpush(name, "x")
        for event in ("1", "2"):
            assert (await one(velocity, event))["card_merchant_count_1h"] == int(event)
    assert malformed == [5]
    await velocity.close()


async def test_any_bytes_inside_a_record_never_raise(velocity: RedisVelocity, redis_url: str) -> None:
    """Lengths that fit and numbers that make no sense: answered somehow, and well again once they are out of it."""
    await one(velocity, "1", place=SHANGHAI)
    await velocity.tell([Happening("1", Later.REFUNDS, TAP, now_ms(), 7)])
    name = b"v:{0}:card:" + bytes.fromhex(CARD)
    async with redis.Redis.from_url(redis_url) as client:
        raw = await client.get(name)
        for at in range(2, len(raw)):
            for value in (0, 1, 127, 255):
                await client.set(name, raw[:at] + bytes([value]) + raw[at + 1 :])
                facts = await one(velocity, f"{at}-{value}", place=BEIJING)
                assert 0 <= facts["card_count_1m"] < 1 << 32
                assert 0 <= facts["card_sum_30d"] <= MOST_SUM
                await velocity.tell([Happening(f"{at}-{value}", Later.DECLINES, TAP, now_ms())])


async def test_an_evicted_record_counts_a_repeat(velocity: RedisVelocity, redis_url: str) -> None:
    await one(velocity, "1")
    async with redis.Redis.from_url(redis_url) as client:
        await client.delete(b"v:{0}:card:" + bytes.fromhex(CARD))
    facts = await velocity.see([Sighting("1", TAP, 100)] * 2)
    assert [(each["card_count_1m"], each["merchant_count_1m"]) for each in facts] == [(1, 1), (1, 1)]


async def test_sums_stop_and_negative_amounts_are_none(velocity: RedisVelocity) -> None:
    amounts = (-5, MOST_SUM - 1, 0, 1, 1, 1 << 70)
    answers = [await one(velocity, str(number), amount) for number, amount in enumerate(amounts)]
    assert [each["card_sum_30d"] for each in answers] == [0, MOST_SUM - 1, MOST_SUM - 1, *[MOST_SUM] * 3]
    assert {answers[-1][f"card_count_{window}"] for window in WINDOWS} == {6}
