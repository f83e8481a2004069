"""A check of a LightGBM model text before the library sees it.

The library trusts its own format: an index out of range or a circle of nodes in a text reads foreign memory or never
ends. So each tree is read here first, and only texts whose every number is in its place go on.

Source: `Tree::ToString` and `GBDT::SaveModelToString` of LightGBM 4.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

LARGEST_TREES: Final = 2000
LARGEST_LEAVES: Final = 256

_WHOLE = re.compile(r"-?[0-9]{1,10}")
_NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?(e[+-]?[0-9]{1,3})?")
# A split between what is known and what is not has all that is known below infinity.
_THRESHOLD = re.compile(_NUMBER.pattern + "|inf")
_HEAD: Final = {
    "version": "v4", "num_class": "1", "num_tree_per_iteration": "1", "label_index": "0",
    "objective": "binary sigmoid:1",
}  # fmt: skip
# How many numbers each key has, of a tree with that many inner nodes and leaves.
_OF_NODES: Final = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child",
                    "internal_value", "internal_weight", "internal_count")  # fmt: skip
_OF_LEAVES: Final = ("leaf_value", "leaf_weight", "leaf_count")
_OF_CATEGORIES: Final = ("cat_boundaries", "cat_threshold")
_CATEGORICAL: Final = 1  # of decision_type; 2: unknown goes left; 4 and 8: which value is the unknown one
_LARGEST_DECISION: Final = 11


class TextRefused(ValueError):
    """Says where and why."""


def check_trees(text: str, features: Sequence[str]) -> int:
    """The number of trees. text: as `Booster.model_to_string` gives it, up to and with "end of trees\\n\\n".

    Raises TextRefused.
    """
    head, found, trees = text.partition("\n\nTree=0\n")
    if not found:
        raise TextRefused("there is no tree")
    fields = _fields(head.removeprefix("tree\n"), "head")
    _check_head(fields, features)
    sizes = _wholes(fields, "tree_sizes", "head")
    if not 1 <= len(sizes) <= LARGEST_TREES:
        raise TextRefused(f"{len(sizes)} trees; at most {LARGEST_TREES} are taken")
    start = len(text) - len(trees) - len("Tree=0\n")
    for number, size in enumerate(sizes):
        block = text[start : start + size] if size > 0 else ""
        if not block.startswith(f"Tree={number}\n"):
            raise TextRefused(f"tree {number} does not begin where tree_sizes says")
        _check_tree(block.removeprefix(f"Tree={number}\n"), f"tree {number}", len(features))
        start += size
    if text[start:] != "end of trees\n\n":
        raise TextRefused("something else than the end follows the trees")
    return len(sizes)


def without_parameters(text: str) -> str:
    """What a file keeps: the trees, without how they were grown."""
    return text.partition("end of trees\n")[0] + "end of trees\n\n"


def _fields(block: str, where: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in block.strip("\n").split("\n"):
        name, equals, value = line.partition("=")
        if not equals or name in fields:
            raise TextRefused(f"{where}: a line that is no field, or one given twice")
        fields[name] = value
    return fields


def _check_head(fields: Mapping[str, str], features: Sequence[str]) -> None:
    known = {*_HEAD, "max_feature_idx", "feature_names", "feature_infos", "tree_sizes"}
    if set(fields) != known:
        raise TextRefused(f"head: not these fields, no more and no less: {', '.join(sorted(known))}")
    for name, value in _HEAD.items():
        if fields[name] != value:
            raise TextRefused(f"head: {name} is not {value}")
    if fields["feature_names"].split(" ") != list(features) or fields["max_feature_idx"] != str(len(features) - 1):
        raise TextRefused("head: the features are not the header's")
    if len(fields["feature_infos"].split(" ")) != len(features):
        raise TextRefused("head: feature_infos are not of these features")


def _check_tree(block: str, where: str, features: int) -> None:
    fields = _fields(block, where)
    leaves = _one(fields, "num_leaves", where, 1, LARGEST_LEAVES)
    categories = _one(fields, "num_cat", where, 0, LARGEST_LEAVES)
    _one(fields, "is_linear", where, 0, 0)
    expected = {"num_leaves", "num_cat", "is_linear", "shrinkage", *_OF_NODES, *_OF_LEAVES}
    expected |= set(_OF_CATEGORIES) if categories else set()
    if set(fields) != expected:
        raise TextRefused(f"{where}: a field too many or too few")
    for name in (*_OF_NODES, *_OF_LEAVES, "shrinkage"):
        # A tree of one leaf has none of its weight and count.
        lengths = {1} if name == "shrinkage" else {leaves - 1} if name in _OF_NODES else {leaves}
        if leaves == 1 and name in ("leaf_weight", "leaf_count"):
            lengths = {0, 1}
        if len(_numbers(fields, name, where)) not in lengths:
            raise TextRefused(f"{where}: {name} has not as many numbers as the tree has nodes")
    _check_splits(fields, where, features, categories)
    _check_shape(fields, where, leaves)


def _check_splits(fields: Mapping[str, str], where: str, features: int, categories: int) -> None:
    if any(not 0 <= each < features for each in _wholes(fields, "split_feature", where)):
        raise TextRefused(f"{where}: split_feature names no feature")
    decisions = _wholes(fields, "decision_type", where)
    if any(not 0 <= each <= _LARGEST_DECISION for each in decisions):
        raise TextRefused(f"{where}: an unknown decision_type")
    if categories:
        boundaries = _wholes(fields, "cat_boundaries", where)
        ends_right = boundaries[-1] == len(_wholes(fields, "cat_threshold", where))
        rises = all(low < high for low, high in pairwise(boundaries))
        if len(boundaries) != categories + 1 or boundaries[0] != 0 or not rises or not ends_right:
            raise TextRefused(f"{where}: cat_boundaries are not those of cat_threshold")
    for decision, threshold in zip(decisions, fields["threshold"].split(), strict=True):
        if decision & _CATEGORICAL and not (_WHOLE.fullmatch(threshold) and 0 <= int(threshold) < categories):
            raise TextRefused(f"{where}: a split names no set of categories")


def _check_shape(fields: Mapping[str, str], where: str, leaves: int) -> None:
    """Every node and leaf is reached, and once: child n ≥ 0 is a node, n < 0 the leaf -n - 1."""
    left, right = _wholes(fields, "left_child", where), _wholes(fields, "right_child", where)
    children = [*left, *right]
    nodes = sorted(each for each in children if each >= 0)
    ends = sorted(-each - 1 for each in children if each < 0)
    if leaves > 1 and (nodes != list(range(1, leaves - 1)) or ends != list(range(leaves))):
        raise TextRefused(f"{where}: its nodes make no tree")
    # Each has one parent; numbered after it as well, there can be no circle beside the tree.
    for number, pair in enumerate(zip(left, right, strict=True)):
        if any(0 <= child <= number for child in pair):
            raise TextRefused(f"{where}: its nodes make no tree")


def _one(fields: Mapping[str, str], name: str, where: str, lowest: int, highest: int) -> int:
    values = _wholes(fields, name, where)
    if len(values) != 1 or not lowest <= values[0] <= highest:
        raise TextRefused(f"{where}: {name} is not one number from {lowest} to {highest}")
    return values[0]


def _wholes(fields: Mapping[str, str], name: str, where: str) -> list[int]:
    return [int(each) for each in _matched(fields, name, where, _WHOLE)]


def _numbers(fields: Mapping[str, str], name: str, where: str) -> list[str]:
    return _matched(fields, name, where, _THRESHOLD if name == "threshold" else _NUMBER)


def _matched(fields: Mapping[str, str], name: str, where: str, form: re.Pattern[str]) -> list[str]:
    parts = fields.get(name, "").split(" ") if fields.get(name) else []
    if any(form.fullmatch(each) is None for each in parts):
        raise TextRefused(f"{where}: {name} is not of numbers")
    return parts
