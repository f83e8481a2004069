"""Input that Alipay's parsers once had trouble with, or were feared to, in both directions; and what is near it.

Entries of tests/vectors/alipay_corpus.json: {"parser", "why", "hex", "outcome"}. What fuzzing finds is added there.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.alipay.codec import AlipayError, load_public_key, read_answer
from adapters.alipay.notification import read_notification
from adapters.alipay.simulator.fields import FIELDS, checked_biz_content
from adapters.alipay.simulator.refusal import Refused
from adapters.alipay.trust import Trust
from switch.ports import NotificationRefused

CORPUS = json.loads((Path(__file__).parents[2] / "vectors" / "alipay_corpus.json").read_text())
ENTRIES = CORPUS["entries"]
NAMES = [f"{each['parser']}: {each['why']}" for each in ENTRIES]
KEY = load_public_key(CORPUS["public_key"])
TRUST = Trust.by_public_key(CORPUS["public_key"])
PAY = "alipay.trade.pay"
OLDEST_MS = 1_700_000_000_000


def read(entry: dict[str, str], data: bytes) -> tuple[str, Any]:
    """(outcome, what was read). Anything but the declared refusals is a fault."""
    try:
        if entry["parser"] == "answer":
            answer = read_answer(data, PAY, KEY)
            return "read", (answer.code, dict(answer.fields))
        if entry["parser"] == "notification":
            return "read", read_notification(data, TRUST, "2021000000000001", OLDEST_MS)
        return "read", checked_biz_content(entry["method"], data.decode("utf-8", "surrogatepass"))
    except AlipayError as error:
        return type(error).__name__, None
    except NotificationRefused as refusal:
        return refusal.cause, None
    except Refused as refusal:
        return refusal.sub_code, None


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_each_entry_ends_as_it_should(entry: dict[str, str]) -> None:
    assert read(entry, bytes.fromhex(entry["hex"]))[0] == entry["outcome"]


SIGNED = [each for each in ENTRIES if each["parser"] != "biz_content"]


@given(st.sampled_from(SIGNED), st.data())
def test_what_is_near_a_signed_text_is_refused_or_says_the_same(entry: dict[str, str], data: st.DataObject) -> None:
    original = bytes.fromhex(entry["hex"])
    outcome, meaning = read(entry, original)
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(changed)))
        end = data.draw(st.integers(start, min(len(changed), start + 4)))
        changed[start:end] = data.draw(st.binary(max_size=4))
    near, said = read(entry, bytes(changed))
    if near == "read":
        assert (outcome, said) == ("read", meaning)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["1.00", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(FIELDS)), st.data())
def test_every_field_in_every_shape_is_refused_or_is_what_it_must_be(method: str, data: st.DataObject) -> None:
    names = [field.name for field in FIELDS[method]]
    content = data.draw(st.dictionaries(st.sampled_from([*names, "other"]), _VALUES))
    outcome, checked = read({"parser": "biz_content", "method": method}, json.dumps(content).encode())
    if outcome != "read":
        assert outcome in ("ACQ.INVALID_PARAMETER", "ACQ.TOTAL_FEE_EXCEED", "isv.invalid-parameter")
        return
    assert set(checked) <= set(names)
    for field in FIELDS[method]:
        assert field.name in checked or not field.required
        assert field.name not in checked or field.check(checked[field.name])


@given(st.sampled_from(sorted(FIELDS)), st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_content_makes_anything_but_a_refusal(method: str, content: bytes) -> None:
    text = content.decode("utf-8", "replace").encode()
    assert read({"parser": "biz_content", "method": method}, text)[0] != "read"
