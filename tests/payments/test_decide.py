"""What is tried elsewhere: only what was certainly not sent, and what the channel said it could not serve."""

import pytest

from switch.domain.response_codes import RESPONSE_CODES
from switch.payments.decide import tries_elsewhere
from switch.ports import Approved, AwaitingPayer, Declined, Phase, Unknown

# 90: cutover in progress. 91: issuer or switch inoperative. 92: network line error.
ELSEWHERE = {"90", "91", "92"}


@pytest.mark.parametrize("code", sorted(RESPONSE_CODES))
def test_each_code_of_a_decline(code):
    assert tries_elsewhere(Declined(code)) is (code in ELSEWHERE)


@pytest.mark.parametrize("code", ["", "ZZ", "910"])
def test_a_code_that_nobody_knows_is_the_end(code):
    assert not tries_elsewhere(Declined(code))


@pytest.mark.parametrize(
    ("result", "elsewhere"),
    [
        (Unknown(Phase.NOT_SENT, "no link"), True),
        (Unknown(Phase.SENT, "silent"), False),
        (Approved("00"), False),
        (Approved("10", approved_minor=1), False),
        (AwaitingPayer("trade"), False),
    ],
)
def test_each_other_result(result, elsewhere):
    assert tries_elsewhere(result) is elsewhere
