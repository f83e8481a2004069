"""Callers of the platform's services: an app or a till with a token, a participant with a certificate."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

PATIENCE_S = 20.0
_TIMEOUT_S = 30.0
_PAUSE_S = 0.05
_Found = TypeVar("_Found")


class StoryWrong(AssertionError):
    """Something is not as the story has it."""


def expect(found: Any, wanted: Any, what: str) -> None:
    """Raises StoryWrong unless they are equal."""
    if found != wanted:
        raise StoryWrong(f"{what}: {found!r}, not {wanted!r}")


async def until(
    look: Callable[[], Awaitable[_Found]], holds: Callable[[_Found], bool], what: str, patience_s: float = PATIENCE_S
) -> _Found:
    """Look until it holds; raises StoryWrong after patience_s with what was seen last."""
    until_s = time.monotonic() + patience_s
    while not holds(found := await look()):
        if time.monotonic() > until_s:
            raise StoryWrong(f"{what} did not come; last: {found}")
        await asyncio.sleep(_PAUSE_S)
    return found


class Caller:
    """token: access token or API credential, sent with every call; "" where the certificate speaks."""

    def __init__(self, channel: grpc.aio.Channel, token: str = "") -> None:
        self.channel = channel
        self.token = token

    async def ask(self, request: Message) -> Any:
        """The answer of the method that takes such a request. Raises grpc.aio.AioRpcError."""
        method = _method_of(request)
        call = self.channel.unary_unary(
            _path(method),
            request_serializer=type(request).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        return await call(request, timeout=_TIMEOUT_S, metadata=self._metadata())

    async def read(self, request: Message) -> list[Any]:
        """Every message of the stream."""
        method = _method_of(request)
        call = self.channel.unary_stream(
            _path(method),
            request_serializer=type(request).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        return [each async for each in call(request, timeout=_TIMEOUT_S, metadata=self._metadata())]

    async def refused(self, request: Message, code: str, text: str = "") -> None:
        """Raises StoryWrong unless it is refused so."""
        try:
            answer = await self.ask(request)
        except grpc.aio.AioRpcError as error:
            expect(error.code().name, code, f"{type(request).__name__} ({error.details()})")
            if text not in (error.details() or ""):
                raise StoryWrong(f"{type(request).__name__}: {error.details()!r} does not say {text!r}") from None
            return
        raise StoryWrong(f"{type(request).__name__} should be refused with {code}, and was answered: {answer}")

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


def _method_of(request: Message) -> Any:
    """Its descriptor: each request is of one method."""
    for service in request.DESCRIPTOR.file.services_by_name.values():
        for method in service.methods:
            if method.input_type is request.DESCRIPTOR:
                return method
    raise TypeError(f"{type(request).__name__} is no request")


def _path(method: Any) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"
