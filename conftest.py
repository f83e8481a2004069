"""What the doctests of `hsm` find in their namespace: `load`, `run`, `one` and the `keys` of a workshop with a token of
its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

IN_WORKSHOP = ("hsm.commands", "hsm.key_block")


@pytest.fixture(scope="session")
def doctest_token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doctest") / "token"


@pytest.fixture(autouse=True)
def hsm_in_doctests(request: pytest.FixtureRequest) -> Iterator[None]:
    node: Any = request.node
    if not isinstance(node, pytest.DoctestItem) or not node.name.startswith(IN_WORKSHOP):
        yield
        return
    from hsm.vectors.workshop import workshop

    with workshop(request.getfixturevalue("doctest_token")) as made:
        names = {"load": made.load, "run": made.run, "one": made.one, "keys": made.context.keys}
        node.dtest.globs.update(names)
        yield
