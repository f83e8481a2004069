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


async def ask(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def pong(url: str) -> bool:
    async with redis.Redis.from_url(url) as client:
        return bool(await client.ping())


async def test_postgres_twice_keeps_its_data_and_listens_on_no_port(server_directory: Path) -> None:
    server = EmbeddedPostgres(server_directory / "pg", QUICK)
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


async def test_two_users_of_one_directory_and_two_directories(server_directory: Path) -> None:
    first, second = EmbeddedPostgres(server_directory / "pg", QUICK), EmbeddedPostgres(server_directory / "pg", QUICK)
    other = EmbeddedPostgres(server_directory / "other", QUICK)
    dsn, same, another = await asyncio.gather(first.start(), second.start(), other.start())
    assert dsn == same != another
    await first.stop()
    assert await ask(dsn, "SELECT 1") == 1  # still used by the second
    await second.stop()
    with pytest.raises(OSError):  # noqa: PT011 - refused or no such file
        await ask(dsn, "SELECT 1")
    assert await ask(another, "SELECT 1") == 1
    await other.stop()


async def test_a_killed_user_leaves_servers_that_are_used_again(server_directory: Path) -> None:
    arguments = [sys.executable, "-c", LEFT_RUNNING, str(server_directory / "pg"), str(server_directory / "redis")]
    user = await asyncio.create_subprocess_exec(
        *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert user.stdout is not None
    dsn, url = [(await user.stdout.readline()).decode().strip() for _ in range(2)]
    user.kill()
    await user.communicate()
    pid = postmaster(server_directory / "pg")
    postgres, cache = EmbeddedPostgres(server_directory / "pg", QUICK), EmbeddedRedis(server_directory / "redis")
    assert (await postgres.start(), await cache.start()) == (dsn, url)
    assert postmaster(server_directory / "pg") == pid
    assert await ask(dsn, "SELECT 1") == 1
    assert await pong(url)
    await postgres.stop()
    await cache.stop()
    with pytest.raises(OSError):  # noqa: PT011 - refused or no such file
        await ask(dsn, "SELECT 1")


async def test_postgres_killed_and_its_pid_taken_by_a_stranger(server_directory: Path) -> None:
    server = EmbeddedPostgres(server_directory / "pg", QUICK)
    dsn = await server.start()
    await ask(dsn, "CREATE TABLE kept ()")
    pid_file = server_directory / "pg" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid = int(lines[0])
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.1)
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert await server.start() == dsn
    assert await ask(dsn, "SELECT to_regclass('kept') IS NOT NULL")
    await server.stop()


async def test_backends_of_a_killed_server_are_waited_for(server_directory: Path) -> None:
    """A second server over the same files beside them would destroy the files."""
    server = EmbeddedPostgres(server_directory / "pg", QUICK)
    dsn = await server.start()
    busy = await asyncpg.connect(dsn)
    backend = await busy.fetchval("SELECT pg_backend_pid()")
    os.kill(backend, signal.SIGSTOP)
    os.kill(postmaster(server_directory / "pg"), signal.SIGKILL)
    await asyncio.sleep(0.1)
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(1)
    assert not starting.done()
    os.kill(backend, signal.SIGCONT)
    assert await starting == dsn
    busy.terminate()
    assert await ask(dsn, "SELECT 1") == 1
    await server.stop()


async def test_an_interrupted_initdb_starts_over(server_directory: Path) -> None:
    half = server_directory / "pg" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(server_directory / "pg", QUICK)
    assert await ask(await server.start(), "SELECT 1") == 1
    await server.stop()


async def test_long_paths_with_spaces(server_directory: Path) -> None:
    deep = server_directory / ("long name 'quoted' " * 3) / ("x" * LONGEST_SOCKET_PATH)
    postgres, cache = EmbeddedPostgres(deep / "pg", QUICK), EmbeddedRedis(deep / "redis")
    dsn, url = await postgres.start(), await cache.start()
    assert await ask(dsn, "SELECT 1") == 1
    assert await pong(url)
    await postgres.stop()
    await cache.stop()
    short = Path(url.removeprefix("unix://").partition("?")[0]).parent
    assert deep not in short.parents
    assert short.name not in os.listdir(short.parent)  # nothing stays behind in the temporary directory


async def test_a_path_with_spaces_that_is_short_enough(server_directory: Path) -> None:
    postgres, cache = EmbeddedPostgres(server_directory / "a b'c", QUICK), EmbeddedRedis(server_directory / "r %20 s")
    assert await ask(await postgres.start(), "SELECT 1") == 1
    assert await pong(await cache.start())
    await postgres.stop()
    await cache.stop()


async def test_redis_twice_and_after_a_kill(server_directory: Path) -> None:
    server = EmbeddedRedis(server_directory / "redis")
    url = await server.start()
    pid = int((server_directory / "redis" / "redis.pid").read_text())
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


async def test_an_unusable_directory_is_said(server_directory: Path) -> None:
    (server_directory / "file").write_text("")
    for server in (
        EmbeddedPostgres(server_directory / "file" / "pg"),
        EmbeddedRedis(server_directory / "file" / "redis"),
    ):
        with pytest.raises(EmbeddedServerError, match="cannot make"):
            await server.start()
