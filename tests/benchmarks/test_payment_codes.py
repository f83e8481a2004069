"""The benchmark in small: every code it makes is opened, and it says what it measured."""

from pathlib import Path

import asyncpg

from benchmarks import payment_codes


async def test_a_small_run_opens_every_code(database: asyncpg.Pool, tmp_path: Path) -> None:
    await database.execute(
        "DELETE FROM token_accesses WHERE requester = 'wallet'; DELETE FROM payment_tokens WHERE requester = 'wallet';"
        " DELETE FROM token_data_keys WHERE requester = 'wallet'; DELETE FROM cards; DELETE FROM code_devices;"
        " DELETE FROM payment_code_claims"
    )
    hsm = payment_codes.make_hsm(tmp_path / "token")
    try:
        scene = await payment_codes.make_scene(database, hsm, 20)
        figures = await payment_codes.measure(scene, 300)
    finally:
        hsm.close()
    assert figures.codes == 300
    assert await database.fetchval("SELECT count(*) FROM payment_code_claims WHERE step > 1") == 600
    assert await database.fetchval("SELECT count(*) FROM token_accesses WHERE reason = 'payment code'") == 600
    assert [line.split("  ")[0].split(" 300")[0] for line in figures.lines()][:2] == ["codes", "generated"]
