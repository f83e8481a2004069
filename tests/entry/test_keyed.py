"""Keyed cards."""

import pytest

from switch.domain.sensitive import Pan
from switch.entry.errors import EntryError
from switch.entry.keyed import parse_keyed


def test_a_keyed_card():
    card = parse_keyed("6225880000001231", "3012")
    assert (card.pan, card.expiry_yymm, card.emv, card.track2) == (Pan("6225880000001231"), "3012", b"", None)


@pytest.mark.parametrize(
    ("pan", "expiry", "field"),
    [
        ("6225880000001230", "3012", "keyed.pan"),
        ("62258800000", "3012", "keyed.pan"),
        ("62258800000012310000", "3012", "keyed.pan"),
        ("622588000000123١", "3012", "keyed.pan"),
        ("", "3012", "keyed.pan"),
        ("9999000000000004", "3012", "keyed.pan"),
        ("6225880000001231", "3013", "keyed.expiry"),
        ("6225880000001231", "3000", "keyed.expiry"),
        ("6225880000001231", "", "keyed.expiry"),
        ("6225880000001231", "301", "keyed.expiry"),
        ("6225880000001231", "3012\n", "keyed.expiry"),
    ],
)
def test_refusals_name_the_field(pan, expiry, field):
    with pytest.raises(EntryError) as refused:
        parse_keyed(pan, expiry)
    assert refused.value.field == field
    assert not pan or pan not in str(refused.value)


def test_the_field_is_where_the_card_was():
    with pytest.raises(EntryError, match=r"^merchant_qr\.card\.pan: "):
        parse_keyed("1", "3012", "merchant_qr.card")
