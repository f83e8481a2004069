"""Sliding windows in memory: counts and sums of several lengths, and different ones seen."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from typing import Final

_NO_MOVE_MS: Final = 1 << 62


class Windows:
    """Windows of several lengths, the shortest first, over one list of cells, oldest first.

    twelfths_ms: of each window. A cell is [when its stretch began, count, sum]; a window holds those from its start on.
    One that leaves a window is rounded to the next one's stretch: there are never more than 13 cells of each.

    >>> windows = Windows((5_000, 50_000))
    >>> windows.add(1_000, 1_000, 30); windows.add(58_000, 58_000, 12)
    >>> windows.slide(64_999); windows.counts, windows.sums
    ([2, 2], [42, 42])
    >>> windows.slide(65_000); windows.counts, windows.sums
    ([1, 2], [12, 42])
    """

    __slots__ = ("_cells", "_moves_ms", "_starts", "_twelfths_ms", "counts", "sums")

    def __init__(self, twelfths_ms: tuple[int, ...]) -> None:
        self._twelfths_ms = twelfths_ms
        self._cells: list[list[int]] = []
        self._starts = [0] * len(twelfths_ms)
        self._moves_ms = _NO_MOVE_MS  # before that nothing leaves a window
        self.counts = [0] * len(twelfths_ms)
        self.sums = [0] * len(twelfths_ms)

    def slide(self, now_ms: int) -> None:
        if now_ms < self._moves_ms:
            return
        cells, moves_ms = self._cells, _NO_MOVE_MS
        size = len(cells)
        for window, twelfth_ms in enumerate(self._twelfths_ms):
            start = self._starts[window]
            if start < size:
                oldest_ms = now_ms - now_ms % twelfth_ms - 12 * twelfth_ms
                if cells[start][0] < oldest_ms:
                    start = self._leave(window, oldest_ms)
                    size = len(cells)
                    if start == size:
                        continue
                began_ms = cells[start][0]
                ends_ms = began_ms - began_ms % twelfth_ms + 13 * twelfth_ms
                if ends_ms < moves_ms:
                    moves_ms = ends_ms
        gone = self._starts[-1]
        if gone:
            del cells[:gone]
            self._starts = [start - gone for start in self._starts]
        self._moves_ms = moves_ms

    def _leave(self, window: int, oldest_ms: int) -> int:
        """Cells that began before are the next window's from now on. Where this window starts then."""
        cells, starts = self._cells, self._starts
        start, beyond, merged = starts[window], window + 1, 0
        stretch_ms = self._twelfths_ms[beyond] if beyond < len(starts) else 0
        while start < len(cells) and cells[start][0] < oldest_ms:
            cell = cells[start]
            self.counts[window] -= cell[1]
            self.sums[window] -= cell[2]
            if stretch_ms:
                cell[0] -= cell[0] % stretch_ms
                if start > starts[beyond] and cells[start - 1][0] == cell[0]:
                    cells[start - 1][1] += cell[1]
                    cells[start - 1][2] += cell[2]
                    del cells[start]
                    merged += 1
                    continue
            start += 1
        starts[window] = start
        if merged:
            for shorter in range(window):
                starts[shorter] -= merged
        return start

    def add_now(self, now_ms: int, amount: int) -> None:
        if now_ms >= self._moves_ms:
            self.slide(now_ms)
        cells, stretch_ms = self._cells, self._twelfths_ms[0]
        began_ms = now_ms - now_ms % stretch_ms
        if len(cells) > self._starts[0] and cells[-1][0] == began_ms:
            cells[-1][1] += 1
            cells[-1][2] += amount
        else:
            cells.append([began_ms, 1, amount])
            if began_ms + 13 * stretch_ms < self._moves_ms:
                self._moves_ms = began_ms + 13 * stretch_ms
        self.counts = [count + 1 for count in self.counts]
        self.sums = [total + amount for total in self.sums]

    def add(self, time_ms: int, now_ms: int, amount: int) -> None:
        """Of any time up to now; nothing where no window reaches so far back."""
        self.slide(now_ms)
        reaching = [now_ms // each - time_ms // each <= 12 for each in self._twelfths_ms]
        if not reaching[-1]:
            return
        level = reaching.index(True)
        stretch_ms = self._twelfths_ms[level]
        began_ms = time_ms - time_ms % stretch_ms
        high = self._starts[level - 1] if level else len(self._cells)
        at = bisect_left(self._cells, [began_ms], self._starts[level], high)
        if at < high and self._cells[at][0] == began_ms:
            self._cells[at][1] += 1
            self._cells[at][2] += amount
        else:
            self._cells.insert(at, [began_ms, 1, amount])
            for shorter in range(level):
                self._starts[shorter] += 1
            self._moves_ms = min(self._moves_ms, began_ms + 13 * stretch_ms)
        for window in range(level, len(self._starts)):
            self.counts[window] += 1
            self.sums[window] += amount


class Distinct:
    """Different ones, by when each was last seen; the least lately seen makes room where there are `most`.

    stretches: how many of the shortest window's stretches make one of each window's, the shortest window first.

    >>> seen = Distinct((1, 24), most=3)
    >>> for who, stretch in (("a", 0), ("b", 1), ("a", 2), ("c", 13)): seen.note(who, stretch)
    >>> seen.counts(13), seen.counts(14), seen.counts(15)
    ([3, 3], [2, 3], [1, 3])
    """

    __slots__ = ("_at", "_last", "_most", "_stretches")

    def __init__(self, stretches: Sequence[int], most: int) -> None:
        self._stretches = stretches
        self._most = most
        self._last: dict[str, int] = {}  # the least lately seen first
        self._at: list[int] = []  # the same stretches, ascending

    def note(self, who: str, stretch: int) -> None:
        """stretch: the number of the shortest window's that is now; never less than before."""
        before = self._last.get(who)
        if before == stretch:
            return
        if before is not None:
            del self._last[who]
            del self._at[bisect_left(self._at, before)]
        self._last[who] = stretch
        self._at.append(stretch)
        if len(self._at) > self._most:
            self._forget(1)

    def counts(self, stretch: int) -> list[int]:
        """Per window."""
        at, held = self._at, len(self._at)
        if not held or at[0] >= stretch - 12:
            return [held] * len(self._stretches)
        counts = [held - bisect_left(at, (stretch // size - 12) * size) for size in self._stretches]
        if counts[-1] < held:
            self._forget(held - counts[-1])
        return counts

    def _forget(self, count: int) -> None:
        del self._at[:count]
        for who in list(islice(self._last, count)):
            del self._last[who]
