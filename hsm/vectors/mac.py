"""Vectors of message authentication codes."""

from collections.abc import Mapping
from typing import Any, Final

from hsm.errors import MacMismatch
from hsm.vectors.checks import Check, Checks, VectorFailed, expect, unhex
from hsm.vectors.workshop import Workshop


def expect_mac(bench: Workshop, name: str, key: str, algorithm: str, data: bytes, expected: bytes) -> None:
    """The MAC is the vector's, verifies, and does not once a bit of it is changed."""
    expect(name, bench.one("macs", key, algorithm, data), expected)
    bench.one("verify_macs", key, algorithm, data, expected)
    changed = bytes([expected[0] ^ 1]) + expected[1:]
    [result] = bench.run("verify_macs", [(key, algorithm, data, changed)])
    if not isinstance(result, MacMismatch):
        raise VectorFailed(f"{name} verifies when changed")


def padded_macs(number: int) -> Check:
    """ISO/IEC 9797-1, algorithm `number`; outputs `mac_padding1` to 3, or `mac` of the input's padding."""

    def check(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        key = bench.load("MAC_KEY", inputs["key"])
        for name, expected in outputs.items():
            padding = inputs["padding"] if name == "mac" else int(name.removeprefix("mac_padding"))
            mac = unhex(expected)
            algorithm = f"iso9797-alg{number}-pad{padding}" + ("" if len(mac) == 8 else f"-{len(mac)}")
            expect_mac(bench, name, key, algorithm, unhex(inputs["data"]), mac)

    return check


def macs_under(kind: str, algorithm: str) -> Check:
    """Outputs `mac`, the whole one, and `mac_left8`, its first 8 bytes."""

    def check(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        key = bench.load("MAC_KEY", inputs["key"], kind)
        for name, expected in outputs.items():
            ending = {"mac": "", "mac_left8": "-8"}[name]
            expect_mac(bench, name, key, algorithm + ending, unhex(inputs["data"]), unhex(expected))

    return check


def check_terminal_mac(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    key, data = bench.load("MAC_KEY", inputs["mak"]), unhex(inputs["data"])
    for name, expected in outputs.items():
        algorithm = {"mac_full": "cup-ecb-binary", "field64_ascii_hex": "cup-ecb"}[name]
        expect_mac(bench, name, key, algorithm, data, unhex(expected))


CHECKS: Final[Checks] = {
    "retail_mac_alg3": padded_macs(3),
    "cbc_mac_alg1_tdes": padded_macs(1),
    "aes_cmac": macs_under("AES", "cmac"),
    "tdes_cmac": macs_under("DES", "cmac"),
    "sm4_cmac": macs_under("SM4", "cmac"),
    "hmac_sm3": macs_under("HMAC", "hmac-sm3"),
    "cup_ecb_mac": check_terminal_mac,
}
