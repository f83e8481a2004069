"""ReconciliationService and DisputeService over a real socket: roles, fields, errors, pages."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg
import grpc.aio
import pytest
from settlement_books import DAY, NOON_MS, TABLES, SetClock, sell

from payswitch.v1 import access_pb2, common_pb2
from payswitch.v1 import dispute_pb2 as disputes_pb
from payswitch.v1 import reconciliation_pb2 as pb
from switch.api.dispute_service import DisputeServicer
from switch.api.errors import NotAllowed
from switch.api.guarded import access_of, add_guarded
from switch.api.reconciliation_service import ReconciliationServicer
from switch.domain.access import Caller, Role
from switch.domain.bill import Bill
from switch.ports import BillNotReady, BillRefused
from switch.settlement.breaks import Breaks
from switch.settlement.disputes import Disputes, Rules
from switch.settlement.reconcile import Reconciliations
from switch.settlement.reconcile import Rules as ReconcileRules
from switch.store.breaks import PostgresBreaks
from switch.store.disputes import PostgresDisputes
from switch.store.reconciliation import PostgresReconciliation
from switch.store.sessions import Connection

RECONCILIATION = pb.DESCRIPTOR.services_by_name["ReconciliationService"]
DISPUTES = disputes_pb.DESCRIPTOR.services_by_name["DisputeService"]
HEADER = "kind,reference,original_reference,channel_reference,amount_minor,currency,fee_minor,time\r\n"
LINE = "payment,foreign,,c1,70,CNY,1,2026-11-20T12:00:00+08:00\r\n"


class NamedGate:
    """Whoever the metadata names, `role/id`, behind the same roles as everywhere."""

    async def admit(self, context: Any, request: Any, access: access_pb2.Access) -> Caller:
        name = dict(context.invocation_metadata())["who"]
        role = Role[name.partition("/")[0].upper()]
        if role not in access.roles:
            raise NotAllowed("not open to the caller's role")
        return Caller(name, frozenset({role}))


@dataclass
class Late:
    """A channel that fails as it is told to."""

    name: str
    failure: Exception

    async def bill(self, day: date) -> Bill:
        raise self.failure


@dataclass
class Desk:
    channel: grpc.aio.Channel
    books: asyncpg.Pool
    work: Reconciliations

    async def __call__(self, request: Any, who: str = "finance/ann") -> Any:
        """The call is found by the request's name."""
        name = type(request).__name__.removesuffix("Request")
        for service in (RECONCILIATION, DISPUTES):
            if name in service.methods_by_name:
                module = pb if service is RECONCILIATION else disputes_pb
                response = getattr(module, f"{name}Response")
                kind = self.channel.unary_stream if name == "GetEvidence" else self.channel.unary_unary
                call = kind(
                    f"/{service.full_name}/{name}",
                    request_serializer=type(request).SerializeToString,
                    response_deserializer=response.FromString,
                )(request, metadata=(("who", who),))
                return [each async for each in call] if name == "GetEvidence" else await call
        raise AssertionError(name)


