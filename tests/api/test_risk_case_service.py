"""RiskCaseService over a real socket: how a subject is named, pages, roles, and a freeze that a payment meets."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc.aio
import pytest
from case_scene import CaseScene, case_scene, key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from desk_scene import ANN, NOW_MS
from stix_made import BUNDLE_ID, bundle, indicator

from payswitch.v1 import access_pb2
from payswitch.v1 import risk_cases_pb2 as pb
from switch.api.errors import NotAllowed
from switch.api.guarded import add_guarded
from switch.api.risk_case_service import RiskCaseServicer
from switch.domain.access import Caller, Role
from switch.domain.payer import Payer
from switch.domain.risk import ListKind, Outcome, Subject
from switch.risk.sharing import Partner, Sharing
from switch.risk.subjects import address_key, device_key, merchant_key, terminal_key, user_key
from switch.store.risk_traffic import PostgresTraffic

SERVICE = pb.DESCRIPTOR.services_by_name["RiskCaseService"]
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(32))
TOKEN = "6200001234567890"
CARD, USER, DEVICE = pb.RISK_SUBJECT_CARD, pb.RISK_SUBJECT_USER, pb.RISK_SUBJECT_DEVICE
MERCHANT, TERMINAL, IP = pb.RISK_SUBJECT_MERCHANT, pb.RISK_SUBJECT_TERMINAL, pb.RISK_SUBJECT_IP


class NamedGate:
    """Whoever the metadata names, `role/id`, behind the same roles as everywhere."""

    async def admit(self, context: Any, request: Any, access: access_pb2.Access) -> Caller:
        name = dict(context.invocation_metadata())["who"]
        role = Role[name.partition("/")[0].upper()]
        if role not in access.roles:
            raise NotAllowed("not open to the caller's role")
        return Caller(name, frozenset({role}))


class OneToken:
    async def of_tokens(self, tokens: Sequence[str]) -> list[str | None]:
        return [key(77) if each == TOKEN else None for each in tokens]


@dataclass
class Door:
    channel: grpc.aio.Channel
    scene: CaseScene

    async def __call__(self, request: Any, who: str = "risk/ann") -> Any:
        """The call is found by the request's name."""
        name = type(request).__name__.removesuffix("Request")
        call = self.channel.unary_unary(
            f"/{SERVICE.full_name}/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=getattr(pb, f"{name}Response").FromString,
        )
        return await call(request, metadata=(("who", who),))

    async def refused(self, request: Any, who: str = "risk/ann") -> tuple[str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self(request, who)
        return error.value.code().name, error.value.details() or ""


@pytest.fixture
async def door(database: asyncpg.Pool) -> AsyncIterator[Door]:
    scene = await case_scene(database)
    partners = {"bank": Partner("bank", SIGNER.public_key(), ListKind.BLOCK, 30)}
    sharing = Sharing(partners, "us", scene.lists, scene.listings, scene.listings, scene.cases, scene.clock)
    servicer = RiskCaseServicer(scene.lists, scene.desk, sharing, PostgresTraffic(database), OneToken())
    server = grpc.aio.server()
    add_guarded(SERVICE, servicer, NamedGate(), server)  # type: ignore[arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Door(channel, scene)
    await server.stop(None)


def adding(*subjects: pb.RiskSubjectName, **fields: Any) -> pb.AddListingsRequest:
    values = {"kind": pb.RISK_LIST_KIND_BLOCK, "name": "stolen", "reason": "a test", "subjects": subjects} | fields
    return pb.AddListingsRequest(**values)


def named(subject: int, **by: Any) -> pb.RiskSubjectName:
    return pb.RiskSubjectName(subject=subject, **by)  # type: ignore[arg-type]


async def test_every_way_to_name_a_subject_gives_the_key_that_payments_have(door: Door) -> None:
    payment = await door.scene.judged({Subject.CARD: key(5)}, Outcome.DECLINE)
    of_payment = pb.RiskPaymentName(merchant_id="m1", authorization_id=str(payment))
    names = {
        key(77): named(CARD, card_token=TOKEN),
        key(5): named(CARD, payment=of_payment),
        key(6): named(CARD, key=key(6)),
        user_key(Payer(user="payswitch:1")): named(USER, text="payswitch:1"),
        device_key(Payer(device="acme:7")): named(DEVICE, text="acme:7"),
        merchant_key("m1"): named(MERCHANT, text="m1"),
        terminal_key("m1", "t1"): named(TERMINAL, text="m1 t1"),
        address_key("192.0.2.7"): named(IP, text="::ffff:192.0.2.7"),
        address_key("2001:db8::7"): named(IP, text="2001:DB8:0::7"),
    }
    batch = (await door(adding(*names.values()))).batch
    assert (batch.state, batch.size, batch.source) == (pb.LISTING_BATCH_STATE_APPLIED, len(names), "risk/ann")
    for of, name in names.items():
        [listed] = (await door(pb.ListListingsRequest(subject=name), "operator/op")).listings
        assert (listed.key, listed.subject, listed.kind) == (of, name.subject, pb.RISK_LIST_KIND_BLOCK)
    shown = {each.shown for each in (await door(pb.ListListingsRequest())).listings}
    assert shown == {"", "m1", "m1 t1", "192.0.2.7", "2001:db8::7"}
    taken_off = named(CARD, card_token=TOKEN)
    await door(pb.RemoveListingRequest(kind=pb.RISK_LIST_KIND_BLOCK, name="stolen", subject=taken_off, reason="no"))
    assert len((await door(pb.ListListingsRequest(name="stolen"))).listings) == len(names) - 1


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        (named(CARD, text="4111111111111111"), "INVALID_ARGUMENT", "never by its number"),
        (named(CARD, card_token="1"), "NOT_FOUND", "no such token"),
        (named(USER, card_token=TOKEN), "INVALID_ARGUMENT", "names a card"),
        (named(CARD, key="4111"), "INVALID_ARGUMENT", "32 hexadecimal digits"),
        (named(CARD), "INVALID_ARGUMENT", "by what it is named"),
        (named(0, text="x"), "INVALID_ARGUMENT", "subjects[0].subject"),
        (named(99, text="x"), "INVALID_ARGUMENT", "subjects[0].subject"),
        (named(IP, text="localhost"), "INVALID_ARGUMENT", "is no address"),
        (named(TERMINAL, text="m1"), "INVALID_ARGUMENT", "the merchant's id, a space"),
        (named(USER, text="\n"), "INVALID_ARGUMENT", "printable"),
        (named(CARD, payment=pb.RiskPaymentName(merchant_id="m1", authorization_id="7")), "INVALID_ARGUMENT", "UUID"),
    ],
    ids=range(11),
)
async def test_what_names_nobody_is_refused(door: Door, name: pb.RiskSubjectName, code: str, told: str) -> None:
    status, text = await door.refused(adding(name))
    assert status == code
    assert told in text
    assert "4111" not in text


