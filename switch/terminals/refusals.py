"""How a message of a terminal is refused: each way has a cause of its own in the metrics."""

from switch.payments.errors import ContentDiffers, NotAnswered, NotFound, Overloaded, TransmissionTimeRefused
from switch.ports import StoreUnavailable


class Refused(Exception):
    """Answered with `code` (DE39), and without effect. cause: one word for the metrics."""

    def __init__(self, code: str, cause: str) -> None:
        super().__init__(f"{code} {cause}")
        self.code = code
        self.cause = cause


class HangUp(Exception):
    """Not answered at all: the connection is closed. cause: one word for the metrics."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


# Nothing was done and nothing will be, but for the last, whose outcome is open.
_OF_THE_ROAD: tuple[tuple[type[Exception], str, str], ...] = (
    (ContentDiffers, "94", "content_differs"),
    (TransmissionTimeRefused, "12", "too_old"),
    (NotFound, "25", "no_original"),
    (Overloaded, "96", "overloaded"),
    (StoreUnavailable, "96", "store"),
    (NotAnswered, "98", "not_answered"),
)


def refusal_of(error: Exception) -> Refused:
    """What a terminal is told of an exception. One that is nobody's is a bug: it is raised again."""
    for kind, code, cause in _OF_THE_ROAD:
        if isinstance(error, kind):
            return Refused(code, cause)
    raise error
