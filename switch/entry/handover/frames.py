"""Frames on a byte link: cut at any place, put together again, and never believed beyond their check.

Offset 0: `PH`. 2: type. 3: length of the body, 2 bytes, big-endian. 5: body. Last 2 bytes: CRC-16/CCITT-FALSE of all
before, big-endian. The CRC tells a lost, doubled or reordered piece at once; what protects is inside.
"""

import struct
from enum import IntEnum
from typing import Final

from switch.entry.crc16 import crc16
from switch.entry.handover.errors import HandoverError

MAGIC: Final = b"PH"
LARGEST_BODY_BYTES: Final = 2048
_HEADER: Final = struct.Struct(">2sBH")
_CRC_BYTES: Final = 2


class FrameType(IntEnum):
    """The numbers are on the air: they are never reused."""

    PHONE_HELLO = 1
    TERMINAL_HELLO = 2
    RECORD = 3


_TYPES: Final = frozenset(FrameType)


def build_frame(kind: FrameType, body: bytes) -> bytes:
    """
    >>> build_frame(FrameType.RECORD, b"body").hex()
    '5048030004626f6479866b'
    """
    if not 1 <= len(body) <= LARGEST_BODY_BYTES:
        raise ValueError(f"a body of {len(body)} bytes")
    frame = _HEADER.pack(MAGIC, kind, len(body)) + body
    return frame + crc16(frame).to_bytes(_CRC_BYTES, "big")


class FrameAssembler:
    """Holds at most one frame. After an error nothing more is taken."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._broken = False

    @property
    def is_amid(self) -> bool:
        """Bytes of an unfinished frame are held: a link that falls silent now has lost the rest."""
        return bool(self._held)

    def feed(self, chunk: bytes) -> list[tuple[FrameType, bytes]]:
        """(type, body) of each frame that `chunk` completes. Raises HandoverError as soon as one cannot be."""
        if self._broken:
            raise HandoverError("the session has ended")
        self._held += chunk
        try:
            return self._take_whole()
        except HandoverError:
            self._held.clear()
            self._broken = True
            raise

    def _take_whole(self) -> list[tuple[FrameType, bytes]]:
        whole = []
        while (size := self._size()) is not None and len(self._held) >= size:
            frame = bytes(self._held[:size])
            if crc16(frame[:-_CRC_BYTES]) != int.from_bytes(frame[-_CRC_BYTES:], "big"):
                raise HandoverError("a frame was damaged on the way, or a piece of it lost, doubled or reordered")
            whole.append((FrameType(frame[2]), frame[_HEADER.size : -_CRC_BYTES]))
            del self._held[:size]
        return whole

    def _size(self) -> int | None:
        """Of the frame that begins here; None while its header is incomplete. Wrong bytes raise at once."""
        held = self._held
        if held and not MAGIC.startswith(held[:2]) and held[:2] != MAGIC:
            raise HandoverError("no frame begins here: a piece was lost, doubled or reordered")
        if len(held) > 2 and held[2] not in _TYPES:
            raise HandoverError("a frame of an unknown type")
        if len(held) < _HEADER.size:
            return None
        length: int = _HEADER.unpack_from(held)[2]
        if not 1 <= length <= LARGEST_BODY_BYTES:
            raise HandoverError("a frame of an impossible length")
        return _HEADER.size + length + _CRC_BYTES