async def test_so_many_are_looked_up_in_one_call(door: Door) -> None:
    status, text = await door.refused(adding(*[named(CARD, card_token=TOKEN)] * 501))
    assert (status, text) == ("INVALID_ARGUMENT", "subjects: at most 500 by a token or a payment")


async def test_lists_and_cases_come_in_pages(door: Door) -> None:
    await door(adding(*(named(CARD, key=key(number)) for number in range(7))))
    found, token = [], ""
    while True:
        answer = await door(pb.ListListingsRequest(page_size=3, page_token=token))
        found += [each.key for each in answer.listings]
        token = answer.next_page_token
        if not token:
            break
    assert found == [key(number) for number in range(7)]
    for number in range(4):
        await door.scene.opened(of=key(number), severity=500)
    first = await door(pb.ListCasesRequest(page_size=3))
    rest = await door(pb.ListCasesRequest(page_size=3, page_token=first.next_page_token))
    assert len({each.id for each in (*first.cases, *rest.cases)}) == 4
    assert rest.next_page_token == ""
    for request in (pb.ListListingsRequest(page_token="x.y"), pb.ListListingBatchesRequest(page_token="-1")):
        assert (await door.refused(request))[0] == "INVALID_ARGUMENT"


async def test_a_case_from_its_alert_to_its_end(door: Door) -> None:
    case_id = str(await door.scene.opened(severity=900))
    taken = (await door(pb.TakeCaseRequest(id=case_id))).case
    assert (taken.assigned_to, taken.severity, taken.state) == ("risk/ann", 900, pb.RISK_CASE_STATE_OPEN)
    assert await door.refused(pb.TakeCaseRequest(id=case_id), "risk/bob") == ("FAILED_PRECONDITION", "it is risk/ann's")
    assert [each.id for each in (await door(pb.ListCasesRequest(mine=True))).cases] == [case_id]
    assert not (await door(pb.ListCasesRequest(unassigned=True))).cases
    acted = await door(pb.ActOnCaseRequest(id=case_id, action=pb.RISK_CASE_ACTION_FREEZE, reason="stolen"))
    assert acted.batch.state == pb.LISTING_BATCH_STATE_APPLIED
    assert await door.scene.blocked(Subject.CARD, key(1))
    await door(pb.AddCaseNoteRequest(id=case_id, text="called the payer"))
    closed = await door(pb.CloseCaseRequest(id=case_id, outcome=pb.RISK_CASE_OUTCOME_CONFIRMED_FRAUD, text="stolen"))
    assert closed.case.outcome == pb.RISK_CASE_OUTCOME_CONFIRMED_FRAUD
    file = await door(pb.GetCaseRequest(id=case_id))
    assert [each.act for each in file.events] == ["taken", "acted", "noted", "closed as CONFIRMED_FRAUD"]
    assert [each.kind for each in file.alerts] == ["credential_stuffing"]
    assert (await door.refused(pb.CloseCaseRequest(id=case_id, text="x")))[0] == "INVALID_ARGUMENT"
    reopened = (await door(pb.ReopenCaseRequest(id=case_id, text="once more"), "risk/bob")).case
    assert (reopened.state, reopened.assigned_to) == (pb.RISK_CASE_STATE_OPEN, "risk/bob")
    given = await door(pb.AssignCaseRequest(id=case_id, assigned_to="risk/cat", version=reopened.version))
    assert given.case.assigned_to == "risk/cat"


