"""The learned score: the chance that a payment is fraud, by gradient-boosted trees (LightGBM).

LightGBM and numpy are the extra `model`; they are imported when a model is loaded, and only then (45 MB).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from switch.domain.risk import FactValue
from switch.risk.facts import BY_NAME, FactType
from switch.risk.model_file import Header, ModelFile, read

if TYPE_CHECKING:
    import numpy as np
    from lightgbm import Booster
    from numpy.typing import NDArray

    from switch.risk.drift import Drift

Facts = Mapping[str, FactValue]
STRONGEST: Final = 8


@dataclass(frozen=True, slots=True)
class Contribution:
    """How much a fact moved the score. value: None where it was not known. weight: thousandths of a log-odds, above 0
    towards fraud.
    """

    fact: str
    value: FactValue | None
    weight: int


class Rows:
    """Facts as the trees read them: one row a payment, one column a feature, NaN for what is not known.

    A word that is not in the vocabulary is not known, either.
    """

    def __init__(self, features: Sequence[str], vocabularies: Mapping[str, Sequence[str]]) -> None:
        self._features = tuple(features)
        self._codes = [
            (column, {word: float(place) for place, word in enumerate(vocabularies[name])})
            for column, name in enumerate(features)
            if BY_NAME[name].type is FactType.TEXT
        ]

    def matrix(self, rows: Sequence[Facts]) -> "NDArray[np.float64]":
        import numpy as np

        values: list[list[Any]] = [list(map(each.get, self._features)) for each in rows]
        for row in values:
            for column, codes in self._codes:
                row[column] = codes.get(row[column])
        return np.array(values, dtype=np.float64).reshape(len(values), len(self._features))


class Model:
    """A model that is loaded. Its calls may run in any thread; with `watched`, `score` in one only."""

    def __init__(self, file: ModelFile, booster: "Booster", drift: "Drift | None" = None) -> None:
        self.header: Final[Header] = file.header
        self.sha256: Final = file.sha256
        self.drift = drift
        self._booster = booster
        self._rows = Rows(file.header.features, file.header.vocabularies)

    def score(self, rows: Sequence[Facts]) -> list[int]:
        """The chance of fraud of each, 0 to 1000 thousandths. rows: facts by name; those missing are not known."""
        if not rows:
            return []
        matrix = self._rows.matrix(rows)
        margins = self._booster.predict(matrix, raw_score=True, num_threads=1)
        if self.drift is not None:
            self.drift.observe(matrix, margins)  # type: ignore[arg-type]
        return thousandths(margins, self.header)  # type: ignore[arg-type]

    def contributions(self, rows: Sequence[Facts], strongest: int = STRONGEST) -> list[list[Contribution]]:
        """The facts that moved each score most, the strongest first (TreeSHAP: Lundberg, 2018).

        Most of a millisecond a payment, without the GIL: off the road, in a thread, for what is declined or looked at.
        """
        if not rows:
            return []
        import numpy as np

        found = self._booster.predict(self._rows.matrix(rows), pred_contrib=True, num_threads=1)
        weights = np.rint(np.asarray(found)[:, :-1] * (1000 * self.header.calibration.slope)).astype(int)
        return [self._strongest(facts, row, strongest) for facts, row in zip(rows, weights.tolist(), strict=True)]

    def _strongest(self, facts: Facts, weights: Sequence[int], strongest: int) -> list[Contribution]:
        ordered = sorted(zip(self.header.features, weights, strict=True), key=lambda each: (-abs(each[1]), each[0]))
        return [Contribution(name, facts.get(name), weight) for name, weight in ordered[:strongest] if weight]


def load_model(content: bytes, *, watched: bool = False) -> Model:
    """watched: every score is counted for the drift. Raises ModelRefused; ImportError without the extra `model`."""
    file = read(content)
    import lightgbm

    from switch.risk.drift import Drift

    booster = lightgbm.Booster(model_str=file.trees)
    return Model(file, booster, Drift(file.header) if watched else None)


def thousandths(margins: "NDArray[np.floating]", header: Header) -> list[int]:
    """The trees' sums as calibrated chances."""
    import numpy as np

    exponents = np.clip(-(header.calibration.slope * margins + header.calibration.offset), -60, 60)
    scores: list[int] = np.rint(1000 / (1 + np.exp(exponents))).astype(int).tolist()
    return scores
