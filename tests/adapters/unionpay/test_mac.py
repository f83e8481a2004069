"""MAC texts, the vectors of the key resets, and the simulator's own cryptography beside a plain reference."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.unionpay import mac
from adapters.unionpay._codec import decode
from adapters.unionpay.format import FIELDS, MalformedMessage
from adapters.unionpay.simulator import keys as network_keys

FULL = {
    2: "6225880000000010",
    3: "000000",
    4: "000000001000",
    7: "1123080000",
    11: "000001",
    12: "080000",
    18: "5812",
    25: "00",
    28: "D00000100",
    32: "00010000",
    33: "44190440",
    37: "0A1B2C000001",
    38: "1 2  3",
    39: "00",
    41: "t-01#   ",
    42: "104,110.5541-1\xd6",
    49: "156",
    90: "020000000111230800000000001000000044190440",
    102: "ab",
    103: "c",
}


def test_financial_text_in_full() -> None:
    assert mac.financial_text("0430", dict(FULL)) == (
        b"0430 166225880000000010 000000 000000001000 1123080000 000001 5812 00 D00000100 0800010000 0844190440"
        b" 1 2 3 00 T01 104,110.55411 02000000011123080000 02AB 01C"
    )


def test_both_sides_build_the_same_text() -> None:
    """The simulator's is written apart from the adapter's."""
    assert network_keys.financial_text("0430", dict(FULL)) == mac.financial_text("0430", dict(FULL))


@given(
    st.fixed_dictionaries(
        {}, optional={n: st.text("09AZaz ,.-\xe9", max_size=FIELDS[n].length) for n in FULL if n != 90}
    )
)
def test_both_sides_agree_on_any_fields(fields: dict[int, Any]) -> None:
    assert network_keys.financial_text("0200", fields) == mac.financial_text("0200", fields)


@pytest.mark.parametrize(("fields", "field"), [({2: "6" * 20}, 2), ({41: "字"}, 41), ({39: b"00"}, 39)])
def test_what_is_no_field_is_not_covered(fields: dict[int, Any], field: int) -> None:
    with pytest.raises(MalformedMessage) as caught:
        mac.financial_text("0200", fields)
    assert caught.value.field == field


@pytest.mark.parametrize(("index", "name"), [(2, "mak"), (3, "pik")])
def test_captured_key_resets(vectors: dict[str, Any], captured: list[bytes], index: int, name: str) -> None:
    """The published MMK unwraps the captured key, and the captured DE128 is what that key makes of the text."""
    reset = vectors["key_reset"]
    _, mti, fields = decode(captured[index])
    text = reset[name]["mac_text"].encode()
    assert mac.key_reset_text(mti, fields) == text
    assert network_keys.key_reset_text(mti, fields) == text
    transport_key = network_keys.DesKey(bytes.fromhex(reset["mmk_hex"]))
    wrapped = fields[96] if index == 2 else fields[48][2:]
    assert isinstance(wrapped, bytes)
    clear = bytes.fromhex(reset[name]["clear_hex"])
    assert transport_key.decrypt(wrapped) == clear
    key = network_keys.DesKey(clear)
    assert key.key_reset_mac(mti, fields) == bytes.fromhex(reset[name]["de128_hex"]) == fields[128]
    assert key.key_reset_mac_fits(mti, fields)


@pytest.mark.parametrize("length", [8, 16])
def test_kept_open_cipher_against_the_plain_reference(
    length: int, reference_mac: Callable[[bytes, bytes], bytes]
) -> None:
    clear = os.urandom(length)
    key = network_keys.DesKey(clear)
    for size in [1, 7, 8, 9, 16, 100, 8, 1, 255]:
        text = os.urandom(size)
        assert key.mac(text) == reference_mac(clear, text)


def test_a_key_is_not_of_any_other_length() -> None:
    with pytest.raises(ValueError, match="8 or 16"):
        network_keys.DesKey(bytes(24))
