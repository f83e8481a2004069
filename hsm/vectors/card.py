"""Vectors of card verification values."""

from collections.abc import Mapping
from typing import Any, Final

from hsm.vectors.checks import Checks, expect
from hsm.vectors.workshop import Workshop


def card_code(bench: Workshop, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    key = bench.load("CARD_VERIFICATION", inputs["cvk"])
    given = (key, inputs["pan"], inputs["expiry_as_used"], inputs["service_code"])
    expect("cvv", bench.one("card_codes", *given), outputs["cvv"])
    bench.one("verify_card_codes", *given, outputs["cvv"])


CHECKS: Final[Checks] = {"cvv": card_code}
