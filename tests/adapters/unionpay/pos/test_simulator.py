"""The simulated terminal's own cryptography against the published vectors: it is what judges the switch's."""

import json
from pathlib import Path

from adapters.unionpay.pos.messages import SentKey, working_keys_field, working_keys_of
from adapters.unionpay.pos.simulator import des, ecb_mac, pin_block

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "unionpay.json").read_text())
SIGN_ON = {name: bytes.fromhex(value) for name, value in VECTORS["pos_sign_on"].items()}


def test_the_published_mac() -> None:
    vector = VECTORS["pos_ecb_mac"]
    made = ecb_mac(bytes.fromhex(vector["tak_hex"]), bytes.fromhex(vector["data_hex"]))
    assert made == vector["de64_ascii"].encode() == vector["full_mac_hex"][:8].encode()


def test_the_published_sign_on() -> None:
    pin_key, mac_key = working_keys_of(SIGN_ON["de62_hex"])
    assert des(SIGN_ON["tmk_hex"], pin_key.wrapped, encrypt=False) == SIGN_ON["tpk_hex"]
    assert des(SIGN_ON["tmk_hex"], mac_key.wrapped, encrypt=False) == SIGN_ON["tak_hex"]
    assert des(SIGN_ON["tpk_hex"], bytes(8))[:4] == pin_key.check
    assert des(SIGN_ON["tak_hex"], bytes(8))[:4] == mac_key.check
    assert working_keys_field(SentKey(pin_key.wrapped, pin_key.check), mac_key) == SIGN_ON["de62_hex"]


def test_a_pin_block_of_iso_9564() -> None:
    """PIN 123456 of 6225880000000011: the clear block is 06 12 34 56 FF… xor 0000 588000000001."""
    clear = bytes(
        a ^ b for a, b in zip(bytes.fromhex("06123456FFFFFFFF"), bytes.fromhex("0000588000000001"), strict=True)
    )
    assert pin_block(SIGN_ON["tpk_hex"], "123456", "6225880000000011") == des(SIGN_ON["tpk_hex"], clear)
