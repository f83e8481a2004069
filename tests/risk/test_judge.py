"""What a rule set decides: actions by severity, thresholds, lists, and what is left out when facts are not there."""

from typing import Any

import pytest

from switch.domain.risk import Action, FactValue, Mode, Outcome, Rule, Subject, WithoutFacts
from switch.risk.document import Thresholds
from switch.risk.facts import COUNTERS, MODEL
from switch.risk.lists import Listed, Standing
from switch.risk.rules import RuleSet

FACTS: dict[str, FactValue] = {
    "amount_minor": 6_000,
    "hour": 5,
    "entry": "nfc",
    "card_known": True,
    "card_lists": [],
    "user_known": False,
    "device_known": False,
    "model_known": False,
    "card_count_1m": 1,
    "card_count_1h": 6,
}
WITHOUT_COUNTERS = {name: value for name, value in FACTS.items() if "count" not in name}


def rule(name: str, when: str, action: Action, **rest: Any) -> Rule:
    code = {Action.DECLINE: "59", Action.STEP_UP: "61", Action.LIMIT: "61"}.get(action, "")
    return Rule(name, 1, "risk", when, action, {"en": f"because of {name}", "zh": name}, response_code=code, **rest)


def score(name: str, points: int, when: str = "amount_minor > 0", **rest: Any) -> Rule:
    return rule(name, when, Action.SCORE, score=points, **rest)


@pytest.mark.parametrize(
    ("points", "outcome", "code", "reason"),
    [
        ((499,), Outcome.PASS, "", ""),
        ((200, 300), Outcome.REVIEW, "", ""),
        ((400, 500), Outcome.DECLINE, "34", "because of r1"),
        ((900, 900), Outcome.DECLINE, "34", "because of r0"),
    ],
)
def test_scores_add_up_to_the_thresholds(points: tuple[int, ...], outcome: Outcome, code: str, reason: str) -> None:
    rules = RuleSet([score(f"r{at}", each) for at, each in enumerate(points)], Thresholds(decline_code="34"), 7)
    judged = rules.judge(FACTS)
    assert (judged.outcome, judged.response_code, judged.reason) == (outcome, code, reason)
    assert judged.score == min(1_000, sum(points))
    assert judged.fired == tuple(f"r{at}" for at in range(len(points)))
    assert judged.rules_version == 7
    assert judged.facts == FACTS


def test_the_hardest_action_decides_and_the_first_of_equals() -> None:
    always = "amount_minor > 0"
    mild = [rule("look", always, Action.REVIEW), rule("prove", always, Action.STEP_UP)]
    assert RuleSet(mild[:1]).judge(FACTS).outcome is Outcome.REVIEW
    assert RuleSet(mild).judge(FACTS).reason == "because of prove"
    hard = [*mild, rule("stop", always, Action.DECLINE), rule("limit", always, Action.LIMIT, limit_minor=5_999)]
    judged = RuleSet(hard).judge(FACTS)
    assert (judged.outcome, judged.response_code, judged.reason) == (Outcome.DECLINE, "59", "because of stop")
    assert judged.fired == ("look", "prove", "stop", "limit")


@pytest.mark.parametrize(("limit_minor", "fires"), [(5_999, True), (6_000, False)])
def test_a_limit_is_what_may_still_be_paid(limit_minor: int, fires: bool) -> None:
    judged = RuleSet([rule("limit", "true", Action.LIMIT, limit_minor=limit_minor)]).judge(FACTS)
    assert judged.fired == (("limit",) if fires else ())
    assert judged.declines is fires


def test_shadow_rules_are_recorded_without_effect_and_rules_that_are_off_are_not_asked() -> None:
    rules = RuleSet(
        [
            rule("shadow", "amount_minor > 0", Action.DECLINE, mode=Mode.SHADOW),
            rule("off", "amount_minor > 0", Action.DECLINE, mode=Mode.OFF),
            score("points", 900, mode=Mode.SHADOW),
        ]
    )
    judged = rules.judge(FACTS)
    assert (judged.outcome, judged.score, judged.fired) == (Outcome.PASS, 0, ())
    assert judged.shadow == ("shadow", "points")


