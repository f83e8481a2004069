"""An audit trail that begins empty, and what somebody with the database's password may do to it."""

from pathlib import Path

import asyncpg

from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token
from switch.domain.audit import AuditEntry
from switch.store import audit_trail
from switch.wiring.audit import SIGNING_KEY


async def empty_trail(connection: asyncpg.Connection | asyncpg.Pool) -> None:
    await connection.execute(
        "DELETE FROM audit_trail; DELETE FROM audit_checkpoints;"
        " UPDATE audit_chain SET sequence = 0, hash = decode(repeat('00', 32), 'hex')"
    )


async def add(pool: asyncpg.Pool, *acts: str, who: str = "operator/ann", merchant_id: str = "m1") -> None:
    """Each in a transaction of its own."""
    for act in acts:
        async with pool.acquire() as connection, connection.transaction():
            await audit_trail.append(
                connection, AuditEntry(merchant_id, who, act, f"thing/{act}", {"was": 1}, {"is": "新"})
            )


def signing_hsm(directory: Path) -> DirectHsm:
    hsm = DirectHsm.open(create_token(directory))
    hsm.store.ensure(SIGNING_KEY, KeyUsage.SIGNING)
    return hsm


# By what they are called: what is done to a chain of six entries, and how the finding begins.
TAMPERINGS = {
    "changed": ("UPDATE audit_trail SET after = '{}' WHERE sequence = 3", "entry 3 (act 3 "),
    "whose-changed": ("UPDATE audit_trail SET who = 'operator/bob' WHERE sequence = 1", "entry 1 (act 1 "),
    "removed": ("DELETE FROM audit_trail WHERE sequence = 4", "entry 4 is missing, before entry 5"),
    "first-removed": ("DELETE FROM audit_trail WHERE sequence <= 2", "entries 1 to 2 are missing, before entry 3"),
    "inserted": (
        "UPDATE audit_trail SET sequence = sequence + 100 WHERE sequence > 3;"
        " UPDATE audit_trail SET sequence = sequence - 99 WHERE sequence > 100;"
        " INSERT INTO audit_trail SELECT merchant_id, gen_random_uuid(), who, 'forged', subject, before, after,"
        " time_ms, 4, hash FROM audit_trail WHERE sequence = 3",
        "entry 4 (forged ",
    ),
    "swapped": (
        "UPDATE audit_trail SET sequence = -1 WHERE sequence = 2;"
        " UPDATE audit_trail SET sequence = 2 WHERE sequence = 5;"
        " UPDATE audit_trail SET sequence = 5 WHERE sequence = -1",
        "entry 2 (act 5 ",
    ),
    "hash-changed": ("UPDATE audit_trail SET hash = sha256(hash) WHERE sequence = 6", "entry 6 (act 6 "),
    "cut-off": ("DELETE FROM audit_trail WHERE sequence > 4", "entries 5 to 6 are missing: the end was cut off"),
    "taken-out-of-the-chain": ("UPDATE audit_trail SET sequence = NULL WHERE sequence = 2", "entry 2 is missing"),
    "all-removed": ("DELETE FROM audit_trail", "entries 1 to 6 are missing"),
}
