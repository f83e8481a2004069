"""The channel on the HSM itself: keys unwrapped in the token, the network's own cryptography at the other end."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.unionpay.channel import UnionPayChannel
from adapters.unionpay.settings import UnionPaySettings
from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token
from switch.ports import Approved, Declined, Phase, Unknown

ZONE_LABEL = "acquirer/acq/zpk"
ZONE_KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")


@pytest.fixture
def real_hsm(tmp_path: Path, mmk: bytes) -> Iterator[DirectHsm]:
    hsm = DirectHsm.open(create_token(tmp_path / "token"))
    mask = os.urandom(16)
    other = bytes(a ^ b for a, b in zip(mmk, mask, strict=True))
    hsm.store.import_components("unionpay/mmk", KeyUsage.KEY_TRANSPORT, [mask, other])
    hsm.store.import_components(ZONE_LABEL, KeyUsage.PIN_KEY, [ZONE_KEY, bytes(16)], "DES")
    yield hsm
    hsm.close()


@pytest.fixture
async def real_channel(
    settings: UnionPaySettings, real_hsm: DirectHsm, clock: Any, network: Any, until: Any
) -> AsyncIterator[UnionPayChannel]:
    channel = UnionPayChannel(
        UnionPaySettings("127.0.0.1", network.port, settings.acquirer, settings.forwarder), real_hsm, clock
    )
    await channel.start()
    await until(lambda: channel.health().ready)
    yield channel
    await channel.close()


async def test_sale_key_reset_and_forgery(
    real_channel: UnionPayChannel, network: Any, exchange_on: Any, make_request: Any, rich: Any
) -> None:
    exchange = exchange_on(real_channel)
    for _ in range(3):
        assert isinstance(await exchange(make_request(rich)), Approved)
        await network.reset_keys()
    assert network.failed_key_resets == 0
    assert await exchange(make_request(rich, 990_206)) == Unknown(Phase.SENT, "the reply is not authentic")
    assert isinstance(await exchange(make_request(rich, 990_151)), Declined)


async def test_pin_translated_to_the_working_key(
    real_channel: UnionPayChannel, real_hsm: DirectHsm, exchange_on: Any, make_request: Any, rich: Any, des_encrypt: Any
) -> None:
    exchange = exchange_on(real_channel)
    account = bytes.fromhex("0000" + rich.pan[-13:-1])
    for pin, expected in ((rich.pin, Approved), ("999999", Declined)):
        plain = bytes.fromhex(f"0{len(pin):x}{pin}".ljust(16, "f"))
        block = des_encrypt(ZONE_KEY, bytes(a ^ b for a, b in zip(plain, account, strict=True)))
        items = [(ZONE_LABEL, 0, real_channel.pin_key, real_channel.pin_format, block, rich.pan)]
        [translated] = await real_hsm.translate_pins(items)
        assert isinstance(translated, bytes)
        assert isinstance(await exchange(make_request(rich, pin_block=translated)), expected)


async def test_two_processes_of_one_hsm_under_resets(
    settings: UnionPaySettings, real_hsm: DirectHsm, clock: Any, network: Any, until: Any, exchange_on: Any,
    make_request: Any, rich: Any,
) -> None:  # fmt: skip
    """Each has two links, all get every reset, and traffic flows all the while."""
    channels = [
        UnionPayChannel(
            UnionPaySettings("127.0.0.1", network.port, settings.acquirer, settings.forwarder, slot=slot, links=2),
            real_hsm,
            clock,
        )
        for slot in (1, 2)
    ]
    for channel in channels:
        await channel.start()
    await until(lambda: all(each.health().detail == "2 of 2 links ready" for each in channels))
    stop = asyncio.Event()
    results: list[Any] = []

    async def traffic(channel: UnionPayChannel) -> None:
        exchange = exchange_on(channel)
        while not stop.is_set():
            results.append(await exchange(make_request(rich)))

    flows = [asyncio.create_task(traffic(each)) for each in channels for _ in range(4)]
    for _ in range(4):
        await asyncio.sleep(0.03)
        await network.reset_keys()
    stop.set()
    await asyncio.gather(*flows)
    for channel in channels:
        await channel.close()
    assert network.failed_key_resets == 0
    assert len(results) > 20
    assert [each for each in results if not isinstance(each, Approved)] == []
