"""What terminals ask for and get: payments, what follows on them, reversals, settlement."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from counter import CARD, MERCHANT, TERMINAL

from adapters.unionpay.pos.messages import Totals
from adapters.unionpay.pos.simulator import CHIP, CONTACTLESS, KEYED, STRIPE, Sent, SimulatedTerminal, pin_block
from hsm.direct import DirectHsm
from hsm.errors import HsmUnavailable
from hsm.keys import KeyUsage
from switch.domain.states import EntryMode, Operation, State
from switch.ports import Approved, Declined, StoreUnavailable
from switch.terminals import payments


def code(message: Any) -> str:
    return str(message.fields[39])


def sent(terminal: SimulatedTerminal) -> Sent:
    assert terminal.last is not None
    return terminal.last


@pytest.mark.parametrize(
    ("entry", "pin", "mode"),
    [
        (KEYED, "", EntryMode.KEYED),
        (STRIPE, "", EntryMode.STRIPE),
        (CHIP, "", EntryMode.CHIP),
        (CHIP, "123456", EntryMode.CHIP),
        (CONTACTLESS, "", EntryMode.NFC),
        (CONTACTLESS, "123456", EntryMode.NFC),
    ],
)
async def test_a_sale(shop: Any, entry: str, pin: str, mode: EntryMode) -> None:
    shop.first.script = lambda request: Approved("00", "654321", "123456789012", emv_response=b"\x91\x02\x30\x30")
    terminal = await shop.signed_on()
    answer = await terminal.sale(CARD, 1200, entry, pin)
    assert code(answer) == "00"
    assert (answer.fields[37], answer.fields[38], answer.fields[4]) == ("123456789012", "654321", "000000001200")
    assert answer.fields[55] == b"\x91\x02\x30\x30"
    assert not {35, 52, 53, 14}.intersection(answer.fields)
    [request] = shop.first.sent
    assert (request.operation, request.money.amount_minor, request.merchant.id) == (Operation.SALE, 1200, MERCHANT)
    assert request.merchant.category_code == "5411"
    assert (request.authorization.entry, request.authorization.terminal_id) == (mode, TERMINAL)
    assert request.authorization.acquirer_id == "acme"
    assert request.credential.pan.reveal() == CARD.pan
    assert bool(request.pin_block) is bool(pin)
    assert bool(request.credential.emv) is (entry in (CHIP, CONTACTLESS))


async def test_the_pin_arrives_under_the_channels_key(shop: Any, hsm: Any) -> None:
    terminal = await shop.signed_on()
    assert code(await terminal.sale(CARD, 1200, CHIP, "123456")) == "00"
    expected = await terminal_pin_block_under(hsm, "first/pik", "123456")
    assert shop.first.sent[0].pin_block == expected


async def terminal_pin_block_under(hsm: Any, label: str, pin: str) -> bytes:
    """The block that the HSM itself makes of the same PIN under the channel's key, by way of a key known here."""
    value, mask = bytes(range(16, 32)), bytes(range(16))
    if "known" not in hsm.store:
        parts = [mask, bytes(a ^ b for a, b in zip(value, mask, strict=True))]
        hsm.store.import_components("known", KeyUsage.PIN_KEY, parts)
    [block] = await hsm.translate_pins([("known", 0, label, 0, pin_block(value, pin, CARD.pan), CARD.pan)])
    assert isinstance(block, bytes)
    return block


@pytest.mark.parametrize(
    ("approval", "reference", "emv"),
    [("", "", b""), ("12-456", "2026/11/27-01", b"x" * 256), ("1234567", "1234567890123", b""), ("批准", " ", b"")],
)
async def test_a_channel_with_words_of_its_own(shop: Any, approval: str, reference: str, emv: bytes) -> None:
    """The approval reaches the terminal all the same, under the switch's own reference."""
    shop.first.script = lambda request: Approved("00", approval, reference, emv_response=emv)
    terminal = await shop.signed_on()
    answer = await terminal.sale(CARD, 1200)
    assert (code(answer), 38 in answer.fields, 55 in answer.fields) == ("00", False, False)
    assert str(answer.fields[37]).endswith("000002")


