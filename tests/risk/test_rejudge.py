"""A replay's report against a recomputation of its own: conditions written in Python, sums taken one by one."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from desk_scene import document, facts_with, rule
from small_model import content, facts_of

from switch.domain.risk import FactValue, Label, Outcome, Subject
from switch.domain.risk_replay import ReplayReport, Tally, as_fields, from_fields, merged
from switch.risk.document import read_rules
from switch.risk.lists import Standing
from switch.risk.model import load_model
from switch.risk.packing import pack_facts
from switch.risk.rejudge import Rejudging, Then
from switch.risk.rules import compile_rules

DOCUMENT = document(
    rule("big", "amount_minor > 50000"),
    rule("night", "hour < 5 && !pin_given", "score", score=600),
    rule("often", "card_count_10m > 5", "score", score=500),
    rule("maybe", "amount_minor > 40000", mode="shadow"),
    rule("prove", "user_known && user_count_1d > 9", "step_up"),
    rule("off", "amount_minor > 0", mode="off"),
    rule("ratio", "amount_minor / hour > 9000", "review"),
    rule("scored", "model_score > 900"),
)


def fired_by_hand(f: Mapping[str, Any]) -> tuple[set[str], set[str], set[str]]:
    fired = set()
    if f["amount_minor"] > 50_000:
        fired.add("big")
    if f["hour"] < 5 and not f["pin_given"]:
        fired.add("night")
    if f["card_known"] and f["card_count_10m"] > 5:
        fired.add("often")
    if f["user_known"] and f["user_count_1d"] > 9:
        fired.add("prove")
    if f["hour"] and f["amount_minor"] // f["hour"] > 9_000:
        fired.add("ratio")
    if f["model_known"] and f["model_score"] > 900:
        fired.add("scored")
    return fired, {"maybe"} if f["amount_minor"] > 40_000 else set(), set() if f["hour"] else {"ratio"}


def outcome_by_hand(fired: set[str]) -> Outcome:
    score = min(1_000, 600 * ("night" in fired) + 500 * ("often" in fired))
    if fired & {"big", "scored"} or score >= 900:
        return Outcome.DECLINE
    if "prove" in fired:
        return Outcome.STEP_UP
    return Outcome.REVIEW if "ratio" in fired or score >= 500 else Outcome.PASS


def payment(dice: random.Random) -> dict[str, FactValue]:
    facts = facts_with(
        amount_minor=int(dice.expovariate(1 / 20_000)) + 1,
        hour=dice.randrange(24),
        pin_given=dice.random() < 0.5,
        card_known=dice.random() < 0.8,
        user_known=dice.random() < 0.5,
        model_known=dice.random() < 0.7,
    )
    if facts["card_known"]:
        facts["card_count_10m"] = dice.randrange(10)
        facts["card_lists"] = []
    if facts["user_known"]:
        facts["user_count_1d"] = dice.randrange(14)
        facts["user_lists"] = []
    if facts["model_known"]:
        facts["model_score"] = dice.randrange(1_001)
    return facts


def then(facts: Mapping[str, FactValue], dice: random.Random, **fields: Any) -> Then:
    given: dict[str, Any] = {
        "outcome": dice.choice(list(Outcome)),
        "response_code": "59",
        "amount_minor": facts["amount_minor"],
        "currency": dice.choice(["CNY", "JPY"]),
        "fired": dice.sample(["big", "night", "gone"], dice.randrange(3)),
        "absent": [],
        "model_version": 0,
        "facts": pack_facts(facts),
        "label": dice.choice([None, None, int(Label.FRAUD), int(Label.LEGITIMATE)]),
    }
    return Then(**(given | fields))


def tally(rows: Sequence[Then]) -> Tally:
    amounts: Counter[str] = Counter()
    for each in rows:
        amounts[each.currency] += each.amount_minor
    return Tally(len(rows), dict(amounts))


def recomputed(rows: Sequence[Then], payments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    declining = (Outcome.STEP_UP, Outcome.DECLINE)
    by_hand = [fired_by_hand(each) for each in payments]
    now = [outcome_by_hand(fired) for fired, _, _ in by_hand]

    def where(test: Any) -> Tally:
        return tally([row for row, outcome in zip(rows, now, strict=True) if test(row, outcome)])

    fraud, legitimate = int(Label.FRAUD), int(Label.LEGITIMATE)
    return {
        "judged": where(lambda row, now: True),
        "declined_before": where(lambda row, now: row.outcome in declining),
        "declined": where(lambda row, now: now in declining),
        "newly_declined": where(lambda row, now: now in declining and row.outcome not in declining),
        "no_longer_declined": where(lambda row, now: now not in declining and row.outcome in declining),
        "reviewed_before": where(lambda row, now: row.outcome is Outcome.REVIEW),
        "reviewed": where(lambda row, now: now is Outcome.REVIEW),
        "fraud": where(lambda row, now: row.label == fraud),
        "fraud_declined_before": where(lambda row, now: row.label == fraud and row.outcome in declining),
        "fraud_declined": where(lambda row, now: row.label == fraud and now in declining),
        "legitimate": where(lambda row, now: row.label == legitimate),
        "legitimate_declined_before": where(lambda row, now: row.label == legitimate and row.outcome in declining),
        "legitimate_declined": where(lambda row, now: row.label == legitimate and now in declining),
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_report_is_what_judging_one_by_one_comes_to(seed: int) -> None:
    dice = random.Random(seed)
    payments = [payment(dice) for _ in range(2_000)]
    rows = [then(each, dice) for each in payments]
    rejudging = Rejudging(compile_rules(read_rules(DOCUMENT)))
    judgements = rejudging.take(rows)
    by_hand = [fired_by_hand(each) for each in payments]
    assert [set(each.fired) for each in judgements] == [fired for fired, _, _ in by_hand]
    assert [each.outcome for each in judgements] == [outcome_by_hand(fired) for fired, _, _ in by_hand]
    report = rejudging.report
    for name, wanted in recomputed(rows, payments).items():
        assert getattr(report, name) == wanted, name
    assert report.missing == {}
    check_rules(report, rows, by_hand)


def check_rules(
    report: ReplayReport, rows: Sequence[Then], by_hand: Sequence[tuple[set[str], set[str], set[str]]]
) -> None:
    counted = {name: Counter[str]() for name in ("fired_before", "fired", "shadow", "failed", "fraud", "legitimate")}
    for row, (fired, shadow, failed) in zip(rows, by_hand, strict=True):
        counted["fired_before"].update(row.fired)
        counted["fired"].update(fired)
        counted["shadow"].update(shadow)
        counted["failed"].update(failed)
        counted["fraud"].update(fired | shadow if row.label == Label.FRAUD else ())
        counted["legitimate"].update(fired | shadow if row.label == Label.LEGITIMATE else ())
    names = {name for each in counted.values() for name in each}
    assert set(report.rules) == names
    for name in names:
        assert {field: each[name] for field, each in counted.items()} == {
            field: getattr(report.rules[name], field) for field in counted
        }, name


def test_parts_make_the_same_report() -> None:
    dice = random.Random(4)
    rows = [then(payment(dice), dice) for _ in range(500)]
    rules = compile_rules(read_rules(DOCUMENT))
    whole, parts = Rejudging(rules), [Rejudging(rules) for _ in range(3)]
    whole.take(rows)
    for number, each in enumerate(parts):
        each.take(rows[number::3])
    assert merged(each.report for each in parts) == whole.report
    assert from_fields(as_fields(whole.report)) == whole.report


class Halved:
    """A model that scores by the amount."""

    class header:  # noqa: N801 - as `Model` has it
        features = ("amount_minor", "card_count_10m")

    def score(self, rows: Sequence[Mapping[str, FactValue]]) -> list[int]:
        return [min(1_000, int(each["amount_minor"]) // 50) for each in rows]  # type: ignore[arg-type]


def test_a_models_scores_take_the_place_of_stored_ones() -> None:
    dice = random.Random(5)
    rules = compile_rules(read_rules(document(rule("scored", "model_score > 900"))))
    rows = [
        then(facts_with(amount_minor=45_100, model_known=True, model_score=10), dice, outcome=1),
        then(facts_with(amount_minor=10, model_known=True, model_score=990), dice, outcome=1),
        then(facts_with(amount_minor=45_100), dice, outcome=1, absent=["model"]),
    ]
    stored = [each.declines for each in Rejudging(rules).take(rows)]
    scored = [each.declines for each in Rejudging(rules, Halved()).take(rows)]  # type: ignore[arg-type]
    assert stored == [False, True, False]
    assert scored == [True, False, True]


def test_counters_of_one_process_alone_are_read_by_rules_that_may() -> None:
    dice = random.Random(6)
    text = document(
        rule("local", "card_count_1m > 3", without_facts="local"),
        rule("passes", "card_count_1m > 2", "review"),
    )
    facts = facts_with(amount_minor=1, card_known=True, card_lists=[], card_count_1m=4)
    rejudging = Rejudging(compile_rules(read_rules(text)))
    there, away = rejudging.take([then(facts, dice), then(facts, dice, absent=["counters"])])
    assert (there.fired, away.fired) == (("local", "passes"), ("local",))
    assert rejudging.report.missing == {}


def test_facts_that_stored_judgements_lack_are_named_and_counted() -> None:
    dice = random.Random(7)
    known = facts_with(amount_minor=1, card_known=True, card_lists=[])
    unknown = facts_with(amount_minor=1)
    without_hour = {name: value for name, value in unknown.items() if name != "hour"}
    rejudging = Rejudging(compile_rules(read_rules(document(rule("x", "card_count_1m > 3 || hour < 2")))))
    rows = [
        then(known, dice), then(known, dice), then(unknown, dice), then(without_hour, dice),
        then(known, dice, absent=["counters"]),
    ]  # fmt: skip
    rejudging.take(rows)
    assert rejudging.report.missing == {"card_count_1m": 2, "hour": 1}


def test_what_lists_declined_they_decline_again() -> None:
    dice = random.Random(8)
    facts = facts_with(amount_minor=1, user_known=True, user_lists=["bad"])
    rows = [
        then(facts, dice, outcome=4, response_code="59", fired=["list:bad"]),
        then(facts, dice, outcome=3, response_code="61", fired=["list:bad"]),
        then(facts, dice, outcome=1, response_code="", fired=[]),
    ]
    judged = Rejudging(compile_rules(read_rules(document()))).take(rows)
    assert [each.outcome for each in judged] == [Outcome.DECLINE, Outcome.STEP_UP, Outcome.PASS]
    assert judged[0].fired == ("list:bad",)
    assert judged[0].reason == "this account is blocked"


def test_whom_lists_spared_they_spare_again() -> None:
    rules = compile_rules(read_rules(document(rule("busy", "card_known && amount_minor > 5", "score", score=950))))
    facts = facts_with(amount_minor=9, card_known=True, card_lists=["friends"])
    spared = rules.judge(facts, Standing({}, allowed=frozenset({Subject.CARD})))
    assert (spared.outcome, spared.fired) == (Outcome.PASS, ("allow:card", "busy"))
    quiet = rules.judge(facts | {"amount_minor": 1}, Standing({}, allowed=frozenset({Subject.CARD})))
    assert (quiet.outcome, quiet.fired) == (Outcome.PASS, ("allow:card",))
    dice = random.Random(10)
    rows = [
        then(facts, dice, outcome=spared.outcome, fired=spared.fired, label=None),
        then(facts, dice, outcome=Outcome.PASS, fired=("busy",), label=None),
    ]
    again = Rejudging(rules).take(rows)
    assert [each.outcome for each in again] == [Outcome.PASS, Outcome.DECLINE]
    assert again[0].fired == spared.fired


def test_a_real_model_scores_in_batches_what_it_scores_one_by_one() -> None:
    model = load_model(content())
    dice = random.Random(9)
    payments = [facts_with(**each) for each in facts_of(300)]
    rules = compile_rules(
        read_rules(document(rule("scored", "model_score > 300"), rule("seen", "model_known", "review")))
    )
    judged = Rejudging(rules, model).take([then(each, dice) for each in payments])
    alone = [model.score([each])[0] for each in payments]
    assert [each.model_score for each in judged] == alone
    assert [each.declines for each in judged] == [score > 300 for score in alone]
    assert 0 < sum(each.declines for each in judged) < 300
    assert all("seen" in each.fired for each in judged)
