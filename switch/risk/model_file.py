"""A model as one file: what it was trained on and how well, then its trees.

    payswitch-risk-model 1\\n
    {…}\\n                      the header: JSON, one line, with the trees' SHA-256
    tree\\nversion=v4\\n…       LightGBM's model text

A file is refused before LightGBM sees it (`switch.risk.model_trees`). The digest finds damage, not malice: who may
bring a model into force is the desk's matter.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Final

from switch.risk.facts import BY_NAME, MODEL, Fact, FactType
from switch.risk.model_trees import TextRefused, check_trees

FORMAT_LINE: Final = b"payswitch-risk-model 1\n"
LARGEST_FILE_BYTES: Final = 16 * 1024 * 1024
LARGEST_HEADER_BYTES: Final = 1024 * 1024
LARGEST_FEATURES: Final = 400
LARGEST_VOCABULARY: Final = 500
LARGEST_BINS: Final = 600

# They name a participant or a bank, of which a model would learn by heart who had the fraud last month.
NOT_LEARNED: Final = frozenset({"acquirer", "card_range"})


class ModelRefused(ValueError):
    """The file is no model of ours, or not whole; says where and why."""


def learnable(fact: Fact) -> bool:
    """Lists are the desk's own judgements, and a model's score is not to learn from another's."""
    is_model = fact.source == MODEL or fact.name == "model_known"
    return fact.type is not FactType.TEXTS and not is_model and fact.name not in NOT_LEARNED


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a value lay in each bin. edges: rising; a value is in the first bin whose edge is above it.

    counts: one more than edges, and behind them how often the value was not known.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """From the trees' sum to a chance: 1 / (1 + exp(-(slope · sum + offset))) (Platt, 1999). slope: above 0."""

    slope: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """If everything from this score on were declined, in the part that was held back.

    score: 0 to 1001, the last declines nothing. legitimate_declined, caught, value_caught: shares, 0 to 1.
    """

    score: int
    legitimate_declined: float
    caught: float
    value_caught: float


