"""A rule set is refused with the place and the reason of everything that is wrong with it, all at once."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from switch.domain.response_codes import RESPONSE_CODES
from switch.domain.risk import Action, Mode, WithoutFacts
from switch.risk import document
from switch.risk.check import check_rules
from switch.risk.conditions import LONGEST_CONDITION
from switch.risk.document import DECLINE_CODES, MOST_RULES, RulesRefused, read_rules
from switch.risk.facts import FACTS
from switch.risk.facts_page import page
from switch.risk.rules import compile_rules
from switch.risk.starter import STARTER_FILE, starter_document, starter_rules

DOCS = Path(__file__).parents[2] / "docs"
COMMON = 'version = 1\nowner = "risk"\nreason = { en = "why", zh = "原因" }\n'


def rule(when: str, name: str = "one", rest: str = 'action = "review"') -> str:
    return f"[[rules]]\nid = \"{name}\"\nwhen = '''{when}'''\n{COMMON}{rest}\n"


def limit(rest: str, name: str = "one") -> str:
    return f'[[limits]]\nid = "{name}"\n{COMMON}{rest}\n'


def written(*parts: str) -> str:
    return 'name = "test"\n' + "".join(parts)


def faults(content: str) -> list[str]:
    with pytest.raises(RulesRefused) as refused:
        read_rules(content)
    return [str(each) for each in refused.value.faults]


CONDITIONS = {
    "type": ("amount_minor > 'x'", "1:14: found no matching overload for '_>_' applied to '(int, string)'"),
    "fact": ("amount_minr > 5", "1:1: there is no fact or function 'amount_minr'; the nearest is 'amount_minor'"),
    "fact in the second line": ("hour > 5 &&\n  acount > 2", "2:3: there is no fact or function 'acount'"),
    "function": ("pow(hour, 2) > 5", "1:4: there is no fact or function 'pow'"),
    "not bool": ("amount_minor", "1:1: is of type int, not bool"),
    "zero": ("amount_minor / 0 > 1", "1:14: divides by zero"),
    "computed zero": ("amount_minor % (2 * 3 - 6) > 1", "1:14: divides by zero"),
    "all": ("card_lists.all(x, x == 'a')", "1:15: all, exists, exists_one, map and filter are not for rules"),
    "exists": ("card_lists.exists(x, x == 'a')", "1:18: all, exists,"),
    "map": ("size(card_lists.map(x, x)) > 1", "1:20: all, exists,"),
    "filter": ("size(card_lists.filter(x, x == 'a')) > 1", "1:23: all, exists,"),
    "has": ("has({'a': hour}.a)", "1:4: fields, maps and messages are not for rules"),
    "map value": ("{'a': hour}['a'] > 1", "1:1: fields, maps and messages are not for rules"),
    "dyn": ("dyn(hour) == 5", "1:4: dyn is not for rules"),
    "type of": ("type(hour) == int", "1:5: type is not for rules"),
    "matches": ("entry.matches('(a+)+b')", "1:14: matches is not for rules"),
    "concatenation": ("entry + entry == 'nfcnfc'", "1:7: + is not for rules, or not for values of this type"),
    "double": ("double(hour) > 0.5", "1:7: double is not for rules"),
    "timestamp": ("timestamp('2026-01-01T00:00:00Z') > timestamp(hour)", "1:10: timestamp is not for rules"),
    "mixed list": ("hour in [1, 'a']", "1:9: a list holds constants of one type"),
    "computed list": ("hour in [weekday, 1]", "1:9: a list holds constants of one type"),
    "nothing": ("", "String should have at least 1 character"),
    "constant": ("1 < 2", "1:1: reads no fact: it holds always or never"),
    "unfinished": ("hour > (5", "1:10: Syntax error"),
    "deep": ("(" * 30 + "pin_given" + ")" * 30, "1:1: nested too deep"),
    "deeper": ("(" * 500 + "pin_given" + ")" * 500, "1:1: nested too deep"),
    "chain": ("hour" + " + hour" * 50 + " > 1", "1:1: nested too deep"),
    "card number": ("entry == '6225880000000000'", "1:10: 12 digits in a row"),
    "breaks out": ("pin_given) || (chip_known", "1:10: Syntax error"),
    "unprintable": ("hour > \u200b5", "1:8: a character that cannot be printed"),
    "too long": ("hour > 5 || " * 170 + "pin_given", "at most 2000 characters"),
    "too large": ("hour > 9223372036854775808", "1:8: invalid int literal"),
}  # fmt: skip


@pytest.mark.parametrize("what", CONDITIONS)
def test_a_condition_is_refused_with_its_place(what: str) -> None:
    when, wanted = CONDITIONS[what]
    found = faults(written(rule("hour > 1", "good"), rule(when)))
    assert found
    place = "rules[1].when" + (":" if wanted[0].isdigit() else ": ")
    assert found[0].startswith(place)
    assert wanted in found[0]


def test_positions_count_characters_not_bytes() -> None:
    [found] = faults(written(rule("merchant_country == '中国' && hours > 1")))
    assert found.startswith("rules[0].when:1:29: there is no fact or function 'hours'")


def test_every_fault_is_told_at_once() -> None:
    content = written(
        "colour = 1\n[thresholds]\nreview_at = 901\n",
        rule("hor > 1", "a", 'action = "score"'),
        rule("hour > 'x' && weekdy == 1", "a"),
        limit('per = "card"\ncount = 3', "a"),
        rule("hour > 1", "B", 'action = "decline"\nresponse_code = "00"'),
    )
    assert [each.partition(":")[0] for each in faults(content)] == [
        *("thresholds", "limits[0]", "rules[0]", "rules[2].id", "rules[2].response_code", "colour"),
        *("rules[0].id", "rules[1].id", "rules[0].when", "rules[1].when", "rules[1].when"),
    ]


DOCUMENTS: dict[str, tuple[str, str]] = {
    "no TOML": ("name =", "no TOML: Invalid value (at end of document)"),
    "nameless": (rule("hour > 1"), "name: Field required"),
    "an empty reason": (
        written(rule("hour > 1").replace("原因", "　")),
        "rules[0].reason.zh: must be printable, not empty",
    ),
    "no Chinese": (written(rule("hour > 1").replace(', zh = "原因"', "")), "rules[0].reason.zh: Field required"),
    "an unknown code": (
        written(rule("hour > 1", rest='action = "decline"\nresponse_code = "1A"')),
        "rules[0].response_code: must be one of 01,",
    ),
    "a code of a PIN": (
        written(rule("hour > 1", rest='action = "step_up"\nresponse_code = "55"')),
        "rules[0].response_code: must be one of 01,",
    ),
    "a score that is missing": (written(rule("hour > 1", rest='action = "score"')), "rules[0]: score is missing"),
    "a score without use": (
        written(rule("hour > 1", rest='action = "review"\nscore = 5')),
        "rules[0]: score means nothing with action review",
    ),
    "a limit without an amount": (written(rule("true", rest='action = "limit"')), "rules[0]: limit_minor is missing"),
    "a code of a review": (
        written(rule("hour > 1", rest='action = "review"\nresponse_code = "59"')),
        "rules[0]: response_code means nothing with action review",
    ),
    "an action": (written(rule("hour > 1", rest='action = "freeze"')), "rules[0].action: Input should be 'score',"),
    "a text for a number": (
        written(rule("hour > 1", rest='action = "score"\nscore = "5"')),
        "rules[0].score: Input should be a valid integer",
    ),
    "local of no counter": (
        written(rule("hour > 1", rest='action = "review"\nwithout_facts = "local"')),
        "rules[0].without_facts: local, but its condition reads no counter",
    ),
    "two limits in one": (written(limit("amount_minor = 5\ncount = 1")), "limits[0]: needs exactly one of"),
    "a count of nobody": (written(limit('window = "1h"\ncount = 1')), "limits[0]: count and sum_minor need window"),
    "a window of an amount": (
        written(limit('window = "1h"\namount_minor = 5')),
        "limits[0]: window means nothing with amount_minor",
    ),
    "a window": (written(limit('per = "card"\nwindow = "2h"\ncount = 1')), "limits[0].window: must be one of 1m, 10m"),
    "a pair that is not counted": (
        written(rule("card_ip_count_1h > 5")),
        "rules[0].when: card_ip_count_1h: payments of one card and one ip together are not counted here",
    ),
    "a limit of a pair that is not counted": (
        written(limit('per = "card_terminal"\nwindow = "1h"\ncount = 1')),
        "limits[0].per: payments of one card and one terminal together are not counted here",
    ),
    "a list of nobody": (written(limit('listed = "vip"\namount_minor = 5')), "limits[0]: listed needs per, one of"),
    "rules that are no tables": (written("rules = [1, 2]\n"), "rules[0]: Input should be a valid dictionary"),
    "rules that are no array": (written('rules = "x"\n'), "rules: Input should be a valid tuple"),
    "too long": ("#" * 1_000_001, "longer than 1,000,000 characters"),
    "nested": ("a = " + "[" * 5_000 + "]" * 5_000, "nested too deep"),
    "a huge number": ("a = " + "9" * 5_000, "no TOML: "),
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_a_document_is_refused_with_its_place(what: str) -> None:
    content, wanted = DOCUMENTS[what]
    found = faults(content)
    assert any(each.startswith(wanted) for each in found), found


def many(count: int, when: str = "hour > 1") -> str:
    return written(*(rule(when, f"r{at}") for at in range(count)))


def test_five_hundred_rules_are_read_and_one_more_is_not() -> None:
    rules = compile_rules(read_rules(many(MOST_RULES)))
    judged = rules.judge({"hour": 2})
    assert len(judged.fired) == MOST_RULES
    assert "rules: more than 500 rules and limits" in faults(many(MOST_RULES) + limit("amount_minor = 5", "more"))
    assert faults(many(MOST_RULES + 1))[-1] == "rules: more than 500 rules and limits"


def test_all_conditions_together_have_a_bound() -> None:
    longest = " || ".join(["card_count_1h > 100"] * 80)
    assert len(longest) < LONGEST_CONDITION
    fits, more = 100_000 // len(longest), 100_000 // len(longest) + 1
    rules = compile_rules(read_rules(many(fits, longest)))
    assert len(rules.judge({"card_known": True, "card_count_1h": 101}).fired) == fits
    assert faults(many(more, longest)) == ["rules: conditions of more than 100,000 characters together"]


def test_the_text_of_a_refusal_is_short_and_its_faults_are_whole() -> None:
    with pytest.raises(RulesRefused) as refused:
        read_rules(many(30, "hor > 1"))
    assert len(refused.value.faults) == 30
    assert str(refused.value).endswith("\nand 10 more")


# --- what limits come to ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "when", "action", "code"),
    [
        ("amount_minor = 500", 'currency == "CNY"', Action.LIMIT, "61"),
        (
            'per = "terminal"\ncurrency = "HKD"\namount_minor = 500\nresponse_code = "58"',
            'terminal_known && currency == "HKD"',
            Action.LIMIT,
            "58",
        ),
        (
            'per = "merchant"\nlisted = "small"\namount_minor = 500\naction = "review"',
            '"small" in merchant_lists && currency == "CNY" && amount_minor > 500',
            Action.REVIEW,
            "",
        ),
        (
            'entry = ["nfc", "bluetooth"]\nwithout_pin = true\namount_minor = 500\naction = "step_up"',
            'entry in ["nfc", "bluetooth"] && !pin_given && currency == "CNY" && amount_minor > 500',
            Action.STEP_UP,
            "61",
        ),
        ('per = "card"\nwindow = "10m"\ncount = 5', "card_count_10m > 5", Action.DECLINE, "65"),
        (
            'per = "card_merchant"\nwindow = "1d"\nsum_minor = 5\ncategory = ["7995"]',
            'merchant_category in ["7995"] && card_merchant_sum_1d > 5',
            Action.DECLINE,
            "61",
        ),
    ],
    ids=["amount", "currency", "listed", "contactless", "count", "sum"],
)
def test_a_limit_is_a_rule(rest: str, when: str, action: Action, code: str) -> None:
    content = written(limit(rest))
    compile_rules(read_rules(content))
    [made] = read_rules(content).all_rules()
    assert (made.when, made.action, made.response_code) == (when, action, code)
    assert made.limit_minor == (500 if action is Action.LIMIT else 0)


# --- what comes with the house ----------------------------------------------------------------------------------------


def test_what_it_declines_with_is_known_and_no_approval() -> None:
    assert set(DECLINE_CODES) <= RESPONSE_CODES.keys()
    assert not {"00", "10", "11", "55", "38", "75", "99"} & set(DECLINE_CODES)


def test_the_starter_rules_compile_and_take_the_settings_limits() -> None:
    rules = compile_rules(starter_document())
    assert len(rules.compiled) == len(rules.rules) <= 64
    tap = {each.name: {"int": 1, "bool": True, "string": "", "list(string)": []}[each.type] for each in FACTS}
    tap |= {f"{each}_known": False for each in ("user", "device", "merchant", "terminal", "ip", "chip", "place")}
    tap |= {"posture_known": False, "model_known": False, "pin_given": False, "currency": "CNY", "entry": "nfc"}
    tap |= {"card_idle_minutes": 50, "card_lists": []}
    assert rules.judge({**tap, "amount_minor": 100_000}).fired == ()
    assert rules.judge({**tap, "amount_minor": 100_001}).response_code == "61"
    set_up = compile_rules(starter_rules(5_000, 10, WithoutFacts.FIRE))
    assert set_up.judge({**tap, "amount_minor": 5_001}).fired == ("contactless_no_pin",)
    assert set_up.judge({**tap, "amount_minor": 5_000, "card_count_1m": 11}).response_code == "65"
    assert set_up.by_id["card_attempts"].without_facts is WithoutFacts.FIRE
    limits = {each.id for each in starter_document().limits}
    assert {each.id for each in set_up.rules if each.mode is Mode.LIVE} == limits
    assert {each.mode for each in set_up.rules if each.id not in limits} == {Mode.OFF}
    unlimited = compile_rules(starter_rules(5_000, 0))
    assert unlimited.judge({**tap, "amount_minor": 5_000, "card_count_1m": 11}).fired == ()
    assert unlimited.by_id["card_attempts"].mode is Mode.OFF


def test_the_list_of_facts_is_the_published_one() -> None:
    text = (DOCS / "risk_facts.md").read_text()
    assert text == page(FACTS)
    assert [each.name for each in FACTS if f"`{each.name}`" not in text] == []


def blocks_of(text: str, language: str) -> Sequence[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [content for of, content in fenced if of == language]


def test_the_page_tells_what_the_code_does() -> None:
    text = (DOCS / "risk_rules.md").read_text()
    [example] = [each for each in blocks_of(text, "toml") if each.startswith("name =")]
    checked = check_rules(example)
    lines = "\n".join(checked.lines())
    assert any(lines in each for each in blocks_of(text, ""))
    for model in (document.WrittenRule, document.WrittenLimit, document.Thresholds):
        assert [name for name in model.model_fields if f"`{name}`" not in text] == []
    for each in (*Action, *Mode, *WithoutFacts):
        assert f"`{each}`" in text
    assert ", ".join(DECLINE_CODES) in text
    for bound in (f"{MOST_RULES} rules", f"{LONGEST_CONDITION:,} characters", "100,000 characters together"):
        assert bound in text


def test_the_starter_file_is_where_the_package_says() -> None:
    assert STARTER_FILE.is_file()