# --- what is not known ------------------------------------------------------------------------------------------------


def test_what_is_not_known_is_never_compared() -> None:
    """user_count_1h would be below ten whatever stood in its place."""
    rules = RuleSet(
        [
            rule("few", "user_count_1h < 10", Action.DECLINE),
            rule("not many", "!(user_count_1h > 10)", Action.DECLINE),
            rule("either", "user_count_1h < 10 || card_known", Action.DECLINE),
            rule("nobody", "!user_known && amount_minor > 0", Action.REVIEW),
        ]
    )
    judged = rules.judge(FACTS)
    assert judged.fired == ("nobody",)
    assert judged.failed == ()
    assert rules.judge({**FACTS, "user_known": True, "user_count_1h": 3}).fired == ("few", "not many", "either")


def test_a_fact_that_should_be_there_and_is_not_fails_its_rules_alone() -> None:
    rules = RuleSet(
        [
            rule("few", "card_count_1d < 10", Action.DECLINE),
            rule("stricter", "card_count_1d < 10", Action.REVIEW, without_facts=WithoutFacts.FIRE),
            rule("other", "card_count_1h > 5", Action.REVIEW),
        ]
    )
    judged = rules.judge(FACTS)
    assert judged.fired == ("stricter", "other")
    assert judged.failed == ("few", "stricter")


@pytest.mark.parametrize(
    ("when", "facts"),
    [
        ("amount_minor / (hour - 5) > 1", {}),
        ("amount_minor % (hour - 5) > 1", {}),
        ("card_count_1h * card_count_1h > 1", {"card_count_1h": 2**62}),
        ("card_count_1h > 1", {"card_count_1h": 2**63}),
        ("card_count_1h > 1", {"card_count_1h": "many"}),
        ("entry == 'nfc'", {"entry": 5}),
        ("'x' in card_lists", {"card_lists": None}),
    ],
)
def test_a_rule_that_fails_leaves_the_others_standing(when: str, facts: dict[str, Any]) -> None:
    others = [score("before", 100), rule("after", "hour == 5", Action.REVIEW)]
    rules = RuleSet([others[0], rule("failing", when, Action.DECLINE), others[1]])
    judged = rules.judge({**FACTS, **facts})
    assert (judged.outcome, judged.fired, judged.failed) == (Outcome.REVIEW, ("before", "after"), ("failing",))
    strict = RuleSet([others[0], rule("failing", when, Action.DECLINE, without_facts=WithoutFacts.FIRE), others[1]])
    assert strict.judge({**FACTS, **facts}).fired == ("before", "failing", "after")


# --- when counters or the model are gone ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "fires"), [(WithoutFacts.PASS, False), (WithoutFacts.LOCAL, False), (WithoutFacts.FIRE, True)]
)
def test_without_counters_each_rule_has_its_policy(policy: WithoutFacts, fires: bool) -> None:
    rules = RuleSet(
        [rule("often", "card_count_1m > 3", Action.DECLINE, without_facts=policy), score("other", 10, "hour == 5")]
    )
    judged = rules.judge(WITHOUT_COUNTERS, absent=(COUNTERS,))
    assert judged.fired == (("often", "other") if fires else ("other",))
    assert judged.absent == (COUNTERS,)
    assert judged.failed == ()


def test_local_counters_are_for_the_rules_that_take_them() -> None:
    rules = RuleSet(
        [
            rule("local", "card_count_1m > 3", Action.DECLINE, without_facts=WithoutFacts.LOCAL),
            rule("not", "card_count_1m > 3", Action.REVIEW),
            rule("not even", "card_count_1m <= 3", Action.REVIEW, without_facts=WithoutFacts.FIRE),
        ]
    )
    judged = rules.judge(WITHOUT_COUNTERS, absent=(COUNTERS,), local={"card_count_1m": 4})
    assert judged.fired == ("local", "not even")
    assert judged.facts["card_count_1m"] == 4
    few = rules.judge(WITHOUT_COUNTERS, absent=(COUNTERS,), local={"card_count_1m": 3})
    assert few.fired == ("not even",)
    with_them = rules.judge(FACTS, local={"card_count_1m": 4})
    assert with_them.fired == ("not even",)


