"""Stand-in approvals stay inside their limits whoever decides, and each owes exactly one advice (invariant 13)."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from switch.domain.authorization import Authorization, CardCredential, CodeCredential, Merchant
from switch.domain.money import Money
from switch.domain.sensitive import Pan, PaymentCode
from switch.domain.stand_in import StandInLimits
from switch.domain.states import EntryMode, Operation
from switch.ports import ChannelRequest
from switch.store.journal import PostgresJournal
from switch.store.stand_in import PostgresStandIn

LIMITS = StandInLimits(
    "CNY", 500, 1_000, 3, 2_000, 6, 3_600, ("6259",), frozenset({EntryMode.NFC, EntryMode.BLUETOOTH})
)
Make = Callable[..., Authorization]
Ask = Callable[..., ChannelRequest]


@pytest.fixture(autouse=True)
async def emptied(database: asyncpg.Pool) -> None:
    await database.execute("DELETE FROM stand_in_approvals")


@pytest.fixture
def ask(make_intent: Make) -> Ask:
    def make(
        amount_minor: int = 100, card: int = 0, pan: str = "", currency: str = "CNY", **fields: object
    ) -> ChannelRequest:
        fields = {"entry": EntryMode.NFC, "payer_key": bytes([card]) * 32, "operation": Operation.SALE} | fields
        record = make_intent(money=Money(amount_minor, currency), **fields)
        return ChannelRequest(
            record.operation, record, record.money, CardCredential(Pan(pan or f"62590000000{card:05d}")),
            Merchant(record.merchant_id), 0.0, trace={"message_id": f"{record.id}-1"},
        )  # fmt: skip

    return make


def stand_in_of(database: asyncpg.Pool, **changes: object) -> PostgresStandIn:
    return PostgresStandIn(database, {"bank": replace(LIMITS, **changes)}, acquire_timeout_s=5)


async def test_an_approval_has_a_code_and_owes_an_advice(database: asyncpg.Pool, ask: Ask) -> None:
    stand_in = stand_in_of(database)
    first, second = ask(), ask(card=1)
    codes = await stand_in.approve("bank", [first, second])
    assert all(code is not None and len(code) == 6 for code in codes)
    assert await stand_in.owed("bank") == 2


async def test_an_issuer_without_limits_is_not_stood_in_for(database: asyncpg.Pool, ask: Ask) -> None:
    stand_in = stand_in_of(database)
    assert await stand_in.approve("other", [ask()]) == [None]
    assert await stand_in.owed("other") == 0


async def test_what_is_never_stood_in_for(database: asyncpg.Pool, ask: Ask) -> None:
    stand_in = stand_in_of(database)
    with_pin, code = ask(), ask()
    with_pin.pin_block = bytes(8)
    code.credential = CodeCredential("alipay", PaymentCode("285012345678901234"))
    others = [
        ask(501),
        ask(currency="USD"),
        ask(entry=EntryMode.KEYED),
        ask(pan="6225880000000019"),
        ask(payer_key=b""),
    ]
    assert await stand_in.approve("bank", [with_pin, code, *others]) == [None] * 7
    assert await stand_in.owed("bank") == 0


@pytest.mark.parametrize(
    ("amounts", "cards", "approved"),
    [
        ([500, 500, 1], [0, 0, 0], [True, True, False]),  # the card's amount
        ([1, 1, 1, 1], [0, 0, 0, 0], [True, True, True, False]),  # the card's count
        ([500, 500, 500, 500, 1], [0, 1, 2, 3, 4], [True, True, True, True, False]),  # the total amount
        ([1, 1, 1, 1, 1, 1, 1], [0, 1, 2, 3, 4, 5, 6], [True] * 6 + [False]),  # the total count
        ([500, 400, 101, 100], [0, 0, 0, 0], [True, True, False, True]),  # a smaller one still fits
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_the_limits(
    database: asyncpg.Pool, ask: Ask, amounts: list[int], cards: list[int], approved: list[bool], at_once: bool
) -> None:
    stand_in = stand_in_of(database)
    requests = [ask(amount, card) for amount, card in zip(amounts, cards, strict=True)]
    if at_once:
        codes = await stand_in.approve("bank", requests)
    else:
        codes = [code for request in requests for code in await stand_in.approve("bank", [request])]
    assert [code is not None for code in codes] == approved


async def test_processes_share_the_limits(database: asyncpg.Pool, ask: Ask) -> None:
    processes = [stand_in_of(database) for _ in range(4)]
    requests = [ask(100, card) for card in range(40)]
    decided = await asyncio.gather(
        *(processes[number % 4].approve("bank", [request]) for number, request in enumerate(requests))
    )
    assert sum(code is not None for [code] in decided) == 6
    same_card = await asyncio.gather(*(each.approve("card", [ask(500, 50)]) for each in processes))
    assert same_card == [[None]] * 4


async def test_the_same_message_is_decided_once(database: asyncpg.Pool, ask: Ask) -> None:
    request = ask(500)
    answers = await asyncio.gather(*(stand_in_of(database).approve("bank", [request, request]) for _ in range(3)))
    assert len({code for codes in answers for code in codes}) == 1
    assert await stand_in_of(database).owed("bank") == 1


async def test_the_window_slides(database: asyncpg.Pool, ask: Ask) -> None:
    stand_in = stand_in_of(database)
    assert None not in await stand_in.approve("bank", [ask(500), ask(500)])
    assert await stand_in.approve("bank", [ask(500)]) == [None]
    await database.execute("UPDATE stand_in_approvals SET approved_time_ms = approved_time_ms - 3600001")
    assert None not in await stand_in.approve("bank", [ask(500)])


async def test_an_advice_is_one_processs_until_its_lease_ends(
    database: asyncpg.Pool, journal: PostgresJournal, ask: Ask, owner: UUID
) -> None:
    stand_in = stand_in_of(database)
    requests = [ask(100, card) for card in range(5)]
    await journal.record_intents([request.authorization for request in requests])
    codes = await stand_in.approve("bank", requests)
    claimed = await asyncio.gather(*(stand_in.claim_advices(owner, ["bank"], 3, 30) for _ in range(3)))
    advices = [advice for each in claimed for advice in each]
    assert sorted(advice.message_id for advice in advices) == sorted(each.trace["message_id"] for each in requests)
    told = {advice.message_id: advice for advice in advices}
    for request, code in zip(requests, codes, strict=True):
        advice = told[request.trace["message_id"]]
        assert (advice.approval_code, advice.attempts) == (code, 0)
        assert (advice.authorization.id, advice.authorization.money) == (request.authorization.id, request.money)
    assert await stand_in.claim_advices(owner, ["bank"], 9, 30) == []
    assert await stand_in.claim_advices(owner, ["other"], 9, 30) == []


async def test_an_advice_is_repeated_until_it_is_answered_and_then_never(
    database: asyncpg.Pool, journal: PostgresJournal, ask: Ask, owner: UUID
) -> None:
    stand_in = stand_in_of(database)
    request = ask()
    await journal.record_intents([request.authorization])
    await stand_in.approve("bank", [request])
    [first] = await stand_in.claim_advices(owner, ["bank"], 9, 30)
    await stand_in.finish_advices([(first, "", 0.0)])
    [again] = await stand_in.claim_advices(owner, ["bank"], 9, 30)
    assert (again.message_id, again.attempts) == (first.message_id, 1)
    await stand_in.finish_advices([(first, "00", 0.0)])  # under an old fence: no effect
    assert await stand_in.owed("bank") == 1
    await stand_in.finish_advices([(again, "00", 0.0)])
    assert await stand_in.owed("bank") == 0
    await database.execute("UPDATE stand_in_approvals SET lease_until_ms = 0, due_time_ms = 0")
    assert await stand_in.claim_advices(owner, ["bank"], 9, 30) == []
