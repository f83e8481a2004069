"""The numbers and the states."""

from hypothesis import given
from hypothesis import strategies as st

from switch.domain.payment_token import (
    TRANSITIONS,
    TokenState,
    check_digit,
    is_pan_shaped,
    is_token,
    may_become,
    random_token,
)
from switch.domain.sensitive import luhn_valid


@given(
    length=st.integers(12, 19),
    prefix=st.from_regex(r"999[0-9]{0,3}", fullmatch=True).filter(str.isascii),
    drawn=st.binary(min_size=16, max_size=16),
)
def test_a_random_token_has_the_pans_length_and_no_issuer(length: int, prefix: str, drawn: bytes) -> None:
    token = random_token(length, prefix, lambda size: drawn[:size])
    assert len(token) == length
    assert token.startswith(prefix)
    assert luhn_valid(token)
    assert is_token(token)


@given(st.text("0123456789", min_size=11, max_size=18))
def test_a_number_is_a_token_by_its_first_digits_alone(body: str) -> None:
    number = body + check_digit(body)
    assert is_pan_shaped(number)
    assert is_token(number) == (body[:3] == "999")
    assert not is_token(number[:-1] + str((int(number[-1]) + 1) % 10))


@given(st.text(max_size=20))
def test_any_text_is_judged(text: str) -> None:
    assert not is_token(text) or text.isdecimal()


def test_every_part_of_a_token_is_drawn() -> None:
    draws = (number.to_bytes(16, "big") for number in range(5000))
    tokens = {random_token(16, "9999", lambda _: next(draws)) for _ in range(5000)}
    assert len(tokens) == 5000


def test_the_states() -> None:
    permitted = {(a, b) for a in TokenState for b in TokenState if may_become(a, b)}
    active, suspended, deleted = TokenState.ACTIVE, TokenState.SUSPENDED, TokenState.DELETED
    assert permitted == {(active, suspended), (suspended, active), (suspended, deleted)}
    assert set(TRANSITIONS) == set(TokenState)
