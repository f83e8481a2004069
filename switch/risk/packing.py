"""Facts and subjects as a judgement stores them: msgpack, a fact by its number."""

from collections.abc import Container, Mapping
from typing import Final

import msgpack

from switch.domain.risk import FactValue, Subject
from switch.risk.facts import FACTS, NUMBER

_pack = msgpack.Packer(autoreset=True).pack
_NAMES: Final = tuple(each.name for each in FACTS)


def pack_facts(facts: Mapping[str, FactValue]) -> bytes:
    """Raises KeyError for a fact that is not published.

    >>> unpack_facts(pack_facts({"amount_minor": 1250, "card_lists": ["stolen"]}))
    {'amount_minor': 1250, 'card_lists': ['stolen']}
    """
    return bytes(_pack({NUMBER[name]: value for name, value in facts.items()}))


def unpack_facts(packed: bytes, wanted: Container[str] | None = None) -> dict[str, FactValue]:
    """Facts of a later version, which this one does not know, are left out. wanted: None for all."""
    numbered: dict[int, FactValue] = msgpack.unpackb(packed, strict_map_key=False)
    named = ((_NAMES[number], value) for number, value in numbered.items() if number < len(_NAMES))
    return {name: value for name, value in named if wanted is None or name in wanted}


def pack_subjects(subjects: Mapping[Subject, str]) -> bytes:
    """
    >>> unpack_subjects(pack_subjects({Subject.CARD: "00ff"}))
    {<Subject.CARD: 'card'>: '00ff'}
    """
    return bytes(_pack({subject.value: bytes.fromhex(key) for subject, key in subjects.items()}))


def unpack_subjects(packed: bytes) -> dict[Subject, str]:
    return {Subject(name): key.hex() for name, key in msgpack.unpackb(packed).items()}
