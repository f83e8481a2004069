"""The oracle guard: what it refuses, what it forgives, and that no batch is worth more guesses than its items."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import HsmError, HsmUnavailable, KeyNotFound, PinFormatError, PinMismatch, TooManyFailures
from hsm.guard import Guard, GuardLimits

Item = tuple[str, str, str]
OUTCOMES = {
    "right": None,
    "wrong": PinMismatch("a PIN does not verify"),
    "invalid": PinFormatError("the PIN block is not valid"),
    "unknown": KeyNotFound("no key"),
    "down": HsmUnavailable("the token is closed"),
}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Verifier:
    """A verification whose outcome stands in the item: (key, subject, outcome). Notes every batch that it is given."""

    def __init__(self) -> None:
        self.batches: list[list[Item]] = []

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self.batches.append(list(items))
        return [OUTCOMES[item[2]] for item in items]

    @property
    def verified(self) -> list[Item]:
        return [item for batch in self.batches for item in batch]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier() -> Verifier:
    return Verifier()


def guard_of(clock: Clock, **limits: Any) -> Guard:
    return Guard(GuardLimits(**limits), clock)


def run(guard: Guard, verifier: Verifier, *items: Item) -> list[Any]:
    return guard.run(items, lambda item: (item[0], item[1]), verifier)


def attempt(guard: Guard, outcome: str = "wrong", subject: str = "card", key: str = "key") -> str:
    [result] = run(guard, Verifier(), (key, subject, outcome))
    return type(result).__name__ if result is not None else "ok"


def test_refuses_a_subject_after_its_failures(clock: Clock) -> None:
    guard = guard_of(clock, failures=3)
    assert [attempt(guard) for _ in range(5)] == ["PinMismatch"] * 3 + ["TooManyFailures"] * 2
    assert attempt(guard, "right") == "TooManyFailures"
    assert attempt(guard, "right", subject="other card") == "ok"
    assert attempt(guard, "right", key="other key") == "ok"


def test_what_is_refused_is_not_verified(clock: Clock, verifier: Verifier) -> None:
    guard = guard_of(clock, failures=1)
    wrong, right, other = ("key", "card", "wrong"), ("key", "card", "right"), ("key", "other", "right")
    results = run(guard, verifier, wrong, right, other)
    assert [type(each) for each in results] == [PinMismatch, TooManyFailures, type(None)]
    assert verifier.verified == [wrong, other]


def test_an_invalid_block_counts_as_a_wrong_pin_does(clock: Clock) -> None:
    guard = guard_of(clock, failures=2)
    assert [attempt(guard, each) for each in ("invalid", "wrong", "right")] == [
        "PinFormatError",
        "PinMismatch",
        "TooManyFailures",
    ]


@pytest.mark.parametrize("outcome", ["unknown", "down"])
def test_errors_that_are_no_failures_neither_count_nor_forgive(clock: Clock, outcome: str) -> None:
    guard = guard_of(clock, failures=2)
    for _ in range(5):
        attempt(guard, outcome)
    assert attempt(guard) == "PinMismatch"
    attempt(guard, outcome)
    assert [attempt(guard), attempt(guard)] == ["PinMismatch", "TooManyFailures"]


def test_a_success_ends_the_row(clock: Clock) -> None:
    guard = guard_of(clock, failures=3)
    outcomes = [attempt(guard, each) for each in ("wrong", "wrong", "right", "wrong", "wrong", "right")]
    assert "TooManyFailures" not in outcomes


def test_successes_do_not_buy_failures_without_end(clock: Clock) -> None:
    guard = guard_of(clock, failures=3, in_all=7)
    outcomes = [attempt(guard, each) for each in ("wrong", "wrong", "right") * 20]
    assert outcomes.count("PinMismatch") == 7
    assert set(outcomes[-3:]) == {"TooManyFailures"}


def test_the_count_of_all_failures_runs_off(clock: Clock) -> None:
    guard = guard_of(clock, failures=3, in_all=6, window_s=60)
    for each in ("wrong", "right") * 6:
        attempt(guard, each)
    assert attempt(guard, "right") == "TooManyFailures"
    clock.now_s += 11  # one of six in a window of sixty seconds
    assert attempt(guard, "right") == "ok"
    assert [attempt(guard), attempt(guard)] == ["PinMismatch", "TooManyFailures"]


def test_the_window_passes(clock: Clock) -> None:
    guard = guard_of(clock, failures=2, window_s=60)
    attempt(guard)
    clock.now_s += 59
    attempt(guard)
    clock.now_s += 59
    assert attempt(guard, "right") == "TooManyFailures"
    clock.now_s += 2
    assert attempt(guard, "right") == "ok"


def test_failures_that_lie_a_window_apart_do_not_add_up(clock: Clock) -> None:
    guard = guard_of(clock, failures=2, window_s=60)
    for _ in range(10):
        assert attempt(guard) == "PinMismatch"
        clock.now_s += 61


def test_all_failures_under_a_key_share_a_budget(clock: Clock) -> None:
    guard = guard_of(clock, burst=5, per_second=2)
    outcomes = [attempt(guard, subject=f"card {number}") for number in range(8)]
    assert outcomes == ["PinMismatch"] * 5 + ["TooManyFailures"] * 3
    assert attempt(guard, "right", key="other key") == "ok"
    clock.now_s += 1
    outcomes = [attempt(guard, subject=f"other card {number}") for number in range(4)]
    assert outcomes == ["PinMismatch"] * 2 + ["TooManyFailures"] * 2


def test_successes_cost_no_budget(clock: Clock, verifier: Verifier) -> None:
    guard = guard_of(clock, burst=3, per_second=0)
    assert run(guard, verifier, *[("key", f"card {number}", "right") for number in range(50)]) == [None] * 50


def test_a_batch_of_one_subject_does_not_pass_its_limit(clock: Clock, verifier: Verifier) -> None:
    guard = guard_of(clock, failures=3)
    results = run(guard, verifier, *[("key", "card", "wrong")] * 50)
    assert [type(each) for each in results] == [PinMismatch] * 3 + [TooManyFailures] * 47
    assert len(verifier.batches) == 1


def test_a_batch_over_many_subjects_does_not_pass_the_budget(clock: Clock, verifier: Verifier) -> None:
    guard = guard_of(clock, burst=4, per_second=0)
    results = run(guard, verifier, *[("key", f"card {number}", "wrong") for number in range(50)])
    assert [type(each) for each in results] == [PinMismatch] * 4 + [TooManyFailures] * 46


def test_a_batch_of_different_subjects_is_one_batch(clock: Clock, verifier: Verifier) -> None:
    items = [("key", f"card {number}", "right") for number in range(100)]
    run(guard_of(clock), verifier, *items)
    assert verifier.batches == [items]


@given(
    st.lists(
        st.tuples(st.sampled_from(["k", "l"]), st.sampled_from(["a", "b", "c"]), st.sampled_from(sorted(OUTCOMES)))
    ),
    st.integers(1, 4),
    st.integers(1, 8),
    st.integers(1, 8),
)
def test_a_batch_ends_as_its_items_one_by_one_do(items: list[Item], failures: int, in_all: int, burst: int) -> None:
    limits = GuardLimits(failures=failures, in_all=in_all, burst=burst, per_second=0)
    at_once, one_by_one, together = Guard(limits, Clock()), Guard(limits, Clock()), Verifier()
    results = run(at_once, together, *items)
    singly = [run(one_by_one, Verifier(), item)[0] for item in items]
    assert [type(each) for each in results] == [type(each) for each in singly]
    failed = Counter(item[:2] for item in together.verified if item[2] in ("wrong", "invalid"))
    assert all(count <= in_all for count in failed.values())
    assert all(sum(count for (key, _), count in failed.items() if key == one) <= burst for one in "kl")


def test_a_bug_of_the_caller_leaves_the_counts_as_they_are(clock: Clock) -> None:
    guard = guard_of(clock, failures=2, burst=2)

    def broken(items: Sequence[Any]) -> list[Any]:
        raise TypeError("bytes are expected, not None")

    for _ in range(5):
        with pytest.raises(TypeError):
            guard.run([("key", "card")], lambda item: (item[0], item[1]), broken)
    assert [attempt(guard), attempt(guard), attempt(guard)] == ["PinMismatch", "PinMismatch", "TooManyFailures"]


def test_subjects_are_bounded_and_the_oldest_goes_first(clock: Clock) -> None:
    guard = guard_of(clock, failures=1, subjects=3)
    for subject in ("a", "b", "c", "d"):
        attempt(guard, subject=subject)
    assert attempt(guard, "right", subject="a") == "ok"
    assert [attempt(guard, "right", subject=each) for each in "bcd"] == ["TooManyFailures"] * 3
    assert len(guard._failures) == 3


def test_the_oldest_is_the_one_whose_last_failure_is(clock: Clock) -> None:
    guard = guard_of(clock, failures=2, subjects=2)
    for subject in ("a", "b", "a", "c"):
        attempt(guard, subject=subject)
    assert attempt(guard, "right", subject="a") == "TooManyFailures"


def test_labels_that_no_key_has_take_no_memory(clock: Clock, verifier: Verifier) -> None:
    guard = guard_of(clock)
    run(guard, verifier, *[(f"key {number}", "card", "unknown") for number in range(100)])
    assert not guard._budgets
    assert not guard._failures


def test_subjects_are_not_kept_as_themselves(clock: Clock) -> None:
    guard = guard_of(clock, failures=1)
    attempt(guard, subject="6225880000001239")
    assert "6225880000001239" not in repr(guard) + repr(guard._failures)
    refusal = guard.refused("key", "6225880000001239")
    assert isinstance(refusal, HsmError)
    assert "6225880000001239" not in str(refusal)


def test_refused_and_record_by_hand(clock: Clock) -> None:
    guard = guard_of(clock, failures=1)
    assert guard.refused("key", "card") is None
    guard.record("key", "card", OUTCOMES["wrong"])
    assert isinstance(guard.refused("key", "card"), TooManyFailures)


def test_a_key_keeps_to_its_first_parameter(clock: Clock) -> None:
    guard = guard_of(clock)
    assert [guard.keeps_to("key", each) for each in ("one", "two", "one")] == [True, False, True]
    assert guard.keeps_to("other key", "two")
