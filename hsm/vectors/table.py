"""Which check runs which category, and the entries known to be odd."""

from collections.abc import Mapping
from typing import Final

from hsm.vectors import card, data, dukpt, emv, key_block, mac, pin, sm
from hsm.vectors.checks import Checks

CHECKS: Final[Checks] = {
    **card.CHECKS,
    **data.CHECKS,
    **dukpt.CHECKS,
    **emv.CHECKS,
    **key_block.CHECKS,
    **mac.CHECKS,
    **pin.CHECKS,
    **sm.CHECKS,
}

ODD: Final[Mapping[str, str]] = {
    "dcvv-003": "jPOS applies option B to a PAN of 12 digits, where EMV 4.3, Book 2, A1.4.2 falls back to option A",
}
"""Vector id → why the product differs on purpose."""
