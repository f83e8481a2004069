"""Plays a population through the counters and a judge, payment by payment, at the population's own time.

What is judged next depends on what was answered before: whoever was declined tries again, or does not. So each judge
has a run of its own. Facts are those of the moment: the counters have seen nothing that comes later.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from switch.domain.risk import FactValue, Outcome
from switch.ports.risk import Later
from switch.risk.local_velocity import LocalVelocity
from switch.risk.population.events import DAY_MS, AccountEvent, Answer, Event, Kind, Payment, Refund
from switch.risk.population.stream import START_MS, WARM_UP_DAYS, Population
from switch.risk.training import Example

Judge = Callable[[Mapping[str, FactValue]], Outcome]

MATURITY_DAYS: Final = 10
"""How long after its last payment a history is learned from: fraud that is told later counts as legitimate."""

_MOST_SUBJECTS: Final = 20_000_000  # nothing is forgotten before its time
_WRONG_PIN: Final = ("55", "75")
_ANSWERS: Final = {Outcome.STEP_UP: Answer.STEP_UP, Outcome.DECLINE: Answer.DECLINED}


@dataclass(frozen=True, slots=True)
class Played:
    """answer: what the payer saw. counted: it lies after the days in which the counters fill."""

    payment: Payment
    facts: Mapping[str, FactValue]
    outcome: Outcome
    answer: Answer
    counted: bool


def passes(_: Mapping[str, FactValue]) -> Outcome:
    """Without risk control."""
    return Outcome.PASS


def play(population: Population, judge: Judge, wanted: frozenset[str] | None = None) -> Iterator[Played]:
    """wanted: the facts of the counters that the judge reads; None for all."""
    now_ms = START_MS
    velocity = LocalVelocity(lambda: now_ms, wanted=wanted, most_subjects=_MOST_SUBJECTS)
    counted_from_ms = START_MS + min(WARM_UP_DAYS, population.days // 3) * DAY_MS
    events = population.events()
    answer: Answer | None = None
    while True:
        event = _next(events, answer)
        if event is None:
            return
        now_ms, answer = event.time_ms, None
        if isinstance(event, Payment):
            facts: dict[str, FactValue] = {**event.facts(), **velocity.count(event.sighting()), "model_known": False}
            outcome = judge(facts)
            answer = _answer(event, outcome)
            _tell_decline(velocity, event, answer)
            yield Played(event, facts, outcome, answer, now_ms >= counted_from_ms)
        else:
            _tell(velocity, event)


def examples(population: Population) -> Iterator[Example]:
    """A platform's own labelled history: without risk control, with what is known `MATURITY_DAYS` after its end."""
    known_at_ms = START_MS + (population.days + MATURITY_DAYS) * DAY_MS
    for judged in play(population, passes):
        if judged.counted:
            truth, time_ms = judged.payment.truth, judged.payment.time_ms
            told = truth.kind is not Kind.HONEST and truth.told_ms >= 0 and time_ms + truth.told_ms <= known_at_ms
            yield Example(time_ms, told, judged.facts, judged.payment.amount_minor)


def _next(events: Generator[Event, Answer | None, None], answer: Answer | None) -> Event | None:
    try:
        return events.send(answer)
    except StopIteration:
        return None


def _answer(payment: Payment, outcome: Outcome) -> Answer:
    """A step-up is over once the payer has proved himself."""
    if outcome in _ANSWERS and not (outcome is Outcome.STEP_UP and payment.proved):
        return _ANSWERS[outcome]
    return Answer.APPROVED if payment.truth.issuer_code == "00" else Answer.ISSUER_DECLINED


def _tell_decline(velocity: LocalVelocity, payment: Payment, answer: Answer) -> None:
    if answer is Answer.APPROVED:
        return
    happenings = [payment.happening(Later.DECLINES, payment.time_ms)]
    if answer is Answer.ISSUER_DECLINED and payment.truth.issuer_code in _WRONG_PIN:
        happenings.append(payment.happening(Later.PIN_FAILURES, payment.time_ms))
    velocity.note(happenings)


def _tell(velocity: LocalVelocity, event: AccountEvent | Refund) -> None:
    if isinstance(event, Refund):
        velocity.note([event.happening()])
        return
    velocity.note([event.happening] if event.happening else [], [event.mark] if event.mark else [])
