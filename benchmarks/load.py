"""A run: bare echo, maximum of stream and unary, then the open loop at half of the maximum.

Run in a process of its own: `python -m benchmarks.load --target 127.0.0.1:7443 --output out …`.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from time import perf_counter
from typing import Any

import grpc
import uvloop

from benchmarks.arguments import parse_arguments
from benchmarks.config import LoadConfig, Mode, TlsFiles
from benchmarks.drive import AUTHORIZE, Driver, StreamSaturation, StreamSchedule, UnarySaturation, UnarySchedule
from benchmarks.echo import ECHO, echo_process
from benchmarks.observe import cpu_us_each, stage_us, take_snapshot
from benchmarks.plot import write_plot
from benchmarks.report import Report, StepResult, machine, summarize
from benchmarks.requests import RequestPool
from benchmarks.tally import Tally
from payswitch.v1 import authorization_pb2 as pb

_CONNECT_TIMEOUT_S = 10.0
_NEVER_SHOWN = frozenset({"zone_pin_key"})


class Run:
    """The steps of one run, in order; each begins where the one before has drained."""

    def __init__(self, config: LoadConfig) -> None:
        self._config = config
        self._pool = RequestPool(config)
        self._steps: list[StepResult] = []
        # What was built lives as long as the run: the collector need not look at it while latencies are taken.
        gc.collect()
        gc.freeze()

    async def run(self) -> Report:
        config = self._config
        if config.echo:
            await self._echo()
        async with _channels(config.target, config) as channels:
            stream = await self._step("stream maximum", lambda tally: self._stream_maximum(channels, tally))
            unary = await self._step("unary maximum", lambda tally: self._unary_maximum(channels, tally))
            maxima: dict[Mode, float] = {"stream": stream.answered_per_s, "unary": unary.answered_per_s}
            for mode in config.open_loop:
                rate_per_s = config.rate_per_s or maxima[mode] / 2
                if rate_per_s > 0:
                    await self._open_loop(mode, channels, rate_per_s)
        settings = {name: value for name, value in asdict(config).items() if name not in _NEVER_SHOWN}
        return Report(settings, machine(), self._steps)

    async def _echo(self) -> None:
        config = self._config
        if config.tls and not config.server_tls:
            raise ValueError("server_tls: the echo needs a server's certificate (or leave the echo out)")
        payload = bytes(self._pool.request_bytes)
        tls = config.server_tls if config.tls else None
        async with echo_process(tls) as (target, pid), _channels(target, config) as channels:
            calls = [channel.unary_unary(ECHO, bytes, bytes) for channel in channels]

            def driver(tally: Tally) -> Driver:
                def settle(sequence: int, response: Any, now_s: float) -> None:
                    tally.take_echo(sequence, now_s)

                return UnarySaturation(calls, lambda sequence: payload, tally, settle, config.unary_concurrency)

            await self._step("echo", driver, pids={"echo": pid})

    def _stream_maximum(self, channels: Sequence[grpc.aio.Channel], tally: Tally) -> Driver:
        config = self._config
        return StreamSaturation(channels, self._pool, tally, config.streams, config.window, config.frame_limit)

    def _unary_maximum(self, channels: Sequence[grpc.aio.Channel], tally: Tally) -> Driver:
        calls = _authorize_calls(channels)
        return UnarySaturation(calls, self._pool.serialized, tally, tally.take, self._config.unary_concurrency)

    async def _open_loop(self, mode: Mode, channels: Sequence[grpc.aio.Channel], rate_per_s: float) -> None:
        config, pool = self._config, self._pool

        def driver(tally: Tally) -> Driver:
            if mode == "unary":
                calls = _authorize_calls(channels)
                return UnarySchedule(calls, pool.serialized, tally, tally.take, rate_per_s, config.tick_ms)
            limit, tick_ms = config.frame_limit, config.tick_ms
            return StreamSchedule(channels, pool, tally, config.streams, rate_per_s, limit, tick_ms)

        await self._step(f"{mode} open loop", driver, offered_per_s=rate_per_s)

    async def _step(
        self,
        name: str,
        driver_of: Callable[[Tally], Driver],
        pids: dict[str, int] | None = None,
        offered_per_s: float | None = None,
    ) -> StepResult:
        config = self._config
        pids, urls = (config.pids, config.metrics_urls) if pids is None else (pids, ())
        self._pool.begin_step()
        tally = Tally()
        driver = driver_of(tally)
        driver.start()
        await asyncio.sleep(config.warmup_s)
        answered_first = tally.answered
        before = await take_snapshot(pids, urls)
        tally.measure_from_s = perf_counter()
        answered_from = tally.answered
        await asyncio.sleep(config.seconds)
        tally.measure_until_s = perf_counter()
        answered_until = tally.answered
        after = await take_snapshot(pids, urls)
        answered_last = tally.answered
        await driver.stop(config.drain_s)
        tally.close_books()
        seconds = tally.measure_until_s - tally.measure_from_s
        result = summarize(name, tally, seconds, answered_until - answered_from, offered_per_s)
        result.cpu_us = cpu_us_each(before, after, answered_last - answered_first)
        result.stages = stage_us(before, after)
        self._steps.append(result)
        return result


def _authorize_calls(channels: Sequence[grpc.aio.Channel]) -> list[Any]:
    """Requests go in serialized: a pooled one is altered for the next call before gRPC would serialize it."""
    return [channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString) for channel in channels]


@asynccontextmanager
async def _channels(target: str, config: LoadConfig) -> AsyncIterator[list[grpc.aio.Channel]]:
    """`connections` connections of their own, ready to be used."""
    options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
    if config.server_name:
        options.append(("grpc.ssl_target_name_override", config.server_name))
    channels = []
    try:
        for _ in range(config.connections):
            if config.tls is None:
                channels.append(grpc.aio.insecure_channel(target, options))
            else:
                channels.append(grpc.aio.secure_channel(target, channel_credentials(config.tls), options))
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            for channel in channels:
                await channel.channel_ready()
        yield channels
    finally:
        for channel in channels:
            await channel.close(None)


def channel_credentials(tls: TlsFiles) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(tls.ca.read_bytes(), tls.key.read_bytes(), tls.certificate.read_bytes())


async def run(config: LoadConfig) -> Report:
    """The whole run; writes `load.json` and `latency.png` into `config.output`."""
    report = await Run(config).run()
    config.output.mkdir(parents=True, exist_ok=True)
    report.write_json(config.output / "load.json")
    write_plot(report.steps, config.output / "latency.png")
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 if every answer was an approval."""
    config = parse_arguments(arguments)
    report = uvloop.run(run(config))
    sys.stdout.write(f"{report.text()}\nwritten: {config.output}\n")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
