"""What others ask of merchants, by key: who may act for one, its profile, its contract, its stores, its standing."""

import time
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import asyncpg

from switch.domain.access import CREDENTIAL_PREFIX, Credential, Role
from switch.domain.contract import Contract
from switch.domain.merchant import MerchantProfile, MerchantState
from switch.domain.merchant_people import hash_of, is_merchant_id, parse_secret
from switch.domain.merchant_standing import Standings
from switch.ports import Hsm, StoreUnavailable
from switch.store import merchant_rows as rows
from switch.store.sessions import Pool, Sessions

# HSM key that account numbers are sealed under.
SEAL_KEY: Final = "merchants/seal"
# A credential's last use is written at most so often: reading is all that a call costs otherwise.
_LAST_USED_STEP_MS: Final = 3_600_000
_PAGE: Final = 5_000

_PROFILE = rows.MERCHANTS + "WHERE merchant_id = $1"

_ROLE = """
SELECT p.role, m.state FROM merchant_members AS p JOIN merchants AS m ON m.merchant_id = p.merchant_id
WHERE p.merchant_id = $1 AND p.user_id = $2
"""

_CREDENTIAL = """
SELECT c.*, m.state AS merchant_state
FROM merchant_credentials AS c JOIN merchants AS m ON m.merchant_id = c.merchant_id
WHERE c.merchant_id = $1 AND c.id = $2
"""
_USED = """
UPDATE merchant_credentials SET last_used_time_ms = $3
WHERE merchant_id = $1 AND id = $2 AND last_used_time_ms <= $3 - $4::bigint
"""

# 2: APPROVED, of contracts and accounts.
_CONTRACTS = """
SELECT c.merchant_id, c.version, c.from_day, c.currency, c.rates, c.reserve_basis_points, c.reserve_days,
       c.refunds_return_fee, a.id, a.account_name, a.sealed_number, a.bank_code
FROM unnest($1::text[]) AS n (merchant_id)
CROSS JOIN LATERAL (
    SELECT * FROM merchant_contracts AS v
    WHERE v.merchant_id = n.merchant_id AND v.state = 2 AND v.from_day <= $2 ORDER BY v.version DESC LIMIT 1) AS c
LEFT JOIN LATERAL (
    SELECT * FROM merchant_accounts AS s
    WHERE s.merchant_id = n.merchant_id AND s.state = 2 AND s.in_force_time_ms <= $3
    ORDER BY s.in_force_time_ms DESC, s.id DESC LIMIT 1) AS a ON true
"""

_STORES_OF_TERMINALS = "SELECT terminal_id, store_id FROM merchant_terminals WHERE merchant_id = $1"

_NOW = "SELECT now_ms()"
_MERCHANTS_CHANGED = "SELECT merchant_id, state FROM merchants WHERE changed_time_ms >= $1"
_TERMINALS_CHANGED = "SELECT merchant_id, terminal_id, active FROM merchant_terminals WHERE changed_time_ms >= $1"
_MERCHANTS_FROM = "SELECT merchant_id, state FROM merchants WHERE merchant_id > $1 ORDER BY merchant_id LIMIT $2"
_TERMINALS_FROM = """
SELECT merchant_id, terminal_id, active FROM merchant_terminals WHERE (merchant_id, terminal_id) > ($1, $2)
ORDER BY merchant_id, terminal_id LIMIT $3
"""


