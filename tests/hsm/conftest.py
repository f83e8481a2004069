"""A token for the whole run, opened anew by each test module: one process can have one directory open at a time."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token

VECTORS = Path(__file__).parent.parent / "vectors"
numbers = itertools.count()

KeyMaker = Callable[..., str]


@pytest.fixture(scope="session")
def vectors() -> dict[str, list[dict[str, Any]]]:
    """Published and independently made vectors by category; each names its source."""
    by_category: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads((VECTORS / "crypto.json").read_text())["vectors"]:
        by_category.setdefault(each["category"], []).append(each)
    return by_category


@pytest.fixture(scope="session")
def key_reset() -> dict[str, Any]:
    """UnionPay's two key resets and the captured messages that carry them."""
    document: dict[str, Any] = json.loads((VECTORS / "unionpay.json").read_text())
    return document


@pytest.fixture(scope="session")
def token_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_token(tmp_path_factory.mktemp("hsm") / "token")


@pytest.fixture(scope="module")
def hsm(token_directory: Path) -> Iterator[DirectHsm]:
    hsm = DirectHsm.open(token_directory)
    yield hsm
    hsm.close()


@pytest.fixture
def make_key(hsm: DirectHsm) -> KeyMaker:
    """make_key(usage, hex value, family=None) -> label of a new key of that value."""

    def make(usage: KeyUsage, value_hex: str, family: str | None = None) -> str:
        value = bytes.fromhex(value_hex)
        mask = bytes((17 * index + 5) % 256 for index in range(len(value)))
        label = f"test/{usage.lower()}/{next(numbers)}"
        hsm.store.import_components(
            label, usage, [mask, bytes(a ^ b for a, b in zip(value, mask, strict=True))], family
        )
        return label

    return make
