"""Bundles that others wrote: read whole, or refused with the place of every fault, whatever they are."""

from typing import Any

import pytest
import stix2
from hypothesis import given
from hypothesis import strategies as st
from stix_made import BUNDLE_ID, ID, bundle, indicator

from switch.domain.risk_listing import Marking
from switch.risk.stix_reader import LARGEST_BYTES, MOST_OBJECTS, TLP_IDS, Bundle, BundleRefused, read_bundle


def refusal(content: bytes) -> str:
    with pytest.raises(BundleRefused) as refused:
        read_bundle(content)
    return str(refused.value)


def test_an_address_is_read() -> None:
    found = read_bundle(
        bundle(indicator(valid_until="2026-02-01T00:00:00Z", object_marking_refs=[TLP_IDS[Marking.GREEN]]))
    )
    [each] = found.indicators
    assert (each.id, each.address, each.card_token, each.revoked) == (ID, "192.0.2.7", "", False)
    assert each.marking is Marking.GREEN
    assert (each.valid_from_ms, each.valid_until_ms) == (1_767_225_600_000, 1_769_904_000_000)


def test_what_the_library_of_oasis_writes_is_read() -> None:
    one = stix2.Indicator(
        pattern="[ipv6-addr:value = '2001:db8::7']", pattern_type="stix", valid_from="2026-01-01T00:00:00Z"
    )
    found = read_bundle(stix2.Bundle(one, stix2.TLP_AMBER).serialize().encode())
    assert [each.address for each in found.indicators] == ["2001:db8::7"]
    assert found.others == 1


def test_the_last_version_of_an_id_counts() -> None:
    later = indicator(modified="2026-01-02T00:00:00Z", pattern="[ipv4-addr:value = '192.0.2.8']")
    for objects in ((indicator(), later), (later, indicator())):
        assert [each.address for each in read_bundle(bundle(*objects)).indicators] == ["192.0.2.8"]


@pytest.mark.parametrize(
    ("refs", "marking"),
    [
        ([], Marking.AMBER),
        ([TLP_IDS[Marking.CLEAR]], Marking.CLEAR),
        ([TLP_IDS[Marking.CLEAR], TLP_IDS[Marking.RED]], Marking.RED),
        (["marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"], Marking.GREEN),
        (["marking-definition--11111111-1111-4111-8111-111111111111"], Marking.RED),
    ],
)
def test_the_strictest_marking_counts_and_an_unknown_one_forbids(refs: list[str], marking: Marking) -> None:
    assert read_bundle(bundle(indicator(object_marking_refs=refs))).indicators[0].marking is marking


def test_what_no_list_has_is_counted() -> None:
    others = (
        indicator(pattern="[file:hashes.'SHA-256' = 'ab']"),
        indicator(pattern="[ipv4-addr:value = '192.0.2.7' OR ipv4-addr:value = '192.0.2.8']"),
        indicator(pattern="alert tcp any", pattern_type="snort"),
        indicator(pattern="[" * 100_000),
    )
    found = read_bundle(bundle(*others, {"type": "x-thing", "id": f"x-thing{ID[9:]}"}))
    assert (found.indicators, found.unusable, found.others) == ((), 4, 1)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"spec_version": "2.0"}, "objects[0].spec_version"),
        ({"created": "yesterday"}, "objects[0].created"),
        ({"created": "2026-13-01T00:00:00Z"}, "objects[0].created"),
        ({"created": "2026-01-03T00:00:00Z"}, "objects[0].modified"),
        ({"modified": 7}, "objects[0].modified"),
        ({"valid_from": None}, "objects[0].valid_from"),
        ({"valid_until": "2025-01-01T00:00:00Z"}, "objects[0].valid_until"),
        ({"revoked": "yes"}, "objects[0].revoked"),
        ({"pattern": ["x"]}, "objects[0].pattern"),
        ({"pattern_type": None}, "objects[0].pattern_type"),
        ({"object_marking_refs": "red"}, "objects[0].object_marking_refs"),
        ({"object_marking_refs": [{}]}, "objects[0].object_marking_refs"),
        ({"pattern": "[ipv4-addr:value = '192.0.2.700']"}, "objects[0].pattern"),
        ({"pattern": "[ipv4-addr:value = '2001:db8::7']"}, "objects[0].pattern"),
        ({"pattern": "[x-payswitch-card:token = 'abcd']"}, "objects[0].pattern"),
        ({"id": "indicator--7"}, "objects[0]"),
        ({"id": f"malware{ID[9:]}"}, "objects[0].id"),
        ({"type": []}, "objects[0]"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_a_fault_is_told_with_its_place(changes: dict[str, Any], place: str) -> None:
    assert refusal(bundle(indicator(**changes))).startswith(place)


def test_all_faults_of_a_bundle_are_told_together() -> None:
    told = refusal(bundle(indicator(revoked=1), indicator(), 7, indicator(created="")))
    assert [line.partition(":")[0] for line in told.splitlines()] == [
        "objects[0].revoked", "objects[2]", "objects[3].created",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "1:1"),
        (b"[]", "must be an object"),
        (b'{"type": "bundle"', "1:18"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "a number is too long"),
        (b"\xff", "byte 0"),
        (b"[" * 200_000, "nested deeper"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "nested deeper"),
        (b"{}", "type"),
        (bundle(id="bundle--7"), "id"),
        (bundle(objects={}), "objects: must be a list"),
        (b" " * (LARGEST_BYTES + 1), "larger than"),
        (bundle(*([1] * (MOST_OBJECTS + 1))), "more than 10,000"),
    ],
    ids=range(14),
)
def test_what_is_no_bundle_is_refused(content: bytes, told: str) -> None:
    assert told in refusal(content)


def test_brackets_within_texts_are_no_nesting() -> None:
    assert read_bundle(bundle(indicator(name='\\"[' * 100))).unusable == 0


def read_or_refused(content: bytes) -> Bundle | None:
    try:
        return read_bundle(content)
    except BundleRefused:
        return None


@given(st.binary(max_size=400))
def test_no_bytes_do_anything_else(content: bytes) -> None:
    read_or_refused(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from([*indicator(), "revoked", "valid_until", "object_marking_refs"]), JSON, max_size=3)
)
def test_whatever_a_field_holds_it_is_read_or_refused(changes: dict[str, Any]) -> None:
    found = read_or_refused(bundle(indicator() | changes))
    if found is not None:
        assert len(found.indicators) + found.unusable + found.others == 1


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_bundle_with_some_bytes_changed_is_read_or_refused(place: int, put: bytes) -> None:
    content = bundle(indicator(), indicator(id=f"indicator--{BUNDLE_ID[8:]}"))
    read_or_refused(content[:place] + put + content[place + len(put) :])
