"""How much of one address, and of everybody, a public page takes: buckets that fill again, bounded in number."""

import ipaddress
from collections import OrderedDict
from typing import Final

from switch.ports import Clock

_MOST_ADDRESSES: Final = 10_000


class PageLimits:
    """In one process, and lost with it. An IPv6 address counts with its /64."""

    def __init__(self, clock: Clock, per_address_per_minute: int, per_second: int = 200) -> None:
        self._clock = clock
        self._per_minute = float(per_address_per_minute)
        self._per_second = float(per_second)
        self._everybody = (float(per_second), clock.monotonic_s())
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def takes(self, address: str, cost: float = 1.0) -> bool:
        """cost: in requests."""
        now_s, key = self._clock.monotonic_s(), _counted(address)
        left, since_s = self._everybody
        everybody = min(self._per_second, left + (now_s - since_s) * self._per_second)
        left, since_s = self._buckets.pop(key, (self._per_minute, now_s))
        ones = min(self._per_minute, left + (now_s - since_s) * self._per_minute / 60)
        taken = ones >= cost and everybody >= 1
        self._buckets[key] = (ones - cost if taken else ones, now_s)
        self._everybody = (everybody - 1 if taken else everybody, now_s)
        while len(self._buckets) > _MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return taken


def _counted(address: str) -> str:
    """
    >>> _counted("2001:db8::1") == _counted("2001:db8::2"), _counted("203.0.113.7"), _counted("nonsense")
    (True, '203.0.113.7', '')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
