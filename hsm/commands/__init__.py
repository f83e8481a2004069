"""The command set: every command of the HSM by name, whichever way it is reached.

A command is a function `(context, items) -> results`, see `hsm.commands.context.Command`. `DirectHsm` runs them in the
caller's process, the HSM process runs them behind a socket; both look them up here and nowhere else.
"""

from typing import Final

from hsm.commands import card, data, data_key, dukpt, emv, envelope, fpe, mac, pin, signature, terminal
from hsm.commands.context import Command, Commands, Context
from hsm.roles import SLOW

__all__ = ["COMMANDS", "SLOW", "Command", "Context"]

COMMANDS: Final[Commands] = {
    **pin.COMMANDS,
    **card.COMMANDS,
    **emv.COMMANDS,
    **dukpt.COMMANDS,
    **mac.COMMANDS,
    **data.COMMANDS,
    **data_key.COMMANDS,
    **fpe.COMMANDS,
    **signature.COMMANDS,
    **envelope.COMMANDS,
    **terminal.COMMANDS,
}
