"""A rule set as it is written down (TOML), and reading it with the place of everything that is wrong.

docs/risk_rules.md tells an analyst how to write one; `starter_rules.toml` is one.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    ValidationError,
    model_validator,
)

from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR
from switch.domain.risk import Action, Mode, Rule, Subject, WithoutFacts
from switch.domain.states import EntryMode
from switch.domain.velocity import COUNTED_PAIRS
from switch.risk.conditions import LONGEST_CONDITION, ConditionRefused, check_condition
from switch.risk.facts import BY_NAME, COUNTERS, PAIRS, WINDOWS, pair_name

LARGEST_CHARACTERS: Final = 1_000_000
MOST_RULES: Final = 500  # limits are rules
MOST_CONDITION_CHARACTERS: Final = 100_000  # of all rules together
MOST_SCORE: Final = 1_000
_MOST_SHOWN: Final = 20

# What risk control can truthfully answer: no approval, nothing that only an issuer or a network knows, and no code of
# a PIN, which would be counted as a payer's wrong PIN.
DECLINE_CODES: Final = (
    *("01", "02", "03", "04", "05", "12", "13", "34", "40", "41"),
    *("43", "57", "58", "59", "61", "62", "65", "96"),
)
SUSPECTED_FRAUD: Final = "59"
ABOVE_AMOUNT: Final = "61"
TOO_OFTEN: Final = "65"
# A terminal that has asked without a PIN asks again with one; docs/risk_rules.md says why it is this code.
PROVE_YOURSELF: Final = "61"

Pairs = Collection[tuple[Subject, Subject]]

_LONG_NUMBER: Final = re.compile(r"\d{12}")


@dataclass(frozen=True, slots=True)
class Fault:
    """place: `rules[3].when:1:14` (line and column of the condition), or "" for the document as a whole."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if self.place else self.reason


class RulesRefused(Exception):
    """A rule set that cannot be put in force. faults: all of them; the text shows the first 20."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        shown = [str(each) for each in faults[:_MOST_SHOWN]]
        if len(faults) > _MOST_SHOWN:
            shown.append(f"and {len(faults) - _MOST_SHOWN} more")
        super().__init__("\n".join(shown))
        self.faults = tuple(faults)


# --- what is written --------------------------------------------------------------------------------------------------


def _readable(text: str) -> str:
    """Texts are shown to analysts, payers and logs: nothing in them may look like a card number."""
    if _LONG_NUMBER.search(text) or not text.isprintable() or not text.strip():
        raise ValueError("must be printable, not empty and without 12 digits in a row")
    return text


def _one_of(values: Iterable[str]) -> AfterValidator:
    known = tuple(values)

    def check(text: str) -> str:
        if text not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return text

    return AfterValidator(check)


Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_readable)]
Owner = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_readable)]
Code = Annotated[str, _one_of(DECLINE_CODES)]
Score = Annotated[int, Field(strict=True, ge=1, le=MOST_SCORE)]
Number = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Amount = Annotated[int, Field(strict=True, ge=0, le=LARGEST_AMOUNT_MINOR)]
ENTRIES: Final = tuple(each.name.lower() for each in EntryMode)
COUNTED: Final = (*Subject, *(pair_name(one, other) for one, other in PAIRS))


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)


class Reason(Part):
    en: Text
    zh: Text


class Thresholds(Part):
    """Of the scores' sum. decline_code: DE39 of a payment that is declined by its score."""

    review_at: Score = 500
    decline_at: Score = 900
    decline_code: Code = SUSPECTED_FRAUD

    @model_validator(mode="after")
    def _are_in_order(self) -> Self:
        if self.review_at > self.decline_at:
            raise ValueError("review_at is above decline_at")
        return self


class Written(Part):
    """What a rule and a limit have in common."""

    id: Name
    version: Number
    owner: Owner
    reason: Reason
    mode: Mode = Mode.LIVE
    response_code: Code | None = None
    without_facts: WithoutFacts = WithoutFacts.PASS

    def _rule(self, when: str, action: Action, code: str, score: int = 0, limit_minor: int = 0) -> Rule:
        return Rule(
            self.id,
            self.version,
            self.owner,
            when,
            action,
            MappingProxyType({"en": self.reason.en, "zh": self.reason.zh}),
            self.mode,
            score,
            self.response_code or code,
            limit_minor,
            self.without_facts,
        )


_DEFAULT_CODES: Final = {
    Action.DECLINE: SUSPECTED_FRAUD,
    Action.STEP_UP: PROVE_YOURSELF,
    Action.LIMIT: ABOVE_AMOUNT,
}


