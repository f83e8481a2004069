import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases

_keys = (f"key-{number}" for number in itertools.count())


@pytest.fixture
def leases(database: asyncpg.Pool) -> PostgresLeases:
    return PostgresLeases(database, lease_s=600)  # longer than any test; those of leases end them themselves


@pytest.fixture
async def owner(leases: PostgresLeases) -> UUID:
    """A living switch process."""
    owner, _ = await leases.join("test")
    return owner


@pytest.fixture
def journal(database: asyncpg.Pool) -> PostgresJournal:
    return PostgresJournal(database, reversal_after_s=0)


@pytest.fixture
def make_intent(owner: UUID, make_intent_for: Callable[[UUID], Authorization]) -> Callable[..., Authorization]:
    """An authorization as it is recorded before it is sent; every one has another idempotency key."""

    def make(**fields: Any) -> Authorization:
        intent = make_intent_for(owner)
        if "merchant_id" in fields and "id" not in fields:
            fields["id"] = computed_id("acquirer-1", fields["merchant_id"], intent.created_time_ms, next(_keys))
        return replace(intent, **fields)

    return make


@pytest.fixture
def approve(journal: PostgresJournal, make_intent: Callable[..., Authorization]) -> Callable[..., Any]:
    """Record an authorization and its approval; a SALE is captured at once."""

    async def run(**fields: Any) -> Authorization:
        intent = make_intent(**fields)
        assert await journal.record_intents([intent]) == [None]
        intent.state, intent.decision, intent.response_code = State.APPROVED, Decision.APPROVED, "00"
        intent.approval_code, intent.approved_minor = "123456", intent.money.amount_minor
        intent.captured_minor = intent.approved_minor if intent.operation is Operation.SALE else 0
        intent.answered_time_ms = intent.created_time_ms + 20
        assert await journal.record_outcomes([intent], [0.0]) == [True]
        return intent

    return run


@pytest.fixture
def make_follow_on() -> Callable[..., FollowOn]:
    def make(original: Authorization, operation: Operation, amount_minor: int = 0, **fields: Any) -> FollowOn:
        now_ms = int(time.time() * 1000)
        values: dict[str, Any] = {
            "id": computed_id(original.acquirer_id, original.merchant_id, now_ms, next(_keys)),
            "authorization_id": original.id,
            "acquirer_id": original.acquirer_id,
            "merchant_id": original.merchant_id,
            "operation": operation,
            "money": Money(amount_minor, "CNY"),
            "fingerprint": b"o" * 32,
            "trace": {"stan": "000002"},
            "created_time_ms": now_ms,
        }
        return FollowOn(**(values | fields))

    return make


@pytest.fixture
def make_intent_for() -> Callable[[UUID], Authorization]:
    """For tests with a server of their own: an intent of that owner."""

    def make(owner: UUID) -> Authorization:
        now_ms = int(time.time() * 1000)
        return Authorization(
            id=computed_id("acquirer-1", "merchant-1", now_ms, next(_keys)),
            acquirer_id="acquirer-1",
            merchant_id="merchant-1",
            terminal_id="terminal",
            merchant_category_code="5411",
            operation=Operation.SALE,
            money=Money(10_000, "CNY"),
            entry=EntryMode.NFC,
            masked_credential="622588******1234",
            fingerprint=b"f" * 32,
            sealed_credential=b"s" * 48,
            channel="unionpay",
            attempt=1,
            route_explanation="622588 is UnionPay's",
            trace={"stan": "000001", "rrn": "123456789012"},
            owner=owner,
            created_time_ms=now_ms,
        )

    return make
