"""Who a terminal is, its keys, and what is refused for want of them."""

import asyncio
from typing import Any

import pytest
from counter import CARD, MERCHANT, TERMINAL

from adapters.unionpay.pos.simulator import CHIP, SimulatedTerminal
from hsm.direct import DirectHsm
from switch.domain.authorization import Merchant
from switch.domain.terminal import Terminal


def code(message: Any) -> str:
    return str(message.fields[39])


async def test_a_terminal_signs_on_and_is_told_its_batch(shop: Any, hsm: DirectHsm) -> None:
    terminal = await shop.signed_on()
    assert terminal.batch == 1
    stored = shop.store.terminals[MERCHANT, TERMINAL]
    assert (stored.signed_on, stored.previous_keys) == (True, None)
    assert (len(stored.keys.pin), len(stored.keys.mac)) == (28 + 16, 28 + 8)
    assert not [each.label for each in hsm.store.inventory() if TERMINAL in each.label]


@pytest.mark.parametrize("algorithm", ["DES", "TDES-2KEY"])
async def test_the_length_of_the_mac_key_is_a_setting(shop: Any, hsm: DirectHsm, algorithm: str) -> None:
    name = "T000000S" if algorithm == "DES" else "T000000D"
    shop.store.put(Terminal(Merchant(MERCHANT), name, "acme", "tmk"))
    terminal = await shop.terminal(await shop.open(mac_key_algorithm=algorithm), name=name)
    terminal.mac_key_length = 8 if algorithm == "DES" else 16
    assert code(await terminal.sign_on()) == "00"
    assert code(await terminal.sale(CARD, 1200)) == "00"
    assert len(shop.store.terminals[MERCHANT, name].keys.mac) == 28 + terminal.mac_key_length


async def test_echo_and_signing_off(shop: Any, refusals: Any) -> None:
    terminal = await shop.signed_on()
    assert code(await terminal.echo()) == "00"
    assert code(await terminal.sign_off()) == "00"
    assert code(await terminal.sale(CARD, 1200)) == "77"
    assert refusals("not_signed_on") == 1
    assert code(await terminal.sign_on()) == "00"
    assert code(await terminal.sale(CARD, 1200)) == "00"


async def test_whoever_did_not_sign_on_is_told_to(shop: Any, refusals: Any) -> None:
    terminal = await shop.terminal(await shop.open())
    assert code(await terminal.sale(CARD, 1200)) == "77"
    assert refusals("not_signed_on") == 1
    assert shop.first.sent == []


async def test_a_terminal_whose_keys_are_gone_is_told_to_sign_on(shop: Any, refusals: Any) -> None:
    shop.store.put(Terminal(Merchant(MERCHANT), "T0000009", "acme", "tmk", signed_on=True))
    terminal = await shop.terminal(await shop.open(), name="T0000009")
    assert code(await terminal.sale(CARD, 1200)) == "77"
    assert refusals("no_working_key") == 1


@pytest.mark.parametrize(
    ("merchant", "terminal", "answer", "cause"),
    [
        (MERCHANT, "T0000002", "97", "unknown_terminal"),
        (MERCHANT, "T-000002", "97", "unknown_terminal"),
        ("104110053110002", TERMINAL, "03", "unknown_merchant"),
        ("'; DROP TABLE--", TERMINAL, "03", "unknown_merchant"),
    ],
)
async def test_strangers(shop: Any, refusals: Any, merchant: str, terminal: str, answer: str, cause: str) -> None:
    stranger = await shop.terminal(await shop.open(), merchant, terminal)
    assert code(await stranger.sign_on()) == answer
    assert code(await stranger.sale(CARD, 1200)) == answer
    assert refusals(cause) == 2


async def test_a_wrong_mac_has_no_effect(shop: Any, refusals: Any) -> None:
    terminal = await shop.signed_on()
    terminal.tampered = True
    assert code(await terminal.sale(CARD, 1200)) == "A0"
    without = terminal.build("0200", terminal.payment(CARD, 1200), mac=False)
    assert code(await terminal.send(without)) == "A0"
    assert (refusals("mac"), refusals("mac_missing")) == (1, 1)
    assert shop.first.sent == []
    assert shop.store.entries == {}


@pytest.mark.parametrize("at", range(0, 96, 7))
async def test_any_changed_byte_under_the_mac_is_refused(shop: Any, at: int) -> None:
    """Behind the header: the TPDU and the header are not covered (the dialect's weakness, docs/terminals.md)."""
    terminal = await shop.signed_on()
    message = terminal.build("0200", terminal.payment(CARD, 1200, CHIP))
    changed = bytearray(message.data)
    changed[11 + 10 + at] ^= 1
    await terminal.send_bytes(len(changed).to_bytes(2) + changed)
    try:
        answer = await terminal.receive()
    except ConnectionError:
        pass  # no message any more
    else:
        assert code(answer) in {"A0", "03", "97", "30", "40", "77"}
    assert shop.first.sent == []


async def test_keys_of_the_last_sign_on_serve_what_is_in_flight(shop: Any) -> None:
    """A message made before a new sign-on, PIN included, is taken and answered under the keys it was made with."""
    terminal = await shop.signed_on()
    in_flight = terminal.build("0200", terminal.payment(CARD, 1200, CHIP, "123456"))
    other = SimulatedTerminal("127.0.0.1", terminal.port, MERCHANT, TERMINAL, terminal.master_key)
    await other.connect()
    assert code(await other.sign_on()) == "00"
    assert code(await terminal.send(in_flight)) == "00"  # the old key verifies the answer
    assert shop.first.sent[0].pin_block
    await other.sign_on()
    late = terminal.build("0200", terminal.payment(CARD, 1200))
    assert code(await terminal.send(late)) == "A0"
    await other.close()


async def test_sign_ons_are_paced(shop: Any, refusals: Any) -> None:
    """Nothing proves a sign-on: who made many would end the real terminal's keys."""
    terminal = await shop.terminal(await shop.open(sign_ons=2))
    assert [code(await terminal.sign_on()) for _ in range(3)] == ["00", "00", "65"]
    assert refusals("sign_on_pace") == 1


async def test_a_terminal_without_a_master_key(shop: Any, refusals: Any) -> None:
    shop.store.put(Terminal(Merchant(MERCHANT), "T0000003", "acme", "no such key"))
    terminal = await shop.terminal(await shop.open(), name="T0000003")
    assert code(await terminal.sign_on()) == "96"
    assert refusals("hsm") == 1


async def test_sign_ons_at_once_leave_whole_pairs(shop: Any) -> None:
    """PIN key and MAC key change in one step: whoever is last has both, whoever is before him is previous in both."""
    terminal = await shop.signed_on()
    others = [SimulatedTerminal("127.0.0.1", terminal.port, MERCHANT, TERMINAL, terminal.master_key) for _ in range(4)]
    for each in others:
        await each.connect()
        each.stan = 100 * (1 + others.index(each))
    await asyncio.gather(*(each.sign_on() for each in others))
    codes = [code(await each.sale(CARD, 1200, CHIP, "123456")) for each in others]
    assert sorted(codes) == ["00", "00", "A0", "A0"]
    for each in others:
        await each.close()
