"""The monitor of payments: a batch's facts in one round trip, then each payment is judged by what is known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from switch.domain.risk import FactValue, Judged, Judgement, Outcome, Subject
from switch.ports import Clock, CountersUnavailable
from switch.ports.risk import Sighting, Velocity
from switch.risk.document import MOST_SCORE
from switch.risk.facts import (
    COUNTERS,
    DISTINCT,
    DISTINCT_WINDOWS,
    FACTS,
    MODEL,
    PAIRS,
    WINDOWS,
    FactType,
    pair_name,
)
from switch.risk.lists import Lists, Standing
from switch.risk.packing import pack_facts, pack_subjects
from switch.risk.rules import RuleSet

log = structlog.get_logger()

RULES: Final = "rules"
"""Absent of a judgement that a fault of ours kept from being made."""
MODEL_KNOWN: Final = "model_known"
MODEL_SCORE: Final = "model_score"
_NOTHING: Final[Mapping[str, int]] = {}
# Of these the payment that asks is a part: of a count 1, of a sum its amount.
_COUNTED: Final = (*Subject, *(pair_name(*each) for each in PAIRS))
_COUNTS: Final = frozenset(
    (
        *(f"{name}_count_{window}" for name in _COUNTED for window in WINDOWS),
        *(f"{subject}_{other}s_{window}" for subject, other in DISTINCT for window in DISTINCT_WINDOWS),
    )
)
_SUMS: Final = frozenset(f"{name}_sum_{window}" for name in _COUNTED for window in WINDOWS)
_UNCHANGED: Final = ("_minutes", "_travel_km", "_travel_kmh")
# Counters that grow with the traffic: one process of three has seen a third of them.
SHARED: Final = frozenset(
    each.name
    for each in FACTS
    if each.source == COUNTERS and each.type is FactType.INT and not each.name.endswith(_UNCHANGED)
)


@dataclass(frozen=True, slots=True)
class Presented:
    """One payment before it is judged. facts: those of no source; whoever judges it adds the others to them."""

    facts: dict[str, FactValue]
    sighting: Sighting


class Scorer(Protocol):
    """A learned model in force (`switch.risk.model`)."""

    @property
    def version(self) -> int: ...

    def score(self, rows: Sequence[Mapping[str, FactValue]]) -> list[int]:
        """Thousandths, in order."""


class Observer(Protocol):
    def judged(self, judgement: Judgement) -> None: ...

    def absent(self, source: str) -> None:
        """A batch was judged without the counters, or without the model that is in force."""


class LiveRisk:
    """What judges now. Exchanged whole by whoever follows the desk: a payment is judged by one of each."""

    def __init__(self, rules: RuleSet, scorer: Scorer | None = None, lists: Lists | None = None) -> None:
        self.rules = rules
        self.scorer = scorer
        self.lists = lists if lists is not None else Lists()


class Monitor(Protocol):
    """What the road asks; it never raises."""

    async def judge(self, batch: Sequence[Presented]) -> list[Judged]:
        """In order."""


class PaymentMonitor:
    """Never raises: a payer gets no error because a monitor is sick. What its rules do then, they say themselves.

    local: counts in this process while the shared counters are away, from the first payment on that misses them.
    processes: how many share the traffic.
    """

    def __init__(
        self,
        live: LiveRisk,
        velocity: Velocity,
        local: Velocity,
        clock: Clock,
        observer: Observer,
        processes: Callable[[], int],
    ) -> None:
        self._live = live
        self._velocity = velocity
        self._local = local
        self._clock = clock
        self._observer = observer
        self._processes = processes

    async def judge(self, batch: Sequence[Presented]) -> list[Judged]:
        """In order."""
        rules, scorer, lists = self._live.rules, self._live.scorer, self._live.lists
        absent: list[str] = []
        nothing: Sequence[Mapping[str, int]] = [_NOTHING] * len(batch)
        found = await self._counted(batch)
        counted, local = (found, nothing) if found is not None else (nothing, await self._counted_here(batch))
        if found is None:
            absent.append(COUNTERS)
        now_ms = self._clock.time_ms()
        standings = [lists.standing(each.sighting.subjects, now_ms) for each in batch]
        facts = [_together(*each) for each in zip(batch, standings, counted, strict=True)]
        if scorer is not None and not self._score(scorer, facts):
            absent.append(MODEL)
        for source in absent:
            self._observer.absent(source)
        version = scorer.version if scorer is not None else 0
        judged = []
        for each, known, standing, here in zip(batch, facts, standings, local, strict=True):
            try:
                judgement = rules.judge(known, standing, absent, here, version)
                judged.append(_stored(judgement, each.sighting.subjects))
            except Exception:
                # A fault of ours, which no rule can make. The payment goes on: the channel has its own risk control.
                log.exception("rules_failed", version=rules.version)
                self._observer.absent(RULES)
                judgement = Judgement(Outcome.PASS, absent=(*absent, RULES), rules_version=rules.version)
                judged.append(_stored(judgement, each.sighting.subjects))
            self._observer.judged(judgement)
        return judged

    async def _counted(self, batch: Sequence[Presented]) -> Sequence[Mapping[str, int]] | None:
        """None: the counters are away, or answer what is no answer."""
        try:
            return await self._velocity.see([each.sighting for each in batch])
        except CountersUnavailable:
            return None
        except Exception:
            log.exception("counters_failed")
            return None

    async def _counted_here(self, batch: Sequence[Presented]) -> list[dict[str, int]]:
        """What the whole traffic would have, if the others saw as much as this process did."""
        counted = await self._local.see([each.sighting for each in batch])
        times = max(1, self._processes())
        return [
            {name: _of_all(name, value, each.sighting.amount_minor, times) for name, value in counts.items()}
            for each, counts in zip(batch, counted, strict=True)
        ]

    def _score(self, scorer: Scorer, facts: Sequence[dict[str, FactValue]]) -> bool:
        try:
            scores = scorer.score(facts)
            if len(scores) != len(facts) or not all(0 <= each <= MOST_SCORE for each in scores):
                raise ValueError("not a score of 0 to 1000 for each")  # trees may add up to no number
        except Exception:
            log.exception("model_failed", version=scorer.version)
            return False
        for known, score in zip(facts, scores, strict=True):
            known[MODEL_KNOWN] = True
            known[MODEL_SCORE] = score
        return True


def _of_all(name: str, value: int, amount_minor: int, times: int) -> int:
    """The payment that asks came here alone; of all others this process sees one of `times`.

    >>> _of_all("card_count_1m", 1, 500, 8), _of_all("card_count_1m", 3, 500, 8), _of_all("card_sum_1d", 700, 500, 8)
    (1, 17, 2100)
    >>> _of_all("card_declines_1h", 1, 500, 8), _of_all("card_age_minutes", 9, 500, 8)
    (8, 9)
    """
    if name not in SHARED:
        return value
    own = 1 if name in _COUNTS else amount_minor if name in _SUMS else 0
    own = min(own, value)  # a repeat may have left the window
    return own + (value - own) * times


def _together(payment: Presented, standing: Standing, counts: Mapping[str, int]) -> dict[str, FactValue]:
    facts = payment.facts
    facts.update(standing.names)
    facts.update(counts)
    facts[MODEL_KNOWN] = False
    return facts


def _stored(judgement: Judgement, subjects: Mapping[Subject, str]) -> Judged:
    return Judged(judgement, pack_facts(judgement.facts), pack_subjects(subjects))
