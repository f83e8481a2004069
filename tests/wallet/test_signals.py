"""What risk control hears of wallets: guessed codes, cards that were proved or declined."""

import time
from typing import Any
from uuid import uuid4

import pytest
from signal_scene import Heard
from town import town
from wallet_scene import Payer, Wallet, fresh_wallet_pan

from switch.domain.dynamic_code import luhn_digit
from switch.domain.refusals import NotPossible
from switch.payments.follow_on import FollowOns
from switch.payments.local import LocalPayments
from switch.ports import Declined
from switch.ports.signals import SignalKind
from switch.store.cards import PostgresCards
from switch.users.cards import CardsOfUsers
from switch.users.payment_codes import PaymentCodes

__all__ = ["town"]


async def test_a_wrong_code_names_where_it_came_from_and_whose_number_it_has(wallet: Wallet, payer: Payer) -> None:
    heard = Heard()
    codes = PaymentCodes(wallet.store, wallet.devices, wallet.vault, wallet.hsm, wallet.clock, signals=heard)
    code = payer.shows.code(wallet.clock.now_ms)
    body = f"{code[:15]}{(int(code[15:23]) + 1) % 10**8:08d}"
    wrong = body + luhn_digit(body)
    await wallet.pay(code, codes)
    assert heard.signals == []
    await wallet.pay(wrong, codes)
    [signal] = heard.signals
    assert signal.kind is SignalKind.WRONG_CODE
    assert (signal.user_id, signal.device_id) == (payer.user_id, payer.device_id)
    assert (signal.terminal, signal.participant) == (("shop", "t1"), "acme")
    assert wrong not in repr(signal)


async def test_a_card_is_heard_of_when_it_is_proved_or_declined(wallet: Wallet, town: Any) -> None:
    heard, user = Heard(), uuid4()
    wallet.clock.now_ms = time.time_ns() // 1_000_000
    payments = LocalPayments(town.road, FollowOns(town.world, town.settings), town.journal)
    cards = CardsOfUsers(PostgresCards(wallet.pool), wallet.vault, payments, wallet.clock, signals=heard)
    card = await cards.add("user/ann", user, fresh_wallet_pan(), "4912")
    assert heard.signals == []
    amount_minor = town.journal.rows["WALLET", card.verification.id].money.amount_minor
    await cards.prove("user/ann", user, card.id, amount_minor)
    town.first.script = lambda request: Declined("05")
    with pytest.raises(NotPossible):
        await cards.add("user/ann", user, fresh_wallet_pan(), "4912")
    assert [(each.kind, each.user_id) for each in heard.signals] == [
        (SignalKind.CARD_ADDED, user),
        (SignalKind.CARD_REFUSED, user),
    ]
