"""The audit follower as a process runs it: behind the writers, until the lifecycle ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from audit_scene import add, empty_trail, signing_hsm

from switch.ops.lifecycle import Lifecycle
from switch.wiring.audit import CheckpointFile, open_audit


@pytest.fixture
async def trail(database: asyncpg.Pool) -> AsyncIterator[asyncpg.Pool]:
    await empty_trail(database)
    yield database
    await empty_trail(database)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.02)


async def test_what_is_added_is_chained_signed_and_exported_by_itself(trail: asyncpg.Pool, tmp_path: Path) -> None:
    hsm = signing_hsm(tmp_path / "token")
    path = tmp_path / "audit" / "checkpoints.jsonl"
    settings = SimpleNamespace(audit_checkpoint_path=path, audit=SimpleNamespace(checkpoint_s=1))
    lifecycle = Lifecycle(grace_s=0)
    foundation: Any = SimpleNamespace(settings=settings, lifecycle=lifecycle, pool=trail, hsm=SimpleNamespace(hsm=hsm))
    await add(trail, "first", "second")
    open_audit(foundation)
    await until(lambda: CheckpointFile(path).last_sequence() == 2)
    await add(trail, "third")
    await until(lambda: CheckpointFile(path).last_sequence() == 3)
    lifecycle.stop("test")
    assert await lifecycle.run() == 0
    hsm.close()


async def test_without_the_key_entries_are_chained_all_the_same(trail: asyncpg.Pool, tmp_path: Path) -> None:
    class Keyless:
        async def sign(self, items: Any) -> list[Exception]:
            return [OSError("away") for _ in items]

    settings = SimpleNamespace(audit_checkpoint_path=tmp_path / "none", audit=SimpleNamespace(checkpoint_s=1))
    lifecycle = Lifecycle(grace_s=0)
    foundation: Any = SimpleNamespace(
        settings=settings, lifecycle=lifecycle, pool=trail, hsm=SimpleNamespace(hsm=Keyless())
    )
    open_audit(foundation)
    for number in range(1, 3):
        await add(trail, f"act {number}")
        async with asyncio.timeout(60):
            while await trail.fetchval("SELECT sequence FROM audit_chain") < number:  # noqa: ASYNC110 - nor has a row
                await asyncio.sleep(0.02)
    lifecycle.stop("test")
    assert await lifecycle.run() == 0
    assert not (tmp_path / "none").exists()
