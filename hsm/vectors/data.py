"""Vectors of data encryption and format-preserving encryption."""

from collections.abc import Mapping
from typing import Any, Final

from hsm.vectors.checks import Check, Checks, expect, unhex
from hsm.vectors.workshop import Workshop

CHAINED_BLOCKS: Final = 4096


def check_sm4(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    expect("the outputs", set(outputs), {"ciphertext"})
    key, plaintext, ciphertext = (
        bench.load("DATA_KEY", inputs["key"], "SM4"),
        unhex(inputs["plaintext"]),
        unhex(outputs["ciphertext"]),
    )
    if "iterations" in inputs:
        expect("ciphertext", enciphered_over_and_over(bench, key, plaintext, inputs["iterations"]), ciphertext)
        return
    expect("ciphertext", bench.one("encipher", key, "ecb", "none", b"", plaintext), ciphertext)
    expect("plaintext", bench.one("decipher", key, "ecb", "none", b"", ciphertext), plaintext)


def enciphered_over_and_over(bench: Workshop, key: str, block: bytes, times: int) -> bytes:
    """CBC over zeros enciphers each block of the result once more: a million blocks in a few hundred commands."""
    while times:
        blocks = min(times, CHAINED_BLOCKS)
        block = bench.one("encipher", key, "cbc", "none", block, bytes(16 * blocks))[-16:]
        times -= blocks
    return block


def format_preserving(algorithm: str) -> Check:
    def check(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        expect("the outputs", set(outputs), {"ciphertext"})
        key, tweak = bench.load("FPE_KEY", inputs["key"], "AES"), unhex(inputs["tweak"])
        alphabet = inputs.get("alphabet", int(inputs["radix"]))
        plaintext, ciphertext = inputs["plaintext"], outputs["ciphertext"]
        expect("ciphertext", bench.one("fpe_encipher", key, algorithm, tweak, alphabet, plaintext), ciphertext)
        expect("plaintext", bench.one("fpe_decipher", key, algorithm, tweak, alphabet, ciphertext), plaintext)

    return check


CHECKS: Final[Checks] = {
    "sm4_ecb": check_sm4,
    "ff1": format_preserving("ff1"),
    "ff3_1": format_preserving("ff3-1"),
}
