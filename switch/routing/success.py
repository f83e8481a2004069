"""How well each channel does: a sliding window of its results. No clock of its own, no I/O.

What counts is whether the channel did its work, not whether the payer could pay: a decline that is the payer's own
fault is a success. Silence, lost links and answers that say "I could not" are failures. What says something about the
message or the merchant says nothing about the channel.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from switch.ports import Approved, AwaitingPayer, ChannelResult, Declined
from switch.routing.plan import Success

# DE39 of a decline. Those that are in neither set are not counted.
PAYERS_OWN: Final = frozenset(
    {"01", "02", "04", "05", "14", "34", "38", "41", "43", "51", "54", "55", "57", "59", "61", "62", "65", "75", "99"}
)
CHANNELS_FAULT: Final = frozenset({"68", "77", "90", "91", "92", "96", "98", "A0"})

_SLICES = 10


def is_success(result: ChannelResult) -> bool | None:
    """None if the result says nothing about the channel."""
    if isinstance(result, Approved | AwaitingPayer):
        return True
    if isinstance(result, Declined):
        if result.response_code in PAYERS_OWN:
            return True
        return False if result.response_code in CHANNELS_FAULT else None
    return False


class SuccessRates:
    """The channels' windows. They outlive a change of plan, unless it changes how they are measured."""

    def __init__(self, settings: Success, now_s: Callable[[], float]) -> None:
        self._settings = settings
        self._now_s = now_s
        self._windows: dict[str, _Window] = {}

    def follow(self, settings: Success) -> None:
        if settings != self._settings:
            self._settings = settings
            self._windows.clear()

    def observe(self, channel: str, result: ChannelResult) -> None:
        """One result of a payment; about 1 µs."""
        if self._settings.least_percent == 0:
            return
        success = is_success(result)
        if success is None:
            return
        window = self._windows.get(channel)
        if window is None:
            window = self._windows[channel] = _Window(self._settings)
        window.add(success, self._now_s())

    def failing_percent(self, channel: str) -> int | None:
        """None while it does well; else the rate at which it was found failing, or that of its recovery."""
        window = self._windows.get(channel)
        return None if window is None else window.failing_percent


class _Window:
    """While well: counts in slices of a tenth of the window. While failing: the last results, however old."""

    __slots__ = ("_all", "_good", "_last", "_settings", "_slices", "failing_percent")

    def __init__(self, settings: Success) -> None:
        self._settings = settings
        self._slices: deque[list[int]] = deque()  # [number of the slice, good, all]
        self._good = self._all = 0
        self._last: deque[bool] = deque(maxlen=settings.recovery_results)
        self.failing_percent: int | None = None

    def add(self, success: bool, now_s: float) -> None:
        if self.failing_percent is None:
            self._add_to_window(success, int(now_s * _SLICES / self._settings.window_s))
        else:
            self._add_to_recovery(success)

    def _add_to_window(self, success: bool, slice_number: int) -> None:
        settings, slices = self._settings, self._slices
        if not slices or slices[-1][0] != slice_number:
            slices.append([slice_number, 0, 0])
            while slices[0][0] <= slice_number - _SLICES:
                _, good, every = slices.popleft()
                self._good -= good
                self._all -= every
        slices[-1][1] += success
        slices[-1][2] += 1
        self._good += success
        self._all += 1
        if self._all >= settings.least_results and self._good * 100 < settings.least_percent * self._all:
            self.failing_percent = self._good * 100 // self._all
            slices.clear()
            self._good = self._all = 0

    def _add_to_recovery(self, success: bool) -> None:
        """Counted, not timed: at a small probe share a window would be empty again before it could say anything."""
        last, settings = self._last, self._settings
        last.append(success)
        if len(last) == settings.recovery_results:
            self.failing_percent = sum(last) * 100 // len(last)
            if sum(last) * 100 >= settings.recovered_percent * len(last):
                self.failing_percent = None
                last.clear()
