"""Stores, and the terminals that stand in them."""

import asyncio

import pytest
from merchant_office import Office

from payswitch.v1 import merchant_pb2 as pb
from switch.domain.access import Caller
from switch.domain.authorization import Merchant
from switch.domain.refusals import Exists, Invalid, Missing, NotPossible, TooMany
from switch.domain.terminal import Terminal
from switch.store.terminals import PostgresTerminals


async def store(office: Office, owner: Caller, name: str = "Nanjing Road") -> str:
    request = pb.AddStoreRequest(merchant_id=owner.merchant_id, name=name, address="南京路 1 号")
    return (await office.service.AddStore(request, owner)).store.store_id


async def terminal(office: Office, owner: Caller, name: str, store_id: str, label: str = "") -> pb.StoreTerminal:
    request = pb.AddTerminalRequest(merchant_id=owner.merchant_id, terminal_id=name, store_id=store_id, label=label)
    return (await office.service.AddTerminal(request, owner)).terminal


async def test_stores_are_numbered_changed_and_bounded(office: Office) -> None:
    merchant_id, owner = await office.active()
    made = await asyncio.gather(*(store(office, owner, f"store {number}") for number in range(3)))
    assert sorted(made) == ["S0001", "S0002", "S0003"]
    with pytest.raises(TooMany):
        await store(office, owner)
    change = pb.ChangeStoreRequest(merchant_id=merchant_id, store_id="S0002", name="Bund", active=False)
    changed = (await office.service.ChangeStore(change, owner)).store
    assert (changed.name, changed.address, changed.active, changed.time_zone) == (
        "Bund", "南京路 1 号", False, "Asia/Shanghai",
    )  # fmt: skip
    assert not (await office.service.ChangeStore(change, owner)).store.active
    acts = [each["act"] for each in await office.audited(merchant_id)]
    assert acts.count("MerchantService.ChangeStore") == 1  # a repeat changes nothing and is no entry
    listed = (await office.service.ListStores(pb.ListStoresRequest(merchant_id=merchant_id), owner)).stores
    assert [each.store_id for each in listed] == ["S0001", "S0002", "S0003"]
    with pytest.raises(Missing):
        await office.service.ChangeStore(pb.ChangeStoreRequest(merchant_id=merchant_id, store_id="S0009"), owner)


async def test_a_terminal_stands_in_one_store_and_moves(office: Office) -> None:
    merchant_id, owner = await office.active()
    first, second = await store(office, owner), await store(office, owner, "Bund")
    assert (await terminal(office, owner, "T1", first)).active
    assert (await terminal(office, owner, "T1", first)).store_id == first
    with pytest.raises(Exists):
        await terminal(office, owner, "T1", second)
    move = pb.ChangeTerminalRequest(merchant_id=merchant_id, terminal_id="T1", store_id=second, label="till 2")
    moved = (await office.service.ChangeTerminal(move, owner)).terminal
    assert (moved.store_id, moved.label, moved.active) == (second, "till 2", True)
    assert await office.merchants.stores_of_terminals(merchant_id) == {"T1": second}
    await office.service.ChangeStore(
        pb.ChangeStoreRequest(merchant_id=merchant_id, store_id=first, active=False), owner
    )
    with pytest.raises(NotPossible):
        await terminal(office, owner, "T2", first)
    with pytest.raises(Missing):
        await terminal(office, owner, "T2", "S0777")
    for wrong in ("", "T" * 9, "T-1", "T\x00"):
        with pytest.raises(Invalid):
            await terminal(office, owner, wrong, second)


async def test_the_keys_of_a_terminal_that_dials_in_stay_where_they_are(office: Office) -> None:
    _, owner = await office.active()
    store_id = await store(office, owner)
    terminals = PostgresTerminals(office.pool)
    await terminals.add(Terminal(Merchant(owner.merchant_id, "Corner Shop"), "T0000009", "acme", "terminal/x/tmk"))
    assert (await terminal(office, owner, "T0000009", store_id)).dials_in
    assert not (await terminal(office, owner, "T0000008", store_id)).dials_in
    assert (await terminals.remove(owner.merchant_id, "T0000009")) == "terminal/x/tmk"
    request = pb.ListTerminalsRequest(merchant_id=owner.merchant_id)
    listed = (await office.service.ListTerminals(request, owner)).terminals
    assert [(each.terminal_id, each.dials_in) for each in listed] == [("T0000008", False), ("T0000009", False)]


async def test_terminals_are_paged(office: Office) -> None:
    _, owner = await office.active()
    store_id = await store(office, owner)
    names = [f"T{number:02d}" for number in range(5)]
    for name in reversed(names):
        await terminal(office, owner, name, store_id)
    found, token = [], ""
    while True:
        request = pb.ListTerminalsRequest(merchant_id=owner.merchant_id, page_size=2, page_token=token)
        page = await office.service.ListTerminals(request, owner)
        found += [each.terminal_id for each in page.terminals]
        token = page.next_page_token
        if not token:
            break
    assert found == names
    with pytest.raises(Invalid):
        await office.service.ListTerminals(
            pb.ListTerminalsRequest(merchant_id=owner.merchant_id, page_token="'"), owner
        )
