"""The whole way through the gate: a user applies, reviewers decide, an owner acts, a machine by its credential."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import grpc.aio
import pytest
from guarded_door import Door, listener_credentials
from merchant_office import PNG, Office, account, business, terms

from payswitch.v1 import access_pb2
from payswitch.v1 import merchant_pb2 as pb
from switch.api.gate import Gate
from switch.api.guarded import add_guarded
from switch.domain.access import Session
from switch.pki import Authority, participant_of

WANG, LI = UUID(int=1), UUID(int=2)
OK, DENIED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED


class Tokens:
    async def session(self, token: str) -> Session | None:
        users = {"wang": WANG, "li": LI}
        return Session(UUID(int=9), users[token], stepped_up=True) if token in users else None


@pytest.fixture
async def door(office: Office, tmp_path: Path) -> AsyncIterator[Door]:
    authority, server = Authority(tmp_path), grpc.aio.server()
    gate = Gate(participant_of, Tokens(), office.merchants)
    add_guarded(pb.DESCRIPTOR.services_by_name["MerchantService"], office.service, gate, server)
    authority.ensure()
    port = server.add_secure_port("127.0.0.1:0", listener_credentials(authority))
    await server.start()
    yield Door(authority, port)
    await server.stop(0)


async def test_from_an_application_to_a_machine_that_is_shut_out(office: Office, door: Door) -> None:
    edge, ann, bob = (
        door.authority.participant(*each) for each in (("platform", "edge"), ("reviewer", "ann"), ("reviewer", "bob"))
    )
    applied = await door.answer("Apply", pb.ApplyRequest(business=business(), account=account()), edge, "wang")
    merchant_id = applied.application.merchant_id
    licence = pb.AddDocumentRequest(merchant_id=merchant_id, kind=pb.DOCUMENT_KIND_BUSINESS_LICENCE, content=PNG)
    await door.answer("AddDocument", licence, edge, "wang")
    store = pb.AddStoreRequest(merchant_id=merchant_id, name="Bund", address="外滩 1 号")
    assert (await door.call("AddStore", store, edge, "wang"))[0] is DENIED  # not a merchant yet
    review = pb.ReviewApplicationRequest(merchant_id=merchant_id, round=1, approve=True)
    await door.answer("ReviewApplication", review, ann)
    assert (await door.call("ReviewApplication", review, ann))[0] is DENIED
    await door.answer("ReviewApplication", review, bob)

    proposed = pb.ProposeContractRequest(merchant_id=merchant_id, terms=terms())
    version = (await door.answer("ProposeContract", proposed, ann)).contract.version
    approve = pb.ApproveContractRequest(merchant_id=merchant_id, version=version)
    assert (await door.call("ApproveContract", approve, ann))[0] is DENIED
    await door.answer("ApproveContract", approve, bob)

    invite = pb.InviteRequest(merchant_id=merchant_id, role=access_pb2.ROLE_MERCHANT_MANAGER, label="Li")
    code = (await door.answer("Invite", invite, edge, "wang")).code
    assert (await door.call("AddStore", store, edge, "li"))[0] is DENIED
    await door.answer("RedeemInvitation", pb.RedeemInvitationRequest(code=code), edge, "li")
    await door.answer("AddStore", store, edge, "li")
    create = pb.CreateApiCredentialRequest(
        merchant_id=merchant_id, role=access_pb2.ROLE_MERCHANT_MANAGER, label="till", networks=["127.0.0.1/32"]
    )
    made = await door.answer("CreateApiCredential", create, edge, "li")
    assert (await door.call("AddStore", store, edge, made.secret))[0] is OK
    assert (await door.call("Invite", invite, edge, made.secret))[0] is DENIED
    remove = pb.RemoveMemberRequest(merchant_id=merchant_id, user_id=str(LI))
    left = await door.answer("RemoveMember", remove, edge, "wang")
    assert (await door.call("AddStore", store, edge, "li"))[0] is DENIED
    revoke = pb.RevokeApiCredentialRequest(merchant_id=merchant_id, credential_id=left.credential_ids[0])
    await door.answer("RevokeApiCredential", revoke, edge, "wang")
    assert (await door.call("AddStore", store, edge, made.secret))[0] is grpc.StatusCode.UNAUTHENTICATED
    stores = await door.answer("ListStores", pb.ListStoresRequest(merchant_id=merchant_id), edge, "wang")
    assert len(stores.stores) == 2
    who = {each["who"].partition("/")[0] for each in await office.audited(merchant_id)}
    assert who == {"user", "reviewer", "credential"}
