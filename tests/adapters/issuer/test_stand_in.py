"""Stand-in from the approval to the issuer's book: inside the limits, and exactly one advice each (invariant 13)."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from issuer_loopback import ISSUER_KEYS, ZONE_PIN_KEY, LoopbackSwitch

from adapters.issuer.messages import IssuerAnswer, IssuerMessage
from adapters.issuer.simulator import IssuerSimulator, default_accounts
from adapters.simulation import Behaviour, Scenario
from switch.domain.identity import computed_id
from switch.domain.stand_in import StandInLimits
from switch.domain.states import EntryMode, Operation, State
from switch.payments.stand_in import Advices, AdviceSettings
from switch.ports import Approved, ChannelRequest, Declined, Phase, StoreUnavailable, Unknown
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases
from switch.store.stand_in import PostgresStandIn

LIMITS = StandInLimits("CNY", 1_000, 1_500, 5, 3_000, 5, 3_600, ("6259",), frozenset({EntryMode.KEYED}))
UNSURE = Unknown(Phase.SENT, "whether it was stood in for is not known")
AT_ONCE = AdviceSettings(backoff_first_s=0.0, backoff_max_s=0.0, message_timeout_s=0.2)


class OpenHsm:
    """Opens a credential that was sealed by doing nothing."""

    async def unseal(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
        return [sealed for _, sealed, _ in items]


class Owner:
    def __init__(self, owner: UUID) -> None:
        self.owner = owner

    def may_send(self) -> bool:
        return True


class Town:
    """A switch whose issuer may be away, with the durable side of stand-in."""

    def __init__(self, switch: LoopbackSwitch, database: asyncpg.Pool, owner: UUID) -> None:
        self.switch = switch
        self.journal = PostgresJournal(database)
        self.stand_in = PostgresStandIn(database, {"bank": LIMITS}, acquire_timeout_s=5)
        self.owner = owner
        switch.channel._stand_in = self.stand_in

    def advices(self) -> Advices:
        return Advices(self.stand_in, OpenHsm(), Owner(self.owner), {"bank": self.switch.channel}, AT_ONCE)

    async def request(
        self, amount_minor: int = 100, card: int = 0, operation: Operation = Operation.SALE, **options: Any
    ) -> ChannelRequest:
        """Its intent is durable, as the road has it before it sends."""
        request = self.switch.request(amount_minor, operation, card=card, **options)
        record = request.authorization
        now_ms = int(time.time() * 1000)
        record.id = computed_id("acq", "m1", now_ms, str(self.switch.numbers))
        request.trace = {}
        self.switch.channel.prepare([request])
        record.trace, record.payer_key, record.channel = request.trace, bytes([card]) * 32, "issuer:bank"
        record.sealed_credential = request.credential.pan.reveal().encode()
        record.owner, record.state, record.created_time_ms = self.owner, State.SENT, now_ms
        assert await self.journal.record_intents([record]) == [None]
        return request

    async def signed_on(self, lost_answers: int = 0) -> IssuerSimulator:
        """The issuer comes back. lost_answers: so many batches are carried out and not answered."""
        simulator = IssuerSimulator(self.switch.target, "bank", ZONE_PIN_KEY, default_accounts(), card_keys=ISSUER_KEYS)
        answer = simulator.connection._handler
        left = lost_answers

        async def forgetful(messages: list[IssuerMessage]) -> Sequence[IssuerAnswer]:
            nonlocal left
            answers = await answer(messages)
            if left:
                left -= 1
                return []
            return answers

        simulator.connection._handler = forgetful
        self.switch.simulators.append(simulator)
        await simulator.start()
        await self.switch.settled(lambda: self.switch.hub.link_count("bank") == 1)
        return simulator


@pytest.fixture
async def town(switch: LoopbackSwitch, database: asyncpg.Pool) -> Town:
    await database.execute("DELETE FROM stand_in_approvals")
    owner, _ = await PostgresLeases(database, lease_s=60).join("test")
    return Town(switch, database, owner)


async def test_what_is_approved_in_its_place_the_issuer_books_once(town: Town) -> None:
    requests = [await town.request(each, card) for each, card in ((1_000, 0), (500, 0), (1_000, 3), (400, 4), (100, 5))]
    results = await asyncio.gather(*town.switch.channel.send(requests))
    assert [type(each) for each in results] == [Approved] * 5
    assert {each.channel_reference for each in results} == {"stand-in"}
    over = await town.request(1, 6)
    assert await town.switch.ask(over) == Unknown(Phase.NOT_SENT, "no link")
    advices = town.advices()
    assert await advices.turn() == 0  # nobody is there to be told
    simulator = await town.signed_on()
    assert await advices.turn() == 5
    assert await advices.turn() == 0
    booked = {line["message_id"]: line for line in simulator.book()}
    assert len(booked) == 5
    for request, result in zip(requests, results, strict=True):
        line = booked[request.trace["message_id"]]
        entry = simulator.ledger.entry(request.trace["message_id"])
        assert (line["stood_in"], line["times_seen"], line["state"]) == (True, 1, "approved")
        assert (line["amount_minor"], entry.approval_code) == (request.money.amount_minor, result.approval_code)
    assert await town.stand_in.owed("bank") == 0


async def test_lost_answers_repeat_the_advice_and_not_its_effect(town: Town) -> None:
    request = await town.request(700)
    assert isinstance(await town.switch.ask(request), Approved)
    simulator = await town.signed_on(lost_answers=2)
    advices = town.advices()
    assert [await advices.turn() for _ in range(4)] == [1, 1, 1, 0]
    [line] = simulator.book()
    assert (line["times_seen"], line["state"]) == (3, "approved")
    assert next(iter(simulator.ledger.accounts.values())).balance_minor == 1_000_000_000 - 700


async def test_several_processes_tell_each_advice_once(town: Town) -> None:
    requests = [await town.request(100, card) for card in range(5)]
    await asyncio.gather(*town.switch.channel.send(requests))
    simulator = await town.signed_on()
    turns = await asyncio.gather(*(town.advices().turn() for _ in range(3)))
    assert sum(turns) == 5
    assert [line["times_seen"] for line in simulator.book()] == [1] * 5


async def test_a_reversal_before_its_advice_leaves_nothing(town: Town) -> None:
    """The caller's deadline passed while it was decided: its row is reversed, and the advice comes too late."""
    request = await town.request(700)
    assert isinstance(await town.switch.ask(request), Approved)
    simulator = await town.signed_on()
    reversal = town.switch.request(700, Operation.REVERSAL, of=request.authorization)
    assert isinstance(await town.switch.ask(reversal), Approved)
    assert await town.advices().turn() == 1
    assert await town.stand_in.owed("bank") == 0
    assert next(iter(simulator.ledger.accounts.values())).balance_minor == 1_000_000_000


