"""The vault's tables: tokens, data keys, accesses. Every statement but those of a rotation names one requester."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg

from switch.domain.payment_token import PaymentToken, TokenScheme, TokenState, is_token
from switch.ports import DataKey, StoredToken, TokenAccess
from switch.store.sessions import Connection, Pool, Sessions

_KEEP_SCHEME = "INSERT INTO token_requesters (requester, scheme) VALUES ($1, $2) ON CONFLICT DO NOTHING"

_SCHEME = "SELECT scheme FROM token_requesters WHERE requester = $1"

_DATA_KEY = "SELECT requester, period, wrapping_key, wrapped FROM token_data_keys WHERE requester = $1 AND period = $2"

_KEEP_DATA_KEY = """
INSERT INTO token_data_keys (requester, period, wrapping_key, wrapped, created_time_ms) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
"""

_STORED = """
SELECT p.requester, p.token, p.state, p.last_four, p.created_time_ms, p.pan_hash, p.sealed_pan, p.redeemed_counter,
       p.period, k.wrapping_key, k.wrapped
FROM payment_tokens AS p JOIN token_data_keys AS k ON k.requester = p.requester AND k.period = p.period
"""

_FIND_TOKENS = _STORED + "WHERE p.requester = $1 AND p.token = ANY ($2::text[])"

_FIND_LIVE = _STORED + "WHERE p.requester = $1 AND p.pan_hash = ANY ($2::bytea[]) AND p.pan_hash <> ''"

_INSERT = """
INSERT INTO payment_tokens (
    requester, token, state, last_four, pan_hash, sealed_pan, period, issued_counter, redeemed_counter,
    created_time_ms)
SELECT $1, n.token, n.state, n.last_four, n.pan_hash, n.sealed_pan, n.period, 0, 0, n.created_time_ms
FROM unnest($2::text[], $3::smallint[], $4::text[], $5::bytea[], $6::bytea[], $7::integer[], $8::bigint[])
    AS n (token, state, last_four, pan_hash, sealed_pan, period, created_time_ms)
ON CONFLICT DO NOTHING RETURNING pan_hash
"""

_MOVE = """
UPDATE payment_tokens SET state = $4
WHERE requester = $1 AND token = ANY ($2::text[]) AND state = ANY ($3::smallint[])
"""

_ERASE = """
UPDATE payment_tokens SET state = 3, last_four = '', pan_hash = '', sealed_pan = ''
WHERE requester = $1 AND token = ANY ($2::text[]) AND state = ANY ($3::smallint[])
"""

# Where rows are joined to a list, `= ANY` of the same list comes first: until the table has statistics the planner
# thinks a requester's tokens few, and for the join alone would read them all.
_NEXT_COUNTERS = """
UPDATE payment_tokens AS p SET issued_counter = p.issued_counter + n.count
FROM unnest($2::text[], $3::integer[]) AS n (token, count)
WHERE p.requester = $1 AND p.token = ANY ($2::text[]) AND p.token = n.token AND p.state = 1
  AND p.issued_counter + n.count <= 65535
RETURNING p.token, p.issued_counter
"""

# Who waits for the row's lock sees the row as the one before left it: the condition is asked again then.
_REDEEM = """
WITH redeemed AS (
    UPDATE payment_tokens AS p SET redeemed_counter = n.counter
    FROM unnest($2::text[], $3::integer[]) AS n (token, counter)
    WHERE p.requester = $1 AND p.token = ANY ($2::text[]) AND p.token = n.token AND p.state = 1
      AND p.redeemed_counter < n.counter AND n.counter <= p.issued_counter
    RETURNING p.token),
kept AS (
    INSERT INTO token_accesses (requester, token, id, who, role, reason, time_ms)
    SELECT $1, n.token, n.id, n.who, n.role, n.reason, n.time_ms
    FROM unnest($2::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::bigint[])
        AS n (token, id, who, role, reason, time_ms)
    WHERE n.token IN (SELECT token FROM redeemed))
SELECT token FROM redeemed
"""

_KEEP_ACCESSES = """
INSERT INTO token_accesses (requester, token, id, who, role, reason, time_ms)
SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::bigint[])
"""

_NOT_UNDER = """
SELECT requester, period, wrapping_key, wrapped FROM token_data_keys
WHERE wrapping_key <> $1 ORDER BY requester, period LIMIT $2
"""

_REWRAP = """
UPDATE token_data_keys AS k SET wrapping_key = n.wrapping_key, wrapped = n.wrapped
FROM unnest($1::text[], $2::integer[], $3::bytea[], $4::text[], $5::bytea[])
    AS n (requester, period, before, wrapping_key, wrapped)
