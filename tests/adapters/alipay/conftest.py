"""An application key, an HSM that signs with it, a simulator, and a channel that talks to the simulator."""

import asyncio
import base64
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from Cryptodome.Cipher import AES
from Cryptodome.Util.Padding import pad, unpad
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from adapters.alipay.channel import AlipayChannel, AlipaySettings
from adapters.alipay.simulator import AlipayApplication, AlipaySimulator, Payer, default_accounts
from switch.domain.authorization import Authorization, CodeCredential, Merchant
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.sensitive import PaymentCode
from switch.domain.states import EntryMode, Operation
from switch.ports import ChannelRequest, ChannelResult

APP_ID = "2021000000000001"
OTHER_APP_ID = "2021000000000002"


@dataclass
class SigningHsm:
    """The part of `ports.Hsm` that the channel uses. batches: how many messages each call signed."""

    key: rsa.RSAPrivateKey
    batches: list[int] = field(default_factory=list)
    broken: bool = False
    refuses: bool = False
    content_key: bytes = bytes(range(16))
    unable: str = ""

    async def sign(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
        self.batches.append(len(items))
        await asyncio.sleep(0)
        if self.broken:
            raise RuntimeError("the token is gone")
        if self.refuses:
            return [RuntimeError("no such key") for _ in items]
        assert {label for label, _ in items} == {"alipay/app"}
        return [self.key.sign(data, padding.PKCS1v15(), SHA256()) for _, data in items]

    async def run(self, command: str, items: Sequence[tuple[str, str, str, bytes, bytes]]) -> list[bytes | Exception]:
        """`encipher` and `decipher`, by another library than the simulator's. unable: the command that fails."""
        if command == self.unable:
            return [RuntimeError("no such key") for _ in items]
        results: list[bytes | Exception] = []
        for label, mode, padding_name, iv, data in items:
            assert (label, mode, padding_name, iv) == ("alipay/content", "cbc", "pkcs7", bytes(16))
            cipher = AES.new(self.content_key, AES.MODE_CBC, iv)
            if command == "encipher":
                results.append(cipher.encrypt(pad(data, 16)))
                continue
            try:
                results.append(unpad(cipher.decrypt(data), 16))
            except ValueError as error:
                results.append(error)
        return results


class LoopClock:
    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.fixture
def clock() -> LoopClock:
    return LoopClock()


@pytest.fixture(scope="session")
def app_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


@pytest.fixture(scope="session")
def other_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


@pytest.fixture(scope="session")
def pem() -> Callable[[rsa.RSAPrivateKey], str]:
    def public_pem(key: rsa.RSAPrivateKey) -> str:
        return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    return public_pem


@pytest.fixture
def hsm(app_key: rsa.RSAPrivateKey) -> SigningHsm:
    return SigningHsm(app_key)


@pytest.fixture
def accounts() -> dict[str, Payer]:
    return default_accounts()


@pytest.fixture
async def simulator(
    app_key: rsa.RSAPrivateKey,
    other_key: rsa.RSAPrivateKey,
    pem: Callable[[rsa.RSAPrivateKey], str],
    accounts: dict[str, Payer],
) -> AsyncIterator[Any]:
    """It knows two applications: the channel's, and one of somebody else."""
    aes_key = base64.b64encode(bytes(range(16))).decode()
    applications = [AlipayApplication(APP_ID, pem(app_key), aes_key), AlipayApplication(OTHER_APP_ID, pem(other_key))]
    simulator = AlipaySimulator(applications, accounts=accounts, notify_pauses_s=(0.05, 0.05, 0.05))
    await simulator.start()
    yield simulator
    await simulator.close()


@pytest.fixture
async def channels(hsm: SigningHsm) -> AsyncIterator[Callable[..., Any]]:
    """Starts channels with given settings; closes them at the end."""
    started: list[AlipayChannel] = []

    async def start(gateway_url: str, public_key_pem: str, **settings: Any) -> AlipayChannel:
        channel = AlipayChannel(AlipaySettings(gateway_url, APP_ID, public_key_pem, **settings), hsm, LoopClock())
        started.append(channel)
        await channel.start()
        return channel

    yield start
    for channel in started:
        await channel.close()


@pytest.fixture
async def certified(simulator: AlipaySimulator, channels: Callable[..., Any]) -> AlipayChannel:
    """A channel in certificate mode."""
    return await channels(
        simulator.gateway_url,
        "",
        application_certificate_pem=simulator.application_certificate_pem(APP_ID),
        root_certificates_pem=simulator.authority.root_certificates_pem,
        alipay_certificate_pem=simulator.authority.platform_certificate_pem,
        timeout_s=1.0,
    )


@pytest.fixture
async def channel(simulator: AlipaySimulator, channels: Callable[..., Any]) -> AlipayChannel:
    return await channels(simulator.gateway_url, simulator.public_key_pem, timeout_s=1.0)


@dataclass
class Till:
    """Makes requests and asks the channel. Every sale has a code and an identity of its own."""

    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def sale(
        self, amount_minor: int = 100, prefix: str = "28", currency: str = "CNY", **changes: Any
    ) -> ChannelRequest:
        number = next(self.numbers)
        code = PaymentCode(f"{prefix}{number:0{18 - len(prefix)}d}")
        money = Money(amount_minor, currency)
        operation = changes.get("operation", Operation.SALE)
        authorization = Authorization(
            id=computed_id("acq", "m1", 1_700_000_000_000, str(number)),
            acquirer_id="acq",
            merchant_id="m1",
            terminal_id="T0000001",
            merchant_category_code="5999",
            operation=operation,
            money=money,
            entry=EntryMode.PAYER_CODE,
            masked_credential=str(code),
        )
        fields = {"operation": Operation.SALE, "credential": CodeCredential("alipay", code)} | changes
        return ChannelRequest(
            authorization=authorization,
            money=money,
            merchant=Merchant("m1", name="早点 & 茶/coffee"),
            deadline_s=asyncio.get_running_loop().time() + 5,
            **fields,
        )

    def follow_on(
        self,
        original: ChannelRequest,
        operation: Operation,
        amount_minor: int | None = None,
        trace: dict[str, str] | None = None,
        repeat: int = 0,
    ) -> ChannelRequest:
        original.authorization.trace = dict(original.trace)
        money = original.money if amount_minor is None else Money(amount_minor, "CNY")
        return ChannelRequest(
            operation=operation,
            authorization=original.authorization,
            money=money,
            credential=None,
            merchant=original.merchant,
            deadline_s=asyncio.get_running_loop().time() + 5,
            trace=dict(trace or {}),
            repeat=repeat,
        )

    async def ask(self, channel: AlipayChannel, request: ChannelRequest) -> ChannelResult:
        channel.prepare([request])
        (future,) = channel.send([request])
        return await asyncio.wait_for(future, 30)


@pytest.fixture
def till() -> Till:
    return Till()


@pytest.fixture
async def served() -> AsyncIterator[Callable[..., Any]]:
    """Serves one handler on a port of its own: a peer that is worse than the simulator. Returns the gateway URL."""
    runners: list[web.AppRunner] = []

    async def serve(handler: Callable[[web.Request], Any]) -> str:
        application = web.Application()
        application.router.add_post("/gateway.do", handler)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/gateway.do"

    yield serve
    for runner in runners:
        await runner.cleanup()
