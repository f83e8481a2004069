"""docs/terminals.md keeps step with the code."""

import re
from pathlib import Path

from adapters.unionpay.pos.format import FIELDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "terminals.md").read_text()
_CAUSES = re.compile(r'(?:Refused\("\w\w", |HangUp\(|_refuse\(|return |, "\w\w", |: \("\w\w", |= \("\w\w", )"(\w+)"')


def causes() -> set[str]:
    source = "".join((ROOT / "switch" / "terminals" / f"{name}.py").read_text() for name in MODULES)
    found = set(_CAUSES.findall(source)) | {"slow", "idle", "card"}  # those that are chosen in place
    assert {"mac", "mac_throttled", "pin_block", "frame", "too_many_connections", "not_answered"} <= found
    return found


MODULES = ("desk", "door", "payments", "refusals", "requests", "security")


def test_every_cause_is_listed_and_no_other() -> None:
    table = PAGE.split("## Refusals and limits")[1].split("What the channel or the road declines")[0]
    listed = set(re.findall(r"`(\w+)`", table)) - {"payswitch_terminal_refusals_total", "cause"}
    assert {each for each in listed if not each.startswith("transmission")} == causes()


def test_every_field_is_listed() -> None:
    table = PAGE.split("| field | |")[1].split("\n\n")[0]
    listed = {int(number) for cell in re.findall(r"\| ([\d, ]+) \|", table) for number in cell.split(",")}
    assert listed == set(FIELDS)
