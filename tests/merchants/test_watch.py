"""Who may take new payments: what the road is told, how soon, and while the database is away."""

import asyncio

import asyncpg
import pytest
from merchant_office import ANN, BOB, Office, payer

from payswitch.v1 import merchant_pb2 as pb
from switch.domain.merchant_standing import Standings
from switch.merchants.watch import StandingWatch
from switch.ports import StoreUnavailable
from switch.store.merchants import PostgresMerchants


def codes(watch: StandingWatch, *asked: tuple[str, str]) -> list[str]:
    refusals = [watch.refusal(*each) for each in asked]
    return [each.response_code if each else "" for each in refusals]


async def test_what_changes_is_known_after_the_next_look(office: Office) -> None:
    applied = await office.applied(payer())
    merchant_id, owner = await office.active()
    watch = StandingWatch(office.merchants)
    await watch.begin()
    asked = ((applied, "T1"), (merchant_id, "T1"), (merchant_id, "T2"), ("BROUGHTBY", "T1"))
    assert codes(watch, *asked) == ["03", "", "", ""]

    await office.service.AddStore(pb.AddStoreRequest(merchant_id=merchant_id, name="a", address="b"), owner)
    for name in ("T1", "T2"):
        add = pb.AddTerminalRequest(merchant_id=merchant_id, terminal_id=name, store_id="S0001")
        await office.service.AddTerminal(add, owner)
    off = pb.ChangeTerminalRequest(merchant_id=merchant_id, terminal_id="T1", active=False)
    await office.service.ChangeTerminal(off, owner)
    await watch.look()
    assert codes(watch, *asked) == ["03", "58", "", ""]
    off.active = True
    await office.service.ChangeTerminal(off, owner)
    why = {"merchant_id": merchant_id, "reason": "complaints"}
    await office.service.SuspendMerchant(pb.SuspendMerchantRequest(**why), ANN)
    await watch.look()
    assert codes(watch, *asked) == ["03", "03", "03", ""]
    for each in (ANN, BOB):
        await office.service.ResumeMerchant(pb.ResumeMerchantRequest(**why), each)
        review = pb.ReviewApplicationRequest(merchant_id=applied, round=1, approve=True)
        await office.service.ReviewApplication(review, each)
    await watch.look()
    assert codes(watch, *asked) == ["", "", "", ""]


async def test_only_onboarded_ones_where_that_is_wanted(office: Office) -> None:
    merchant_id, _ = await office.active()
    watch = StandingWatch(office.merchants, only_onboarded=True)
    await watch.begin()
    assert codes(watch, (merchant_id, "T1"), ("BROUGHTBY", "T1")) == ["", "03"]


async def test_everything_is_read_at_first_however_much_it_is(office: Office) -> None:
    await office.pool.execute("""
        INSERT INTO merchants
        SELECT 'W' || n, 3, '', 1, '', '', '', '', '', '', '', '', '', '', 1, 0, '', 0, '', '', 0, 0
        FROM generate_series(1, 5001) AS n
    """)
    watch = StandingWatch(office.merchants)
    await watch.begin()
    assert codes(watch, ("W1", ""), ("W5001", ""), ("W5002", "")) == ["03", "03", ""]


async def test_a_commit_that_comes_late_is_not_missed(office: Office, postgres_dsn: str) -> None:
    """Stamped before our reading, visible after it."""
    merchant_id, _ = await office.active()
    connection = await asyncpg.connect(postgres_dsn)
    watch = StandingWatch(office.merchants)
    await watch.begin()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(
        "UPDATE merchants SET state = 3, changed_time_ms = now_ms() WHERE merchant_id = $1", merchant_id
    )
    await watch.look()
    assert codes(watch, (merchant_id, "T1")) == [""]
    await transaction.commit()
    await watch.look()
    assert codes(watch, (merchant_id, "T1")) == ["03"]
    await connection.close()


class Failing:
    def __init__(self, merchants: PostgresMerchants) -> None:
        self._merchants = merchants
        self.error: Exception | None = None
        self.read = asyncio.Event()

    async def standings(self, since_ms: int) -> Standings:
        self.read.set()
        if self.error is not None:
            raise self.error
        return await self._merchants.standings(since_ms)


async def test_while_the_database_is_away_what_was_read_last_holds(office: Office) -> None:
    applied = await office.applied(payer())
    store = Failing(office.merchants)
    watch = StandingWatch(store)
    store.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await watch.begin()
    store.error = None
    await watch.begin()
    for error in (StoreUnavailable("down"), RuntimeError("a fault of ours")):
        store.error = error
        await watch.look()
        assert codes(watch, (applied, "T1")) == ["03"]


async def test_it_follows_by_itself(office: Office) -> None:
    merchant_id, _ = await office.active()
    store = Failing(office.merchants)
    watch = StandingWatch(store, interval_s=0.001)
    await watch.begin()
    watch.start()
    why = {"merchant_id": merchant_id, "reason": "complaints"}
    await office.service.SuspendMerchant(pb.SuspendMerchantRequest(**why), ANN)
    async with asyncio.timeout(20):
        for _ in range(3):  # of the second at the latest, all that is read was read after the suspension
            store.read.clear()
            await store.read.wait()
    await watch.close()
    assert codes(watch, (merchant_id, "T1")) == ["03"]
