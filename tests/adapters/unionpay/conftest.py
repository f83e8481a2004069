"""An HSM of plain `cryptography` calls, a network, a channel between them, and requests to send."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from adapters.unionpay.channel import UnionPayChannel
from adapters.unionpay.settings import UnionPaySettings
from adapters.unionpay.simulator import Account, SimulatorSettings, UnionPaySimulator
from switch.domain.authorization import Authorization, CardCredential, Credential, Merchant
from switch.domain.money import Money
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation
from switch.ports import ChannelRequest, ChannelResult


def triple_des(key: bytes, data: bytes, *, decrypt: bool = False) -> bytes:
    cipher = Cipher(TripleDES(key * 3 if len(key) == 8 else key + key[:8]), modes.ECB())
    context = cipher.decryptor() if decrypt else cipher.encryptor()
    return context.update(data) + context.finalize()


def cup_mac(key: bytes, text: bytes) -> bytes:
    """X9.9 or X9.19, block by block: no kept-open cipher, no trick."""
    state = bytes(8)
    text += bytes(-len(text) % 8)
    for at in range(0, len(text), 8):
        state = triple_des(key[:8], bytes(a ^ b for a, b in zip(state, text[at : at + 8], strict=True)))
    return triple_des(key[:8], triple_des(key[8:], state, decrypt=True)) if len(key) == 16 else state


class FakeHsm:
    """`ports.Hsm` as far as the channel asks. Keys are in the clear: a test double and nothing else."""

    def __init__(self, mmk: bytes) -> None:
        self.keys: dict[str, bytes] = {"unionpay/mmk": mmk}
        self.activations = 0
        self.broken = False
        self.hold: asyncio.Event | None = None  # activation waits for it

    def _mac(self, label: str, algorithm: str, data: bytes) -> bytes:
        key = self.keys[label]
        mac = cup_mac(key, data)[:4]
        if algorithm == "cup-financial":
            return mac.hex().upper().encode()
        assert algorithm == "cup-key-reset"
        return mac + triple_des(key, bytes(8))[:4]

    async def macs(self, items: Sequence[tuple[str, str, bytes]]) -> list[bytes | Exception]:
        if self.broken:
            raise ConnectionError("no HSM")
        results: list[bytes | Exception] = []
        for item in items:
            try:
                results.append(self._mac(*item))
            except KeyError:
                results.append(LookupError("no such key"))
        return results

    async def verify_macs(self, items: Sequence[tuple[str, str, bytes, bytes]]) -> list[Exception | None]:
        if self.broken:
            raise ConnectionError("no HSM")
        results: list[Exception | None] = []
        for label, algorithm, data, mac in items:
            labels = [each for each in (label, label + "?previous") if each in self.keys]
            fits = any(self._mac(each, algorithm, data) == mac for each in labels)
            results.append(None if fits else ValueError("MAC"))
        return results

    async def import_working_key(self, label: str, usage: str, under: str, wrapped: bytes) -> str:
        assert usage == ("PIN_KEY" if label.endswith("pik") else "MAC_KEY")
        key = triple_des(self.keys[under], wrapped, decrypt=True)
        self.keys[label + "?pending"] = key
        return triple_des(key, bytes(8))[:3].hex().upper()

    async def activate_working_key(self, label: str) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if label in self.keys:
            self.keys[label + "?previous"] = self.keys[label]
        self.keys[label] = self.keys.pop(label + "?pending")
        self.activations += 1

    def pin_block(self, pin: str, pan: str) -> bytes:
        """Format 0 under the current PIN key, as the switch's translation would leave it."""
        plain = bytes.fromhex(f"0{len(pin):x}{pin}".ljust(16, "f"))
        account = bytes.fromhex("0000" + pan[-13:-1])
        return triple_des(self.keys["unionpay/pik"], bytes(a ^ b for a, b in zip(plain, account, strict=True)))

    async def unused(self, *_: Any) -> list[bytes | Exception]:
        raise AssertionError("the channel asks nothing of the kind")

    translate_pins = sign = seal = unseal = keyed_hashes = unused