async def test_what_follows_finds_its_original(town: Town) -> None:
    hold = await town.request(700, operation=Operation.PRE_AUTHORIZATION)
    assert isinstance(await town.switch.ask(hold), Approved)
    simulator = await town.signed_on()
    await town.advices().turn()
    assert next(iter(simulator.ledger.accounts.values())).held_minor == 700
    capture = town.switch.request(700, Operation.CAPTURE, of=hold.authorization)
    refund = town.switch.request(300, Operation.REFUND, of=hold.authorization)
    assert isinstance(await town.switch.ask(capture), Approved)
    assert isinstance(await town.switch.ask(refund), Approved)
    assert next(iter(simulator.ledger.accounts.values())).balance_minor == 1_000_000_000 - 400


async def test_an_issuer_that_is_there_answers_for_itself(town: Town) -> None:
    simulator = await town.signed_on()
    simulator.connection.change_credit(0)
    await town.switch.settled(lambda: town.switch.hub.credit("bank") == (0, 0))
    assert await town.switch.ask(await town.request()) == Unknown(Phase.NOT_SENT, "no credit")
    simulator.connection.change_credit(10)
    await town.switch.settled(lambda: town.switch.hub.credit("bank") == (10, 10))
    simulator.scenarios.put(Scenario(Behaviour.DECLINE, code="05"))
    assert await town.switch.ask(await town.request()) == Declined("05")
    assert await town.stand_in.owed("bank") == 0


async def test_what_follows_a_payment_waits_for_the_issuer(town: Town) -> None:
    request = await town.request()
    assert isinstance(await town.switch.ask(request), Approved)
    for operation in (Operation.VOID, Operation.REFUND, Operation.REVERSAL, Operation.INQUIRY):
        following = town.switch.request(100, operation, of=request.authorization)
        assert await town.switch.ask(following) == Unknown(Phase.NOT_SENT, "no link")


async def test_a_payment_with_a_pin_waits_for_the_issuer(town: Town) -> None:
    request = await town.request(pin="1234")
    assert await town.switch.ask(request) == Unknown(Phase.NOT_SENT, "no link")


async def test_without_a_database_nothing_is_approved(town: Town, database: asyncpg.Pool) -> None:
    request = await town.request()
    await database.close()
    assert await town.switch.ask(request) == UNSURE


async def test_an_approval_whose_commit_was_not_confirmed_is_not_tried_elsewhere(town: Town) -> None:
    """It may be durable, with an advice that makes the issuer book it: what was not answered is reversed."""
    request = await town.request(700)
    approve = town.stand_in.approve

    async def confirmation_lost(issuer_id: str, requests: Sequence[ChannelRequest]) -> list[str | None]:
        await approve(issuer_id, requests)
        raise StoreUnavailable("the connection was lost in the commit")

    town.stand_in.approve = confirmation_lost  # type: ignore[method-assign]
    assert await town.switch.ask(request) == UNSURE
    simulator = await town.signed_on()
    assert await town.advices().turn() == 1
    reversal = town.switch.request(700, Operation.REVERSAL, of=request.authorization)
    assert isinstance(await town.switch.ask(reversal), Approved)
    assert next(iter(simulator.ledger.accounts.values())).balance_minor == 1_000_000_000


async def test_by_default_nobody_stands_in(switch: LoopbackSwitch) -> None:
    assert switch.channel._stand_in is None
    assert await switch.ask(switch.request()) == Unknown(Phase.NOT_SENT, "no link")


async def test_an_advice_that_the_issuer_refuses_is_not_repeated(town: Town) -> None:
    request = await town.request()
    assert isinstance(await town.switch.ask(request), Approved)
    simulator = await town.signed_on()
    simulator.ledger.accounts.clear()
    advices = town.advices()
    assert [await advices.turn() for _ in range(2)] == [1, 0]
    assert [line["response_code"] for line in simulator.book()] == ["14"]


async def test_limits_of_two_are_not_mixed(town: Town, database: asyncpg.Pool) -> None:
    both = PostgresStandIn(database, {"bank": LIMITS, "other": replace(LIMITS, total_count=1)}, acquire_timeout_s=5)
    requests = [await town.request(100, card) for card in range(3)]
    assert [code is None for code in await both.approve("other", requests)] == [False, True, True]
    assert [code is None for code in await both.approve("bank", requests)] == [False] * 3
    assert (await both.owed("bank"), await both.owed("other")) == (3, 1)
