"""The live links of all issuers: several per issuer, balanced by free credit."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from prometheus_client import Gauge

from adapters.issuer.messages import BillChunk, BillRequest, IssuerAnswer, IssuerMessage

_LINKS = Gauge("payswitch_issuer_links", "Streams on which an issuer is signed on and takes messages", ["issuer"])

log = structlog.get_logger()


class IssuerLink(Protocol):
    """One stream of one issuer. credit: how many unanswered messages it takes; the issuer may change it."""

    issuer_id: str
    credit: int

    def deliver(self, messages: list[IssuerMessage]) -> bool:
        """Queue all of them in order and return at once, or queue none and return False."""

    def ask_bill(self, request: BillRequest) -> bool:
        """Queue the question and return at once, or return False."""


class AnswerTaker(Protocol):
    """What an issuer's channel is to the hub."""

    def take_answers(self, answers: Sequence[IssuerAnswer]) -> None: ...

    def take_bill_chunk(self, chunk: BillChunk) -> None: ...

    def link_lost(self, link: IssuerLink, unsent_message_ids: Collection[str]) -> None: ...


@dataclass(slots=True)
class _Load:
    link: IssuerLink
    delivering: bool = True
    unanswered: int = 0

    @property
    def free(self) -> int:
        return max(0, self.link.credit - self.unanswered) if self.delivering else 0


class IssuerHub:
    """Who is signed on. The gRPC door attaches links; each issuer's channel delivers through them."""

    def __init__(self) -> None:
        self._takers: dict[str, AnswerTaker] = {}
        self._loads: dict[str, list[_Load]] = {}

    def register(self, issuer_id: str, taker: AnswerTaker) -> None:
        """Make an issuer known. Raises ValueError if it is known already."""
        if issuer_id in self._takers:
            raise ValueError(f"issuer {issuer_id} has a channel already")
        self._takers[issuer_id] = taker
        self._loads[issuer_id] = []
        _LINKS.labels(issuer_id).set(0)

    def knows(self, issuer_id: str) -> bool:
        return issuer_id in self._takers

    def attach(self, link: IssuerLink) -> None:
        """A link of a known issuer is ready for messages."""
        self._loads[link.issuer_id].append(_Load(link))
        self._count(link.issuer_id)

    def stop_delivering(self, link: IssuerLink) -> None:
        """The link finishes what is open and takes nothing new: it signed off, or the switch drains."""
        load = self._load(link)
        if load is not None:
            load.delivering = False
            self._count(link.issuer_id)

    def detach(self, link: IssuerLink, unsent_message_ids: Collection[str] = ()) -> None:
        """The link is gone. `unsent_message_ids`: what it had queued and certainly not begun to write."""
        load = self._load(link)
        if load is None:
            return
        self._loads[link.issuer_id].remove(load)
        self._count(link.issuer_id)
        self._takers[link.issuer_id].link_lost(link, unsent_message_ids)

    def take_answers(self, link: IssuerLink, answers: Sequence[IssuerAnswer]) -> None:
        """Answers count whichever of the issuer's links they come on: its message ids are unique over all of them."""
        self._takers[link.issuer_id].take_answers(answers)

    def take_bill_chunk(self, link: IssuerLink, chunk: BillChunk) -> None:
        self._takers[link.issuer_id].take_bill_chunk(chunk)

    def ask_bill(self, issuer_id: str, request: BillRequest) -> IssuerLink | None:
        """The link that took the question, or None."""
        loads = (load for load in self._loads[issuer_id] if load.delivering)
        return next((load.link for load in loads if load.link.ask_bill(request)), None)

    def unanswered(self, link: IssuerLink) -> int:
        load = self._load(link)
        return load.unanswered if load is not None else 0

    def link_count(self, issuer_id: str) -> int:
        """How many links take messages."""
        return sum(load.delivering for load in self._loads[issuer_id])

    def credit(self, issuer_id: str) -> tuple[int, int]:
        """(free, granted) over the links that take messages."""
        loads = [load for load in self._loads[issuer_id] if load.delivering]
        return sum(load.free for load in loads), sum(load.link.credit for load in loads)

    def deliver(self, issuer_id: str, messages: Sequence[IssuerMessage]) -> list[IssuerLink | None]:
        """Hand every message to the link with the most free credit, each link's share in one go.

        Returns, in order, the link that took each message; None where no link had credit or would take it.
        """
        taken: list[IssuerLink | None] = [None] * len(messages)
        left = list(range(len(messages)))
        usable = [load for load in self._loads[issuer_id] if load.free > 0]
        while left and usable:
            shares, left = _share(left, usable)
            for load, indexes in zip(list(usable), shares, strict=True):
                if not indexes:
                    continue
                if load.link.deliver([messages[index] for index in indexes]):
                    load.unanswered += len(indexes)
                    for index in indexes:
                        taken[index] = load.link
                else:
                    usable.remove(load)
                    left += indexes
            usable = [load for load in usable if load.free > 0]
        return taken

    def settle(self, link: IssuerLink) -> None:
        """One message of the link is answered or given up: its credit is free again."""
        load = self._load(link)
        if load is not None:
            load.unanswered -= 1

    def _load(self, link: IssuerLink) -> _Load | None:
        for load in self._loads[link.issuer_id]:
            if load.link is link:
                return load
        return None

    def _count(self, issuer_id: str) -> None:
        links = self.link_count(issuer_id)
        _LINKS.labels(issuer_id).set(links)
        log.info("issuer_links_changed", issuer=issuer_id, links=links)


def _share(indexes: list[int], loads: list[_Load]) -> tuple[list[list[int]], list[int]]:
    """Deal indexes out, each to the load with the most free credit; what no credit is left for comes second."""
    if len(loads) == 1:
        free = loads[0].free
        return [indexes[:free]], indexes[free:]
    free_credits = [load.free for load in loads]
    shares: list[list[int]] = [[] for _ in loads]
    for position, index in enumerate(indexes):
        most = max(range(len(loads)), key=free_credits.__getitem__)
        if free_credits[most] <= 0:
            return shares, indexes[position:]
        free_credits[most] -= 1
        shares[most].append(index)
    return shares, []
