"""The layout beside an independent HOTP, and what a device may and may not show."""

import base64
import hashlib
from pathlib import Path

import pyotp
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from switch.client.payment_codes import CodeDevice, NoCodeLeft, finish_enrolment
from switch.domain.dynamic_code import (
    AHEAD_STEPS,
    CODE_DIGITS,
    OLDEST_STEPS,
    SEQUENCES,
    STEP_MS,
    NotACode,
    build_code,
    code_value,
    luhn_digit,
    read_code,
    verify_code,
)
from switch.domain.payment_codes import CODE_RANGES, OWN_SCHEME, code_range_of
from switch.domain.payment_token import is_token
from switch.domain.sensitive import luhn_valid
from switch.entry.errors import EntryError
from switch.entry.payer_code import parse_payer_code

SECRETS = st.binary(min_size=32, max_size=32)
NUMBERS = st.integers(0, 10**11 - 1)
STEPS = st.integers(100, 2**40)
SEQUENCE = st.integers(0, 9)


@given(SECRETS, STEPS, SEQUENCE)
def test_the_value_is_an_independent_hotp_s(secret: bytes, step: int, sequence: int) -> None:
    hotp = pyotp.HOTP(base64.b32encode(secret).decode(), digits=8, digest=hashlib.sha256)
    assert code_value(secret, step, sequence) == hotp.at(10 * step + sequence)


@given(st.text("0123456789", min_size=1, max_size=30))
def test_the_quick_check_digit_is_luhns(body: str) -> None:
    assert luhn_valid(body + luhn_digit(body))


@given(NUMBERS, SECRETS, STEPS, SEQUENCE, st.integers(-AHEAD_STEPS, OLDEST_STEPS), st.integers(0, STEP_MS - 1))
def test_what_is_built_is_read_and_verified(
    number: int, secret: bytes, step: int, sequence: int, age_steps: int, within_ms: int
) -> None:
    digits = build_code(number, secret, step, sequence)
    assert len(digits) == CODE_DIGITS
    read = read_code(digits)
    assert (read.number, read.sequence) == (number, sequence)
    verified = verify_code(read, secret, (step + age_steps) * STEP_MS + within_ms)
    assert verified is not None
    assert (verified.step, verified.late_steps) == (step, 0)


@pytest.mark.parametrize(("age_steps", "late_steps"), [(7, 1), (40, 34), (-3, -1), (-40, -38)])
def test_how_late_or_early_is_told(age_steps: int, late_steps: int) -> None:
    secret, step = b"s" * 32, 179_000_000
    verified = verify_code(read_code(build_code(7, secret, step, 0)), secret, (step + age_steps) * STEP_MS)
    assert verified is not None
    assert (verified.step, verified.late_steps) == (step, late_steps)


def test_long_ago_is_as_good_as_never() -> None:
    secret, step = b"s" * 32, 179_000_000
    assert verify_code(read_code(build_code(7, secret, step, 0)), secret, (step + 1000) * STEP_MS) is None


@given(NUMBERS, SECRETS, STEPS, SEQUENCE, st.integers(0, CODE_DIGITS - 1), st.integers(1, 9))
def test_every_wrong_digit_is_found(number: int, secret: bytes, step: int, sequence: int, place: int, by: int) -> None:
    digits = build_code(number, secret, step, sequence)
    wrong = digits[:place] + str((int(digits[place]) + by) % 10) + digits[place + 1 :]
    with pytest.raises(NotACode):
        read_code(wrong)


@pytest.mark.parametrize("digits", ["", "91", "9" * 24, "٩" * 24, "91" + "0" * 21, "91" + "0" * 23, "28" + "0" * 22])
def test_what_is_no_code_is_said_to_be_none(digits: str) -> None:
    with pytest.raises(NotACode):
        read_code(digits)


def test_its_prefix_is_no_wallets_no_tokens_and_no_cards() -> None:
    code = build_code(12345678901, b"s" * 32, 179_000_000, 0)
    found = code_range_of(code)
    assert found is not None
    assert found.scheme == OWN_SCHEME
    prefixes = [prefix for each in CODE_RANGES for prefix in range(each.low, each.high + 1)]
    assert len(prefixes) == len(set(prefixes))
    assert not is_token(code)
    assert max(CODE_RANGES[-1].lengths) > 19  # of a card number


def test_the_door_takes_a_code_and_refuses_a_misread_one() -> None:
    code = build_code(12345678901, b"s" * 32, 179_000_000, 0)
    assert str(parse_payer_code(code)[1]).count(code) == 0
    misread = code[:-1] + str((int(code[-1]) + 1) % 10)
    with pytest.raises(EntryError, match="the check digit is wrong") as refused:
        parse_payer_code(misread)
    assert misread not in str(refused.value)


# --- the device -------------------------------------------------------------------------------------------------------


def test_a_device_never_shows_a_code_twice() -> None:
    device = CodeDevice(7, b"s" * 32)
    now_ms = 179_000_000 * STEP_MS
    shown = [device.code(now_ms) for _ in range(SEQUENCES)]
    with pytest.raises(NoCodeLeft) as refused:
        device.code(now_ms + 9_000)
    assert refused.value.wait_ms == 1_000
    shown.append(device.code(now_ms + STEP_MS))
    shown.append(device.code(now_ms - 60_000))  # its clock was set back
    restarted = CodeDevice(7, b"s" * 32, device.last_step, device.last_sequence)
    shown.append(restarted.code(now_ms + STEP_MS))
    assert len(set(shown)) == len(shown) == SEQUENCES + 3
    assert "s" * 8 not in repr(device)


@given(SECRETS, SECRETS, NUMBERS)
def test_the_agreed_secret_is_an_independent_hkdfs(seed: bytes, salt: bytes, number: int) -> None:
    info = b"payswitch payment codes 1, secret|" + f"{number:011d}".encode()
    expected = HKDF(SHA256(), 32, salt, info).derive(seed)
    assert finish_enrolment(seed, number, salt).secret == expected


def test_the_documented_example() -> None:
    page = (Path(__file__).parents[2] / "docs" / "payment_codes.md").read_text()
    device = finish_enrolment(bytes(range(32)), 12345678901, bytes(range(32, 64)))
    assert device.secret.hex() in page
    assert device.code(1_790_000_004_000) in page
    assert device.code(1_790_000_005_000) in page
