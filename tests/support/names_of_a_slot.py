"""Names that a process of its own makes; here, where such a process finds it however pytest was started."""

from adapters.unionpay.identifiers import Identifiers

NOON_MS = 1_763_870_400_000  # 2025-11-23 04:00:00 UTC, noon in Shanghai


class SharedClock:
    """One wall clock for all processes of a machine."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000


def names_of(slot: int) -> list[tuple[str, str, str]]:
    """More than a slot holds in a second, so that it begins seconds early."""
    identifiers = Identifiers(slot, SharedClock(NOON_MS))
    return [(name["transmission"], name["stan"], name["rrn"]) for name in (identifiers.next() for _ in range(20_000))]
