"""The audit trail's chain on a real PostgreSQL and a real token: made behind the writers, signed, and checked."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from audit_scene import TAMPERINGS, add, empty_trail, signing_hsm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from hsm.direct import DirectHsm
from switch import audit_desk
from switch.domain.audit import AuditEntry
from switch.domain.audit_chain import ChainedEntry, ChainWalk, Checkpoint, entry_hash
from switch.store import audit_trail
from switch.store.audit_chain import AuditReader, PostgresAuditChain
from switch.store.heavy import HeavyConnections
from switch.wiring.audit import SIGNING_KEY, AuditFollower, CheckpointFile

ACTS = [f"act {number}" for number in range(1, 7)]


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectHsm]:
    hsm = signing_hsm(tmp_path_factory.mktemp("audit") / "token")
    yield hsm
    hsm.close()


@pytest.fixture
async def trail(database: asyncpg.Pool) -> AsyncIterator[asyncpg.Pool]:
    await empty_trail(database)
    yield database
    await empty_trail(database)


@pytest.fixture
def follower(trail: asyncpg.Pool, hsm: DirectHsm, tmp_path: Path) -> AuditFollower:
    return AuditFollower(PostgresAuditChain(trail), hsm, CheckpointFile(tmp_path / "checkpoints.jsonl"), 60)


class Checked:
    """As `payswitch audit verify` does it."""

    def __init__(self, dsn: str, hsm: DirectHsm, path: Path) -> None:
        self._dsn = dsn
        self._file = CheckpointFile(path)
        key: Any = load_pem_public_key(hsm.store.public_key(SIGNING_KEY))
        self._verify = audit_desk.verifier([key])
        self.walk = ChainWalk((), self._verify)

    async def findings(self) -> list[str]:
        async with AuditReader(HeavyConnections(self._dsn)).open() as trail:
            self.walk, found = await audit_desk.walked(trail, self._file.read(), self._verify)
            return found


@pytest.fixture
def checked(postgres_dsn: str, hsm: DirectHsm, tmp_path: Path) -> Checked:
    return Checked(postgres_dsn, hsm, tmp_path / "checkpoints.jsonl")


async def test_a_whole_chain_is_whole(trail: asyncpg.Pool, follower: AuditFollower, checked: Checked) -> None:
    await add(trail, *ACTS)
    assert await follower.chain() == 6
    made = await follower.checkpoint()
    assert made is not None
    assert made.sequence == 6
    assert await follower.checkpoint() is None  # nothing was added
    await add(trail, "act 7")
    await follower.chain()
    assert await checked.findings() == []
    assert (checked.walk.length, checked.walk.proved) == (7, 6)
    rows = await trail.fetch("SELECT sequence, act FROM audit_trail ORDER BY sequence")
    assert [(row["sequence"], row["act"]) for row in rows] == list(enumerate([*ACTS, "act 7"], 1))


@pytest.mark.parametrize("what", TAMPERINGS)
async def test_what_was_tampered_with_is_named(
    what: str, trail: asyncpg.Pool, follower: AuditFollower, checked: Checked
) -> None:
    statement, expected = TAMPERINGS[what]
    await add(trail, *ACTS)
    await follower.chain()
    await follower.checkpoint()
    await trail.execute(statement)
    [found] = await checked.findings()
    assert found.startswith(expected)


async def test_a_chain_made_anew_fits_itself_and_not_its_checkpoint(
    trail: asyncpg.Pool, follower: AuditFollower, checked: Checked
) -> None:
    """Who can write the tables needs no key to chain: the signature is what he lacks."""
    await add(trail, *ACTS[:3])
    await follower.chain()
    await follower.checkpoint()
    await add(trail, *ACTS[3:])
    await follower.chain()
    await follower.checkpoint()
    await trail.execute("UPDATE audit_trail SET after = '{}' WHERE sequence = 5")
    await _chain_anew(trail)
    [found] = await checked.findings()
    assert found.startswith("entry 4, or one after it up to entry 6, was changed")


async def _chain_anew(trail: asyncpg.Pool) -> None:
    await trail.execute("UPDATE audit_trail SET sequence = NULL, hash = NULL")
    await trail.execute("UPDATE audit_chain SET sequence = 0, hash = decode(repeat('00', 32), 'hex')")
    chain = PostgresAuditChain(trail)
    while await chain.step():
        pass


async def test_a_trail_cut_short_with_its_checkpoints_and_its_head_is_found_by_the_exported_file(
    trail: asyncpg.Pool, follower: AuditFollower, checked: Checked
) -> None:
    await add(trail, *ACTS[:4])
    await follower.chain()
    await follower.checkpoint()
    await add(trail, *ACTS[4:])
    await follower.chain()
    await follower.checkpoint()
    await trail.execute(
        "DELETE FROM audit_trail WHERE sequence > 4; DELETE FROM audit_checkpoints WHERE sequence > 4;"
        " UPDATE audit_chain SET sequence = 4, hash = (SELECT hash FROM audit_trail WHERE sequence = 4)"
    )
    assert await checked.findings() == [
        "the checkpoint of entry 6 was exported, and is not in the database",
        "entries 5 to 6 are missing: the end was cut off",
    ]


async def test_a_forged_checkpoint_and_none_at_all_are_found(
    trail: asyncpg.Pool, follower: AuditFollower, checked: Checked, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints.jsonl").touch()
    await add(trail, *ACTS)
    await follower.chain()
    assert await checked.findings() == [
        "no checkpoint: the chain fits itself, and nothing shows that it was not made anew"
    ]
    await trail.execute(
        "INSERT INTO audit_checkpoints SELECT sequence, hash, 1, 'audit/sign', decode('00', 'hex') FROM audit_trail"
        " WHERE sequence = 6"
    )
    assert (await checked.findings())[0] == "the checkpoint of entry 6: its signature is not one of audit/sign"


async def test_writers_and_several_followers_at_once(
    trail: asyncpg.Pool, follower: AuditFollower, checked: Checked, tmp_path: Path
) -> None:
    others = [PostgresAuditChain(trail, batch=3) for _ in range(3)]
    writing = asyncio.gather(*(add(trail, *(f"act {n}" for n in range(20)), who=f"operator/{w}") for w in range(6)))

    async def follow(chain: PostgresAuditChain) -> None:
        while not writing.done():
            await chain.step()
            await asyncio.sleep(0)

    await asyncio.gather(writing, *map(follow, others))
    await follower.chain()
    await follower.checkpoint()
    assert await checked.findings() == []
    assert checked.walk.length == 120


async def test_what_is_not_committed_is_not_waited_for(trail: asyncpg.Pool, follower: AuditFollower) -> None:
    async with trail.acquire() as connection:
        acting = connection.transaction()
        await acting.start()
        await audit_trail.append(connection, AuditEntry("m1", "operator/ann", "slow", "thing/1"))
        await add(trail, "quick")
        assert await follower.chain() == 1
        await acting.commit()
    assert await follower.chain() == 1
    rows = await trail.fetch("SELECT act FROM audit_trail ORDER BY sequence")
    assert [row["act"] for row in rows] == ["quick", "slow"]


async def test_a_crash_in_the_midst_of_a_step_leaves_nothing_behind(
    trail: asyncpg.Pool, follower: AuditFollower, checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The places are given, and the chain's end is not advanced: the process dies between."""
    await add(trail, *ACTS)
    with monkeypatch.context() as patched:
        patched.setattr("switch.store.audit_chain._ADVANCE", "SELECT 1 / ($1::bigint - $1), $2::bytea")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await follower.chain()
    assert await trail.fetchval("SELECT count(*) FROM audit_trail WHERE sequence IS NOT NULL") == 0
    assert await follower.chain() == 6
    await follower.checkpoint()
    assert await checked.findings() == []


