"""All simulators in one process: UnionPay's network, Alipay, WeChat Pay and one direct issuer.

A control endpoint beside them serves their books, takes scenarios (`adapters.simulation`) and switches each off and on.
"""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog
import uvloop
from aiohttp import web

from adapters.alipay.simulator import AlipayApplication, AlipaySimulator
from adapters.issuer.simulator import CardKeys, IssuerSimulator
from adapters.issuer.simulator_ledger import default_accounts as issuer_accounts
from adapters.simulation import Scenarios, control_routes
from adapters.unionpay.simulator import Account, SimulatorSettings, UnionPaySimulator, client_accounts
from adapters.unionpay.simulator import default_accounts as unionpay_accounts
from adapters.wechat.simulator import WeChatMerchant, WeChatSimulator
from benchmarks.terminal import load_account
from hsm.token import write_atomically
from switch.client.connection import ClientCredentials
from switch.config import Settings, split_address
from switch.demo.processes import say_ready, until_stdin_closes
from switch.demo.secrets import ISSUER, SharedKeys, provide
from switch.ops import logs
from switch.pki import Authority

log = structlog.get_logger()

# Load tests draw on these besides the handful of accounts with a meaning.
LOAD_ACCOUNTS = 10_000


class Simulator(Protocol):
    scenarios: Scenarios

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def book(self) -> list[dict[str, Any]]: ...


@dataclass(slots=True)
class Town:
    """The simulators by the names of their channels, and how each is switched off and on."""

    unionpay: UnionPaySimulator
    alipay: AlipaySimulator
    wechat: WeChatSimulator
    issuer: IssuerSimulator

    def named(self) -> "dict[str, Simulator]":
        return {"unionpay": self.unionpay, "alipay": self.alipay, "wechat": self.wechat, "issuer": self.issuer}

    def switches(self) -> dict[str, tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]]:
        return {
            "unionpay": (self.unionpay.stop_listening, self.unionpay.resume),
            "alipay": (self.alipay.stop_listening, self.alipay.resume),
            "wechat": (self.wechat.stop_listening, self.wechat.resume),
            "issuer": (self.issuer.sign_off, self.issuer.sign_on),
        }


def build(settings: Settings, keys: SharedKeys, host: str) -> Town:
    """The simulators that the settings' channels talk to, on the settings' ports."""
    authority = Authority(settings.state_dir / "pki")
    certificate = authority.participant("issuer", ISSUER)
    credentials = ClientCredentials(
        authority.ensure().read_bytes(), certificate.certificate.read_bytes(), certificate.private_key.read_bytes()
    )
    wechat = settings.wechat
    return Town(
        UnionPaySimulator(
            SimulatorSettings(
                {settings.unionpay.forwarding_institution_id: keys.unionpay_mmk},
                host,
                settings.unionpay.port,
                settings.unionpay.destination_id,
                bills_dir=settings.state_dir / "simulators" / "unionpay",
            ),
            cards(),
        ),
        AlipaySimulator(
            [AlipayApplication(settings.alipay.app_id, keys.alipay_app_public_key)],
            host,
            _port_of(settings.alipay.gateway_url),
        ),
        WeChatSimulator(
            [
                WeChatMerchant(
                    wechat.appid, wechat.mchid, wechat.serial, keys.wechat_merchant_public_key, keys.apiv3_key
                )
            ],
            public_key_id=wechat.platform_public_key_id,
            host=host,
            port=_port_of(wechat.base_url),
            reversal_after_s=wechat.reversal_after_ms / 1000,
            refund_settles_after_s=0.0,
            bills_at_once=True,
        ),
        IssuerSimulator(
            settings.listen,
            ISSUER,
            keys.issuer_zpk,
            credentials=credentials,
            card_keys=CardKeys(keys.issuer_ac, keys.issuer_cvv, keys.issuer_pvv),
        ),
    )


def cards() -> list[Account]:
    """UnionPay knows the direct issuer's cards too: that is what makes another way to them."""
    shared = [Account(each.pan.reveal(), each.expiry_yymm, each.pin, each.balance_minor) for each in issuer_accounts()]
    load = (Account(*load_account(index), balance_minor=10**11) for index in range(LOAD_ACCOUNTS))
    return [*unionpay_accounts(), *client_accounts(), *shared, *load]


def _port_of(url: str) -> int:
    return split_address(url.split("//", 1)[1].split("/", 1)[0])[1]


def control_app(town: Town) -> web.Application:
    """`/{name}/book`, `/{name}/scenarios`, and `PUT /{name}/listening` with `true` or `false`."""
    app = web.Application()
    switches = town.switches()

    def listening(name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        off, on = switches[name]

        async def put(request: web.Request) -> web.Response:
            await (on if await request.json() else off)()
            return web.Response(status=204)

        return put

    for name, simulator in town.named().items():
        if name != "alipay":
            app.add_routes(control_routes(name, simulator.scenarios, simulator.book))
        app.add_routes([web.put(f"/{name}/listening", listening(name))])
    app.add_routes(town.unionpay.control_routes())
    app.add_routes(town.alipay.control_routes())
    app.add_routes(town.wechat.control_routes("wechat"))
    return app


async def run(settings: Settings, host: str, control_port: int) -> int:
    """Serve until a signal comes or the parent is gone."""
    keys = provide(settings.state_dir, settings.token_dir)
    town = build(settings, keys, host)
    _publish(settings, town, keys)
    runner = web.AppRunner(control_app(town), access_log=None, handle_signals=False)
    ended = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, ended.set)
    try:
        for simulator in town.named().values():
            await simulator.start()
        await runner.setup()
        await web.TCPSite(runner, host, control_port).start()
        say_ready(control=f"http://{host}:{control_port}")
        watch = asyncio.create_task(until_stdin_closes(), name="parent")
        watch.add_done_callback(lambda _: ended.set())
        await ended.wait()
        watch.cancel()
    finally:
        await runner.cleanup()
        for simulator in town.named().values():
            await simulator.close()
    return 0


def _publish(settings: Settings, town: Town, keys: SharedKeys) -> None:
    """Their public keys, and what they encrypt under, where the switch's settings look for them."""
    for path, pem in (
        (settings.alipay_public_key_path, town.alipay.public_key_pem),
        (settings.wechat_public_key_path, town.wechat.public_key_pem),
        (settings.state_dir / "simulators" / "wechat_root.pem", town.wechat.root_certificate_pem),
        (settings.state_dir / "simulators" / "wechat_apiv3.key", keys.apiv3_key),
    ):
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(Path(path), pem if isinstance(pem, bytes) else pem.encode())


def main(settings: Settings, host: str, control_port: int) -> int:
    logs.configure(settings.operations.log_level)
    # The books grow for ever and hold no cycles: looking through them would stop the world for longer each time.
    gc.disable()
    return uvloop.run(run(settings, host, control_port))
