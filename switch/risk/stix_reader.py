"""Indicators out of a STIX 2.1 bundle (OASIS, 10 June 2021), by a reader that trusts nothing: bounded, strict, pure.

Not by the `stix2` library: it takes what is unknown for what it might be, and gives patterns of any size to a parser.
A bundle is read whole or refused whole, with the place of every fault.
"""

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from switch.domain.risk_listing import Marking

LARGEST_BYTES: Final = 5 * 1024 * 1024
MOST_OBJECTS: Final = 10_000
DEEPEST: Final = 16
_MOST_FAULTS: Final = 20
_LONGEST_PATTERN: Final = 1_000

# TLP 2.0's marking definitions (OASIS, STIX 2.1 extension of the TLP), and those of TLP 1.0 that STIX itself has.
TLP_IDS: Final[Mapping[Marking, str]] = {
    Marking.CLEAR: "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
    Marking.GREEN: "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    Marking.AMBER: "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    Marking.AMBER_STRICT: "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
    Marking.RED: "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
}
_MARKINGS: Final[Mapping[str, Marking]] = {identity: marking for marking, identity in TLP_IDS.items()} | {
    "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9": Marking.CLEAR,
    "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da": Marking.GREEN,
    "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82": Marking.AMBER,
    "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed": Marking.RED,
}

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[{\]}]")
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ID: Final = re.compile(rf"[a-z0-9][a-z0-9-]{{2,249}}--{_UUID}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)
_PATTERN: Final = re.compile(
    r"\[ ?(ipv4-addr:value|ipv6-addr:value|x-payswitch-card:token) ?= ?'([0-9A-Fa-f:.]{2,64})' ?\]"
)
_TOKEN: Final = re.compile(r"[0-9a-f]{64}")


class BundleRefused(ValueError):
    """The text has one line for each fault: its place and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Indicator:
    """place: in the bundle. address: canonical, or "". card_token: 64 hexadecimal digits, or "".

    modified: RFC 3339 with six digits, so that two compare as texts. valid_until_ms: None without an end. Times are
    Unix milliseconds. marking: the strictest; what is not marked, or not by TLP alone, is not passed on.
    """

    place: str
    id: str
    modified: str
    revoked: bool
    marking: Marking
    valid_from_ms: int
    valid_until_ms: int | None
    address: str
    card_token: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """indicators: each id once, in its last version. unusable: indicators of what we do not know, by well-formed
    patterns or not. others: objects of other types."""

    id: str
    indicators: tuple[Indicator, ...]
    unusable: int
    others: int


def read_bundle(content: bytes) -> Bundle:
    """Raises BundleRefused."""
    whole = _parsed(content)
    faults: list[str] = []
    identity = whole.get("id")
    if whole.get("type") != "bundle":
        faults.append('type: must be "bundle"')
    if not isinstance(identity, str) or not re.fullmatch(f"bundle--{_UUID}", identity):
        faults.append("id: must be bundle--<UUID>")
    objects = whole.get("objects", [])
    if not isinstance(objects, list):
        raise BundleRefused("\n".join([*faults, "objects: must be a list"]))
    if len(objects) > MOST_OBJECTS:
        raise BundleRefused(f"objects: more than {MOST_OBJECTS:,}")
    found: dict[str, Indicator] = {}
    unusable = others = 0
    for number, each in enumerate(objects):
        place = f"objects[{number}]"
        told = list(_shape_faults(place, each))
        faults += told
        if told or each["type"] != "indicator":
            others += 1
            continue
        told = list(_indicator_faults(place, each))
        faults += told
        if len(faults) >= _MOST_FAULTS:
            break
        if told:
            continue
        read = _indicator(place, each)
        if read is None:
            unusable += 1
        elif read.id not in found or found[read.id].modified < read.modified:
            found[read.id] = read
    if faults:
        raise BundleRefused("\n".join(faults[:_MOST_FAULTS]))
    return Bundle(str(identity), tuple(found.values()), unusable, others)


# --- JSON -------------------------------------------------------------------------------------------------------------


def _parsed(content: bytes) -> dict[str, Any]:
    if len(content) > LARGEST_BYTES:
        raise BundleRefused(f"larger than {LARGEST_BYTES:,} bytes")
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", content)):
        depth += 1 if bracket.group() in (b"[", b"{") else -1
        if depth > DEEPEST:
            raise BundleRefused(f"nested deeper than {DEEPEST}")
    try:
        whole = json.loads(content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BundleRefused(f"{error.lineno}:{error.colno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise BundleRefused(f"byte {error.start}: is not UTF-8") from None
    except BundleRefused:
        raise
    except ValueError:
        raise BundleRefused("a number is too long") from None
    if not isinstance(whole, dict):
        raise BundleRefused("must be an object")
    return whole


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        twice = next(name for name, _ in pairs if sum(each == name for each, _ in pairs) > 1)
        raise BundleRefused(f"{twice[:40]!r} is there twice in one object")
    return fields


def _no_constant(text: str) -> Any:
    raise BundleRefused(f"{text} is no JSON")


# --- objects ----------------------------------------------------------------------------------------------------------


def _shape_faults(place: str, each: object) -> Iterator[str]:
    if not isinstance(each, dict):
        yield f"{place}: must be an object"
        return
    kind, identity = each.get("type"), each.get("id")
    if not isinstance(kind, str) or not isinstance(identity, str) or not _ID.fullmatch(identity):
        yield f"{place}: must have a type, and an id of <type>--<UUID>"
    elif not identity.startswith(kind + "--"):
        yield f"{place}.id: is not of its type"


def _indicator_faults(place: str, each: Mapping[str, Any]) -> Iterator[str]:
    if each.get("spec_version") != "2.1":
        yield f'{place}.spec_version: must be "2.1"'
    times = {name: _time_of(each.get(name)) for name in ("created", "modified", "valid_from")}
    for name, time in times.items():
        if time is None:
            yield f"{place}.{name}: must be a time as 2026-01-05T12:00:00Z"
    created, modified, begins = times.values()
    if created is not None and modified is not None and modified < created:
        yield f"{place}.modified: is before created"
    if "valid_until" in each:
        ends = _time_of(each["valid_until"])
        if ends is None or (begins is not None and ends <= begins):
            yield f"{place}.valid_until: must be a time after valid_from"
    if not isinstance(each.get("revoked", False), bool):
        yield f"{place}.revoked: must be true or false"
    if not isinstance(each.get("pattern"), str) or not each["pattern"]:
        yield f"{place}.pattern: must be a text"
    if not isinstance(each.get("pattern_type"), str):
        yield f"{place}.pattern_type: must be a text"
    markings = each.get("object_marking_refs", [])
    if not isinstance(markings, list) or not all(isinstance(one, str) and _ID.fullmatch(one) for one in markings):
        yield f"{place}.object_marking_refs: must be a list of ids"
    yield from _value_faults(place, each)


def _value_faults(place: str, each: Mapping[str, Any]) -> Iterator[str]:
    """Of a pattern that is one of ours."""
    match = _matched(each)
    if match is None:
        return
    path, value = match.groups()
    if path.startswith("ip") and _address(path, value) is None:
        yield f"{place}.pattern: is not an address of that kind"
    if path.startswith("x-") and not _TOKEN.fullmatch(value):
        yield f"{place}.pattern: a card's token has 64 hexadecimal digits, small letters"


def _indicator(place: str, each: Mapping[str, Any]) -> Indicator | None:
    match = _matched(each)
    if match is None:
        return None
    path, value = match.groups()
    modified, begins = _time_of(each["modified"]), _time_of(each["valid_from"])
    assert modified is not None  # checked before, as the next
    assert begins is not None
    ends = _time_of(each["valid_until"]) if "valid_until" in each else None
    return Indicator(
        place,
        each["id"],
        modified.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
        each.get("revoked", False),
        _marking(each),
        _ms(begins),
        None if ends is None else _ms(ends),
        (_address(path, value) or "") if path.startswith("ip") else "",
        value if path.startswith("x-") else "",
    )


def _matched(each: Mapping[str, Any]) -> re.Match[str] | None:
    pattern = each.get("pattern")
    if each.get("pattern_type") != "stix" or not isinstance(pattern, str) or len(pattern) > _LONGEST_PATTERN:
        return None
    return _PATTERN.fullmatch(pattern)


def _address(path: str, text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if path != f"ipv{address.version}-addr:value":
        return None
    # As a payment's address is written (`switch.api.payer_context`).
    return str(getattr(address, "ipv4_mapped", None) or address)


def _marking(each: Mapping[str, Any]) -> Marking:
    """The strictest. What we do not know may forbid anything."""
    if "granular_markings" in each:
        return Marking.RED
    marked = [_MARKINGS.get(one, Marking.RED) for one in each.get("object_marking_refs", [])]
    return max(marked, default=Marking.AMBER)


def _time_of(value: object) -> datetime | None:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value[:-1]).replace(tzinfo=UTC)
    except ValueError:
        return None


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)
