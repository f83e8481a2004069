"""Files that are no model, or none that may be loaded. Nothing of them reaches LightGBM."""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import small_model

from switch.risk import model_file
from switch.risk.model_file import FORMAT_LINE, ModelRefused, read, write


def parts() -> tuple[dict[str, Any], str]:
    line, _, trees = small_model.content()[len(FORMAT_LINE) :].partition(b"\n")
    return json.loads(line), trees.decode()


def built(document: dict[str, Any], trees: str) -> bytes:
    """With a digest that fits, so that what is refused is refused for its own sake."""
    document = {**document, "trees_sha256": hashlib.sha256(trees.encode()).hexdigest()}
    return FORMAT_LINE + json.dumps(document).encode() + b"\n" + trees.encode()


def test_what_was_written_is_read_again() -> None:
    file = read(small_model.content())
    assert write(file.header, file.trees) == small_model.content()
    assert file.sha256 == hashlib.sha256(small_model.content()).hexdigest()
    assert file.header.trained_from == "a small history"
    assert (file.header.from_time_ms, file.header.to_time_ms) == (1_000_000, 1_000_000 + 3999 * 1000)


def test_a_split_by_whether_something_is_known_is_read() -> None:
    assert re.search(r"^threshold=.*\binf\b", read(small_model.content()).trees, re.MULTILINE)


def test_every_byte_matters() -> None:
    content = small_model.content()
    for place in range(0, len(content), len(content) // 50):
        damaged = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        try:
            assert read(damaged).sha256 != read(content).sha256
        except ModelRefused:
            continue


@pytest.mark.parametrize("content", [b"", b"tree\nversion=v4\n", FORMAT_LINE, FORMAT_LINE + b"{}\n", b"\x00" * 100])
def test_something_else_is_refused(content: bytes) -> None:
    with pytest.raises(ModelRefused):
        read(content)


def test_huge_files_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "LARGEST_FILE_BYTES", len(small_model.content()) - 1)
    with pytest.raises(ModelRefused, match="bytes; at most"):
        read(small_model.content())
    monkeypatch.undo()
    with pytest.raises(ModelRefused, match="header"):
        read(FORMAT_LINE + b'"' + b"x" * model_file.LARGEST_HEADER_BYTES + b'"\n')
    with pytest.raises(ModelRefused, match="header"):
        read(FORMAT_LINE + b"[" * 100_000 + b"\n")


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.__setitem__(name, value)


def _rename(document: dict[str, Any], name: str) -> None:
    document["features"][0] = name


HEADERS: dict[str, Callable[[dict[str, Any]], None]] = {
    "unknown fact": lambda document: _rename(document, "shoe_size"),
    "a list": lambda document: _rename(document, "card_lists"),
    "the model itself": lambda document: _rename(document, "model_score"),
    "who acquired it": lambda document: _rename(document, "acquirer"),
    "twice": lambda document: _rename(document, document["features"][1]),
    "features no list": _set("features", 5),
    "feature no text": lambda document: document["features"].__setitem__(0, {}),
    "no feature": _set("features", []),
    "vocabulary of a number": lambda document: document["vocabularies"].update(hour=["1"]),
    "no vocabulary": _set("vocabularies", {}),
    "words no texts": lambda document: document["vocabularies"].update(entry=[1, 2]),
    "slope below 0": _set("calibration", {"slope": -1, "offset": 0}),
    "slope no number": _set("calibration", {"slope": "1", "offset": 0}),
    "calibration of more": _set("calibration", {"slope": 1, "offset": 0, "curve": 1}),
    "edges that fall": lambda document: document["margin"].update(edges=[2, 1], counts=[1, 1, 1, 1]),
    "counts of others": lambda document: document["margin"].update(counts=[1]),
    "counts below 0": lambda document: document["margin"]["counts"].__setitem__(0, -1),
    "too few histograms": lambda document: document["histograms"].pop(),
    "payments no number": _set("payments", 1.5),
    "infinite": _set("metrics", {"average_precision": float("inf")}),
    "something more": _set("run", "rm"),
    "something less": lambda document: document.pop("points"),
    "number of a million digits": _set("payments", 10**400),
}


@pytest.mark.parametrize("case", list(HEADERS))
def test_a_header_that_is_wrong_is_refused(case: str) -> None:
    document, trees = parts()
    HEADERS[case](document)
    with pytest.raises(ModelRefused, match="header"):
        read(built(document, trees))


