"""What a call of the SDK raises. A decline is no error: it is an answer."""

import grpc
import grpc.aio


class PaymentError(Exception):
    """code: a grpc.StatusCode. message: what the switch said, naming the field where one was wrong."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


class PaymentRefused(PaymentError):
    """The switch refused the request: nothing was approved by it."""


class InvalidPayment(PaymentRefused):
    """A field is wrong; the message names it (INVALID_ARGUMENT)."""


class ConflictingPayment(PaymentRefused):
    """The idempotency key was used for other content (ALREADY_EXISTS)."""


class NotPermitted(PaymentRefused):
    """The certificate does not allow this (PERMISSION_DENIED, UNAUTHENTICATED)."""


class SwitchUnavailable(PaymentRefused):
    """Not taken on; the same request may be sent again (UNAVAILABLE, RESOURCE_EXHAUSTED)."""


class OutcomeUnknown(PaymentError):
    """The request may have been carried out. Repeat the same request (it keeps its key and time), or reverse it."""


_BY_CODE: dict[grpc.StatusCode, type[PaymentRefused]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidPayment,
    grpc.StatusCode.ALREADY_EXISTS: ConflictingPayment,
    grpc.StatusCode.PERMISSION_DENIED: NotPermitted,
    grpc.StatusCode.UNAUTHENTICATED: NotPermitted,
    grpc.StatusCode.UNAVAILABLE: SwitchUnavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: SwitchUnavailable,
}
_OPEN_ENDED = frozenset(
    {
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DATA_LOSS,
    }
)
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


def status_of(number: int) -> grpc.StatusCode:
    """The status of a google.rpc.Code; UNKNOWN for a number that is none."""
    return _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)


def stream_error(code: grpc.StatusCode, message: str) -> PaymentError:
    """The exception for a StreamError: the switch itself said it, so what is refused is certainly refused."""
    if code in _OPEN_ENDED:
        return OutcomeUnknown(code, message)
    return _BY_CODE.get(code, PaymentRefused)(code, message)


def call_error(error: grpc.aio.AioRpcError) -> PaymentError:
    """The exception for a failed call of its own.

    gRPC says UNAVAILABLE both for the switch's refusal and for a connection lost half-way, so it proves nothing here.
    """
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE:
        return OutcomeUnknown(code, error.details() or "")
    return stream_error(code, error.details() or "")
