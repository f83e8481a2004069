"""A strict direct issuer with accounts of its own: what the switch is judged by."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from adapters.issuer.messages import IssuerAnswer, IssuerMessage, IssuerNotice
from adapters.issuer.simulator_bill import SimulatedBills
from adapters.issuer.simulator_card import CardKeys
from adapters.issuer.simulator_ledger import Account, SimulatedLedger, default_accounts
from adapters.simulation import NORMAL, Behaviour, Scenario, Scenarios
from switch.client.connection import ClientCredentials
from switch.client.issuer import IssuerConnection
from switch.domain.states import Operation

__all__ = ["Account", "CardKeys", "IssuerSimulator", "default_accounts"]

log = structlog.get_logger()

_SHANGHAI = ZoneInfo("Asia/Shanghai")
_SCRIPTED = frozenset({Operation.SALE, Operation.PRE_AUTHORIZATION})


class IssuerSimulator:
    """Dials the switch as `issuer_id` and answers by the rules of `SimulatedLedger`.

    target: `host:port`, or several. zone_pin_key: clear DES key (8, 16 or 24 bytes) under which PIN blocks come.
    card_keys: what its cards were personalized with; None: new ones, under which no card's cryptogram verifies.
    Scenarios apply to sales and pre-authorizations. DECLINE with code "10" approves half, with "11" approves.
    MALFORMED is an answer without response code, FORGED one to a message that never was; a card needs no payer's
    confirmation, so the USER_PAYING behaviours are NORMAL.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        issuer_id: str,
        zone_pin_key: bytes,
        accounts: Iterable[Account] | None = None,
        credentials: ClientCredentials | None = None,
        *,
        card_keys: CardKeys | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        server_name: str | None = None,
        credit: int = 1024,
        links_per_process: int = 1,
    ) -> None:
        cards = default_accounts() if accounts is None else accounts
        keys = card_keys or CardKeys(secrets.token_bytes(16), secrets.token_bytes(16), secrets.token_bytes(16))
        bills = SimulatedBills(now_ms)
        self.ledger = SimulatedLedger(cards, zone_pin_key, keys, lambda: _month_yymm(now_ms()), bills)
        self.scenarios = Scenarios()
        self.connection = IssuerConnection(
            target, issuer_id, self._answer, credentials, bill=bills.of, credit=credit, server_name=server_name,
            links_per_process=links_per_process,
        )  # fmt: skip
        self._running: asyncio.Task[None] | None = None
        self._later: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> asyncio.Event:
        """Set while signed on."""
        return self.connection.ready

    def book(self) -> list[dict[str, Any]]:
        """Every message that came, oldest first."""
        return self.ledger.book()

    async def start(self) -> None:
        """Begin dialling; returns at once, whether the switch is there or not."""
        self._running = asyncio.create_task(self.connection.run(), name="issuer-simulator")
        self._running.add_done_callback(_log_death)

    async def close(self) -> None:
        for task in list(self._later):
            task.cancel()
        if self._later:
            await asyncio.wait(list(self._later))
        await self.connection.close(timeout_s=1.0)
        if self._running is not None:
            await asyncio.wait([self._running])

    async def sign_off(self) -> None:
        await self.connection.sign_off(timeout_s=1.0)

    async def sign_on(self) -> None:
        self.connection.sign_on()

    async def notify(self, message_id: str) -> None:
        """Tell the switch what became of a message, until it has heard it. Raises NoticeRefused, KeyError."""
        entry = self.ledger.entry(message_id)
        if entry is None:
            raise KeyError("no such message")
        await self.connection.notify(IssuerNotice(secrets.token_hex(8), message_id, state=entry.outcome().state))

    async def _answer(self, messages: list[IssuerMessage]) -> list[IssuerAnswer]:
        answers: list[IssuerAnswer] = []
        cut = False
        for message in messages:
            scripted = message.operation in _SCRIPTED and message.stand_in is None
            scenario = self.scenarios.choose(message.money.amount_minor) if scripted else NORMAL
            answer = self.ledger.process(message, scenario.code if scenario.behaviour is Behaviour.DECLINE else "")
            cut = cut or scenario.behaviour is Behaviour.DISCONNECT
            answers += self._as_scripted(scenario, answer)
        if cut:
            self.connection.disconnect()
        return answers

    def _as_scripted(self, scenario: Scenario, answer: IssuerAnswer) -> list[IssuerAnswer]:
        """What is said at once about a message that has been carried out."""
        match scenario.behaviour:
            case Behaviour.SILENT | Behaviour.DISCONNECT:
                return []
            case Behaviour.DELAY:
                task = asyncio.create_task(self._answer_later(answer, scenario.delay_ms / 1000))
                self._later.add(task)
                task.add_done_callback(self._later.discard)
                return []
            case Behaviour.DUPLICATE:
                return [answer, answer]
            case Behaviour.MALFORMED:
                return [IssuerAnswer(answer.message_id, "")]
            case Behaviour.FORGED:
                return [IssuerAnswer(f"{answer.message_id}-never-sent", "00")]
            case _:
                return [answer]

    async def _answer_later(self, answer: IssuerAnswer, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        self.connection.answer([answer])


def _month_yymm(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, _SHANGHAI).strftime("%y%m")


def _log_death(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("issuer_simulator_died", error=repr(error))
