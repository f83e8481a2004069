"""Answers of a stream leave in frames: whatever was answered while the last frame was being written."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc.aio
import structlog

from payswitch.v1 import authorization_pb2 as pb

log = structlog.get_logger()

LARGEST_FRAME_ITEMS = 512
# Unanswered items of one stream; the reader waits beyond it, so that gRPC's flow control reaches the caller.
LARGEST_OUTSTANDING = 8_192


class AnswerFrames:
    """Collects results and writes them one frame at a time. A caller that went away stops the writing, nothing else."""

    def __init__(self, write: Callable[[pb.AuthorizeStreamResponse], Awaitable[None]]) -> None:
        self._write = write
        self._results: list[pb.AuthorizeStreamResult] = []
        self._outstanding = 0
        self._writing: asyncio.Task[None] | None = None
        self._less = asyncio.Event()
        self._gone = False

    def expect(self) -> None:
        """One more answer will come."""
        self._outstanding += 1

    def put(self, result: pb.AuthorizeStreamResult, expected: bool = False) -> None:
        if expected:
            self._outstanding -= 1
            self._less.set()
        if self._gone:
            return
        self._results.append(result)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all(), name="answer_frames")

    async def room(self) -> None:
        """Wait until there is room for more."""
        while self._outstanding + len(self._results) > LARGEST_OUTSTANDING and not self._gone:
            self._less.clear()
            await self._less.wait()

    async def finish(self) -> None:
        """Wait until every answer was written."""
        while self._outstanding and not self._gone:
            self._less.clear()
            await self._less.wait()
        if self._writing is not None:
            await self._writing

    async def _write_all(self) -> None:
        try:
            while self._results:
                frame = self._results[:LARGEST_FRAME_ITEMS]
                del self._results[:LARGEST_FRAME_ITEMS]
                await self._write(pb.AuthorizeStreamResponse(results=frame))
                self._less.set()
        except (grpc.aio.BaseError, grpc.RpcError, asyncio.InvalidStateError) as error:
            self._gone = True
            self._less.set()
            self._results.clear()
            log.info("caller_went_away", reason=type(error).__name__)
        finally:
            self._writing = None
