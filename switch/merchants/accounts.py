"""Where a merchant is paid out. Whoever can change that can take its money, so: a second factor, two people, a wait."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final
from uuid import UUID

from switch.domain.access import Caller
from switch.domain.bank_account import BankAccount, masked
from switch.domain.merchant_record import AccountState, MerchantRecord, SettlementAccount, account_in_force
from switch.domain.refusals import Missing, NotPossible, TooMany
from switch.merchants.alerts import Alert
from switch.merchants.reach import check_another, check_reach, check_state, entry, fields_of
from switch.merchants.settings import MerchantSettings
from switch.merchants.store import Books, MerchantStore
from switch.ports import Clock, Hsm, StoreUnavailable

Sealer = Callable[[str, UUID], bytes]
_CHANGED: Final = "settlement_account"


class Accounts:
    """seal_key: HSM label. bound_to: (merchant, account id) -> what a sealed number is bound to."""

    def __init__(
        self, store: MerchantStore, hsm: Hsm, seal_key: str, bound_to: Sealer, clock: Clock,
        entropy: Callable[[int], bytes], settings: MerchantSettings, alert: Alert,
    ) -> None:  # fmt: skip
        self._store = store
        self._hsm = hsm
        self._seal_key = seal_key
        self._bound_to = bound_to
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._alert = alert

    async def sealed(self, caller: Caller, merchant_id: str, account: BankAccount, now_ms: int) -> SettlementAccount:
        """A proposal that is not kept yet. Raises StoreUnavailable without the HSM."""
        identity = UUID(bytes=self._entropy(16))
        number = account.number.encode()
        [sealed] = await self._hsm.seal([(self._seal_key, number, self._bound_to(merchant_id, identity))])
        if isinstance(sealed, Exception):
            raise StoreUnavailable(f"the account number cannot be sealed: {type(sealed).__name__}")
        return SettlementAccount(
            identity, AccountState.PROPOSED, account.name, sealed, masked(account.number), account.bank_code,
            caller.name, now_ms,
        )  # fmt: skip

    async def propose(self, caller: Caller, merchant_id: str, account: BankAccount) -> SettlementAccount:
        """Raises Missing, NotPossible while another change is on its way, TooMany, StoreUnavailable."""
        now_ms = self._clock.time_ms()
        proposed = await self.sealed(caller, merchant_id, account, now_ms)

        async def work(books: Books) -> None:
            check_reach(caller, books.record)
            check_state(books.record)
            there = await books.accounts()
            if any(_on_its_way(each, now_ms) for each in there):
                raise NotPossible("another account is on its way: cancel that first")
            if len(there) >= self._settings.accounts:
                raise TooMany(f"there have been {len(there)} accounts")
            await books.keep_account(proposed)
            shown = fields_of(proposed)
            subject = f"account/{proposed.id}"
            await books.audit(entry(caller, books.record, "ProposeSettlementAccount", subject, after=shown))

        await self._store.change(merchant_id, work)
        self._alert(merchant_id, _CHANGED, f"{caller.name} proposed {proposed.masked_number}")
        return proposed

    async def approve(self, caller: Caller, merchant_id: str, account_id: UUID) -> SettlementAccount:
        """In force after the cooling-off. Raises Missing, NotPossible, NotPermitted for who proposed it."""
        in_force_ms = self._clock.time_ms() + self._settings.account_cooling_off_ms

        def decide(before: SettlementAccount) -> SettlementAccount:
            if before.state is not AccountState.PROPOSED:
                raise NotPossible(f"the account is {before.state.name}")
            check_another(caller, before.proposed_by)
            return replace(before, state=AccountState.APPROVED, decided_by=caller.name, in_force_time_ms=in_force_ms)

        return await self._decide(caller, merchant_id, account_id, "ApproveSettlementAccount", decide)

    async def cancel(self, caller: Caller, merchant_id: str, account_id: UUID) -> SettlementAccount:
        """Raises Missing, NotPossible once it is in force."""
        now_ms = self._clock.time_ms()

        def decide(before: SettlementAccount) -> SettlementAccount:
            if not _on_its_way(before, now_ms):
                raise NotPossible("the account is not on its way any more")
            return replace(before, state=AccountState.CANCELLED, decided_by=caller.name)

        return await self._decide(caller, merchant_id, account_id, "CancelSettlementAccount", decide)

    async def _decide(
        self, caller: Caller, merchant_id: str, account_id: UUID, act: str,
        decide: Callable[[SettlementAccount], SettlementAccount],
    ) -> SettlementAccount:  # fmt: skip
        async def work(books: Books) -> SettlementAccount:
            check_reach(caller, books.record)
            check_state(books.record)
            before = next((each for each in await books.accounts() if each.id == account_id), None)
            if before is None:
                raise Missing("account_id: there is no such account")
            after = decide(before)
            await books.keep_account(after)
            subject = f"account/{account_id}"
            await books.audit(entry(caller, books.record, act, subject, fields_of(before), fields_of(after)))
            return after

        account = await self._store.change(merchant_id, work)
        text = f"{caller.name}: {account.masked_number} is {account.state.name}"
        self._alert(merchant_id, _CHANGED, text)
        return account

    async def of(self, caller: Caller, merchant_id: str) -> list[SettlementAccount]:
        """Newest first. Raises Missing."""

        async def work(books: Books) -> list[SettlementAccount]:
            check_reach(caller, books.record)
            return await books.accounts()

        return await self._store.read(merchant_id, work)

    async def merchant(self, caller: Caller, merchant_id: str) -> tuple[MerchantRecord, SettlementAccount | None]:
        """The merchant with the account that is in force. Raises Missing."""

        async def work(books: Books) -> tuple[MerchantRecord, SettlementAccount | None]:
            check_reach(caller, books.record)
            return books.record, account_in_force(await books.accounts(), self._clock.time_ms())

        return await self._store.read(merchant_id, work)


def _on_its_way(account: SettlementAccount, now_ms: int) -> bool:
    if account.state is AccountState.APPROVED:
        return now_ms < account.in_force_time_ms
    return account.state is AccountState.PROPOSED


def as_given(account: SettlementAccount) -> tuple[str, str, str]:
    """What can be told of it without opening its number."""
    return account.account_name, account.masked_number, account.bank_code
