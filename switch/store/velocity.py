"""Counters of cards, users, devices, merchants, terminals and addresses in Redis, shared by all processes.

A record for each subject and each counted pair, read and written once per payment; `velocity.lua` has its layout.
"""

import asyncio
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final
from zlib import crc32

from switch.domain.risk import Subject
from switch.domain.velocity import COUNTED_PAIRS, MARKS, pair_name
from switch.ports.risk import Happening, Mark, Sighting
from switch.store.bounded_redis import BoundedRedis, script_of
from switch.store.velocity_records import (
    LATER_SUBJECTS,
    NUMBER,
    Columns,
    EventId,
    Pair,
    bounded_amount,
    event_argument,
    pair_columns,
    subject_argument,
    subject_columns,
)

_SCRIPT = script_of("velocity.lua")
_HAPPENING: Final = struct.Struct("<2sBBBQQ")
_MOST_IN_A_CALL: Final = 128  # all of Redis waits for the end of a script
_MARK_NUMBER: Final = {name: number for number, name in enumerate(MARKS, 1)}


class _Call:
    """What one call of the script counts: keys that share a hash tag.

    read: per key the place of its sighting in the batch, the event's short id, and how its record is read.
    """

    __slots__ = ("arguments", "items", "keys", "read", "tag")

    def __init__(self, tag: int) -> None:
        self.tag = tag
        self.items = 0
        self.keys: list[bytes] = []
        self.arguments: list[str | bytes] = []
        self.read: list[tuple[int, int, Columns]] = []


