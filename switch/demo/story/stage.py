"""Where the story plays, and what its chapters hand on to each other."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import grpc.aio

from switch.client.acquirer import AcquirerClient
from switch.client.payment_codes import CodeDevice
from switch.demo.environment import Environment
from switch.demo.presenting import Card, Terminal
from switch.demo.story.callers import Caller
from switch.demo.story.people import Mailbox, Person
from switch.domain.bill import Bill
from switch.settlement.bill_file import SHANGHAI


def yuan(amount_minor: int) -> str:
    """
    >>> yuan(-6450)
    '-¥64.50'
    """
    return f"{'-' if amount_minor < 0 else ''}¥{abs(amount_minor) / 100:.2f}"


@dataclass(slots=True)
class Sale:
    """A payment that was approved. refunds: amounts, in their order. charged_back_minor: for good."""

    name: str
    channel: str
    entry: str
    authorization_id: str
    amount_minor: int
    refunds: list[int] = field(default_factory=list)
    charged_back_minor: int = 0


@dataclass(frozen=True, slots=True)
class Payout:
    """As the switch said it. net_minor = reserve_minor + payout_minor."""

    batch_id: str
    net_minor: int
    reserve_minor: int
    payout_minor: int


@dataclass
class Story:
    """Everybody in it. Amounts are fen.

    day: the business day on which it plays. bills: by channel; spoilt once something was planted in them.
    people_target, staff_target: host:port of the services' listeners where they are not the environment's own.
    more_were_asked: the machine was too slow for some answer: there are more payments, none of them approved.
    secrets: what was shown once, or is shown to nobody; `every_secret` has people's as well.
    asked: "approved", "declined" or "unanswered" of every payment that was asked for, as its caller was told.
    """

    environment: Environment
    acquirer: AcquirerClient
    people_target: str = ""
    staff_target: str = ""
    channels: list[grpc.aio.Channel] = field(default_factory=list)
    merchant_id: str = ""
    terminal_id: str = "T0000001"
    store_id: str = ""
    credential: str = ""
    card_id: str = ""
    order_id: str = ""
    codes: CodeDevice | None = None
    receiver: Any = None
    sales: dict[str, Sale] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    more_were_asked: bool = False
    bills: dict[str, Bill] = field(default_factory=dict)
    breaks_before: set[str] = field(default_factory=set)
    spoilt: bool = False
    payout: Payout | None = None

    def __post_init__(self) -> None:
        self.day = self.today()
        self.people = self._keep(self.environment.people(self.people_target))
        self.mailbox = Mailbox(self.participant("messenger", "sender"))
        self.ann, self.bob = self.participant("reviewer", "ann"), self.participant("reviewer", "bob")
        self.fay, self.gus = self.participant("finance", "fay"), self.participant("finance", "gus")
        self.owner: Person
        self.manager: Person
        self.payer: Person
        self.card: Card

    def participant(self, role: str, name: str) -> Caller:
        return Caller(self._keep(self.environment.participants(role, name, self.staff_target)))

    @property
    def till(self) -> Caller:
        """The shop's till, with its API credential."""
        return Caller(self.people, self.credential)

    @property
    def terminal(self) -> Terminal:
        return Terminal(self.environment.state_dir, self.merchant_id, self.terminal_id)

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    def today(self) -> date:
        """The business day."""
        return datetime.now(SHANGHAI).date()

    def has_asked(self, found: Mapping[str, int]) -> bool:
        """Whether these are the payments that were asked for, by their answers."""
        told, found = Counter(self.asked), Counter(found)
        if found["approved"] != told["approved"]:
            return False
        return found >= told if self.more_were_asked else found == told

    def every_secret(self) -> list[str]:
        return [*self.secrets, self.card.pan, *self.owner.secrets, *self.manager.secrets, *self.payer.secrets]

    def _keep(self, channel: grpc.aio.Channel) -> grpc.aio.Channel:
        self.channels.append(channel)
        return channel

    async def close(self) -> None:
        if self.bills:
            await self.environment.bills_are_over()
        if self.receiver is not None:
            await self.receiver.close()
        for each in self.channels:
            await each.close(None)
