"""The order of channels, and the one line that explains it."""

import re
from collections import Counter
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_scene import READY, decide, plan_from, table_from

from switch.domain.states import Operation
from switch.routing.choose import LONGEST_EXPLANATION, ChannelFacts, Picture, and_then, choose
from switch.routing.examples import request_of
from switch.routing.live import plan_of_settings
from switch.routing.plan import Example, Fee
from switch.routing.table import RoutingTable

TWO = ["unionpay", "issuer:bank"]
UNREADY = replace(READY, ready=False)


def table_for(**rule):
    fields = rule.pop("plan", {})
    return table_from(plan_from(rules=[{"name": "all", "channels": TWO} | rule], **fields))


def test_channels_come_as_listed():
    route = decide(table_for())
    assert route.channels == ("unionpay", "issuer:bank")
    assert route.explanation == "plan 7, rule all: unionpay then issuer:bank"


def test_what_is_not_ready_comes_last_and_is_named():
    route = decide(table_for(), facts={"unionpay": UNREADY})
    assert route.channels == ("issuer:bank", "unionpay")
    assert route.explanation == "plan 7, rule all: issuer:bank then unionpay (unionpay not ready)"


@pytest.mark.parametrize(
    ("facts", "example", "reason"),
    [
        (None, {}, "unionpay unknown"),
        (ChannelFacts(frozenset({Operation.REFUND}), True, True), {}, "unionpay has no sale"),
        (ChannelFacts(frozenset({Operation.SALE}), False, True), {"pin": True}, "unionpay takes no PIN"),
    ],
)
def test_what_cannot_serve_is_passed_over_with_its_reason(facts, example, reason):
    route = decide(table_for(), facts={"unionpay": facts}, **example)
    assert route.channels == ("issuer:bank",)
    assert route.explanation == f"plan 7, rule all: issuer:bank ({reason})"


def test_none_can_serve():
    route = decide(table_for(), facts=dict.fromkeys(TWO))
    assert (route.channels, route.refusal) == ((), "40")
    assert route.explanation == "plan 7, rule all: none can serve (unionpay unknown, issuer:bank unknown)"


def test_no_rule_fits():
    route = decide(table_for(when={"pan_prefix": ["4"]}))
    assert (route.channels, route.refusal, route.explanation) == ((), "15", "plan 7: no rule fits")


def test_a_channel_has_hours_of_its_own():
    table = table_for(channels=[{"name": "unionpay", "hours": ["daily 02:00-04:00"]}, "issuer:bank"])
    assert decide(table, at="2026-01-05T03:59").channels == ("unionpay", "issuer:bank")
    route = decide(table, at="2026-01-05T04:00")
    assert route.channels == ("issuer:bank",)
    assert "unionpay outside its hours" in route.explanation


# --- contracts and costs ----------------------------------------------------------------------------------------------


def contract(channel, **fields):
    return {"name": f"c{len(str(fields))}", "channel": channel} | fields


def test_with_contracts_a_channel_serves_only_under_one():
    contracts = [contract("unionpay", merchants=["m1"]), contract("issuer:bank")]
    table = table_for(plan={"contracts": contracts})
    assert decide(table, merchant="m1").channels == ("unionpay", "issuer:bank")
    route = decide(table, merchant="m2")
    assert route.channels == ("issuer:bank",)
    assert "unionpay no contract" in route.explanation
    assert decide(table, merchant="m1", currency="USD").refusal == "40"


@pytest.mark.parametrize(
    ("merchant", "acquirer", "fee"), [("m1", "a1", 1), ("m1", "a2", 2), ("m2", "a1", 3), ("m2", "a2", 4)]
)
def test_the_most_particular_contract_counts(merchant, acquirer, fee):
    contracts = [
        contract("unionpay", fee={"fixed_minor": 4}),
        contract("unionpay", acquirers=["a1"], fee={"fixed_minor": 3}),
        contract("unionpay", merchants=["m1"], fee={"fixed_minor": 2}),
        contract("unionpay", merchants=["m1"], acquirers=["a1"], fee={"fixed_minor": 1}),
    ]
    table = table_for(plan={"contracts": contracts})
    found = table.contracts.find("unionpay", request_of(Example(card="62", merchant=merchant, acquirer=acquirer)))
    assert found.fee.of(0) == fee


