"""How the vault's tables are asked."""

import re

import asyncpg
import pytest

from switch.store import vault as statements


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("_FIND_TOKENS", "token"),
        ("_FIND_LIVE", "pan_hash"),
        ("_MOVE", "token"),
        ("_ERASE", "token"),
        ("_NEXT_COUNTERS", "token"),
        ("_REDEEM", "token"),
    ],
)
async def test_no_statement_reads_all_of_a_requesters_tokens(tables: asyncpg.Pool, name: str, column: str) -> None:
    """By the plan of a table without statistics, the worst there is."""
    # What autovacuum has learnt of it in other tests is forgotten, and it learns nothing meanwhile.
    await tables.execute("ALTER TABLE payment_tokens SET (autovacuum_enabled = false)")
    await tables.execute("DELETE FROM pg_statistic WHERE starelid = 'payment_tokens'::regclass")
    await tables.execute("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE oid = 'payment_tokens'::regclass")
    await tables.execute("INSERT INTO token_data_keys VALUES ('shop', 1, 'vault/wrapping', '\\x00', 0)")
    await tables.execute(
        "INSERT INTO payment_tokens SELECT 'shop', g::text, 1, '1234', int8send(g), '\\x00', 1, 0, 0, 0"
        " FROM generate_series(1, 20000) AS g"
    )
    # So many that reading them all would cost: the size of the table's file is known without statistics, too.
    statement = getattr(statements, name)
    async with tables.acquire() as connection:
        parameters = (await connection.prepare(statement)).get_parameters()
        arguments = ", ".join("'{}'" if each.kind == "array" else "'0'" for each in parameters)
        await connection.execute(f"PREPARE examined AS {statement}")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE examined ({arguments})"))
        await connection.execute("DEALLOCATE examined")
    [condition] = re.findall(r"on payment_tokens p?.*\n\s*Index Cond: (.*)", plan)
    assert condition == f"((requester = $1) AND ({column} = ANY ($2)))"


async def test_no_statement_changes_an_access() -> None:
    texts = [each for each in vars(statements).values() if isinstance(each, str)]
    assert any("INSERT INTO token_accesses" in each for each in texts)
    assert not any(re.search(r"(UPDATE|DELETE FROM|TRUNCATE)\s+token_accesses", each) for each in texts)
