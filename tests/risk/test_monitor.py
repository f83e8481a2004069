"""The payments' monitor while what it asks is sick: no error, and nobody declined for being alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from town import NothingCounted

from switch.domain.risk import Action, FactValue, Judged, Judgement, Outcome, Rule, Subject, WithoutFacts
from switch.ports import CountersUnavailable
from switch.ports.risk import Sighting
from switch.risk.facts import COUNTERS, FACTS, MODEL
from switch.risk.local_velocity import LocalVelocity
from switch.risk.monitor import RULES, SHARED, LiveRisk, PaymentMonitor, Presented
from switch.risk.rules import RuleSet

NOW_MS = 1_790_000_000_000
CARD = "00" * 16
KNOWN = {each.name: False for each in FACTS if each.name.endswith("_known")} | {"card_known": True}


class Away:
    """Counters that fail in this way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def see(self, sightings: Sequence[Sighting]) -> list[dict[str, int]]:
        raise self._error

    async def tell(self, happenings: object, marks: object = ()) -> None: ...


class Clock:
    def time_ms(self) -> int:
        return NOW_MS

    def monotonic_s(self) -> float:
        return NOW_MS / 1000


def monitor_of(when: str, processes: int, error: Exception | None = None) -> PaymentMonitor:
    reason = {"en": "too much", "zh": "过多"}
    rule = Rule("r", 1, "tests", when, Action.DECLINE, reason, response_code="65", without_facts=WithoutFacts.LOCAL)
    away, local = Away(error or CountersUnavailable("gone")), LocalVelocity(lambda: NOW_MS)
    return PaymentMonitor(LiveRisk(RuleSet([rule])), away, local, Clock(), NothingCounted(), lambda: processes)


async def judged(monitor: PaymentMonitor, event_id: str, amount_minor: int = 1_000) -> Judged:
    facts = KNOWN | {"amount_minor": amount_minor}
    [found] = await monitor.judge([Presented({**facts}, Sighting(event_id, {Subject.CARD: CARD}, amount_minor))])
    return found


@pytest.mark.parametrize("when", ["card_count_1m > 5", "card_sum_1d > 5000"])
async def test_a_payment_alone_is_not_as_many_as_there_are_processes(when: str) -> None:
    monitor = monitor_of(when, processes=8)
    assert (await judged(monitor, "1")).judgement.outcome is Outcome.PASS
    second = (await judged(monitor, "2")).judgement  # 1 + 8: the others are estimated
    assert (second.outcome, second.absent) == (Outcome.DECLINE, (COUNTERS,))


async def test_counters_that_answer_nonsense_are_absent() -> None:
    monitor = monitor_of("card_count_1m > 1", 1, ValueError("not what was asked"))
    assert (await judged(monitor, "1")).judgement.absent == (COUNTERS,)
    assert (await judged(monitor, "2")).judgement.outcome is Outcome.DECLINE  # judged by what is counted here


class Scores:
    """A model that answers this."""

    version = 7

    def __init__(self, scores: list[int]) -> None:
        self._scores = scores

    def score(self, rows: Sequence[object]) -> list[int]:
        return self._scores


# The second is what NaN is as a whole number: it fits into no column, and its batch would not be recorded.
@pytest.mark.parametrize("scores", [[], [-(2**63)], [1001], [1, 2]], ids=["none", "nan", "above", "two"])
async def test_a_model_that_answers_nonsense_is_absent(scores: list[int]) -> None:
    live = LiveRisk(RuleSet([]), Scores(scores))
    local = LocalVelocity(lambda: NOW_MS)
    monitor = PaymentMonitor(live, local, local, Clock(), NothingCounted(), lambda: 1)
    judgement = (await judged(monitor, "1")).judgement
    assert (judgement.absent, judgement.model_score) == ((MODEL,), None)
    assert judgement.facts["model_known"] is False


def test_every_counter_of_payments_is_shared() -> None:
    assert {"card_count_1m", "card_sum_1d", "card_merchants_1h", "card_merchant_sum_30d", "ip_declines_1h"} <= SHARED
    assert not {"card_age_minutes", "card_travel_kmh", "amount_minor"} & SHARED


class BrokenRules(RuleSet):
    """As if judging had a fault."""

    def judge(self, facts: Mapping[str, FactValue], *others: Any, **named: Any) -> Judgement:
        if facts["amount_minor"] == 13:
            raise ValueError("a fault of ours")
        return super().judge(facts, *others, **named)


async def test_a_fault_in_judging_lets_its_payment_pass_and_the_rest_of_the_batch_is_judged() -> None:
    reason = {"en": "all", "zh": "全部"}
    rules = BrokenRules([Rule("r", 1, "tests", "card_known", Action.DECLINE, reason, response_code="65")], version=7)
    local = LocalVelocity(lambda: NOW_MS)
    monitor = PaymentMonitor(LiveRisk(rules), local, local, Clock(), NothingCounted(), lambda: 1)
    asked = [
        Presented(KNOWN | {"amount_minor": minor}, Sighting(str(minor), {Subject.CARD: CARD}, minor))
        for minor in (12, 13, 14)
    ]
    first, broken, last = [each.judgement for each in await monitor.judge(asked)]
    assert (first.outcome, last.outcome) == (Outcome.DECLINE, Outcome.DECLINE)
    assert (broken.outcome, broken.absent, broken.rules_version) == (Outcome.PASS, (RULES,), 7)
