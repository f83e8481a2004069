"""Measured success: what counts as what, when a channel fails, how it recovers."""

import pytest

from switch.domain.response_codes import RESPONSE_CODES
from switch.ports import Approved, AwaitingPayer, Declined, Phase, Unknown
from switch.routing.plan import Success
from switch.routing.success import CHANNELS_FAULT, PAYERS_OWN, SuccessRates, is_success

GOOD, BAD, NOTHING = Approved(), Unknown(Phase.SENT, "silent"), Declined("30")
SETTINGS = Success(
    least_percent=80, recovered_percent=90, window_s=60, least_results=10, recovery_results=10, probe_percent=5
)


class Clock:
    def __init__(self):
        self.now_s = 1_000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rates(clock):
    return SuccessRates(SETTINGS, clock)


def observe(rates, *results):
    for result in results:
        rates.observe("unionpay", result)
    return rates.failing_percent("unionpay")


@pytest.mark.parametrize(
    ("result", "success"),
    [
        (Approved("10"), True),
        (AwaitingPayer(), True),
        (Declined("51"), True),
        (Declined("55"), True),
        (Declined("91"), False),
        (Declined("96"), False),
        (Declined("98"), False),
        (Unknown(Phase.SENT, "timeout"), False),
        (Unknown(Phase.NOT_SENT, "no link"), False),
        (Declined("30"), None),
        (Declined("03"), None),
        (Declined("40"), None),
    ],
)
def test_what_counts_as_what(result, success):
    assert is_success(result) is success


def test_every_code_has_one_meaning_for_a_channel():
    assert not PAYERS_OWN & CHANNELS_FAULT
    assert RESPONSE_CODES.keys() >= PAYERS_OWN | CHANNELS_FAULT


def test_below_the_least_rate_it_fails(rates):
    assert observe(rates, *[GOOD] * 8, *[BAD] * 2) is None  # exactly the least rate
    assert observe(rates, BAD) == 72


def test_too_few_results_say_nothing(rates):
    assert observe(rates, *[BAD] * 9) is None
    assert observe(rates, BAD) == 0


def test_what_says_nothing_of_the_channel_is_not_counted(rates):
    assert observe(rates, *[NOTHING] * 100, *[BAD] * 9) is None


def test_the_window_slides(rates, clock):
    observe(rates, *[BAD] * 9)
    clock.now_s += 61
    assert observe(rates, *[GOOD] * 7, BAD, BAD) is None
    assert observe(rates, GOOD) is None
    clock.now_s += 30
    assert observe(rates, *[BAD] * 1) == 72


def test_it_recovers_only_well_above_the_rate_it_failed_at(rates):
    observe(rates, *[BAD] * 10)
    assert observe(rates, *[GOOD] * 9) == 0  # nine results say nothing yet
    assert observe(rates, BAD) is None  # 9 of 10
    observe(rates, *[BAD] * 10)
    assert observe(rates, *[GOOD] * 8, BAD, BAD) == 80  # enough not to fail, not enough to recover
    assert observe(rates, *[GOOD] * 7) == 80
    assert observe(rates, GOOD, GOOD) is None


def test_probes_may_be_far_apart(rates, clock):
    observe(rates, *[BAD] * 10)
    for _ in range(9):
        clock.now_s += 1_000
        assert observe(rates, GOOD) == 0
    clock.now_s += 1_000
    assert observe(rates, GOOD) is None


def test_after_recovery_the_old_failures_are_forgotten(rates):
    observe(rates, *[BAD] * 10)
    observe(rates, *[GOOD] * 10)
    assert observe(rates, *[GOOD] * 8, *[BAD] * 2) is None


def test_channels_are_measured_apart(rates):
    observe(rates, *[BAD] * 10)
    assert rates.failing_percent("alipay") is None


def test_by_default_nothing_is_measured(clock):
    rates = SuccessRates(Success(), clock)
    assert observe(rates, *[BAD] * 1_000) is None


def test_a_plan_with_the_same_settings_keeps_what_was_measured(rates):
    observe(rates, *[BAD] * 10)
    rates.follow(SETTINGS.model_copy())
    assert rates.failing_percent("unionpay") == 0
    rates.follow(Success(least_percent=50))
    assert rates.failing_percent("unionpay") is None
