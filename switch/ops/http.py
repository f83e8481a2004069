"""The operations listener: `/livez`, `/readyz`, `/metrics`. Plain HTTP, for a private network only."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from switch.ops.checks import CheckResult, Readiness, Report
from switch.ops.redaction import redacted_text

_NEVER_STORED = {"Cache-Control": "no-store"}


def operations_app(
    readiness: Readiness,
    loop_lag_s: Callable[[], float],
    lag_limit_s: float = 5.0,
    registry: CollectorRegistry = REGISTRY,
) -> web.Application:
    """The routes of the operations listener.

    GET /livez: 200 while the event loop wakes within `lag_limit_s`, else 503: the process should be restarted. It asks
    nothing of the database or a channel, for a restart would not mend those.
    GET /readyz: 200 if every required check passes and the process is not draining, else 503. With `?verbose` one line
    per check, `[+]` passed, `[-]` failed, `[!]` failed but optional.
    GET /metrics: the Prometheus text format 0.0.4.
    """

    async def livez(request: web.Request) -> web.Response:
        lag_s = loop_lag_s()
        alive = lag_s <= lag_limit_s
        text = f"{'alive' if alive else 'stalled'}: event loop lag {lag_s * 1000:.0f} ms\n"
        return web.Response(text=text, status=200 if alive else 503, headers=_NEVER_STORED)

    async def readyz(request: web.Request) -> web.Response:
        report = await readiness.report()
        text = describe(report) if "verbose" in request.query else f"{_verdict(report)}\n"
        return web.Response(text=text, status=200 if report.ready else 503, headers=_NEVER_STORED)

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, **_NEVER_STORED}
        )

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


def describe(report: Report) -> str:
    """One line per check and the verdict, for an operator's eyes."""
    lines = [f"{_mark(each)} {each.name}: {redacted_text(each.detail) or 'ok'}" for each in report.results]
    return "\n".join([*lines, _verdict(report)]) + "\n"


def _mark(result: CheckResult) -> str:
    if result.passed:
        return "[+]"
    return "[-]" if result.required else "[!]"


def _verdict(report: Report) -> str:
    if report.draining:
        return "draining"
    if not report.ready:
        return "not ready"
    return "ready, degraded" if report.degraded else "ready"


async def start_http(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Listen; `await runner.cleanup()` ends it. Raises OSError if the address is taken."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
