"""PIN blocks (ISO 9564-1:2017). A clear PIN is never a Python object: each command is one C section that wipes."""

from collections.abc import Sequence
from typing import Final

from hsm import _core
from hsm.commands.context import Commands, Context


def translate_pins(context: Context, items: Sequence[tuple[str, int, str, int, bytes, str]]) -> list[bytes | Exception]:
    """(source key, source format, target key, target format, block, PAN digits) -> block under the target key.

    Formats: `hsm.algorithms.PIN_FORMATS`. PAN: 12 to 19 digits; "" only from format 1 to format 1. ISO 9564-1:2017, 9.
    Fails with KeyNotFound, KeyUsageError, PinFormatError.

    >>> source = load("PIN_KEY", "FB192A4C9DBCBC15A28AAD5EEF31F1254568A43D0DA22658")
    >>> target = load("PIN_KEY", "A1439D67319DFD6461022CD0EFA27AD3")
    >>> block = bytes.fromhex("82C89212C5C9644A")
    >>> [translated] = run("translate_pins", [(source, 0, target, 0, block, "6763390877006088815")])
    >>> translated.hex().upper()
    '8D1A1BE3D87D6B6D'
    """
    return _core.translate_pins(context.token, context.keys, items)


COMMANDS: Final[Commands] = {"translate_pins": translate_pins}
