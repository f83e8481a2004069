"""The network: its members, its book, its days, its door, and what each scenario does to an answer."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from aiohttp import web

from adapters.simulation import Behaviour, Scenario, Scenarios
from adapters.unionpay.format import Fields
from adapters.unionpay.frame import KEEP_ALIVE
from adapters.unionpay.simulator.accounts import Account, client_accounts, default_accounts
from adapters.unionpay.simulator.book import Book
from adapters.unionpay.simulator.connection import CUTOVER_BEGINS, CUTOVER_ENDS, Connection
from adapters.unionpay.simulator.control import routes
from adapters.unionpay.simulator.members import Member
from adapters.unionpay.simulator.rules import Rules
from adapters.unionpay.simulator.settings import SimulatorSettings
from adapters.unionpay.simulator.settlement import write_file

log = structlog.get_logger()

_ZONE = ZoneInfo("Asia/Shanghai")


def shanghai_now() -> datetime:
    return datetime.now(_ZONE)


class UnionPaySimulator:
    """`await start()`, use `port`, `book()`, `scenarios`, `accounts`, `members`; `await close()`.

    refused: how many messages were not processed, by DE39 or by cause (malformed, garbage, mti, unasked, rejected).
    """

    def __init__(
        self,
        settings: SimulatorSettings,
        accounts: Iterable[Account] | None = None,
        now: Callable[[], datetime] = shanghai_now,
    ) -> None:
        self.settings = settings
        self.scenarios = Scenarios()
        self.connections: set[Connection] = set()
        self.refused: Counter[str] = Counter()
        self.failed_key_resets = 0
        self.in_cutover = False
        self.port = settings.port
        everyone = (*default_accounts(), *client_accounts()) if accounts is None else accounts
        self._book = Book(settings.book_limit)
        self._now = now
        self._day = now().date()
        self.rules = Rules({each.pan: each for each in everyone}, self._book, now, self.settlement_day)
        self.members = {
            institution: Member(institution, mmk, double_length=settings.double_length)
            for institution, mmk in settings.members.items()
        }
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stan = 0

    @property
    def accounts(self) -> dict[str, Account]:
        """By PAN."""
        return self.rules.accounts

    def book(self) -> list[dict[str, Any]]:
        """Every entry, oldest first: key, stan, rrn, mti, kind, pan_masked, amounts, state, code, original_key …"""
        return self._book.listing()

    def control_routes(self) -> list[web.RouteDef]:
        """Of the control endpoint, below `/unionpay`, beside those that every simulator has."""
        return routes(self)

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), self.settings.host, self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop_listening(self) -> None:
        """Go down: refuse connections, cut the present ones. Book, accounts and keys stay."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop_links()
        await asyncio.sleep(0)

    async def resume(self) -> None:
        """Come back on the same port."""
        await self.start()

    def drop_links(self) -> None:
        for connection in list(self.connections):
            connection.abort()

    async def close(self) -> None:
        await self.stop_listening()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("simulator_task_died", error=type(error).__name__)

    # --- keys -------------------------------------------------------------------------------------------------------

    async def reset_keys(self) -> None:
        """New working keys for every member that is signed on, while traffic flows. Returns when all are confirmed."""
        await asyncio.gather(*(self.reset_keys_of(each) for each in self.members.values()))

    async def reset_keys_of(self, member: Member) -> None:
        keys, links = member.new_keys(), list(member.links)
        taken = await asyncio.gather(*(each.take_over(keys) for each in links))
        if links and not any(taken):
            member.forget(keys)

    async def hand_out_keys(self, connection: Connection) -> None:
        """Its member's present keys to a link that signed on."""
        if connection.member is not None:
            await connection.take_over(connection.member.keys())

    # --- days -------------------------------------------------------------------------------------------------------

    def settlement_day(self) -> date:
        """Of what is processed now. It moves at a cutover, or at midnight in Shanghai without one."""
        today = self._now().date()
        if today > self._day:
            closed, self._day = self._day, today
            self.write_bills(closed)
        return self._day

    async def begin_cutover(self) -> None:
        """Tell every link (201). New payments are refused with 90 until it ends; what goes back is still served."""
        self.in_cutover = True
        await self._announce(CUTOVER_BEGINS)

    async def end_cutover(self) -> None:
        """The next settlement day begins (202, with its date in DE15); the day that ends gets its bills."""
        closed = self.settlement_day()
        self._day = closed + timedelta(days=1)
        self.in_cutover = False
        self.write_bills(closed)
        await self._announce(CUTOVER_ENDS)

    async def _announce(self, code: str) -> None:
        day: Fields = {15: f"{self.settlement_day():%m%d}"}
        links = [each for each in self.connections if each.signed_on]
        await asyncio.gather(*(each.announce(code, day) for each in links))

    def write_bills(self, day: date) -> list[Path]:
        """The files of that day, one for each member; none where the settings name no folder."""
        if self.settings.bills_dir is None:
            return []
        return [
            write_file(self.settings.bills_dir / institution, institution, day, self._book.of(institution, f"{day}"))
            for institution in self.members
        ]

    # --- for its connections ----------------------------------------------------------------------------------------

    def named(self) -> Fields:
        """DE7 and DE11 of a message of the network's own."""
        self._stan = self._stan % 999_999 + 1
        return {7: self._now().strftime("%m%d%H%M%S"), 11: f"{self._stan:06d}"}

    def act(self, connection: Connection, scenario: Scenario, answer: bytes, answers: list[bytes]) -> None:
        """Do to a processed payment's answer what the scenario says. User-paying ones mean nothing here."""
        behaviour = scenario.behaviour
        if behaviour is Behaviour.SILENT:
            return
        if behaviour is Behaviour.DELAY:
            asyncio.get_running_loop().call_later(scenario.delay_ms / 1000, connection.write, answer)
        elif behaviour is Behaviour.DISCONNECT:
            connection.abort()
        elif behaviour is Behaviour.MALFORMED:
            answers.append(answer[:54] + b"\xff" * 8 + answer[62:])  # a bitmap of fields that do not exist
        elif behaviour is Behaviour.DUPLICATE:
            answers += (answer, KEEP_ALIVE, answer)
        else:
            answers.append(answer)
