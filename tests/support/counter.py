"""A door for terminals in front of a road whose channels are scripted: real sockets, a real HSM, a store in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from signal_scene import Heard
from town import LoopClock, town

from adapters.unionpay.pos.simulator import Card, SimulatedTerminal
from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token
from switch.domain.authorization import Merchant
from switch.domain.states import Operation, State
from switch.domain.terminal import BatchTotals, Terminal, TerminalEntry, WorkingKeys
from switch.ops.metrics import TERMINAL_REFUSALS
from switch.payments.follow_on import FollowOns
from switch.payments.road import Road
from switch.payments.world import RoadSettings
from switch.ports import StoreUnavailable
from switch.terminals.desk import Desk
from switch.terminals.door import TerminalDoor
from switch.terminals.payments import TerminalPayments
from switch.terminals.security import PIN_ZONE_KEY, STORAGE_KEY, TerminalSecurity
from switch.terminals.settings import DeskSettings, DoorLimits

__all__ = ["town"]

MERCHANT, TERMINAL = "104110053110001", "T0000001"
MASTER_KEY = bytes.fromhex("CA5D92598DCA48CE8A4C76361A9269E9")
CARD = Card("6225880000000001", "4912", "123456")


class MemoryTerminals:
    """`TerminalStore` in dictionaries. `down` makes every call fail."""

    def __init__(self, journal: Any) -> None:
        self.journal = journal
        self.terminals: dict[tuple[str, str], Terminal] = {}
        self.entries: dict[tuple[str, str, int, int], TerminalEntry] = {}
        self.down = False

    def put(self, terminal: Terminal) -> None:
        self.terminals[terminal.merchant.id, terminal.terminal_id] = terminal

    async def _work(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailable("down")

    async def find(self, merchant_id: str, terminal_id: str) -> Terminal | None:
        await self._work()
        return self.terminals.get((merchant_id, terminal_id))

    async def knows_merchant(self, merchant_id: str) -> bool:
        return any(merchant == merchant_id for merchant, _ in self.terminals)

    async def sign_on(self, terminal: Terminal, keys: WorkingKeys) -> None:
        await self._work()
        previous = self.terminals[terminal.merchant.id, terminal.terminal_id].keys
        self.put(_changed(terminal, signed_on=True, keys=keys, previous_keys=previous))

    async def sign_off(self, terminal: Terminal) -> None:
        await self._work()
        self.put(_changed(terminal, signed_on=False))

    async def keep(self, entry: TerminalEntry) -> TerminalEntry:
        await self._work()
        return self.entries.setdefault((entry.merchant_id, entry.terminal_id, entry.batch, entry.stan), entry)

    async def entry(self, merchant_id: str, terminal_id: str, batch: int, stan: int) -> TerminalEntry | None:
        await self._work()
        return self.entries.get((merchant_id, terminal_id, batch, stan))

    async def totals(self, terminal: Terminal, batch: int) -> BatchTotals:
        sales = [
            self.journal.rows[each.merchant_id, each.id].approved_minor
            for each in self.entries.values()
            if each.batch == batch and each.operation is Operation.SALE
            and self.journal.rows[each.merchant_id, each.id].state is State.APPROVED
        ]  # fmt: skip
        return BatchTotals(sum(sales), len(sales))

    async def close_batch(self, terminal: Terminal, batch: int) -> None:
        if terminal.batch == batch:
            self.put(_changed(terminal, batch=batch + 1))


def _changed(terminal: Terminal, **changes: Any) -> Terminal:
    values = {name: getattr(terminal, name) for name in Terminal.__slots__}
    return Terminal(**(values | changes))


@pytest.fixture(scope="session")
def token_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_token(tmp_path_factory.mktemp("terminals") / "token")


@pytest.fixture(scope="module")
def hsm(token_directory: Path) -> Iterator[DirectHsm]:
    hsm = DirectHsm.open(token_directory)
    store = hsm.store
    for label, usage in (("journal/hash", KeyUsage.HASHING), ("journal/seal", KeyUsage.SEALING)):
        store.ensure(label, usage)
    store.ensure(STORAGE_KEY, KeyUsage.KEY_STORAGE)
    for label in ("first/pik", "second/pik", PIN_ZONE_KEY):
        store.ensure(label, KeyUsage.PIN_KEY)
    if "tmk" not in store:
        mask = bytes(range(16))
        parts = [mask, bytes(a ^ b for a, b in zip(MASTER_KEY, mask, strict=True))]
        store.import_components("tmk", KeyUsage.KEY_TRANSPORT, parts)
    yield hsm
    hsm.close()


@pytest.fixture
async def shop(town: Any, hsm: DirectHsm) -> AsyncIterator[Any]:
    """`shop.open(**limits)` opens the door; `shop.terminal()` is connected; `shop.first` is the channel's script."""
    town.world.hsm = hsm
    # Nobody's machine is too slow for these budgets: what is late in a test is so because it never comes.
    road_settings = RoadSettings(answer_budget_ms=20_000)
    road = Road(town.world, road_settings)
    store = MemoryTerminals(town.journal)
    store.put(Terminal(Merchant(MERCHANT, "Corner Shop", category_code="5411"), TERMINAL, "acme", "tmk"))
    doors: list[TerminalDoor] = []
    terminals: list[SimulatedTerminal] = []
    made: list[TerminalPayments] = []
    heard = Heard()

    async def opened(limits: DoorLimits | None = None, **settings: Any) -> int:
        desk_settings = DeskSettings(**({"budget_s": 20.0, "sign_ons": 100} | settings))
        follow_ons = FollowOns(town.world, road_settings)
        security = TerminalSecurity(hsm, desk_settings.mac_key_algorithm)
        payments = TerminalPayments(road, follow_ons, town.journal, store, security, LoopClock(), desk_settings)
        desk = Desk(payments, security, store, LoopClock(), desk_settings, heard)
        doors.append(TerminalDoor(desk, limits or DoorLimits(), heard))
        made.append(payments)
        return await doors[-1].start("127.0.0.1", 0)

    async def terminal(port: int, merchant: str = MERCHANT, name: str = TERMINAL) -> SimulatedTerminal:
        terminals.append(SimulatedTerminal("127.0.0.1", port, merchant, name, MASTER_KEY))
        await terminals[-1].connect()
        return terminals[-1]

    async def signed_on(**settings: Any) -> SimulatedTerminal:
        ready = await terminal(await opened(**settings))
        answer = await ready.sign_on()
        assert answer.fields[39] == "00"
        return ready

    yield SimpleNamespace(
        open=opened, terminal=terminal, signed_on=signed_on, store=store, journal=town.journal, first=town.first,
        second=town.second, road=road, doors=doors, world=town.world, payments=made, heard=heard,
    )  # fmt: skip
    for each in terminals:
        await each.close()
    for door in doors:
        await door.close()
    for payments in made:
        await payments.close(5.0)
    await road.close()


@pytest.fixture
def refusals() -> Callable[[str], float]:
    """refusals(cause): how many there have been since the test began."""
    before = _counts()

    def since(cause: str) -> float:
        return _counts().get(cause, 0.0) - before.get(cause, 0.0)

    return since


def _counts() -> dict[str, float]:
    [family] = TERMINAL_REFUSALS.collect()
    return {each.labels["cause"]: each.value for each in family.samples if each.name.endswith("_total")}
