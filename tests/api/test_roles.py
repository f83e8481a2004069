"""Every call of every service × every role: who is in its roles passes the gate, everybody else does not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from payswitch.v1 import access_pb2
from switch.api.errors import NotAllowed, NotAuthenticated
from switch.api.gate import Gate
from switch.api.guarded import access_of
from switch.api.roles_page import page, services
from switch.domain.access import CREDENTIAL_PREFIX, MERCHANT_ROLES, Caller, Credential, Role, Session
from switch.pki import participant_of

PAGE = Path(__file__).parents[2] / "docs" / "roles.md"
METHODS = [method for service in services() for method in service.methods]
USER, SESSION = UUID(int=1), UUID(int=2)
OF_CERTIFICATES = [each for each in Role if each not in {Role.ANYONE, Role.PAYER, *MERCHANT_ROLES}]


class Tokens:
    """A session's token is "fresh" or "stepped-up"."""

    async def session(self, token: str) -> Session | None:
        return Session(SESSION, USER, token == "stepped-up") if token in ("fresh", "stepped-up") else None


class OneRole:
    """At merchant M1 the user has that role, and there is a credential in it."""

    def __init__(self, role: Role | None) -> None:
        self._role = role

    async def role_of(self, merchant_id: str, user_id: UUID) -> Role | None:
        return self._role if (merchant_id, user_id) == ("M1", USER) else None

    async def credential(self, secret: str) -> Credential | None:
        return Credential("M1-1", "M1", self._role) if self._role and secret == CREDENTIAL_PREFIX + "good" else None


def call(certificate: str = "", bearer: str = "") -> Any:
    """What the gate sees of a call."""
    return SimpleNamespace(
        peer=lambda: "ipv4:192.0.2.7:4711",
        peer_identities=lambda: [certificate.encode()] if certificate else None,
        peer_identity_key=lambda: "x509_subject_alternative_name" if certificate else None,
        invocation_metadata=lambda: [("authorization", f"Bearer {bearer}")] if bearer else [],
    )


def request_of(method: MethodDescriptor, merchant_id: str = "M1") -> Any:
    request = GetMessageClass(method.input_type)()
    if names_merchant(method):
        request.merchant_id = merchant_id  # type: ignore[attr-defined]
    return request


def names_merchant(method: MethodDescriptor) -> bool:
    field = method.input_type.fields_by_name.get("merchant_id")
    return field is not None and field.type == FieldDescriptor.TYPE_STRING


async def verdict(
    method: MethodDescriptor, context: Any, role: Role | None = None, merchant_id: str = "M1"
) -> Caller | type[Exception]:
    gate = Gate(participant_of, Tokens(), OneRole(role))
    try:
        return await gate.admit(context, request_of(method, merchant_id), access_of(method))
    except (NotAllowed, NotAuthenticated) as error:
        return type(error)


def passed(found: Caller | type[Exception], *roles: Role) -> bool:
    if not isinstance(found, Caller) or (found.merchant_id != "") != bool(MERCHANT_ROLES & set(roles)):
        return False
    return found.roles == frozenset(roles) and found.address == "ipv4:192.0.2.7:4711"


def test_the_contract_numbers_roles_as_the_domain_does() -> None:
    named = {name.removeprefix("ROLE_"): number for name, number in access_pb2.Role.items() if number}
    assert named == {each.name: each.value for each in Role}


def test_there_are_the_services_that_there_must_be() -> None:
    names = {each.name for each in services()}
    assert {"AuthorizationService", "IssuerService", "OperationsService", "MerchantService"} <= names


def test_the_page_says_what_the_contract_says() -> None:
    assert PAGE.read_text() == page(services()), "python -m switch.api.roles_page > docs/roles.md"


@pytest.mark.parametrize("method", METHODS, ids=lambda each: each.full_name.removeprefix("payswitch.v1."))
async def test_every_role_at_every_call(method: MethodDescriptor) -> None:
    access = access_of(method)
    wanted = {Role(each) for each in access.roles}
    if wanted & MERCHANT_ROLES:
        assert names_merchant(method), "a merchant's people act at the merchant that the request names"
        assert method.input_type.fields_by_name["merchant_id"].number == 1
    if Role.ANYONE in wanted:
        assert wanted == {Role.ANYONE}
        for context in (call(), call(bearer="expired"), call(bearer=CREDENTIAL_PREFIX + "bad")):
            assert passed(await verdict(method, context))
        return
    assert await verdict(method, call()) is NotAuthenticated
    assert await verdict(method, call(bearer="expired")) is NotAuthenticated
    assert await verdict(method, call(bearer=CREDENTIAL_PREFIX + "bad"), Role.MERCHANT_OWNER) is NotAuthenticated
    for role in OF_CERTIFICATES:
        found = await verdict(method, call(f"payswitch://{role.name.lower()}/x"))
        assert passed(found, role) if role in wanted else found is NotAllowed, role
    for member in (None, *sorted(MERCHANT_ROLES)):
        await check_people(method, wanted, member, access.step_up)


async def check_people(method: MethodDescriptor, wanted: set[Role], member: Role | None, step_up: bool) -> None:
    """A signed-in user, with that role at M1 or none, and a credential in that role; here and at another merchant."""
    certificate = "payswitch://operator/x"  # of the connection; what speaks for the call is the token
    held = {Role.PAYER} | ({member} if member else set())
    found = await verdict(method, call(certificate, "stepped-up"), member)
    assert passed(found, *held & wanted) if held & wanted else found is NotAllowed, member
    found = await verdict(method, call(bearer="fresh"), member)
    may = held & wanted and not step_up
    assert passed(found, *held & wanted) if may else found is NotAllowed, member
    elsewhere = await verdict(method, call(bearer="stepped-up"), member, "M2")
    assert passed(elsewhere, Role.PAYER) if Role.PAYER in wanted else elsewhere is NotAllowed, member
    if member is not None:
        credential = call(bearer=CREDENTIAL_PREFIX + "good")
        found = await verdict(method, credential, member)
        assert passed(found, member) if member in wanted else found is NotAllowed, member
        assert await verdict(method, credential, member, "M2") is NotAllowed
