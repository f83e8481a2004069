"""Dynamic payment codes of payswitch's own: what a device computes offline and the switch computes again.

**Layout**, 24 digits: `91`, device number (11), the step's last digit, sequence (1), value (8), check digit (Luhn).

**Value**: HOTP (RFC 4226, 5.3) with HMAC-SHA-256 and the counter step × 10 + sequence, eight digits. A step is ten
seconds of Unix time; the sequence, 0 to 9, tells codes of one step apart. The step's last digit names the step in full
as long as both clocks agree within a minute, so that one value is computed and compared, not one for every step.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final

from switch.domain.sensitive import luhn_sum, luhn_valid

PREFIX: Final = "91"
NUMBER_DIGITS: Final = 11
CODE_DIGITS: Final = 24
SECRET_BYTES: Final = 32

STEP_MS: Final = 10_000
SEQUENCES: Final = 10
OLDEST_STEPS: Final = 6
"""A code is good for 60 s from the end of its step on the switch's clock, so for 60 to 70 s where the clocks agree."""
AHEAD_STEPS: Final = 2
"""How far a device's clock may be ahead, in steps. One that is behind finds its codes good for so much less."""

_STEP_AT: Final = len(PREFIX) + NUMBER_DIGITS
_SEQUENCE_AT: Final = _STEP_AT + 1
_VALUE_AT: Final = _SEQUENCE_AT + 1
_VALUES: Final = 10**8


class NotACode(ValueError):
    """The digits are no code of this layout. The text never repeats them."""


@dataclass(frozen=True, slots=True)
class ReadCode:
    """What the digits say, before anything is verified. step_digit: the step modulo 10."""

    number: int
    step_digit: int
    sequence: int
    value: str = field(repr=False)


def luhn_digit(body: str) -> str:
    """The check digit (ISO/IEC 7812-1, annex B) behind these digits.

    >>> luhn_digit("622588000000123")
    '1'
    """
    backwards = body.encode("ascii")[::-1]
    return str(-luhn_sum(backwards[0::2], backwards[1::2]) % 10)


def code_value(secret: bytes, step: int, sequence: int) -> str:
    """Eight digits (RFC 4226, 5.3). The vector is that of RFC 6238, appendix B, whose counter is 1.

    >>> code_value(b"12345678901234567890123456789012", 0, 1)
    '46119246'
    """
    digest = hmac.digest(secret, (step * SEQUENCES + sequence).to_bytes(8, "big"), "sha256")
    offset = digest[-1] & 0xF
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % _VALUES:08d}"


def build_code(number: int, secret: bytes, step: int, sequence: int) -> str:
    """The digits that the payer shows.

    >>> build_code(12345678901, b"12345678901234567890123456789012", 179_000_000, 0)
    '911234567890100938121287'
    """
    body = f"{PREFIX}{number:0{NUMBER_DIGITS}d}{step % 10}{sequence}{code_value(secret, step, sequence)}"
    return body + luhn_digit(body)


def read_code(digits: str) -> ReadCode:
    """Raises NotACode: another length or prefix, a wrong check digit (misread or mistyped)."""
    if len(digits) != CODE_DIGITS or not digits.isascii() or not digits.isdigit() or not digits.startswith(PREFIX):
        raise NotACode(f"not {CODE_DIGITS} digits that begin with {PREFIX}")
    if not luhn_valid(digits):
        raise NotACode("the check digit is wrong")
    return ReadCode(
        int(digits[len(PREFIX) : _STEP_AT]), int(digits[_STEP_AT]), int(digits[_SEQUENCE_AT]), digits[_VALUE_AT:-1]
    )


@dataclass(frozen=True, slots=True)
class Verified:
    """The device made the code in `step`. late_steps: by how many steps it is too old, negative: too early, 0: good."""

    step: int
    late_steps: int


SEARCHED_TURNS: Final = 9
"""Turns of the step's last digit (100 s each) that are looked through on both sides for a code that is not good, so
that a payer whose code is old or whose clock is wrong is told so, and is not taken for a guesser: 15 minutes."""

_TURNS: Final = tuple(side * each for each in range(1, SEARCHED_TURNS + 1) for side in (-1, 1))


def verify_code(code: ReadCode, secret: bytes, now_ms: int) -> Verified | None:
    """None: the value is not one that the device makes. now_ms: the switch's clock. In constant time per comparison."""
    now_step = now_ms // STEP_MS
    newest = now_step + AHEAD_STEPS
    likely = newest - (newest - code.step_digit) % 10
    if hmac.compare_digest(code_value(secret, likely, code.sequence), code.value):
        return Verified(likely, _lateness(now_step - likely))
    for turn in _TURNS:
        step = likely + 10 * turn
        if step >= 0 and hmac.compare_digest(code_value(secret, step, code.sequence), code.value):
            return Verified(step, _lateness(now_step - step))
    return None


def _lateness(age_steps: int) -> int:
    if age_steps > OLDEST_STEPS:
        return age_steps - OLDEST_STEPS
    return min(age_steps + AHEAD_STEPS, 0)
