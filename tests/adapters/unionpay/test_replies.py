"""What the network's answers mean."""

from typing import Any

import pytest

from adapters.unionpay.replies import Expected, interpret
from switch.domain.response_codes import RESPONSE_CODES
from switch.domain.states import Operation
from switch.ports import Approved, Declined, Phase, Unknown

SALE = Expected(Operation.SALE, "0210", "1123120000", 1_000)
# Nothing of these is approved in part: how much of it was done would be guessed.
WHOLE = (Operation.CAPTURE, Operation.VOID, Operation.REFUND)
REVERSAL = Expected(Operation.REVERSAL, "0430", "1123120000", 1_000)


def reply(code: str) -> dict[int, Any]:
    return {4: "000000001000", 11: "000001", 37: "0A1B2C000001", 39: code}


def test_approved() -> None:
    result = interpret(SALE, reply("00") | {38: "A12345", 55: b"\x91\x02"})
    assert result == Approved("00", "A12345", "0A1B2C000001", "1123120000000001", b"\x91\x02")


def test_partially_approved() -> None:
    result = interpret(SALE, reply("10") | {4: "000000000400"})
    assert isinstance(result, Approved)
    assert result.approved_minor == 400


@pytest.mark.parametrize("code", ["00", "25"])
def test_a_reversal_is_done_when_there_is_nothing_to_reverse(code: str) -> None:
    assert isinstance(interpret(REVERSAL, reply(code)), Approved)


def test_original_missing_declines_everything_else() -> None:
    assert isinstance(interpret(SALE, reply("25")), Declined)


@pytest.mark.parametrize("code", sorted(RESPONSE_CODES.keys() - {"00", "09", "10", "11", "25"}))
def test_refusals_are_declines(code: str) -> None:
    result = interpret(SALE, reply(code))
    assert isinstance(result, Declined)
    assert (result.response_code, result.reason) == (code, RESPONSE_CODES[code])


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        (SALE, reply("ZZ")),
        (SALE, reply("09")),
        (SALE, {4: "000000001000"}),
        (SALE, reply("00") | {4: "000000001001"}),
        (SALE, reply("10")),
        (SALE, reply("10") | {4: "000000000000"}),
        (REVERSAL, reply("11")),
        *((Expected(each, "0210", "1123120000", 1_000), reply("10") | {4: "000000000400"}) for each in WHOLE),
    ],
)
def test_what_decides_nothing_is_unknown(expected: Expected, fields: dict[int, Any]) -> None:
    result = interpret(expected, fields)
    assert isinstance(result, Unknown)
    assert result.phase is Phase.SENT
