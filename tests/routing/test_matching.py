"""Which rule decides: against a plain reading of the conditions, and what of a plan can be reached."""

import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from routing_scene import BINS, SHA256, plan_from, table_from

from switch.domain.authorization import AuthorizationRequest, CodeCredential
from switch.domain.states import EntryMode
from switch.routing.bins import BinTable
from switch.routing.cases import is_covered
from switch.routing.examples import request_of, time_ms_of
from switch.routing.hours import minute_of_week, read_hours
from switch.routing.plan import ENTRIES, OPERATIONS, Example, When, category_range

TABLE = BinTable(BINS)


def holds(when: When, asked: AuthorizationRequest, time_ms: int) -> bool:
    """Every condition, as docs/routing.md words it."""
    credential = asked.credential
    scheme = credential.scheme if isinstance(credential, CodeCredential) else None
    pan = None if isinstance(credential, CodeCredential) else credential.pan.reveal()
    found = TABLE.find(pan) if pan else None
    if when.of_cards and pan is None:
        return False
    if when.of_bins and found is None:
        return False
    money = asked.money
    return all(
        (
            not when.code_scheme or scheme in when.code_scheme,
            not when.pan_prefix or (pan or "").startswith(when.pan_prefix),
            not when.card_scheme or found.scheme in when.card_scheme,
            not when.issuer or found.issuer in when.issuer,
            not when.card_type or found.type in when.card_type,
            not when.country or found.country in when.country,
            not when.entry or asked.entry in {ENTRIES[name] for name in when.entry},
            not when.operation or asked.operation in {OPERATIONS[name] for name in when.operation},
            not when.currency or money.currency in when.currency,
            when.amount_from_minor is None or money.amount_minor >= when.amount_from_minor,
            when.amount_to_minor is None or money.amount_minor <= when.amount_to_minor,
            not when.merchant or asked.merchant.id in when.merchant,
            not when.category
            or any(a <= int(asked.merchant.category_code) <= b for a, b in map(category_range, when.category)),
            not when.acquirer or asked.acquirer_id in when.acquirer,
            not when.hours or read_hours(when.hours).hold(minute_of_week(time_ms)),
        )
    )


def some(*values: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True)


WHENS = st.fixed_dictionaries(
    {},
    optional={
        "card": st.just(True),
        "pan_prefix": some("6", "62", "6225", "62258", "4"),
        "card_scheme": some("unionpay", "visa"),
        "issuer": some("cmb", "icbc"),
        "card_type": some("debit", "credit"),
        "country": some("CN", "US"),
        "code_scheme": some("alipay", "wechat"),
        "entry": some("nfc", "payer_code", "keyed"),
        "operation": some("sale", "pre_authorization"),
        "currency": some("CNY", "USD"),
        "amount_from_minor": st.integers(0, 5),
        "amount_to_minor": st.integers(0, 5),
        "merchant": some("m1", "m2"),
        "category": some("5411", "5000-5999", "0000-4999"),
        "acquirer": some("a1"),
        "hours": some("mon 12:00-13:00", "daily 00:00-12:00"),
    },
)
EXAMPLES = st.fixed_dictionaries(
    {
        "entry": st.sampled_from(["nfc", "payer_code", "keyed", "bluetooth"]),
        "operation": st.sampled_from(["sale", "pre_authorization", "order"]),
        "currency": st.sampled_from(["CNY", "USD", "JPY"]),
        "amount_minor": st.integers(0, 6),
        "merchant": st.sampled_from(["m1", "m2", "m3"]),
        "category": st.sampled_from(["5411", "5999", "4999", "0000"]),
        "acquirer": st.sampled_from(["a1", "a2"]),
        "at": st.sampled_from(["2026-01-05T11:59", "2026-01-05T12:00", "2026-01-05T13:00", "2026-01-06T12:30"]),
    }
)
PRESENTED = st.one_of(
    st.fixed_dictionaries({"card": st.sampled_from(["622588", "6225", "62", "61", "4", "5", "622580"])}),
    st.fixed_dictionaries({"code_scheme": st.sampled_from(["alipay", "wechat", "unionpay"])}),
)


@given(st.lists(WHENS, min_size=1, max_size=4), st.lists(st.tuples(EXAMPLES, PRESENTED), min_size=1, max_size=8))
@example([{"amount_from_minor": 1, "amount_to_minor": 0}], [({"amount_minor": n}, {"card": "62"}) for n in range(3)])
@settings(max_examples=300, deadline=None)
def test_the_first_rule_whose_conditions_hold_decides(whens: list[dict[str, Any]], payments: list[Any]) -> None:
    rules = [{"name": f"r{n}", "when": when, "channels": ["unionpay"]} for n, when in enumerate(whens)]
    plan = plan_from(rules=rules, bins=[{"name": "main", "sha256": SHA256}])
    table = table_from(plan)
    for fields, presented in payments:
        example = Example(**fields, **presented)
        request, time_ms = request_of(example), time_ms_of(example)
        expected = next((n for n, rule in enumerate(plan.rules) if holds(rule.when, request, time_ms)), None)
        for _ in range(2):  # the second time it is remembered
            found = table.rule_for(request, time_ms)
            assert (None if found is None else found.index) == expected


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switch.routing.table._MOST_REMEMBERED", 4)
    merchants = [f"m{n}" for n in range(10)]
    rules = [{"name": each, "when": {"merchant": [each]}, "channels": ["unionpay"]} for each in merchants]
    table = table_from(plan_from(rules=rules))
    for merchant in merchants * 2:
        rule = table.rule_for(request_of(Example(card="62", merchant=merchant)), 0)
        assert rule is not None
        assert merchants[rule.index] == merchant
        assert len(table._remembered) <= 4


def test_a_bluetooth_handover_may_carry_a_card_or_a_code() -> None:
    rules = [
        {"name": "card", "when": {"card": True, "entry": ["bluetooth"]}, "channels": ["unionpay"]},
        {"name": "code", "when": {"code_scheme": ["alipay"], "entry": ["bluetooth"]}, "channels": ["alipay"]},
    ]
    table = table_from(plan_from(rules=rules))
    card, code = Example(card="62", entry="bluetooth"), Example(code_scheme="alipay", entry="bluetooth")
    assert request_of(card).entry is EntryMode.BLUETOOTH
    assert [table.rule_for(request_of(each), 0).index for each in (card, code)] == [0, 1]


# --- what can be reached ----------------------------------------------------------------------------------------------

SIDES = st.frozensets(st.integers(0, 2))
BOXES = st.tuples(SIDES, SIDES, SIDES)


@given(BOXES, st.lists(BOXES, max_size=6))
@settings(max_examples=400)
def test_a_box_is_covered_if_every_point_of_it_is(box: Any, others: list[Any]) -> None:
    points = list(itertools.product(*box))
    inside = [any(all(value in side for value, side in zip(p, other, strict=True)) for other in others) for p in points]
    assert is_covered(box, others) == (bool(points) and all(inside))


def test_too_large_a_question_is_answered_with_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switch.routing.cases._MOST_STEPS", 2)
    whole = frozenset(range(10))
    assert not is_covered((whole, whole), [(frozenset({n}), whole) for n in range(10)])
