"""Has the traffic moved away from what the model learned from? The population stability index says how far.

PSI = Σ (now - then) · ln(now / then) over the bins' shares (Siddiqi, Credit Risk Scorecards, 2006). Its rule of thumb:
below 0.1 the same, from 0.25 on another population.

Cheap: one row in `STRIDE` is copied, and every `_FOLD_ROWS` copied rows are counted in one go. What is older fades: a
fold makes all before it a fiftieth lighter.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from switch.risk.model_file import Header, Histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRIDE: Final = 8
SAME_BELOW: Final = 0.1
MOVED_FROM: Final = 0.25
_FOLD_ROWS: Final = 512
_KEPT: Final = 0.98
_SMOOTHING: Final = 1e-4  # of a share: an empty bin has no logarithm


def stability_index(then: Sequence[float], now: Sequence[float]) -> float:
    """Counts per bin, then and now; 0 while nothing is counted now.

    >>> round(stability_index([50, 50], [50, 50]), 3), round(stability_index([50, 50], [90, 10]), 3)
    (0.0, 0.879)
    """
    if not sum(now):
        return 0.0
    expected = np.maximum(np.asarray(then, float) / sum(then), _SMOOTHING)
    found = np.maximum(np.asarray(now, float) / sum(now), _SMOOTHING)
    return float(np.sum((found - expected) * np.log(found / expected)))


def histogram_of(values: "NDArray[np.floating]", edges: Sequence[float]) -> "NDArray[np.int64]":
    """Counts of `Histogram.counts`' shape; NaN is what is not known."""
    known = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    return np.append(counts, len(values) - len(known))


class Drift:
    """Of one model in one process. Not for several threads."""

    def __init__(self, header: Header) -> None:
        self._names = ("", *header.features)  # "": the score
        self._then: tuple[Histogram, ...] = (header.margin, *header.histograms)
        self._now = [np.zeros(len(each.counts)) for each in self._then]
        self._rows = np.empty((_FOLD_ROWS, len(self._names)))
        self._filled = 0
        self._skip = 0
        self.counted = 0

    def observe(self, matrix: "NDArray[np.floating]", margins: "NDArray[np.floating]") -> None:
        """A batch as it was scored: rows by features, and the trees' sum of each row."""
        size = len(margins)
        for begin in range(self._skip, size, STRIDE * _FOLD_ROWS):
            self._take(matrix[begin : begin + STRIDE * _FOLD_ROWS : STRIDE], margins[begin::STRIDE][:_FOLD_ROWS])
        self._skip = (self._skip - size) % STRIDE

    def indices(self) -> dict[str, float]:
        """PSI by feature; "" is the score's."""
        return {
            name: stability_index(then.counts, now.tolist())
            for name, then, now in zip(self._names, self._then, self._now, strict=True)
        }

    def _take(self, matrix: "NDArray[np.floating]", margins: "NDArray[np.floating]") -> None:
        taken = 0
        while taken < len(margins):
            end = min(len(margins), taken + _FOLD_ROWS - self._filled)
            place = slice(self._filled, self._filled + end - taken)
            self._rows[place, 0] = margins[taken:end]
            self._rows[place, 1:] = matrix[taken:end]
            self._filled += end - taken
            taken = end
            if self._filled == _FOLD_ROWS:
                self._fold()

    def _fold(self) -> None:
        for column, then in enumerate(self._then):
            self._now[column] *= _KEPT
            self._now[column] += histogram_of(self._rows[:, column], then.edges)
        self.counted += self._filled
        self._filled = 0
