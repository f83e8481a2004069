"""Everything for which a plan does not go live, each with its place and its reason."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from routing_scene import SHA256, judge, plan_from

from switch.routing.document import PlanRefused, read_plan
from switch.routing.plan import Choice, Contract, Expectation, Fee, Plan, Rule, Success, When

PARTS = (Plan, Rule, When, Choice, Contract, Fee, Success, Expectation)
NAMES = sorted({name for part in PARTS for name in part.model_fields})
EXPECT = {"name": "a card", "card": "6225", "first": "unionpay"}
MAIN = [{"name": "main", "sha256": SHA256}]


def rule(name="all", channels=("unionpay",), **fields):
    return {"name": name, "channels": list(channels)} | fields


def refusals(**fields):
    with pytest.raises(PlanRefused) as caught:
        judge(plan_from(**{"expect": [EXPECT]} | fields))
    return caught.value.cause, [str(each) for each in caught.value.faults]


def test_a_good_plan_is_taken():
    table = judge(plan_from(expect=[EXPECT]))
    assert (table.version, table.plan.name) == (7, "test")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (
            {"rules": [rule(channels=["unionpay", "visa"])]},
            "rules[0].channels[1]: there is no channel 'visa'; there are alipay, issuer:bank, unionpay, wechat",
        ),
        ({"rules": [rule(channels=["unionpay", "unionpay"])]}, "rules[0].channels[1]: unionpay is named twice"),
        ({"rules": [rule(when={"pan_prefix": ["4"]}), rule()]}, "rules[1].name: another rule has this name"),
        # contradictions
        (
            {"rules": [rule(when={"pan_prefix": ["62"], "code_scheme": ["alipay"]})]},
            "rules[0].when: conditions of cards and of payment codes: no payment is both",
        ),
        (
            {"rules": [rule(when={"code_scheme": ["alipay"], "entry": ["nfc", "keyed"]})]},
            "rules[0].when.entry: conditions of payment codes, but only cards come this way",
        ),
        (
            {"rules": [rule(when={"amount_from_minor": 2, "amount_to_minor": 1, "currency": ["CNY"]})]},
            "rules[0].when: amount_from_minor is above amount_to_minor",
        ),
        (
            {"rules": [rule(when={"amount_from_minor": 2})]},
            "rules[0].when: an amount means something in one currency only: give exactly one",
        ),
        (
            {"rules": [rule(when={"amount_to_minor": 2, "currency": ["CNY", "USD"]})]},
            "rules[0].when: an amount means something in one currency only: give exactly one",
        ),
        (
            {
                "rules": [
                    rule(
                        when={"hours": ["mon 09:00-10:00"]},
                        channels=["alipay", {"name": "unionpay", "hours": ["tue 09:00-10:00"]}],
                    )
                ]
            },
            "rules[0].channels[1].hours: never within the hours of the rule",
        ),
        (
            {"rules": [rule(when={"card_type": ["debit"]})]},
            "rules[0].when: asks what only a BIN table says, and the plan has none",
        ),
        (
            {"rules": [rule(when={"card_type": ["prepaid"]})], "bins": MAIN},
            "rules[0].when: no payment can meet its conditions of card_scheme, issuer, card_type, country",
        ),
        (
            {"rules": [rule(when={"card_scheme": ["visa"], "card_type": ["debit"]})], "bins": MAIN},
            "rules[0].when: no payment can meet its conditions of card_scheme, issuer, card_type, country",
        ),
        # reachability
        ({"rules": [rule(), rule("late")]}, "rules[1]: can never be reached: rules before it take all its payments"),
        (
            {"rules": [rule(when={"pan_prefix": ["62"]}), rule("late", when={"pan_prefix": ["6225"]})]},
            "rules[1]: can never be reached: rules before it take all its payments",
        ),
        (
            {
                "rules": [
                    rule("low", when={"currency": ["CNY"], "amount_to_minor": 99}),
                    rule("high", when={"currency": ["CNY"], "amount_from_minor": 100}),
                    rule("yuan", when={"currency": ["CNY"], "merchant": ["m1"]}),
                ]
            },
            "rules[2]: can never be reached: rules before it take all its payments",
        ),
        (
            {
                "rules": [
                    rule("day", when={"hours": ["daily 08:00-20:00"]}),
                    rule("night", when={"hours": ["daily 20:00-08:00"]}),
                    rule("rest"),
                ]
            },
            "rules[2]: can never be reached: rules before it take all its payments",
        ),
        # BIN tables
        ({"bins": [*MAIN, {"name": "other", "sha256": SHA256}]}, "bins[1]: the table other is not at hand"),
        ({"bins": MAIN * 2}, "bins[1].name: main is named twice"),
        # weights
        (
            {"rules": [rule(order="weight", channels=[{"name": "unionpay", "weight": 1}, "alipay"])]},
            "rules[0].channels[1]: the rule orders by weight, and this channel has none",
        ),
        (
            {"rules": [rule(channels=[{"name": "unionpay", "weight": 1}])]},
            "rules[0].channels[0]: a weight, but the rule orders by listed",
        ),
        # contracts and costs
        (
            {"contracts": [{"name": "c", "channel": "unionpay"}, {"name": "v", "channel": "visa"}]},
            "contracts[1].channel: there is no channel 'visa'; there are alipay, issuer:bank, unionpay, wechat",
        ),
        (
            {"contracts": [{"name": "c", "channel": "alipay"}]},
            "rules[0].channels[0]: unionpay has no contract: it could never be used",
        ),
        (
            {
                "contracts": [
                    {"name": "a", "channel": "unionpay", "merchants": ["m1", "m2"]},
                    {"name": "b", "channel": "unionpay", "merchants": ["m2"]},
                ]
            },
            "contracts[1]: contracts[0] is for m2 on unionpay in CNY, too",
        ),
        (
            {"contracts": [{"name": "a", "channel": "unionpay"}] * 2},
            "contracts[1]: contracts[0] is for all on unionpay in CNY, too",
        ),
        (
            {"rules": [rule(order="cost", channels=["unionpay", "alipay"])]},
            "rules[0].order: by cost, but no contract of the plan says what a channel costs",
        ),
        (
            {
                "rules": [rule(order="cost", channels=["unionpay", "alipay"])],
                "contracts": [
                    {"name": "a", "channel": "unionpay", "fee": {"basis_points": 1}},
                    {"name": "b", "channel": "alipay"},
                ],
            },
            "contracts[1].fee: is missing: rules[0] orders alipay by cost",
        ),
        # expectations
        ({"expect": []}, "expect: a plan without expectations is not tested: state at least one"),
        (
            {"expect": [EXPECT | {"first": "alipay"}]},
            "expect[0]: a card: should be alipay, but: plan 7, rule all: unionpay",
        ),
        (
            {"rules": [rule(when={"pan_prefix": ["4"]})]},
            "expect[0]: a card: should be unionpay, but: plan 7: no rule fits",
        ),
        (
            {"expect": [{"name": "none", "card": "6225", "refused": "40"}]},
            "expect[0]: none: should be refused with 40, but: plan 7, rule all: unionpay",
        ),
        (
            {"expect": [EXPECT | {"unready": ["visa"]}]},
            "expect[0]: there is no channel 'visa'; there are alipay, issuer:bank, unionpay, wechat",
        ),
        (
            {
                "rules": [
                    rule(
                        order="weight",
                        channels=[{"name": "unionpay", "weight": 999}, {"name": "alipay", "weight": 1}],
                    )
                ]
            },
            "expect[0]: a card: should be unionpay, but: plan 7, rule all by weight: alipay then unionpay",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(fields, fault):
    cause, faults = refusals(**fields)
    assert faults == [fault]
    assert cause == ("expectation" if fault.startswith("expect") else "rules")


def test_expectations_see_every_draw_hours_pins_and_channels_that_are_down():
    judge(
        plan_from(
            rules=[
                rule("night", when={"hours": ["daily 00:00-06:00"]}, channels=["alipay"]),
                rule(
                    "day",
                    order="weight",
                    channels=[{"name": "unionpay", "weight": 999}, {"name": "issuer:bank", "weight": 1}],
                ),
            ],
            expect=[
                {"name": "1", "card": "6225", "first": ["unionpay", "issuer:bank"]},
                {"name": "2", "card": "6225", "unready": ["unionpay"], "first": "issuer:bank", "pin": True},
                {"name": "3", "card": "6225", "at": "2026-01-05T05:59", "first": "alipay"},
            ],
        )
    )


def test_all_faults_are_told_at_once():
    _, faults = refusals(rules=[rule(channels=["visa"]), rule(channels=["amex"])])
    assert len(faults) == 3


def test_contracts_are_bounded(monkeypatch):
    monkeypatch.setattr("switch.routing.check.MOST_CONTRACT_KEYS", 3)
    contract = {"name": "c", "channel": "unionpay", "merchants": ["a", "b"], "acquirers": ["x", "y"]}
    assert refusals(contracts=[contract])[1] == ["contracts: for more than 3 pairs of merchants and acquirers"]


# --- the document -----------------------------------------------------------------------------------------------------

TOML = """
name = "autumn"
[success]
least_percent = 80
[[rules]]
name = "debit below 1,000"
order = "cost"
channels = ["unionpay", { name = "alipay", hours = ["daily 08:00-20:00"] }]
[rules.when]
pan_prefix = ["62"]
currency = ["CNY"]
amount_to_minor = 100000
[[contracts]]
name = "for all"
channel = "unionpay"
fee = { basis_points = 38, maximum_minor = 2000 }
[[expect]]
name = "a debit card"
card = "622588"
first = "unionpay"
"""


def test_a_plan_is_read():
    plan = read_plan(TOML)
    assert plan.rules[0].channels[1].hours == ("daily 08:00-20:00",)
    assert plan.contracts[0].fee.of(100_000) == 380
    assert read_plan(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    ("content", "cause", "fault"),
    [
        ("name = ", "syntax", "neither TOML nor JSON: Invalid value (at end of document)"),
        ('{"name": ', "syntax", "neither TOML nor JSON: Expecting value: line 1 column 10 (char 9)"),
        ('{"a":' * 100_000, "syntax", "nested too deep"),
        ("", "shape", "name: Field required\nrules: Field required"),
        (TOML.replace("pan_prefix", "pan_prefixes"), "shape", "rules[0].when.pan_prefixes: Extra inputs"),
        (TOML.replace('"cost"', '"costs"'), "shape", "rules[0].order: Input should be 'listed', 'weight' or 'cost'"),
        (TOML.replace("08:00", "8:00"), "shape", "rules[0].channels[1].hours: must read like"),
        (TOML.replace('["CNY"]', '["XXX"]'), "shape", "rules[0].when.currency[0]: must be one of AED"),
        (TOML.replace("100000", "-1"), "shape", "rules[0].when.amount_to_minor: Input should be greater"),
        (TOML.replace("100000", "1.0"), "shape", "rules[0].when.amount_to_minor: Input should be a valid integer"),
        (TOML.replace("= 38", "= 10001"), "shape", "contracts[0].fee.basis_points: Input should be less"),
        (TOML.replace("= 38", "= 38, minimum_minor = 2001"), "shape", "contracts[0].fee: maximum_minor is below"),
        (TOML.replace("= 80", "= 95"), "shape", "success: recovered_percent is below least_percent"),
        (TOML.replace("622588", "622588123456"), "shape", "expect[0].card: String should match pattern"),
        (TOML.replace('card = "622588"', ""), "shape", "expect[0]: exactly one of card and code_scheme"),
        (TOML.replace('first = "unionpay"', ""), "shape", "expect[0]: exactly one of first and refused"),
        (TOML + 'at = "2026-13-01T00:00"', "shape", "expect[0].at: month must be in 1..12"),
        (
            TOML.replace("debit below", "622588123456"),
            "shape",
            "rules[0].name: must be printable and without 12",
        ),
        (TOML + '[[bins]]\nname = "main"\nsha256 = "abc"\n', "shape", "bins[0].sha256: String should match pattern"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(content, cause, fault):
    with pytest.raises(PlanRefused) as caught:
        read_plan(content)
    assert caught.value.cause == cause
    assert fault in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["unionpay", "all", "CNY"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner),
    max_leaves=20,
)


@given(JSON | st.dictionaries(st.sampled_from(NAMES), JSON))
@settings(deadline=None)
def test_any_document_is_taken_or_refused_with_a_reason(parsed):
    reason = "taken"
    try:
        judge(read_plan(json.dumps({"name": "x"} | parsed if isinstance(parsed, dict) else parsed)))
    except PlanRefused as error:
        reason = str(error)
    assert reason


def test_weights_are_bounded():
    channels = [{"name": name, "weight": 501} for name in ("unionpay", "alipay")]
    content = plan_from().model_dump(mode="json") | {"rules": [rule(order="weight", channels=channels)]}
    with pytest.raises(ValueError, match="the weights add up to more than 1000"):
        plan_from(**content)


def test_a_plan_is_bounded(monkeypatch):
    monkeypatch.setattr("switch.routing.document.LARGEST_BYTES", 100)
    with pytest.raises(PlanRefused, match="larger than 100 bytes"):
        read_plan(TOML)


def test_a_long_list_of_faults_is_cut():
    with pytest.raises(PlanRefused) as caught:
        read_plan("name = 1\n" + "[[rules]]\n" * 30)
    assert str(caught.value).splitlines()[-1].endswith("more")
    assert len(str(caught.value).splitlines()) == 21
