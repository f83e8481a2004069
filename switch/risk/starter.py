"""The rules of a new installation: `starter_rules.toml`, with the two limits that the settings give.

Its limits hold from the first payment on. Its rules are off, whatever mode the file gives them: every judgement stores
its facts, so that a replay tells what they would have done to the installation's own traffic before a second person
approves.
"""

from functools import cache
from pathlib import Path
from typing import Final

from switch.domain.risk import Mode, WithoutFacts
from switch.risk.document import RuleDocument, WrittenLimit, read_rules

STARTER_FILE: Final = Path(__file__).with_name("starter_rules.toml")
_CONTACTLESS: Final = "contactless_no_pin"
_ATTEMPTS: Final = ("card_attempts", "user_attempts")


@cache
def starter_document() -> RuleDocument:
    """As it is in the file."""
    return read_rules(STARTER_FILE.read_text(encoding="utf-8"))


def starter_rules(
    contactless_no_pin_limit_minor: int,
    attempts_per_minute: int,
    without_counters: WithoutFacts = WithoutFacts.LOCAL,
) -> RuleDocument:
    """Version 0, its rules off.

    contactless_no_pin_limit_minor: of a tap, in CNY. attempts_per_minute: of a card, and of an account; 0: no limit.
    without_counters: what holds of the attempts while the counters are gone. Raises pydantic's ValidationError for
    numbers out of range.
    """
    attempts: dict[str, object] = {
        "count": max(1, attempts_per_minute),
        "mode": Mode.LIVE if attempts_per_minute else Mode.OFF,
        "without_facts": without_counters,
    }
    changes: dict[str, dict[str, object]] = dict.fromkeys(_ATTEMPTS, attempts)
    changes[_CONTACTLESS] = {"amount_minor": contactless_no_pin_limit_minor}
    document = starter_document()
    limits = tuple(
        WrittenLimit.model_validate(each.model_dump(exclude_unset=True) | changes.get(each.id, {}))
        for each in document.limits
    )
    rules = tuple(each.model_copy(update={"mode": Mode.OFF}) for each in document.rules)
    return document.model_copy(update={"limits": limits, "rules": rules})
