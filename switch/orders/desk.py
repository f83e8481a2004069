"""Orders, from their making to their payment. What is left open here is pursued by the worker (`pursue.py`)."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from switch.domain.authorization import AuthorizationRequest, CardCredential, ChannelOrder, Credential, PinBlock
from switch.domain.identity import computed_id
from switch.domain.merchant import MerchantState
from switch.domain.money import Money
from switch.domain.order import LONGEST_S, SHORTEST_S, Order, OrderPayment, PaymentState, ShopCode
from switch.domain.order_rules import Beginning, outcome_of
from switch.domain.refusals import Exists, Invalid, Missing, NotPermitted, NotPossible
from switch.domain.states import EntryMode, Operation
from switch.orders.settings import OrderSettings
from switch.orders.shop import new_id, profile_of
from switch.orders.store import OrderStore
from switch.ports import Clock
from switch.ports.platform import Cards, Merchants, Payments

log = structlog.get_logger()

SCHEMES: Final = ("alipay", "wechat")
# No merchant's own key begins so: those are printable.
_SHOP_KEY: Final = "\x1fshop "
_LOOKS: Final = 20
_LOOK_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Draft:
    """What a merchant asks for. key: its idempotency key. lives_s: from now."""

    merchant_id: str
    key: str
    money: Money
    subject: str
    lives_s: int
    number: str = ""
    terminal_id: str = "00000000"
    store_id: str = ""
    shop_code: UUID | None = None


@dataclass(frozen=True, slots=True)
class Paying:
    """How a user pays. key: his idempotency key; entry: how he got the order. pin: of the card, if one was entered."""

    user_id: UUID
    card_id: UUID
    key: str
    stepped_up: bool
    entry: EntryMode = EntryMode.MERCHANT_QR
    pin: PinBlock | None = None


class OrderDesk:
    """entropy: so many random bytes."""

    def __init__(
        self, store: OrderStore, payments: Payments, merchants: Merchants, cards: Cards | None, clock: Clock,
        entropy: Callable[[int], bytes], settings: OrderSettings,
    ) -> None:  # fmt: skip
        self._store = store
        self._payments = payments
        self._merchants = merchants
        self._cards = cards
        self._clock = clock
        self._entropy = entropy
        self._settings = settings

    # --- made, shown, closed ------------------------------------------------------------------------------------------

    async def create(self, draft: Draft, by: str) -> Order:
        """A repeat is the same order, as it stands now. Raises Exists for other content under the key."""
        if not SHORTEST_S <= draft.lives_s <= LONGEST_S:
            raise Invalid("expires_in_s", f"must be {SHORTEST_S} to {LONGEST_S}")
        profile = await profile_of(self._merchants, draft.merchant_id)
        if profile.state is not MerchantState.ACTIVE:
            raise NotPossible(f"the merchant is {profile.state.name}")
        now_ms = self._clock.time_ms()
        order = Order(
            new_id(now_ms, self._entropy), profile.as_paid, profile.acquirer_id, draft.terminal_id, draft.store_id,
            draft.money, draft.subject, draft.number, draft.key, _content(draft), by, now_ms,
            now_ms + draft.lives_s * 1000, shop_code=draft.shop_code, changed_time_ms=now_ms,
        )  # fmt: skip
        stored = await self._store.create(order, self._settings.open_per_shop_code)
        if stored.content != order.content:
            raise Exists("the idempotency key was used with other content")
        return stored

    async def of_shop_code(self, code: ShopCode, amount_minor: int, key: str, by: str) -> Order:
        """The order that a payer makes by entering an amount; key: chosen for this once.

        Raises TooMany where as many as one maker may have, the page among them, wait to be paid already.
        """
        money, lives_s = Money(amount_minor, code.currency), self._settings.shop_order_s
        draft = Draft(
            code.merchant_id, f"{_SHOP_KEY}{key}", money, code.label, lives_s, terminal_id=code.terminal_id,
            store_id=code.store_id, shop_code=code.id,
        )  # fmt: skip
        return await self.create(draft, by)

    async def find(self, merchant_id: str, order_id: UUID) -> Order:
        order = await self._store.find(merchant_id, order_id)
        if order is None:
            raise Missing("there is no such order")
        return order

    async def close(self, merchant_id: str, order_id: UUID, by: str) -> Order:
        """Whoever pays it later is given his money back. Closed or expired it stays as it is."""
        order, refusal = await self._store.close(merchant_id, order_id, by, self._clock.time_ms())
        if refusal:
            raise NotPossible(refusal)
        return order

    # --- paid ---------------------------------------------------------------------------------------------------------

    async def pay(self, order: Order, paying: Paying) -> tuple[Order, OrderPayment]:
        """With a card of the payer's. A repeat finds what became of it.

        BEGUN: it is not known yet, and the worker finds out; asked again under the same key it is told.
        """
        return await self._pay(order, paying, await self._card(paying))

    async def pay_shop_code(
        self, code: ShopCode, amount_minor: int, paying: Paying, by: str
    ) -> tuple[Order, OrderPayment]:
        """Who cannot pay makes no order: the merchant's list is not anybody's to fill."""
        key, money = f"{paying.user_id.hex}-{paying.key}", Money(amount_minor, code.currency)
        # Of a repeat the payment itself counts as spent already: it is found, and answered.
        is_new = not paying.stepped_up and await self._store.made_under(code.merchant_id, f"{_SHOP_KEY}{key}") is None
        if is_new and await self.needs_step_up(paying.user_id, money):
            raise NotPermitted("step-up needed")
        card = await self._card(paying)
        order = await self.of_shop_code(code, amount_minor, key, by)
        return await self._pay(order, paying, card)

    async def needs_step_up(self, user_id: UUID, money: Money) -> bool:
        """Whether he must show a second factor before he pays so much, as things stand."""
        spent_minor = await self._store.unproved_minor(str(user_id), money.currency, self._clock.time_ms())
        return spent_minor + money.amount_minor > self._unproved_limit_minor(money.currency)

    def _unproved_limit_minor(self, currency: str) -> int:
        return self._settings.step_up_above_minor.get(currency, 0)

    async def _card(self, paying: Paying) -> CardCredential:
        card = await self._cards.credential(paying.user_id, paying.card_id) if self._cards is not None else None
        if card is None:
            raise Missing("there is no such card")
        return card

    async def _pay(self, order: Order, paying: Paying, card: CardCredential) -> tuple[Order, OrderPayment]:
        payment = self._new_payment(order, paying.entry, payer=str(paying.user_id), payer_key=paying.key)
        payment.stepped_up = paying.stepped_up
        limit_minor = None if paying.stepped_up else self._unproved_limit_minor(order.money.currency)
        verdict = await self._begun(order, payment, limit_minor)
        if verdict.repeated is not None:
            return await self.find(order.merchant.id, order.id), verdict.repeated
        return await self._authorized(order, payment, card, paying.pin)

    async def channel_code(self, order: Order, scheme: str) -> OrderPayment:
        """The code that a wallet scans: asked of its channel once, then the same for everybody.

        Raises NotPossible where the channel gives none, or none yet.
        """
        if scheme not in SCHEMES:
            raise Invalid("scheme", f"must be one of {', '.join(SCHEMES)}")
        payment = self._new_payment(order, EntryMode.MERCHANT_QR, scheme=scheme)
        verdict = await self._begun(order, payment)
        if verdict.repeated is not None:
            payment = await self._once_known(verdict.repeated)
        else:
            _, payment = await self._authorized(order, payment, ChannelOrder(scheme), None)
        if not payment.code or payment.state is not PaymentState.AWAITING:
            raise NotPossible(f"{scheme} has no code for it now")
        return payment

    async def _begun(self, order: Order, payment: OrderPayment, unproved_limit_minor: int | None = None) -> Beginning:
        payee = await profile_of(self._merchants, order.merchant.id)
        refusal = "" if payee.state is MerchantState.ACTIVE else f"the merchant is {payee.state.name}"
        verdict = await self._store.begin(payment, self._clock.time_ms(), refusal, unproved_limit_minor)
        if verdict.needs_step_up:
            raise NotPermitted("step-up needed")
        if verdict.refusal:
            raise NotPossible(verdict.refusal)
        return verdict

    async def _authorized(
        self, order: Order, payment: OrderPayment, credential: Credential, pin: PinBlock | None
    ) -> tuple[Order, OrderPayment]:
        operation = Operation.ORDER if payment.scheme else Operation.SALE
        request = AuthorizationRequest(
            payment.acquirer_id, order.merchant, order.terminal_id, payment.key, payment.transmission_time_ms,
            operation, order.money, payment.entry, credential, pin,
        )  # fmt: skip
        try:
            record = await self._payments.authorize(request, self._settings.budget_s)
        except Exception as error:
            # Whether anything happened is found out by the worker: here nothing is guessed.
            log.warning("order_payment_open", order=str(order.id), reason=type(error).__name__)
            return order, payment
        payment.code, payment.response_code, payment.reason = record.order_code, record.response_code, record.reason
        return await self._store.learn(payment, outcome_of(record, order.money), self._clock.time_ms())

    async def _once_known(self, payment: OrderPayment) -> OrderPayment:
        """Another request, or another process, is asking the channel just now."""
        for _ in range(_LOOKS):
            if payment.state is not PaymentState.BEGUN:
                break
            await asyncio.sleep(_LOOK_PAUSE_S)
            payment = await self._store.payment(payment.merchant_id, payment.authorization_id) or payment
        return payment

    def _new_payment(
        self, order: Order, entry: EntryMode, *, scheme: str = "", payer: str = "", payer_key: str = ""
    ) -> OrderPayment:
        key, now_ms = f"order-{self._entropy(16).hex()}", self._clock.time_ms()
        identity = computed_id(order.acquirer_id, order.merchant.id, now_ms, key)
        return OrderPayment(
            order.merchant.id, order.id, identity, order.acquirer_id, scheme, payer, payer_key, entry, key, now_ms
        )


def _content(draft: Draft) -> bytes:
    parts = (
        str(draft.money.amount_minor), draft.money.currency, draft.subject, str(draft.lives_s), draft.number,
        draft.terminal_id, draft.store_id, str(draft.shop_code),
    )  # fmt: skip
    return hashlib.sha256("\x1f".join(parts).encode()).digest()
