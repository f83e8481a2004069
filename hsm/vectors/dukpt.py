"""Vectors of DUKPT. Derived keys are compared without being shown; PIN blocks are translated to a key that is known."""

from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from hsm import _core, _dukpt
from hsm.vectors.checks import Checks, VectorFailed, expect, unhex
from hsm.vectors.workshop import Workshop

TARGET_HEX: Final = "0123456789ABCDEFFEDCBA987654321013579BDF02468ACE"
KEY_TYPES: Final = {"TDES2": "TDES-2", "TDES3": "TDES-3", "AES128": "AES-128", "AES192": "AES-192", "AES256": "AES-256"}
PURPOSES: Final = {
    "0002": "key-encryption",
    "1000": "pin",
    "2000": "mac-request",
    "2001": "mac-response",
    "2002": "mac-both",
    "3000": "data-request",
    "3001": "data-response",
    "3002": "data-both",
}
"""Key usage of X9.24-3 → purpose of a working key."""

NAMED_KEYS: Final = {
    "pin_key": ("TDES-2", "pin"),
    "mac_request_key": ("TDES-2", "mac-request"),
    "mac_response_key": ("TDES-2", "mac-response"),
    "pin_key_aes128_usage1000": ("AES-128", "pin"),
    "pin_key_aes256_usage1000": ("AES-256", "pin"),
    "cmac_aes128_key_usage2000": ("AES-128", "mac-request"),
    "cmac_aes256_key_usage2000": ("AES-256", "mac-request"),
    "data_aes128_key_usage3000": ("AES-128", "data-request"),
    "data_aes256_key_usage3000": ("AES-256", "data-request"),
}
"""Output of a vector → (key type, purpose)."""


def _working_key(name: str) -> tuple[str, str]:
    """(key type, purpose) of a vector's working key: a name of NAMED_KEYS, or like `AES128/pin_encryption_1000`."""
    if name in NAMED_KEYS:
        return NAMED_KEYS[name]
    kind, _, usage = name.partition("/")
    return KEY_TYPES[kind], PURPOSES[usage[-4:]]


def _expect_key(bench: Workshop, name: str, derived: _core.HostKey, value_hex: str) -> None:
    if not derived.same_value(bench.key(bench.load(derived.usage, value_hex, derived.kind))):
        raise VectorFailed(f"{name} differs")


def _expect_chain(bench: Workshop, base: str, ksn: bytes, initial: str, transaction: str) -> None:
    """Initial key and transaction key; the latter from the base key and, again, from the initial key."""
    token = bench.context.token
    derived = _dukpt.derive_initial_key(token, bench.key(base), ksn, "initial")
    _expect_key(bench, "the initial key", derived, initial)
    for start in (bench.key(base), derived):
        _expect_key(
            bench, "the transaction key", _dukpt.derive_transaction_key(token, start, ksn, "transaction"), transaction
        )


def _expect_working_key(bench: Workshop, base: str, ksn: bytes, name: str, value_hex: str) -> None:
    derived = _dukpt.derive_working_key(bench.context.token, bench.key(base), ksn, *_working_key(name), "working")
    _expect_key(bench, name, derived, value_hex)


def _clear_block(pin: str, pan: str) -> bytes:
    """ISO 9564-1 format 0."""
    field = f"0{len(pin):X}{pin}".ljust(16, "F")
    return (int(field, 16) ^ int(pan[-13:-1], 16)).to_bytes(8)


def _expect_pin(bench: Workshop, base: str, ksn: bytes, key_type: str, inputs: Mapping[str, Any], block: str) -> None:
    """The block under DUKPT, translated to format 0 under a known key, is the one `cryptography` makes of the PIN."""
    encryptor = Cipher(TripleDES(unhex(TARGET_HEX)), modes.CBC(bytes(8))).encryptor()
    expected = encryptor.update(_clear_block(inputs["pin"], inputs["pan"])) + encryptor.finalize()
    target = bench.load("PIN_KEY", TARGET_HEX)
    source_format = 4 if key_type.startswith("AES") else 0
    item = (base, ksn, key_type, source_format, target, 0, unhex(block), inputs["pan"])
    expect("the PIN", bench.one("translate_dukpt_pins", *item), expected)


def _expect_mac(bench: Workshop, base: str, ksn: bytes, direction: str, data: bytes, mac: bytes) -> None:
    algorithm = "iso9797-alg3-pad1-4" if len(mac) == 4 else "iso9797-alg3-pad1"
    item = (base, ksn, "TDES-2", direction, algorithm, data)
    expect(f"the MAC of the {direction}", bench.one("dukpt_macs", *item), mac)
    bench.one("verify_dukpt_macs", *item, mac)


def _expect_data(bench: Workshop, base: str, ksn: bytes, data: bytes, enciphered: bytes) -> None:
    padded = data + bytes(-len(data) % 8)
    item = (base, ksn, "TDES-2", "request", "CBC", bytes(8))
    expect("the enciphered data", bench.one("dukpt_encipher", *item, padded), enciphered)
    expect("the deciphered data", bench.one("dukpt_decipher", *item, enciphered), padded)


def check_tdes(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    base, ksn = bench.load("DUKPT_BASE", inputs["bdk"], mode="X"), unhex(inputs["ksn"])
    data = inputs.get("mac_data_ascii", inputs.get("mac_and_data_ascii", "")).encode()
    _expect_chain(bench, base, ksn, outputs["ipek"], outputs["transaction_key"])
    for name in outputs.keys() - {"ipek", "transaction_key"}:
        value = outputs[name]
        if name == "encrypted_pinblock_fmt0":
            _expect_pin(bench, base, ksn, "TDES-2", inputs, value)
        elif name in ("data_request_cbc_iv0", "data_request_tdes_cbc_iv0"):
            _expect_data(bench, base, ksn, data, unhex(value))
        elif name.removesuffix("_4") in ("mac_request", "mac_response"):
            _expect_mac(bench, base, ksn, name.split("_")[1], data, unhex(value))
        else:
            _expect_working_key(bench, base, ksn, name, value)


def check_aes(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """A block of format 4 is compared by its PIN: its random fill leaves no command."""
    base, ksn = bench.load("DUKPT_BASE", inputs["bdk"], "AES", mode="X"), unhex(inputs["ksn"])
    keys = dict(outputs)
    _expect_chain(bench, base, ksn, keys.pop("initial_key"), keys.pop("transaction_key"))
    block = keys.pop("encrypted_pinblock_fmt4", None)
    if block is not None:
        _expect_pin(bench, base, ksn, "AES-128", inputs, block)
    keys.update(keys.pop("working_keys", {}))
    for name, value in keys.items():
        _expect_working_key(bench, base, ksn, name, value)


CHECKS: Final[Checks] = {"dukpt_tdes": check_tdes, "dukpt_aes": check_aes}
