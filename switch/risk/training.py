"""Grows a model from labelled payments.

The latest fifth is held back, by time: a model is judged, stopped and calibrated by what came after what it learned
from. A first, short run sees every fact; the model itself reads only those that it used most, since each costs the
road time.

All fraud is kept, and of the legitimate payments every n-th, with n times its weight: the chances stay chances.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from switch.domain.risk import FactValue
from switch.risk.drift import histogram_of
from switch.risk.facts import BY_NAME, FACTS, FactType
from switch.risk.model import Rows, thousandths
from switch.risk.model_file import (
    LARGEST_VOCABULARY,
    Calibration,
    Header,
    Histogram,
    Point,
    learnable,
    write,
)
from switch.risk.model_trees import without_parameters

if TYPE_CHECKING:
    from lightgbm import Booster
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_FRAUDS: Final = 50  # in what is learned from; and a fifth of it in what is held back
_CHUNK_ROWS: Final = 4096
_BINS: Final = 10
_POINT_SHARES: Final = (0.0, 0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003, 0.004, 0.005, 0.01, 0.02)


class TrainingRefused(ValueError):
    """There is too little to learn from, or too little of one kind."""


@dataclass(frozen=True, slots=True)
class Example:
    """A payment that turned out to be something. value_minor: what a fraud took, in the reference currency."""

    time_ms: int
    fraud: bool
    facts: Mapping[str, FactValue]
    value_minor: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """every: of the legitimate payments, one in so many is learned from. threads: of the training alone."""

    features: int = 64
    rounds: int = 400
    scout_rounds: int = 60
    learning_rate: float = 0.05
    leaves: int = 24
    least_in_leaf: int = 40
    held_back: float = 0.2
    every: int = 3
    seed: int = 1
    threads: int = 2


@dataclass(slots=True)
class Columns:
    """Examples as columns. matrix: float32, by all learnable facts."""

    features: list[str]
    vocabularies: dict[str, list[str]]
    matrix: "NDArray[np.float32]"
    times_ms: "NDArray[np.int64]"
    frauds: "NDArray[np.bool_]"
    values_minor: "NDArray[np.int64]"
    weights: "Floats"

    def part(self, rows: "NDArray[Any]", features: Sequence[str] | None = None) -> "Columns":
        names = self.features if features is None else list(features)
        columns = [self.features.index(name) for name in names]
        return Columns(
            names,
            {name: words for name, words in self.vocabularies.items() if name in names},
            self.matrix[rows][:, columns],
            self.times_ms[rows],
            self.frauds[rows],
            self.values_minor[rows],
            self.weights[rows],
        )


@dataclass(slots=True)
class _Gathered:
    """What `_gather` fills: vocabularies grow as words come."""

    vocabularies: dict[str, dict[str, int]]
    chunks: list["NDArray[np.float32]"] = field(default_factory=list)
    labels: list[tuple[int, bool, int, float]] = field(default_factory=list)


def train(examples: Iterable[Example], plan: Plan = Plan(), trained_from: str = "") -> bytes:
    """The file of a model. examples: in any order, read once. Raises TrainingRefused."""
    return grow([gather(examples, plan)], plan, trained_from)


def grow(tables: Sequence[Columns], plan: Plan, trained_from: str = "") -> bytes:
    """The file of a model, from histories that were gathered apart. Raises TrainingRefused."""
    table = _joined(tables)
    order = np.argsort(table.times_ms, kind="stable")
    border = int(len(order) * (1 - plan.held_back))
    _check(table.frauds[order[:border]], table.frauds[order[border:]])
    every_feature = table.part(order[:border]), table.part(order[border:])
    features = _most_used(_grow(*every_feature, plan, plan.scout_rounds), plan.features)
    learned, held = table.part(order[:border], features), table.part(order[border:], features)
    booster = _grow(learned, held, plan, plan.rounds)
    header = _header(booster, learned, held, trained_from)
    return write(header, without_parameters(booster.model_to_string(num_iteration=booster.best_iteration)))


def _check(learned: "NDArray[np.bool_]", held: "NDArray[np.bool_]") -> None:
    for name, part, least in (("learn from", learned, LEAST_FRAUDS), ("judge by", held, LEAST_FRAUDS // 5)):
        frauds = int(part.sum())
        if frauds < least or len(part) - frauds < least:
            raise TrainingRefused(
                f"to {name}: {frauds} frauds and {len(part) - frauds} legitimate payments; at least {least} of each"
            )


def _joined(tables: Sequence[Columns]) -> Columns:
    """One table: each word has one place in it, whatever it had in its own."""
    first = tables[0]
    words = {
        name: list(dict.fromkeys(word for each in tables for word in each.vocabularies[name]))[:LARGEST_VOCABULARY]
        for name in first.vocabularies
    }
    for table in tables:
        for name, known in words.items():
            places = [known.index(word) if word in known else np.nan for word in table.vocabularies[name]]
            column = table.matrix[:, table.features.index(name)]
            met = ~np.isnan(column)
            column[met] = np.array(places, dtype=np.float32)[column[met].astype(np.int64)]
    return Columns(
        first.features,
        words,
        np.concatenate([each.matrix for each in tables]),
        np.concatenate([each.times_ms for each in tables]),
        np.concatenate([each.frauds for each in tables]),
        np.concatenate([each.values_minor for each in tables]),
        np.concatenate([each.weights for each in tables]),
    )


def gather(examples: Iterable[Example], plan: Plan) -> Columns:
    """Raises TrainingRefused without any."""
    names = [each.name for each in FACTS if learnable(each)]
    gathered = _Gathered({name: {} for name in names if BY_NAME[name].type is FactType.TEXT})
    chunk: list[Example] = []
    for example in _thinned(examples, plan.every):
        chunk.append(example)
        if len(chunk) == _CHUNK_ROWS:
            _add(gathered, names, chunk, plan.every)
            chunk = []
    if chunk:
        _add(gathered, names, chunk, plan.every)
    if not gathered.chunks:
        raise TrainingRefused("nothing to learn from")
    times, frauds, values, weights = zip(*gathered.labels, strict=True)
    vocabularies = {name: list(words) for name, words in gathered.vocabularies.items()}
    return Columns(
        names, vocabularies, np.concatenate(gathered.chunks), np.array(times), np.array(frauds), np.array(values),
        np.array(weights),
    )  # fmt: skip


def _thinned(examples: Iterable[Example], every: int) -> Iterator[Example]:
    legitimate = 0
    for example in examples:
        legitimate += not example.fraud
        if example.fraud or legitimate % every == 0:
            yield example


def _add(gathered: _Gathered, names: Sequence[str], chunk: Sequence[Example], every: int) -> None:
    for name, words in gathered.vocabularies.items():
        for example in chunk:
            word = example.facts.get(name)
            if isinstance(word, str) and word not in words and len(words) < LARGEST_VOCABULARY:
                words[word] = len(words)
    rows = Rows(names, {name: list(words) for name, words in gathered.vocabularies.items()})
    gathered.chunks.append(rows.matrix([each.facts for each in chunk]).astype(np.float32))
    gathered.labels += [(each.time_ms, each.fraud, each.value_minor, 1.0 if each.fraud else every) for each in chunk]


def _grow(learned: Columns, held: Columns, plan: Plan, rounds: int) -> "Booster":
    import lightgbm

    categorical = [learned.features.index(name) for name in learned.vocabularies]
    data = lightgbm.Dataset(
        learned.matrix, learned.frauds.astype(np.int8), weight=learned.weights, feature_name=learned.features,
        categorical_feature=categorical,
    )  # fmt: skip
    judged = lightgbm.Dataset(held.matrix, held.frauds.astype(np.int8), weight=held.weights, reference=data)
    parameters = {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": plan.learning_rate,
        "num_leaves": plan.leaves,
        "min_data_in_leaf": plan.least_in_leaf,
        "min_sum_hessian_in_leaf": 1e-2,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "max_cat_to_onehot": 8,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": plan.threads,
        "seed": plan.seed,
        "verbosity": -1,
    }
    stop = lightgbm.early_stopping(40, verbose=False)
    return lightgbm.train(parameters, data, rounds, valid_sets=[judged], callbacks=[stop])


def _most_used(scout: "Booster", count: int) -> list[str]:
    """By the gain of their splits; in the published order."""
    gains = dict(zip(scout.feature_name(), scout.feature_importance("gain"), strict=True))
    ordered = sorted((name for name in gains if gains[name] > 0), key=lambda name: -gains[name])
    kept = set(ordered[:count])
    return [name for name in scout.feature_name() if name in kept]


# --- what the header says ---------------------------------------------------------------------------------------------


def _header(booster: "Booster", learned: Columns, held: Columns, trained_from: str) -> Header:
    margins = np.asarray(booster.predict(learned.matrix, raw_score=True), dtype=np.float64)
    held_margins = np.asarray(booster.predict(held.matrix, raw_score=True), dtype=np.float64)
    calibration = calibrate(held_margins, held.frauds, held.weights)
    header = Header(
        features=tuple(learned.features),
        vocabularies={name: tuple(words) for name, words in learned.vocabularies.items()},
        from_time_ms=int(learned.times_ms.min()),
        to_time_ms=int(held.times_ms.max()),
        payments=round(learned.weights.sum() + held.weights.sum()),
        frauds=int(learned.frauds.sum() + held.frauds.sum()),
        calibration=calibration,
        margin=_histogram(margins, learned.weights),
        histograms=tuple(
            _histogram(learned.matrix[:, column].astype(np.float64), learned.weights)
            for column in range(len(learned.features))
        ),
        trained_from=trained_from,
    )
    scores = np.array(thousandths(held_margins, header))
    metrics = {
        "average_precision": average_precision(held_margins, held.frauds, held.weights),
        "trees": float(booster.best_iteration),
        "held_back_payments": float(round(held.weights.sum())),
        "held_back_frauds": float(held.frauds.sum()),
    }
    return replace(header, metrics=metrics, points=tuple(_points(scores, held)))


def calibrate(margins: "Floats", frauds: "NDArray[np.bool_]", weights: "Floats") -> Calibration:
    """Platt's two numbers by Newton's method; the plain logistic function where the fit is not better than none."""
    slope, offset = 1.0, 0.0
    for _ in range(50):
        chances = 1 / (1 + np.exp(-np.clip(slope * margins + offset, -60, 60)))
        error, spread = weights * (chances - frauds), weights * np.maximum(chances * (1 - chances), 1e-12)
        gradient = np.array([np.sum(error * margins), np.sum(error)])
        curvature = np.array(
            [
                [np.sum(spread * margins * margins) + 1e-6, np.sum(spread * margins)],
                [np.sum(spread * margins), np.sum(spread) + 1e-6],
            ]
        )
        step = np.linalg.solve(curvature, gradient)
        slope, offset = slope - float(step[0]), offset - float(step[1])
        if np.max(np.abs(step)) < 1e-9:
            break
    if not (np.isfinite(slope) and np.isfinite(offset) and 0.1 < slope < 10):
        return Calibration()
    return Calibration(slope, offset)


def average_precision(scores: "Floats", frauds: "NDArray[np.bool_]", weights: "Floats") -> float:
    """Area under the precision-recall curve, as a sum of steps.

    >>> average_precision(np.array([3.0, 2, 1]), np.array([True, False, True]), np.ones(3))
    0.8333333333333333
    """
    order = np.argsort(-scores, kind="stable")
    hits = frauds[order] * weights[order]
    precision = np.cumsum(hits) / np.cumsum(weights[order])
    return float(np.sum(precision * hits) / np.sum(hits))


def _points(scores: "NDArray[np.int64]", held: Columns) -> list[Point]:
    """For each share of legitimate payments: the lowest score that declines no more of them."""
    legitimate = np.where(held.frauds, 0, held.weights)
    at_least = np.cumsum(np.bincount(scores, legitimate, minlength=1002)[::-1])[::-1] / legitimate.sum()
    values = np.where(held.frauds, held.values_minor, 0)
    points = []
    for share in _POINT_SHARES:
        score = max(1, int(np.argmax(at_least <= share)))
        caught = scores >= score
        points.append(
            Point(
                score,
                float(at_least[score]),
                float((caught & held.frauds).sum() / held.frauds.sum()),
                float(values[caught].sum() / max(1, values.sum())),
            )
        )
    return points


def _histogram(values: "Floats", weights: "Floats") -> Histogram:
    """Of about ten bins with as many values in each; the weights are followed by repeating."""
    heavy = np.repeat(values, weights.astype(int))
    known = heavy[~np.isnan(heavy)]
    cuts = np.unique(np.quantile(known, np.arange(1, _BINS) / _BINS)) if len(known) else np.array([])
    # A cut at the lowest value would leave the first bin empty for ever.
    edges = [float(each) for each in cuts if each > known.min()]
    return Histogram(tuple(edges), tuple(int(each) for each in histogram_of(heavy, edges)))