class PostgresMerchants:
    """Meets `Merchants` and `MerchantAccess` of `switch.ports.platform`, and `switch.merchants.store.StandingStore`.

    hsm: opens account numbers; without it a contract has none.
    """

    def __init__(
        self,
        pool: Pool,
        hsm: Hsm | None = None,
        time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        *,
        acquire_timeout_s: float = 2.0,
    ) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s)
        self._hsm = hsm
        self._time_ms = time_ms

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    # --- who may act --------------------------------------------------------------------------------------------------

    async def role_of(self, merchant_id: str, user_id: UUID) -> Role | None:
        """At a merchant that is closed, whoever had a role may only read."""
        if not is_merchant_id(merchant_id):
            return None
        found = await self._fetch(_ROLE, merchant_id, user_id)
        if not found:
            return None
        return Role.MERCHANT_VIEWER if found[0]["state"] == MerchantState.CLOSED else Role(found[0]["role"])

    async def credential(self, secret: str) -> Credential | None:
        """None at a merchant that is closed, too."""
        named = parse_secret(CREDENTIAL_PREFIX, secret)
        found = await self._fetch(_CREDENTIAL, *named) if named else []
        if not named or not found or found[0]["merchant_state"] == MerchantState.CLOSED:
            return None
        credential, now_ms = rows.credential_from(found[0]), self._time_ms()
        if not credential.proves(hash_of(secret), now_ms):
            return None
        if credential.last_used_time_ms <= now_ms - _LAST_USED_STEP_MS:
            await self._fetch(_USED, *named, now_ms, _LAST_USED_STEP_MS)
        return Credential(credential.id, named[0], credential.role, credential.networks)

    async def told_secrets_of(self, credential_id: str) -> frozenset[str]:
        """`Caller.name` of who made it, and of who rotated it last. Empty where there is no such credential."""
        found = await self._fetch(_CREDENTIAL, credential_id.partition("-")[0], credential_id)
        return frozenset({found[0]["created_by"], found[0]["rotated_by"]} - {""}) if found else frozenset()

    # --- what others need to know -------------------------------------------------------------------------------------

    async def profile(self, merchant_id: str) -> MerchantProfile | None:
        found = await self._fetch(_PROFILE, merchant_id) if is_merchant_id(merchant_id) else []
        return rows.merchant_from(found[0]).profile if found else None

    async def contracts(self, merchant_ids: Sequence[str], day: str) -> dict[str, Contract]:
        """The bank account is the one in force now; empty where there is none. Raises StoreUnavailable without HSM."""
        ids = sorted({each for each in merchant_ids if is_merchant_id(each)})
        if not ids:
            return {}
        found = await self._fetch(_CONTRACTS, ids, date.fromisoformat(day), self._time_ms())
        numbers = await self._numbers([each for each in found if each["id"] is not None])
        contracts = {}
        for row in found:
            contract = rows.contract_from(row)
            if contract.merchant_id in numbers:
                contract = Contract(
                    contract.merchant_id, contract.version, contract.from_day, contract.currency, contract.rates,
                    contract.reserve_basis_points, contract.reserve_days, contract.refunds_return_fee,
                    row["account_name"], numbers[contract.merchant_id], row["bank_code"],
                )  # fmt: skip
            contracts[contract.merchant_id] = contract
        return contracts

    async def _numbers(self, found: list[asyncpg.Record]) -> dict[str, str]:
        if self._hsm is None or not found:
            return {}
        items = [(SEAL_KEY, row["sealed_number"], sealed_with(row["merchant_id"], row["id"])) for row in found]
        numbers = {}
        for row, clear in zip(found, await self._hsm.unseal(items), strict=True):
            if isinstance(clear, Exception):
                raise StoreUnavailable(f"an account number cannot be opened: {type(clear).__name__}")
            numbers[row["merchant_id"]] = clear.decode()
        return numbers

    async def stores_of_terminals(self, merchant_id: str) -> dict[str, str]:
        if not is_merchant_id(merchant_id):
            return {}
        return {row["terminal_id"]: row["store_id"] for row in await self._fetch(_STORES_OF_TERMINALS, merchant_id)}

    # --- for the watch ------------------------------------------------------------------------------------------------

    async def standings(self, since_ms: int) -> Standings:
        [now] = await self._fetch(_NOW)
        if since_ms:
            merchants = await self._fetch(_MERCHANTS_CHANGED, since_ms)
            terminals = await self._fetch(_TERMINALS_CHANGED, since_ms)
        else:
            merchants = await self._all(_MERCHANTS_FROM, ("merchant_id",))
            terminals = await self._all(_TERMINALS_FROM, ("merchant_id", "terminal_id"))
        return Standings(
            {row["merchant_id"]: MerchantState(row["state"]) for row in merchants},
            {(row["merchant_id"], row["terminal_id"]): row["active"] for row in terminals},
            now[0],
        )

    async def _all(self, statement: str, key: tuple[str, ...]) -> list[asyncpg.Record]:
        """In pages: each stays well within a command's time."""
        found: list[asyncpg.Record] = []
        after = ("",) * len(key)
        while page := await self._fetch(statement, *after, _PAGE):
            found += page
            after = tuple(page[-1][each] for each in key)
        return found


def sealed_with(merchant_id: str, account_id: UUID) -> bytes:
    """What a sealed account number is bound to, so that it opens in no other row."""
    return f"{merchant_id}/{account_id}".encode()
