"""Cards: proved by an amount that only their owner reads, limited where a thief would try, erased when removed."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from town import town
from wallet_scene import Wallet, fresh_wallet_pan

from switch.domain.authorization import CardCredential, Holder
from switch.domain.card import Card, CardState
from switch.domain.payment_token import TokenState
from switch.domain.refusals import Invalid, Missing, NotPossible, NotProved, TooMany
from switch.domain.sensitive import Pan
from switch.domain.states import Decision, Operation, State
from switch.payments.errors import Unavailable
from switch.payments.follow_on import FollowOns
from switch.payments.local import LocalPayments
from switch.ports import AwaitingPayer, Declined, Phase, StoreUnavailable, Unknown
from switch.store.cards import PostgresCards
from switch.users.cards import CardsOfUsers

__all__ = ["town"]

ANN, BOB = "user/ann", "user/bob"


@pytest.fixture
def shop(wallet: Wallet, town: Any) -> Any:
    """Cards of users in front of a road whose channel answers as it is told."""
    wallet.clock.now_ms = time.time_ns() // 1_000_000
    payments = LocalPayments(town.road, FollowOns(town.world, town.settings), town.journal)
    store = PostgresCards(wallet.pool)
    return SimpleNamespace(
        cards=CardsOfUsers(store, wallet.vault, payments, wallet.clock), store=store, town=town, payments=payments,
        user=uuid4(), other=uuid4(), pan=fresh_wallet_pan(), wallet=wallet,
    )  # fmt: skip


async def amount_of(shop: Any, card: Card) -> int:
    """As the payer reads it in his statement."""
    return int(shop.town.journal.rows["WALLET", card.verification.id].money.amount_minor)


async def added(shop: Any, user: UUID | None = None, pan: Pan | None = None) -> Card:
    shop.wallet.clock.now_ms += 1  # cards are listed by their age
    return await shop.cards.add(ANN, user or shop.user, pan or shop.pan, "4912")  # type: ignore[no-any-return]


async def active(shop: Any, user: UUID | None = None, pan: Pan | None = None) -> Card:
    card = await added(shop, user, pan)
    return await shop.cards.prove(ANN, card.user_id, card.id, await amount_of(shop, card))  # type: ignore[no-any-return]


async def token_states(shop: Any, pan: Pan | None = None) -> list[int]:
    digits = (pan or shop.pan).reveal()
    rows = await shop.wallet.pool.fetch("SELECT state, last_four FROM payment_tokens WHERE requester = 'wallet'")
    return [row["state"] for row in rows if row["last_four"] in ("", digits[-4:])]


# --- the proof --------------------------------------------------------------------------------------------------------


async def test_a_card_is_added_proved_and_pays(shop: Any) -> None:
    card = await added(shop)
    row = shop.town.journal.rows["WALLET", card.verification.id]
    assert (row.operation, row.state, row.merchant_id) == (Operation.PRE_AUTHORIZATION, State.VOIDED, "WALLET")
    assert 1 <= row.money.amount_minor <= 999
    assert (card.state, card.is_default, card.brand, card.channel) == (CardState.PENDING, False, "unionpay", "first")
    assert card.verification.voided
    assert await shop.cards.credential(shop.user, card.id) is None

    proved = await shop.cards.prove(ANN, shop.user, card.id, row.money.amount_minor)
    assert (proved.state, proved.is_default) == (CardState.ACTIVE, True)
    assert await shop.cards.credential(shop.user, card.id) == CardCredential(shop.pan, "4912", holder=Holder(shop.user))
    [listed] = await shop.cards.cards(shop.user)
    assert listed.masked == f"622588******{shop.pan.reveal()[-4:]}"
    for told in (repr(card), repr(proved)):
        assert card.token not in told
        assert shop.pan.reveal() not in told
    with pytest.raises(NotPossible):  # there is nothing to be proved any more
        await shop.cards.prove(ANN, shop.user, card.id, row.money.amount_minor)
    trail = await shop.wallet.pool.fetch(
        "SELECT act, before, after FROM audit_trail WHERE subject = $1 ORDER BY time_ms, id", f"card/{card.id}"
    )
    assert {each["act"] for each in trail} == {"WalletService.AddCard", "WalletService.ProveCard"}
    assert all(str(row.money.amount_minor) not in each["after"] for each in trail) or row.money.amount_minor < 10


async def test_three_wrong_amounts_and_the_card_is_gone(shop: Any) -> None:
    card = await added(shop)
    right = await amount_of(shop, card)
    wrong = [each for each in range(1, 999) if each != right]
    for left in (2, 1):
        with pytest.raises(NotProved, match=f"{left} tries"):
            await shop.cards.prove(ANN, shop.user, card.id, wrong.pop())
    with pytest.raises(TooMany):
        await shop.cards.prove(ANN, shop.user, card.id, wrong.pop())
    with pytest.raises(NotPossible):
        await shop.cards.prove(ANN, shop.user, card.id, right)
    assert await shop.cards.cards(shop.user) == []


async def test_guesses_at_once_are_counted_one_by_one(shop: Any) -> None:
    card = await added(shop)
    right = await amount_of(shop, card)
    guesses = [each for each in range(1, 40) if each != right][:12]
    told = await asyncio.gather(
        *(shop.cards.prove(ANN, shop.user, card.id, each) for each in guesses), return_exceptions=True
    )
    kinds = sorted(type(each).__name__ for each in told)
    assert kinds == ["NotPossible"] * 9 + ["NotProved"] * 2 + ["TooMany"]


async def test_a_number_is_to_be_proved_three_times_a_month_by_whomever(shop: Any) -> None:
    for _ in range(3):
        user = uuid4()
        card = await added(shop, user)
        await shop.cards.remove(ANN, user, card.id)  # no way around it
    with pytest.raises(TooMany, match="3 times in 30 days"):
        await added(shop, uuid4())
    others = await asyncio.gather(
        *(added(shop, uuid4(), Pan("6225880000001231")) for _ in range(6)), return_exceptions=True
    )
    assert sum(isinstance(each, Card) for each in others) == 3
    shop.wallet.clock.now_ms += 31 * 86_400_000
    while await shop.cards.sweep():
        pass
    assert await token_states(shop) == [3]  # and after a month nothing is kept of what was never proved


async def test_nobody_names_an_amount_after_a_day(shop: Any) -> None:
    card = await added(shop)
    shop.wallet.clock.now_ms += 24 * 3600 * 1000
    with pytest.raises(NotPossible, match="over"):
        await shop.cards.prove(ANN, shop.user, card.id, await amount_of(shop, card))
    assert await shop.cards.sweep() == 1
    assert await shop.cards.cards(shop.user) == []
    assert await shop.cards.sweep() == 0


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (Declined("14"), "declined: 14"),
        (Declined("54"), "declined: 54"),
        (Unknown(Phase.SENT, "silent"), "did not answer"),
        (AwaitingPayer(), "did not answer"),
    ],
)
async def test_a_card_that_its_issuer_does_not_approve_is_not_kept(shop: Any, result: Any, says: str) -> None:
    shop.town.first.script = lambda request: result
    with pytest.raises(NotPossible, match=says):
        await added(shop)
    assert await shop.cards.cards(shop.user) == []
    shop.town.first.script = type(shop.town.first)("x", []).script
    assert (await added(shop)).state is CardState.PENDING  # it may be tried again, and that was no proof


async def test_a_wallet_is_no_place_to_try_stolen_numbers(shop: Any) -> None:
    shop.town.first.script = lambda request: Declined("14")
    for _ in range(5):
        with pytest.raises(NotPossible):
            await added(shop, pan=fresh_wallet_pan())
    with pytest.raises(TooMany, match="in 24 hours"):
        await added(shop, pan=fresh_wallet_pan())


async def test_what_could_not_be_given_back_the_sweep_gives_back(shop: Any) -> None:
    follow_on = shop.payments.follow_on
    calls: list[Any] = []

    async def down(request: Any) -> Any:
        calls.append(request)
        raise StoreUnavailable("down")

    shop.payments.follow_on = down
    card = await added(shop)
    assert not card.verification.voided
    assert await shop.cards.sweep() == 0  # the process that added it may be about to
    shop.wallet.clock.now_ms += 61_000
    assert await shop.cards.sweep() == 1
    shop.payments.follow_on = follow_on
    assert await shop.cards.sweep() == 1
    assert await shop.cards.sweep() == 0
    row = shop.town.journal.rows["WALLET", card.verification.id]
    assert row.state is State.VOIDED
    assert len(calls) == 2
    proved = await shop.cards.prove(ANN, shop.user, card.id, row.money.amount_minor)
    assert proved.state is CardState.ACTIVE


async def test_a_road_that_cannot_say_leaves_no_card_and_no_amount(shop: Any) -> None:
    authorize = shop.payments.authorize

    async def lost(request: Any, budget_s: float) -> Any:
        await authorize(request, budget_s)
        raise Unavailable("no durable decision in time")

    shop.payments.authorize = lost
    with pytest.raises(Unavailable):
        await added(shop)
    assert await shop.cards.cards(shop.user) == []
    shop.wallet.clock.now_ms += 61_000
    await shop.cards.sweep()
    assert [each.state for each in shop.town.journal.rows.values()] == [State.VOIDED]


async def test_a_verification_that_never_arrived_is_declined_when_it_does(shop: Any) -> None:
    """The sweep is done with it at once: those that are stuck for a day would keep the rest from being given back."""
    authorize, asked = shop.payments.authorize, []

    async def delayed(request: Any, budget_s: float) -> Any:
        asked.append((request, budget_s))
        raise Unavailable("cannot be reached")

    shop.payments.authorize = delayed
    with pytest.raises(Unavailable):
        await added(shop)
    shop.wallet.clock.now_ms += 61_000
    assert [await shop.cards.sweep(), await shop.cards.sweep()] == [1, 0]
    record = await authorize(*asked[0])
    assert (record.decision, record.response_code) == (Decision.DECLINED, "22")
    assert [each.state for each in shop.town.journal.rows.values()] == [State.REVERSED]


@pytest.mark.parametrize(
    ("pan", "expiry", "field"),
    [
        ("6225880000001232", "4912", "card.pan"), ("", "4912", "card.pan"), ("62258800000012311", "4912", "card.pan"),
        ("9999000000000004", "4912", "card.pan"), ("6225880000001231", "4913", "card.expiry"),
        ("6225880000001231", "2001", "card.expiry"), ("6225880000001231", "491", "card.expiry"),
        ("6225880000001231", "٤٩١٢", "card.expiry"),
    ],
)  # fmt: skip
async def test_bad_numbers(shop: Any, pan: str, expiry: str, field: str) -> None:
    with pytest.raises(Invalid, match=field) as refused:
        await shop.cards.add(ANN, shop.user, Pan(pan), expiry)
    assert not pan or pan not in str(refused.value)
    assert shop.town.first.sent == []


# --- having and removing ----------------------------------------------------------------------------------------------


async def test_a_card_that_is_there_is_not_added_again(shop: Any) -> None:
    first = await asyncio.gather(*(added(shop) for _ in range(4)))
    assert len({each.id for each in first}) == 1
    assert len(shop.town.first.sent) == 2  # one authorization and its void
    again = await added(shop)
    assert again.id == first[0].id


async def test_the_default_is_one_and_chosen(shop: Any) -> None:
    one = await active(shop)
    two = await active(shop, pan=fresh_wallet_pan())
    pending = await added(shop, pan=fresh_wallet_pan())
    assert [each.id for each in await shop.cards.cards(shop.user) if each.is_default] == [one.id]
    with pytest.raises(NotPossible):
        await shop.cards.set_default(ANN, shop.user, pending.id)
    with pytest.raises(Missing):
        await shop.cards.set_default(BOB, shop.other, two.id)
    chosen = await asyncio.gather(*(shop.cards.set_default(ANN, shop.user, each.id) for each in (two, one, two, two)))
    assert len(chosen) == 4
    assert sum(each.is_default for each in await shop.cards.cards(shop.user)) == 1


async def test_a_removed_card_is_erased(shop: Any) -> None:
    card = await active(shop)
    with pytest.raises(Missing):
        await shop.cards.remove(BOB, shop.other, card.id)
    await shop.cards.remove(ANN, shop.user, card.id)
    assert await token_states(shop) == [3]
    assert await shop.cards.cards(shop.user) == []
    assert await shop.cards.credential(shop.user, card.id) is None
    with pytest.raises(Missing):
        await shop.cards.remove(ANN, shop.user, card.id)
    assert await shop.wallet.pool.fetchval("SELECT token FROM cards WHERE card_id = $1", card.id) == ""
    again = await active(shop)
    assert again.id != card.id


async def test_a_card_that_another_has_too_stays_his(shop: Any) -> None:
    mine, theirs = await active(shop), await active(shop, shop.other)
    await shop.cards.remove(ANN, shop.user, mine.id)
    paying = CardCredential(shop.pan, "4912", holder=Holder(shop.other))
    assert await shop.cards.credential(shop.other, theirs.id) == paying
    await shop.cards.remove(BOB, shop.other, theirs.id)
    assert await token_states(shop) == [3]


async def test_removed_by_one_while_added_by_another(shop: Any) -> None:
    """Whatever the order: a live card can be paid with."""
    for _ in range(6):
        pan, user = fresh_wallet_pan(), uuid4()
        card = await active(shop, user, pan)
        other = uuid4()
        _, theirs = await asyncio.gather(
            shop.cards.remove(ANN, user, card.id), added(shop, other, pan), return_exceptions=True
        )
        if isinstance(theirs, Card):
            proved = await shop.cards.prove(BOB, other, theirs.id, await amount_of(shop, theirs))
            assert await shop.cards.credential(other, proved.id) == CardCredential(pan, "4912", holder=Holder(other))
        else:
            assert isinstance(theirs, NotPossible)


async def test_an_erasure_that_failed_is_made_up_for(shop: Any) -> None:
    card = await active(shop)
    erase = shop.wallet.vault.erase

    async def down(token: str) -> None:
        raise StoreUnavailable("down")

    shop.wallet.vault.erase = down
    await shop.cards.remove(ANN, shop.user, card.id)
    assert await token_states(shop) == [2]
    shop.wallet.vault.erase = erase
    shop.wallet.clock.now_ms += 61_000
    assert await shop.cards.sweep() == 1
    assert await token_states(shop) == [3]


async def test_who_closes_his_account_leaves_no_card(shop: Any) -> None:
    await active(shop)
    await added(shop, pan=fresh_wallet_pan())
    other = await active(shop, shop.other, fresh_wallet_pan())
    await shop.cards.give_up(ANN, shop.user)
    await shop.cards.give_up(ANN, shop.user)
    assert await shop.cards.cards(shop.user) == []
    assert await token_states(shop) == [TokenState.DELETED]
    assert [each.id for each in await shop.cards.cards(shop.other)] == [other.id]
