"""What a wallet authorization costs in CPU, beside what it cannot do without. Run with `python -m benchmarks.wallets`.

In one process, taking turns: the channel's authorizations (`prepare` and `send` until the answer), its
RSA signatures alone (one made by the same HSM, one verified), and bare aiohttp POSTs of the same sizes. The simulator
and the bare server are in another process, so that their CPU does not count; the bare one signs its answers, too, so
that they come as they come from a wallet, one by one. Ours is `time.process_time`, the HSM's threads included, on
uvloop like the switch. Wanted: authorization ≤ 1.5 × signatures + one POST.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import uvloop
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from adapters.alipay.channel import AlipayChannel, AlipaySettings
from adapters.alipay.simulator import AlipayApplication, AlipaySimulator
from adapters.wechat.channel import WeChatChannel
from adapters.wechat.settings import WeChatSettings
from adapters.wechat.simulator import WeChatMerchant, WeChatSimulator
from hsm.direct import DirectHsm
from hsm.keys import KeyStore, KeyUsage
from hsm.token import create_token, open_token
from switch.domain.authorization import Authorization, CodeCredential, Merchant
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.sensitive import PaymentCode
from switch.domain.states import EntryMode, Operation
from switch.ports import Approved, Channel, ChannelRequest

WANTED_SIGNATURES: Final = 1.5
BATCHES: Final = (1, 32)

# Told by the server's process: whatever the wallet's channel needs to know.
Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wallet:
    """One way to pay with a code. Functions of the module, so that another process can be given it.

    signing_key: the HSM's label. serve: starts the simulator for the public key (PEM); returns what `channel` is told
    and how to stop it. code: the payment code of the n-th payment. request_bytes, answer_bytes: the sizes of one
    exchange's bodies, queries included.
    """

    name: str
    signing_key: str
    serve: Callable[[str], Awaitable[tuple[Told, Callable[[], Awaitable[None]]]]]
    channel: Callable[[Told, Any, Any], Channel]
    code: Callable[[int], str]
    request_bytes: int
    answer_bytes: int


async def _serve_alipay(public_key_pem: str) -> tuple[Told, Callable[[], Awaitable[None]]]:
    simulator = AlipaySimulator([AlipayApplication("2021000000000001", public_key_pem)])
    await simulator.start()
    return {"url": simulator.gateway_url, "public_key": simulator.public_key_pem}, simulator.close


def _alipay_channel(told: Told, hsm: Any, clock: Any) -> Channel:
    return AlipayChannel(AlipaySettings(told["url"], "2021000000000001", told["public_key"]), hsm, clock)


async def _serve_wechat(public_key_pem: str) -> tuple[Told, Callable[[], Awaitable[None]]]:
    simulator = WeChatSimulator([WeChatMerchant("wx1", "1900000001", "01", public_key_pem, bytes(32))])
    await simulator.start()
    told = {"url": f"http://127.0.0.1:{simulator.port}", "public_key": simulator.public_key_pem}
    return told | {"public_key_id": simulator.public_key_id}, simulator.close


def _wechat_channel(told: Told, hsm: Any, clock: Any) -> Channel:
    key, key_id = told["public_key"], told["public_key_id"]
    return WeChatChannel(WeChatSettings(told["url"], "wx1", "1900000001", "01", key, key_id), hsm, clock)


WALLETS: Final[Mapping[str, Wallet]] = {
    "alipay": Wallet(
        "alipay", "alipay/app", _serve_alipay, _alipay_channel, lambda number: f"28{number:016d}", 830, 842
    ),
    "wechat": Wallet(
        "wechat", "wechat/merchant", _serve_wechat, _wechat_channel, lambda number: f"13{number:013d}777", 282, 464
    ),
}


class LoopClock:
    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


# --- the other process ----------------------------------------------------------------------------------------------


def _serve(wallet_name: str, public_key_pem: str, pipe: Connection) -> None:
    asyncio.run(_served(WALLETS[wallet_name], public_key_pem, pipe))


async def _served(wallet: Wallet, public_key_pem: str, pipe: Connection) -> None:
    """The wallet's simulator and a bare server, until the pipe is closed."""
    told, stop = await wallet.serve(public_key_pem)
    answer, key = bytes(wallet.answer_bytes), generate_private_key(public_exponent=65_537, key_size=2_048)

    async def bare(request: web.Request) -> web.Response:
        await request.read()
        key.sign(answer, PKCS1v15(), SHA256())
        return web.Response(body=answer)

    application = web.Application()
    application.router.add_post("/", bare)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pipe.send(dict(told) | {"bare_url": f"http://127.0.0.1:{runner.addresses[0][1]}/"})
    await asyncio.to_thread(_until_closed, pipe)
    await runner.cleanup()
    await stop()


def _until_closed(pipe: Connection) -> None:
    try:
        pipe.recv()
    except EOFError:
        return


# --- what is measured -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU microseconds of one authorization, of its signatures (made and verified) and of one bare POST."""

    authorization_us: float
    signatures_us: float
    post_us: float

    @property
    def ratio(self) -> float:
        """To what is allowed: at most 1 is wanted."""
        return self.authorization_us / (WANTED_SIGNATURES * self.signatures_us + self.post_us)