async def test_a_pin_block_that_is_none(shop: Any, refusals: Any) -> None:
    terminal = await shop.signed_on()
    fields = terminal.payment(CARD, 1200, CHIP, "123456") | {52: bytes(8)}
    assert code(await terminal.exchange("0200", fields)) == "99"
    assert refusals("pin_block") == 1
    assert (shop.first.sent, shop.store.entries) == ([], {})


async def test_an_hsm_that_is_away(shop: Any, refusals: Any, hsm: DirectHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be verified, nothing is done; once it is back the same message goes through."""
    terminal = await shop.signed_on()
    message = terminal.build("0200", terminal.payment(CARD, 1200))

    async def away(command: str, items: Any) -> Any:
        raise HsmUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(hsm, "run", away)
        assert code(await terminal.send(message)) == "96"
    assert refusals("hsm") == 1
    assert shop.first.sent == []
    assert code(await terminal.send(message)) == "00"


async def test_an_answer_that_cannot_be_proved_is_none(shop: Any, refusals: Any, hsm: DirectHsm) -> None:
    """The HSM goes away after the payment: the connection closes, and the terminal reverses."""
    terminal = await shop.signed_on()
    sale = terminal.build("0200", terminal.payment(CARD, 1200))
    run, broken = hsm.run, True

    async def run_or_fail(command: str, items: Any) -> Any:
        if broken and command == "terminal_macs":
            raise HsmUnavailable("away")
        return await run(command, items)

    hsm.run = run_or_fail  # type: ignore[method-assign]
    try:
        await terminal.send_bytes(len(sale.data).to_bytes(2) + sale.data)
        assert await terminal.hung_up()
        broken = False
        await terminal.connect()
        assert code(await terminal.reverse(sale)) == "00"
    finally:
        hsm.run = run  # type: ignore[method-assign]
    assert [each.operation for each in shop.first.sent] == [Operation.SALE, Operation.REVERSAL]
    assert refusals("hsm") == 1


async def test_a_decline_and_a_partial_approval(shop: Any) -> None:
    terminal = await shop.signed_on()
    shop.first.script = lambda request: Declined("51", "no money")
    answer = await terminal.sale(CARD, 1200)
    assert (code(answer), 38 in answer.fields) == ("51", False)
    shop.first.script = lambda request: Approved("10", "654321", approved_minor=700)
    answer = await terminal.sale(CARD, 1200)
    assert (code(answer), answer.fields[4]) == ("10", "000000000700")


async def test_a_repeat_gets_the_same_answer_and_has_one_effect(shop: Any) -> None:
    terminal = await shop.signed_on()
    first = await terminal.sale(CARD, 1200)
    again = await terminal.send(sent(terminal))
    assert again == first
    assert len(shop.first.sent) == 1
    assert len(shop.journal.rows) == 1


async def test_two_at_once_have_one_effect(shop: Any) -> None:
    terminal = await shop.signed_on()
    message = terminal.build("0200", terminal.payment(CARD, 1200))
    await terminal.send_bytes(2 * (len(message.data).to_bytes(2) + message.data))
    first, second = await terminal.receive(), await terminal.receive()
    assert (code(first), code(second)) == ("00", "00")
    assert len(shop.first.sent) == 1


async def test_a_used_name_with_other_content_is_refused(shop: Any, refusals: Any) -> None:
    terminal = await shop.signed_on()
    assert code(await terminal.sale(CARD, 1200)) == "00"
    other = await terminal.exchange("0200", terminal.payment(CARD, 1300), sent(terminal).name.stan)
    assert (code(other), refusals("content_differs")) == ("94", 1)
    fields = terminal.payment(CARD, 1200) | {3: "030000", 25: "06"}
    other = await terminal.exchange("0100", fields, terminal.stan)
    assert (code(other), refusals("name_used")) == ("94", 1)
    assert len(shop.first.sent) == 1


async def test_a_name_is_used_up_once_the_window_is_over(shop: Any, refusals: Any) -> None:
    """A terminal that was set up anew counts from one again: its payments are not answered with last month's."""
    terminal = await shop.signed_on(repeat_window_ms=-1)
    assert code(await terminal.sale(CARD, 1200)) == "94"
    assert refusals("name_used") == 1
    assert shop.first.sent == []


async def test_silence_is_68_and_the_terminals_reversal_is_taken(shop: Any) -> None:
    shop.first.script = lambda request: None
    terminal = await shop.signed_on(budget_s=0.3)
    assert code(await terminal.sale(CARD, 1200)) == "68"
    assert code(await terminal.reverse(sent(terminal))) == "00"
    assert [each.operation for each in shop.journal.follow_ups] == [Operation.REVERSAL]


async def test_a_reversal_of_an_approved_sale(shop: Any, refusals: Any) -> None:
    terminal = await shop.signed_on()
    assert code(await terminal.sale(CARD, 1200)) == "00"
    sale = sent(terminal)
    assert code(await terminal.reverse(sale)) == "00"
    assert code(await terminal.reverse(sale)) == "00"
    assert [each.operation for each in shop.first.sent] == [Operation.SALE, Operation.REVERSAL]
    [row] = shop.journal.rows.values()
    assert row.state is State.REVERSED
    # A late repeat of the sale is not told that it was approved.
    assert code(await terminal.send(sale)) == "22"
    assert refusals("undone") == 1


async def test_a_reversal_after_a_weekend(shop: Any) -> None:
    """A terminal keeps its reversal until it has an answer, however long the shop was closed."""
    terminal = await shop.signed_on()
    assert code(await terminal.sale(CARD, 1200)) == "00"
    sale = sent(terminal)
    [(name, entry)] = shop.store.entries.items()
    long_ago_ms = entry.transmission_time_ms - 39 * 3600 * 1000
    shop.store.entries[name] = replace(entry, transmission_time_ms=long_ago_ms)
    assert code(await terminal.reverse(sale)) == "00"
    assert code(await terminal.reverse(sale)) == "00"
    [row] = shop.journal.rows.values()
    assert row.state is State.REVERSED
    assert [each.operation for each in shop.first.sent] == [Operation.SALE, Operation.REVERSAL]


async def test_a_reversal_before_its_original(shop: Any) -> None:
    terminal = await shop.signed_on()
    sale = terminal.build("0200", terminal.payment(CARD, 1200))
    assert code(await terminal.reverse(sale)) == "00"
    assert code(await terminal.send(sale)) == "22"
    assert shop.first.sent == []


async def test_pre_authorization_completion_and_refund(shop: Any) -> None:
    terminal = await shop.signed_on()
    answer = await terminal.pre_authorize(CARD, 5000, CHIP)
    assert code(answer) == "00"
    held = sent(terminal)
    assert code(await terminal.complete(CARD, held, 3000, str(answer.fields[38]))) == "00"
    completion = sent(terminal)
    assert code(await terminal.complete(CARD, held, 3000)) == "64"
    assert code(await terminal.refund(CARD, completion, 1000)) == "00"
    assert code(await terminal.refund(CARD, completion, 2500)) == "64"
    operations = [each.operation for each in shop.first.sent]
    assert operations == [Operation.PRE_AUTHORIZATION, Operation.CAPTURE, Operation.REFUND]
    [row] = shop.journal.rows.values()
    assert (row.captured_minor, row.refunded_minor) == (3000, 1000)


async def test_a_completion_by_advice_and_its_repeat(shop: Any) -> None:
    terminal = await shop.signed_on()
    await terminal.pre_authorize(CARD, 5000)
    fields = terminal.payment(CARD, 5000) | {25: "06", 61: "000001000002"}
    assert sent(terminal).name.stan == 2
    answer = await terminal.exchange("0220", fields)
    assert (code(answer), answer.mti) == ("00", "0230")
    assert await terminal.send(sent(terminal)) == answer
    assert [each.operation for each in shop.first.sent] == [Operation.PRE_AUTHORIZATION, Operation.CAPTURE]


@pytest.mark.parametrize("kind", ["sale", "pre_authorize"])
async def test_a_void(shop: Any, kind: str) -> None:
    terminal = await shop.signed_on()
    answer = await getattr(terminal, kind)(CARD, 1200)
    original = sent(terminal)
    assert code(await terminal.void(CARD, original, "000000")) == "25"
    assert code(await terminal.void(CARD, original, str(answer.fields[38]))) == "00"
    assert code(await terminal.send(sent(terminal))) == "00"
    assert code(await terminal.void(CARD, original)) == "12"
    assert [each.operation for each in shop.first.sent][1:] == [Operation.VOID]
    [row] = shop.journal.rows.values()
    assert row.state is State.VOIDED


async def test_what_names_no_original(shop: Any, refusals: Any) -> None:
    terminal = await shop.signed_on()
    assert code(await terminal.sale(CARD, 1200)) == "00"
    sale = sent(terminal)
    stranger = terminal.build("0200", terminal.payment(CARD, 1200))
    assert code(await terminal.void(CARD, stranger)) == "25"
    assert code(await terminal.complete(CARD, sale, 1200)) == "25"
    assert refusals("no_original") == 2
    assert len(shop.first.sent) == 1


async def test_a_void_is_not_reversed(shop: Any, refusals: Any) -> None:
    terminal = await shop.signed_on()
    await terminal.sale(CARD, 1200)
    await terminal.void(CARD, sent(terminal))
    assert code(await terminal.reverse(sent(terminal))) == "40"
    assert refusals("reversal_of_follow_on") == 1


async def test_a_road_that_gives_no_answer_leaves_nothing_behind(shop: Any, refusals: Any) -> None:
    """The outcome cannot be recorded in time: 98, and the switch itself reverses what it may have done."""
    terminal = await shop.signed_on()
    shop.journal.down_for_outcomes = True
    assert code(await terminal.sale(CARD, 1200)) == "98"
    assert refusals("not_answered") >= 1
    shop.journal.down_for_outcomes = False
    await shop.payments[0].close(10.0)
    [row] = shop.journal.rows.values()
    assert row.state in (State.UNKNOWN, State.REVERSED)
    assert [each.operation for each in shop.journal.follow_ons.values()] == [Operation.REVERSAL]
    assert code(await terminal.reverse(sent(terminal))) == "00"
    assert len(shop.journal.follow_ons) == 1


async def test_what_was_not_answered_is_undone_once_the_database_is_back(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover takes half a minute: whoever gave up before would leave a payment that nobody was told of."""
    monkeypatch.setattr(payments, "_UNDO_FIRST_PAUSE_S", 0.0)
    terminal = await shop.signed_on()
    find, failures = shop.journal.find, 0

    async def away_for_long(merchant_id: str, authorization_id: UUID) -> Any:
        nonlocal failures
        if failures < 50:
            failures += 1
            raise StoreUnavailable("down")
        return await find(merchant_id, authorization_id)

    shop.journal.find = away_for_long
    shop.journal.down_for_outcomes = True
    assert code(await terminal.sale(CARD, 1200)) == "98"
    shop.journal.down_for_outcomes = False
    await shop.payments[0].close(10.0)
    assert failures == 50
    assert [each.operation for each in shop.journal.follow_ons.values()] == [Operation.REVERSAL]


async def test_a_database_that_is_away(shop: Any, refusals: Any) -> None:
    terminal = await shop.signed_on()
    shop.store.down = True
    message = terminal.build("0200", terminal.payment(CARD, 1200))
    assert code(await terminal.send(message)) == "96"
    shop.store.down = False
    assert refusals("store") == 1
    assert shop.first.sent == []
    assert code(await terminal.send(message)) == "00"


# --- settlement -------------------------------------------------------------------------------------------------------


async def test_a_batch_is_settled(shop: Any) -> None:
    terminal = await shop.signed_on()
    await terminal.sale(CARD, 1200)
    await terminal.sale(CARD, 800)
    await terminal.void(CARD, sent(terminal))
    answer = await terminal.settle(Totals(1200, 1))
    assert (code(answer), str(answer.fields[48])[30]) == ("00", "1")
    assert await terminal.send(sent(terminal)) is not None  # a repeat closes no second batch
    assert code(await terminal.sale(CARD, 500)) == "77"
    assert code(await terminal.sign_on()) == "00"
    assert terminal.batch == 2
    assert code(await terminal.sale(CARD, 500)) == "00"


async def test_totals_that_differ_are_said_to(shop: Any) -> None:
    terminal = await shop.signed_on()
    await terminal.sale(CARD, 1200)
    answer = await terminal.settle(Totals(1300, 1))
    assert (code(answer), str(answer.fields[48])[30]) == ("00", "2")


async def test_the_totals_are_well_formed(shop: Any, refusals: Any) -> None:
    terminal = await shop.signed_on()
    fields = {48: "0" * 12, 49: "156", 60: "00000001201"}
    assert code(await terminal.exchange("0500", fields)) == "30"
    assert refusals("field_48") == 1
