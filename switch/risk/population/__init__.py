"""A population by seed: who pays whom, on ordinary days and by fraud. For training, evaluation and rehearsal alone.

Everything is drawn from the seed; nothing is taken from any person. docs/risk_evaluation.md says how it is shaped.
"""

from pathlib import Path
from typing import Final

ANALYST_RULES: Final = Path(__file__).with_name("analyst_rules.toml")
"""Rules written on training seeds; they go behind the starter rules."""
