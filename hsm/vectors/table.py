"""Which check runs which category, and the entries known to be odd."""

from collections.abc import Mapping
from typing import Final

from hsm.vectors import data, mac
from hsm.vectors.checks import Checks

CHECKS: Final[Checks] = {**mac.CHECKS, **data.CHECKS}

ODD: Final[Mapping[str, str]] = {}
"""Vector id → why the product differs on purpose."""