@dataclass(frozen=True, slots=True)
class Header:
    """features: facts, in the trees' order. vocabularies: of the text facts: a word's place is its category.

    from_time_ms, to_time_ms: of the payments learned from. payments, frauds: how many they were. metrics: of the
    latest fifth, which was held back. points: by rising share of legitimate payments declined. margin: the histogram
    of the trees' sums; histograms: of the features, in their order.
    """

    features: tuple[str, ...]
    vocabularies: Mapping[str, tuple[str, ...]]
    from_time_ms: int
    to_time_ms: int
    payments: int
    frauds: int
    calibration: Calibration
    margin: Histogram
    histograms: tuple[Histogram, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    trained_from: str = ""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """sha256: of the whole file, hex."""

    header: Header
    trees: str = field(repr=False)
    sha256: str = ""


def write(header: Header, trees: str) -> bytes:
    """Deterministic: the same header and trees give the same bytes."""
    document = {**asdict(header), "trees_sha256": hashlib.sha256(trees.encode()).hexdigest()}
    line = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return FORMAT_LINE + line.encode() + b"\n" + trees.encode()


def read(content: bytes) -> ModelFile:
    """Raises ModelRefused."""
    if len(content) > LARGEST_FILE_BYTES:
        raise ModelRefused(f"{len(content)} bytes; at most {LARGEST_FILE_BYTES} are taken")
    if not content.startswith(FORMAT_LINE):
        raise ModelRefused("the first line is not that of a payswitch-risk-model of format 1")
    line, _, trees = content[len(FORMAT_LINE) :].partition(b"\n")
    if len(line) > LARGEST_HEADER_BYTES:
        raise ModelRefused(f"header: {len(line)} bytes; at most {LARGEST_HEADER_BYTES} are taken")
    document = _json(line)
    if document.pop("trees_sha256", None) != hashlib.sha256(trees).hexdigest():
        raise ModelRefused("the trees are not those that the header's trees_sha256 is of")
    header = _header(document)
    try:
        text = trees.decode("ascii")
        check_trees(text, header.features)
    except (TextRefused, UnicodeDecodeError) as refusal:
        raise ModelRefused(f"trees: {refusal}") from refusal
    return ModelFile(header, text, hashlib.sha256(content).hexdigest())


def _json(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as refusal:
        raise ModelRefused(f"header: {refusal}") from refusal
    if not isinstance(document, dict):
        raise ModelRefused("header: no JSON object")
    return document


def _header(document: dict[str, Any]) -> Header:
    try:
        header = Header(
            features=_texts(document.pop("features")),
            vocabularies={name: _texts(words) for name, words in document.pop("vocabularies").items()},
            from_time_ms=_whole(document.pop("from_time_ms")),
            to_time_ms=_whole(document.pop("to_time_ms")),
            payments=_whole(document.pop("payments")),
            frauds=_whole(document.pop("frauds")),
            calibration=Calibration(**{name: _real(each) for name, each in document.pop("calibration").items()}),
            margin=_histogram(document.pop("margin")),
            histograms=tuple(_histogram(each) for each in document.pop("histograms")),
            metrics={name: _real(each) for name, each in document.pop("metrics").items()},
            points=tuple(_point(each) for each in document.pop("points")),
            trained_from=str(document.pop("trained_from"))[:500],
        )
    except KeyError as refusal:
        raise ModelRefused(f"header: {refusal.args[0]} is missing") from refusal
    except (TypeError, ValueError, AttributeError) as refusal:
        raise ModelRefused(f"header: {refusal}") from refusal
    if document:
        raise ModelRefused(f"header: unknown: {', '.join(sorted(document))[:200]}")
    _check_features(header)
    _check_histograms(header)
    return header


def _check_features(header: Header) -> None:
    if not 1 <= len(header.features) <= LARGEST_FEATURES or len(set(header.features)) != len(header.features):
        raise ModelRefused(f"header: features are not 1 to {LARGEST_FEATURES} different facts")
    for name in header.features:
        if name not in BY_NAME or not learnable(BY_NAME[name]):
            raise ModelRefused(f"header: {name[:80]!r} is no fact that a model may read")
    texts = {name for name in header.features if BY_NAME[name].type is FactType.TEXT}
    if set(header.vocabularies) != texts:
        raise ModelRefused("header: vocabularies are not those of the text facts among the features")
    for name, words in header.vocabularies.items():
        if len(set(words)) != len(words) or len(words) > LARGEST_VOCABULARY:
            raise ModelRefused(f"header: the vocabulary of {name} is not of at most {LARGEST_VOCABULARY} words")
    if not header.calibration.slope > 0:
        raise ModelRefused("header: calibration: the slope is not above 0")


def _check_histograms(header: Header) -> None:
    if len(header.histograms) != len(header.features):
        raise ModelRefused("header: histograms are not those of the features")
    for each in (header.margin, *header.histograms):
        rising = all(low < high for low, high in pairwise(each.edges))
        if not rising or len(each.edges) > LARGEST_BINS or len(each.counts) != len(each.edges) + 2:
            raise ModelRefused("header: a histogram without rising edges, or with other counts than bins")
        if min(each.counts) < 0 or not sum(each.counts):
            raise ModelRefused("header: a histogram that counts nothing")


def _histogram(value: Any) -> Histogram:
    return Histogram(tuple(_real(each) for each in value["edges"]), tuple(_whole(each) for each in value["counts"]))


def _point(value: Any) -> Point:
    shares = (_real(value[name]) for name in ("legitimate_declined", "caught", "value_caught"))
    return Point(_whole(value["score"]), *shares)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("no list of texts where one is needed")
    return tuple(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise ValueError(f"{str(value)[:40]!r} is no whole number of 64 bits")
    return value


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    return float(value)
