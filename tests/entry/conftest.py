"""A second, plain implementation of what the Cython and the codecs do, written from the standards alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).parents[1] / "vectors"
FIELD = "nfc.emv"


def oracle_walk(data: bytes) -> list[tuple[int, bytes]]:
    """ISO/IEC 8825-1, top level only, EMV's limits; ValueError for anything else."""
    objects, stream = [], iter(data)

    def take() -> int:
        octet = next(stream, None)
        if octet is None:
            raise ValueError("truncated")
        return octet

    for first in stream:
        tag = bytes([first])
        if first & 0x1F == 0x1F:
            tag += bytes([take()])
            while tag[-1] & 0x80:
                tag += bytes([take()])
        length = take()
        if length >= 0x80:
            if length not in (0x81, 0x82):
                raise ValueError("length")
            length = int.from_bytes(bytes(take() for _ in range(length & 0x7F)), "big")
        value = bytes(take() for _ in range(length))
        if first == 0 or len(tag) > 4 or tag[1:2] == b"\x80":
            raise ValueError("tag")
        objects.append((int.from_bytes(tag, "big"), value))
    return objects


def oracle_crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE, bit by bit."""
    register = 0xFFFF
    for octet in data:
        for bit in range(7, -1, -1):
            carry = (register >> 15) ^ (octet >> bit & 1)
            register = (register << 1) & 0xFFFF
            if carry:
                register ^= 0x1021
    return register


@pytest.fixture(scope="session")
def walk() -> Callable[[bytes], list[tuple[int, bytes]]]:
    return oracle_walk


@pytest.fixture(scope="session")
def crc16() -> Callable[[bytes], int]:
    return oracle_crc16


@pytest.fixture(scope="session")
def emvco() -> dict[str, Any]:
    vectors: dict[str, Any] = json.loads((VECTORS / "emvco_qr.json").read_text())
    return vectors
