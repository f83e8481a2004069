"""Refunds by a merchant's people: within a limit at once, above it with another person's approval."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from switch.domain.access import MERCHANT_ROLES, Caller, Role
from switch.domain.authorization import Authorization, FollowOn, FollowOnRequest
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.refund import HOLDERS, TRANSITIONS, Refund, RefundLimit, RefundState, role_holder, sendable
from switch.domain.refusals import Exists, Invalid, Missing, NotPermitted, NotPossible
from switch.domain.states import Operation, State
from switch.merchants.page_tokens import PageTokens
from switch.payments.errors import NotAnswered, Overloaded, TransmissionTimeRefused, Unavailable
from switch.ports import Clock, StoreUnavailable
from switch.ports.platform import Payments

log = structlog.get_logger()

_SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
_LAST: Final = UUID(int=(1 << 128) - 1)
_LEASE_MS: Final = 30_000
_APPROVABLE_MS: Final = 7 * 86_400_000

# (merchant_id, authorization_id) -> minor units that are disputed and so not the merchant's to give back.
Disputed = Callable[[str, UUID], Awaitable[int]]
# An API credential's id -> `Caller.name` of the people who were told its secret.
ToldSecrets = Callable[[str], Awaitable[frozenset[str]]]


class RefundStore(Protocol):
    """Met by `switch.store.refunds.PostgresRefunds`."""

    async def by_key(self, merchant_id: str, idempotency_key: str) -> Refund | None: ...

    async def find(self, merchant_id: str, refund_id: UUID) -> Refund | None: ...

    async def listed(self, merchant_id: str, state: RefundState | None, before: UUID, limit: int) -> list[Refund]: ...

    async def waiting_minor(self, merchant_id: str, authorization_id: UUID) -> int: ...

    async def request(self, refund: Refund, caller: Caller, act: str) -> Refund: ...

    async def change(
        self, merchant_id: str, refund_id: UUID, changed: Callable[[Refund], Refund], who: str = "", act: str = ""
    ) -> Refund: ...

    async def claim_due(self, now_ms: int, lease_ms: int, limit: int) -> list[Refund]: ...

    async def follow_on(self, refund: Refund) -> FollowOn | None: ...

    async def limits(self, merchant_id: str) -> list[RefundLimit]: ...

    async def set_limit(self, merchant_id: str, limit: RefundLimit, who: str, act: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What a refund is asked for with."""

    merchant_id: str
    authorization_id: UUID
    money: Money
    reason: str
    idempotency_key: str