def test_what_is_decided_without_the_counters_is_decided() -> None:
    """The stricter side is for the payments that the rest of the condition is about."""
    rules = RuleSet(
        [
            rule("small", "card_count_1m > 3 && amount_minor < 100", Action.DECLINE, without_facts=WithoutFacts.FIRE),
            rule("nobody's", "user_count_1m > 3", Action.DECLINE, without_facts=WithoutFacts.FIRE),
            rule("large anyway", "amount_minor > 100 || card_count_1m > 3", Action.REVIEW),
        ]
    )
    assert rules.judge(WITHOUT_COUNTERS, absent=(COUNTERS,)).fired == ("large anyway",)


def test_a_model_that_does_not_answer_is_not_a_model_that_is_not_there() -> None:
    rules = RuleSet([rule("model", "model_score > 900", Action.REVIEW, without_facts=WithoutFacts.FIRE)])
    assert rules.judge(FACTS).fired == ()
    assert rules.judge(FACTS, absent=(MODEL,)).fired == ("model",)
    assert rules.judge(WITHOUT_COUNTERS, absent=(COUNTERS, MODEL)).fired == ("model",)
    scored = rules.judge({**FACTS, "model_known": True, "model_score": 950}, model_version=3)
    assert (scored.fired, scored.model_score, scored.model_version) == (("model",), 950, 3)


# --- lists ------------------------------------------------------------------------------------------------------------


def test_a_block_declines_before_any_rule() -> None:
    standing = Standing({"card_lists": ["stolen"]}, blocks=(Listed(Subject.CARD, "stolen"),))
    rules = RuleSet([rule("stop", "amount_minor > 0", Action.DECLINE), rule("prove", "hour == 5", Action.STEP_UP)])
    judged = rules.judge({**FACTS, **standing.names}, standing)
    assert (judged.outcome, judged.response_code, judged.reason) == (Outcome.DECLINE, "59", "this card is blocked")
    assert judged.fired == ("list:stolen", "stop", "prove")


def test_a_step_up_list_asks_for_proof_unless_something_declines() -> None:
    standing = Standing({"user_lists": ["checked"]}, step_ups=(Listed(Subject.USER, "checked"),))
    judged = RuleSet([]).judge(FACTS, standing)
    assert (judged.outcome, judged.response_code, judged.fired) == (Outcome.STEP_UP, "61", ("list:checked",))
    assert judged.reason == "payments of this account need a proof of identity"
    declined = RuleSet([rule("stop", "hour == 5", Action.DECLINE)]).judge(FACTS, standing)
    assert declined.outcome is Outcome.DECLINE


@pytest.mark.parametrize(("allowed", "score_left"), [(Subject.CARD, 0), (Subject.USER, 900), (Subject.MERCHANT, 1_000)])
def test_an_allowed_subject_is_spared_the_scores_about_it(allowed: Subject, score_left: int) -> None:
    """And an allowed payer those about nobody; a merchant's good name does not cover a stolen card."""
    rules = RuleSet([score("of card", 900, "card_count_1h > 5"), score("of nobody", 500)])
    assert rules.judge(FACTS, Standing({}, allowed=frozenset({allowed}))).score == score_left


def test_an_allowed_subject_is_not_spared_what_declines() -> None:
    standing = Standing({}, allowed=frozenset({Subject.CARD}))
    always = "card_known"
    for action in (Action.DECLINE, Action.STEP_UP, Action.LIMIT):
        assert RuleSet([rule("hard", always, action)]).judge(FACTS, standing).declines
    reviewed = RuleSet([rule("look", always, Action.REVIEW)]).judge(FACTS, standing)
    assert (reviewed.outcome, reviewed.fired) == (Outcome.PASS, ("allow:card", "look"))
