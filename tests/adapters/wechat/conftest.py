"""A WeChat Pay simulator, a channel that talks to it over a real socket, and an HSM that signs with a key in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from adapters.wechat.channel import WeChatChannel
from adapters.wechat.settings import WeChatSettings
from adapters.wechat.simulator import WeChatMerchant, WeChatSimulator
from switch.domain.authorization import Authorization, CodeCredential, Merchant
from switch.domain.money import Money
from switch.domain.sensitive import PaymentCode
from switch.domain.states import EntryMode, Operation
from switch.ports import ChannelRequest, ChannelResult

_codes = count()


class SigningHsm:
    """`ports.Hsm` as far as this channel needs it. fail: raise for the batch; fail_items: an exception per item."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.key = key
        self.batches: list[int] = []
        self.fail = False
        self.fail_items = False

    async def sign(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
        self.batches.append(len(items))
        if self.fail:
            raise RuntimeError("token removed")
        if self.fail_items:
            return [RuntimeError("no such key") for _ in items]
        assert {label for label, _ in items} == {"wechat/merchant"}
        return [self.key.sign(text, padding.PKCS1v15(), hashes.SHA256()) for _, text in items]


class WallClock:
    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


@dataclass
class Till:
    """A cashier's view of the channel: builds requests, sends them, awaits results."""

    channel: WeChatChannel

    def sale(self, amount_minor: int = 1_000, code: str = "", *, deadline_s: float = 5.0) -> ChannelRequest:
        code = code or f"13{next(_codes):012d}1234"  # an ending of the payer with money
        money = Money(amount_minor, "CNY")
        authorization = Authorization(
            id=uuid4(),
            acquirer_id="acquirer-1",
            merchant_id="merchant-1",
            terminal_id="T0000001",
            merchant_category_code="5411",
            operation=Operation.SALE,
            money=money,
            entry=EntryMode.PAYER_CODE,
            masked_credential="",
        )
        return ChannelRequest(
            operation=Operation.SALE,
            authorization=authorization,
            money=money,
            credential=CodeCredential("wechat", PaymentCode(code)),
            merchant=Merchant("merchant-1", "小店 No. 1"),
            deadline_s=asyncio.get_running_loop().time() + deadline_s,
        )

    def order(self, amount_minor: int = 1_000) -> ChannelRequest:
        """An order that the payer will scan."""
        request = self.sale(amount_minor)
        request.authorization.operation = Operation.ORDER
        return replace(request, operation=Operation.ORDER, credential=None)

    def follow(self, original: ChannelRequest, operation: Operation, amount_minor: int | None = None) -> ChannelRequest:
        original.authorization.trace = original.trace
        money = original.money if amount_minor is None else Money(amount_minor, "CNY")
        deadline_s = asyncio.get_running_loop().time() + 5.0
        return replace(original, operation=operation, money=money, credential=None, trace={}, deadline_s=deadline_s)

    async def do(self, *requests: ChannelRequest) -> list[ChannelResult]:
        self.channel.prepare(requests)
        return list(await asyncio.gather(*self.channel.send(requests)))

    async def do_one(self, request: ChannelRequest) -> ChannelResult:
        return (await self.do(request))[0]


@pytest.fixture(scope="session")
def merchant_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def merchant_public_pem(merchant_key: rsa.RSAPrivateKey) -> str:
    return merchant_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="session")
def merchant(merchant_public_pem: str) -> WeChatMerchant:
    return WeChatMerchant(
        appid="wxd678efh567hg6787",
        mchid="1230000109",
        serial_no="3775B6A45ACD588826D15E583A95F5DD",
        public_key_pem=merchant_public_pem,
        apiv3_key=b"0123456789abcdef0123456789abcdef",
        v2_key="ABCDEFGHIJKLMNOPQRSTUVWXYZ012345",
    )


@pytest.fixture
def hsm(merchant_key: rsa.RSAPrivateKey) -> SigningHsm:
    return SigningHsm(merchant_key)


@pytest.fixture
async def simulator_for(merchant: WeChatMerchant) -> AsyncIterator[Callable[..., Any]]:
    """Makes listening simulators and closes them."""
    simulators: list[WeChatSimulator] = []

    async def make(**changes: Any) -> WeChatSimulator:
        named: dict[str, Any] = {"merchants": [merchant], "reversal_after_s": 0.0, "refund_settles_after_s": 60.0}
        simulator = WeChatSimulator(**(named | changes))
        await simulator.start()
        simulators.append(simulator)
        return simulator

    yield make
    for simulator in simulators:
        await simulator.close()


@pytest.fixture
async def simulator(simulator_for: Callable[..., Any]) -> WeChatSimulator:
    made: WeChatSimulator = await simulator_for()
    return made


@pytest.fixture
def settings_for() -> Callable[..., WeChatSettings]:
    def settings(simulator: WeChatSimulator, **changes: Any) -> WeChatSettings:
        settings = WeChatSettings(
            base_url=f"http://127.0.0.1:{simulator.port}",
            appid="wxd678efh567hg6787",
            mchid="1230000109",
            merchant_serial_no="3775b6a45acd588826d15e583a95f5dd",  # the platform compares it without case
            platform_public_key_pem=simulator.public_key_pem,
            platform_public_key_id=simulator.public_key_id,
            apiv3_key=b"0123456789abcdef0123456789abcdef",
            notify_url="http://127.0.0.1:9/notify/wechat",
        )
        return replace(settings, **changes)

    return settings


@pytest.fixture
def v2_settings() -> dict[str, Any]:
    """What makes a merchant one of API v2."""
    return {
        "v2_key": "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345",
        "platform_public_key_pem": "",
        "platform_public_key_id": "",
        "apiv3_key": b"",
    }


@pytest.fixture
def certificate_settings() -> Callable[[WeChatSimulator], dict[str, Any]]:
    """What makes a merchant one that knows the platform by its certificates."""

    def changes(simulator: WeChatSimulator) -> dict[str, Any]:
        root = simulator.root_certificate_pem
        return {"platform_public_key_pem": "", "platform_public_key_id": "", "platform_root_pem": root}

    return changes


@pytest.fixture
async def till_for(hsm: SigningHsm) -> AsyncIterator[Callable[[WeChatSettings], Any]]:
    """Makes started channels and closes them."""
    channels: list[WeChatChannel] = []

    async def make(settings: WeChatSettings) -> Till:
        channel = WeChatChannel(settings, hsm, WallClock())  # type: ignore[arg-type]
        await channel.start()
        channels.append(channel)
        return Till(channel)

    yield make
    for channel in channels:
        await channel.close()


@pytest.fixture
async def till(till_for: Any, settings_for: Any, simulator: WeChatSimulator) -> Till:
    made: Till = await till_for(settings_for(simulator))
    return made
