"""The ways in which a service refuses. `switch.api.errors` maps each to its gRPC status, once.

The texts are for the caller: they name fields, rules and states, and never repeat a secret, a card number or a code.
"""


class Refusal(Exception):
    """Nothing was done."""


class Invalid(Refusal):
    """A field of the request is malformed or out of range. field: its path in the request."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


class Missing(Refusal):
    """There is no such thing, or it is somebody else's: which of them is not told."""


class Exists(Refusal):
    """There is one already, with other content."""


class NotPossible(Refusal):
    """Not in the state in which it is, or not within what was agreed: the request is right and the moment is wrong."""


class NotPermitted(Refusal):
    """Not for this caller: the second person of a two-person act must be another one, for instance."""


class NotProved(Refusal):
    """A password, code, token, signature or assertion is not right. Which part of it is not told."""


class TooMany(Refusal):
    """Too many attempts, or too much at once: later."""


class NotInForce(Exception):
    """What is live in the database cannot be put in force here. cause: one word, for metrics; the text: where and why,
    one line for each fault."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause
