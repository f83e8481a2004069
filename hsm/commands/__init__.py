"""The command set: every command of the HSM by name, whichever way it is reached.

A command is a function `(context, items) -> results`, see `hsm.commands.context.Command`. `DirectHsm` runs them in the
caller's process, the HSM process runs them behind a socket; both look them up here and nowhere else.
"""

from typing import Final

from hsm.commands import data, data_key, emv, fpe, mac, pin, signature
from hsm.commands.context import Command, Commands, Context

__all__ = ["COMMANDS", "SLOW", "Command", "Context"]

COMMANDS: Final[Commands] = {
    **pin.COMMANDS,
    **mac.COMMANDS,
    **data.COMMANDS,
    **data_key.COMMANDS,
    **fpe.COMMANDS,
    **signature.COMMANDS,
    **emv.COMMANDS,
}

SLOW: Final = frozenset({"sign"})
"""Commands of hundreds of µs an item: they run in threads, or in a process of their own."""
