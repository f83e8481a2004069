"""The vault's door: every call says who asks, is permitted or forbidden as a whole, and answers each item in order."""

import re
import secrets
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from switch.domain.money import Money
from switch.domain.payment_token import (
    TRANSITIONS,
    OneTimePayment,
    PaymentToken,
    Refusal,
    TokenScheme,
    TokenState,
)
from switch.domain.sensitive import Pan
from switch.ports import Clock, Hsm, StoredToken, TokenStore
from switch.vault.accesses import access
from switch.vault.format_preserving import FormatPreservingTokens
from switch.vault.one_time import REFUSED_STATES, OneTimePayments
from switch.vault.random_tokens import RandomTokens
from switch.vault.roles import READABLE, Action, Caller, permit
from switch.vault.rotation import rotate_wrapping
from switch.vault.sealing import Sealing
from switch.vault.settings import VaultSettings

T = TypeVar("T")

REDEEMED: Final = "one-time payment redeemed"
MAX_REASON: Final = 200
_PAN_LIKE: Final = re.compile(r"\d{13}", re.ASCII)


class SchemeChanged(Exception):
    """The settings give this requester another scheme than its tokens were made by."""


class Vault:
    """Tokens of many requesters.

    Every call raises Forbidden, StoreUnavailable, SchemeChanged, ValueError (a bug of the caller's), or the HSM's own
    error where it cannot do its part: nothing was given out then. What is wrong with one item is a `Refusal` in its
    place. entropy(n) -> n random bytes.
    """

    def __init__(
        self,
        hsm: Hsm,
        store: TokenStore,
        clock: Clock,
        settings: VaultSettings | None = None,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._settings = settings or VaultSettings()
        self._hsm = hsm
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._sealing = Sealing(hsm, store, self._settings)
        self._random = RandomTokens(store, self._sealing, self._settings, entropy)
        self._format_preserving = FormatPreservingTokens(hsm, self._settings)
        self._payments = OneTimePayments(hsm, store, self._sealing, self._settings, entropy)
        self._kept_schemes: set[str] = set()

    async def tokenize(self, caller: Caller, requester: str, pans: Sequence[Pan]) -> list[PaymentToken | Refusal]:
        """One live token per requester and PAN: the one there is, suspended ones too, or a new one.

        NOT_A_PAN; NOT_SUPPORTED (format-preserving: not 16 digits); BROKEN; EXHAUSTED.
        """
        scheme = await self._enter(caller, Action.TOKENIZE, requester, pans)
        if scheme is TokenScheme.FORMAT_PRESERVING:
            return await self._format_preserving.tokenize(requester, pans)
        return await self._random.tokenize(requester, pans, self._clock.time_ms())

    async def look_up(self, caller: Caller, requester: str, pans: Sequence[Pan]) -> list[PaymentToken | Refusal]:
        """As `tokenize`, without making any: UNKNOWN where there is none."""
        scheme = await self._enter(caller, Action.LOOK_UP, requester, pans)
        if scheme is TokenScheme.FORMAT_PRESERVING:
            return await self._format_preserving.tokenize(requester, pans)
        return await self._random.look_up(requester, pans)

    async def show(self, caller: Caller, requester: str, tokens: Sequence[str]) -> list[PaymentToken | Refusal]:
        """State and last four digits. UNKNOWN; NOT_SUPPORTED under the format-preserving scheme."""
        if await self._enter(caller, Action.SHOW, requester, tokens) is TokenScheme.FORMAT_PRESERVING:
            return [Refusal.NOT_SUPPORTED] * len(tokens)
        return [_shown(each) for each in await self._store.find_tokens(requester, tokens)]

    async def detokenize(
        self, caller: Caller, requester: str, tokens: Sequence[str], reason: str
    ) -> list[Pan | Refusal]:
        """The PANs, each behind a durable row of the access log with `reason` (1 to 200 characters, no number that
        could be a PAN). UNKNOWN, SUSPENDED (but for DISPUTES), DELETED, BROKEN.
        """
        if not 0 < len(reason) <= MAX_REASON or not reason.isprintable() or _PAN_LIKE.search(reason):
            raise ValueError("a reason has 1 to 200 printable characters, and no 13 digits in a row")
        if await self._enter(caller, Action.DETOKENIZE, requester, tokens) is TokenScheme.FORMAT_PRESERVING:
            found = await self._format_preserving.detokenize(requester, tokens)
        else:
            found = await self._opened(caller, requester, tokens)
        now_ms = self._clock.time_ms()
        given = [token for token, pan in zip(tokens, found, strict=True) if isinstance(pan, Pan)]
        if given:
            await self._store.keep_accesses(
                [access(caller, requester, token, reason, now_ms, self._entropy) for token in given]
            )
        return found

    async def _opened(self, caller: Caller, requester: str, tokens: Sequence[str]) -> list[Pan | Refusal]:
        readable = READABLE[caller.role]
        rows = await self._store.find_tokens(requester, tokens)
        opened = iter(await self._sealing.open([row for row in rows if row and row.token.state in readable]))
        answers: list[Pan | Refusal] = []
        for row in rows:
            if row is None:
                answers.append(Refusal.UNKNOWN)
            elif row.token.state in readable:
                answers.append(next(opened))
            else:
                answers.append(REFUSED_STATES[row.token.state])
        return answers

    async def set_state(
        self, caller: Caller, requester: str, tokens: Sequence[str], state: TokenState
    ) -> list[PaymentToken | Refusal]:
        """The tokens as they are then; one that is in `state` already stays so. DELETED cannot be undone: it erases.

        UNKNOWN; TRANSITION where the table does not permit it; NOT_SUPPORTED under the format-preserving scheme.
        """
        if await self._enter(caller, Action.SET_STATE, requester, tokens) is TokenScheme.FORMAT_PRESERVING:
            return [Refusal.NOT_SUPPORTED] * len(tokens)
        sources = [each for each, following in TRANSITIONS.items() if state in following]
        await self._store.move(requester, tokens, sources, state)
        shown = [_shown(each) for each in await self._store.find_tokens(requester, tokens)]
        return [each if isinstance(each, Refusal) or each.state is state else Refusal.TRANSITION for each in shown]

    async def issue_payments(
        self, caller: Caller, requester: str, wanted: Sequence[tuple[str, Money]]
    ) -> list[OneTimePayment | Refusal]:
        """A one-time payment for each (token, amount), good for `payment_lifetime_ms`.

        UNKNOWN, SUSPENDED, DELETED, EXHAUSTED; NOT_SUPPORTED under the format-preserving scheme.
        """
        if await self._enter(caller, Action.ISSUE_PAYMENT, requester, wanted) is TokenScheme.FORMAT_PRESERVING:
            return [Refusal.NOT_SUPPORTED] * len(wanted)
        return await self._payments.issue(requester, wanted, self._clock.time_ms())

    async def redeem(self, caller: Caller, requester: str, payments: Sequence[OneTimePayment]) -> list[Pan | Refusal]:
        """The PAN of each payment, once ever, with a row of the access log in the same transaction.

        payments: with the amount that is charged. Counters only grow: a payment that is redeemed makes the earlier ones
        of its token void. UNKNOWN, SUSPENDED, DELETED, EXPIRED, REPLAYED, CRYPTOGRAM, TOO_MANY_FAILURES, BROKEN;
        NOT_SUPPORTED under the format-preserving scheme.
        """
        if await self._enter(caller, Action.REDEEM, requester, payments) is TokenScheme.FORMAT_PRESERVING:
            return [Refusal.NOT_SUPPORTED] * len(payments)
        now_ms = self._clock.time_ms()
        return await self._payments.redeem(
            requester,
            payments,
            lambda token: access(caller, requester, token, REDEEMED, now_ms, self._entropy),
            now_ms,
        )

    async def rotate_wrapping(self, caller: Caller, new_label: str) -> int:
        """All data keys under the HSM's key `new_label`; returns how many moved. See `switch.vault.rotation`."""
        permit(caller, Action.ROTATE_WRAPPING, None)
        return await rotate_wrapping(self._hsm, self._store, new_label)

    async def _enter(self, caller: Caller, action: Action, requester: str, items: Sequence[T]) -> TokenScheme:
        """Permitted, within bounds, and under the scheme that this requester has had from the first."""
        permit(caller, action, requester)
        if len(items) > self._settings.max_batch:
            raise ValueError(f"a call has at most {self._settings.max_batch} items")
        scheme = self._settings.scheme_of(requester)
        if requester in self._kept_schemes:
            return scheme
        if action is Action.TOKENIZE:
            kept: TokenScheme | None = await self._store.keep_scheme(requester, scheme)
        else:
            kept = await self._store.scheme(requester)
        if kept is None:
            return scheme
        if kept is not scheme:
            raise SchemeChanged(f"the tokens of {requester} were not made by the scheme {scheme.name}")
        self._kept_schemes.add(requester)
        return scheme


def _shown(stored: StoredToken | None) -> PaymentToken | Refusal:
    return Refusal.UNKNOWN if stored is None else stored.token
