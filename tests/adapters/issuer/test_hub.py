"""Balancing and loss, with links that only remember."""

import asyncio

import pytest

from adapters.issuer.channel import IssuerChannel
from adapters.issuer.hub import IssuerHub
from adapters.issuer.messages import IssuerMessage
from switch.domain.money import Money
from switch.domain.states import Operation
from switch.ports import Phase, Unknown


class Link:
    def __init__(self, credit: int, takes: bool = True) -> None:
        self.issuer_id = "bank"
        self.credit = credit
        self.takes = takes
        self.got: list[str] = []

    def deliver(self, messages: list[IssuerMessage]) -> bool:
        if self.takes:
            self.got += [message.message_id for message in messages]
        return self.takes


class Taker:
    def take_answers(self, answers): ...

    def link_lost(self, link, unsent_message_ids): ...


def messages(count: int) -> list[IssuerMessage]:
    return [IssuerMessage(f"m{n}", Operation.SALE, "a", Money(1, "CNY")) for n in range(count)]


@pytest.fixture
def hub() -> IssuerHub:
    hub = IssuerHub()
    hub.register("bank", Taker())
    return hub


def test_an_issuer_has_one_channel(hub):
    with pytest.raises(ValueError, match="bank has a channel already"):
        hub.register("bank", Taker())


def test_the_freest_link_is_chosen(hub):
    small, large = Link(2), Link(6)
    hub.attach(small)
    hub.attach(large)
    hub.deliver("bank", messages(6))
    assert (len(small.got), len(large.got)) == (1, 5)
    assert hub.credit("bank") == (2, 8)


def test_what_no_credit_is_left_for_is_not_taken(hub):
    first, second = Link(2), Link(1)
    hub.attach(first)
    hub.attach(second)
    assert hub.deliver("bank", messages(5)).count(None) == 2
    assert hub.credit("bank") == (0, 3)


def test_a_link_that_refuses_is_passed_over(hub):
    refusing, willing = Link(10, takes=False), Link(3)
    hub.attach(refusing)
    hub.attach(willing)
    taken = hub.deliver("bank", messages(4))
    assert taken.count(willing) == 3
    assert taken.count(None) == 1
    assert hub.unanswered(refusing) == 0


def test_a_resting_link_takes_nothing_new(hub):
    link = Link(5)
    hub.attach(link)
    hub.stop_delivering(link)
    assert hub.deliver("bank", messages(1)) == [None]
    assert hub.link_count("bank") == 0


async def test_what_a_lost_link_never_began_is_not_sent(switch):
    hub = IssuerHub()
    channel = IssuerChannel("bank", hub)
    link = Link(5)
    hub.attach(link)
    requests = [switch.request(), switch.request()]
    futures = channel.send(requests)
    hub.detach(link, {requests[1].trace["message_id"]})
    sent, unsent = await asyncio.gather(*futures)
    assert sent == Unknown(Phase.SENT, "link lost")
    assert unsent == Unknown(Phase.NOT_SENT, "link lost")
