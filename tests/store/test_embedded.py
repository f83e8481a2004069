"""The embedded servers: beside others, twice, after an interrupted run, under long paths."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis

from switch.store.embedded import EmbeddedPostgres, EmbeddedRedis, EmbeddedServerError
from switch.store.embedded.places import LONGEST_SOCKET_PATH

QUICK = {"fsync": "off", "shared_buffers": "16MB"}

LEFT_RUNNING = """
import asyncio, sys
import structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
from switch.store.embedded import EmbeddedPostgres, EmbeddedRedis
print(asyncio.run(EmbeddedPostgres(sys.argv[1], {"fsync": "off", "shared_buffers": "16MB"}).start()))
print(asyncio.run(EmbeddedRedis(sys.argv[2]).start()), flush=True)
sys.stdin.read()
"""


def postmaster(directory: Path) -> int:
    return int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def ask(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def pong(url: str) -> bool:
    async with redis.Redis.from_url(url) as client:
        return bool(await client.ping())


async def test_postgres_twice_keeps_its_data_and_listens_on_no_port(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", QUICK)
    dsn = await server.start()
    assert await ask(dsn, "SHOW listen_addresses") == ""
    assert await ask(dsn, "SHOW shared_buffers") == "16MB"
    await ask(dsn, "CREATE TABLE kept ()")
    await server.stop()
    with pytest.raises(OSError):  # noqa: PT011 - refused or no such file
        await ask(dsn, "SELECT 1")
    assert await server.start() == dsn
    assert await ask(dsn, "SELECT to_regclass('kept') IS NOT NULL")
    await server.stop()
    await server.stop()


async def test_two_users_of_one_directory_and_two_directories(tmp_path: Path) -> None:
    first, second = EmbeddedPostgres(tmp_path / "pg", QUICK), EmbeddedPostgres(tmp_path / "pg", QUICK)
    other = EmbeddedPostgres(tmp_path / "other", QUICK)
    dsn, same, another = await asyncio.gather(first.start(), second.start(), other.start())
    assert dsn == same != another
    await first.stop()
    assert await ask(dsn, "SELECT 1") == 1  # still used by the second
    await second.stop()
    with pytest.raises(OSError):  # noqa: PT011 - refused or no such file
        await ask(dsn, "SELECT 1")
    assert await ask(another, "SELECT 1") == 1
    await other.stop()


async def test_a_killed_user_leaves_servers_that_are_used_again(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", LEFT_RUNNING, str(tmp_path / "pg"), str(tmp_path / "redis")]
    user = await asyncio.create_subprocess_exec(
        *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert user.stdout is not None
    dsn, url = [(await user.stdout.readline()).decode().strip() for _ in range(2)]
    user.kill()
    await user.communicate()
    pid = postmaster(tmp_path / "pg")
    postgres, cache = EmbeddedPostgres(tmp_path / "pg", QUICK), EmbeddedRedis(tmp_path / "redis")
    assert (await postgres.start(), await cache.start()) == (dsn, url)
    assert postmaster(tmp_path / "pg") == pid
    assert await ask(dsn, "SELECT 1") == 1
    assert await pong(url)
    await postgres.stop()
    await cache.stop()
    with pytest.raises(OSError):  # noqa: PT011 - refused or no such file
        await ask(dsn, "SELECT 1")


async def test_postgres_killed_and_its_pid_taken_by_a_stranger(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", QUICK)
    dsn = await server.start()
    await ask(dsn, "CREATE TABLE kept ()")
    pid_file = tmp_path / "pg" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid = int(lines[0])
    for each in (*children(pid), pid):
        os.kill(each, signal.SIGKILL)
    await asyncio.sleep(0.1)
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert await server.start() == dsn
    assert await ask(dsn, "SELECT to_regclass('kept') IS NOT NULL")
    await server.stop()


async def test_an_interrupted_initdb_starts_over(tmp_path: Path) -> None:
    half = tmp_path / "pg" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(tmp_path / "pg", QUICK)
    assert await ask(await server.start(), "SELECT 1") == 1
    await server.stop()


async def test_long_paths_with_spaces(tmp_path: Path) -> None:
    deep = tmp_path / ("long name 'quoted' " * 3) / ("x" * LONGEST_SOCKET_PATH)
    postgres, cache = EmbeddedPostgres(deep / "pg", QUICK), EmbeddedRedis(deep / "redis")
    assert await ask(await postgres.start(), "SELECT 1") == 1
    assert await pong(await cache.start())
    await postgres.stop()
    await cache.stop()


async def test_a_path_with_spaces_that_is_short_enough(tmp_path: Path) -> None:
    postgres, cache = EmbeddedPostgres(tmp_path / "a b'c", QUICK), EmbeddedRedis(tmp_path / "r %20 s")
    assert await ask(await postgres.start(), "SELECT 1") == 1
    assert await pong(await cache.start())
    await postgres.stop()
    await cache.stop()


async def test_redis_twice_and_after_a_kill(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "redis")
    url = await server.start()
    pid = int((tmp_path / "redis" / "redis.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.05)
    assert await server.start() == url
    assert await pong(url)
    await server.stop()
    with pytest.raises(redis.ConnectionError):
        await pong(url)
    assert await server.start() == url
    await server.stop()
    await server.stop()


async def test_an_unusable_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for server in (EmbeddedPostgres(tmp_path / "file" / "pg"), EmbeddedRedis(tmp_path / "file" / "redis")):
        with pytest.raises(EmbeddedServerError, match="cannot make"):
            await server.start()
