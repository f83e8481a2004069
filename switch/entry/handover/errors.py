"""Why a handover does not go on."""


class HandoverError(Exception):
    """The session is over: both sides forget it and begin anew. The text never repeats what was sent."""
