"""`python -m hsm.vectors FILE`: every vector of a file through the command core, then `N passed, N failed`.

FILE: JSON, {"vectors": [{"id", "category", "inputs", "outputs", …}]}. A category without a check counts as failed. The
entries of `ODD` are expected to differ, are listed with the reason, and count neither way. Exit 0 if none failed.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hsm.errors import HsmError
from hsm.vectors.checks import VectorFailed
from hsm.vectors.table import CHECKS, ODD
from hsm.vectors.workshop import Workshop, workshop


def failures(bench: Workshop, vectors: list[dict[str, Any]]) -> Iterator[tuple[str, str | None]]:
    """(id, None or what is wrong) of every vector that is not odd."""
    for vector in vectors:
        if vector["id"] not in ODD:
            yield vector["id"], _failure(bench, vector)


def _failure(bench: Workshop, vector: dict[str, Any]) -> str | None:
    check = CHECKS.get(vector["category"])
    if check is None:
        return f"unknown category {vector['category']}"
    try:
        check(bench, vector["inputs"], vector["outputs"])
    except VectorFailed as failed:
        return str(failed)
    except HsmError as error:
        return f"{type(error).__name__}: {error}"
    except (KeyError, ValueError, TypeError) as error:
        return f"the vector has another shape: {type(error).__name__}"
    return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hsm.vectors", description="Run test vectors.")
    parser.add_argument("file", type=Path)
    vectors = json.loads(parser.parse_args(arguments).file.read_bytes())["vectors"]
    passed = failed = 0
    with workshop() as bench:
        for identifier, failure in failures(bench, vectors):
            passed += failure is None
            failed += failure is not None
            if failure is not None:
                print(f"{identifier}: {failure}")
    for identifier in sorted({each["id"] for each in vectors} & ODD.keys()):
        print(f"{identifier}: not run: {ODD[identifier]}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
