"""Payments of yesterday in a real journal, a clock that tests set, and connections of one's own."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from settlement_books import NOON_MS, TABLES, SetClock

from switch.domain.authorization import Authorization
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.store.rows import authorization_row
from switch.store.sessions import Connection

_numbers = itertools.count()

_INSERT = """
INSERT INTO authorizations (
    merchant_id, id, acquirer_id, terminal_id, merchant_category_code, operation, amount_minor, currency, entry,
    masked_credential, fingerprint, payer_key, sealed_credential, state, decision, response_code, reason, stage,
    channel, attempt, route_explanation, trace, approval_code, retrieval_reference, channel_reference,
    emv_response, approved_minor, captured_minor, refunded_minor, owner, created_time_ms, answered_time_ms)
SELECT * FROM unnest($1::authorization_row[])
"""


@pytest.fixture
def clock() -> SetClock:
    """Noon of the day after DAY."""
    return SetClock(NOON_MS + 86_400_000)


@pytest.fixture
async def books(database: asyncpg.Pool) -> asyncpg.Pool:
    """The pool, every table of settlement empty."""
    for table in TABLES:
        await database.execute(f"DELETE FROM {table}")
    return database


@pytest.fixture
def connect(postgres_dsn: str) -> Callable[[], AbstractAsyncContextManager[Connection]]:
    @asynccontextmanager
    async def connection() -> AsyncIterator[Connection]:
        opened = await asyncpg.connect(postgres_dsn)
        try:
            yield opened
        finally:
            await opened.close()

    return connection


@pytest.fixture
def sell(books: asyncpg.Pool) -> Callable[..., Any]:
    """A sale as the journal has it in the end; name: its out_trade_no."""

    async def run(
        name: str, amount_minor: int = 1_000, state: State = State.APPROVED, time_ms: int = NOON_MS, **fields: Any
    ) -> Authorization:
        merchant, paid = fields.pop("merchant_id", "m1"), amount_minor if state is State.APPROVED else 0
        values: dict[str, Any] = {
            "id": computed_id("acq", merchant, time_ms, f"k{next(_numbers)}"), "acquirer_id": "acq",
            "merchant_id": merchant, "terminal_id": "t1", "merchant_category_code": "5411",
            "operation": Operation.SALE, "money": Money(amount_minor, "CNY"), "entry": EntryMode.PAYER_CODE,
            "masked_credential": "28****", "state": state, "decision": Decision.APPROVED if paid else Decision.DECLINED,
            "channel": "pay", "trace": {"out_trade_no": name}, "approved_minor": paid, "captured_minor": paid,
            "created_time_ms": time_ms, "answered_time_ms": time_ms,
        }  # fmt: skip
        record = Authorization(**(values | fields))
        await books.execute(_INSERT, [authorization_row(record)])
        return record

    return run
