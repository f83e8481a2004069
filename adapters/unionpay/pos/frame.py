"""The stream of one terminal: two bytes of length, big-endian, then the message. No I/O: bytes in, messages out."""

from adapters.unionpay.pos.format import LARGEST_MESSAGE, LENGTH_BYTES, SHORTEST_MESSAGE


class Framer:
    """Cuts a stream into messages, in whatever pieces it comes.

    broken: a length was not possible, so that nothing behind it can be found again: the messages before it were
    returned, and the connection is to be closed. Never holds more than one message beyond what was fed.

    >>> framer = Framer()
    >>> messages = [framer.feed(bytes([each])) for each in b"\\0\\x15" + bytes(21)]
    >>> messages[-1] == [bytes(21)], any(messages[:-1]), framer.pending
    (True, False, 0)
    >>> framer.feed(b"GET / HTTP/1.1"), framer.broken
    ([], True)
    """

    __slots__ = ("_buffer", "_largest", "broken")

    def __init__(self, largest: int = LARGEST_MESSAGE) -> None:
        self._buffer = bytearray()
        self._largest = largest
        self.broken = False

    @property
    def pending(self) -> int:
        """Bytes of a message that has begun and is not whole."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now, in order; none once the stream is broken."""
        messages: list[bytes] = []
        if self.broken:
            return messages
        self._buffer += data
        at, size = 0, len(self._buffer)
        while size - at >= LENGTH_BYTES:
            length = int.from_bytes(self._buffer[at : at + LENGTH_BYTES])
            if not SHORTEST_MESSAGE <= length <= self._largest:
                self.broken = True
                self._buffer.clear()
                return messages
            end = at + LENGTH_BYTES + length
            if end > size:
                break
            messages.append(bytes(self._buffer[at + LENGTH_BYTES : end]))
            at = end
        del self._buffer[:at]
        return messages
