"""Files that a URL opens for half a minute."""

from collections.abc import Callable
from secrets import token_hex
from typing import Final

from aiohttp import web

_PATH: Final = "/downloadBillFile.resource"
VALID_S: Final = 30.0


class Downloads:
    """now_s: Unix seconds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._offered: dict[str, tuple[float, str, bytes]] = {}

    def routes(self) -> list[web.RouteDef]:
        return [web.get(_PATH, self._serve)]

    def offer(self, name: str, content: bytes) -> str:
        """The path and query under which it can be had."""
        now_s, token = self._now_s(), token_hex(16)
        self._offered = {key: each for key, each in self._offered.items() if each[0] > now_s}
        self._offered[token] = (now_s + VALID_S, name, content)
        return f"{_PATH}?fileType=csv.zip&bizDates={name}&token={token}"

    async def _serve(self, request: web.Request) -> web.Response:
        ends_s, name, content = self._offered.get(request.query.get("token", ""), (0.0, "", b""))
        if self._now_s() >= ends_s:
            # How the real service says it is unverified.
            return web.Response(status=403, text="the URL has expired")
        headers = {"Content-Disposition": f'attachment; filename="{name}.csv.zip"'}
        return web.Response(body=content, content_type="application/zip", headers=headers)
