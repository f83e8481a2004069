"""What risk control hears of terminals: who cannot sign as the terminal he names, and what is no message."""

from typing import Any

from counter import CARD, MERCHANT, TERMINAL

from switch.ports.signals import SignalKind


async def test_a_wrong_and_a_missing_mac_are_heard_of_the_terminal(shop: Any) -> None:
    terminal = await shop.signed_on()
    await terminal.sale(CARD, 1200)
    assert shop.heard.signals == []
    terminal.tampered = True
    await terminal.sale(CARD, 1200)
    await terminal.send(terminal.build("0200", terminal.payment(CARD, 1200), mac=False))
    assert shop.heard.kinds() == ["bad_signature", "bad_signature"]
    assert {each.terminal for each in shop.heard.signals} == {(MERCHANT, TERMINAL)}
    assert CARD.pan not in repr(shop.heard.signals)


async def test_a_terminal_that_is_not_here_is_heard(shop: Any) -> None:
    terminal = await shop.terminal(await shop.open(), name="T9999999")
    await terminal.sign_on()
    [signal] = shop.heard.signals
    assert (signal.kind, signal.terminal) == (SignalKind.UNKNOWN_PATH, (MERCHANT, "T9999999"))


async def test_what_is_no_message_is_heard_with_its_address_and_blocks_nobody(shop: Any) -> None:
    terminal = await shop.terminal(await shop.open())
    await terminal.send_bytes(b"GET / HTTP/1.1\r\nHost: switch\r\n\r\n")
    assert await terminal.hung_up()
    [signal] = shop.heard.signals
    assert (signal.kind, signal.address) == (SignalKind.MALFORMED, "127.0.0.1")
    assert signal.participant
