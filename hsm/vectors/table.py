"""Which check runs which category, and the entries known to be odd."""

from collections.abc import Mapping
from typing import Final

from hsm.vectors import key_block, sm
from hsm.vectors.checks import Checks

CHECKS: Final[Checks] = {
    **key_block.CHECKS,
    **sm.CHECKS,
}

ODD: Final[Mapping[str, str]] = {}
"""Vector id → why the product differs on purpose."""
