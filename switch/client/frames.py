"""Which calls travel in which frame: no I/O, no clock of its own."""

import asyncio
from collections import deque
from dataclasses import dataclass

from payswitch.v1 import authorization_pb2 as pb

# A frame that has had no answer for this long no longer holds back those behind it: one silent channel must not
# slow payments to the others.
HOLDS_BACK_S = 0.02


@dataclass(slots=True)
class Call:
    """One authorization on its way.

    deadline_s: `loop.time()` when its budget ends. frame: the last that carried it; 0 while it was never sent.
    travelling: sent, and neither answered nor back in the queue.
    """

    sequence: int
    request: pb.AuthorizeRequest
    answer: "asyncio.Future[pb.AuthorizeResponse]"
    deadline_s: float
    frame: int = 0
    travelling: bool = False
    repeats: int = 0


class FrameWindow:
    """At most `size` frames in flight: what waits meanwhile travels in the next one.

    A frame is in flight until the first answer to any call in it or in a later one (frames are read in order, so that
    proves that it was read), or for HOLDS_BACK_S.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._in_flight: deque[tuple[int, float]] = deque()
        self._last = 0

    def is_open(self, now_s: float) -> bool:
        while self._in_flight and self._in_flight[0][1] + HOLDS_BACK_S <= now_s:
            self._in_flight.popleft()
        return len(self._in_flight) < self._size

    def opens_s(self) -> float:
        """When a full window opens by itself."""
        return self._in_flight[0][1] + HOLDS_BACK_S

    def open_frame(self, now_s: float) -> int:
        """Count one more frame as in flight; returns its number, from 1."""
        self._last += 1
        self._in_flight.append((self._last, now_s))
        return self._last

    def acknowledge(self, frame: int) -> None:
        while self._in_flight and self._in_flight[0][0] <= frame:
            self._in_flight.popleft()

    def clear(self) -> None:
        self._in_flight.clear()


def build_frame(calls: list[Call], number: int, now_s: float) -> pb.AuthorizeStreamRequest:
    """The frame for calls whose budget has not ended; marks them as sent."""
    frame = pb.AuthorizeStreamRequest()
    add = frame.items.add
    for call in calls:
        call.frame = number
        call.travelling = True
        add(sequence=call.sequence, request=call.request, budget_ms=max(1, int((call.deadline_s - now_s) * 1000)))
    return frame
