"""The simulators together: how they start, end, go down and come back."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from adapters.alipay.simulator import AlipaySimulator
from adapters.issuer.simulator import IssuerSimulator
from adapters.simulation import Scenarios
from adapters.unionpay.simulator import UnionPaySimulator
from adapters.wechat.simulator import WeChatSimulator
from switch.config import split_address
from switch.demo.simulators.accounts import Purses

_LOOKS_FOR_SWITCH_EVERY_S = 0.2


class Simulator(Protocol):
    scenarios: Scenarios

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def book(self) -> list[dict[str, Any]]: ...


class CannotListen(Exception):
    """The text says for whom, where and why."""


@dataclass(slots=True)
class Town:
    """The simulators by the names of their channels, and the accounts of each."""

    unionpay: UnionPaySimulator
    alipay: AlipaySimulator
    wechat: WeChatSimulator
    issuer: "PatientIssuer"
    accounts: dict[str, Purses]

    def named(self) -> "dict[str, Simulator]":
        return {"unionpay": self.unionpay, "alipay": self.alipay, "wechat": self.wechat, "issuer": self.issuer}

    def switches(self) -> dict[str, tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]]:
        """Per simulator: how it goes down, how it comes back."""
        return {
            "unionpay": (self.unionpay.stop_listening, self.unionpay.resume),
            "alipay": (self.alipay.stop_listening, self.alipay.resume),
            "wechat": (self.wechat.stop_listening, self.wechat.resume),
            "issuer": (self.issuer.sign_off, self.issuer.sign_on),
        }

    def own_routes(self, name: str) -> list[web.RouteDef]:
        """What a simulator adds to the control endpoint."""
        match name:
            case "unionpay":
                return self.unionpay.control_routes()
            case "alipay":
                return self.alipay.control_routes()
            case "wechat":
                return self.wechat.control_routes(name)
            case _:
                return []

    def let_happen(self, name: str) -> None:
        """What is due by now at a wallet: it looks at waiting payers and refunds when it is asked about them."""
        if name in ("alipay", "wechat"):
            self.named()[name].book()

    async def start(self) -> None:
        """Raises CannotListen."""
        for name, simulator in self.named().items():
            try:
                await simulator.start()
            except OSError as error:
                raise CannotListen(f"the simulator of {name} cannot listen: {reason(error)}") from error

    async def close(self) -> None:
        for simulator in self.named().values():
            await simulator.close()


class PatientIssuer(IssuerSimulator):
    """An issuer that waits for its switch: it dials when somebody listens there, and until then says nothing."""

    def __init__(self, target: str, *arguments: Any, **options: Any) -> None:
        super().__init__(target, *arguments, **options)
        self._target = target
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._looking = asyncio.create_task(self._dial_when_there(), name="issuer-looks-for-switch")

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        await super().close()

    async def _dial_when_there(self) -> None:
        host, port = split_address(self._target)
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                break
            await asyncio.sleep(_LOOKS_FOR_SWITCH_EVERY_S)
        await super().start()


def reason(error: OSError) -> str:
    """What is wrong with an address, in words.

    >>> reason(OSError(errno.EADDRINUSE, "error while attempting to bind on address ('127.0.0.1', 7584)"))
    "error while attempting to bind on address ('127.0.0.1', 7584): the port is taken"
    """
    text = error.strerror or str(error)
    return f"{text}: the port is taken" if error.errno == errno.EADDRINUSE else text
