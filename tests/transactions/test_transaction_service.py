"""TransactionService behind its calls: who sees what, page tokens, exports."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from transaction_scene import Scene, Shops, person

from hsm.direct import DirectHsm
from payswitch.v1 import authorization_pb2, refund_pb2, transaction_pb2, webhook_pb2
from payswitch.v1 import transaction_pb2 as pb
from switch.api.errors import InvalidField
from switch.api.guarded import access_of
from switch.api.refund_service import RefundServicer
from switch.api.transaction_service import TransactionServicer
from switch.api.webhook_service import WebhookServicer
from switch.domain.access import Caller, Role
from switch.domain.audit import AuditEntry
from switch.domain.money import Money
from switch.domain.refusals import Invalid, Missing, TooMany
from switch.domain.states import EntryMode, Operation, State
from switch.domain.transaction import Page, Transaction, TransactionFilter
from switch.merchants.exports import CHUNK_BYTES, Exports, cells
from switch.merchants.page_tokens import PageTokens
from switch.merchants.transactions import Listed, Selection, Transactions
from switch.store.feed_consumer import FeedConsumer
from switch.store.transactions import PostgresTransactions, append_audit, project

OWNER = person(Role.MERCHANT_OWNER)
FINANCE = Caller("finance/ann", frozenset({Role.FINANCE}))
MOST_ROWS = 40


@pytest.fixture
def shops() -> Shops:
    return Shops({"T1": "north", "T2": "south", "T3": "north"})


@pytest.fixture
def orders() -> dict[str, list[UUID]]:
    """order number -> payments."""
    return {}


@pytest.fixture
def service(scene: Scene, hsm: DirectHsm, shops: Shops, orders: dict[str, list[UUID]]) -> TransactionServicer:
    store = PostgresTransactions(scene.database)

    async def of_order(merchant_id: str, number: str) -> list[UUID]:
        return orders.get(number, [])

    async def audit(entry: AuditEntry) -> None:
        await append_audit(scene.database, entry)

    transactions = Transactions(store, shops, PageTokens(hsm), scene.clock, of_order)
    return TransactionServicer(transactions, Exports(transactions, store, audit, MOST_ROWS, at_once=1))


async def listed(scene: Scene, count: int, **fields: object) -> list[str]:
    """Payments that are in the list; their ids, newest first."""
    records = [await scene.paid(100 + index, **fields) for index in range(count)]
    for record in records:
        await scene.tell(scene.event(record))
    await FeedConsumer(scene.database, "transactions", project).catch_up()
    return [str(record.id) for record in reversed(records)]


def query(scene: Scene, **fields: object) -> pb.QueryTransactionsRequest:
    return pb.QueryTransactionsRequest(merchant_id=scene.merchant_id, **fields)  # type: ignore[arg-type]


async def ids(service: TransactionServicer, request: pb.QueryTransactionsRequest, caller: Caller = OWNER) -> list[str]:
    answer = await service.QueryTransactions(request, caller)
    return [each.authorization_id for each in answer.transactions]


@pytest.mark.parametrize(
    ("service", "servicer"),
    [
        (transaction_pb2.DESCRIPTOR.services_by_name["TransactionService"], TransactionServicer),
        (refund_pb2.DESCRIPTOR.services_by_name["RefundService"], RefundServicer),
        (webhook_pb2.DESCRIPTOR.services_by_name["WebhookService"], WebhookServicer),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_every_call_is_there_and_names_its_roles(service: object, servicer: type) -> None:
    for method in service.methods:  # type: ignore[attr-defined]
        assert callable(getattr(servicer, method.name))
        roles = {Role(each) for each in access_of(method).roles}
        assert Role.ANYONE not in roles
        assert Role.PAYER not in roles
        # A viewer reads, and a cashier manages nothing.
        if Role.MERCHANT_VIEWER in roles:
            assert method.name.startswith(("Query", "Get", "List", "Export"))
        if Role.MERCHANT_CASHIER in roles:
            assert method.name in {"QueryTransactions", "GetTransaction", "RequestRefund", "GetRefund"}


async def test_pages_by_token(scene: Scene, service: TransactionServicer) -> None:
    expected = await listed(scene, 5)
    first = await service.QueryTransactions(query(scene, page_size=3), OWNER)
    assert [each.authorization_id for each in first.transactions] == expected[:3]
    second = await service.QueryTransactions(query(scene, page_size=3, page_token=first.next_page_token), OWNER)
    assert [each.authorization_id for each in second.transactions] == expected[3:]
    assert second.next_page_token == ""
    one = first.transactions[0]
    assert (one.amount.amount_minor, one.store_id, one.masked_credential) == (104, "north", "622588******1234")
    assert one.kind == authorization_pb2.AUTHORIZATION_KIND_SALE


async def test_a_token_is_good_for_its_own_question_only(scene: Scene, service: TransactionServicer) -> None:
    await listed(scene, 3)
    token = (await service.QueryTransactions(query(scene, page_size=1), OWNER)).next_page_token
    other_filter = query(scene, page_size=1, page_token=token, filter=pb.TransactionFilter(response_code="00"))
    other_merchant = pb.QueryTransactionsRequest(merchant_id="another", page_token=token)
    flipped = ("B" if token[3] == "A" else "A").join((token[:3], token[4:]))
    wrong = [
        other_filter,
        other_merchant,
        *(query(scene, page_token=each) for each in (flipped, "x", token + "A", "é")),
    ]
    for request in wrong:
        with pytest.raises(Invalid, match="page_token"):
            await service.QueryTransactions(request, OWNER)
    with pytest.raises(InvalidField, match="page_token"):
        await service.QueryTransactions(query(scene, page_token="A" * 201), OWNER)


async def test_a_cashier_sees_the_days_payments(scene: Scene, service: TransactionServicer) -> None:
    now = datetime.fromtimestamp(scene.clock.now_ms / 1000, ZoneInfo("Asia/Shanghai"))
    midnight_ms = int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
    [before] = await listed(scene, 1, time_ms=midnight_ms - 1)
    [after] = await listed(scene, 1, time_ms=midnight_ms)
    cashier = person(Role.MERCHANT_CASHIER)
    assert await ids(service, query(scene), cashier) == [after]
    assert await ids(service, query(scene), FINANCE) == [after, before]
    request = pb.GetTransactionRequest(merchant_id=scene.merchant_id, authorization_id=before)
    with pytest.raises(Missing):
        await service.GetTransaction(request, cashier)
    assert (await service.GetTransaction(request, OWNER)).transaction.authorization_id == before


async def test_what_must_be_looked_up(
    scene: Scene, service: TransactionServicer, orders: dict[str, list[UUID]]
) -> None:
    [north] = await listed(scene, 1, terminal_id="T3", payer_key=b"one")
    [south] = await listed(scene, 1, terminal_id="T2", payer_key=b"two")
    [again] = await listed(scene, 1, terminal_id="T2", payer_key=b"one")
    [nobody] = await listed(scene, 1, terminal_id="T9", payer_key=b"")
    orders["A-1"] = [UUID(south)]

    async def of(**fields: object) -> list[str]:
        return await ids(service, query(scene, filter=pb.TransactionFilter(**fields)))  # type: ignore[arg-type]

    assert await of(store_id="south") == [again, south]
    assert await of(store_id="north", terminal_id="T2") == []
    assert await of(store_id="nowhere") == []
    assert await of(same_payer_as=north) == [again, north]
    assert await of(same_payer_as=nobody) == []
    assert await of(order_number="A-1") == [south]
    assert await of(order_number="A-1", authorization_id=north) == []
    assert await of(order_number="A-2") == []
    with pytest.raises(Missing):
        await of(same_payer_as=str(UUID(int=1)))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"from_time_ms": -1}, "from_time_ms"),
        ({"from_time_ms": 5, "until_time_ms": 5}, "until_time_ms"),
        ({"authorization_id": "x"}, "authorization_id"),
        ({"state": 77}, "state"),
        ({"entry": 77}, "entry"),
        ({"terminal_id": "T 1"}, "terminal_id"),
        ({"at_least_minor": 5}, "currency"),
        ({"currency": "XXX"}, "currency"),
        ({"currency": "CNY", "at_least_minor": 5, "at_most_minor": 4}, "at_most_minor"),
        ({"currency": "CNY", "at_most_minor": 10**12}, "at_most_minor"),
        ({"response_code": "0"}, "response_code"),
        ({"card_first_six": "62258"}, "card_first_six"),
        ({"card_last_four": "12345"}, "card_last_four"),
        ({"channel_reference": "a\0b"}, "channel_reference"),
    ],
)
async def test_a_wrong_field_is_named(
    scene: Scene, service: TransactionServicer, fields: dict[str, object], named: str
) -> None:
    with pytest.raises(InvalidField, match=f"filter.{named}"):
        await ids(service, query(scene, filter=pb.TransactionFilter(**fields)))  # type: ignore[arg-type]


async def exported(
    service: TransactionServicer, scene: Scene, form: int, **fields: object
) -> tuple[bytes, pb.ExportEnd]:
    request = pb.ExportTransactionsRequest(
        merchant_id=scene.merchant_id,
        format=form,
        filter=pb.TransactionFilter(**fields),  # type: ignore[arg-type]
    )
    parts = [each async for each in service.ExportTransactions(request, OWNER)]
    assert all(len(each.data) <= CHUNK_BYTES for each in parts)
    assert [each.WhichOneof("part") for each in parts].count("end") == 1
    return b"".join(each.data for each in parts), parts[-1].end


async def test_a_csv_has_no_formulas_and_is_audited(scene: Scene, service: TransactionServicer) -> None:
    [plain] = await listed(scene, 1)
    await listed(scene, 1, reason='=HYPERLINK("http://evil","x")', channel_reference="+1")
    data, end = await exported(service, scene, pb.EXPORT_FORMAT_CSV_WITH_BOM)
    assert data.startswith(b"\xef\xbb\xbftime")
    first, evil, row = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    assert evil[first.index("reason")] == '\'=HYPERLINK("http://evil","x")'
    assert evil[first.index("channel reference")] == "'+1"
    assert (row[first.index("authorization")], row[first.index("amount")]) == (plain, "1.00")
    assert (end.rows, end.truncated) == (2, False)
    without, _ = await exported(service, scene, pb.EXPORT_FORMAT_CSV, response_code="51")
    assert without.startswith(b"time")
    assert without.count(b"\r\n") == 1
    entries = await scene.audited("TransactionService.ExportTransactions")
    assert [(each["who"], each["subject"]) for each in entries] == [
        (OWNER.name, "export/csv_with_bom"),
        (OWNER.name, "export/csv"),
    ]
    assert entries[1]["after"] == '{"response_code":"51"}'


async def test_an_export_is_bounded_and_says_so(scene: Scene, service: TransactionServicer) -> None:
    await listed(scene, MOST_ROWS + 1)
    data, end = await exported(service, scene, pb.EXPORT_FORMAT_CSV)
    assert (end.rows, end.truncated, data.count(b"\r\n")) == (MOST_ROWS, True, MOST_ROWS + 1)


async def test_a_workbook_reads_back(scene: Scene, service: TransactionServicer) -> None:
    await listed(scene, 2, reason="=1+1")
    data, end = await exported(service, scene, pb.EXPORT_FORMAT_XLSX)
    book = openpyxl.load_workbook(io.BytesIO(data))
    sheet = book.active
    assert sheet is not None
    heading, newest, _ = list(sheet.iter_rows())
    columns = {each.value: index for index, each in enumerate(heading)}
    assert newest[columns["reason"]].value == "=1+1"
    assert newest[columns["reason"]].data_type == "s"  # a text, no formula
    assert newest[columns["amount"]].value == 1.01
    assert end.rows == 2


async def test_exports_wait_for_nobody(scene: Scene, service: TransactionServicer) -> None:
    await listed(scene, 2)
    request = pb.ExportTransactionsRequest(merchant_id=scene.merchant_id, format=pb.EXPORT_FORMAT_CSV)
    first: AsyncIterator[object] = service.ExportTransactions(request, OWNER)
    await anext(first)
    with pytest.raises(TooMany):
        await anext(service.ExportTransactions(request, OWNER))
    async for _ in first:
        pass
    await exported(service, scene, pb.EXPORT_FORMAT_CSV)


def test_amounts_are_in_major_units_of_their_currency() -> None:
    one = Transaction(
        "m", UUID(int=0), 0, Operation.SALE, State.APPROVED, Money(999_999_999_999, "KWD"), 1, 0, 0, EntryMode.NFC,
        "T1", "", "", "", "", "", "", "", "",
    )  # fmt: skip
    assert cells(one, {})[5:7] == ["999999999.999", "0.001"]


class Stuck:
    """A store whose searches end when they are let go."""

    def __init__(self) -> None:
        self.going = asyncio.Event()
        self.under_way = 0

    async def search(self, merchant_id: str, wanted: TransactionFilter, before: UUID | None, size: int) -> Page:
        self.under_way += 1
        await self.going.wait()
        return Page([], None)

    async def find(self, merchant_id: str, authorization_id: UUID) -> None: ...

    async def payer_key(self, merchant_id: str, authorization_id: UUID) -> bytes | None: ...


async def test_searches_leave_the_database_to_the_road(scene: Scene, hsm: DirectHsm) -> None:
    store = Stuck()
    transactions = Transactions(store, Shops(), PageTokens(hsm), scene.clock)

    def ask() -> asyncio.Task[Listed]:
        return asyncio.create_task(transactions.query(OWNER, "m", Selection(TransactionFilter()), 10, ""))

    waiting = [ask() for _ in range(2 + 32)]
    await asyncio.sleep(0)  # each has come as far as it gets
    assert store.under_way == 2
    with pytest.raises(TooMany):
        await ask()
    waiting.pop().cancel()  # who goes away gives his place to another
    await asyncio.sleep(0)
    waiting.append(ask())
    await asyncio.sleep(0)
    assert store.under_way == 2
    store.going.set()
    assert [listed.rows for listed in await asyncio.gather(*waiting)] == [[]] * 34
