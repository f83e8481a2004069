"""API credentials: for a merchant's own machines. Made by people, never above their own role."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from switch.domain.access import CREDENTIAL_PREFIX, Caller, Role
from switch.domain.merchant_people import RANK, ApiCredential, hash_of, secret_text
from switch.domain.refusals import Invalid, Missing, NotPermitted, TooMany
from switch.merchants.alerts import Alert
from switch.merchants.people import rank_in
from switch.merchants.reach import check_reach, check_state, entry, fields_of
from switch.merchants.settings import DAY_MS, HOUR_MS, MerchantSettings
from switch.merchants.store import Books, MerchantStore
from switch.ports import Clock

# An owner's rights are a person's: what a machine may not do, a stolen secret may not either.
OF_MACHINES: Final = frozenset({Role.MERCHANT_MANAGER, Role.MERCHANT_CASHIER, Role.MERCHANT_VIEWER})


class Credentials:
    """entropy: number of bytes -> random bytes."""

    def __init__(
        self, store: MerchantStore, clock: Clock, entropy: Callable[[int], bytes], settings: MerchantSettings,
        alert: Alert,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._alert = alert

    async def create(
        self, caller: Caller, merchant_id: str, role: Role, label: str, valid_days: int, networks: tuple[str, ...]
    ) -> tuple[ApiCredential, str]:
        """The credential and its secret. Raises Missing, Invalid, NotPermitted, NotPossible, TooMany."""
        if role not in OF_MACHINES:
            raise Invalid("role", "must be that of a manager, cashier or viewer")
        now_ms = self._clock.time_ms()
        identity = f"{merchant_id}-{self._entropy(6).hex()}"
        secret = self._secret(identity)
        fresh = ApiCredential(
            identity, role, label, hash_of(secret), b"", 0, networks, caller.name, now_ms,
            now_ms + valid_days * DAY_MS,
        )  # fmt: skip

        async def work(books: Books) -> None:
            check_reach(caller, books.record)
            check_state(books.record)
            await _check_rank(books, caller, role)
            working = [each for each in await books.credentials() if each.works(now_ms)]
            if len(working) >= self._settings.credentials:
                raise TooMany(f"there are {len(working)} credentials")
            await books.keep_credential(fresh)
            await books.audit(
                entry(caller, books.record, "CreateApiCredential", _subject(fresh), after=fields_of(fresh))
            )

        await self._store.change(merchant_id, work)
        self._alert(merchant_id, "credential", f"{caller.name} made {identity} as {role.name}")
        return fresh, secret

    async def rotate(
        self, caller: Caller, merchant_id: str, credential_id: str, overlap_hours: int, valid_days: int
    ) -> tuple[ApiCredential, str]:
        """Another secret; the present one works on for overlap_hours. Raises Missing, NotPermitted."""
        now_ms = self._clock.time_ms()
        secret = self._secret(credential_id)

        def decide(before: ApiCredential) -> ApiCredential:
            # No longer than it would have lasted without.
            until_ms = min(now_ms + overlap_hours * HOUR_MS, before.expires_time_ms)
            return replace(
                before, secret_hash=hash_of(secret), previous_hash=before.secret_hash if overlap_hours else b"",
                previous_until_ms=until_ms if overlap_hours else 0, expires_time_ms=now_ms + valid_days * DAY_MS,
                rotated_by=caller.name,
            )  # fmt: skip

        return await self._decide(caller, merchant_id, credential_id, "RotateApiCredential", decide), secret

    async def revoke(self, caller: Caller, merchant_id: str, credential_id: str) -> None:
        """Raises Missing, NotPermitted."""
        now_ms = self._clock.time_ms()

        def decide(before: ApiCredential) -> ApiCredential:
            return replace(before, revoked_time_ms=now_ms)

        await self._decide(caller, merchant_id, credential_id, "RevokeApiCredential", decide)

    async def _decide(
        self, caller: Caller, merchant_id: str, credential_id: str, act: str,
        decide: Callable[[ApiCredential], ApiCredential],
    ) -> ApiCredential:  # fmt: skip
        now_ms = self._clock.time_ms()

        async def work(books: Books) -> ApiCredential:
            check_reach(caller, books.record)
            found = [each for each in await books.credentials() if each.id == credential_id and each.works(now_ms)]
            if not found:
                raise Missing("credential_id: there is no such credential")
            [before] = found
            await _check_rank(books, caller, before.role)
            after = decide(before)
            await books.keep_credential(after)
            await books.audit(entry(caller, books.record, act, _subject(after), fields_of(before), fields_of(after)))
            return after

        return await self._store.change(merchant_id, work)

    async def of(self, caller: Caller, merchant_id: str) -> list[ApiCredential]:
        """Those that work. Raises Missing."""
        now_ms = self._clock.time_ms()

        async def work(books: Books) -> list[ApiCredential]:
            check_reach(caller, books.record)
            return [each for each in await books.credentials() if each.works(now_ms)]

        return await self._store.read(merchant_id, work)

    def _secret(self, identity: str) -> str:
        return secret_text(CREDENTIAL_PREFIX, identity, self._entropy(32))


async def _check_rank(books: Books, caller: Caller, role: Role) -> None:
    if RANK[role] > await rank_in(books, caller):
        raise NotPermitted("the credential's role is above the caller's")


def _subject(credential: ApiCredential) -> str:
    return f"credential/{credential.id}"