def test_the_cheapest_comes_first_and_what_the_others_cost_is_said():
    contracts = [
        contract("unionpay", fee={"basis_points": 60}),
        contract("issuer:bank", fee={"basis_points": 20, "minimum_minor": 50}),
    ]
    table = table_for(order="cost", plan={"contracts": contracts})
    large = decide(table, amount_minor=100_000)
    assert large.channels == ("issuer:bank", "unionpay")
    assert large.explanation == ("plan 7, rule all by cost: issuer:bank then unionpay (unionpay costs 600 against 200)")
    assert decide(table, amount_minor=1_000).channels == ("unionpay", "issuer:bank")
    # It costs the same: as listed. And cheap is not better than ready.
    assert decide(table, amount_minor=8_333).channels == ("unionpay", "issuer:bank")
    assert decide(table, amount_minor=100_000, facts={"issuer:bank": UNREADY}).channels[0] == "unionpay"


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 999_999_999_999))
def test_fees_are_exact(basis_points, fixed, amount):
    fee = Fee(basis_points=basis_points, fixed_minor=fixed).of(amount)
    # Within half a unit of the exact value, which is above when it lies in the middle.
    assert -5_000 <= (fee - fixed) * 10_000 - amount * basis_points - 1 < 5_000


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weights_are_shares_of_the_ids():
    choices = [{"name": name, "weight": weight} for name, weight in (("unionpay", 7), ("wechat", 2), ("alipay", 1))]
    table = table_for(order="weight", channels=choices)
    orders = Counter(decide(table, draw=draw).channels for draw in range(10_000))
    firsts = Counter()
    for order, count in orders.items():
        firsts[order[0]] += count
    assert firsts == {"unionpay": 7_000, "wechat": 2_000, "alipay": 1_000}
    # The second place is drawn by weight, too: of those that did not begin with UnionPay nearly all follow with it.
    assert orders["wechat", "unionpay", "alipay"] > 5 * orders["wechat", "alipay", "unionpay"] > 0


def test_a_weight_leaves_with_its_channel():
    choices = [{"name": "unionpay", "weight": 9}, {"name": "wechat", "weight": 1}]
    table = table_for(order="weight", channels=choices)
    assert {decide(table, draw=n, facts={"unionpay": None}).channels for n in range(10)} == {("wechat",)}


@given(st.integers(0, 2**128 - 1))
def test_the_same_id_decides_the_same(identity):
    choices = [{"name": "unionpay", "weight": 5}, {"name": "wechat", "weight": 5}]
    table = table_for(order="weight", channels=choices)
    request, failing = request_of(Example(card="62")), replace(READY, failing_percent=10)
    look = {"unionpay": failing, "wechat": READY}.get
    first, again = (choose(table, request, UUID(int=identity), 0, Picture(look)) for _ in range(2))
    assert first == again


# --- success ----------------------------------------------------------------------------------------------------------


def test_what_fails_comes_behind_but_is_probed():
    table = table_for(plan={"success": {"least_percent": 80, "probe_percent": 10}})
    failing = {"unionpay": replace(READY, failing_percent=42)}
    routes = Counter(decide(table, draw=n << 44, facts=failing).explanation for n in range(100))
    assert routes == {
        "plan 7, rule all: issuer:bank then unionpay (unionpay at 42 % success)": 90,
        "plan 7, rule all: unionpay then issuer:bank (unionpay probed at 42 % success)": 10,
    }


