"""A client that shares nothing with ours signs on to the network and trades, beside the switch's own channel."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from independent_member import IndependentMember

from adapters.unionpay.simulator import SimulatorSettings, UnionPaySimulator, client_pans
from switch.ports import Approved

ANOTHER = "01030344"


@pytest.fixture
def client_mmk() -> bytes:
    return os.urandom(16)


@pytest.fixture(params=[True, False], ids=["double length", "single length"])
async def network(
    settings: Any, mmk: bytes, client_mmk: bytes, request: pytest.FixtureRequest
) -> AsyncIterator[UnionPaySimulator]:
    members = {settings.forwarder: mmk, ANOTHER: client_mmk}
    simulator = UnionPaySimulator(SimulatorSettings(members, double_length=request.param))
    await simulator.start()
    yield simulator
    await simulator.close()


def member_of(network: UnionPaySimulator, mmk: bytes, institution: str = ANOTHER) -> IndependentMember:
    return IndependentMember("127.0.0.1", network.port, institution, network.settings.network, mmk)


async def test_it_trades_beside_the_switch(
    network: Any, channel: Any, exchange_on: Any, make_request: Any, rich: Any, client_mmk: bytes
) -> None:
    pans = client_pans()

    def trade() -> list[str]:
        codes = []
        with member_of(network, client_mmk) as member:
            for name in ("approve", "insufficient_funds", "invalid"):
                codes.append(member.sale(pans[name], 1_000)[1][39])
            _, sale = member.sale(pans["approve"], 2_000)
            named = f"0200{sale[11]}{sale[7]}{ANOTHER:>011}{ANOTHER:>011}"
            back = {2: pans["approve"], 3: "000000", 4: "000000002000", 37: sale[37], 60: "40210600030000", 90: named}
            codes.append(member.financial("0420", back)[1][39])
            codes.append(member.financial("0421", back)[1][39])
            before = dict(member.keys)
            member.renew_keys()
            assert all(member.keys[each] != before[each] for each in "12")
            codes.append(member.sale(pans["approve"], 1_000)[1][39])
        return codes

    trading = asyncio.create_task(asyncio.to_thread(trade))
    ours = exchange_on(channel)
    while not trading.done():
        assert isinstance(await ours(make_request(rich)), Approved)
    assert await trading == ["00", "51", "14", "00", "00", "00"]
    assert not network.members[ANOTHER].links
    assert {each["member"] for each in network.book()} == {"44190440", ANOTHER}
    assert network.failed_key_resets == 0


async def test_its_mistakes_are_named(network: Any, client_mmk: bytes) -> None:
    pan = client_pans()["approve"]

    def err() -> list[str]:
        with member_of(network, client_mmk) as member:
            good = {2: pan, 4: "000000000100"}
            codes = [member.financial("0200", good | change)[1][39] for change in (
                {22: "071"}, {3: "300000"}, {25: "77"}, {42: " " * 15}, {49: "840"}, {4: "0" * 12}, {14: "2001"},
                {33: "44190440"}, {37: "REF000000001"}, {37: "REF000000001"},
            )]  # fmt: skip
            member.keys["2"], kept = bytes(16), member.keys["2"]
            try:
                member.sale(pan, 100)
            except ValueError as error:
                codes.append(str(error))
            member.keys["2"] = kept
            member.ask("0820", {7: "1127000000", 11: "900000", 33: ANOTHER, 70: "002"})
            codes.append(member.sale(pan, 100)[1][39])
            codes.append(member.ask("0820", {7: "1127000000", 11: "900001", 33: ANOTHER, 70: "555"})[1][39])
        return codes

    assert await asyncio.to_thread(err) == [
        "30", "40", "12", "03", "12", "13", "54", "58", "00", "94", "the answer is not authentic", "77", "40",
    ]  # fmt: skip
    assert [each["code"] for each in network.book()] == ["13", "54", "00"]


async def test_a_stranger_or_the_wrong_transport_key(network: Any) -> None:
    def strange() -> None:
        with member_of(network, bytes(16), institution="99999999"):
            raise AssertionError

    with pytest.raises(PermissionError, match="58"):
        await asyncio.to_thread(strange)

    def wrong() -> None:
        with member_of(network, os.urandom(16)):
            raise AssertionError

    with pytest.raises(ValueError, match="not authentic"):
        await asyncio.to_thread(wrong)
