"""The platform's services on a server: every method behind the roles that its `access` option names.

A servicer's method takes (request, caller) and returns the response, or yields responses; what it raises is mapped as
everywhere (`switch.api.errors`). A method without the option is refused when it is registered: nothing is open by
having been forgotten.
"""

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import grpc.aio
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from payswitch.v1 import access_pb2
from switch.api.errors import InvalidField, status_of
from switch.api.gate import Gate
from switch.ops.metrics import REQUEST_ERRORS

log = structlog.get_logger()


def access_of(method: MethodDescriptor) -> access_pb2.Access:
    """Raises TypeError for a method that names no role."""
    # protoc's own stub gives extensions no type.
    extension: Any = access_pb2.access
    access: access_pb2.Access = method.GetOptions().Extensions[extension]
    if not access.roles:
        raise TypeError(f"{method.full_name} names no role in its access option")
    return access


def add_guarded(service: ServiceDescriptor, servicer: object, gate: Gate, server: grpc.aio.Server) -> None:
    """Register every method of `service`; the servicer must have all of them, by their names."""
    handlers = {method.name: _handler(method, getattr(servicer, method.name), gate) for method in service.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def _handler(method: MethodDescriptor, behaviour: Any, gate: Gate) -> Any:
    if method.client_streaming:
        raise TypeError(f"{method.full_name}: a stream of requests has no one request that is admitted")
    access = access_of(method)
    decode = _decoder(GetMessageClass(method.input_type))
    if method.server_streaming:

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                caller = await gate.admit(context, _decoded(request), access)
                async for response in behaviour(request, caller):
                    yield response
            except Exception as error:
                await _abort(method, context, error)

        return grpc.unary_stream_rpc_method_handler(stream, decode, _encode)
    if not inspect.iscoroutinefunction(behaviour):
        raise TypeError(f"{method.full_name} is no coroutine function")

    async def unary(request: Any, context: Any) -> Any:
        try:
            caller = await gate.admit(context, _decoded(request), access)
            return await behaviour(request, caller)
        except Exception as error:
            await _abort(method, context, error)

    return grpc.unary_unary_rpc_method_handler(unary, decode, _encode)


def _encode(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _decoder(message_class: Any) -> Callable[[bytes], Any]:
    def decode(data: bytes) -> Any:
        try:
            return message_class.FromString(data)
        except DecodeError:
            return None

    return decode


def _decoded(request: Any) -> Any:
    if request is None:
        raise InvalidField("request", "is not a valid protobuf message of this method")
    return request


async def _abort(method: MethodDescriptor, context: Any, error: Exception) -> NoReturn:
    code, text = status_of(error)
    REQUEST_ERRORS.labels("unary", code.name).inc()
    if code is grpc.StatusCode.INTERNAL:
        log.exception("call_failed", method=method.full_name)
    await context.abort(code, text)
    raise AssertionError("abort raises")
