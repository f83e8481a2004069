"""All lives of a population, merged in the order of time."""

import heapq
from collections.abc import Callable, Generator
from dataclasses import dataclass
from random import Random
from typing import Final

from switch.risk.population.account_fraud import code_relay, scam, take_over
from switch.risk.population.card_fraud import skimmed, stolen_card, stolen_number
from switch.risk.population.crook import Crook
from switch.risk.population.events import DAY_MS, HOUR_MS, Answer, Event, Kind
from switch.risk.population.honest import HonestLife
from switch.risk.population.ring_fraud import collusion, device_farm, refund_abuse
from switch.risk.population.till import Script
from switch.risk.population.world import build

START_MS: Final = 1_772_380_800_000  # Monday, 2026-03-02 00:00 in Shanghai
PAYMENTS: Final = 300_000
DAYS: Final = 45
WARM_UP_DAYS: Final = 15  # until the counters of 30 days hold something; not counted
EVALUATION_SEEDS_FROM: Final = 1_000
"""Seeds from here on evaluate, and those below are what models learn from and rules are written on."""

_PAYMENTS_A_DAY_AND_CUSTOMER: Final = 1.27


@dataclass(frozen=True, slots=True)
class _Crime:
    """campaigns: for each 100,000 payments. wide_only: no model has ever learned from it."""

    kind: Kind
    script: Callable[[Crook], Script]
    campaigns: float
    wide_only: bool = False


CRIMES: Final = (
    _Crime(Kind.STOLEN_CARD, stolen_card, 14),
    _Crime(Kind.STOLEN_NUMBER, stolen_number, 4),
    _Crime(Kind.TAKE_OVER, take_over, 14),
    _Crime(Kind.SKIMMED, skimmed, 1.6),
    _Crime(Kind.DEVICE_FARM, device_farm, 1.6),
    _Crime(Kind.REFUND_ABUSE, refund_abuse, 7),
    _Crime(Kind.COLLUSION, collusion, 1.6),
    _Crime(Kind.SCAM, scam, 1.6),
    _Crime(Kind.CODE_RELAY, code_relay, 2, True),
)


@dataclass(frozen=True, slots=True)
class Population:
    """payments: about so many honest ones in all days. The same seed and sizes give the same events for the same
    answers. From EVALUATION_SEEDS_FROM on, fraudsters are drawn from wider ranges, and there are kinds more.
    """

    seed: int
    payments: int = PAYMENTS
    days: int = DAYS

    @property
    def wide(self) -> bool:
        return self.seed >= EVALUATION_SEEDS_FROM

    def events(self) -> Generator[Event, Answer | None, None]:
        """In the order of time. Send each payment's answer; None is "approved". What comes next depends on it."""
        customers = max(50, round(self.payments / self.days / _PAYMENTS_A_DAY_AND_CUSTOMER))
        world = build(self._random("world"), customers, self.days)
        scripts = [
            HonestLife(each, world, self._random(f"customer {each.number}"), START_MS).days(self.days)
            for each in world.customers
        ]
        for number, (crime, start_ms) in enumerate(self._campaigns()):
            random = self._random(f"{crime.kind.name} {number}")
            scripts.append(crime.script(Crook(f"f{number}", crime.kind, world, random, start_ms, self.wide)))
        yield from _merged(scripts, START_MS + self.days * DAY_MS)

    def _campaigns(self) -> list[tuple[_Crime, int]]:
        random = self._random("campaigns")
        campaigns = []
        for crime in CRIMES:
            if crime.wide_only and not self.wide:
                continue
            expected = crime.campaigns * self.payments / 100_000
            # At least one, so that a small population holds every kind.
            for _ in range(max(1, int(expected + random.random()))):
                day = random.uniform(min(5, self.days / 4), self.days - 1)
                campaigns.append((crime, START_MS + int(day * DAY_MS) + random.randrange(HOUR_MS)))
        return campaigns

    def _random(self, of: str) -> Random:
        return Random(f"payswitch population {self.seed}: {of}")


def _merged(scripts: list[Script], end_ms: int) -> Generator[Event, Answer | None, None]:
    """Each script waits with its next event; the earliest happens."""
    waiting: list[tuple[int, int, Event]] = []
    for number, script in enumerate(scripts):
        _advance(waiting, number, script, None, end_ms, first=True)
    while waiting:
        _, number, event = heapq.heappop(waiting)
        answer = yield event
        _advance(waiting, number, scripts[number], answer, end_ms)


def _advance(
    waiting: list[tuple[int, int, Event]], number: int, script: Script, answer: Answer | None, end_ms: int,
    *, first: bool = False,
) -> None:  # fmt: skip
    try:
        event = next(script) if first else script.send(answer)
    except StopIteration:
        return
    if event.time_ms < end_ms:
        heapq.heappush(waiting, (event.time_ms, number, event))
