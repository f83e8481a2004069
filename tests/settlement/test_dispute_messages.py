"""What a merchant's servers are told of disputes: each change once, in the transaction that makes it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from settlement_books import NOON_MS, SetClock

from switch.domain.access import Caller, Role
from switch.domain.authorization import Authorization
from switch.domain.dispute import Dispute, DisputeKind, ReasonCategory
from switch.domain.money import Money
from switch.domain.refusals import NotPossible
from switch.domain.webhook import Endpoint, EndpointState
from switch.settlement.disputes import Claim, Disputes, Rules
from switch.store.disputes import PostgresDisputes
from switch.store.webhooks import PostgresWebhooks

Sell = Callable[..., Any]
FINANCE = Caller("finance/ann", frozenset({Role.FINANCE}))
OWNER = Caller("user/owner", frozenset({Role.MERCHANT_OWNER}), merchant_id="m1")


@pytest.fixture
def disputes(books: asyncpg.Pool, clock: SetClock) -> Disputes:
    return Disputes(PostgresDisputes(books), clock, Rules())


async def listen(books: asyncpg.Pool, *types: str, merchant_id: str = "m1", paused: bool = False) -> UUID:
    state = EndpointState.PAUSED if paused else EndpointState.ACTIVE
    endpoint = Endpoint(merchant_id, uuid4(), "https://a.example/", "", types, state, b"sealed")
    await PostgresWebhooks(books).add(endpoint, 10, "user/owner", "WebhookService.CreateEndpoint")
    return endpoint.id


def claim(payment: Authorization, case: str = "C-1", kind: DisputeKind = DisputeKind.CHARGEBACK) -> Claim:
    money, category = Money(600, "CNY"), ReasonCategory.FRAUD
    return Claim(
        payment.merchant_id, payment.id, kind, case, money, "10.4", category, text="the cardholder says no"
    )  # fmt: skip


async def messages(books: asyncpg.Pool, endpoint_id: UUID) -> list[dict[str, Any]]:
    """As they will be sent, in the order of the disputes' versions."""
    rows = await books.fetch(
        "SELECT event_type, payload FROM webhook_deliveries WHERE endpoint_id = $1 AND state = 1", endpoint_id
    )
    told = [json.loads(row["payload"]) for row in rows]
    assert [each["type"] for each in told] == [row["event_type"] for row in rows]
    return sorted(told, key=lambda each: each["data"]["version"])


async def test_each_change_of_a_dispute_is_told_once(
    disputes: Disputes, sell: Sell, books: asyncpg.Pool, clock: SetClock
) -> None:
    every, closed = await listen(books, "*"), await listen(books, "dispute.closed", paused=True)
    foreign, payments = await listen(books, "*", merchant_id="m2"), await listen(books, "payment.approved")
    payment = await sell("a")
    opened = await disputes.open(claim(payment), FINANCE)
    assert await disputes.open(claim(payment), FINANCE) == opened
    key = opened.merchant_id, opened.id
    clock.now_ms += 60_000
    await disputes.contest(*key, OWNER, "it was delivered")
    with pytest.raises(NotPossible):
        await disputes.contest(*key, OWNER, "again")
    await disputes.decide(*key, FINANCE, won=True, text="the issuer agrees")
    told = await messages(books, every)
    assert [(each["type"], each["data"]["state"]) for each in told] == [
        ("dispute.opened", "open"),
        ("dispute.updated", "represented"),
        ("dispute.closed", "won"),
    ]
    assert told[0]["data"] == {
        "merchant_id": "m1",
        "dispute_id": str(opened.id),
        "authorization_id": str(payment.id),
        "channel": "pay",
        "kind": "chargeback",
        "state": "open",
        "case_number": "C-1",
        "amount_minor": 600,
        "currency": "CNY",
        "reason_code": "10.4",
        "category": "fraud",
        "version": 1,
        "opened_time_ms": opened.opened_time_ms,
        "due_time_ms": opened.due_time_ms,
        "time_ms": opened.opened_time_ms,
    }
    assert told[2]["data"]["time_ms"] == clock.now_ms
    assert [each["type"] for each in await messages(books, closed)] == ["dispute.closed"]
    assert await messages(books, foreign) == await messages(books, payments) == []


async def test_a_deadline_that_ends_a_dispute_is_told_once(
    disputes: Disputes, sell: Sell, books: asyncpg.Pool, clock: SetClock
) -> None:
    endpoint = await listen(books, "dispute.closed")
    chargeback = await disputes.open(claim(await sell("a")), FINANCE)
    retrieval = await disputes.open(claim(await sell("b"), kind=DisputeKind.RETRIEVAL), FINANCE)
    clock.now_ms = max(chargeback.due_time_ms, retrieval.due_time_ms)
    await asyncio.gather(disputes.expire(), disputes.expire())
    told = {each["data"]["dispute_id"]: each["data"]["state"] for each in await messages(books, endpoint)}
    assert told == {str(chargeback.id): "lost", str(retrieval.id): "unanswered"}


async def test_what_is_not_committed_is_not_told(disputes: Disputes, sell: Sell, books: asyncpg.Pool) -> None:
    endpoint = await listen(books, "*")
    payment = await sell("a", time_ms=NOON_MS)
    done = await asyncio.gather(
        *(disputes.open(claim(payment, f"C-{number}"), FINANCE) for number in range(3)), return_exceptions=True
    )
    [opened] = [each for each in done if isinstance(each, Dispute)]
    assert [each["data"]["dispute_id"] for each in await messages(books, endpoint)] == [str(opened.id)]
