"""Key resets: while traffic flows, refused ones, repeated ones, single-length ones."""

import asyncio
import os
from dataclasses import replace
from typing import Any

import pytest

from adapters.unionpay.simulator import SimulatorSettings, UnionPaySimulator
from adapters.unionpay.simulator.keys import DesKey
from adapters.unionpay.simulator.members import WorkingKeyPair
from adapters.unionpay.working_keys import BadKeyReset, new_key
from switch.ports import Approved


async def test_under_traffic(network: Any, exchange: Any, make_request: Any, rich: Any, hsm: Any) -> None:
    stop = asyncio.Event()
    results: list[Any] = []

    async def traffic() -> None:
        while not stop.is_set():
            results.append(await exchange(make_request(rich, pin_block=hsm.pin_block(rich.pin, rich.pan))))

    flows = [asyncio.create_task(traffic()) for _ in range(20)]
    activations = hsm.activations
    for _ in range(5):
        await asyncio.sleep(0.03)
        await network.reset_keys()
    stop.set()
    await asyncio.gather(*flows)
    assert hsm.activations == activations + 10
    assert network.failed_key_resets == 0
    assert len(results) > 100
    assert [each for each in results if not isinstance(each, Approved)] == []


async def test_reply_under_the_new_key_before_it_is_active(
    network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any, hsm: Any
) -> None:
    """The refusal is looked at again once the change that was under way is over."""
    request = make_request(rich, 990_201)
    channel.prepare([request])
    [future] = channel.send([request])
    await asyncio.sleep(0.02)
    hsm.hold = asyncio.Event()
    reset = asyncio.create_task(network.reset_keys())
    await asyncio.sleep(0.02)
    [connection] = network.connections
    connection.mak = connection.member.generations[0].mak
    second = make_request(rich)
    channel.prepare([second])
    [early] = channel.send([second])  # answered under the key that is not active yet
    await asyncio.sleep(0.1)
    assert not early.done()
    hsm.hold.set()
    await reset
    assert isinstance(await asyncio.wait_for(early, 30), Approved)
    assert isinstance(await asyncio.wait_for(future, 30), Approved)


async def test_single_length_keys(
    settings: Any, mmk: bytes, start_channel: Any, exchange_on: Any, make_request: Any, hsm: Any
) -> None:
    network = UnionPaySimulator(SimulatorSettings({settings.forwarder: mmk}, double_length=False))
    await network.start()
    try:
        channel = await start_channel(network.port)
        rich = next(iter(network.accounts.values()))
        exchange = exchange_on(channel)
        pin_block = hsm.pin_block(rich.pin, rich.pan)
        assert isinstance(await exchange(make_request(rich, pin_block=pin_block)), Approved)
        assert len(hsm.keys["unionpay/mak"]) == 8
        assert channel._keys.pin_control == "2000000000000000"
    finally:
        await network.close()


async def test_a_key_under_another_transport_key_is_refused(
    network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any, hsm: Any
) -> None:
    [connection] = network.connections
    current = hsm.keys["unionpay/mak"]
    clear = os.urandom(16)
    stranger = DesKey(os.urandom(16))
    await connection.take_over(WorkingKeyPair(DesKey(clear), DesKey(clear), stranger.encrypt(clear), b""))
    assert network.failed_key_resets == 1
    assert hsm.keys["unionpay/mak"] == current
    assert isinstance(await exchange(make_request(rich)), Approved)


async def test_the_same_key_again_is_confirmed_and_keeps_the_previous(network: Any, channel: Any, hsm: Any) -> None:
    await network.reset_keys()
    activations, previous = hsm.activations, hsm.keys["unionpay/mak?previous"]
    [connection] = network.connections
    await network.hand_out_keys(connection)
    assert network.failed_key_resets == 0
    assert hsm.activations == activations
    assert hsm.keys["unionpay/mak?previous"] == previous


async def test_lost_keys_are_asked_for(
    network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any, hsm: Any, until: Any
) -> None:
    """Our key went wrong: A0, then new keys."""
    hsm.keys["unionpay/mak"] = hsm.keys["unionpay/mak?previous"] = bytes(range(16))
    result = await exchange(make_request(rich))
    assert not isinstance(result, Approved)
    await until(lambda: hsm.keys["unionpay/mak"] != bytes(range(16)))
    assert isinstance(await exchange(make_request(rich)), Approved)


GOOD: dict[int, Any] = {53: "2600000000000000", 48: b"NK" + bytes(16), 96: bytes(8)}


def test_new_key(settings: Any) -> None:
    key = new_key(GOOD, settings)
    assert (key.label, key.usage, key.wrapped) == ("unionpay/mak", "MAC_KEY", bytes(16))
    key = new_key({53: "1000000000000000", 96: b"12345678"}, replace(settings, pik="other/pik"))
    assert (key.label, key.usage, key.wrapped) == ("other/pik", "PIN_KEY", b"12345678")


@pytest.mark.parametrize(
    "change",
    [
        {53: "3600000000000000"},
        {53: "2500000000000000"},
        {53: None},
        {96: None},
        {96: b"1" * 8},
        {48: None},
        {48: b"NK" + bytes(8)},
        {48: b"XX" + bytes(16)},
    ],
)
def test_bad_key_resets(settings: Any, change: dict[int, Any]) -> None:
    with pytest.raises(BadKeyReset):
        new_key(GOOD | change, settings)
