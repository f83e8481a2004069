"""The work of `payswitch audit`."""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import typer
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from hsm.errors import HsmError
from switch.command_database import EXIT_USAGE, Work, end
from switch.config import Settings
from switch.domain.audit_chain import ChainedEntry, ChainWalk, Checkpoint
from switch.ops.lifecycle import Lifecycle
from switch.store.audit_chain import AuditReader, AuditSnapshot, PostgresAuditChain
from switch.store.heavy import HeavyConnections
from switch.store.pool import create_pool
from switch.wiring.audit import SIGNING_KEY, CheckpointFile, follower_of
from switch.wiring.hsm import HsmAccess, open_hsm

EXIT_WHOLE, EXIT_BROKEN = 0, 1
_T = TypeVar("_T")
# What waits longer than this shows that nobody chains.
_LONG_MS: Final = 60_000


def verification(files: Sequence[Path], key_files: Sequence[Path]) -> Work:
    """files: of exported checkpoints; empty: the settings', if it is there. key_files: empty: the HSM's."""

    async def work(settings: Settings, url: str) -> int:
        exported = _exported(files or [settings.audit_checkpoint_path], required=bool(files))
        keys = [_public_key(each.read_bytes()) for each in key_files] or await _keys_of_hsm(settings)
        async with AuditReader(HeavyConnections(url)).open() as trail:
            return await _verify(trail, exported, verifier(keys))

    return work


async def _verify(trail: AuditSnapshot, exported: Sequence[Checkpoint], verify: Callable[[Checkpoint], None]) -> int:
    walk, findings = await walked(trail, exported, verify)
    for finding in findings:
        typer.echo(finding)
    waiting, oldest_ms = await trail.waiting()
    typer.echo(
        f"{walk.length} entries fit, {walk.proved} of them confirmed by checkpoints; {waiting} wait for their place"
    )
    if waiting and oldest_ms < time.time() * 1000 - _LONG_MS:
        typer.echo("warning: entries wait for a minute and more: is operations served by any process?", err=True)
    return EXIT_BROKEN if findings else EXIT_WHOLE


async def walked(
    trail: AuditSnapshot, exported: Sequence[Checkpoint], verify: Callable[[Checkpoint], None]
) -> tuple[ChainWalk, list[str]]:
    """(the walk at its end, what was found wrong on it)."""
    kept = await trail.checkpoints()
    walk = ChainWalk({*kept, *exported}, verify)
    findings = [
        f"the checkpoint of entry {each.sequence} was exported, and is not in the database"
        for each in sorted(set(exported) - set(kept), key=lambda each: each.sequence)
    ]
    async for entry in trail.chained():
        findings += walk.entry(entry)
    findings += walk.end(await trail.head())
    return walk, findings


def _exported(paths: Sequence[Path], required: bool) -> list[Checkpoint]:
    try:
        return [each for path in paths if required or path.exists() for each in CheckpointFile(path).read()]
    except ValueError as error:
        end(str(error), EXIT_USAGE)


def _public_key(pem: bytes) -> RSAPublicKey:
    try:
        key = load_pem_public_key(pem)
    except ValueError:
        key = None
    if not isinstance(key, RSAPublicKey):
        end("--public-key is no PEM of an RSA public key", EXIT_USAGE)
    return key


async def _keys_of_hsm(settings: Settings) -> list[RSAPublicKey]:
    """The current one and the one before, which signed what came before a rotation."""

    async def work(access: HsmAccess) -> list[RSAPublicKey]:
        keys = [_public_key(await access.hsm.public_key(SIGNING_KEY))]
        try:
            keys.append(_public_key(await access.hsm.public_key(f"{SIGNING_KEY}?previous")))
        except HsmError as error:
            if type(error).__name__ != "KeyNotFound":
                raise
        return keys

    return await _with_hsm(settings, work)


async def _with_hsm(settings: Settings, work: Callable[[HsmAccess], Awaitable[_T]]) -> _T:
    lifecycle = Lifecycle(grace_s=0)
    try:
        return await work(await open_hsm(settings, lifecycle))
    finally:
        lifecycle.stop("done")
        await lifecycle.run()


def verifier(keys: Sequence[RSAPublicKey]) -> Callable[[Checkpoint], None]:
    def verify(checkpoint: Checkpoint) -> None:
        for key in keys:
            try:
                return key.verify(checkpoint.signature, checkpoint.statement, PKCS1v15(), SHA256())
            except InvalidSignature:
                continue
        raise ValueError(f"its signature is not one of {checkpoint.key_label}")

    return verify


async def checkpoint(settings: Settings, url: str) -> int:
    async def work(access: HsmAccess) -> Checkpoint | None:
        async with await create_pool(url, size=1, name="payswitch-audit") as pool:
            follower = follower_of(settings, PostgresAuditChain(pool), access.hsm)
            await follower.chain()
            return await follower.checkpoint()

    made = await _with_hsm(settings, work)
    typer.echo(made.as_json() if made is not None else "nothing was added since the last checkpoint")
    return EXIT_WHOLE


def listing(conditions: Sequence[tuple[str, object]], limit: int, as_json: bool) -> Work:
    async def work(settings: Settings, url: str) -> int:
        async with AuditReader(HeavyConnections(url)).open() as trail:
            for entry in await trail.found(conditions, limit):
                typer.echo(_as_json(entry) if as_json else _as_line(entry))
        return EXIT_WHOLE

    return work


def unix_ms(moment: datetime | None) -> int | None:
    """moment: in UTC, without saying so."""
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp() * 1000)


def _as_line(entry: ChainedEntry) -> str:
    moment = datetime.fromtimestamp(entry.time_ms / 1000, UTC)
    place = entry.sequence or "-"
    return (
        f"{moment:%Y-%m-%dT%H:%M:%S}Z #{place} {entry.merchant_id or '-'} {entry.who} {entry.act} {entry.subject}"
        f" {entry.before} -> {entry.after}"
    )


def _as_json(entry: ChainedEntry) -> str:
    fields = {
        "sequence": entry.sequence, "time_ms": entry.time_ms, "merchant_id": entry.merchant_id, "id": str(entry.id),
        "who": entry.who, "act": entry.act, "subject": entry.subject, "before": json.loads(entry.before),
        "after": json.loads(entry.after), "hash": entry.hash.hex(),
    }  # fmt: skip
    return json.dumps(fields, ensure_ascii=False)
