"""The network: its members, its book, its door, and what each scenario does to an answer."""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from adapters.simulation import Behaviour, Scenario, Scenarios
from adapters.unionpay._codec import Header
from adapters.unionpay.format import Fields
from adapters.unionpay.frame import KEEP_ALIVE
from adapters.unionpay.simulator.accounts import Account, client_accounts, default_accounts
from adapters.unionpay.simulator.book import Book
from adapters.unionpay.simulator.connection import Connection
from adapters.unionpay.simulator.members import Member
from adapters.unionpay.simulator.rules import Rules, Today
from adapters.unionpay.simulator.settings import SimulatorSettings

log = structlog.get_logger()

_ZONE = ZoneInfo("Asia/Shanghai")


def shanghai_now() -> datetime:
    return datetime.now(_ZONE)


class UnionPaySimulator:
    """`await start()`, use `port`, `book()`, `scenarios`, `accounts`; `await close()`."""

    def __init__(
        self,
        settings: SimulatorSettings,
        accounts: Iterable[Account] | None = None,
        now: Callable[[], datetime] = shanghai_now,
    ) -> None:
        self.settings = settings
        self.scenarios = Scenarios()
        self.connections: set[Connection] = set()
        self.malformed = 0
        self.failed_key_resets = 0
        everyone = (*default_accounts(), *client_accounts()) if accounts is None else accounts
        self._book = Book(settings.book_limit)
        self._now = now
        self._second = -1.0
        self._day = Today("", "")
        self.rules = Rules({each.pan: each for each in everyone}, self._book, self.today)
        self.members = {
            institution: Member(institution, mmk, double_length=settings.double_length)
            for institution, mmk in settings.members.items()
        }
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stan = 0
        self.port = settings.port

    @property
    def accounts(self) -> dict[str, Account]:
        """By PAN."""
        return self.rules.accounts

    def book(self) -> list[dict[str, Any]]:
        """Every entry, oldest first: key, stan, rrn, mti, kind, pan_masked, amounts, state, code, original_key."""
        return self._book.listing()

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

    async def reset_keys(self) -> None:
        """New working keys for every member that is signed on, while traffic flows. Returns when all are confirmed."""
        await asyncio.gather(*(self._reset_keys_of(each) for each in self.members.values()))

    async def _reset_keys_of(self, member: Member) -> None:
        keys = member.new_keys()
        await asyncio.gather(*(each.take_over(keys) for each in list(member.links)))

    async def hand_out_keys(self, connection: Connection) -> None:
        """Its member's present keys to a link that signed on or asked."""
        if connection.member is not None:
            await connection.take_over(connection.member.keys())

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("simulator_task_died", error=type(error).__name__)

    # --- for its connections ----------------------------------------------------------------------------------------

    def today(self) -> Today:
        """Looked up once a second."""
        second = time.monotonic() // 1
        if second != self._second:
            self._second = second
            local = self._now()
            self._day = Today(f"{local:%m%d}", f"{local:%y%m}")
        return self._day

    def named(self) -> Fields:
        """DE7 and DE11 of a message of the network's own."""
        self._stan = self._stan % 999_999 + 1
        return {7: self._now().strftime("%m%d%H%M%S"), 11: f"{self._stan:06d}"}

    def header_to(self, member: str) -> Header:
        return Header(member, self.settings.network)

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
