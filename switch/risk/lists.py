"""Block, allow, watch and step-up lists in memory: what a payment's subjects stand on. Pure; the time is given.

Each process holds them all, so that the road asks nobody. 16 bytes of key, a number for kind, name and expiry: some
120 bytes an entry (benchmarks/rules.py), a million of them at most.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from switch.domain.risk import Listing, ListKind, Subject

MOST_ENTRIES: Final = 1_000_000
MOST_NAMES: Final = 1_000
MOST_OF_ONE_KEY: Final = 32  # lists that one subject is on
LONGEST_TEXT: Final = 200

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")
_KEY: Final = re.compile(r"[0-9a-f]{32}")
_LAST_TIME_MS: Final = 1 << 45  # the year 3084
_NUMBER_BITS: Final = 16
_NUMBER_MASK: Final = (1 << _NUMBER_BITS) - 1


class ListingRefused(ValueError):
    """An entry that no list takes. The text names the field, and never the key."""


@dataclass(frozen=True, slots=True)
class Listed:
    """That a subject of the payment is on a list."""

    subject: Subject
    name: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What lists say of one payment.

    names: of the lists that each known subject is on, of every kind: the facts `<subject>_lists`. blocks, step_ups:
    what declines it. allowed: subjects that are spared scores and reviews.
    """

    names: Mapping[str, list[str]]
    blocks: tuple[Listed, ...] = ()
    step_ups: tuple[Listed, ...] = ()
    allowed: frozenset[Subject] = frozenset()

    @property
    def declines(self) -> tuple[Listed, ...]:
        return self.blocks + self.step_ups


NOT_LISTED: Final = Standing({})


@dataclass(frozen=True, slots=True)
class _List:
    kind: ListKind
    name: str
    subject: Subject


class Lists:
    """Not for several threads at once."""

    def __init__(self, listings: Iterable[Listing] = ()) -> None:
        """Raises ListingRefused."""
        self._lists: list[_List] = []
        self._numbers: dict[_List, int] = {}
        # subject -> key -> expiry in milliseconds and the list's number, packed into an int; a tuple if on several
        self._entries: dict[Subject, dict[bytes, int | tuple[int, ...]]] = {subject: {} for subject in Subject}
        self._count = 0
        for each in listings:
            self.put(each)

    def __len__(self) -> int:
        return self._count

    def put(self, listing: Listing) -> None:
        """Adds it, or replaces its expiry. Raises ListingRefused."""
        check_listing(listing)
        of = _List(listing.kind, listing.name, listing.subject)
        of_subject, key = self._entries[listing.subject], bytes.fromhex(listing.key)
        held = _all(of_subject.get(key, ()))
        others = tuple(each for each in held if self._lists[each & _NUMBER_MASK] != of)
        if len(others) == len(held):
            if self._count >= MOST_ENTRIES:
                raise ListingRefused(f"there are {MOST_ENTRIES:,} entries already")
            if len(held) >= MOST_OF_ONE_KEY:
                raise ListingRefused(f"key: on {MOST_OF_ONE_KEY} lists already")
            number = self._number(of)
            self._count += 1
        else:
            number = self._numbers[of]
        packed = listing.expires_time_ms << _NUMBER_BITS | number
        of_subject[key] = (*others, packed) if others else packed

    def drop(self, kind: ListKind, name: str, subject: Subject, key: str) -> None:
        """Takes it off, if it is on."""
        number = self._numbers.get(_List(kind, name, subject))
        if number is not None and _KEY.fullmatch(key):
            self._keep(subject, bytes.fromhex(key), lambda packed: packed & _NUMBER_MASK != number)

    def sweep(self, now_ms: int) -> int:
        """Forgets what has expired; how many. It walks all of them."""
        before = self._count
        for subject, entries in self._entries.items():
            gone = [key for key, held in entries.items() if any(not _holds(each, now_ms) for each in _all(held))]
            for key in gone:
                self._keep(subject, key, lambda packed: _holds(packed, now_ms))
        return before - self._count

    def standing(self, keys: Mapping[Subject, str], now_ms: int) -> Standing:
        """keys: of the payment's known subjects."""
        names: dict[str, list[str]] = {}
        found: list[_List] = []
        for subject, key in keys.items():
            held = self._entries[subject].get(bytes.fromhex(key)) if self._count else None
            on = [] if held is None else [self._lists[e & _NUMBER_MASK] for e in _all(held) if _holds(e, now_ms)]
            names[f"{subject}_lists"] = [each.name for each in on]
            found += on
        if not found:
            return Standing(names)
        return Standing(
            names,
            tuple(Listed(each.subject, each.name) for each in found if each.kind is ListKind.BLOCK),
            tuple(Listed(each.subject, each.name) for each in found if each.kind is ListKind.STEP_UP),
            frozenset(each.subject for each in found if each.kind is ListKind.ALLOW),
        )

    def _number(self, of: _List) -> int:
        number = self._numbers.get(of)
        if number is None:
            number = len(self._lists)
            if number >= MOST_NAMES:
                raise ListingRefused(f"name: there are {MOST_NAMES:,} lists already")
            self._lists.append(of)
            self._numbers[of] = number
        return number

    def _keep(self, subject: Subject, key: bytes, wanted: Callable[[int], bool]) -> None:
        held = _all(self._entries[subject].get(key, ()))
        kept = tuple(filter(wanted, held))
        self._count -= len(held) - len(kept)
        if not kept:
            self._entries[subject].pop(key, None)
        else:
            self._entries[subject][key] = kept[0] if len(kept) == 1 else kept


def check_listing(listing: Listing) -> None:
    """Raises ListingRefused: of a name, a key, a time or a text that no list takes."""
    if not _NAME.fullmatch(listing.name):
        raise ListingRefused("name: small letters, digits and _, at most 48, a letter first")
    if not _KEY.fullmatch(listing.key):
        raise ListingRefused("key: 32 hexadecimal digits, small letters")
    if not 0 <= listing.expires_time_ms < _LAST_TIME_MS:
        raise ListingRefused("expires_time_ms: Unix milliseconds, 0 for never")
    for field, text in (("reason", listing.reason), ("source", listing.source)):
        if not 0 < len(text) <= LONGEST_TEXT or not text.isprintable() or not text.strip():
            raise ListingRefused(f"{field}: printable, 1 to {LONGEST_TEXT} characters")


def _all(held: int | tuple[int, ...]) -> tuple[int, ...]:
    return held if isinstance(held, tuple) else (held,)


def _holds(packed: int, now_ms: int) -> bool:
    expires_time_ms = packed >> _NUMBER_BITS
    return not expires_time_ms or now_ms < expires_time_ms