class RedisVelocity:
    """Meets `switch.ports.risk.Velocity`, on Redis's clock.

    pairs: those that are counted. wanted: the facts that are answered, None for all; what is counted does not depend on
    it. repeats_s: for how long an event's id is remembered at least; twice that at most. tags: over how many hash tags
    the subjects are spread, for a Redis Cluster; a batch costs a round trip for each, and an id is remembered in each.
    malformed: told how many values in Redis were none of ours, and were begun anew. timeout_s, connections,
    failures_to_open, rest_s: `BoundedRedis`'s.
    """

    def __init__(
        self,
        url: str,
        *,
        pairs: Sequence[Pair] = COUNTED_PAIRS,
        wanted: frozenset[str] | None = None,
        repeats_s: int = 86_400,
        tags: int = 1,
        malformed: Callable[[int], None] = lambda count: None,
        timeout_s: float = 0.025,
        connections: int = 4,
        failures_to_open: int = 3,
        rest_s: float = 1.0,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = BoundedRedis(
            url,
            timeout_s=timeout_s,
            connections=connections,
            failures_to_open=failures_to_open,
            rest_s=rest_s,
            monotonic_s=monotonic_s,
        )
        self._pairs = [(*pair, f":{pair_name(*pair)}:".encode()) for pair in pairs]
        self._names = {subject: f":{subject}:".encode() for subject in Subject}
        self._prefixes = [f"v:{{{tag}}}".encode() for tag in range(tags)]
        self._repeats = str(repeats_s)
        self._tags = tags
        self._malformed = malformed
        self.want(wanted)
        self.ready = self._redis.ready
        self.close = self._redis.close

    def want(self, wanted: frozenset[str] | None) -> None:
        """From now on answer these facts; None: all."""
        self._columns = {subject: Columns(subject_columns(subject), wanted) for subject in Subject}
        self._pair_columns = [Columns(pair_columns((one, other)), wanted) for one, other, _ in self._pairs]

    async def see(self, sightings: Sequence[Sighting]) -> list[dict[str, int]]:
        """As the port says. A repeat after other payments of a subject is told the time since the last of them."""
        calls = self._calls_for(sightings)
        answers = await self._run_all("see", calls)
        facts: list[dict[str, int]] = [{} for _ in sightings]
        for call, answer in zip(calls, answers, strict=True):
            now_ms = answer[0]
            for (place, event, columns), record in zip(call.read, answer[2:], strict=True):
                facts[place].update(columns.read(record, now_ms, event, sightings[place].place))
        return facts

    async def tell(self, happenings: Sequence[Happening], marks: Sequence[Mark] = ()) -> None:
        """As the port says. What happened later than Redis's now counts as happening now."""
        spread = self._spread()
        for happening in happenings:
            event = EventId(happening.what, happening.event_id)
            amount, number = bounded_amount(happening.amount_minor), NUMBER[happening.what]
            keys: dict[int, list[bytes]] = {}
            for subject, key in happening.subjects.items():
                if subject not in LATER_SUBJECTS[happening.what]:
                    continue
                whole = self._names[subject] + bytes.fromhex(key)
                keys.setdefault(self._tag(whole), []).append(whole)
            for tag, of_tag in keys.items():
                packed = _HAPPENING.pack(event.shard, 0, number, len(of_tag), max(happening.time_ms, 0), amount)
                spread.add(tag, of_tag, (event.number, packed))
        for mark in marks:
            whole = self._names[Subject.USER] + bytes.fromhex(mark.user)
            packed = _HAPPENING.pack(b"", 1, _MARK_NUMBER[mark.name], 1, max(mark.time_ms, 0), 0)
            spread.add(self._tag(whole), [whole], ("", packed))
        await self._run_all("tell", spread.calls)

    # --- to Redis -----------------------------------------------------------------------------------------------------

    def _spread(self) -> "_Spread":
        return _Spread(self._prefixes)

    def _tag(self, key: bytes) -> int:
        return crc32(key) % self._tags if self._tags > 1 else 0

    def _calls_for(self, sightings: Sequence[Sighting]) -> "list[_Call]":
        spread = self._spread()
        for place, sighting in enumerate(sightings):
            event = EventId("see", sighting.event_id)
            for tag, keys, extras, columns in self._parts(sighting):
                packed = event_argument(event, len(keys), sighting.amount_minor)
                call = spread.add(tag, keys, chain((event.number, packed), extras))
                call.read += [(place, event.short, each) for each in columns]
        return spread.calls

    def _parts(self, sighting: Sighting) -> Iterable[tuple[int, list[bytes], list[bytes], list[Columns]]]:
        """By tag: keys, what the script is to know beside them, how the answers are read."""
        ids = {subject: bytes.fromhex(key) for subject, key in sighting.subjects.items()}
        names, place = self._names, sighting.place
        keys = [names[subject] + key for subject, key in ids.items()]
        extras = [subject_argument(subject, ids, place) for subject in ids]
        columns = [self._columns[subject] for subject in ids]
        for (one, other, name), each in zip(self._pairs, self._pair_columns, strict=True):
            if one in ids and other in ids:
                keys.append(name + ids[one] + ids[other])
                extras.append(b"")
                columns.append(each)
        if self._tags == 1:
            return [(0, keys, extras, columns)] if keys else []
        parts: dict[int, tuple[int, list[bytes], list[bytes], list[Columns]]] = {}
        for key, extra, column in zip(keys, extras, columns, strict=True):
            tag = self._tag(key)
            part = parts.setdefault(tag, (tag, [], [], []))
            part[1].append(key)
            part[2].append(extra)
            part[3].append(column)
        return parts.values()

    async def _run_all(self, what: str, calls: "list[_Call]") -> list[list[Any]]:
        """Answers in the calls' order. Those of one tag run one after another: a batch is counted in its order."""
        if not calls:
            return []
        by_tag: dict[int, list[_Call]] = {}
        for call in calls:
            by_tag.setdefault(call.tag, []).append(call)
        answers: dict[_Call, list[Any]] = {}

        async def run_in_order(of_tag: list[_Call]) -> None:
            for call in of_tag:
                answers[call] = await self._run(what, call)

        if len(by_tag) == 1:
            await self._redis.bounded(lambda: run_in_order(calls))
        else:
            await self._redis.bounded(lambda: asyncio.gather(*map(run_in_order, by_tag.values())))
        malformed = sum(answer[1] for answer in answers.values())
        if malformed:
            self._malformed(malformed)
        return [answers[call] for call in calls]

    async def _run(self, what: str, call: "_Call") -> list[Any]:
        prefix = self._prefixes[call.tag]
        arguments = [what, prefix + b":events:", self._repeats, *call.arguments]
        answer: list[Any] = await self._redis.run(_SCRIPT, call.keys, arguments)
        return answer


class _Spread:
    """Items over calls: by hash tag, and so many in each that Redis is not held up."""

    def __init__(self, prefixes: Sequence[bytes]) -> None:
        self._prefixes = prefixes
        self._open: dict[int, _Call] = {}
        self.calls: list[_Call] = []

    def add(self, tag: int, keys: Sequence[bytes], arguments: Iterable[str | bytes]) -> _Call:
        call = self._open.get(tag)
        if call is None or call.items == _MOST_IN_A_CALL:
            call = self._open[tag] = _Call(tag)
            self.calls.append(call)
        prefix = self._prefixes[tag]
        call.items += 1
        call.keys += [prefix + key for key in keys]
        call.arguments += arguments
        return call
