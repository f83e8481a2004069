"""What a check of vectors is."""

from collections.abc import Callable, Mapping
from typing import Any

from hsm.vectors.workshop import Workshop


class VectorFailed(Exception):
    """A command's result is not the vector's. The message names the output, never its value."""


Check = Callable[[Workshop, Mapping[str, Any], Mapping[str, Any]], None]
"""(workshop, inputs, outputs): runs the vector and compares **every** output; raises VectorFailed or an HsmError."""

Checks = Mapping[str, Check]
"""Category → check."""


def expect(name: str, result: object, expected: object) -> None:
    """Raises VectorFailed unless both are equal."""
    if result != expected:
        raise VectorFailed(f"{name} differs")


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)
