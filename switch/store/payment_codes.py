"""Devices that make payment codes, and the codes that were used: one statement for a batch of each."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from switch.domain.audit import AuditEntry
from switch.domain.code_device import CodeClaim, CodeDevice
from switch.store import audit_trail
from switch.store.sessions import Connection, Pool, Retry, Sessions

_FIND = """
SELECT d.number, d.user_id, d.device_id, d.sealed_secret, d.wrong, d.wrong_since_ms, k.token, k.expiry_yymm
FROM unnest($1::bigint[]) AS w (number)
JOIN code_devices AS d ON d.number = w.number
LEFT JOIN cards AS k ON k.user_id = d.user_id AND k.is_default
"""

# An insert that meets another's waits for it, and then does nothing: of any number at once one gets the code.
_CLAIM = """
WITH claimed AS (
    INSERT INTO payment_code_claims (number, step, sequence, authorization_id)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::uuid[])
    ON CONFLICT DO NOTHING
    RETURNING number, step, sequence, authorization_id)
SELECT count(*) AS count, array_agg(number) AS numbers, array_agg(step) AS steps, array_agg(sequence) AS sequences,
       array_agg(authorization_id) AS authorization_ids
FROM claimed
"""

_HOLDERS = """
SELECT c.number, c.step, c.sequence, c.authorization_id
FROM unnest($1::bigint[], $2::bigint[], $3::smallint[]) AS w (number, step, sequence)
JOIN payment_code_claims AS c ON c.number = w.number AND c.step = w.step AND c.sequence = w.sequence
"""

_COUNT_WRONG = """
UPDATE code_devices AS d
SET wrong = CASE WHEN $3 - d.wrong_since_ms < $4 THEN d.wrong + n.wrong ELSE n.wrong END,
    wrong_since_ms = CASE WHEN $3 - d.wrong_since_ms < $4 THEN d.wrong_since_ms ELSE $3 END
FROM unnest($1::bigint[], $2::integer[]) AS n (number, wrong)
WHERE d.number = n.number
"""

_ENROL = """
INSERT INTO code_devices (number, user_id, device_id, sealed_secret, wrong, wrong_since_ms, created_time_ms)
VALUES ($1, $2, $3, $4, 0, 0, $5)
ON CONFLICT (number) DO NOTHING
"""

_WITHDRAW = "DELETE FROM code_devices WHERE user_id = $1 AND device_id = $2"
_WITHDRAW_ALL = "DELETE FROM code_devices WHERE user_id = $1 RETURNING device_id"

_Code = tuple[int, int, int]


class PostgresPaymentCodes:
    """Meets `switch.users.code_store.CodeStore`."""

    def __init__(self, pool: Pool, *, acquire_timeout_s: float = 2.0) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s)

    async def find(self, numbers: Sequence[int]) -> dict[int, CodeDevice]:
        rows = await self._sessions.run(lambda connection: connection.fetch(_FIND, numbers))
        return {row["number"]: _device(row) for row in rows}

    async def claim(self, claims: Sequence[CodeClaim]) -> list[UUID | None]:
        """Of two fresh claims of one code in a batch the first is given it."""
        fresh = sorted({_code(each): each for each in reversed(claims) if each.fresh}.items())
        holders: dict[_Code, UUID] = {}
        if fresh:
            columns = _columns([code for code, _ in fresh])
            ids = [each.authorization_id for _, each in fresh]
            row = await self._sessions.run(lambda connection: connection.fetchrow(_CLAIM, *columns, ids))
            assert row is not None  # an aggregate always has one row
            if row["count"] == len(fresh) == len(claims):
                return [each.authorization_id for each in claims]
            if row["count"]:
                found = zip(row["numbers"], row["steps"], row["sequences"], strict=True)
                holders = dict(zip(found, row["authorization_ids"], strict=True))
        missing = sorted({_code(each) for each in claims} - holders.keys())
        if missing:
            rows = await self._sessions.run(lambda connection: connection.fetch(_HOLDERS, *_columns(missing)))
            holders |= {(row["number"], row["step"], row["sequence"]): row["authorization_id"] for row in rows}
        return [holders.get(_code(each)) for each in claims]

    async def count_wrong(self, wrong: Mapping[int, int], now_ms: int, window_ms: int) -> None:
        # In one order everywhere: two batches cannot wait for each other in a circle.
        numbers = sorted(wrong)
        arguments = numbers, [wrong[each] for each in numbers], now_ms, window_ms
        await self._sessions.run(lambda connection: connection.execute(_COUNT_WRONG, *arguments))

    async def enrol(self, device: CodeDevice, who: str, now_ms: int) -> bool:
        async def work(connection: Connection) -> bool:
            before = await connection.execute(_WITHDRAW, device.user_id, device.device_id)
            row = device.number, device.user_id, device.device_id, device.sealed_secret, now_ms
            try:
                status = await connection.execute(_ENROL, *row)
            except asyncpg.UniqueViolationError:
                raise Retry("the device is being enrolled by another call") from None
            if status == "INSERT 0 0":
                raise _Taken
            codes = {"payment_codes": before != "DELETE 0"}
            await _audit(connection, who, "EnrolPaymentCodes", device.device_id, codes, {"payment_codes": True})
            return True

        try:
            return await self._sessions.transaction(work)
        except _Taken:
            return False

    async def withdraw(self, user_id: UUID, device_id: UUID, who: str) -> bool:
        async def work(connection: Connection) -> bool:
            if await connection.execute(_WITHDRAW, user_id, device_id) == "DELETE 0":
                return False
            before = {"payment_codes": True}
            await _audit(connection, who, "WithdrawPaymentCodes", device_id, before, {"payment_codes": False})
            return True

        return await self._sessions.transaction(work)

    async def withdraw_all(self, user_id: UUID, who: str) -> None:
        async def work(connection: Connection) -> None:
            for row in await connection.fetch(_WITHDRAW_ALL, user_id):
                before, after = {"payment_codes": True}, {"payment_codes": False}
                await _audit(connection, who, "WithdrawPaymentCodes", row["device_id"], before, after)

        await self._sessions.transaction(work)


class _Taken(Exception):
    """The number is another device's: nothing is changed."""


async def _audit(
    connection: Connection, who: str, act: str, device_id: UUID, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    entry = AuditEntry("", who, f"WalletService.{act}", f"device/{device_id}", before, after)
    await audit_trail.append(connection, entry)


def _code(claim: CodeClaim) -> _Code:
    return claim.number, claim.step, claim.sequence


def _columns(codes: Sequence[_Code]) -> list[list[int]]:
    return [list(each) for each in zip(*codes, strict=True)]


def _device(row: asyncpg.Record) -> CodeDevice:
    return CodeDevice(
        row["number"], row["user_id"], row["device_id"], row["sealed_secret"], row["wrong"], row["wrong_since_ms"],
        row["token"] or "", row["expiry_yymm"] or "",
    )  # fmt: skip
