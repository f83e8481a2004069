"""`python -m benchmarks.judging`: what risk control adds to a payment, beside a bare round trip to Redis.

A tap with chip data at one of 500 terminals, judged as the road does it: what it says of itself, the counters of a
real Redis, the rules, the model where there is one (--model), and what is packed to be stored. CPU time of this process
by part, in batches of 64 and alone; Redis's own CPU time by its INFO; wall time of one payment alone against PING.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from uuid import UUID

import redis.asyncio as redis

from switch.domain.authorization import Authorization, AuthorizationRequest, CardCredential, Merchant
from switch.domain.money import Money
from switch.domain.risk import Judgement
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation
from switch.entry._tlv import encode_present
from switch.payments.intake import new_record
from switch.payments.presented_facts import Moment, presented
from switch.risk.local_velocity import LocalVelocity
from switch.risk.model import load_model
from switch.risk.monitor import LiveRisk, PaymentMonitor, Presented
from switch.risk.rules import RuleSet
from switch.risk.starter import starter_document
from switch.risk.watch import VersionedModel
from switch.store.embedded import EmbeddedRedis
from switch.store.velocity import RedisVelocity
from switch.wiring.foundation import SystemClock

LIVE_RULES = 50
BATCH = 64
CARDS, TERMINALS = 20_000, 500
_TAGS = {
    0x9F26: bytes(8), 0x9F27: b"\x80", 0x9F10: bytes(20), 0x9F37: bytes(4), 0x9F36: b"\x01\x02", 0x95: bytes(5),
    0x9A: b"\x26\x11\x27", 0x9C: b"\x00", 0x9F02: bytes(6), 0x5F2A: b"\x01\x56", 0x82: bytes(2),
    0x9F34: b"\x1f\x03\x02",
}  # fmt: skip
EMV = encode_present(_TAGS, tuple(_TAGS))

Payment = tuple[AuthorizationRequest, Authorization]


class Counted:
    """Meets `switch.risk.monitor.Observer`."""

    def __init__(self) -> None:
        self.fired = 0
        self.absences = 0

    def judged(self, judgement: Judgement) -> None:
        self.fired += len(judgement.fired)

    def absent(self, source: str) -> None:
        self.absences += 1


@dataclass(frozen=True)
class Figures:
    """Microseconds a payment, the best round; alone_ms and ping_ms: p50 and p99 of the wall time.

    ping_us: this process's CPU for one PING, a round trip with nothing in it.
    """

    says_us: float
    ping_us: float
    judged_us: float
    redis_us: float
    alone_ms: tuple[float, float]
    ping_ms: tuple[float, float]
    fired: float
    absences: int


def payments(count: int, random: Random) -> list[Payment]:
    made = []
    for _ in range(count):
        terminal = random.randrange(TERMINALS)
        card = random.randrange(CARDS)
        request = AuthorizationRequest(
            "acme", Merchant(f"m{terminal // 5}"), f"t{terminal}", f"{random.getrandbits(64):x}",
            time.time_ns() // 1_000_000, Operation.SALE, Money(random.randrange(500, 50_000), "CNY"), EntryMode.NFC,
            CardCredential(Pan("6225880000000005"), "4912", emv=EMV),
        )  # fmt: skip
        record = new_record(request, request.transmission_time_ms)
        record.payer_key = UUID(int=card).bytes
        made.append((request, record))
    return made


def said(batch: Sequence[Payment]) -> list[Presented]:
    moment = Moment.of(time.time_ns() // 1_000_000)
    return [presented(request, record, moment, "CNY") for request, record in batch]


def cpu_us(work: Callable[[], object], items: int) -> float:
    started_s = time.process_time()
    work()
    return (time.process_time() - started_s) / items * 1e6


def live_rules() -> RuleSet:
    return RuleSet(starter_document().all_rules()[:LIVE_RULES])


async def measured(rounds: int, batches: int, scorer: VersionedModel | None, alone: int = 2_000) -> Figures:
    """alone: payments that are judged one by one."""
    random = Random(1)
    counted = Counted()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis(Path(folder))
        url = await server.start()
        clock = SystemClock()
        velocity = RedisVelocity(url, timeout_s=1.0)
        live = LiveRisk(live_rules(), scorer)
        monitor = PaymentMonitor(live, velocity, LocalVelocity(clock.time_ms), clock, counted, lambda: 1)
        plain = redis.Redis.from_url(url)
        try:
            return await _rounds((rounds, batches, alone), random, monitor, plain, counted)
        finally:
            await plain.aclose()
            await velocity.close()
            await server.stop()


async def _rounds(
    counts: tuple[int, int, int], random: Random, monitor: PaymentMonitor, plain: redis.Redis, counted: Counted
) -> Figures:
    rounds, batches, one_by_one = counts
    await monitor.judge(said(payments(BATCH, random)))
    says, judged, of_redis, of_pings = [], [], [], []
    for _ in range(rounds):
        made = [payments(BATCH, random) for _ in range(batches)]
        asked: list[list[Presented]] = []
        says.append(cpu_us(lambda made=made, asked=asked: asked.extend(map(said, made)), BATCH * batches))  # type: ignore[misc]
        before_s, started_s = await _redis_cpu_s(plain), time.process_time()
        for batch in asked:
            await monitor.judge(batch)
        judged.append((time.process_time() - started_s) / BATCH / batches * 1e6)
        of_redis.append((await _redis_cpu_s(plain) - before_s) / BATCH / batches * 1e6)
        pinged_s = time.process_time()
        for _ in range(200):
            await plain.ping()
        of_pings.append((time.process_time() - pinged_s) / 200 * 1e6)
    alone, pings = [], []
    for batch in [said(payments(1, random)) for _ in range(one_by_one)]:
        alone.append(await _wall_ms(monitor.judge(batch)))
        pings.append(await _wall_ms(plain.ping()))
    payments_judged = BATCH * (batches * rounds + 1) + len(alone)
    return Figures(
        min(says), min(of_pings), min(judged), min(of_redis), _quantiles(alone), _quantiles(pings),
        counted.fired / payments_judged, counted.absences,
    )  # fmt: skip


async def _wall_ms(work: object) -> float:
    started_s = time.perf_counter()
    await work  # type: ignore[misc]
    return (time.perf_counter() - started_s) * 1e3


async def _redis_cpu_s(plain: redis.Redis) -> float:
    info = await plain.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def _quantiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]


def lines(figures: Figures) -> list[str]:
    alone, ping = figures.alone_ms, figures.ping_ms
    return [
        f"what a payment says of itself: {figures.says_us:.1f} us; counters, {LIVE_RULES} rules, packing:"
        f" {figures.judged_us:.1f} us; together {figures.says_us + figures.judged_us:.1f} us of this process's CPU",
        f"Redis's own: {figures.redis_us:.1f} us; one PING alone takes {figures.ping_us:.1f} us of this process",
        f"alone: p50 {alone[0]:.2f} ms, p99 {alone[1]:.2f} ms; a PING p50 {ping[0]:.2f}, p99 {ping[1]:.2f}",
        f"rules fired a payment: {figures.fired:.2f}; batches without counters: {figures.absences}",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=50, help="of 64 payments, in a round")
    parser.add_argument("--model", type=Path, help="a model file (payswitch risk train)")
    options = parser.parse_args(arguments)
    scorer = VersionedModel(load_model(options.model.read_bytes()), 1) if options.model is not None else None
    figures = asyncio.run(measured(options.rounds, options.batches, scorer))
    print("\n".join(lines(figures)))


if __name__ == "__main__":
    main(sys.argv[1:])