WHERE k.requester = n.requester AND k.period = n.period AND k.wrapped = n.before
"""


class PostgresTokenStore:
    """Meets `switch.ports.TokenStore`."""

    def __init__(self, pool: Pool, *, acquire_timeout_s: float = 2.0) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    async def scheme(self, requester: str) -> TokenScheme | None:
        rows = await self._fetch(_SCHEME, requester)
        return TokenScheme(rows[0]["scheme"]) if rows else None

    async def keep_scheme(self, requester: str, scheme: TokenScheme) -> TokenScheme:
        async def work(connection: Connection) -> TokenScheme:
            await connection.execute(_KEEP_SCHEME, requester, scheme)
            return TokenScheme(await connection.fetchval(_SCHEME, requester))

        return await self._sessions.transaction(work)

    # --- data keys ----------------------------------------------------------------------------------------------------

    async def data_key(self, requester: str, period: int) -> DataKey | None:
        rows = await self._fetch(_DATA_KEY, requester, period)
        return _data_key_from(rows[0]) if rows else None

    async def keep_data_key(self, fresh: DataKey, now_ms: int) -> DataKey:
        async def work(connection: Connection) -> DataKey:
            await connection.execute(
                _KEEP_DATA_KEY, fresh.requester, fresh.period, fresh.wrapping_key, fresh.wrapped, now_ms
            )
            row = await connection.fetchrow(_DATA_KEY, fresh.requester, fresh.period)
            assert row is not None  # data keys are never deleted
            return _data_key_from(row)

        return await self._sessions.transaction(work)

    async def data_keys_not_under(self, wrapping_key: str, limit: int) -> list[DataKey]:
        return [_data_key_from(row) for row in await self._fetch(_NOT_UNDER, wrapping_key, limit)]

    async def rewrap(self, changes: Sequence[tuple[DataKey, DataKey]]) -> int:
        befores, afters = [before for before, _ in changes], [after for _, after in changes]
        status = await self._sessions.run(
            lambda connection: connection.execute(
                _REWRAP,
                [each.requester for each in afters],
                [each.period for each in afters],
                [each.wrapped for each in befores],
                [each.wrapping_key for each in afters],
                [each.wrapped for each in afters],
            )
        )
        return int(status.removeprefix("UPDATE "))

    # --- tokens -------------------------------------------------------------------------------------------------------

    async def find_tokens(self, requester: str, tokens: Sequence[str]) -> list[StoredToken | None]:
        rows = await self._fetch(_FIND_TOKENS, requester, _names(tokens))
        found = {row["token"]: _stored_from(row) for row in rows}
        return [found.get(each) for each in tokens]

    async def find_live(self, requester: str, pan_hashes: Sequence[bytes]) -> list[StoredToken | None]:
        rows = await self._fetch(_FIND_LIVE, requester, list(set(pan_hashes)))
        found = {row["pan_hash"]: _stored_from(row) for row in rows}
        return [found.get(each) for each in pan_hashes]

    async def insert(self, tokens: Sequence[StoredToken]) -> list[bool]:
        if not tokens:
            return []
        # In one order everywhere: two batches with the same PANs cannot wait for each other in a circle.
        ordered = sorted(tokens, key=lambda each: each.pan_hash)
        rows = await self._fetch(
            _INSERT,
            tokens[0].token.requester,
            [each.token.digits for each in ordered],
            [each.token.state for each in ordered],
            [each.token.last_four for each in ordered],
            [each.pan_hash for each in ordered],
            [each.sealed_pan for each in ordered],
            [each.data_key.period for each in ordered],
            [each.token.created_time_ms for each in ordered],
        )
        inserted = {row["pan_hash"] for row in rows}
        return [each.pan_hash in inserted for each in tokens]

    async def move(
        self, requester: str, tokens: Sequence[str], sources: Sequence[TokenState], target: TokenState
    ) -> None:
        names = _names(tokens)
        if target is TokenState.DELETED:
            await self._fetch(_ERASE, requester, names, list(sources))
        else:
            await self._fetch(_MOVE, requester, names, list(sources), target)

    async def next_counters(self, requester: str, tokens: Sequence[str]) -> list[int | None]:
        wanted = Counter(tokens)
        names = _names(tokens)
        rows = await self._fetch(_NEXT_COUNTERS, requester, names, [wanted[each] for each in names])
        last = {row["token"]: row["issued_counter"] for row in rows}
        counters: list[int | None] = []
        for each in tokens:
            counters.append(last[each] - wanted[each] + 1 if each in last else None)
            wanted[each] -= 1
        return counters

    async def redeem(self, redemptions: Sequence[tuple[TokenAccess, int]]) -> list[bool]:
        if not redemptions:
            return []
        ordered = sorted(redemptions, key=lambda each: each[0].token)
        accesses = [access for access, _ in ordered]
        rows = await self._fetch(
            _REDEEM,
            accesses[0].requester,
            [each.token for each in accesses],
            [counter for _, counter in ordered],
            *_access_columns(accesses),
        )
        redeemed = {row["token"] for row in rows}
        return [access.token in redeemed for access, _ in redemptions]

    async def keep_accesses(self, accesses: Sequence[TokenAccess]) -> None:
        requesters, tokens = [each.requester for each in accesses], [each.token for each in accesses]
        await self._fetch(_KEEP_ACCESSES, requesters, tokens, *_access_columns(accesses))


def _names(tokens: Sequence[str]) -> list[str]:
    """Each token once. What is none, such as text that PostgreSQL cannot hold, is not looked for."""
    return sorted({each for each in tokens if is_token(each)})


def _access_columns(accesses: Sequence[TokenAccess]) -> tuple[list[Any], ...]:
    return (
        [each.id for each in accesses],
        [each.who for each in accesses],
        [each.role for each in accesses],
        [each.reason for each in accesses],
        [each.time_ms for each in accesses],
    )


def _data_key_from(row: asyncpg.Record) -> DataKey:
    return DataKey(row["requester"], row["period"], row["wrapping_key"], row["wrapped"])


def _stored_from(row: asyncpg.Record) -> StoredToken:
    token = PaymentToken(
        row["requester"], row["token"], TokenState(row["state"]), row["last_four"], row["created_time_ms"]
    )
    return StoredToken(token, row["pan_hash"], row["sealed_pan"], _data_key_from(row), row["redeemed_counter"])
