"""Several members on one network: each with its own keys, links and sign-on."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.unionpay.simulator import SimulatorSettings, UnionPaySimulator, client_pans
from adapters.unionpay.simulator.members import Member
from switch.domain.authorization import CardCredential
from switch.domain.sensitive import Pan, luhn_valid
from switch.domain.states import Operation
from switch.ports import Approved, Declined

OTHER = "00020001"


@pytest.fixture
def other_mmk() -> bytes:
    return os.urandom(16)


@pytest.fixture
async def network(settings: Any, mmk: bytes, other_mmk: bytes) -> AsyncIterator[UnionPaySimulator]:
    simulator = UnionPaySimulator(SimulatorSettings({settings.forwarder: mmk, OTHER: other_mmk}))
    await simulator.start()
    yield simulator
    await simulator.close()


@pytest.fixture
async def other_channel(start_channel: Any, network: Any, hsm: Any, other_mmk: bytes) -> Any:
    hsm.keys["other/mmk"] = other_mmk
    return await start_channel(network.port, forwarder=OTHER, mmk="other/mmk", mak="other/mak", pik="other/pik")


async def test_keys_are_each_members_own(
    network: Any, channel: Any, other_channel: Any, exchange_on: Any, make_request: Any, rich: Any, hsm: Any
) -> None:
    assert hsm.keys["unionpay/mak"] != hsm.keys["other/mak"]
    ours, theirs = exchange_on(channel), exchange_on(other_channel)
    assert isinstance(await ours(make_request(rich)), Approved)
    assert isinstance(await theirs(make_request(rich)), Approved)
    assert [each["member"] for each in network.book()] == ["44190440", OTHER]
    kept = hsm.keys["other/mak"]
    await network.reset_keys_of(network.members["44190440"])
    assert hsm.keys["other/mak"] == kept
    assert isinstance(await ours(make_request(rich)), Approved)
    hsm.keys["other/mak"] = hsm.keys["unionpay/mak"]
    refused = await theirs(make_request(rich))
    assert not isinstance(refused, Approved)


async def test_no_member_touches_anothers_payment(
    channel: Any, other_channel: Any, exchange_on: Any, make_request: Any, rich: Any, network: Any
) -> None:
    sale = make_request(rich, 1_000)
    await exchange_on(channel)(sale)
    before_minor = rich.balance_minor
    result = await exchange_on(other_channel)(make_request(rich, 1_000, Operation.VOID, original=sale))
    assert isinstance(result, Declined)
    assert result.response_code == "25"
    assert rich.balance_minor == before_minor


async def test_one_member_leaves_the_other_stays(
    network: Any, channel: Any, other_channel: Any, exchange_on: Any, make_request: Any, rich: Any
) -> None:
    await other_channel.close()
    assert not network.members[OTHER].links
    assert isinstance(await exchange_on(channel)(make_request(rich)), Approved)


async def test_a_stranger_may_not_sign_on(network: Any, start_channel: Any, until: Any) -> None:
    channel = await start_channel(network.port, ready=False, forwarder="99999999")
    await until(lambda: channel._sessions[0].trouble == "ConnectionError")
    assert not channel.health().ready
    assert not any(each.links for each in network.members.values())


async def test_another_members_name_on_ones_link(channel: Any, make_request: Any, rich: Any, network: Any) -> None:
    [connection] = network.members["44190440"].links
    connection.member = network.members[OTHER]
    request = make_request(rich)
    channel.prepare([request])
    [future] = channel.send([request])
    result = await future
    assert isinstance(result, Declined)
    assert result.response_code == "58"
    assert network.book() == []


async def test_client_pans(network: Any, channel: Any, exchange_on: Any, make_request: Any, until: Any) -> None:
    pans = client_pans()
    assert all(luhn_valid(pan) for pan in pans.values())
    exchange = exchange_on(channel)
    for _ in range(2):
        assert isinstance(await exchange(make_request(CardCredential(Pan(pans["approve"])))), Approved)
        for name, code in (("insufficient_funds", "51"), ("invalid", "14")):
            declined = await exchange(make_request(CardCredential(Pan(pans[name]))))
            assert isinstance(declined, Declined)
            assert declined.response_code == code
    request = make_request(CardCredential(Pan(pans["silent"])))
    channel.prepare([request])
    [future] = channel.send([request])
    await until(lambda: len(network.book()) == 7)
    assert network.book()[-1]["state"] == "approved"
    assert isinstance(await exchange(make_request(CardCredential(Pan(pans["approve"])))), Approved)
    assert not future.done()


@pytest.mark.parametrize("members", [{"12x": bytes(16)}, {"1" * 12: bytes(16)}, {"1": bytes(8)}])
def test_settings_name_what_is_wrong(members: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="members"):
        SimulatorSettings(members)


def test_a_member_shows_no_key() -> None:
    assert repr(Member("1", bytes(16), double_length=False)) == "Member('1', links=0)"
