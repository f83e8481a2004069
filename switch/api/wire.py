"""Bytes that are not the message they should be: INVALID_ARGUMENT, not the UNKNOWN with a traceback gRPC would give."""

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

_TEXT = "the request is not a valid protobuf message of this method"
_MALFORMED = object()
Handlers = dict[str, Any]


def add_to_server(add: Callable[[Any, Any], None], servicer: object, server: grpc.aio.Server) -> None:
    """Register a servicer as the generated `add_…_to_server` does, with every method hardened.

    add: the generated function.
    """
    add(servicer, _Registrar(server))


class _Registrar:
    """Stands where the generated code expects the server."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_registered_method_handlers(self, service: str, handlers: Handlers) -> None:
        hardened = {name: _hardened(handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, hardened),))

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The generated code names the same methods a second time here; one registration is enough."""


def _hardened(handler: Any) -> Any:
    decode = _decoder(handler.request_deserializer)
    if handler.request_streaming:
        behaviour = handler.stream_stream or handler.stream_unary
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(_checking_stream(behaviour), decode, handler.response_serializer)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(
            _checking_generator(handler.unary_stream), decode, handler.response_serializer
        )
    return grpc.unary_unary_rpc_method_handler(_checking(handler.unary_unary), decode, handler.response_serializer)


def _decoder(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def tolerant(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return _MALFORMED

    return tolerant


def _checking(behaviour: Any) -> Any:
    async def checked(request: Any, context: Any) -> Any:
        if request is _MALFORMED:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
        return await behaviour(request, context)

    return checked


def _checking_generator(behaviour: Any) -> Any:
    async def checked(request: Any, context: Any) -> AsyncIterator[Any]:
        if request is _MALFORMED:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
        async for response in behaviour(request, context):
            yield response

    return checked


def _checking_stream(behaviour: Any) -> Any:
    async def frames(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            if request is _MALFORMED:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
            yield request

    async def generating(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for response in behaviour(frames(requests, context), context):
            yield response

    async def writing(requests: AsyncIterator[Any], context: Any) -> Any:
        return await behaviour(frames(requests, context), context)

    # gRPC tells the two styles of a streaming method apart by the kind of function.
    return generating if inspect.isasyncgenfunction(behaviour) else writing
