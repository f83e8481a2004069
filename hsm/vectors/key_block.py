"""Vectors of key blocks and of AES key wrap."""

from collections.abc import Mapping
from typing import Any, Final

from hsm._key_block import aes_key_unwrap, aes_key_wrap
from hsm.key_block import KINDS, KeyBlockHeader, make_block, open_block
from hsm.usages import IMPORTED_USAGES
from hsm.vectors.checks import Checks, expect, unhex
from hsm.vectors.workshop import Workshop


def tr31(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """A published block is unwrapped; one with its padding is made again too, and must be the same, character by
    character."""
    block = inputs.get("key_block") or outputs["key_block"]
    protection = bench.key(bench.load("KEY_BLOCK", inputs["kbpk"], "AES" if block[0] in "DE" else "DES"))
    header, contents = open_block(protection, block)
    usage, kind = IMPORTED_USAGES[header.usage], KINDS[header.algorithm]
    key = contents.as_key("unwrapped", usage, kind, mode=header.mode)
    given = bench.key(bench.load(usage, outputs.get("key") or inputs["key"], kind, header.mode))
    expect("key", key.same_value(given), True)
    if "kcv" in outputs:
        expect("kcv", key.check_value()[: len(outputs["kcv"])], outputs["kcv"])
    if "random_pad" in inputs:
        names = ("version", "usage", "algorithm", "mode", "version_number", "exportability")
        asked = KeyBlockHeader(
            **{name: inputs[name] for name in names}, optional_blocks=tuple(inputs["optional_blocks"].items())
        )
        expect("header", header, asked)
        expect("key_block", make_block(protection, asked, given, unhex(inputs["random_pad"])), block)


def aes_wrap(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    transport = bench.key(bench.load("KEY_TRANSPORT", inputs["kek"], "AES"))
    key = bench.key(bench.load("DATA_KEY", inputs["key"], "AES"))
    expect("wrapped", aes_key_wrap(transport, key), unhex(outputs["wrapped"]))
    unwrapped = aes_key_unwrap(transport, unhex(outputs["wrapped"])).as_key("unwrapped", "DATA_KEY", "AES", mode="N")
    expect("key", unwrapped.same_value(key), True)


CHECKS: Final[Checks] = {
    **dict.fromkeys(("tr31_A", "tr31_B", "tr31_C", "tr31_D", "tr31_E"), tr31),
    "aes_key_wrap": aes_wrap,
}
