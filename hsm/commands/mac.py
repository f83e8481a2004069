"""Message authentication codes. Algorithms and their standards: `hsm.algorithms`."""

from collections.abc import Sequence
from typing import Final

from hsm import _core
from hsm.commands.context import Commands, Context


def macs(context: Context, items: Sequence[tuple[str, str, bytes]]) -> list[bytes | Exception]:
    """(key, algorithm, data) -> MAC. Fails with KeyNotFound, KeyUsageError, InvalidCommand.

    >>> key = load("MAC_KEY", "0123456789ABCDEFFEDCBA9876543210")
    >>> run("macs", [(key, "iso9797-alg3-pad1", b"Now is the time for all ")])[0].hex().upper()
    'A1C72E74EA3FA9B6'
    """
    return _core.macs(context.keys, items)


def verify_macs(context: Context, items: Sequence[tuple[str, str, bytes, bytes]]) -> list[Exception | None]:
    """(key, algorithm, data, mac) -> None, or MacMismatch. The current key is tried, then the previous one.

    >>> key = load("MAC_KEY", "0123456789ABCDEFFEDCBA9876543210")
    >>> run("verify_macs", [(key, "iso9797-alg3-pad1", b"Hello World !", bytes(8))])
    [MacMismatch('a MAC does not verify under mac_key-1')]
    """
    return _core.verify_macs(context.keys, items)


COMMANDS: Final[Commands] = {"macs": macs, "verify_macs": verify_macs}
