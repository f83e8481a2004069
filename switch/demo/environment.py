"""Everything the demo needs, on ports of its own: embedded servers, keys, certificates, simulators, one switch."""

import asyncio
import os
import socket
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio

from hsm.token import write_atomically
from switch import config
from switch.client.acquirer import AcquirerClient
from switch.client.connection import ClientCredentials, open_channel
from switch.demo.processes import Child, ChildFailed
from switch.demo.secrets import ACQUIRER, ISSUER, provide
from switch.pki import Authority
from switch.store.embedded import EmbeddedPostgres, EmbeddedRedis

HOST = "127.0.0.1"
_CONFIG_NAME = "demo.toml"
_A_DAY_AND_A_HALF_S = 36 * 3600


@dataclass(slots=True)
class Ports:
    """Free ports, chosen at once so that no two are the same."""

    switch: int
    people: int
    operations: int
    operations_grpc: int
    notifications: int
    unionpay: int
    alipay: int
    wechat: int
    control: int

    @classmethod
    def free(cls) -> "Ports":
        sockets = [socket.socket() for _ in fields(cls)]
        try:
            for each in sockets:
                each.bind((HOST, 0))
            return cls(*(each.getsockname()[1] for each in sockets))
        finally:
            for each in sockets:
                each.close()


@dataclass
class Environment:
    """`async with Environment(state_dir) as environment:` everything runs.

    overrides: settings for the children, as environment variables.
    """

    state_dir: Path
    overrides: dict[str, str] = field(default_factory=dict)
    ports: Ports = field(default_factory=Ports.free)

    def __post_init__(self) -> None:
        self.state_dir = self.state_dir.absolute()
        self.postgres = EmbeddedPostgres(self.state_dir / "postgres")
        self.redis = EmbeddedRedis(self.state_dir / "redis")
        self._session: aiohttp.ClientSession | None = None
        self._simulators: Child | None = None
        self.switch: Child | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> "Environment":
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _start(self) -> None:
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._session = aiohttp.ClientSession()
        # A fresh installation leaves much to be written back, and every commit would queue behind it.
        await asyncio.to_thread(os.sync)
        postgres_url, redis_url, _ = await asyncio.gather(
            self.postgres.start(), self.redis.start(), asyncio.to_thread(self._keys)
        )
        write_atomically(self.config_path, self._toml(postgres_url, redis_url).encode())
        await self._start_simulators()
        await self.start_switch()

    async def close(self) -> None:
        for child in (self.switch, self._simulators):
            if child is not None:
                await child.stop()
        if self._session is not None:
            await self._session.close()
        await self.redis.stop()
        await self.postgres.stop()

    def _keys(self) -> None:
        provide(self.state_dir, self.state_dir / "tokens")
        authority = Authority(self.state_dir / "pki")
        authority.ensure()
        authority.server()
        authority.participant("acquirer", ACQUIRER)
        authority.participant("issuer", ISSUER)

    # --- children -----------------------------------------------------------------------------------------------------

    async def _start_simulators(self) -> None:
        # Nobody speaks HTTPS to them here: any free ports will do.
        anywhere = ("--alipay-https-port", "0", "--wechat-https-port", "0")
        arguments = ("simulators", "--announce", "--control-port", str(self.ports.control), *anywhere)
        self._simulators = self._child("simulators", *arguments)
        await self._simulators.start()

    async def start_switch(self) -> None:
        """Start the switch and wait until it serves and every channel is up."""
        self.switch = self._child("switch", "serve", "--announce")
        await self.switch.start()
        await self.until_ready()

    async def kill_switch(self) -> None:
        """SIGKILL."""
        if self.switch is not None:
            await self.switch.kill()

    async def stop_switch(self) -> int:
        """SIGTERM; the exit code after the drain."""
        return await self.switch.stop() if self.switch is not None else 0

    @property
    def pids(self) -> dict[str, int]:
        children = {"switch": self.switch, "simulators": self._simulators}
        return {name: child.pid for name, child in children.items() if child is not None}

    def _child(self, name: str, *arguments: str) -> Child:
        # The file names the folder, too; a variable of the caller's own would come before it.
        own = {config.CONFIG_VARIABLE: str(self.config_path), "PAYSWITCH_STATE_DIR": str(self.state_dir)}
        environment = {**own, "GRPC_VERBOSITY": "NONE", **self.overrides}
        return Child("switch.cli", *arguments, log=self.state_dir / "log" / f"{name}.log", environment=environment)

    # --- what runs ----------------------------------------------------------------------------------------------------

    @property
    def config_path(self) -> Path:
        return self.state_dir / _CONFIG_NAME

    @property
    def operations_url(self) -> str:
        return f"http://{HOST}:{self.ports.operations}"

    @property
    def control_url(self) -> str:
        return f"http://{HOST}:{self.ports.control}"

    @property
    def target(self) -> str:
        return f"{HOST}:{self.ports.switch}"

    def credentials(self, role: str = "acquirer", participant: str = ACQUIRER) -> ClientCredentials:
        authority = Authority(self.state_dir / "pki")
        pair = authority.participant(role, participant)
        return ClientCredentials(
            authority.ensure().read_bytes(), pair.certificate.read_bytes(), pair.private_key.read_bytes()
        )

    @property
    def people_target(self) -> str:
        return f"{HOST}:{self.ports.people}"

    def people(self, target: str = "") -> grpc.aio.Channel:
        """As an app or a shop's till: TLS, no certificate of its own. target: of another process than the switch."""
        root = Authority(self.state_dir / "pki").ensure().read_bytes()
        return grpc.aio.secure_channel(target or self.people_target, grpc.ssl_channel_credentials(root))

    def participants(self, role: str, participant: str, target: str = "") -> grpc.aio.Channel:
        """With a client certificate: an operator, a reviewer, somebody of finance."""
        return open_channel(target or self.target, self.credentials(role, participant), None)

    def client(self) -> AcquirerClient:
        return AcquirerClient(self.target, credentials=self.credentials())

    async def until_ready(self, timeout_s: float = 30.0) -> None:
        """Wait until the switch is ready and not degraded: every channel signed on."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        said = ""
        while loop.time() < until_s:
            try:
                said = await self.get_text(f"{self.operations_url}/readyz?verbose")
            except aiohttp.ClientError as error:
                said = str(error)
            if said.splitlines()[-1:] == ["ready"]:
                return
            await asyncio.sleep(0.05)
        raise ChildFailed(f"the switch did not become ready:\n{said}")

    async def get_text(self, url: str) -> str:
        assert self._session is not None
        async with self._session.get(url) as response:
            return await response.text()

    # --- the simulators' control endpoint -----------------------------------------------------------------------------

    async def book(self, simulator: str) -> list[dict[str, Any]]:
        assert self._session is not None
        async with self._session.get(f"{self.control_url}/{simulator}/book") as response:
            entries: list[dict[str, Any]] = await response.json()
            return entries

    async def scenario(self, simulator: str, **fields: Any) -> None:
        await self._told("POST", f"{simulator}/scenarios", fields)

    async def clear_scenarios(self, simulator: str) -> None:
        await self._told("DELETE", f"{simulator}/scenarios")

    async def listening(self, simulator: str, on: bool) -> None:
        """Switch a simulator's listener (or the issuer's sign-on) off or on."""
        await self._told("PUT", f"{simulator}/listening", on)

    async def scan(self, simulator: str, **fields: Any) -> None:
        """A payer scans a wallet's code and pays."""
        await self._told("POST", f"{simulator}/scan", fields)

    async def bills_of(self, day: date) -> None:
        """Every channel has its bill of that day ready, though it may not be over."""
        await self._told("PUT", "alipay/clock", {"ahead_s": _A_DAY_AND_A_HALF_S})
        await self._told("POST", "wechat/bills", {"at_once": True})
        await self._told("POST", f"unionpay/bills/{day.isoformat()}")

    async def bills_are_over(self) -> None:
        """Alipay's clock is right again."""
        await self._told("PUT", "alipay/clock", {"ahead_s": 0})

    async def _told(self, method: str, path: str, content: Any = None) -> None:
        assert self._session is not None
        async with self._session.request(method, f"{self.control_url}/{path}", json=content) as response:
            response.raise_for_status()

    # --- settings -----------------------------------------------------------------------------------------------------

    def _toml(self, postgres_url: str, redis_url: str) -> str:
        ports = self.ports
        return f"""# Written by the demo for its own switch and simulators.
listen = "{HOST}:{ports.switch}"
state_dir = '{self.state_dir}'
postgres_url = '{postgres_url}'
redis_url = '{redis_url}'
issuers = ["{ISSUER}"]

[platform]
listen = "{HOST}:{ports.people}"

[merchants]
acquirer_id = "{ACQUIRER}"

[reconciliation]
# There are no days before this one.
daily = false

[settlement]
early_close = true
debtor_name = "payswitch demo"
debtor_account = "6214830012345678"
debtor_bank_code = "102290002916"

[webhooks]
allow_loopback = true

[operations]
listen = "{HOST}:{ports.operations}"
grpc_listen = "{HOST}:{ports.operations_grpc}"
log_format = "json"
drain_grace_ms = 100

[hsm]
mode = "direct"

[notifications]
listen = "{HOST}:{ports.notifications}"
public_url = "http://{HOST}:{ports.notifications}"

[follow_ups]
inquiry_interval_ms = 500
reversal_backoff_first_ms = 500

[unionpay]
port = {ports.unionpay}

[alipay]
gateway_url = "http://{HOST}:{ports.alipay}/gateway.do"

[wechat]
base_url = "http://{HOST}:{ports.wechat}"
reversal_after_ms = 1000

[[routes]]
name = "demo issuer, else UnionPay"
pan_prefix = "6259"
channels = ["issuer:{ISSUER}", "unionpay"]

[[routes]]
name = "cards"
pan_prefix = ""
channels = ["unionpay"]

[[routes]]
name = "UnionPay codes"
scheme = "unionpay"
channels = ["unionpay"]

[[routes]]
name = "Alipay codes"
scheme = "alipay"
channels = ["alipay"]

[[routes]]
name = "WeChat codes"
scheme = "wechat"
channels = ["wechat"]
"""


def running_config(state_dir: Path) -> str:
    """The configuration of a demo that runs (or ran) in that folder, unless PAYSWITCH_CONFIG names another; or ""."""
    given = os.environ.get(config.CONFIG_VARIABLE, "")
    path = state_dir / _CONFIG_NAME
    return given or (str(path) if path.exists() else "")