@pytest.fixture
async def desk(database: asyncpg.Pool, postgres_dsn: str) -> AsyncIterator[Desk]:
    for table in TABLES:
        await database.execute(f"DELETE FROM {table}")

    @asynccontextmanager
    async def connection() -> AsyncIterator[Connection]:
        opened = await asyncpg.connect(postgres_dsn)
        try:
            yield opened
        finally:
            await opened.close()

    connect: Callable[[], AbstractAsyncContextManager[Connection]] = connection
    clock = SetClock(NOON_MS + 86_400_000)
    store = PostgresReconciliation(database, connect)
    late = {"late": BillNotReady("at ten"), "forged": BillRefused("forged"), "away": ConnectionError("no route")}
    work = Reconciliations(store, {name: Late(name, each) for name, each in late.items()}, clock, ReconcileRules())
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 6 * 1024 * 1024)])
    gate: Any = NamedGate()
    breaks = Breaks(PostgresBreaks(database), clock)
    add_guarded(RECONCILIATION, ReconciliationServicer(work, store, breaks, clock), gate, server)
    add_guarded(DISPUTES, DisputeServicer(Disputes(PostgresDisputes(database), clock, Rules())), gate, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Desk(channel, database, work)
    await server.stop(None)


async def refused(desk: Desk, request: Any, who: str = "finance/ann") -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await desk(request, who)
    code: grpc.StatusCode = caught.value.code()
    return code


INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
NOT_NOW, FORBIDDEN = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED


# --- reconciliation ---------------------------------------------------------------------------------------------------


async def test_a_break_from_its_bill_to_its_write_off(desk: Desk) -> None:
    bill = (HEADER + LINE).encode()
    done = (await desk(pb.RunReconciliationRequest(channel="pay", day=str(DAY), bill=bill))).reconciliation
    assert (done.bill_version, done.lines, done.active_breaks, dict(done.counts)) == (1, 1, 1, {"THEIRS_ONLY": 1})
    assert [(each.currency, each.settlement_minor) for each in done.sums] == [("CNY", 69)]
    again = await desk(pb.GetReconciliationRequest(channel="pay", day=str(DAY)), "operator/olga")
    assert again.reconciliation == done
    listed = await desk(pb.ListReconciliationsRequest(channel="pay"), "operator/olga")
    assert list(listed.reconciliations) == [done]
    [found] = (await desk(pb.ListBreaksRequest(states=[pb.BREAK_STATE_OPEN]), "operator/olga")).breaks
    assert (found.break_class, found.theirs.amount_minor, found.HasField("ours")) == (
        pb.BREAK_CLASS_THEIRS_ONLY, 70, False,
    )  # fmt: skip
    key = {"channel": "pay", "id": found.id}
    await desk(pb.AssignBreakRequest(**key))
    await desk(pb.NoteBreakRequest(**key, text="asked them"))
    await desk(pb.ProposeWriteOffRequest(**key, reason="never ours"))
    assert await refused(desk, pb.ApproveWriteOffRequest(**key, difference_minor=70)) is FORBIDDEN
    await desk(pb.ApproveWriteOffRequest(**key, difference_minor=70), "finance/bob")
    end = (await desk(pb.GetBreakRequest(**key), "operator/olga")).found
    assert (end.state, end.closed_by, end.suspense_minor) == (pb.BREAK_STATE_WRITTEN_OFF, "bob", 0)
    assert [(each.who, each.text) for each in end.notes] == [("ann", "asked them")]
    assert await refused(desk, pb.ResolveBreakRequest(**key, reason="x")) is NOT_NOW
    ages = (await desk(pb.GetBreakAgesRequest())).ages
    assert (sum(each.count for each in ages), ages[-1].to_days) == (0, -1)


async def test_breaks_come_in_pages(desk: Desk) -> None:
    bill = (HEADER + "".join(LINE.replace("foreign", f"f{n}") for n in range(5))).encode()
    await desk(pb.RunReconciliationRequest(channel="pay", day=str(DAY), bill=bill))
    seen, token = [], ""
    while True:
        page = await desk(pb.ListBreaksRequest(page_size=2, page_token=token))
        seen += [each.id for each in page.breaks]
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen)) == 5


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (pb.RunReconciliationRequest(channel="pay", day="20.11.2026"), INVALID),
        (pb.RunReconciliationRequest(channel="", day="2026-11-20"), INVALID),
        (pb.RunReconciliationRequest(channel="pay", day="2026-11-20"), NOT_FOUND),
        (pb.RunReconciliationRequest(channel="pay", day="2026-11-22", bill=HEADER.encode()), NOT_NOW),
        (pb.RunReconciliationRequest(channel="pay", day="2026-11-20", bill=b"\xff"), INVALID),
        (pb.RunReconciliationRequest(channel="pay", day="2026-11-20", bill=b"kind\r\n"), INVALID),
        (pb.RunReconciliationRequest(channel="late", day="2026-11-20"), NOT_NOW),
        (pb.RunReconciliationRequest(channel="forged", day="2026-11-20"), INVALID),
        (pb.RunReconciliationRequest(channel="away", day="2026-11-20"), grpc.StatusCode.UNAVAILABLE),
        (pb.GetReconciliationRequest(channel="pay", day="2026-11-19"), NOT_FOUND),
        (pb.ListReconciliationsRequest(channel="pay", page_size=101), INVALID),
        (pb.ListBreaksRequest(page_size=-1), INVALID),
        (pb.ListBreaksRequest(page_token="pay|x"), INVALID),
        (pb.ListBreaksRequest(states=[99]), INVALID),  # type: ignore[list-item]
        (pb.ListBreaksRequest(least_age_days=-1), INVALID),
        (pb.GetBreakRequest(channel="pay", id="x"), INVALID),
        (pb.GetBreakRequest(channel="pay", id="0" * 32), NOT_FOUND),
        (pb.AssignBreakRequest(channel="pay", id="0" * 32), NOT_FOUND),
    ],
)
async def test_bad_requests_of_finance(desk: Desk, request_: Any, code: grpc.StatusCode) -> None:
    assert await refused(desk, request_) is code


# --- disputes ---------------------------------------------------------------------------------------------------------


