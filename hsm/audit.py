"""The audit trail of keys, `key-audit.jsonl`: what was done to which key, when, by whom, and what failed.

One JSON line per event, appended (O_APPEND, 0600, synced) under the token's lock:

- `sequence` counts from 1; `previous` is the SHA-256 of the line before; `tag` is HMAC-SHA-256 of the line without it,
  under the token's key `hsm/audit`, which no command can use. So a line changed, taken out or moved is found.
- The last line also stands in `keys.json`, written there before it is appended here. So lines cut off at the end are
  found, and the one line that a crash may have kept from this file is put back.
- `phase`: `intent` is written before a state changes, `done` after, `failed` in place of it. A crash leaves an intent
  without an outcome, never a change without a line.

Whoever can write both files can put an older pair of them back: keep the last line somewhere else too.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from hmac import compare_digest
from pathlib import Path
from typing import Any, Final

from hsm.token import sync_directory

__all__ = ["AuditEvent", "AuditLine", "AuditTrail", "Change", "Phase"]

FIRST_PREVIOUS: Final = "0" * 64
TAIL_BYTES: Final = 8192
MAX_REASON: Final = 500
_TAGGED: Final = re.compile(r'(\{.*), "tag": "([0-9a-f]{64})"\}')


class Phase(StrEnum):
    """See the module."""

    INTENT = "intent"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Change:
    """One key version in an event. before, after: its states, "" where it has none."""

    label: str
    version: int
    kcv: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """action: create, import, export, rotate, activate, retire, ceremony, …; reason: why, or why it failed."""

    action: str
    label: str
    usage: str = ""
    changes: Sequence[Change] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """A line of the trail as it was read; text: the line itself."""

    sequence: int
    time_ms: int
    actor: str
    uid: int
    phase: Phase
    event: AuditEvent
    previous: str
    text: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


class AuditTrail:
    """The trail of one token directory. Call every method that writes under the token's lock.

    authenticate: HMAC under the token's audit key.
    """

    def __init__(self, path: Path, authenticate: Callable[[bytes], bytes], clock_ms: Callable[[], int]) -> None:
        self.path = path
        self._authenticate = authenticate
        self._clock_ms = clock_ms

    # --- writing ------------------------------------------------------------------------------------------------------

    def next_line(self, known: str, phase: Phase, actor: str, event: AuditEvent) -> str:
        """The line that follows the last one, of the file or `known` (the one in keys.json), whichever is later."""
        last = self._last(known)
        record: dict[str, Any] = {
            "sequence": last.sequence + 1 if last else 1,
            "time_ms": self._clock_ms(),
            "actor": actor,
            "uid": os.getuid(),
            "phase": phase,
            **asdict(event),
            "reason": event.reason[:MAX_REASON],
            "previous": last.digest if last else FIRST_PREVIOUS,
        }
        body = json.dumps(record)
        return f'{body[:-1]}, "tag": "{self._authenticate(body.encode()).hex()}"}}'

    def append(self, line: str) -> None:
        """Durable on return. A fragment that a crash left at the end, which nobody was told of, is cut off first."""
        new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._cut_fragment(descriptor)
            content = line.encode() + b"\n"
            if os.write(descriptor, content) != len(content):
                raise OSError(errno.ENOSPC, "the audit trail took only a part of a line")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_directory(self.path.parent)

    def recover(self, known: str) -> bool:
        """Append the line of keys.json if it is the one that a crash kept from the file; whether the file is now at
        least as new as keys.json, and keys.json as new as the file."""
        committed = self._parse(known)
        if committed is None:
            return True
        last = next(self._from_end(), None)
        if committed.previous == (last.digest if last else FIRST_PREVIOUS):
            self.append(known)
            return True
        done = next((each for each in self._from_end() if each.phase is not Phase.INTENT), None)
        return done is None or done.sequence <= committed.sequence

    # --- reading ------------------------------------------------------------------------------------------------------

    def lines(self) -> list[AuditLine]:
        """All lines that can be read. Whether they are genuine: `problems`."""
        return [line for line in map(parse_line, self._texts()) if line is not None]

    def problems(self, known: str) -> list[str]:
        """What is wrong with the trail: lines changed, missing, moved or cut off. Empty: nothing."""
        problems = []
        sequence, previous = 0, FIRST_PREVIOUS
        committed, found = self._parse(known), False
        for number, text in enumerate(self._texts(), 1):
            line = self._parse(text)
            if line is None:
                problems.append(f"audit line {number} was changed: its tag does not verify")
                sequence, previous = sequence + 1, hashlib.sha256(text.encode()).hexdigest()
                continue
            if line.sequence != sequence + 1 or line.previous != previous:
                problems.append(f"audit line {number} (sequence {line.sequence}) does not follow the line before it")
            sequence, previous = line.sequence, line.digest
            found = found or text == known
            if committed is not None and line.sequence > committed.sequence and line.phase is not Phase.INTENT:
                problems.append(f"audit line {number} (sequence {line.sequence}) is newer than keys.json")
        if committed is None:
            problems.append("keys.json holds no genuine audit line")
        elif not found:
            problems.append(
                f"the audit trail is cut off: it lacks sequence {committed.sequence}, which keys.json knows"
            )
        return problems

    def _last(self, known: str) -> AuditLine | None:
        candidates = (self._parse(known), next(self._from_end(), None))
        return max((line for line in candidates if line), key=lambda line: line.sequence, default=None)

    def _from_end(self) -> Iterator[AuditLine]:
        """The lines near the end of the file, last one first, up to the first that does not verify."""
        for text in reversed(self._texts(TAIL_BYTES) or self._texts()):
            line = self._parse(text)
            if line is None:
                return
            yield line

    def _texts(self, last_bytes: int | None = None) -> list[str]:
        """The lines of the file, or of its end; a fragment at the end is none."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                start = 0 if last_bytes is None else max(0, size - last_bytes)
                file.seek(start)
                content = file.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]
        return [each.decode(errors="replace") for each in (whole[1:] if start else whole)]

    def _parse(self, text: str) -> AuditLine | None:
        """A genuine line; None for any other text."""
        matched = _TAGGED.fullmatch(text)
        if matched is None:
            return None
        if not compare_digest(self._authenticate(f"{matched[1]}}}".encode()), bytes.fromhex(matched[2])):
            return None
        return parse_line(text)

    @staticmethod
    def _cut_fragment(descriptor: int) -> None:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            os.ftruncate(descriptor, os.pread(descriptor, size, 0).rfind(b"\n") + 1)


def parse_line(text: str) -> AuditLine | None:
    """A line without looking at its tag; None for what is no line."""
    try:
        record = json.loads(text)
        changes = tuple(Change(**each) for each in record["changes"])
        event = AuditEvent(record["action"], record["label"], record["usage"], changes, record["reason"])
        return AuditLine(
            int(record["sequence"]),
            int(record["time_ms"]),
            str(record["actor"]),
            int(record["uid"]),
            Phase(record["phase"]),
            event,
            str(record["previous"]),
            text,
        )
    except (ValueError, KeyError, TypeError):
        return None