async def test_a_checkpoint_that_was_kept_and_not_exported_is_exported_by_the_next_call(
    trail: asyncpg.Pool, follower: AuditFollower, checked: Checked, hsm: DirectHsm, tmp_path: Path
) -> None:
    await add(trail, *ACTS)
    await follower.chain()
    blocked = tmp_path / "no-folder"
    blocked.write_text("in the way")
    elsewhere = AuditFollower(PostgresAuditChain(trail), hsm, CheckpointFile(blocked / "checkpoints.jsonl"), 60)
    with pytest.raises(FileExistsError):
        await elsewhere.checkpoint()
    assert not (tmp_path / "checkpoints.jsonl").exists()
    assert await follower.checkpoint() is None
    assert await checked.findings() == []
    assert [each.sequence for each in CheckpointFile(tmp_path / "checkpoints.jsonl").read()] == [6]


async def test_a_line_that_a_crash_cut_off_is_written_anew(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "checkpoints.jsonl")
    first, second = (Checkpoint(n, bytes(32), n, "audit/sign", b"s" * 256) for n in (1, 2))
    assert file.last_sequence() == 0
    file.append([first])
    with (tmp_path / "checkpoints.jsonl").open("a") as raw:
        raw.write(second.as_json()[:40])
    assert (file.last_sequence(), file.read()) == (1, [first])
    file.append([second])
    assert (file.last_sequence(), file.read()) == (2, [first, second])


async def test_a_checkpoint_without_a_key_says_so(trail: asyncpg.Pool, tmp_path: Path) -> None:
    class Keyless:
        async def sign(self, items: Any) -> list[Exception]:
            return [LookupError("no key") for _ in items]

    follower = AuditFollower(PostgresAuditChain(trail), Keyless(), CheckpointFile(tmp_path / "c"), 60)  # type: ignore[arg-type]
    await add(trail, "act 1")
    await follower.chain()
    with pytest.raises(LookupError):
        await follower.checkpoint()
    assert await trail.fetchval("SELECT count(*) FROM audit_checkpoints") == 0


def test_every_field_is_in_the_hash() -> None:
    """Also where text moves from one field to the next."""
    from dataclasses import replace
    from uuid import UUID

    entry = ChainedEntry("m", UUID(int=1), "operator/ann", "Made", "it/1", "{}", "{}", 2, 1, b"")
    changed = [
        replace(entry, **change)
        for change in (
            {"merchant_id": "n"}, {"id": UUID(int=2)}, {"who": "operator/bob"}, {"act": "Makes"}, {"subject": "it/2"},
            {"before": "[]"}, {"after": "[]"}, {"time_ms": 3}, {"sequence": 2},
            {"merchant_id": "mo", "who": "perator/ann"}, {"before": "", "after": "{}{}"},
        )
    ]  # fmt: skip
    hashes = {entry_hash(bytes(32), each) for each in (entry, *changed)} | {entry_hash(b"\1" * 32, entry)}
    assert len(hashes) == len(changed) + 2