async def test_a_dispute_from_the_issuer_to_the_end(desk: Desk) -> None:
    payment = await sell(desk.books, "a", channel="issuer:bank")
    asked = disputes_pb.OpenDisputeRequest(
        merchant_id="m1", authorization_id=str(payment.id), kind=disputes_pb.DISPUTE_KIND_CHARGEBACK,
        case_number="C-1", amount=common_pb2.Money(amount_minor=400, currency="CNY"), reason_code="10.4",
        category=disputes_pb.REASON_CATEGORY_FRAUD,
    )  # fmt: skip
    assert await refused(desk, asked, "issuer/other") is NOT_FOUND
    opened = (await desk(asked, "issuer/bank")).dispute
    assert (opened.state, opened.amount.amount_minor) == (disputes_pb.DISPUTE_STATE_OPEN, 400)
    key = {"merchant_id": "m1", "dispute_id": opened.id}
    content = b"%PDF-" + bytes(range(256)) * 1_000
    file = (
        await desk(
            disputes_pb.AddEvidenceRequest(**key, name="a.pdf", content_type="application/pdf", content=content),
            "merchant_manager/max",
        )
    ).evidence
    parts = await desk(disputes_pb.GetEvidenceRequest(**key, id=file.id))
    assert (b"".join(each.content for each in parts), len(parts)) == (content, 4)
    answer = disputes_pb.AnswerDisputeRequest(merchant_id="m1", id=opened.id)
    assert await refused(desk, answer, "merchant_owner/o") is INVALID
    answer.answer = disputes_pb.DISPUTE_ANSWER_CONTEST
    done = (await desk(answer, "merchant_owner/o")).dispute
    assert done.state == disputes_pb.DISPUTE_STATE_REPRESENTED
    assert await refused(desk, answer, "merchant_owner/o") is NOT_NOW
    again = disputes_pb.EscalateDisputeRequest(merchant_id="m1", id=opened.id, text="no")
    assert (await desk(again, "issuer/bank")).dispute.state == disputes_pb.DISPUTE_STATE_SECOND
    answer.answer = disputes_pb.DISPUTE_ANSWER_ACCEPT
    assert (await desk(answer, "merchant_owner/o")).dispute.state == disputes_pb.DISPUTE_STATE_LOST
    found = (await desk(disputes_pb.GetDisputeRequest(merchant_id="m1", id=opened.id), "merchant_viewer/v")).dispute
    assert [each.sha256 for each in found.evidence] == [file.sha256]
    listed = await desk(disputes_pb.ListDisputesRequest(page_size=1), "operator/olga")
    assert [each.id for each in listed.disputes] == [opened.id]
    late = disputes_pb.DecideDisputeRequest(merchant_id="m1", id=opened.id, won=True)
    assert await refused(desk, late) is NOT_NOW
    assert await refused(desk, disputes_pb.WithdrawDisputeRequest(merchant_id="m1", id=opened.id)) is NOT_NOW


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 0},
        {"kind": 9},
        {"category": 0},
        {"merchant_id": ""},
        {"authorization_id": "x"},
        {"case_number": ""},
        {"reason_code": ""},
        {"amount": common_pb2.Money(amount_minor=-1, currency="CNY")},
        {"amount": common_pb2.Money(amount_minor=1, currency="XXX")},
        {"amount": common_pb2.Money(amount_minor=10**12, currency="CNY")},
    ],
)
async def test_bad_openings(desk: Desk, change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "merchant_id": "m1", "authorization_id": "0" * 32, "kind": 2, "case_number": "C-1",
        "amount": common_pb2.Money(amount_minor=1, currency="CNY"), "reason_code": "r", "category": 1,
    }  # fmt: skip
    assert await refused(desk, disputes_pb.OpenDisputeRequest(**fields)) is NOT_FOUND
    assert await refused(desk, disputes_pb.OpenDisputeRequest(**(fields | change))) is INVALID


def test_who_may_do_what() -> None:
    """The whole table, so that a role is never opened by a slip."""

    def table(service: Any) -> dict[str, set[str]]:
        return {each.name: {Role(role).name for role in access_of(each).roles} for each in service.methods}

    reads = {"FINANCE", "OPERATOR"}
    acts = ("RunReconciliation", "AssignBreak", "NoteBreak", "ResolveBreak", "ProposeWriteOff", "ApproveWriteOff")
    looks = ("GetReconciliation", "ListReconciliations", "ListBreaks", "GetBreak", "GetBreakAges")
    expected = {name: {"FINANCE"} for name in acts} | dict.fromkeys(looks, reads)
    assert table(RECONCILIATION) == expected
    people = {"MERCHANT_OWNER", "MERCHANT_MANAGER"}
    bank = {"FINANCE", "ISSUER"}
    assert table(DISPUTES) == {
        "OpenDispute": bank, "EscalateDispute": bank, "WithdrawDispute": bank, "DecideDispute": {"FINANCE"},
        "AnswerDispute": people, "AddEvidence": people, "GetEvidence": people | {"FINANCE"},
        "ListDisputes": people | reads | {"MERCHANT_VIEWER"},
        "GetDispute": people | reads | {"MERCHANT_VIEWER", "ISSUER"},
    }  # fmt: skip
