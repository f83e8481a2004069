"""How a message is named: DE7, DE11, DE12, DE13 and DE37, unique without asking anyone (invariant 14).

The space of a million STANs is cut into 64 slots, one per living process: 15,625 messages a second each. The network's
duplicate key holds DE7 beside the STAN, so a slot starts anew each second; when a second is used up, the next one is
begun early. DE37 is the second in base 36 (six characters, good until 2088) and the STAN: unique for the same reason,
and for decades. A restarted process starts where the clock stands within the second, above what it can have used.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from switch.ports import Clock

STANS_PER_SLOT = 15_625
SLOTS = 64
_EPOCH_S = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
_ZONE = ZoneInfo("Asia/Shanghai")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def base36(value: int, width: int) -> str:
    """
    >>> base36(36**6 - 1, 6), base36(37, 3)
    ('ZZZZZZ', '011')
    """
    characters = []
    for _ in range(width):
        value, digit = divmod(value, 36)
        characters.append(_ALPHABET[digit])
    return "".join(reversed(characters))


class Identifiers:
    """Names messages of one process. Not for more than one thread."""

    __slots__ = ("_clock", "_first", "_local_date", "_local_time", "_next", "_rrn_head", "_second", "_transmission")

    def __init__(self, slot: int, clock: Clock) -> None:
        self._clock = clock
        self._first = slot * STANS_PER_SLOT
        now_ms = clock.time_ms()
        self._begin(now_ms // 1000)
        self._next = now_ms % 1000 * STANS_PER_SLOT // 1000

    def _begin(self, second: int) -> None:
        local = datetime.fromtimestamp(second, _ZONE)
        self._second = second
        self._next = 0
        self._local_date = local.strftime("%m%d")
        self._local_time = local.strftime("%H%M%S")
        self._transmission = self._local_date + self._local_time
        self._rrn_head = base36(second - _EPOCH_S, 6)

    def next(self) -> dict[str, str]:
        """A new name: the `trace` of a message. stan, transmission (DE7), rrn, local_time, local_date."""
        second = self._clock.time_ms() // 1000
        if second > self._second:
            self._begin(second)
        elif self._next >= STANS_PER_SLOT:
            self._begin(self._second + 1)
        stan = f"{self._first + self._next:06d}"
        self._next += 1
        return {
            "stan": stan,
            "transmission": self._transmission,
            "rrn": self._rrn_head + stan,
            "local_time": self._local_time,
            "local_date": self._local_date,
        }
