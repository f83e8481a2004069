"""Digital signatures. They take hundreds of µs and run outside the loop: see `hsm.commands.SLOW`."""

from collections.abc import Sequence
from typing import Final

from hsm import _core
from hsm.commands.context import Commands, Context


def sign(context: Context, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
    """(key, data) -> RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2), 256 bytes. Half a millisecond an item."""
    return _core.sign(context.token, context.keys, items)


COMMANDS: Final[Commands] = {"sign": sign}
