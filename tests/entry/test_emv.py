"""Taps: what is required, what must agree, what is forwarded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.terminal import build_tap, load_account
from switch.domain.money import Money
from switch.domain.sensitive import Pan, Sensitive
from switch.entry import emv
from switch.entry._tlv import encode, parse_flat
from switch.entry.emv import OPTIONAL, REQUIRED, parse_tap, track2_equivalent
from switch.entry.errors import EntryError

MONEY = Money(12345, "CNY")
PAN, EXPIRY, _ = load_account(42)
TAP = build_tap(PAN, EXPIRY, MONEY.amount_minor, MONEY.currency)


def altered(**changes: bytes | None) -> bytes:
    """TAP with tags (named `t9F02`) replaced, added, or left out."""
    tags = parse_flat(TAP, "test")
    for name, value in changes.items():
        tag = int(name[1:], 16)
        if value is None:
            del tags[tag]
        else:
            tags[tag] = value
    return encode(tags.items())


def test_a_tap_is_a_card():
    card = parse_tap(TAP, MONEY)
    assert card.pan == Pan(PAN)
    assert (card.expiry_yymm, card.sequence_number) == (EXPIRY, "001")
    assert card.track2 == Sensitive(f"{PAN}={EXPIRY}201")


def test_what_is_forwarded_is_in_order_and_holds_no_card_number():
    tags = parse_flat(TAP, "test")
    forwarded = parse_flat(parse_tap(TAP, MONEY).emv, "test")
    assert list(forwarded) == [tag for tag in REQUIRED + OPTIONAL if tag in tags]
    assert forwarded == {tag: tags[tag] for tag in forwarded}
    assert not forwarded.keys() & {0x57, 0x5A, 0x5F24, 0x5F34}


def test_the_longest_that_can_be_forwarded_fits_de55():
    longest = encode([(tag, bytes(emv._ELEMENTS[tag][1])) for tag in REQUIRED + OPTIONAL])
    assert len(longest) == 198  # as parse_tap's docstring says; DE55 is LLL255


@given(st.permutations(sorted(parse_flat(TAP, "test").items())))
def test_the_order_of_tags_does_not_matter(objects):
    assert parse_tap(encode(objects), MONEY) == parse_tap(TAP, MONEY)


def test_unknown_tags_are_left_out():
    assert parse_tap(altered(t9F7C=b"proprietary", t5F20=b"A/B"), MONEY) == parse_tap(TAP, MONEY)


@pytest.mark.parametrize("tag", REQUIRED)
def test_a_required_tag_missing(tag):
    with pytest.raises(EntryError, match=f"^nfc.emv: tag {tag:02X} is missing$"):
        parse_tap(altered(**{f"t{tag:02X}": None}), MONEY)


@pytest.mark.parametrize("tag", sorted(emv._ELEMENTS))
def test_every_element_has_its_length(tag):
    shortest, longest, _ = emv._ELEMENTS[tag]
    for length in {shortest - 1, longest + 1}:
        with pytest.raises(EntryError, match=f"tag {tag:02X} has {length} bytes"):
            parse_tap(altered(**{f"t{tag:02X}": b"\x11" * length}), MONEY)


@pytest.mark.parametrize("tag", sorted(tag for tag, element in emv._ELEMENTS.items() if element[2]))
def test_packed_digits_are_digits(tag):
    with pytest.raises(EntryError, match=f"tag {tag:02X} is not packed digits"):
        parse_tap(altered(**{f"t{tag:02X}": b"\x1a" * emv._ELEMENTS[tag][0]}), MONEY)


def test_truncation_at_every_byte_is_refused():
    tags = parse_flat(TAP, "test")
    required_last = encode(sorted(tags.items(), key=lambda item: item[0] in REQUIRED))
    assert parse_tap(required_last, MONEY) == parse_tap(TAP, MONEY)
    for size in range(len(required_last)):
        with pytest.raises(EntryError):
            parse_tap(required_last[:size], MONEY)


@pytest.mark.parametrize(
    ("money", "reason"),
    [
        (Money(12346, "CNY"), "tag 9F02 is not the request's amount"),
        (Money(12345, "HKD"), "tag 5F2A is not the request's currency"),
    ],
)
def test_the_cryptogram_covers_the_requests_money(money, reason):
    with pytest.raises(EntryError, match=reason):
        parse_tap(TAP, money)
    assert parse_tap(TAP) == parse_tap(TAP, MONEY)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"t57": None, "t5A": None}, "neither tag 57 nor 5A is there"),
        ({"t57": None, "t5F24": None}, "tag 5F24 is missing"),
        ({"t5A": bytes.fromhex(load_account(43)[0])}, "tags 57 and 5A disagree"),
        ({"t5F24": b"\x29\x12\x31"}, "tags 57 and 5F24 disagree"),
        ({"t5F24": b"\x30\x13\x31"}, "tag 5F24 is not a date"),
        ({"t5F24": b"\x30\x12\x32"}, "tag 5F24 is not a date"),
        ({"t9A": b"\x26\x00\x10"}, "tag 9A is not a date"),
        ({"t57": bytes.fromhex(PAN + "3012201F" + "00" * 2)}, "tag 57 is not track 2 data"),
        ({"t57": bytes.fromhex(PAN + "D301")}, "is not track 2"),
        ({"t57": bytes.fromhex(PAN + "D3012201" + "0" * 14)}, "tag 57 is not track 2 data"),
        ({"t57": track2_equivalent(PAN, "3013"), "t5F24": None}, "expiry date's month is wrong"),
        ({"t5A": bytes.fromhex(PAN[:-1] + "D"), "t57": None}, "tag 5A is not a card number"),
        ({"t5A": bytes.fromhex(PAN[:10] + "FFFFFF"), "t57": None}, "tag 5A is not a card number"),
    ],
)
def test_card_data_that_is_wrong_or_disagrees(changes, reason):
    with pytest.raises(EntryError, match=reason):
        parse_tap(altered(**changes), MONEY)


def test_check_digit():
    wrong = PAN[:-1] + str((int(PAN[-1]) + 1) % 10)
    with pytest.raises(EntryError, match="check digit is wrong") as refused:
        parse_tap(altered(t5A=bytes.fromhex(wrong), t57=None), MONEY)
    assert wrong not in str(refused.value)


def test_track2_alone_or_pan_and_expiry_alone():
    from_track2 = parse_tap(altered(t5A=None, t5F24=None), MONEY)
    assert from_track2 == parse_tap(TAP, MONEY)
    from_pan = parse_tap(altered(t57=None), MONEY)
    assert (from_pan.pan, from_pan.expiry_yymm, from_pan.track2) == (Pan(PAN), EXPIRY, None)


def test_an_odd_card_number_and_no_sequence_number():
    pan = "6225880000000000001"
    pan = next(pan[:-1] + digit for digit in "0123456789" if emv.luhn_valid(pan[:-1] + digit))
    tap = altered(t57=track2_equivalent(pan, EXPIRY), t5A=bytes.fromhex(pan + "F"), t5F34=None)
    card = parse_tap(tap, MONEY)
    assert (card.pan.reveal(), card.sequence_number) == (pan, "")
    assert card.track2 is not None
    assert card.track2.reveal() == f"{pan}={EXPIRY}201"


def test_nothing_of_the_card_is_printed():
    shown = repr(parse_tap(TAP, MONEY))
    assert PAN not in shown
    assert PAN[6:12] not in shown


def test_a_payment_token_is_no_card_number():
    with pytest.raises(EntryError, match="payment token"):
        parse_tap(altered(t5A=bytes.fromhex("9999000000000004"), t57=None), MONEY)


def test_a_card_that_declined_is_not_asked_for():
    for first, refused in ((0x80, False), (0x40, False), (0x00, True), (0x08, True), (0x3F, True)):
        tap = TAP.replace(bytes.fromhex("9F270180"), bytes([0x9F, 0x27, 1, first]))
        assert tap != TAP or first == 0x80
        if refused:
            with pytest.raises(EntryError, match="the card declined"):
                parse_tap(tap, MONEY)
        else:
            assert parse_tap(tap, MONEY).pan.reveal() == PAN