class Bench:
    """One wallet's channel, HSM and bare session. batch: how many are asked for at once."""

    def __init__(self, wallet: Wallet, channel: Channel, hsm: Any, told: Told, session: aiohttp.ClientSession) -> None:
        self._wallet = wallet
        self._channel = channel
        self._hsm = hsm
        self._told = told
        self._session = session
        self._numbers = itertools.count(1)
        self._peer_key = generate_private_key(public_exponent=65_537, key_size=2_048)

    async def round(self, count: int, batch: int) -> Costs:
        """Each of the three, `count` times, in turn batch by batch: each finds the caches as cold as the others."""
        sales = [[self._sale(next(self._numbers)) for _ in range(batch)] for _ in range(0, count, batch)]
        signed = [self._signed_by_peer()] * batch
        spent_s = [0.0, 0.0, 0.0]
        for requests in sales:
            begun_s = time.process_time()
            await self._authorizations(requests)
            authorized_s = time.process_time()
            await self._signatures(signed)
            verified_s = time.process_time()
            await self._posts(batch)
            ended_s = time.process_time()
            spent_s[0] += authorized_s - begun_s
            spent_s[1] += verified_s - authorized_s
            spent_s[2] += ended_s - verified_s
        return Costs(*(each / (len(sales) * batch) * 1e6 for each in spent_s))

    async def _authorizations(self, requests: Sequence[ChannelRequest]) -> None:
        self._channel.prepare(requests)
        results = await asyncio.gather(*self._channel.send(requests))
        if not all(isinstance(each, Approved) for each in results):
            raise RuntimeError(f"not approved: {next(each for each in results if not isinstance(each, Approved))}")

    async def _signatures(self, signed: Sequence[tuple[RSAPublicKey, bytes, bytes]]) -> None:
        """What the answers' signatures cost is the same whoever made them."""
        made = await self._hsm.sign([(self._wallet.signing_key, data) for _, data, _ in signed])
        if not all(isinstance(each, bytes) for each in made):
            raise RuntimeError("not signed")
        for public_key, data, signature in signed:
            public_key.verify(signature, data, PKCS1v15(), SHA256())

    async def _posts(self, batch: int) -> None:
        await asyncio.gather(*(self._post() for _ in range(batch)))

    async def _post(self) -> None:
        body = urlencode({"biz_content": "x" * self._wallet.request_bytes}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        async with self._session.post(self._told["bare_url"], data=body, headers=headers) as response:
            await response.read()

    def _signed_by_peer(self) -> tuple[RSAPublicKey, bytes, bytes]:
        data = b"x" * self._wallet.request_bytes
        return self._peer_key.public_key(), data, self._peer_key.sign(data, PKCS1v15(), SHA256())

    def _sale(self, number: int) -> ChannelRequest:
        money = Money(100 + number % 1_000, "CNY")
        authorization = Authorization(
            id=computed_id("bench", "m1", 1_700_000_000_000, str(number)),
            acquirer_id="bench", merchant_id="m1", terminal_id="T0000001", merchant_category_code="5999",
            operation=Operation.SALE, money=money, entry=EntryMode.PAYER_CODE, masked_credential="",
        )  # fmt: skip
        code = CodeCredential(self._wallet.name, PaymentCode(self._wallet.code(number)))
        deadline_s = asyncio.get_running_loop().time() + 30.0
        return ChannelRequest(Operation.SALE, authorization, money, code, Merchant("m1", "bench"), deadline_s)


async def _ready(channel: Channel) -> None:
    for _ in range(500):
        if channel.health().ready:
            return
        await asyncio.sleep(0.01)
    raise RuntimeError(f"{channel.name}: {channel.health().detail}")


async def measured(wallet: Wallet, told: Told, hsm: Any, count: int, rounds: int) -> dict[int, list[Costs]]:
    """By the size of the batch, one entry a round. The first round of each warms up and does not count."""
    channel = wallet.channel(told, hsm, LoopClock())
    await channel.start()
    try:
        await _ready(channel)
        connector = aiohttp.TCPConnector(limit=128)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            bench = Bench(wallet, channel, hsm, told, session)
            return {batch: [await bench.round(count, batch) for _ in range(rounds + 1)][1:] for batch in BATCHES}
    finally:
        await channel.close()


def run(wallet: Wallet, count: int, rounds: int) -> dict[int, list[Costs]]:
    """In a fresh token, against a simulator in a process of its own."""
    with TemporaryDirectory(prefix="payswitch-bench-") as temporary:
        directory = create_token(Path(temporary) / "token")
        with open_token(directory) as token:
            store = KeyStore(token)
            store.ensure(wallet.signing_key, KeyUsage.SIGNING)
            public_key_pem = store.public_key(wallet.signing_key).decode()
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        server = context.Process(target=_serve, args=(wallet.name, public_key_pem, theirs))
        server.start()
        theirs.close()
        hsm = DirectHsm.open(directory)
        try:
            return uvloop.run(measured(wallet, ours.recv(), hsm, count, rounds))
        finally:
            hsm.close()
            ours.close()
            server.join(10)


def page(found: Mapping[str, Mapping[int, Sequence[Costs]]]) -> str:
    """A table of medians over the rounds."""
    lines = [
        "| wallet, at once | authorization, µs | signatures, µs | POST, µs | ÷ (1.5 × signatures + POST) | wanted |",
        "|---|---|---|---|---|---|",
    ]
    for name, by_batch in found.items():
        for batch, rounds in by_batch.items():
            middle = [
                statistics.median(getattr(each, field) for each in rounds)
                for field in ("authorization_us", "signatures_us", "post_us")
            ]
            ratio = statistics.median(each.ratio for each in rounds)
            lines.append(f"| {name}, {batch} | {' | '.join(f'{each:.0f}' for each in middle)} | {ratio:.2f} | ≤ 1 |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wallets", description=__doc__)
    parser.add_argument("--count", type=int, default=320, help="authorizations of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="a wallet's name")
    options = parser.parse_args(arguments)
    wallets = [each for each in WALLETS.values() if options.only in each.name]
    print(page({each.name: run(each, options.count, options.rounds) for each in wallets}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