class Refunds:
    """disputed: None where there are no disputes. told_secrets: None where it is not known."""

    def __init__(
        self, store: RefundStore, payments: Payments, tokens: PageTokens, clock: Clock,
        disputed: Disputed | None = None, told_secrets: ToldSecrets | None = None,
    ) -> None:  # fmt: skip
        self._store = store
        self._payments = payments
        self._tokens = tokens
        self._clock = clock
        self._disputed = disputed
        self._told_secrets = told_secrets

    async def request(self, caller: Caller, asked: Asked) -> Refund:
        """Raises Missing, NotPossible with what remains, Exists, NotPermitted."""
        stored = await self._store.by_key(asked.merchant_id, asked.idempotency_key)
        if stored is None:
            original = await self._refundable(asked.merchant_id, asked.authorization_id, asked.money)
            fresh = self._new(caller, asked, original)
            stored = await self._store.request(fresh, caller, "RefundService.RequestRefund")
        content = (stored.authorization_id, stored.money, stored.reason, stored.requested_by)
        if content != (asked.authorization_id, asked.money, asked.reason, caller.name):
            raise Exists("idempotency_key was used with other content")
        return await self._send(stored) if stored.state is RefundState.SENDING else stored

    def _new(self, caller: Caller, asked: Asked, original: Authorization) -> Refund:
        now_ms = self._clock.time_ms()
        return Refund(
            asked.merchant_id,
            computed_id("refund", asked.merchant_id, now_ms, asked.idempotency_key),
            asked.authorization_id,
            asked.idempotency_key,
            asked.money,
            asked.reason,
            RefundState.WAITING,
            caller.name,
            HOLDERS[role_holder(caller)],
            datetime.fromtimestamp(now_ms / 1000, _SHANGHAI).date().isoformat(),
            original.acquirer_id,
            now_ms,
            now_ms,
        )

    async def _refundable(
        self, merchant_id: str, authorization_id: UUID, money: Money, *, own_minor: int = 0
    ) -> Authorization:
        """The payment, if that much of it may be given back. The journal decides in the end, under its lock.

        own_minor: of what waits, this refund's own.
        """
        original = await self._payments.find(merchant_id, authorization_id)
        if original is None:
            raise Missing("no such payment")
        if money.currency != original.money.currency:
            raise Invalid("amount.currency", "is not the payment's")
        if original.state is not State.APPROVED:
            raise NotPossible(f"the payment is {original.state.name}")
        disputed_minor = await self._disputed(merchant_id, authorization_id) if self._disputed else 0
        waiting_minor = await self._store.waiting_minor(merchant_id, authorization_id) - own_minor
        remaining_minor = original.captured_minor - original.refunded_minor - disputed_minor - waiting_minor
        if money.amount_minor > remaining_minor:
            parts = {
                "captured": original.captured_minor,
                "refunded or on its way": original.refunded_minor,
                "disputed": disputed_minor,
                "waiting for approval": waiting_minor,
            }
            told = ", ".join(f"{name} {amount_minor}" for name, amount_minor in parts.items())
            raise NotPossible(f"at most {max(0, remaining_minor)} minor units remain to be refunded: {told}")
        return original

    async def approve(self, caller: Caller, merchant_id: str, refund_id: UUID) -> Refund:
        """By another person. A repeat by the same one is answered with the refund as it stands."""
        if caller.user_id is None:
            raise NotPermitted("a refund is approved by a person, not by an API credential")
        waiting = await self.find(caller, merchant_id, refund_id)
        await self._check_not_by_his_machine(caller, waiting)
        now_ms = self._clock.time_ms()
        if waiting.state is RefundState.WAITING and now_ms - waiting.created_time_ms > _APPROVABLE_MS:
            await self._store.change(merchant_id, refund_id, lambda refund: _to(refund, RefundState.EXPIRED, now_ms))
            raise NotPossible("the refund was not approved in time; ask for it again")
        if waiting.state is RefundState.WAITING:
            own_minor = waiting.money.amount_minor
            await self._refundable(merchant_id, waiting.authorization_id, waiting.money, own_minor=own_minor)

        def approved(refund: Refund) -> Refund:
            if refund.requested_by.partition("/")[2] == caller.person:
                raise NotPermitted("another person must approve it")
            if refund.decided_by == caller.name and refund.state not in (RefundState.WAITING, RefundState.DECLINED):
                return refund
            _open(refund)
            return replace(sendable(refund, now_ms), decided_by=caller.name)

        stored = await self._store.change(merchant_id, refund_id, approved, caller.name, "RefundService.ApproveRefund")
        return await self._send(stored) if stored.state is RefundState.SENDING else stored

    async def _check_not_by_his_machine(self, caller: Caller, refund: Refund) -> None:
        """What a credential asked for, whoever has its secret may have asked for.

        An owner sets the limits: he needs no such way around them.
        """
        kind, _, credential_id = refund.requested_by.partition("/")
        if kind != "credential" or Role.MERCHANT_OWNER in caller.roles:
            return
        if self._told_secrets is None or caller.name in await self._told_secrets(credential_id):
            raise NotPermitted(
                "another person must approve it: the caller knows the secret of the credential that asked"
            )

    async def decline(self, caller: Caller, merchant_id: str, refund_id: UUID, reason: str) -> Refund:
        now_ms = self._clock.time_ms()

        def declined(refund: Refund) -> Refund:
            if refund.decided_by == caller.name and refund.state is RefundState.DECLINED:
                return refund
            _open(refund)
            told = replace(refund, decided_by=caller.name, decision_reason=reason)
            return _to(told, RefundState.DECLINED, now_ms)

        return await self._store.change(merchant_id, refund_id, declined, caller.name, "RefundService.DeclineRefund")

    async def find(self, caller: Caller, merchant_id: str, refund_id: UUID) -> Refund:
        """A cashier finds his own."""
        refund = await self._store.find(merchant_id, refund_id)
        cashier = caller.roles & MERCHANT_ROLES == {Role.MERCHANT_CASHIER}
        if refund is None or (cashier and refund.requested_by != caller.name):
            raise Missing("no such refund")
        return refund

    async def listed(
        self, merchant_id: str, state: RefundState | None, size: int, token: str
    ) -> tuple[list[Refund], str]:
        """Newest first, and the next page's token."""
        question = f"refunds\x1f{merchant_id}\x1f{state}"
        before = await self._tokens.read(question, token) or _LAST
        rows = await self._store.listed(merchant_id, state, before, size + 1)
        more = rows[size - 1].id if len(rows) > size else None
        return rows[:size], await self._tokens.issue(question, more)

    async def limits(self, merchant_id: str) -> list[RefundLimit]:
        return await self._store.limits(merchant_id)

    async def set_limit(self, caller: Caller, merchant_id: str, limit: RefundLimit) -> None:
        await self._store.set_limit(merchant_id, limit, caller.name, "RefundService.SetRefundLimit")

    # --- on the road --------------------------------------------------------------------------------------------------

    async def resume(self, limit: int = 50) -> int:
        """Go on with what a dead process left or the channel had not answered; returns how many were looked at."""
        due = await self._store.claim_due(self._clock.time_ms(), _LEASE_MS, limit)
        for refund in due:
            if refund.state is RefundState.SENDING:
                await self._send(refund)
            else:
                await self._conclude(refund, await self._store.follow_on(refund))
        return len(due)

    async def _send(self, refund: Refund) -> Refund:
        """Under the same identity every time: however often it is sent it is one refund."""
        request = FollowOnRequest(
            Operation.REFUND, refund.acquirer_id, refund.merchant_id, refund.authorization_id, refund.road_key,
            refund.transmission_time_ms, refund.money,
        )  # fmt: skip
        try:
            answer: FollowOn | None = await self._payments.follow_on(request)
        except (Unavailable, Overloaded, StoreUnavailable) as error:
            log.warning("refund_not_answered", refund=str(refund.id), reason=str(error))
            return refund  # it is sent again
        except TransmissionTimeRefused as error:
            # Too old to be sent: what the journal has of it now is all that there will ever be.
            answer = await self._store.follow_on(refund)
            if answer is None:
                return await self._failed(refund, "", f"it could not be sent in time: {error}")
        except NotAnswered as error:
            return await self._failed(refund, "", str(error))
        return await self._conclude(refund, answer)

    async def _conclude(self, refund: Refund, answer: FollowOn | None) -> Refund:
        now_ms = self._clock.time_ms()
        if answer is None or answer.state in (State.SENT, State.UNKNOWN):
            following = RefundState.PENDING
        elif answer.state is State.APPROVED:
            following = RefundState.DONE
        else:
            return await self._failed(refund, answer.response_code, answer.reason)
        code, told = (answer.response_code, answer.reason) if answer is not None else ("", "")
        return await self._store.change(
            refund.merchant_id,
            refund.id,
            lambda stored: (
                _to(replace(stored, response_code=code, response_reason=told), following, now_ms)
                if following in TRANSITIONS[stored.state]
                else stored
            ),
        )

    async def _failed(self, refund: Refund, code: str, reason: str) -> Refund:
        now_ms = self._clock.time_ms()

        def failed(stored: Refund) -> Refund:
            if RefundState.FAILED not in TRANSITIONS[stored.state]:
                return stored
            return _to(replace(stored, response_code=code, response_reason=reason), RefundState.FAILED, now_ms)

        return await self._store.change(refund.merchant_id, refund.id, failed)


def _open(refund: Refund) -> None:
    if refund.state is not RefundState.WAITING:
        raise NotPossible(f"the refund is {refund.state.name}")


def _to(refund: Refund, following: RefundState, now_ms: int) -> Refund:
    return replace(refund, state=following, changed_time_ms=now_ms)
