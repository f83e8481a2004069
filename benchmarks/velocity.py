"""`python -m benchmarks.velocity`: what counting a payment costs this process and Redis, beside bare round trips.

Taps that name a card, a merchant and a terminal; the pair of card and merchant is counted, too. First 30 days of them
are told to the script at times of their own, so that what is measured meets records with a history: cells of every
age, lists of counterparties. Then batches of 1, 8 and 64 in turn with PING and GET, in the same run.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import redis.asyncio as redis

from switch.domain.risk import Subject
from switch.ports.risk import Sighting
from switch.risk.local_velocity import LocalVelocity
from switch.store import velocity
from switch.store.bounded_redis import Script, script_of
from switch.store.embedded import EmbeddedRedis
from switch.store.velocity import RedisVelocity

BATCHES = (1, 8, 64)
_DAYS = 30
_DAY_MS = 86_400_000
_TERMINALS = 3  # of a merchant
# What about fifty rules and a model read, of four subjects.
WANTED = frozenset(
    f"{name}_{each}"
    for name in ("card", "merchant", "terminal", "card_merchant")
    for each in ("count_1m", "count_10m", "count_1h", "count_1d", "sum_1h", "sum_1d", "sum_30d", "age_minutes")
) | {"card_merchants_1d", "terminal_cards_1h", "card_declines_1h", "card_travel_kmh"}


@dataclass(frozen=True, slots=True)
class Figure:
    """Of one item, in microseconds: CPU of this process and of Redis, and the time that went by."""

    what: str
    process_us: float
    redis_us: float
    wall_us: float


@dataclass(frozen=True, slots=True)
class Figures:
    """record_bytes: of one record in Redis, key and all, by kind. local_per_s: sightings in this process's memory, a
    second of CPU."""

    figures: list[Figure]
    record_bytes: dict[str, float]
    local_per_s: float


class Town:
    """Taps of cards at merchants; some merchants have most of the trade."""

    def __init__(self, cards: int, merchants: int, seed: int = 1) -> None:
        self._random = Random(seed)
        self._cards = [self._key() for _ in range(cards)]
        self._merchants = [(self._key(), [self._key() for _ in range(_TERMINALS)]) for _ in range(merchants)]
        self._made = 0

    def _key(self) -> str:
        return self._random.randbytes(16).hex()

    def taps(self, count: int) -> list[Sighting]:
        random, made = self._random, []
        for _ in range(count):
            self._made += 1
            merchant, terminals = self._merchants[int(random.random() ** 2 * len(self._merchants))]
            subjects = {
                Subject.CARD: random.choice(self._cards),
                Subject.MERCHANT: merchant,
                Subject.TERMINAL: random.choice(terminals),
            }
            made.append(Sighting(f"{self._made:032x}", subjects, random.randrange(100, 100_000)))
        return made


async def tell_history(url: str, client: Any, town: Town, payments: int) -> None:
    """The script reads the time from a list instead of asking for it."""
    told = script_of("velocity.lua").text.replace("call('TIME')", "call('LRANGE', 'clock', 0, 1)")
    own, velocity._SCRIPT = velocity._SCRIPT, Script(told)
    past = RedisVelocity(url, timeout_s=30)
    try:
        now_ms, batch = int(time.time() * 1000), 64
        steps = max(payments // batch, 1)
        for step in range(steps):
            time_ms = now_ms - _DAYS * _DAY_MS * (steps - step) // (steps + 1)
            await client.delete("clock")
            await client.rpush("clock", time_ms // 1000, time_ms % 1000 * 1000)
            await past.see(town.taps(batch))
    finally:
        velocity._SCRIPT = own
        await past.close()
        await client.delete("clock")


async def _redis_cpu_s(client: Any) -> float:
    told = await client.info("cpu")
    return float(told["used_cpu_user_main_thread"]) + float(told["used_cpu_sys_main_thread"])


async def measure(client: Any, what: str, items: int, work: Sequence[Callable[[], Awaitable[object]]]) -> Figure:
    """items: in each piece of work."""
    redis_s = await _redis_cpu_s(client)
    process_s, wall_s = time.process_time(), time.perf_counter()
    for each in work:
        await each()
    wall_s, process_s = time.perf_counter() - wall_s, time.process_time() - process_s
    redis_s = await _redis_cpu_s(client) - redis_s
    scale = 1e6 / (items * len(work))
    return Figure(what, process_s * scale, redis_s * scale, wall_s * scale)


async def run(cards: int, merchants: int, payments: int, rounds: int, taps: int) -> Figures:
    """taps: measured by each batch size in a round."""
    town = Town(cards, merchants)
    with tempfile.TemporaryDirectory(prefix="payswitch-velocity-") as directory:
        server = EmbeddedRedis(Path(directory), memory="2gb")
        url = await server.start()
        client = redis.Redis.from_url(url)
        counted = RedisVelocity(url, timeout_s=30, wanted=WANTED)
        try:
            await tell_history(url, client, town, payments)
            found: dict[str, list[Figure]] = {}
            for _ in range(rounds):
                for figure in await _round(client, counted, town, taps):
                    found.setdefault(figure.what, []).append(figure)
            best = [min(each, key=lambda figure: figure.redis_us + figure.process_us) for each in found.values()]
            return Figures(best, await _record_bytes(client), _local_per_s(town, payments))
        finally:
            await counted.close()
            await client.aclose()
            await server.stop()


async def _round(client: Any, counted: RedisVelocity, town: Town, taps: int) -> list[Figure]:
    figures = [
        await measure(client, "PING", 1, [client.ping] * (taps // 4)),
        await measure(client, "GET", 1, [lambda: client.get("nothing")] * (taps // 4)),
    ]
    for size in BATCHES:
        batches = [town.taps(size) for _ in range(max(taps // size // (4 if size == 1 else 1), 1))]
        work = [lambda batch=batch: counted.see(batch) for batch in batches]
        figures.append(await measure(client, f"taps in batches of {size}", size, work))
    return figures


async def _record_bytes(client: Any) -> dict[str, float]:
    """On the average of at most 500 of each kind."""
    sizes: dict[str, list[int]] = {}
    async for name in client.scan_iter(count=1000):
        kind = name.split(b":")[2].decode()
        if len(sizes.setdefault(kind, [])) < 500:
            sizes[kind].append(await client.memory_usage(name))
    return {kind: sum(each) / len(each) for kind, each in sorted(sizes.items())}


def _local_per_s(town: Town, payments: int) -> float:
    """At simulated time, the 30 days again, in memory."""
    taps = town.taps(payments)
    now_ms = 1_800_000_000_000
    step_ms = _DAYS * _DAY_MS // payments

    def clock() -> int:
        return now_ms

    local = LocalVelocity(clock, wanted=WANTED, most_subjects=1_000_000)
    started_s = time.process_time()
    for each in taps:
        now_ms += step_ms
        local.count(each)
    return payments / (time.process_time() - started_s)


def _print(figures: Figures) -> None:
    print(f"{'of one':<24} {'this process, us':>17} {'Redis, us':>10} {'passed, us':>11}")
    for each in figures.figures:
        print(f"{each.what:<24} {each.process_us:>17.1f} {each.redis_us:>10.1f} {each.wall_us:>11.1f}")
    print("bytes in Redis:", ", ".join(f"{kind} {size:.0f}" for kind, size in figures.record_bytes.items()))
    print(f"in this process's memory: {figures.local_per_s:,.0f} a second of CPU")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cards", type=int, default=3_000)
    parser.add_argument("--merchants", type=int, default=200)
    parser.add_argument("--payments", type=int, default=40_000, help="of the 30 days before")
    parser.add_argument("--rounds", type=int, default=5, help="the best of them is shown")
    parser.add_argument("--taps", type=int, default=2_000, help="measured by each batch size in a round")
    given = parser.parse_args(arguments)
    _print(asyncio.run(run(given.cards, given.merchants, given.payments, given.rounds, given.taps)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
