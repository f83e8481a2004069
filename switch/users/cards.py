"""Cards of a user: added with a proof of ownership, listed masked, removed for good.

**The proof**: a pre-authorization of a random amount, 1 to 999 fen, given back at once. Its issuer says by approving it
that the card is good; the payer says by naming the amount, which his bank shows him, that it is his. The number itself
is with the vault from the first moment.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from switch.domain.authorization import (
    Authorization,
    AuthorizationRequest,
    CardCredential,
    FollowOnRequest,
    Holder,
    Merchant,
)
from switch.domain.card import LIVE, Card, CardLimits, CardState, CardVerification, brand_of
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.payment_token import is_pan_shaped, is_token
from switch.domain.refusals import Invalid, Missing, NotPossible, NotProved, TooMany
from switch.domain.sensitive import Pan
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.ports import Clock
from switch.ports.platform import Payments
from switch.ports.signals import UNHEARD, Signal, SignalKind, Signals
from switch.users.card_store import CardStore
from switch.users.code_store import CardNumbers

log = structlog.get_logger()

LARGEST_PROOF_MINOR: Final = 999
ACCESS_REASON: Final = "stored card"
_LONGEST_MS: Final = 24 * 3600 * 1000 - 60_000
"""How long the road takes an operation under the transmission time of the verification."""
_BUSINESS_ZONE: Final = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True, slots=True)
class VerificationSettings:
    """Who asks for the proof, as the payer's bank shows it. budget_s: for the issuer's answer."""

    acquirer_id: str = "wallet"
    merchant: Merchant = field(default_factory=lambda: Merchant("WALLET", "payswitch wallet", "Shanghai"))
    terminal_id: str = "00000001"
    budget_s: float = 0.2


class CardsOfUsers:
    """Meets `switch.ports.platform.Cards`. entropy(n) -> n random bytes."""

    def __init__(
        self,
        store: CardStore,
        numbers: CardNumbers,
        payments: Payments,
        clock: Clock,
        settings: VerificationSettings | None = None,
        limits: CardLimits | None = None,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        signals: Signals = UNHEARD,
    ) -> None:
        self._store = store
        self._numbers = numbers
        self._payments = payments
        self._clock = clock
        self._settings = settings or VerificationSettings()
        self._limits = limits or CardLimits()
        self._entropy = entropy
        self._signals = signals

    # --- adding -------------------------------------------------------------------------------------------------------

    async def add(self, who: str, user_id: UUID, pan: Pan, expiry_yymm: str) -> Card:
        """PENDING, until its owner names the amount; a live card of that number stays as it is and is returned.

        Raises Invalid, TooMany, NotPossible (the issuer declined, or did not answer), or what the road raises: then
        the card may be added again.
        """
        self._check(pan, expiry_yymm)
        token = await self._numbers.token_of(pan)
        draft = self._draft(user_id, token, pan.reveal(), expiry_yymm)
        card = await self._store.add(draft, self._limits, who)
        if card.id != draft.id:
            return card
        # Somebody who removes the same number from another wallet sees our row now, unless he was there before.
        if not await self._numbers.is_active(token):
            await self._store.fail(card, self._clock.time_ms(), counts=False)
            await self._store.given_back(card)
            raise NotPossible("the card is being removed elsewhere: add it again")
        return await self._verify(card, pan)

    def _check(self, pan: Pan, expiry_yymm: str) -> None:
        digits = pan.reveal()
        if not is_pan_shaped(digits) or is_token(digits):
            raise Invalid("card.pan", "is no card number, or its check digit is wrong")
        if len(expiry_yymm) != 4 or not expiry_yymm.isascii() or not expiry_yymm.isdigit():
            raise Invalid("card.expiry", "must be YYMM")
        today = datetime.fromtimestamp(self._clock.time_ms() / 1000, _BUSINESS_ZONE)
        if not "01" <= expiry_yymm[2:] <= "12" or expiry_yymm < f"{today.year % 100:02d}{today.month:02d}":
            raise Invalid("card.expiry", "is no month, or is over")

    def _draft(self, user_id: UUID, token: str, pan: str, expiry_yymm: str) -> Card:
        now_ms = self._clock.time_ms()
        card_id = UUID(bytes=self._entropy(16), version=4)
        minor = 1 + int.from_bytes(self._entropy(16), "big") % LARGEST_PROOF_MINOR
        settings = self._settings
        proof_id = computed_id(settings.acquirer_id, settings.merchant.id, now_ms, card_id.hex)
        return Card(
            user_id, card_id, CardState.PENDING, False, token, brand_of(pan), "", pan[:6], pan[-4:], expiry_yymm,
            CardVerification(proof_id, now_ms, minor), now_ms, now_ms,
        )  # fmt: skip

    async def _verify(self, card: Card, pan: Pan) -> Card:
        settings, proof = self._settings, card.verification
        request = AuthorizationRequest(
            settings.acquirer_id, settings.merchant, settings.terminal_id, card.id.hex, proof.time_ms,
            Operation.PRE_AUTHORIZATION, Money(proof.minor, "CNY"), EntryMode.KEYED,
            CardCredential(pan, card.expiry_yymm),
        )  # fmt: skip
        try:
            record = await self._payments.authorize(request, settings.budget_s)
        except Exception:
            # Whether anything came of it is not known: the sweep gives back what there is.
            await self._store.fail(card, self._clock.time_ms(), counts=False)
            raise
        if record.decision is not Decision.APPROVED:
            await self._refused(card, record)
        await self._store.verified_by(card, record.channel)
        await self.give_back(card, is_recorded=True)
        found = await self._store.find(card.user_id, card.id)
        assert found is not None  # rows are never deleted
        return found

    async def _refused(self, card: Card, record: Authorization) -> None:
        await self._store.fail(card, self._clock.time_ms(), counts=False)
        if record.decision in (Decision.DECLINED, Decision.UNKNOWN):
            await self._store.given_back(card)  # nothing was held, or the switch reverses it by itself
        if record.decision is Decision.DECLINED:
            self._signals.report(Signal(SignalKind.CARD_REFUSED, card.user_id))
            raise NotPossible(f"the card was declined: {record.response_code}, {record.reason}")
        raise NotPossible("the issuer did not answer in time: add the card again later")

    async def give_back(self, card: Card, *, is_recorded: bool = False) -> None:
        """Void the verification; a repeat has no further effect. What fails is done by the sweep, for a day.

        One that was never recorded is reversed: should it arrive yet, it is declined (invariant 7).
        """
        if self._clock.time_ms() - card.verification.time_ms >= _LONGEST_MS:
            log.error("verification_never_given_back", card=str(card.id), authorization=str(card.verification.id))
            await self._store.given_back(card)
            return
        try:
            if not is_recorded:
                is_recorded = await self._payments.find(self._settings.merchant.id, card.verification.id) is not None
            for operation in (Operation.VOID, Operation.REVERSAL) if is_recorded else (Operation.REVERSAL,):
                undone = await self._payments.follow_on(self._undo(card, operation))
                if undone.state is not State.DECLINED or undone.response_code == "25":
                    break
            else:
                log.error("verification_not_given_back", card=str(card.id), authorization=str(card.verification.id))
            await self._store.given_back(card)
        except Exception as error:
            log.warning("verification_not_given_back_yet", card=str(card.id), reason=type(error).__name__)

    def _undo(self, card: Card, operation: Operation) -> FollowOnRequest:
        settings, proof = self._settings, card.verification
        key = f"{operation.name}-{card.id.hex}"
        return FollowOnRequest(operation, settings.acquirer_id, settings.merchant.id, proof.id, key, proof.time_ms)

    # --- proving ------------------------------------------------------------------------------------------------------

    async def prove(self, who: str, user_id: UUID, card_id: UUID, minor: int) -> Card:
        """Raises Missing, NotPossible (nothing to prove, or too late), NotProved, TooMany (that was the last try)."""
        if not 1 <= minor <= LARGEST_PROOF_MINOR:
            raise Invalid("amount_minor", f"must be 1 to {LARGEST_PROOF_MINOR}")
        card = await self._store.prove(user_id, card_id, minor, self._limits, self._clock.time_ms(), who)
        if card.state is CardState.ACTIVE:
            self._signals.report(Signal(SignalKind.CARD_ADDED, user_id))
            return card
        if card.state is CardState.FAILED:
            raise TooMany("the amount was wrong too often: the card was not added")
        raise NotProved(f"the amount is not right; {self._limits.tries - card.verification.tries} tries are left")

    # --- having -------------------------------------------------------------------------------------------------------

    async def cards(self, user_id: UUID) -> list[Card]:
        """Live ones, oldest first."""
        return await self._store.of_user(user_id)

    async def set_default(self, who: str, user_id: UUID, card_id: UUID) -> Card:
        return await self._store.set_default(user_id, card_id, who)

    async def credential(self, user_id: UUID, card_id: UUID) -> CardCredential | None:
        """Of an ACTIVE card, with a row of the vault's access log; None: there is no such card to pay with."""
        card = await self._store.find(user_id, card_id)
        if card is None or card.state is not CardState.ACTIVE:
            return None
        [pan] = await self._numbers.reveal([card.token], ACCESS_REASON)
        return None if pan is None else CardCredential(pan, card.expiry_yymm, holder=Holder(user_id))

    # --- removing -----------------------------------------------------------------------------------------------------

    async def remove(self, who: str, user_id: UUID, card_id: UUID) -> Card:
        """Its number is erased from the vault, unless another user has the same card. Raises Missing."""
        found = await self._store.find(user_id, card_id)
        if found is None or found.state not in LIVE:
            raise Missing("there is no such card")
        card = await self._store.remove(user_id, card_id, self._clock.time_ms(), who)
        if card.state is CardState.REMOVED:
            await self._erase(card)
        return card

    async def _erase(self, card: Card) -> None:
        """Suspended first: who adds the same number meanwhile sees that, or we see his row. The sweep tries again."""
        try:
            if not await self._store.needs(card.token):
                await self._numbers.suspend(card.token)
                if await self._store.needs(card.token):
                    await self._numbers.reactivate(card.token)
                else:
                    await self._numbers.erase(card.token)
            await self._store.forget_token(card)
        except Exception as error:
            log.warning("card_number_not_erased_yet", card=str(card.id), reason=type(error).__name__)

    async def give_up(self, who: str, user_id: UUID) -> None:
        """All of them. Meets `switch.ports.platform.Belongings`."""
        for card in await self._store.of_user(user_id):
            await self.remove(who, user_id, card.id)

    # --- the sweep ----------------------------------------------------------------------------------------------------

    async def sweep(self, limit: int = 100) -> int:
        """End what was left open: by a process that died, by an outage, by a payer who never came back."""
        now_ms = self._clock.time_ms()
        cards = await self._store.open(now_ms, self._limits, limit)
        for card in cards:
            if not card.verification.voided:
                await self.give_back(card)
            if card.state is CardState.PENDING:
                if now_ms - card.verification.time_ms >= self._limits.proof_s * 1000:
                    await self._store.fail(card, now_ms, counts=True)
            elif card.token and card.state is CardState.REMOVED:
                await self._erase(card)
            elif card.token and now_ms - card.changed_time_ms >= self._limits.proof_days * 86_400_000:
                await self._erase(await self._store.remove(card.user_id, card.id, now_ms, "wallet/sweep"))
        return len(cards)
