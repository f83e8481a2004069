"""`grpc.health.v1`: the status of every service and of every channel, kept in step with the checks.

Service names are the full names of the contract's services and "" for the process; they serve while every required
check passes. A check named "channel/unionpay" is a service of that name: it serves while that check passes.
"""

import asyncio
from collections.abc import Sequence

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as grpc_health  # type: ignore[attr-defined]  # its stubs leave out `aio`

from switch.ops.checks import Readiness, Report

log = structlog.get_logger()

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
CHANNEL_PREFIX = "channel/"


class HealthStatus:
    """Publishes readiness through a `grpc.health.v1` servicer.

    Register `servicer` with `health_pb2_grpc.add_HealthServicer_to_server`. Everything is NOT_SERVING until the first
    round of checks. services: full names, as "payswitch.v1.AuthorizationService".
    """

    def __init__(self, readiness: Readiness, services: Sequence[str], interval_s: float = 1.0) -> None:
        self.servicer = grpc_health.HealthServicer()
        self._readiness = readiness
        self._services = ("", *services)
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Publish once, then go on in the background until `close`."""
        for service in self._services:
            await self.servicer.set(service, NOT_SERVING)
        await self.publish()
        self._task = asyncio.create_task(self._keep_publishing(), name="grpc-health")

    async def publish(self) -> Report:
        """Bring every status in step with the checks; returns what they said."""
        report = await self._readiness.report()
        for service in self._services:
            await self.servicer.set(service, SERVING if report.ready else NOT_SERVING)
        for each in report.results:
            if each.name.startswith(CHANNEL_PREFIX):
                up = each.passed and not report.draining
                await self.servicer.set(each.name, SERVING if up else NOT_SERVING)
        return report

    async def drain(self) -> None:
        """NOT_SERVING for good, for every service and every watcher, and `/readyz` with them."""
        self._readiness.drain()
        await self.servicer.enter_graceful_shutdown()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _keep_publishing(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.publish()
            except Exception:  # the next round may succeed; ending here would freeze the statuses
                log.exception("health_publishing_failed")
