"""The platform's services on a server: every method behind the roles that its `access` option names.

A servicer's method takes (request, caller) and returns the response, or yields responses; what it raises is mapped as
everywhere (`switch.api.errors`). A method without the option is refused when it is registered: nothing is open by
having been forgotten.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, NoReturn

import grpc.aio
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from payswitch.v1 import access_pb2
from switch.api.errors import InvalidField, status_of
from switch.api.gate import Gate
from switch.api.identity import shown_name
from switch.domain.access import Caller
from switch.ops.metrics import REQUEST_ERRORS
from switch.ports.signals import Signal, SignalKind, Signals
from switch.users.limits import ip_of

log = structlog.get_logger()


def access_of(method: MethodDescriptor) -> access_pb2.Access:
    """Raises TypeError for a method that names no role."""
    # protoc's own stub gives extensions no type.
    extension: Any = access_pb2.access
    access: access_pb2.Access = method.GetOptions().Extensions[extension]
    if not access.roles:
        raise TypeError(f"{method.full_name} names no role in its access option")
    return access


def add_guarded(
    service: ServiceDescriptor, servicer: object, gate: Gate, server: grpc.aio.Server, again_s: float = 30.0
) -> None:
    """Register every method of `service`; the servicer must have all of them, by their names.

    again_s: how often a caller who is streamed to must still be admitted.
    """
    handlers = {
        method.name: _handler(method, getattr(servicer, method.name), gate, again_s) for method in service.methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


class UnknownMethods(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs alone
    """Registered last: who asks for a method that the server has not is refused as ever, and told of."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._refuse)

    async def _refuse(self, request: bytes, context: Any) -> NoReturn:
        address = ip_of(context.peer() or "")
        self._signals.report(Signal(SignalKind.UNKNOWN_METHOD, address=address, participant=shown_name(context)))
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        raise AssertionError("abort raises")


def _handler(method: MethodDescriptor, behaviour: Any, gate: Gate, again_s: float) -> Any:
    if method.client_streaming:
        raise TypeError(f"{method.full_name}: a stream of requests has no one request that is admitted")
    access = access_of(method)
    decode = _decoder(GetMessageClass(method.input_type))
    if method.server_streaming:

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                caller = await gate.admit(context, _decoded(request, context, gate), access)
                async with aclosing(behaviour(request, caller)) as responses:
                    admit = partial(gate.admit, context, request, access)
                    async for response in _while_admitted(responses, admit, again_s):
                        yield response
            except Exception as error:
                await _abort(method, context, error)

        return grpc.unary_stream_rpc_method_handler(stream, decode, _encode)
    if not inspect.iscoroutinefunction(behaviour):
        raise TypeError(f"{method.full_name} is no coroutine function")

    async def unary(request: Any, context: Any) -> Any:
        try:
            caller = await gate.admit(context, _decoded(request, context, gate), access)
            return await behaviour(request, caller)
        except Exception as error:
            await _abort(method, context, error)

    return grpc.unary_unary_rpc_method_handler(unary, decode, _encode)


async def _while_admitted(
    responses: AsyncIterator[Any], admit: Callable[[], Awaitable[Caller]], again_s: float
) -> AsyncIterator[Any]:
    """What is streamed, until the caller's session, credential or role is over: looked at even while nothing comes."""
    loop = asyncio.get_running_loop()
    again_at_s = loop.time() + again_s
    following: asyncio.Future[Any] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(responses))
            await asyncio.wait([following], timeout=max(0.0, again_at_s - loop.time()))
            if loop.time() >= again_at_s:
                await admit()
                again_at_s = loop.time() + again_s
            if following.done():
                try:
                    response = following.result()
                except StopAsyncIteration:
                    return
                following = None
                yield response
    finally:
        if following is not None:
            following.cancel()
            await asyncio.wait([following])


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


def _decoded(request: Any, context: Any, gate: Gate) -> Any:
    if request is None:
        gate.malformed(context)
        raise InvalidField("request", "is not a valid protobuf message of this method")
    return request


async def _abort(method: MethodDescriptor, context: Any, error: Exception) -> NoReturn:
    code, text = status_of(error)
    REQUEST_ERRORS.labels("unary", code.name).inc()
    if code is grpc.StatusCode.INTERNAL:
        log.exception("call_failed", method=method.full_name)
    await context.abort(code, text)
    raise AssertionError("abort raises")
