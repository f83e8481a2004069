"""The audit trail's chain: what an entry's hash is over, what a checkpoint signs, and finding what does not fit.

A hash chain needs no key: whoever may write the table can make another chain that fits itself. What he cannot make is
the signature of a checkpoint, so a chain is worth as much as its last checkpoint that he could not take away.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self
from uuid import UUID

GENESIS: Final = bytes(32)
"""The hash before the first entry."""
_ENTRY: Final = b"payswitch audit entry 1\0"
_CHECKPOINT: Final = "payswitch audit checkpoint 1"


@dataclass(frozen=True, slots=True)
class ChainedEntry:
    """A row of the trail as it is stored. before, after: the JSON text itself, which the hash is over.

    sequence: from 1. hash: 32 bytes.
    """

    merchant_id: str
    id: UUID
    who: str
    act: str
    subject: str
    before: str
    after: str
    time_ms: int
    sequence: int
    hash: bytes

    @property
    def name(self) -> str:
        """As a finding names it."""
        return f"entry {self.sequence} ({self.act} {self.subject}, {self.id})"


def entry_hash(previous: bytes, entry: ChainedEntry) -> bytes:
    """SHA-256 over, in this order, without separators: the text "payswitch audit entry 1" and a zero byte; the hash
    before (32 bytes); the sequence number (8 bytes, big-endian); the id (16 bytes); the time in Unix ms (8 bytes); then
    merchant_id, who, act, subject, before and after in UTF-8, each after its length in bytes (4 bytes).

    >>> entry = ChainedEntry("m", UUID(int=1), "operator/ann", "Made", "it/1", "{}", "{}", 2, 1, b"")
    >>> entry_hash(GENESIS, entry).hex()[:16]
    'cdc4c26acb7f70ff'
    """
    numbers = previous + entry.sequence.to_bytes(8, "big") + entry.id.bytes + entry.time_ms.to_bytes(8, "big")
    texts = (entry.merchant_id, entry.who, entry.act, entry.subject, entry.before, entry.after)
    encoded = [text.encode() for text in texts]
    return sha256(_ENTRY + numbers + b"".join(len(each).to_bytes(4, "big") + each for each in encoded)).digest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The chain had `sequence` entries, the last with that hash. signature: of `statement`, by the key of that label.

    time_ms: when it was made, by the clock of the process that made it.
    """

    sequence: int
    hash: bytes
    time_ms: int
    key_label: str
    signature: bytes = b""

    @property
    def statement(self) -> bytes:
        """What is signed: RSASSA-PKCS1-v1_5 with SHA-256.

        >>> Checkpoint(7, bytes(32), 1, "audit/sign").statement.split(b"\\n")[:2]
        [b'payswitch audit checkpoint 1', b'7']
        """
        lines = (_CHECKPOINT, str(self.sequence), self.hash.hex(), str(self.time_ms), self.key_label)
        return "\n".join(lines).encode() + b"\n"

    def as_json(self) -> str:
        """One line, as it is exported."""
        fields = {
            "sequence": self.sequence, "hash": self.hash.hex(), "time_ms": self.time_ms, "key": self.key_label,
            "signature": self.signature.hex(),
        }  # fmt: skip
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Raises ValueError.

        >>> made = Checkpoint(7, bytes(32), 1, "audit/sign", b"s")
        >>> Checkpoint.from_json(made.as_json()) == made
        True
        """
        try:
            fields = json.loads(line)
            return cls(
                int(fields["sequence"]), bytes.fromhex(fields["hash"]), int(fields["time_ms"]), str(fields["key"]),
                bytes.fromhex(fields["signature"]),
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(f"is no checkpoint: {error}") from error


# Raises ValueError where the signature is not that of the statement.
VerifySignature = Callable[[Checkpoint], None]


class ChainWalk:
    """Walks the chain once, entry by entry in their order; keeps one entry and the checkpoints that are to come.

    Feed `entry` each row, then call `end`. Both give what is wrong, a sentence each; after a break in the chain
    itself no more is told of entries, since nothing after it can be judged.
    """

    def __init__(self, checkpoints: Iterable[Checkpoint], verify: VerifySignature) -> None:
        self._checkpoints = sorted(checkpoints, key=lambda each: each.sequence)
        self._verify = verify
        self._next = 0
        self._hash = GENESIS
        self._broken = False
        self.length = 0
        self.proved = 0
        """How many entries a checkpoint with a true signature has confirmed."""

    def entry(self, entry: ChainedEntry) -> Iterator[str]:
        if self._broken:
            return
        if entry.sequence != self.length + 1:
            yield from self._break(_missing(self.length + 1, entry.sequence - 1) + f", before {entry.name}")
            return
        hash_of_it = entry_hash(self._hash, entry)
        if hash_of_it != entry.hash:
            yield from self._break(f"{entry.name} is not what was chained: it, or its place, was changed")
            return
        self._hash, self.length = entry.hash, entry.sequence
        yield from self._checkpoints_here()

    def end(self, head: int) -> Iterator[str]:
        """head: how long the chain says that it is."""
        if self._broken:
            return
        last = max([head, *(each.sequence for each in self._checkpoints)])
        if last > self.length:
            yield from self._break(_missing(self.length + 1, last) + ": the end was cut off")
        elif self.length and not self.proved:
            yield "no checkpoint: the chain fits itself, and nothing shows that it was not made anew"

    def _break(self, finding: str) -> Iterator[str]:
        self._broken = True
        yield finding

    def _checkpoints_here(self) -> Iterator[str]:
        while self._next < len(self._checkpoints) and self._checkpoints[self._next].sequence <= self.length:
            checkpoint = self._checkpoints[self._next]
            self._next += 1
            try:
                self._verify(checkpoint)
            except ValueError as error:
                yield f"the checkpoint of entry {checkpoint.sequence}: {error}"
                continue
            if checkpoint.hash == self._hash and checkpoint.sequence == self.length:
                self.proved = self.length
                continue
            yield from self._break(
                f"entry {self.proved + 1}, or one after it up to entry {self.length}, was changed: the chain was made"
                f" anew from there, and is not the one that was signed"
            )


def _missing(first: int, last: int) -> str:
    return f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"
