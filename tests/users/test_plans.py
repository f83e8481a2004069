import re

from people_scene import Scene

from switch.store import users, users_codes, users_devices, users_factors, users_notices, users_sessions

MODULES = (users, users_codes, users_devices, users_factors, users_notices, users_sessions)
STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, str) and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE) ", value)
}


def test_the_statements_are_found() -> None:
    assert len(STATEMENTS) > 40


async def plan_of(scene: Scene, statement: str) -> str:
    """The generic one, under the pool's own settings."""
    count = max(int(each) for each in re.findall(r"\$(\d+)", statement))
    async with scene.database.acquire() as connection:
        await connection.execute(f"PREPARE looked_at AS {statement}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE looked_at ({', '.join(['NULL'] * count)})")
        await connection.execute("DEALLOCATE looked_at")
    return "\n".join(row[0] for row in rows)


def reads_all(plan: str) -> bool:
    """A table, or an index from end to end."""
    scans = re.findall(r"Index Scan|Index Only Scan", plan)
    return "Seq Scan" in plan or len(scans) > plan.count("Index Cond")


async def test_every_statement_is_a_look_up(scene: Scene) -> None:
    """No table is read as a whole, whatever the statistics say."""
    plans = {name: await plan_of(scene, statement) for name, statement in STATEMENTS.items()}
    assert {name: plan for name, plan in plans.items() if reads_all(plan)} == {}


async def test_sweeping_is_by_an_index(scene: Scene) -> None:
    for table, time, _ in users_notices._OLD:
        statement = users_notices._sweeping(table, time)
        before = await plan_of(scene, statement)
        await scene.database.execute(f"ANALYZE {table}")
        for plan in (before, await plan_of(scene, statement)):
            assert not reads_all(plan), plan