class WrittenRule(Written):
    """score: of action "score" alone. limit_minor: of "limit". response_code: of "decline", "step_up" and "limit"."""

    when: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_CONDITION)]
    action: Action
    score: Score | None = None
    limit_minor: Amount | None = None

    @model_validator(mode="after")
    def _has_what_its_action_needs(self) -> Self:
        for name, value, actions in (
            ("score", self.score, (Action.SCORE,)),
            ("limit_minor", self.limit_minor, (Action.LIMIT,)),
        ):
            if self.action in actions and value is None:
                raise ValueError(f"{name} is missing: its action is {self.action}")
            if self.action not in actions and value is not None:
                raise ValueError(f"{name} means nothing with action {self.action}")
        if self.response_code is not None and self.action not in _DEFAULT_CODES:
            raise ValueError(f"response_code means nothing with action {self.action}")
        return self

    def rule(self) -> Rule:
        return self._rule(
            self.when, self.action, _DEFAULT_CODES.get(self.action, ""), self.score or 0, self.limit_minor or 0
        )


def _texts(values: Iterable[str]) -> str:
    """As CEL writes them. No value has a quote in it.

    >>> print(_texts(["nfc", "chip"]))
    ["nfc", "chip"]
    """
    quoted = '", "'.join(values)
    return f'["{quoted}"]'


class WrittenLimit(Written):
    """A rule in short: what is above it is declined, stepped up, or reviewed.

    Exactly one of amount_minor (of one payment, in `currency`), count and sum_minor (payments and their amounts in
    `window`, this one included, sum_minor in the reference currency; per whom). per: a subject or a pair of them.
    listed: only for those on this list of `per`. entry, category: only for these. without_pin: only without one.
    """

    per: Annotated[str, _one_of(COUNTED)] | None = None
    listed: Name | None = None
    entry: tuple[Annotated[str, _one_of(ENTRIES)], ...] = ()
    category: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")], ...] = ()
    without_pin: StrictBool = False
    currency: Annotated[str, _one_of(CURRENCIES)] = "CNY"
    amount_minor: Amount | None = None
    window: Annotated[str, _one_of(WINDOWS)] | None = None
    count: Number | None = None
    sum_minor: Amount | None = None
    action: Literal[Action.DECLINE, Action.STEP_UP, Action.REVIEW] = Action.DECLINE

    @model_validator(mode="after")
    def _is_one_limit(self) -> Self:
        if sum(each is not None for each in (self.amount_minor, self.count, self.sum_minor)) != 1:
            raise ValueError("needs exactly one of amount_minor, count and sum_minor")
        windowed = self.amount_minor is None
        if windowed and (self.window is None or self.per is None):
            raise ValueError("count and sum_minor need window and per")
        if not windowed and self.window is not None:
            raise ValueError("window means nothing with amount_minor")
        if self.listed is not None and self.per not in tuple(Subject):
            raise ValueError(f"listed needs per, one of {', '.join(Subject)}")
        if self.response_code is not None and self.action is Action.REVIEW:
            raise ValueError("response_code means nothing with action review")
        return self

    def rule(self) -> Rule:
        by_amount = self.amount_minor is not None and self.action is Action.DECLINE
        code = TOO_OFTEN if self.count is not None else _DEFAULT_CODES[Action.LIMIT]
        return self._rule(
            " && ".join(self._conditions(by_amount)),
            Action.LIMIT if by_amount else self.action,
            "" if self.action is Action.REVIEW else PROVE_YOURSELF if self.action is Action.STEP_UP else code,
            limit_minor=self.amount_minor or 0 if by_amount else 0,
        )

    def _conditions(self, by_amount: bool) -> Iterator[str]:
        if self.entry:
            yield f"entry in {_texts(self.entry)}"
        if self.category:
            yield f"merchant_category in {_texts(self.category)}"
        if self.without_pin:
            yield "!pin_given"
        if self.listed is not None:
            yield f'"{self.listed}" in {self.per}_lists'
        if self.count is not None:
            yield f"{self.per}_count_{self.window} > {self.count}"
        elif self.sum_minor is not None:
            yield f"{self.per}_sum_{self.window} > {self.sum_minor}"
        else:
            yield from self._of_amount(by_amount)

    def _of_amount(self, by_amount: bool) -> Iterator[str]:
        if self.per is not None and self.listed is None:
            yield " && ".join(f"{each}_known" for each in Subject if each in self.per.split("_"))
        yield f'currency == "{self.currency}"'
        if not by_amount:
            yield f"amount_minor > {self.amount_minor}"


