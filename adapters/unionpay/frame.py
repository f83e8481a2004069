"""The stream of one link: four ASCII digits of length, then header and body; the bare length `0000` keeps alive.

No I/O: bytes in, messages out, in whatever pieces they come (Q/CUP 006.3; PROTOCOLS, UnionPay).
"""

from enum import Enum

from adapters.unionpay.format import HEADER_LENGTH, HEADER_MARK, LARGEST_MESSAGE_LENGTH

KEEP_ALIVE = b"0000"
_PREFIX = 4
_PROBE = _PREFIX + 6  # prefix, mark, version, total length: enough to tell a frame from garbage


class Remedy(Enum):
    """What the owner of the link should do about garbage."""

    RESYNCHRONISE = "resynchronise"
    DROP = "drop"


class FrameError(Exception):
    """The stream is not at a frame. Its text holds no bytes of the stream."""

    def __init__(self, reason: str, remedy: Remedy) -> None:
        super().__init__(reason)
        self.remedy = remedy


class Framer:
    """Cuts a stream into messages (header and body, without the length before them).

    After `feed` or `resynchronise` look at `error`: None, or why the stream cannot be cut further. Then either call
    `resynchronise`, which searches the next frame and returns what follows, or drop the link, as `error.remedy` says.
    It asks to drop once `garbage_limit` bytes were skipped since the last good message. Never holds more than one
    message beyond what was fed.

    >>> framer = Framer()
    >>> framer.feed(b"00000000"), framer.keep_alives
    ([], 2)
    >>> framer.feed(b"GET / HTTP/1.1"), framer.error.remedy.value
    ([], 'resynchronise')
    """

    __slots__ = ("_buffer", "_garbage_limit", "_hunting", "_longest", "error", "keep_alives", "skipped", "skipped_ever")

    def __init__(self, longest: int = LARGEST_MESSAGE_LENGTH, garbage_limit: int = 16 * LARGEST_MESSAGE_LENGTH) -> None:
        self._buffer = b""
        self._hunting = False
        self._longest = longest
        self._garbage_limit = garbage_limit
        self.error: FrameError | None = None
        self.keep_alives = 0
        self.skipped = 0  # bytes of garbage since the last good message
        self.skipped_ever = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now, in order. Raises the standing `error` if it was not dealt with."""
        if self.error is not None:
            raise self.error
        self._buffer = self._buffer + data if self._buffer else data
        if self._hunting:
            return self._hunt()
        return self._cut()

    def resynchronise(self) -> list[bytes]:
        """Skip to the next thing that looks like a frame: digits, the header's mark, the same digits again."""
        if self.error is not None and self.error.remedy is Remedy.DROP:
            raise self.error
        self.error = None
        self._skip(1)
        return self._hunt()

    def _cut(self) -> list[bytes]:
        buffer, at, size = self._buffer, 0, len(self._buffer)
        messages: list[bytes] = []
        while size - at >= _PREFIX:
            prefix = buffer[at : at + _PREFIX]
            if prefix == KEEP_ALIVE:
                self.keep_alives += 1
                at += _PREFIX
                continue
            if not self._plausible(prefix) or (size - at >= _PROBE and not self._starts_frame(buffer, at)):
                self.error = FrameError("the stream is not at a frame", Remedy.RESYNCHRONISE)
                break
            end = at + _PREFIX + int(prefix)
            if end > size:
                break
            messages.append(buffer[at + _PREFIX : end])
            at = end
        if messages:
            self.skipped = 0
        self._buffer = buffer[at:]
        return messages

    def _hunt(self) -> list[bytes]:
        for at in range(len(self._buffer) - _PROBE + 1):
            if self._plausible(self._buffer[at : at + _PREFIX]) and self._starts_frame(self._buffer, at):
                self._hunting = False
                self._skip(at)
                return [] if self.error else self._cut()
        self._hunting = True
        self._skip(max(0, len(self._buffer) - _PROBE + 1))
        return []

    def _skip(self, count: int) -> None:
        self._buffer = self._buffer[count:]
        self.skipped += count
        self.skipped_ever += count
        if self.skipped > self._garbage_limit:
            self.error = FrameError("more garbage than the limit", Remedy.DROP)

    def _plausible(self, prefix: bytes) -> bool:
        return prefix.isdigit() and HEADER_LENGTH <= int(prefix) <= self._longest

    @staticmethod
    def _starts_frame(buffer: bytes, at: int) -> bool:
        return buffer[at + 4] == HEADER_MARK and buffer[at + 6 : at + 10] == buffer[at : at + 4]