async def test_a_merchants_freeze_is_confirmed_by_a_second_person(door: Door) -> None:
    case_id = str(await door.scene.opened(Subject.MERCHANT, merchant_key("m1")))
    acted = await door(pb.ActOnCaseRequest(id=case_id, action=pb.RISK_CASE_ACTION_FREEZE, reason="a front"))
    assert acted.batch.state == pb.LISTING_BATCH_STATE_WAITING
    waiting = pb.ListListingBatchesRequest(waiting=True)
    assert [each.id for each in (await door(waiting)).batches] == [acted.batch.id]
    confirm = pb.DecideListingsRequest(batch_id=acted.batch.id, approve=True)
    assert (await door.refused(confirm))[0] == "PERMISSION_DENIED"
    assert (await door(confirm, "risk/bob")).batch.decided_by == "risk/bob"
    assert not (await door(waiting)).batches
    assert await door.scene.blocked(Subject.MERCHANT, merchant_key("m1"))


async def test_a_signed_bundle_and_an_unsigned_one(door: Door) -> None:
    content = bundle(indicator())
    request = pb.ImportIndicatorsRequest(partner="bank", bundle=content, signature=SIGNER.sign(content))
    taken = await door(request)
    assert (taken.bundle_id, taken.indicators, taken.batch.size) == (BUNDLE_ID, 1, 1)
    assert (await door(request)).known == 1
    unsigned = pb.ImportIndicatorsRequest(partner="bank", bundle=content)
    assert (await door.refused(unsigned))[0] == "UNAUTHENTICATED"
    wrong = b'{"type": "bundle"}'
    status, text = await door.refused(
        pb.ImportIndicatorsRequest(partner="bank", bundle=wrong, signature=SIGNER.sign(wrong))
    )
    assert (status, text) == ("INVALID_ARGUMENT", "bundle: id: must be bundle--<UUID>")
    assert b"bundle--" in (await door(pb.ExportIndicatorsRequest(partner="bank"))).bundle
    assert (await door.refused(pb.ExportIndicatorsRequest(partner="nobody")))[0] == "NOT_FOUND"


async def test_operators_read_lists_and_work_on_no_case(door: Door) -> None:
    await door(pb.ListListingsRequest(), "operator/op")
    for request in (adding(named(CARD, key=key(1))), pb.ListCasesRequest(), pb.ExportIndicatorsRequest(partner="bank")):
        assert (await door.refused(request, "operator/op"))[0] == "PERMISSION_DENIED"
    assert ANN.name == "risk/ann"
    assert door.scene.clock.now_ms == NOW_MS