class FakeClock:
    """Stands still unless moved."""

    def __init__(self, now_ms: int | None = None) -> None:
        self.now_ms = int(time.time() * 1000) if now_ms is None else now_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "vectors" / "unionpay.json"
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def captured(vectors: dict[str, Any]) -> list[bytes]:
    messages = [each["header_and_body_hex"] for each in vectors["cups_messages"]]
    return [bytes.fromhex(each) for each in [*messages, vectors["cups_0200_sample_hex"]]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_clock() -> type[FakeClock]:
    return FakeClock


@pytest.fixture
def reference_mac() -> Callable[[bytes, bytes], bytes]:
    return cup_mac


@pytest.fixture
def des_encrypt() -> Callable[[bytes, bytes], bytes]:
    return triple_des


@pytest.fixture
def mmk() -> bytes:
    return os.urandom(16)


@pytest.fixture
def hsm(mmk: bytes) -> FakeHsm:
    return FakeHsm(mmk)


@pytest.fixture
async def network(settings: UnionPaySettings, mmk: bytes) -> AsyncIterator[UnionPaySimulator]:
    simulator = UnionPaySimulator(SimulatorSettings({settings.forwarder: mmk}))
    await simulator.start()
    yield simulator
    await simulator.close()


@pytest.fixture
def settings() -> UnionPaySettings:
    """Impatient: tests wait for every one of these times."""
    return UnionPaySettings(
        host="127.0.0.1",
        port=1,
        acquirer="00010000",
        forwarder="44190440",
        slot=3,
        reply_timeout_s=1.0,
        settle_s=0.5,
        keep_alive_s=0.2,
        echo_after_s=0.4,
        tick_s=0.05,
        backoff_first_s=0.02,
        backoff_most_s=0.1,
        key_request_every_s=0.2,
    )


async def wait_until(condition: Callable[[], bool], timeout_s: float = 3.0) -> None:
    for _ in range(int(timeout_s / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to pass")


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    return wait_until


StartChannel = Callable[..., Awaitable[UnionPayChannel]]


@pytest.fixture
async def start_channel(settings: UnionPaySettings, hsm: FakeHsm, clock: FakeClock) -> AsyncIterator[StartChannel]:
    started: list[UnionPayChannel] = []

    async def start(port: int, *, ready: bool = True, **changes: Any) -> UnionPayChannel:
        channel = UnionPayChannel(replace(settings, port=port, **changes), hsm, clock)
        started.append(channel)
        await channel.start()
        if ready:
            await wait_until(lambda: channel.health().ready)
        return channel

    yield start
    for channel in started:
        await channel.close()


@pytest.fixture
async def channel(start_channel: StartChannel, network: UnionPaySimulator) -> UnionPayChannel:
    return await start_channel(network.port)


@pytest.fixture
def rich(network: UnionPaySimulator) -> Account:
    return next(iter(network.accounts.values()))


def credential_of(account: Account) -> CardCredential:
    return CardCredential(Pan(account.pan), expiry_yymm=account.expiry_yymm)


MakeRequest = Callable[..., ChannelRequest]


@pytest.fixture
def make_request() -> MakeRequest:
    """A payment; or, given the `original` request and its result, an operation on it."""
    numbers = iter(range(1, 1_000_000))

    def make(
        payer: Account | Credential,
        amount_minor: int = 1_000,
        operation: Operation = Operation.SALE,
        original: ChannelRequest | None = None,
        **changes: Any,
    ) -> ChannelRequest:
        if original is None:
            authorization = Authorization(
                id=UUID(int=next(numbers)),
                acquirer_id="acq",
                merchant_id="m1",
                terminal_id="T0000001",
                merchant_category_code="5411",
                operation=operation,
                money=Money(amount_minor, "CNY"),
                entry=changes.pop("entry", EntryMode.NFC),
                masked_credential="",
            )
        else:
            authorization = original.authorization
            authorization.trace = original.trace
        return ChannelRequest(
            operation=operation,
            authorization=authorization,
            money=Money(amount_minor, "CNY"),
            credential=credential_of(payer) if isinstance(payer, Account) else payer,
            merchant=Merchant("104110554110001", "Noodle House", "Shanghai", "CN", "5812"),
            deadline_s=0.0,
            **changes,
        )

    return make


@dataclass(slots=True)
class Exchange:
    """Prepare, send, wait."""

    channel: UnionPayChannel
    timeout_s: float = 3.0
    sent: list[ChannelRequest] = field(default_factory=list)

    async def __call__(self, request: ChannelRequest) -> ChannelResult:
        self.channel.prepare([request])
        self.sent.append(request)
        [future] = self.channel.send([request])
        return await asyncio.wait_for(future, self.timeout_s)


@pytest.fixture
def exchange(channel: UnionPayChannel) -> Exchange:
    return Exchange(channel)


@pytest.fixture
def exchange_on() -> type[Exchange]:
    return Exchange
