"""All simulators in one process: UnionPay's network, Alipay, WeChat Pay and one direct issuer, with a control endpoint."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog
from aiohttp import web

from adapters.alipay.simulator import AlipaySimulator
from adapters.alipay.simulator import Settings as AlipaySimulatorSettings
from adapters.issuer.simulator import IssuerSimulator
from adapters.simulation import Scenarios, control_routes
from adapters.unionpay.simulator import UnionPaySimulator
from adapters.wechat.simulator import WeChatSimulator
from switch.client.credentials import ClientCredentials
from switch.demo.processes import say_ready, until_stdin_closes

log = structlog.get_logger()


class Simulator(Protocol):
    scenarios: Scenarios

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def book(self) -> list[dict[str, Any]]: ...