class RuleDocument(Part):
    """As `read_rules` checked it. Its rules in order: the limits, then the rules."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_readable)]
    thresholds: Thresholds = Thresholds()
    limits: Annotated[tuple[WrittenLimit, ...], Field(max_length=MOST_RULES)] = ()
    rules: Annotated[tuple[WrittenRule, ...], Field(max_length=MOST_RULES)] = ()

    def all_rules(self) -> list[Rule]:
        return [*(each.rule() for each in self.limits), *(each.rule() for each in self.rules)]


# --- reading ----------------------------------------------------------------------------------------------------------


def read_rules(content: str, pairs: Pairs = COUNTED_PAIRS) -> RuleDocument:
    """pairs: those that the counters count. Raises RulesRefused with every fault.

    >>> read_rules('name = "x"').rules
    ()
    >>> read_rules("name = 1")
    Traceback (most recent call last):
    switch.risk.document.RulesRefused: name: Input should be a valid string
    """
    parsed = _parsed(content)
    faults: list[Fault] = []
    document = None
    try:
        document = RuleDocument.model_validate(parsed)
    except ValidationError as error:
        faults += [
            Fault(place_of(each["loc"]), each["msg"].removeprefix("Value error, "))
            for each in error.errors(include_input=False, include_url=False)
        ]
    # Looked at as they were parsed, so that one misspelt name does not hide what is wrong in the conditions.
    limits, rules = _tables(parsed.get("limits")), _tables(parsed.get("rules"))
    faults += _faults_together(limits, rules)
    faults += _pair_faults(limits, pairs)
    if len(rules) <= MOST_RULES:
        faults += _condition_faults(rules, pairs)
    if faults or document is None:
        raise RulesRefused(faults)
    return document


def _parsed(content: str) -> dict[str, Any]:
    if len(content) > LARGEST_CHARACTERS:
        raise RulesRefused([Fault("", f"longer than {LARGEST_CHARACTERS:,} characters")])
    try:
        return tomllib.loads(content)
    except RecursionError:
        raise RulesRefused([Fault("", "nested too deep")]) from None
    except ValueError as error:  # tomllib's own errors say the line
        raise RulesRefused([Fault("", f"no TOML: {error}")]) from None


def _tables(value: Any) -> list[Mapping[str, Any]]:
    """Those of an array of tables, each at its place; what is no table was refused already, and counts as empty."""
    return [each if isinstance(each, dict) else {} for each in value] if isinstance(value, list) else []


def _faults_together(limits: Sequence[Mapping[str, Any]], rules: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    if len(limits) + len(rules) > MOST_RULES:
        yield Fault("rules", f"more than {MOST_RULES} rules and limits")
    length = sum(len(each["when"]) for each in rules if isinstance(each.get("when"), str))
    if length > MOST_CONDITION_CHARACTERS:
        yield Fault("rules", f"conditions of more than {MOST_CONDITION_CHARACTERS:,} characters together")
    first: dict[str, str] = {}
    for kind, tables in (("limits", limits), ("rules", rules)):
        for index, table in enumerate(tables):
            name, place = table.get("id"), f"{kind}[{index}]"
            if isinstance(name, str) and first.setdefault(name, place) != place:
                yield Fault(f"{place}.id", f"{first[name]} has this id, too")


def _pair_faults(limits: Sequence[Mapping[str, Any]], pairs: Pairs) -> Iterator[Fault]:
    uncounted = {pair_name(*each): each for each in PAIRS if each not in pairs}
    for index, table in enumerate(limits):
        pair = uncounted.get(table["per"]) if isinstance(table.get("per"), str) else None
        if pair and table.get("amount_minor") is None:
            yield Fault(f"limits[{index}].per", _not_counted(pair))


def _not_counted(pair: tuple[Subject, Subject]) -> str:
    return f"payments of one {pair[0]} and one {pair[1]} together are not counted here"


def _pair_of(name: str) -> tuple[Subject, Subject] | None:
    """
    >>> _pair_of("card_ip_count_1h"), _pair_of("card_merchants_1h"), _pair_of("user_device_added_minutes")
    ((<Subject.CARD: 'card'>, <Subject.IP: 'ip'>), None, None)
    """
    if len(BY_NAME[name].needs) < 2:
        return None
    return next((each for each in PAIRS if name.startswith(f"{pair_name(*each)}_")), None)


def _condition_faults(rules: Sequence[Mapping[str, Any]], pairs: Pairs) -> Iterator[Fault]:
    for index, table in enumerate(rules):
        when = table.get("when")
        if not isinstance(when, str) or not 0 < len(when) <= LONGEST_CONDITION:
            continue  # refused already
        try:
            condition = check_condition(when, constant=table.get("action") == Action.LIMIT)
        except ConditionRefused as refused:
            for each in refused.complaints:
                yield Fault(f"rules[{index}].when:{each.line}:{each.column}", each.reason)
            continue
        for name in condition.reads:
            pair = _pair_of(name)
            if pair and pair not in pairs:
                yield Fault(f"rules[{index}].when", f"{name}: {_not_counted(pair)}")
        if table.get("without_facts") == WithoutFacts.LOCAL and COUNTERS not in condition.sources:
            yield Fault(f"rules[{index}].without_facts", "local, but its condition reads no counter")


def place_of(location: Iterable[int | str]) -> str:
    """
    >>> place_of(("rules", 2, "reason", "en"))
    'rules[2].reason.en'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
