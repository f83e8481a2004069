"""UnionPay's key reset with captured messages (tests/vectors/unionpay.json): MAK of single, PIK of double length."""

from pathlib import Path
from typing import Any

import pytest

from hsm import algorithms
from hsm.direct import DirectHsm
from hsm.errors import InvalidCommand, KeyNotFound, KeyUsageError, MacMismatch
from hsm.keys import KeyState, KeyUsage
from hsm.token import create_token


@pytest.fixture
def captured(key_reset: Any) -> dict[str, bytes]:
    """The wrapped keys: DE96 of the MAK's message, DE48 `NK` + 16 bytes of the PIK's."""
    messages = {each["name"]: bytes.fromhex(each["header_and_body_hex"]) for each in key_reset["cups_messages"]}
    mak = messages["0800 key reset, MAK, single length"]
    pik = messages["0800 key reset, PIK, double length"]
    after_mode = mak.index(b"2000000000000000101") + 19
    return {"mak": mak[after_mode : after_mode + 8], "pik": pik[pik.index(b"018NK") + 5 :][:16]}


@pytest.fixture
async def member(tmp_path: Path, key_reset: Any) -> Any:
    """An HSM with the published member master key and nothing else."""
    hsm = DirectHsm.open(create_token(tmp_path / "token"))
    master = bytes.fromhex(key_reset["key_reset"]["mmk_hex"])
    mask = bytes(range(1, 17))
    parts = [mask, bytes(a ^ b for a, b in zip(master, mask, strict=True))]
    hsm.store.import_components("unionpay/mmk", KeyUsage.KEY_TRANSPORT, parts)
    yield hsm
    hsm.close()


@pytest.mark.parametrize("name", ["mak", "pik"])
async def test_reset(member: DirectHsm, key_reset: Any, captured: dict[str, bytes], name: str) -> None:
    vector = key_reset["key_reset"][name]
    label, usage = f"unionpay/{name}", {"mak": "MAC_KEY", "pik": "PIN_KEY"}[name]
    text, mac = vector["mac_text"].encode(), bytes.fromhex(vector["de128_hex"])
    kcv = await member.import_working_key(label, usage, "unionpay/mmk", captured[name])
    assert kcv.lower() == mac[4:7].hex()  # DE128 ends in the first 4 bytes of E(new key, 0)
    pending = label + algorithms.PENDING
    assert await member.macs([(pending, algorithms.CUP_KEY_RESET, text)]) == [mac]
    verified = await member.verify_macs(
        [(pending, algorithms.CUP_KEY_RESET, text, mac), (pending, algorithms.CUP_KEY_RESET, text[:-1], mac)]
    )
    assert verified[0] is None
    assert isinstance(verified[1], MacMismatch)
    assert label not in member.store
    await member.activate_working_key(label)
    assert member.key_check_value(label) == kcv
    assert pending not in member.store


async def test_a_pin_key_makes_no_other_mac(member: DirectHsm, captured: dict[str, bytes]) -> None:
    await member.import_working_key("unionpay/pik", "PIN_KEY", "unionpay/mmk", captured["pik"])
    [financial] = await member.macs([("unionpay/pik?pending", algorithms.CUP_FINANCIAL, b"")])
    await member.activate_working_key("unionpay/pik")
    [active] = await member.macs([("unionpay/pik", algorithms.CUP_KEY_RESET, b"")])
    assert isinstance(financial, KeyUsageError)
    assert isinstance(active, KeyUsageError)


async def test_the_previous_key_still_verifies(member: DirectHsm) -> None:
    macs = []
    for number in range(1, 4):
        await member.import_working_key("unionpay/mak", "MAC_KEY", "unionpay/mmk", bytes([number]) * 16)
        await member.activate_working_key("unionpay/mak")
        [mac] = await member.macs([("unionpay/mak", algorithms.CUP_FINANCIAL, b"data")])
        assert isinstance(mac, bytes)
        macs.append(mac)
    results = await member.verify_macs([("unionpay/mak", algorithms.CUP_FINANCIAL, b"data", mac) for mac in macs])
    assert [type(each) for each in results] == [MacMismatch, type(None), type(None)]


async def test_all_states_survive_a_restart(member: DirectHsm, tmp_path: Path) -> None:
    for number, activated in ((1, True), (2, True), (3, False)):
        await member.import_working_key("unionpay/mak", "MAC_KEY", "unionpay/mmk", bytes([number]) * 16)
        if activated:
            await member.activate_working_key("unionpay/mak")
    names = ["unionpay/mak", "unionpay/mak?previous", "unionpay/mak?pending"]
    items = [(name, algorithms.CUP_FINANCIAL, b"data") for name in names]
    before, inventory = await member.macs(items), member.store.inventory()
    member.close()
    again = DirectHsm.open(tmp_path / "token")
    try:
        assert await again.macs(items) == before
        assert again.store.inventory() == inventory
        assert [each.state for each in inventory if each.label == "unionpay/mak"] == [
            KeyState.CURRENT,
            KeyState.PENDING,
            KeyState.PREVIOUS,
        ]
    finally:
        again.close()


