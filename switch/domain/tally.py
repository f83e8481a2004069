"""How often something was tried, and whether it may be tried again now. Times are Unix milliseconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tally:
    """count: tries that were begun and not taken back. since: of the first. last: 0 before the first."""

    count: int
    since_time_ms: int
    last_time_ms: int


@dataclass(frozen=True, slots=True)
class BackOff:
    """`free` tries in a row, then a wait that doubles with each, from `first_ms` up to `longest_ms`.

    What was not right for `forget_ms` is forgotten.
    """

    free: int
    first_ms: int
    longest_ms: int
    forget_ms: int

    def __call__(self, tally: Tally, now_ms: int) -> Tally | None:
        """
        >>> rule = BackOff(free=3, first_ms=1000, longest_ms=60_000, forget_ms=3_600_000)
        >>> rule(Tally(2, 0, 5000), 5000)
        Tally(count=3, since_time_ms=0, last_time_ms=5000)
        >>> rule(Tally(4, 0, 5000), 6999), rule(Tally(4, 0, 5000), 7000)
        (None, Tally(count=5, since_time_ms=0, last_time_ms=7000))
        """
        if tally.last_time_ms and now_ms - tally.last_time_ms >= self.forget_ms:
            tally = Tally(0, now_ms, 0)
        wait_ms = self.wait_ms(tally.count)
        if wait_ms and now_ms < tally.last_time_ms + wait_ms:
            return None
        return Tally(tally.count + 1, tally.since_time_ms, now_ms)

    def wait_ms(self, count: int) -> int:
        """Between the `count`-th try and the next."""
        if count < self.free:
            return 0
        return min(self.first_ms << min(count - self.free, 40), self.longest_ms)


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `most` in `window_ms`, counted from the first."""

    most: int
    window_ms: int

    def __call__(self, tally: Tally, now_ms: int) -> Tally | None:
        """
        >>> Pace(2, 1000)(Tally(2, 500, 900), 1499), Pace(2, 1000)(Tally(2, 500, 900), 1500)
        (None, Tally(count=1, since_time_ms=1500, last_time_ms=1500))
        """
        if now_ms - tally.since_time_ms >= self.window_ms:
            tally = Tally(0, now_ms, 0)
        return None if tally.count >= self.most else Tally(tally.count + 1, tally.since_time_ms, now_ms)
