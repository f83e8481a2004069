"""What log-ins and step-ups come to, counted without saying whose they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter

from switch.domain.refusals import Invalid, NotPermitted, NotPossible, NotProved, TooMany

_REFUSED: Final = (
    (NotProved, "wrong"),
    (TooMany, "too_many"),
    (NotPossible, "not_possible"),
    (NotPermitted, "not_permitted"),
    (Invalid, "malformed"),
)


class Outcome:
    """What is told unless the step raises."""

    result = "done"


@contextmanager
def counted(counter: Counter, way: str) -> Iterator[Outcome]:
    """counter: with the labels (way, result). What is raised passes on: a refusal by its kind, all else as "failed"."""
    outcome = Outcome()
    try:
        yield outcome
    except BaseException as error:
        outcome.result = next((name for kind, name in _REFUSED if isinstance(error, kind)), "failed")
        raise
    finally:
        counter.labels(way, outcome.result).inc()
