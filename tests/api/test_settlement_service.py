"""SettlementService over a real socket: roles, fields, what is answered."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import grpc.aio
import pytest
from books import DAY, NEXT_DAY, SHOP, Books

from payswitch.v1 import settlement_pb2 as pb
from payswitch.v1 import settlement_pb2_grpc as pb_grpc
from switch.api.guarded import access_of, add_guarded
from switch.api.settlement_service import SettlementServicer
from switch.domain.access import MERCHANT_ROLES, Caller, Role
from switch.domain.business_day import later

SERVICE = pb.DESCRIPTOR.services_by_name["SettlementService"]
MERCHANTS_OWN = {"GetStatement", "ExportStatement", "ListPayouts", "GetBalance"}


class OpenGate:
    """Lets in whom the test says; `switch.api.gate` decides that elsewhere."""

    def __init__(self) -> None:
        self.caller = Caller("finance/ann", frozenset({Role.FINANCE}))

    async def admit(self, context: Any, request: Any, access: Any) -> Caller:
        return self.caller


class Desk:
    def __init__(self, books: Books, stub: Any, gate: OpenGate) -> None:
        self.books = books
        self.stub = stub
        self._gate = gate

    def become(self, name: str) -> None:
        self._gate.caller = Caller(f"finance/{name}", frozenset({Role.FINANCE}))


@pytest.fixture
async def desk(database: asyncpg.Pool, postgres_dsn: str) -> AsyncIterator[Desk]:
    books, gate = Books(database, postgres_dsn), OpenGate()
    await books.empty()
    servicer = SettlementServicer(
        books.close, books.pricing, books.settlements, books.days, books.batches, books.accounts, books.checker
    )
    server = grpc.aio.server()
    add_guarded(SERVICE, servicer, gate, server)  # type: ignore[arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Desk(books, pb_grpc.SettlementServiceStub(channel), gate)
    await server.stop(0.1)
    await books.empty()


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    async def heard() -> None:
        if not hasattr(call, "__aiter__"):
            await call
            return
        async for _ in call:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await heard()
    return caught.value.code(), caught.value.details() or ""


def test_finance_moves_money_and_merchants_people_read_their_own() -> None:
    for method in SERVICE.methods:
        roles = {Role(each) for each in access_of(method).roles}
        if method.name in MERCHANTS_OWN:
            assert roles == {Role.FINANCE} | (MERCHANT_ROLES - {Role.MERCHANT_CASHIER})
            assert method.input_type.fields[0].name == "merchant_id"
        else:
            assert Role.FINANCE in roles
            assert roles <= {Role.FINANCE, Role.OPERATOR}
    moving = {each.name for each in SERVICE.methods if access_of(each).step_up}
    assert moving == {
        "CreateBatch", "ReleaseBatch", "RejectBatch", "GetPayoutFile", "ConfirmPayouts", "ReturnPayout",
    }  # fmt: skip


async def test_a_day_from_its_sales_to_the_bank(desk: Desk) -> None:
    books, stub = desk.books, desk.stub
    books.merchants.sign(reserve_basis_points=500, reserve_days=30)
    await books.sale(10_000)
    await books.sale(50, merchant_id="m2")
    books.clock.now_ms += 86_400_000
    closed = (await stub.CloseDay(pb.CloseDayRequest(day=DAY))).day
    assert (closed.day, closed.closed_by, closed.transactions, len(closed.digest)) == (DAY, "finance/ann", 2, 32)
    day = await stub.GetDay(pb.GetDayRequest(day=DAY))
    assert day.day == closed
    assert sum(each.amount_minor for each in day.totals) == 0
    assert [(each.merchant_id, each.payments) for each in day.unpriced] == [("m2", 1)]
    batch = (await stub.CreateBatch(pb.CreateBatchRequest(idempotency_key="k", currency="CNY"))).batch
    assert (batch.state, batch.total_minor, batch.reserve_minor) == (pb.PAYOUT_STATE_DRAFT, 9_443, 497)
    code, _ = await refused(stub.ReleaseBatch(pb.ReleaseBatchRequest(batch_id=batch.id)))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert not (await stub.ListPayouts(pb.ListPayoutsRequest(merchant_id=SHOP))).payouts
    desk.become("bob")
    batch = (await stub.ReleaseBatch(pb.ReleaseBatchRequest(batch_id=batch.id))).batch
    parts = [each async for each in stub.GetBatch(pb.GetBatchRequest(batch_id=batch.id))]
    assert parts[0].batch == batch
    assert [each.account_number_end for part in parts for each in part.payouts] == ["7890"]
    assert [each.merchant_id for part in parts for each in part.left_out] == ["m2"]
    request = pb.GetPayoutFileRequest(batch_id=batch.id, form=pb.PAYOUT_FILE_FORM_PAIN_001)
    first, again = [[part async for part in stub.GetPayoutFile(request)] for _ in range(2)]
    assert first == again
    content = b"".join(each.content for each in first)
    assert hashlib.sha256(content).digest() == first[0].digest
    assert batch.message_id.encode() in content
    confirm = pb.ConfirmPayoutsRequest(batch_id=batch.id)
    assert [(await stub.ConfirmPayouts(confirm)).payouts for _ in range(2)] == [1, 0]
    [payout] = (await stub.ListPayouts(pb.ListPayoutsRequest(merchant_id=SHOP))).payouts
    assert (payout.state, payout.payout_minor) == (pb.PAYOUT_STATE_PAID, 9_443)
    back = pb.ReturnPayoutRequest(batch_id=batch.id, merchant_id=SHOP, reason="account closed")
    assert [(await stub.ReturnPayout(back)).returned for _ in range(2)] == [True, False]
    [balance] = (await stub.GetBalance(pb.GetBalanceRequest(merchant_id=SHOP))).balances
    assert (balance.closed_minor, balance.now_minor, balance.reserve_minor) == (9_940, 9_443, 497)
    assert not (await stub.CheckLedger(pb.CheckLedgerRequest())).faults
    await books.pool.execute("UPDATE ledger_entries SET source = 'x'")
    assert [each.rule for each in (await stub.CheckLedger(pb.CheckLedgerRequest(day=DAY))).faults] == [
        "day-is-unchanged"
    ]


async def test_statements_come_in_parts(desk: Desk) -> None:
    desk.books.merchants.sign()
    await desk.books.enter(*(desk.books.event(amount=1_000) for _ in range(520)))
    period = {"merchant_id": SHOP, "currency": "CNY", "from_day": DAY, "until_day": NEXT_DAY}
    parts = [each async for each in desk.stub.GetStatement(pb.GetStatementRequest(**period))]
    assert [len(each.lines) for each in parts] == [0, 500, 20]
    assert parts[0].opening_balance_minor == 0
    assert [each.HasField("closing_balance_minor") for each in parts] == [False, False, True]
    assert parts[-1].closing_balance_minor == 520 * 994 == parts[-1].lines[-1].balance_minor
    chunks = [each.content async for each in desk.stub.ExportStatement(pb.ExportStatementRequest(**period))]
    assert b"".join(chunks).count(b"\r\n") == 523


async def test_lists_come_in_pages(desk: Desk) -> None:
    books, stub = desk.books, desk.stub
    for number in range(5):
        books.merchants.sign(f"m{number}")
        await books.sale(1_000, merchant_id=f"m{number}")
    await books.close_day()
    for number in range(3):
        key = pb.CreateBatchRequest(idempotency_key=f"k{number}", currency="CNY")
        batch = (await stub.CreateBatch(key)).batch
        await stub.RejectBatch(pb.RejectBatchRequest(batch_id=batch.id, reason="again"))
        books.clock.now_ms += 1
    seen, token = [], ""
    while True:
        page = await stub.ListBatches(pb.ListBatchesRequest(page_size=2, page_token=token))
        seen += [each.created_time_ms for each in page.batches]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 3
    accounts, token = [], ""
    while True:
        answer = await stub.ListBalances(pb.ListBalancesRequest(page_size=4, page_token=token))
        accounts += [(each.merchant_id, each.account) for each in answer.balances]
        token = answer.next_page_token
        if not token:
            break
    assert len(accounts) == len(set(accounts)) == 5 * 4  # channel, fees, merchant, in transit
    assert accounts == sorted(accounts)


BAD: list[tuple[str, Any, str]] = [
    ("CloseDay", pb.CloseDayRequest(day="today"), "day"),
    ("GetDay", pb.GetDayRequest(day="2026-02-30"), "day"),
    ("CheckLedger", pb.CheckLedgerRequest(day="x"), "day"),
    ("ListBalances", pb.ListBalancesRequest(page_size=1_001), "page_size"),
    ("ListBalances", pb.ListBalancesRequest(page_token="a"), "page_token"),
    ("ListBatches", pb.ListBatchesRequest(page_token="1.x"), "page_token"),
    ("ListBatches", pb.ListBatchesRequest(page_token=f"{1 << 63}.{uuid4()}"), "page_token"),
    ("ListBatches", pb.ListBatchesRequest(page_size=-1), "page_size"),
    ("GetBatch", pb.GetBatchRequest(batch_id="b"), "batch_id"),
    ("CreateBatch", pb.CreateBatchRequest(currency="CNY"), "idempotency_key"),
    ("CreateBatch", pb.CreateBatchRequest(idempotency_key="k", currency="cny"), "currency"),
    ("ReleaseBatch", pb.ReleaseBatchRequest(), "batch_id"),
    ("GetPayoutFile", pb.GetPayoutFileRequest(batch_id=str(uuid4())), "form"),
    ("GetStatement", pb.GetStatementRequest(merchant_id=SHOP, currency="CNY", from_day=DAY), "until_day"),
    ("GetStatement", pb.GetStatementRequest(currency="CNY", from_day=DAY, until_day=DAY), "merchant_id"),
    (
        "ExportStatement",
        pb.ExportStatementRequest(merchant_id=SHOP, currency="CNY", from_day=DAY, until_day=later(DAY, 92)),
        "until_day",
    ),
    ("ListPayouts", pb.ListPayoutsRequest(merchant_id="a b"), "merchant_id"),
    ("GetBalance", pb.GetBalanceRequest(merchant_id="1234567890123456"), "merchant_id"),
]


async def test_a_malformed_field_is_named(desk: Desk) -> None:
    for method, request, field in BAD:
        code, text = await refused(getattr(desk.stub, method)(request))
        assert (code, text.partition(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, field), method


async def test_what_is_not_there_or_not_now(desk: Desk) -> None:
    stub, unknown = desk.stub, str(uuid4())
    code, _ = await refused(stub.GetDay(pb.GetDayRequest(day=DAY)))
    assert code is grpc.StatusCode.NOT_FOUND
    code, _ = await refused(stub.ReleaseBatch(pb.ReleaseBatchRequest(batch_id=unknown)))
    assert code is grpc.StatusCode.NOT_FOUND
    code, text = await refused(stub.CreateBatch(pb.CreateBatchRequest(idempotency_key="k", currency="CNY")))
    assert (code, text) == (grpc.StatusCode.FAILED_PRECONDITION, "no day is closed yet")
    code, _ = await refused(stub.CloseDay(pb.CloseDayRequest(day="2026-12-31")))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
