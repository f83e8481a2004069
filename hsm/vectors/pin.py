"""Vectors of PIN blocks, PVVs, offsets and DES check values."""

from collections.abc import Mapping
from typing import Any, Final

from hsm import _pin
from hsm.errors import InvalidCommand
from hsm.vectors.checks import Checks, VectorFailed, expect, unhex
from hsm.vectors.clear_pin import KNOWN_KEY, enciphered, format_0
from hsm.vectors.workshop import Workshop

ANY_PAN: Final = "6225880000001239"


def visa_pvv(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    pin_key, key = bench.load("PIN_KEY", KNOWN_KEY), bench.load("PVV_KEY", inputs["pvk"])
    block = enciphered(format_0(inputs["pin"], inputs["pan"]))
    given = (pin_key, 0, block, inputs["pan"], key, inputs["pvki"])
    expect("pvv", bench.one("generate_pvvs", *given), outputs["pvv"])
    bench.one("verify_pins_pvv", *given, outputs["pvv"])


def ibm3624_offset(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """By the commands, unless they refuse the table, as they must where it has fewer than 8 distinct digits."""
    pin_key, key = bench.load("PIN_KEY", KNOWN_KEY), bench.load("IBM3624_KEY", inputs["pvk"])
    pin, pan, table = inputs["pin"], inputs["pan"], inputs["decimalisation_table"]
    validation = (inputs["pan_verify_offset"], inputs["pan_verify_length"], inputs["pan_pad"])
    given = (pin_key, 0, enciphered(format_0(pin, pan)), pan, key, table, *validation)
    if len(set(table)) < 8:
        _refused(bench, (*given, len(pin)))
        core = (bench.context.token, bench.context.keys)
        expect("offset", _pin.generate_ibm3624_offsets(*core, [(*given, len(pin))]), [outputs["offset"]])
        expect("verification", _pin.verify_pins_ibm3624(*core, [(*given, outputs["offset"])]), [None])
    else:
        expect("offset", bench.one("generate_ibm3624_offsets", *given, len(pin)), outputs["offset"])
        bench.one("verify_pins_ibm3624", *given, outputs["offset"])


def _refused(bench: Workshop, item: tuple[Any, ...]) -> None:
    try:
        bench.one("generate_ibm3624_offsets", *item)
    except InvalidCommand:
        return
    raise VectorFailed("a decimalisation table with few digits is accepted")


def pinblock_format_0(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """The PIN comes in as format 1; the core makes the block under a known key, which shows its clear form, and under
    the vector's key."""
    known, key = bench.load("PIN_KEY", KNOWN_KEY), bench.load("PIN_KEY", inputs["tdes_key"])
    block = enciphered(bytes.fromhex(f"1{len(inputs['pin']):X}{inputs['pin']}".ljust(16, "0")))
    clear = bench.one("translate_pins", known, 1, known, 0, block, inputs["pan"])
    expect("clear", clear, enciphered(unhex(outputs["clear"])))
    translated = bench.one("translate_pins", known, 1, key, 0, block, inputs["pan"])
    expect("encrypted", translated, unhex(outputs["encrypted"]))


def pinblock_format_1(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    key = bench.load("PIN_KEY", KNOWN_KEY)
    _expect_pin(bench, (key, 1, enciphered(unhex(inputs["clear"]))), ANY_PAN, outputs["pin"])


def pinblock_format_2(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """The core makes the clear block from an enciphered one and enciphers it with a known key."""
    key = bench.load("PIN_KEY", KNOWN_KEY)
    block = enciphered(format_0(inputs["pin"], ANY_PAN))
    made = _pin.encipher_chip_pin(bench.context.token, bench.context.keys, key, 0, block, ANY_PAN, key)
    expect("clear", made, enciphered(unhex(outputs["clear"])))


def pinblock_format_3(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    known, key = bench.load("PIN_KEY", KNOWN_KEY), bench.load("PIN_KEY", inputs["tdes_key"])
    _expect_pin(bench, (key, 3, unhex(inputs["encrypted"])), inputs["pan"], outputs["pin"])
    _expect_pin(bench, (known, 3, enciphered(unhex(inputs["clear"]))), inputs["pan"], outputs["pin"])


def pinblock_format_4(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    key = bench.load("PIN_KEY", inputs["aes_key"], "AES")
    _expect_pin(bench, (key, 4, unhex(inputs["encrypted"])), inputs["pan"], outputs["pin"])


def _expect_pin(bench: Workshop, block: tuple[str, int, bytes], pan: str, pin: str) -> None:
    """Under a known key in format 0 the block must become that of the PIN."""
    known = bench.load("PIN_KEY", KNOWN_KEY)
    key, pin_format, enciphered_pin = block
    translated = bench.one("translate_pins", key, pin_format, known, 0, enciphered_pin, pan)
    expect("pin", translated, enciphered(format_0(pin, pan)))


def translation(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    source, target = bench.load("PIN_KEY", inputs["key_in"]), bench.load("PIN_KEY", inputs["key_out"])
    block = unhex(inputs["encrypted_in"])
    translated = bench.one("translate_pins", source, 0, target, 0, block, inputs["pan"])
    expect("encrypted_out", translated, unhex(outputs["encrypted_out"]))


def check_value(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    expect("tdes_kcv", bench.key(bench.load("PIN_KEY", inputs["key"])).check_value(), outputs["tdes_kcv"])


CHECKS: Final[Checks] = {
    "visa_pvv": visa_pvv,
    "ibm3624_offset": ibm3624_offset,
    "pinblock_fmt0": pinblock_format_0,
    "pinblock_fmt1_decode": pinblock_format_1,
    "pinblock_fmt2": pinblock_format_2,
    "pinblock_fmt3_decode": pinblock_format_3,
    "pinblock_fmt4_decode": pinblock_format_4,
    "pin_translate_0_to_0": translation,
    "kcv": check_value,
}
