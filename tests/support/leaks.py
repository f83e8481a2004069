"""Looking for what must never be seen: in the database, Redis, the servers' files, the logs, the pages."""

import base64
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import redis.asyncio as redis

from switch.demo.environment import Environment


class Canaries:
    """What was sent, in every form in which it could leak."""

    def __init__(self) -> None:
        self._forms: dict[bytes, str] = {}

    def text(self, what: str, secret: str) -> None:
        """As it is, in base64 and as hex of the ASCII; digits also packed, whose hex is the digits again."""
        self._forms[secret.encode()] = what
        if secret.isdecimal():
            self._forms[bytes.fromhex(secret[: len(secret) // 2 * 2])] = f"{what}, packed"
        self._encoded(what, secret.encode())

    def binary(self, what: str, secret: bytes) -> None:
        """As bytes, as hex and as base64."""
        self._forms[secret] = what
        self._encoded(what, secret)

    def _encoded(self, what: str, secret: bytes) -> None:
        for form in (secret.hex(), secret.hex().upper()):
            self._forms[form.encode()] = f"{what}, hex"
        self._forms[base64.b64encode(secret).rstrip(b"=")[:-1]] = f"{what}, base64"

    def found_in(self, content: bytes) -> list[str]:
        return [what for form, what in self._forms.items() if form in content]


async def database_dump(environment: Environment) -> bytes:
    """Every row of every table, as JSON: bytea comes as hex."""
    connection = await asyncpg.connect(environment.postgres.dsn())
    try:
        tables = await connection.fetch("SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r' "
                                        "AND relnamespace = 'public'::regnamespace")  # fmt: skip
        rows: list[str] = []
        for table in tables:
            found = await connection.fetch(f"SELECT row_to_json(t)::text AS row FROM {table['name']} t")
            rows += [each["row"] for each in found]
        return "\n".join(rows).encode()
    finally:
        await connection.close()


async def redis_dump(environment: Environment) -> bytes:
    """Every key and every value."""
    client = redis.Redis.from_url(environment.redis.url())
    found: list[bytes] = []
    try:
        async for key in client.scan_iter():
            kind = (await client.type(key)).decode()
            readers = {
                "string": lambda key: client.get(key),
                "hash": lambda key: client.hgetall(key),
                "set": lambda key: client.smembers(key),
                "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
                "list": lambda key: client.lrange(key, 0, -1),
            }
            found += [key, repr(await readers[kind](key)).encode()]
    finally:
        await client.aclose()
    return b"\n".join(found)


def files_of(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Without their long runs of zeros: a fresh write-ahead log is hardly anything else."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield path, path.read_bytes().replace(bytes(1024), b"")


async def pages_of(environment: Environment) -> str:
    """What anybody in the private network reads."""
    names = ("metrics", "readyz?verbose")
    return "".join([await environment.get_text(f"{environment.operations_url}/{name}") for name in names])


async def seen_in(environment: Environment, canaries: Canaries) -> dict[str, list[str]]:
    """By the place where something was seen; empty if all is well."""
    places = {
        "database": await database_dump(environment),
        "redis": await redis_dump(environment),
        "pages": (await pages_of(environment)).encode(),
    }
    seen = {name: found for name, content in places.items() if (found := canaries.found_in(content))}
    # The write-ahead log keeps what a row once was, and a server's own log may quote a statement.
    folders = (environment.state_dir / name for name in ("log", "postgres", "redis"))
    return seen | {str(path): found for path, content in files_of(*folders) if (found := canaries.found_in(content))}