def _number(trees: str, name: str, change: Callable[[str], str], tree: int = 1) -> str:
    """With one line of one tree changed, and its size in tree_sizes as well."""
    begin = trees.index(f"Tree={tree}\n")
    line = re.compile(rf"^{name}=.*$", re.MULTILINE).search(trees, begin)
    assert line is not None
    changed = f"{name}={change(line.group().partition('=')[2])}"
    sizes = [int(each) for each in re.findall(r"tree_sizes=(.*)", trees)[0].split()]
    old = " ".join(map(str, sizes))
    sizes[tree] += len(changed) - len(line.group())
    text = trees[: line.start()] + changed + trees[line.end() :]
    return text.replace(f"tree_sizes={old}", f"tree_sizes={' '.join(map(str, sizes))}")


def _first(value: str) -> Callable[[str], str]:
    return lambda numbers: " ".join([value, *numbers.split(" ")[1:]])


TREES: dict[str, Callable[[str], str]] = {
    "feature out of range": lambda trees: _number(trees, "split_feature", _first("99")),
    "feature below 0": lambda trees: _number(trees, "split_feature", _first("-5")),
    "a circle": lambda trees: _number(trees, "left_child", _first("0")),
    "a node far away": lambda trees: _number(trees, "left_child", _first("1000000")),
    "a leaf far away": lambda trees: _number(trees, "right_child", _first("-1000000")),
    "a leaf twice": lambda trees: _number(trees, "right_child", lambda _: _children(trees, "left_child")),
    "more leaves than it has": lambda trees: _number(trees, "num_leaves", lambda _: "200"),
    "leaves without end": lambda trees: _number(trees, "num_leaves", lambda _: "2000000000"),
    "no leaves": lambda trees: _number(trees, "num_leaves", lambda _: "0"),
    "linear": lambda trees: _number(trees, "is_linear", lambda _: "1"),
    "values that are none": lambda trees: _number(trees, "leaf_value", _first("nan")),
    "values without end": lambda trees: _number(trees, "leaf_value", _first("inf")),
    "values in words": lambda trees: _number(trees, "leaf_value", _first("x")),
    "a value less": lambda trees: _number(trees, "leaf_value", lambda numbers: numbers.partition(" ")[2]),
    "a decision unknown": lambda trees: _number(trees, "decision_type", _first("64")),
    "a split of categories without any": lambda trees: _number(trees, "decision_type", lambda n: _all(n, "1")),
    "a size too small": lambda trees: trees.replace("tree_sizes=", "tree_sizes=1", 1),
    "sizes below 0": lambda trees: re.sub(r"tree_sizes=\S+", "tree_sizes=-1", trees),
    "a tree less": lambda trees: re.sub(r"tree_sizes=\S+ ", "tree_sizes=", trees),
    "other features": lambda trees: trees.replace("feature_names=", "feature_names=a ", 1),
    "another objective": lambda trees: trees.replace("objective=binary sigmoid:1", "objective=lambdarank", 1),
    "many classes": lambda trees: trees.replace("num_class=1", "num_class=900", 1),
    "cut off": lambda trees: trees[: len(trees) // 2],
    "something behind": lambda trees: trees + "pandas_categorical:[]\n",
    "nothing": lambda _: "",
    "no ASCII": lambda trees: trees.replace("shrinkage=1", "shrinkage=１", 1),
}


def _children(trees: str, name: str) -> str:
    return re.findall(rf"^{name}=(.*)$", trees, re.MULTILINE)[1]


def _all(numbers: str, value: str) -> str:
    return " ".join(value for _ in numbers.split(" "))


@pytest.mark.parametrize("case", list(TREES))
def test_trees_that_would_lead_the_library_astray_are_refused(case: str) -> None:
    document, trees = parts()
    changed = TREES[case](trees)
    assert changed != trees
    with pytest.raises(ModelRefused, match="trees"):
        read(built(document, changed))


def test_trees_of_another_file_are_refused() -> None:
    document, trees = parts()
    content = FORMAT_LINE + json.dumps(document).encode() + b"\n" + (trees + "\n").encode()
    with pytest.raises(ModelRefused, match="trees_sha256"):
        read(content)
