"""docs/routing.md: its plan is good, and what it says of conditions and limits is what the code says."""

import hashlib
import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from switch.routing import bins, check, choose, document, metrics, plan
from switch.routing._bins import HEADER, LONGEST_LINE, MOST_KINDS, MOST_RANGES
from switch.routing.success import CHANNELS_FAULT

PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text()


def block(begins: str) -> str:
    [found] = [each for each in re.findall(r"```\w*\n(.*?)```", PAGE, re.DOTALL) if each.startswith(begins)]
    return found


def test_the_plan_of_the_page_is_good() -> None:
    csv = block(HEADER.decode()).encode()
    content = block("name =").replace("0" * 64, hashlib.sha256(csv).hexdigest())
    read = document.read_plan(content)
    table = check.checked_table(
        read, 7, {"cards": bins.BinTable(csv)}, ("unionpay", "alipay", "wechat", "issuer:bank-1")
    )
    assert table.ranges == 3


def test_every_condition_is_on_the_page() -> None:
    for name in plan.When.model_fields:
        assert f"`{name}`" in PAGE or f"`{name} = true`" in PAGE
    for name in (*plan.ENTRIES, *plan.OPERATIONS, *plan.Order, *bins.CARD_TYPES):
        assert f"`{name}`" in PAGE


def test_limits_are_those_of_the_page() -> None:
    limits = (
        f"{MOST_RANGES:,} ranges",
        f"{MOST_KINDS:,} different combinations",
        f"{LONGEST_LINE} bytes a line",
        f"{plan.MOST_RULES:,} rules",
        f"{plan.MOST_CHANNELS} channels a rule",
        f"{plan.MOST_CONTRACTS:,} contracts for {check.MOST_CONTRACT_KEYS:,} pairs",
        f"{plan.MOST_EXPECTATIONS:,} expectations",
        f"{plan.MOST_BIN_TABLES} BIN tables",
        f"weights of a rule up to {plan.MOST_WEIGHT:,} together",
        f"{document.LARGEST_BYTES // 1024**2} MB a plan",
        f"At most {choose.LONGEST_EXPLANATION} characters",
    )
    assert [each for each in limits if each not in PAGE] == []
    assert ", ".join(sorted(CHANNELS_FAULT)) in PAGE


def test_every_metric_is_documented() -> None:
    families = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    assert len(families) == 4
    operations = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    for family in families:
        (metric,) = family.describe()
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        assert f"| `{name}` | {metric.type} |" in operations
        assert metric.documentation in operations
