from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch.domain.sensitive import Pan, PaymentCode, luhn_valid
from switch.ops.redaction import redact_event, redacted, redacted_text

PAN = "6225880000001231"


def with_check_digit(digits: str) -> str:
    return next(digits + last for last in "0123456789" if luhn_valid(digits + last))


@given(st.text("0123456789", min_size=12, max_size=18).map(with_check_digit), st.text("ab=;/ ", max_size=5))
def test_no_card_number_of_any_length_survives(pan: str, around: str) -> None:
    assert pan not in redacted_text(f"{around}{pan}{around}")


@pytest.mark.parametrize(
    "text",
    [
        f";{PAN}=30122010000000000?",
        f'{{"pan":"{PAN}"}}',
        "6225 8800 0000 1231",
        "6225-8800-0000-1231",
        f"Error: card {PAN}, exp 3012\nnext line {PAN}",
    ],
)
def test_a_card_number_is_masked_wherever_it_stands(text: str) -> None:
    shown = redacted_text(text)
    assert "622588******1231" in shown
    assert "88000000" not in shown.replace(" ", "").replace("-", "")


@pytest.mark.parametrize(
    "text",
    [
        "6225880000001230",  # the check digit is wrong
        "622588000012",  # too short
        "62258800000012310000",  # too long
        "0190a5b2-1234-7123-8123-012345678901",
        "2026-11-23T07:50:00.123456Z",
        "622588******1231",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redacted_text(text) == text


@dataclass
class Holder:
    block: bytes
    pan: str


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"\x01\x02", "<2 bytes>"),
        (bytearray(3), "<3 bytes>"),
        (memoryview(b"abcd"), "<4 bytes>"),
        (Pan(PAN), "622588******1231"),
        (PaymentCode("285012345678901234"), "28**************34"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (int(PAN), "[redacted]"),
        (7, 7),
        (True, True),
        (None, None),
        ([PAN, {"a": (b"x", PAN)}], ["622588******1231", {"a": ["<1 bytes>", "622588******1231"]}]),
        ({PAN: 1}, {"622588******1231": 1}),
        (ValueError(f"bad {PAN}"), "ValueError('bad 622588******1231')"),
    ],
)
def test_values_are_shown_without_secrets(value: object, shown: object) -> None:
    assert redacted(value) == shown


def test_bytes_inside_an_object_are_not_rendered() -> None:
    shown = redacted(Holder(b'it\'s \x01"secret"', PAN))
    assert "secret" not in shown
    assert PAN not in shown
    assert "<bytes>" in shown


def test_fields_that_hold_only_secrets_are_never_shown() -> None:
    event = redact_event(None, "info", {"event": "e", "pin_block": "0123456789ABCDEF", "nested": {"cvv": 123}})
    assert event == {"event": "e", "pin_block": "[redacted]", "nested": {"cvv": "[redacted]"}}


def test_a_time_is_not_taken_for_a_card() -> None:
    time_ms = int(with_check_digit("170000000000"))
    assert redacted(time_ms, "transmission_time_ms") == time_ms
    assert redacted(time_ms, "amount") == "[redacted]"


def test_nesting_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert "<too deep>" in str(redacted(endless))