async def test_the_same_key_again_keeps_the_previous_one(member: DirectHsm) -> None:
    """Two processes of one token are handed the same new key; the second confirmation must not push out the old."""
    for number in (1, 2, 2):
        await member.import_working_key("unionpay/mak", "MAC_KEY", "unionpay/mmk", bytes([number]) * 16)
        await member.activate_working_key("unionpay/mak")
        if number == 1:
            [old] = await member.macs([("unionpay/mak", algorithms.CUP_FINANCIAL, b"data")])
    assert isinstance(old, bytes)
    assert await member.verify_macs([("unionpay/mak", algorithms.CUP_FINANCIAL, b"data", old)]) == [None]
    assert "unionpay/mak?pending" not in member.store


async def test_a_second_store_learns_by_reload(member: DirectHsm, tmp_path: Path) -> None:
    other = DirectHsm.open(tmp_path / "token")
    try:
        await member.import_working_key("unionpay/mak", "MAC_KEY", "unionpay/mmk", bytes(range(16)))
        assert "unionpay/mak?pending" not in other.store
        other.store.reload()
        assert other.key_check_value("unionpay/mak?pending") == member.key_check_value("unionpay/mak?pending")
        await other.activate_working_key("unionpay/mak")
        member.store.reload()
        assert "unionpay/mak?pending" not in member.store
        item = ("unionpay/mak", algorithms.CUP_FINANCIAL, b"data")
        assert await member.macs([item]) == await other.macs([item])
    finally:
        other.close()


async def test_a_working_pin_key_translates(member: DirectHsm, captured: dict[str, bytes]) -> None:
    """Token key → locked memory → token key leads back; the working key is on both sides."""
    member.store.generate("acquirer/a/zpk", KeyUsage.PIN_KEY)
    await member.import_working_key("unionpay/pik", "PIN_KEY", "unionpay/mmk", captured["pik"])
    await member.activate_working_key("unionpay/pik")
    pan, found = "6225880000001239", None
    for number in range(100_000):  # a random block is a valid format 1 field once in a few hundred
        block = number.to_bytes(8)
        [found] = await member.translate_pins([("acquirer/a/zpk", 1, "acquirer/a/zpk", 0, block, pan)])
        if isinstance(found, bytes):
            break
    assert isinstance(found, bytes)
    [under_pik] = await member.translate_pins([("acquirer/a/zpk", 0, "unionpay/pik", 0, found, pan)])
    assert isinstance(under_pik, bytes)
    assert under_pik != found
    assert await member.translate_pins([("unionpay/pik", 0, "acquirer/a/zpk", 0, under_pik, pan)]) == [found]


@pytest.mark.parametrize("wrapped", [b"", bytes(7), bytes(9), bytes(25), bytes(32)])
async def test_a_wrapped_key_of_wrong_length(member: DirectHsm, wrapped: bytes) -> None:
    with pytest.raises(InvalidCommand):
        await member.import_working_key("unionpay/mak", "MAC_KEY", "unionpay/mmk", wrapped)


async def test_what_a_working_key_may_not_be(member: DirectHsm) -> None:
    member.store.generate("acquirer/a/zpk", KeyUsage.PIN_KEY)
    with pytest.raises(KeyUsageError):
        await member.import_working_key("x", "SEALING", "unionpay/mmk", bytes(16))
    with pytest.raises(InvalidCommand):
        await member.import_working_key("x", "anything", "unionpay/mmk", bytes(16))
    with pytest.raises(KeyNotFound):
        await member.import_working_key("x", "MAC_KEY", "nobody", bytes(16))
    with pytest.raises(KeyUsageError):
        await member.import_working_key("x", "MAC_KEY", "acquirer/a/zpk", bytes(16))
    with pytest.raises(KeyUsageError):  # a token key is not replaced by a wire message
        await member.import_working_key("acquirer/a/zpk", "PIN_KEY", "unionpay/mmk", bytes(16))
    with pytest.raises(KeyNotFound):
        await member.activate_working_key("unionpay/mak")
    await member.import_working_key("unionpay/mak", "MAC_KEY", "unionpay/mmk", bytes(range(16)))
    with pytest.raises(KeyUsageError):
        await member.import_working_key("unionpay/mak", "PIN_KEY", "unionpay/mmk", bytes(range(16)))
