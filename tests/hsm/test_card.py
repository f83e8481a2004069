"""Card codes against psec, the vectors, and bad input."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsm import _core
from hsm.errors import CardCodeMismatch, InvalidCommand, KeyNotFound, KeyUsageError, TooManyFailures
from hsm.guard import Guard, GuardLimits
from hsm.token import open_token
from hsm.vectors.card import CHECKS
from hsm.vectors.checks import VectorFailed
from hsm.vectors.workshop import Workshop

KEY = "0123456789ABCDEFFEDCBA9876543210"
CARD = ("1234567890123456", "9912", "220")
OUTSIDE = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")


@pytest.fixture(scope="module")
def bench(token_directory: Path) -> Iterator[Workshop]:
    with open_token(token_directory) as token:
        yield Workshop(token.core)


@pytest.fixture(autouse=True)
def fresh_guard(bench: Workshop) -> None:
    bench.context.guard = Guard()


@pytest.fixture
def key(bench: Workshop) -> str:
    return bench.load("CARD_VERIFICATION", KEY)


def test_vectors(bench: Workshop, vectors: Any) -> None:
    assert len(vectors["cvv"]) == 17
    for vector in vectors["cvv"]:
        CHECKS["cvv"](bench, vector["inputs"], vector["outputs"])


def test_a_wrong_vector_fails(bench: Workshop, vectors: Any) -> None:
    with pytest.raises(VectorFailed, match="cvv"):
        CHECKS["cvv"](bench, vectors["cvv"][0]["inputs"], {"cvv": "000"})


@OUTSIDE
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.text("0123456789", min_size=12, max_size=19),
    st.text("0123456789", min_size=4, max_size=4),
    st.text("0123456789", min_size=3, max_size=3),
)
def test_as_another_implementation(bench: Workshop, key: str, pan: str, expiry: str, service_code: str) -> None:
    code = bench.one("card_codes", key, pan, expiry, service_code)
    expected = psec.cvv.generate_cvv(bytes.fromhex(KEY), pan, expiry, service_code)
    assert code.startswith(expected)  # psec stops short where a block has fewer than three decimal digits
    assert len(code) == 3
    assert bench.one("verify_card_codes", key, pan, expiry, service_code, code) is None


@pytest.mark.parametrize(
    ("pan", "code"),
    [
        ("0000000000111628", "123"),  # the last block is dabfba1afd2afddd: two digits, then D
        ("0000000000030428", "854"),  # fecdaacfb8dbbdef: one digit, then F and E
    ],
)
def test_letters_stand_in_where_digits_do_not_suffice(bench: Workshop, key: str, pan: str, code: str) -> None:
    """One block in twenty thousand; these were found by search with another library."""
    assert bench.one("card_codes", key, pan, "9912", "220") == code


def test_every_other_code_is_refused(bench: Workshop, key: str) -> None:
    bench.context.guard = Guard(GuardLimits(failures=1000, in_all=1000))
    codes = [f"{number:03d}" for number in range(1000)]
    results = bench.run("verify_card_codes", [(key, *CARD, code) for code in codes])
    assert [code for code, result in zip(codes, results, strict=True) if result is None] == ["170"]
    mismatches = [each for each in results if each is not None]
    assert {(type(each), str(each)) for each in mismatches} == {
        (CardCodeMismatch, f"a card code does not verify under {key}")
    }


def test_guessing_ends_however_the_digits_are_cut(bench: Workshop, key: str) -> None:
    """The same digits go into the code of other cuts into PAN, expiry and service code."""
    pan, expiry, service_code = "1234567890123456", "9912", "220"
    cuts = [
        (pan, expiry, service_code),
        (pan + "9", "9122", "200"),
        (pan + "99", "1222", "000"),
        (pan[:15], "6991", "222"),
    ]
    same = [bench.one("card_codes", key, *cut) for cut in cuts[:3]]
    assert same == [same[0]] * 3
    results = bench.run("verify_card_codes", [(key, *cuts[turn % 4], "000") for turn in range(40)])
    assert sum(isinstance(each, CardCodeMismatch) for each in results) == GuardLimits().failures
    assert isinstance(bench.run("verify_card_codes", [(key, *CARD, "170")])[0], TooManyFailures)


@pytest.mark.parametrize(
    "card",
    [
        ("12345678901", "9912", "220"),
        ("12345678901234567890", "9912", "220"),
        ("123456789012345x", "9912", "220"),
        ("1234567890123456", "991", "220"),
        ("1234567890123456", "99122", "220"),
        ("1234567890123456", "9912", "22"),
        ("1234567890123456", "9912", "2200"),
        ("1234567890123456", "9912", "２２０"),
    ],
)
def test_bad_digits_are_refused_and_not_repeated(bench: Workshop, key: str, card: tuple[str, str, str]) -> None:
    for item in [("card_codes", key, *card), ("verify_card_codes", key, *card, "170")]:
        with pytest.raises(InvalidCommand) as raised:
            bench.one(*item)
        assert card[0] not in str(raised.value)


@pytest.mark.parametrize("code", ["", "17", "1700", "17x"])
def test_a_code_has_three_digits(bench: Workshop, key: str, code: str) -> None:
    with pytest.raises(InvalidCommand):
        bench.one("verify_card_codes", key, *CARD, code)


def test_a_failing_item_leaves_the_others_alone(bench: Workshop, key: str) -> None:
    bad = [
        ("nobody", *CARD),
        (bench.load("PVV_KEY", KEY), *CARD),
        (bench.load("CARD_VERIFICATION", KEY * 3, "HMAC"), *CARD),
    ]
    bad.append((bench.load("CARD_VERIFICATION", KEY + KEY[:16]), *CARD))
    bad.append((bench.load("CARD_VERIFICATION", KEY[:16]), *CARD))
    bad.append((bench.load("CARD_VERIFICATION", KEY, "AES"), *CARD))
    results = bench.run("card_codes", [each for one in bad for each in ((key, *CARD), one)])
    assert results[::2] == ["170"] * 6
    assert [type(each) for each in results[1::2]] == [KeyNotFound, KeyUsageError] + [InvalidCommand] * 4


def test_the_mode_of_use_is_kept(bench: Workshop) -> None:
    makes, checks = bench.load("CARD_VERIFICATION", KEY, mode="G"), bench.load("CARD_VERIFICATION", KEY, mode="V")
    assert bench.one("card_codes", makes, *CARD) == "170"
    assert bench.one("verify_card_codes", checks, *CARD, "170") is None
    with pytest.raises(KeyUsageError):
        bench.one("card_codes", checks, *CARD)
    with pytest.raises(KeyUsageError):
        bench.one("verify_card_codes", makes, *CARD, "170")


def test_a_key_in_the_token_is_refused(bench: Workshop) -> None:
    token = bench.context.token
    handle = token.create_secret(
        _core.combine_host_key("clear", "PVV_KEY", [bytes(15) + b"\1", bytes(range(16))]), _core.PERMISSIONS["PVV_KEY"]
    )
    label = bench.put(_core.TokenKey("card/in-token", "CARD_VERIFICATION", token, "DES", handle))
    with pytest.raises(KeyUsageError):
        bench.one("card_codes", label, *CARD)


def test_a_tuple_of_another_shape_raises(bench: Workshop, key: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        bench.run("card_codes", [(key, *CARD, "170")])
    with pytest.raises(TypeError):
        bench.run("card_codes", [(key, None, "9912", "220")])
