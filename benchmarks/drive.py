"""Sending load: to the maximum (closed loop), or at a rate whatever comes back (open loop).

In the open loop an item is due at its place on a fixed schedule, and its latency runs from there: a generator or a
server that stalls is charged for every item that was due meanwhile (no coordinated omission).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import grpc

from benchmarks.requests import RequestPool
from benchmarks.tally import Tally
from payswitch.v1 import authorization_pb2 as pb

AUTHORIZE = "/payswitch.v1.AuthorizationService/Authorize"
AUTHORIZE_STREAM = "/payswitch.v1.AuthorizationService/AuthorizeStream"

# Longer than any answer takes: it only keeps a dead server from holding the run.
_CALL_TIMEOUT_S = 10.0

Settle = Callable[[int, Any, float], None]


class Driver(Protocol):
    """Load that runs from `start` until `stop`, which waits up to `drain_s` for what is still open."""

    def start(self) -> None: ...

    async def stop(self, drain_s: float) -> None: ...


class _Lane:
    """One AuthorizeStream: frames out, answers into the tally."""

    def __init__(self, channel: grpc.aio.Channel, pool: RequestPool, tally: Tally) -> None:
        call = channel.stream_stream(
            AUTHORIZE_STREAM,
            request_serializer=pb.AuthorizeStreamRequest.SerializeToString,
            response_deserializer=pb.AuthorizeStreamResponse.FromString,
        )
        self._call = call(None)
        self._pool = pool
        self._tally = tally
        self.outstanding = 0
        self.ended = False
        self.progress = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def send(self, due_s: Sequence[float]) -> None:
        """One frame. After the stream has ended its items are entered, and stay without an answer."""
        due = self._tally.due
        sequences = [due(each) for each in due_s]
        self.outstanding += len(sequences)
        if self.ended:
            return
        try:
            await self._call.write(self._pool.frame(sequences))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            self.ended = True  # the reader counts why

    async def finish(self, drain_s: float) -> None:
        """Wait for what is open, then close the stream."""
        with suppress(TimeoutError):  # what is still open then is counted as without an answer
            async with asyncio.timeout(drain_s):
                while self.outstanding and not self.ended:
                    self.progress.clear()
                    await self.progress.wait()
        if self.outstanding:
            self._call.cancel()
        elif not self.ended:
            await self._call.done_writing()
        await asyncio.wait([self._reader], timeout=drain_s)
        self._call.cancel()
        await asyncio.wait([self._reader])
        self._reader.result()

    async def _read(self) -> None:
        take_frame = self._tally.take_frame
        try:
            async for response in self._call:
                results = response.results
                take_frame(results, time.perf_counter())
                self.outstanding -= len(results)
                self.progress.set()
        except grpc.aio.AioRpcError as error:
            self._tally.unexpected[f"stream ended: {error.code().name} {error.details()}"] += 1
        except asyncio.CancelledError:
            # `finish` gave up on the stream; what is missing is counted as such.
            if not self._call.cancelled():
                raise
        finally:
            self.ended = True
            self.progress.set()


class StreamSaturation:
    """Closed loop: each stream keeps its share of `window` unanswered, in frames of what became free."""

    def __init__(
        self,
        channels: Sequence[grpc.aio.Channel],
        pool: RequestPool,
        tally: Tally,
        streams: int,
        window: int,
        frame_limit: int,
    ) -> None:
        self._lanes = [_Lane(channels[index % len(channels)], pool, tally) for index in range(streams)]
        self._window = max(1, window // streams)
        self._frame_limit = frame_limit
        self._stopping = False
        self._senders: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._senders = [asyncio.create_task(self._keep_full(lane)) for lane in self._lanes]

    async def stop(self, drain_s: float) -> None:
        self._stopping = True
        for lane in self._lanes:
            lane.progress.set()
        await _stop_lanes(self._lanes, self._senders, drain_s)

    async def _keep_full(self, lane: _Lane) -> None:
        while not self._stopping and not lane.ended:
            free = min(self._window - lane.outstanding, self._frame_limit)
            if free > 0:
                await lane.send([time.perf_counter()] * free)
            else:
                lane.progress.clear()
                await lane.progress.wait()


class StreamSchedule:
    """Open loop: item i is due at start + i / rate, on stream i modulo streams; what is due is sent every tick."""

    def __init__(
        self,
        channels: Sequence[grpc.aio.Channel],
        pool: RequestPool,
        tally: Tally,
        streams: int,
        rate_per_s: float,
        frame_limit: int,
        tick_ms: float,
    ) -> None:
        self._lanes = [_Lane(channels[index % len(channels)], pool, tally) for index in range(streams)]
        self._interval_s = 1 / rate_per_s
        self._frame_limit = frame_limit
        self._tick_s = tick_ms / 1000
        self._until_s = float("inf")
        self._senders: list[asyncio.Task[None]] = []

    def start(self) -> None:
        start_s = time.perf_counter()
        self._senders = [
            asyncio.create_task(self._pace(lane, start_s + index * self._interval_s))
            for index, lane in enumerate(self._lanes)
        ]

    async def stop(self, drain_s: float) -> None:
        """What is due by now is still sent."""
        self._until_s = time.perf_counter()
        await _stop_lanes(self._lanes, self._senders, drain_s)

    async def _pace(self, lane: _Lane, first_due_s: float) -> None:
        step_s = self._interval_s * len(self._lanes)
        sent = 0
        while True:
            now_s = time.perf_counter()
            until_s = min(now_s, self._until_s)
            due_s: list[float] = []
            while len(due_s) < self._frame_limit and (next_s := first_due_s + sent * step_s) <= until_s:
                due_s.append(next_s)
                sent += 1
            if due_s:
                await lane.send(due_s)
            elif now_s >= self._until_s:
                return
            if len(due_s) < self._frame_limit:
                # A tick that the write has used up already is not waited for again.
                await asyncio.sleep(max(0.0, now_s + self._tick_s - time.perf_counter()))


class UnarySaturation:
    """Closed loop: `concurrency` callers, each with one call open. settle(sequence, response, now) enters an answer."""

    def __init__(
        self,
        calls: Sequence[grpc.aio.UnaryUnaryMultiCallable[bytes, Any]],
        payload: Callable[[int], bytes],
        tally: Tally,
        settle: Settle,
        concurrency: int,
    ) -> None:
        self._calls = calls
        self._payload = payload
        self._tally = tally
        self._settle = settle
        self._concurrency = concurrency
        self._stopping = False
        self._callers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._callers = [
            asyncio.create_task(self._call_again_and_again(self._calls[index % len(self._calls)]))
            for index in range(self._concurrency)
        ]

    async def stop(self, drain_s: float) -> None:
        self._stopping = True
        await _finish_tasks(self._callers, drain_s)

    async def _call_again_and_again(self, call: grpc.aio.UnaryUnaryMultiCallable[bytes, Any]) -> None:
        while not self._stopping:
            sequence = self._tally.due(time.perf_counter())
            await _one_call(call, sequence, self._payload(sequence), self._tally, self._settle)


class UnarySchedule:
    """Open loop: call i starts at start + i / rate, however many are open."""

    def __init__(
        self,
        calls: Sequence[grpc.aio.UnaryUnaryMultiCallable[bytes, Any]],
        payload: Callable[[int], bytes],
        tally: Tally,
        settle: Settle,
        rate_per_s: float,
        tick_ms: float,
    ) -> None:
        self._calls = calls
        self._payload = payload
        self._tally = tally
        self._settle = settle
        self._interval_s = 1 / rate_per_s
        self._tick_s = tick_ms / 1000
        self._until_s = float("inf")
        self._open: set[asyncio.Task[None]] = set()
        self._pacer: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._pacer = asyncio.create_task(self._pace(time.perf_counter()))

    async def stop(self, drain_s: float) -> None:
        self._until_s = time.perf_counter()
        if self._pacer is not None:
            await self._pacer
        await _finish_tasks(self._open, drain_s)

    async def _pace(self, start_s: float) -> None:
        sent = 0
        while (now_s := time.perf_counter()) < self._until_s:
            while (due_s := start_s + sent * self._interval_s) <= now_s:
                sequence = self._tally.due(due_s)
                call = self._calls[sequence % len(self._calls)]
                task = asyncio.create_task(
                    _one_call(call, sequence, self._payload(sequence), self._tally, self._settle)
                )
                self._open.add(task)
                task.add_done_callback(self._open.discard)
                sent += 1
            await asyncio.sleep(self._tick_s)


async def _one_call(
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, Any], sequence: int, payload: bytes, tally: Tally, settle: Settle
) -> None:
    try:
        response = await call(payload, timeout=_CALL_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        tally.take_error(sequence, f"{error.code().name}: {error.details()}", time.perf_counter())
    else:
        settle(sequence, response, time.perf_counter())


async def _stop_lanes(lanes: Sequence[_Lane], senders: Sequence[asyncio.Task[None]], drain_s: float) -> None:
    """A sender is not cancelled while it writes, for that would cancel its stream."""
    await asyncio.wait(senders, timeout=drain_s)
    await asyncio.gather(*(lane.finish(drain_s) for lane in lanes))
    await asyncio.gather(*senders)


async def _finish_tasks(tasks: "Sequence[asyncio.Task[None]] | set[asyncio.Task[None]]", drain_s: float) -> None:
    if not tasks:
        return
    done, late = await asyncio.wait(list(tasks), timeout=drain_s)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
    for task in done:
        task.result()
