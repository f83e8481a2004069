"""SM2 and SM3 (GB/T 32918-2016, GB/T 32905-2016)."""

from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hsm import _sm
from hsm.vectors.checks import Checks, VectorFailed, expect, unhex
from hsm.vectors.workshop import Workshop


def check_sm2(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Signatures and ciphertexts hold a random number, so a vector's are verified and deciphered, then made anew."""
    public, message = unhex(inputs.get("public") or inputs["public_uncompressed"]), unhex(inputs["message"])
    decipherment = bench.load("ENVELOPE", inputs["private"], "SM2")
    signing = bench.load("SIGNING", inputs["private"], "SM2")
    expect("the public key", _sm.public_key(bench.key(signing)), public)
    signature, ciphertext = _signature(outputs), _ciphertext(outputs)
    if signature is None and ciphertext is None:
        raise VectorFailed("there is no output to compare")
    if signature is not None:
        identifier = inputs["id"].encode()
        bench.one("sm2_verify", public, identifier, message, signature)
        bench.one("sm2_verify", public, identifier, message, bench.one("sm2_sign", signing, identifier, message))
    if "e" in inputs:
        identifier = inputs["id"].encode()
        expect("ZA", _sm.identity_digest(public, identifier), unhex(inputs["ZA"]))
        expect("e", _sm.message_digest(public, identifier, message), unhex(inputs["e"]))
    if ciphertext is not None:
        expect("the plaintext", bench.one("sm2_decipher", decipherment, ciphertext), message)
        made = bench.one("sm2_encipher", public, message)
        expect("the plaintext", bench.one("sm2_decipher", decipherment, made), message)


def _signature(outputs: Mapping[str, Any]) -> bytes | None:
    if "r" in outputs:
        return encode_dss_signature(int(outputs["r"], 16), int(outputs["s"], 16))
    return unhex(outputs["signature_der"]) if "signature_der" in outputs else None


def _ciphertext(outputs: Mapping[str, Any]) -> bytes | None:
    if "c1" in outputs:
        return unhex(outputs["c1"] + outputs["c3"] + outputs["c2"])
    return unhex(outputs["ciphertext_c1c3c2"]) if "ciphertext_c1c3c2" in outputs else None


def check_sm3(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    expect("the digest", bench.one("sm3_digests", unhex(inputs["data"])), unhex(outputs["digest"]))


CHECKS: Final[Checks] = {"sm2": check_sm2, "sm3": check_sm3}
