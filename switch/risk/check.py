"""What `payswitch risk check FILE` says of a rule set: every fault with its place, or what each rule needs."""

from collections.abc import Iterator
from dataclasses import dataclass

from switch.domain.risk import Action, Mode, Rule
from switch.risk.conditions import Condition
from switch.risk.document import RuleDocument, read_rules
from switch.risk.rules import RuleSet, compile_rules


@dataclass(frozen=True, slots=True)
class Checked:
    """A rule set that may be loaded."""

    document: RuleDocument
    rules: RuleSet

    def lines(self) -> Iterator[str]:
        """For people: the set, then its rules, then the facts that they read."""
        thresholds = self.document.thresholds
        counts = ", ".join(f"{sum(each.mode is mode for each in self.rules.rules)} {mode}" for mode in Mode)
        yield f"{self.document.name}: {len(self.rules.rules)} rules: {counts}"
        yield (
            f"review from {thresholds.review_at} points, declined with {thresholds.decline_code} from "
            f"{thresholds.decline_at}"
        )
        yield ""
        yield from (_line(each.rule, each.condition) for each in self.rules.compiled)
        yield ""
        yield f"reads {len(self.rules.reads)} facts: {', '.join(self.rules.reads)}"


def check_rules(content: str) -> Checked:
    """content: of the file. Raises RulesRefused with every fault.

    >>> checked = check_rules('''
    ... name = "one"
    ... [[rules]]
    ... id = "often"
    ... version = 2
    ... owner = "risk"
    ... when = "card_count_1m > 5"
    ... action = "score"
    ... score = 300
    ... reason = { en = "often", zh = "频繁" }
    ... ''')
    >>> print("\\n".join(checked.lines()))
    one: 1 rules: 1 live, 0 shadow, 0 off
    review from 500 points, declined with 59 from 900
    <BLANKLINE>
    often v2 live: score 300; judged where card_known; without counters: pass
    <BLANKLINE>
    reads 2 facts: card_known, card_count_1m
    """
    document = read_rules(content)
    return Checked(document, compile_rules(document))


def _line(rule: Rule, condition: Condition) -> str:
    parts = [f"{rule.id} v{rule.version} {rule.mode}: {_effect(rule)}"]
    if condition.needs:
        parts.append(f"judged where {' and '.join(condition.needs)}")
    if condition.sources:
        parts.append(f"without {' or '.join(sorted(condition.sources))}: {rule.without_facts}")
    return "; ".join(parts)


def _effect(rule: Rule) -> str:
    match rule.action:
        case Action.SCORE:
            return f"score {rule.score}"
        case Action.LIMIT:
            return f"declined with {rule.response_code} above {rule.limit_minor}"
        case Action.DECLINE | Action.STEP_UP:
            return f"{rule.action} with {rule.response_code}"
        case Action.REVIEW:
            return "review"
