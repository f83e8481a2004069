"""Stories for the counters: payments, repeats, what becomes known later, and time that passes between."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from switch.domain.payer import Place
from switch.domain.risk import Subject
from switch.ports.risk import Happening, Later, Mark, Sighting

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
_PLACES = (None, Place(31_230_416, 121_473_701), Place(39_904_200, 116_407_396), Place(-33_868_820, 151_209_296))
_TWELFTHS_MS = (5_000, 50_000, 300_000, 2 * HOUR_MS, 60 * HOUR_MS)


@dataclass(frozen=True)
class Step:
    """wait_ms: that passes before. to_edge_of_ms, off_edge_ms: and then on to an edge of such stretches, and off it.

    repeats: how many things back the one is that comes again; 0: something new. what: None for a mark; ago_ms: before
    it is told of. "pays" is a payment.
    """

    wait_ms: int
    to_edge_of_ms: int
    off_edge_ms: int
    repeats: int
    what: str
    subjects: tuple[tuple[Subject, str], ...]
    amount_minor: int
    place: Place | None
    ago_ms: int


@dataclass(frozen=True)
class Scene:
    """What happens at a moment: one of the three."""

    now_ms: int
    sighting: Sighting | None = None
    happening: Happening | None = None
    mark: Mark | None = None


def played(story: list[Step], start_ms: int) -> Iterator[Scene]:
    """Nothing comes again after a day: so long an event is remembered."""
    now_ms, played_before = start_ms, list[Scene]()
    for number, step in enumerate(story):
        now_ms = _later(step, now_ms)
        if step.repeats and step.repeats <= len(played_before):
            before = played_before[-step.repeats]
            if now_ms - before.now_ms <= DAY_MS:
                yield replace(before, now_ms=now_ms)
                continue
        scene = _new_scene(step, str(number), now_ms)
        played_before.append(scene)
        yield scene


def _later(step: Step, now_ms: int) -> int:
    now_ms += step.wait_ms
    if step.to_edge_of_ms:
        return max(now_ms, (now_ms // step.to_edge_of_ms + 1) * step.to_edge_of_ms + step.off_edge_ms)
    return now_ms


def _new_scene(step: Step, event_id: str, now_ms: int) -> Scene:
    subjects = dict(step.subjects)
    if step.what == "pays":
        return Scene(now_ms, Sighting(event_id, subjects, step.amount_minor, step.place))
    if step.what == "signs in":
        return Scene(
            now_ms, mark=Mark("signed_in", subjects.get(Subject.USER, _key(Subject.USER, 7)), now_ms - step.ago_ms)
        )
    return Scene(
        now_ms, happening=Happening(event_id, Later(step.what), subjects, now_ms - step.ago_ms, step.amount_minor)
    )


def _key(subject: Subject, number: int) -> str:
    return f"{list(Subject).index(subject):08x}{number + 1:08x}" * 2


_subjects = st.builds(
    lambda numbers: tuple((each, _key(each, n)) for each, n in zip(Subject, numbers, strict=True) if n is not None),
    st.tuples(*(st.sampled_from((0, 0, 1, 2)) if each in (Subject.CARD, Subject.MERCHANT) else
                st.sampled_from((None, 0, 1)) for each in Subject)),
)  # fmt: skip
_waits = st.one_of(
    st.integers(0, 3_000), st.integers(0, 2 * MINUTE_MS), st.integers(0, 2 * HOUR_MS), st.integers(0, 40 * DAY_MS)
)


_steps = st.builds(
    Step,
    wait_ms=_waits,
    to_edge_of_ms=st.sampled_from((0, 0, *_TWELFTHS_MS)),
    off_edge_ms=st.sampled_from((-1, 0, 1)),
    repeats=st.sampled_from((0, 0, 0, 1, 2, 5)),
    what=st.sampled_from(("pays", "pays", "pays", "pays", Later.DECLINES, Later.REFUNDS, "signs in")),
    subjects=_subjects,
    amount_minor=st.one_of(st.integers(0, 100_000), st.just(1 << 40)),
    place=st.sampled_from(_PLACES),
    ago_ms=st.one_of(st.just(0), _waits),
)

stories = st.lists(_steps, min_size=1, max_size=40)
