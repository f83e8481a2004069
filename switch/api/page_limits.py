"""How much of one address, printed code, and of everybody, a public page takes: bounded buckets that fill again."""

import ipaddress
from collections import OrderedDict
from typing import Final

from switch.ports import Clock

_MOST_BUCKETS: Final = 10_000


class PageLimits:
    """In one process, and lost with it. An IPv6 address counts with its /64."""

    def __init__(
        self, clock: Clock, per_address_per_minute: int, per_shop_code_per_minute: int, per_second: int = 200
    ) -> None:
        self._clock = clock
        self._everybody = _Buckets(60.0 * per_second, per_second)
        self._addresses = _Buckets(per_address_per_minute, per_address_per_minute)
        self._shop_codes = _Buckets(per_shop_code_per_minute, per_shop_code_per_minute)

    def takes(self, address: str, cost: float = 1.0) -> bool:
        """cost: in requests. Whoever has none left takes nothing of the others'."""
        now_s, key = self._clock.monotonic_s(), _counted(address)
        if self._addresses.left(key, now_s) < cost or self._everybody.left("", now_s) < 1:
            return False
        self._addresses.take(key, cost)
        self._everybody.take("", 1)
        return True

    def makes(self, shop_code: str) -> bool:
        """Whether an order may be made of that printed code now: counted, however many addresses ask."""
        if self._shop_codes.left(shop_code, self._clock.monotonic_s()) < 1:
            return False
        self._shop_codes.take(shop_code, 1)
        return True


class _Buckets:
    """By key, what is left of `most`; the least asked for is forgotten, and full again."""

    def __init__(self, per_minute: float, most: float) -> None:
        self._per_second = per_minute / 60
        self._most = float(most)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, key: str, now_s: float) -> float:
        left, since_s = self._buckets.pop(key, (self._most, now_s))
        left = min(self._most, left + (now_s - since_s) * self._per_second)
        self._buckets[key] = (left, now_s)
        while len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return left

    def take(self, key: str, cost: float) -> None:
        left, now_s = self._buckets[key]
        self._buckets[key] = (left - cost, now_s)


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