def test_what_fails_is_still_better_than_what_is_not_ready():
    table = table_for(plan={"success": {"least_percent": 80}})
    facts = {"unionpay": UNREADY, "issuer:bank": replace(READY, failing_percent=42)}
    assert decide(table, draw=99 << 44, facts=facts).channels == ("issuer:bank", "unionpay")


# --- the batch --------------------------------------------------------------------------------------------------------


def test_a_picture_looks_at_each_channel_once():
    looked = Counter()

    def look(name):
        looked[name] += 1
        return READY

    table, picture = table_for(), Picture(look)
    requests = [request_of(Example(card="62", pin=pin, operation=each)) for pin in (True, False)
                for each in ("sale", "pre_authorization")]  # fmt: skip
    for number, request in enumerate(requests * 3):
        assert choose(table, request, UUID(int=number), 0, picture).channels == tuple(TWO)
    assert looked == dict.fromkeys(TWO, 1)


def test_what_a_batch_remembers_differs_by_operation_and_pin():
    no_pin_no_hold = ChannelFacts(frozenset({Operation.SALE}), False, True)
    table, picture = table_for(), Picture({"unionpay": no_pin_no_hold, "issuer:bank": READY}.get)
    cases = [(False, "sale", 2), (True, "sale", 1), (False, "pre_authorization", 1), (False, "sale", 2)]
    for pin, operation, count in cases:
        request = request_of(Example(card="62", pin=pin, operation=operation))
        assert len(choose(table, request, UUID(int=0), 0, picture).channels) == count


# --- the line ---------------------------------------------------------------------------------------------------------


def test_the_line_is_bounded():
    names = [f"issuer:{'x' * 60}{n}" for n in range(16)]
    table = table_for(name="n" * 64, channels=names)
    route = decide(table, facts=dict.fromkeys(names, UNREADY))
    assert len(route.channels) == 16
    assert len(route.explanation) == LONGEST_EXPLANATION
    later = route.explanation
    for name in names:
        later = and_then(later, f"{name} could not serve")
    assert len(later) == LONGEST_EXPLANATION


@given(st.text("0123456789", min_size=8, max_size=8))
def test_the_line_shows_no_digit_of_the_card(tail):
    pan = f"6225{tail}0005"
    request = request_of(Example(card="6225"))
    request.credential = type(request.credential)(type(request.credential.pan)(pan))
    table = table_for(when={"pan_prefix": ["62"]})
    route = choose(table, request, UUID(int=0), 0, Picture({"unionpay": READY}.get))
    assert not re.search(r"\d{3}", route.explanation)


# --- the settings' routes ---------------------------------------------------------------------------------------------


class Plain:
    def __init__(self, name, channels, pan_prefix=None, scheme=None):
        self.name, self.channels, self.pan_prefix, self.scheme = name, channels, pan_prefix, scheme


def test_of_the_settings_routes_the_longest_prefix_counts_and_codes_are_no_cards():
    table = RoutingTable(
        plan_of_settings(
            [
                Plain("cards", ["unionpay"], pan_prefix=""),
                Plain("own", ["issuer:bank", "unionpay"], pan_prefix="6259"),
                Plain("codes", ["unionpay"], scheme="unionpay"),
            ]
        )
    )
    assert decide(table, card="6259").explanation == "plan 0, rule own: issuer:bank then unionpay"
    assert decide(table, card="6258").explanation == "plan 0, rule cards: unionpay"
    assert decide(table, code_scheme="unionpay").explanation == "plan 0, rule codes: unionpay"
    assert decide(table, code_scheme="alipay").refusal == "15"


def test_the_settings_routes_may_say_what_a_plan_may_not():
    """They were good before there were plans: long names, many digits in them, no expectation."""
    table = RoutingTable(plan_of_settings([Plain("n" * 100 + "1" * 20, ["unionpay"], pan_prefix="")]))
    assert decide(table).channels == ("unionpay",)
