"""What we share, as a STIX 2.1 bundle: indicators with a marking of TLP 2.0 and an end."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import stix2

from switch.domain.risk_listing import Marking
from switch.risk.stix_reader import TLP_IDS

_SPACE: Final = uuid.UUID("6b1fd8a0-6c9c-5a55-9a3b-5f6f0d0e9f31")
_TLP_EXTENSION: Final = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"
_TLP_CREATED: Final = "2022-10-01T00:00:00.000Z"
_TLP_NAMES: Final = {marking: marking.name.lower().replace("_", "+") for marking in Marking}


@dataclass(frozen=True, slots=True)
class Told:
    """One indicator. pattern: STIX. seed: what its id is computed from, alike in every bundle."""

    seed: str
    pattern: str
    name: str
    kind: str
    from_ms: int
    until_ms: int
    marking: Marking


def address_pattern(address: str) -> str:
    """
    >>> address_pattern("2001:db8::1")
    "[ipv6-addr:value = '2001:db8::1']"
    """
    return f"[ipv{6 if ':' in address else 4}-addr:value = '{address}']"


def card_pattern(token: str) -> str:
    return f"[x-payswitch-card:token = '{token}']"


def write_bundle(sender: str, told: Iterable[Told], now_ms: int) -> bytes:
    """UTF-8. sender: the name by which others know this installation."""
    identity = stix2.Identity(
        id=f"identity--{uuid.uuid5(_SPACE, sender)}", name=sender, identity_class="organization",
        created=_TLP_CREATED, modified=_TLP_CREATED,
    )  # fmt: skip
    indicators = [_indicator(str(identity.id), each) for each in told]
    used = {each["object_marking_refs"][0] for each in indicators}
    markings = [_marking(each) for each in Marking if TLP_IDS[each] in used]
    bundle = stix2.Bundle(
        [identity, *markings, *indicators],
        id=f"bundle--{uuid.uuid5(_SPACE, f'{sender} {now_ms}')}",
        allow_custom=True,
    )
    text: str = bundle.serialize()
    return text.encode()


def _indicator(created_by: str, told: Told) -> Any:
    begins = _time(told.from_ms)
    return stix2.Indicator(
        id=f"indicator--{uuid.uuid5(_SPACE, f'{created_by} {told.seed}')}",
        created_by_ref=created_by, created=begins, modified=begins, name=told.name, indicator_types=[told.kind],
        pattern=told.pattern, pattern_type="stix", valid_from=begins, valid_until=_time(told.until_ms),
        object_marking_refs=[TLP_IDS[told.marking]],
    )  # fmt: skip


def _marking(marking: Marking) -> dict[str, Any]:
    """As OASIS publishes it; the library has those of TLP 1.0."""
    name = _TLP_NAMES[marking]
    return {
        "type": "marking-definition",
        "spec_version": "2.1",
        "id": TLP_IDS[marking],
        "created": _TLP_CREATED,
        "name": f"TLP:{name.upper()}",
        "extensions": {_TLP_EXTENSION: {"extension_type": "property-extension", "tlp_2_0": name}},
    }


def _time(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
