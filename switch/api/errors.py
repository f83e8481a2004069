"""Every error that leaves the switch by gRPC, mapped once (STYLE 6)."""

import grpc

from switch.domain.refusals import Exists, Invalid, Missing, NotPermitted, NotPossible, NotProved, TooMany
from switch.entry.errors import EntryError
from switch.payments.errors import (
    ContentDiffers,
    Malformed,
    NotFound,
    Overloaded,
    TransmissionTimeRefused,
    Unavailable,
)
from switch.ports import StoreUnavailable, hsm_is_away


class InvalidField(Exception):
    """A field of the request is malformed. `field` is its path in the request; the text never repeats its value."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


class NotAllowed(Exception):
    """The caller's certificate does not let it do this."""


class NotAuthenticated(Exception):
    """There is no participant in the caller's certificate."""


_STATUS: dict[type[Exception], grpc.StatusCode] = {
    InvalidField: grpc.StatusCode.INVALID_ARGUMENT,
    EntryError: grpc.StatusCode.INVALID_ARGUMENT,
    TransmissionTimeRefused: grpc.StatusCode.INVALID_ARGUMENT,
    Malformed: grpc.StatusCode.INVALID_ARGUMENT,
    ContentDiffers: grpc.StatusCode.ALREADY_EXISTS,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    NotAuthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    Missing: grpc.StatusCode.NOT_FOUND,
    Exists: grpc.StatusCode.ALREADY_EXISTS,
    NotPossible: grpc.StatusCode.FAILED_PRECONDITION,
    NotPermitted: grpc.StatusCode.PERMISSION_DENIED,
    NotProved: grpc.StatusCode.UNAUTHENTICATED,
    TooMany: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """The code and the text for the caller. What we did not expect says nothing of itself."""
    for kind, code in _STATUS.items():
        if isinstance(error, kind):
            text = "the database is not available" if isinstance(error, StoreUnavailable) else str(error)
            return code, text
    if hsm_is_away(error):
        return grpc.StatusCode.UNAVAILABLE, "the HSM is not available"
    return grpc.StatusCode.INTERNAL, "internal error"
