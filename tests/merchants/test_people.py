"""A merchant's people: by invitation, with a role that nobody raises for himself, and one owner who stays."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from merchant_office import HOUR_MS, Office, acquirer, acting, payer

from payswitch.v1 import access_pb2
from payswitch.v1 import merchant_pb2 as pb
from switch.domain.access import Caller, Role
from switch.domain.merchant import MerchantState
from switch.domain.refusals import Invalid, Missing, NotPermitted, NotPossible, NotProved, TooMany
from switch.merchants.leaving import Leaving
from switch.store.merchant_administration import PostgresMerchantAdministration

OWNER, MANAGER = access_pb2.ROLE_MERCHANT_OWNER, access_pb2.ROLE_MERCHANT_MANAGER
CASHIER, VIEWER = access_pb2.ROLE_MERCHANT_CASHIER, access_pb2.ROLE_MERCHANT_VIEWER


async def invite(office: Office, who: Caller, role: access_pb2.Role) -> pb.InviteResponse:
    request = pb.InviteRequest(merchant_id=who.merchant_id, role=role, label="Li Na")
    return await office.service.Invite(request, who)


async def redeem(office: Office, code: str, who: Caller) -> pb.RedeemInvitationResponse:
    return await office.service.RedeemInvitation(pb.RedeemInvitationRequest(code=code), who)


async def change(office: Office, who: Caller, whom: Caller, role: access_pb2.Role) -> pb.MerchantMember:
    request = pb.ChangeRoleRequest(merchant_id=who.merchant_id, user_id=str(whom.user_id), role=role)
    return (await office.service.ChangeRole(request, who)).member


async def remove(office: Office, who: Caller, whom: Caller) -> list[str]:
    request = pb.RemoveMemberRequest(merchant_id=who.merchant_id, user_id=str(whom.user_id))
    return list((await office.service.RemoveMember(request, who)).credential_ids)


async def roles(office: Office, owner: Caller) -> list[int]:
    request = pb.ListMembersRequest(merchant_id=owner.merchant_id)
    return sorted(each.role for each in (await office.service.ListMembers(request, owner)).members)


async def test_an_invitation_is_redeemed_once(office: Office) -> None:
    merchant_id, owner = await office.active()
    invited = await invite(office, owner, CASHIER)
    users = [payer() for _ in range(4)]
    answers = await asyncio.gather(*(redeem(office, invited.code, each) for each in users), return_exceptions=True)
    assert sum(isinstance(each, pb.RedeemInvitationResponse) for each in answers) == 1
    assert sum(isinstance(each, NotProved) for each in answers) == 3
    assert await roles(office, owner) == [OWNER, CASHIER]
    (winner,) = [user for user, each in zip(users, answers, strict=True) if not isinstance(each, BaseException)]
    assert winner.user_id is not None
    assert await office.merchants.role_of(merchant_id, winner.user_id) is Role.MERCHANT_CASHIER
    memberships = (await office.service.ListMemberships(pb.ListMembershipsRequest(), winner)).memberships
    assert [(each.merchant_id, each.role) for each in memberships] == [(merchant_id, CASHIER)]


async def test_what_is_wrong_with_a_code_is_not_told(office: Office) -> None:
    merchant_id, owner = await office.active()
    invited = await invite(office, owner, VIEWER)
    identity, _, secret = invited.code.rpartition("_")
    flipped = f"{identity}_{'0' * 64 if secret != '0' * 64 else '1' * 64}"
    elsewhere = invited.code.replace(merchant_id, "MNOBODY")
    for code in ("", "x", "payswitch_invite_", flipped, elsewhere, invited.code[:-1], invited.code + "\x00"):
        with pytest.raises(NotProved, match=r"^the code is not valid$"):
            await redeem(office, code, payer())
    stored = await office.pool.fetch("SELECT * FROM merchant_invitations WHERE merchant_id = $1", merchant_id)
    assert secret not in repr(stored)
    assert secret not in repr(await office.audited(merchant_id))
    office.clock.now_ms += 72 * HOUR_MS
    with pytest.raises(NotProved):
        await redeem(office, invited.code, payer())
    listed = await office.service.ListMembers(pb.ListMembersRequest(merchant_id=merchant_id), owner)
    assert not listed.invitations


async def test_who_is_in_already_and_who_was_revoked(office: Office) -> None:
    merchant_id, owner = await office.active()
    invited = await invite(office, owner, OWNER)
    with pytest.raises(NotPossible):
        await redeem(office, invited.code, payer(owner.user_id))
    gone = pb.RevokeInvitationRequest(merchant_id=merchant_id, invitation_id=invited.invitation.invitation_id)
    await office.service.RevokeInvitation(gone, owner)
    with pytest.raises(NotProved):
        await redeem(office, invited.code, payer())
    with pytest.raises(Missing):
        await office.service.RevokeInvitation(gone, owner)
    for _ in range(5):
        await invite(office, owner, CASHIER)
    with pytest.raises(TooMany):
        await invite(office, owner, CASHIER)
    office.clock.now_ms += 73 * HOUR_MS
    await invite(office, owner, CASHIER)  # the expired ones have made room


async def test_a_manager_makes_nobody_his_equal(office: Office) -> None:
    _, owner = await office.active()
    manager = await office.joined(owner, Role.MERCHANT_MANAGER)
    other = await office.joined(owner, Role.MERCHANT_MANAGER)
    cashier = await office.joined(manager, Role.MERCHANT_CASHIER)
    for role in (OWNER, MANAGER):
        with pytest.raises(NotPermitted):
            await invite(office, manager, role)
        with pytest.raises(NotPermitted):
            await change(office, manager, cashier, role)
    for whom in (owner, other):
        with pytest.raises(NotPermitted):
            await change(office, manager, whom, VIEWER)
        with pytest.raises(NotPermitted):
            await remove(office, manager, whom)
    with pytest.raises(NotPermitted):
        await change(office, manager, manager, OWNER)
    assert (await change(office, manager, cashier, VIEWER)).role == VIEWER
    with pytest.raises(NotPermitted):
        await remove(office, acting(cashier, owner.merchant_id, Role.MERCHANT_VIEWER), manager)


async def test_the_role_of_now_decides_not_the_one_the_call_came_with(office: Office) -> None:
    _, owner = await office.active()
    manager = await office.joined(owner, Role.MERCHANT_MANAGER)
    invited = await invite(office, manager, CASHIER)
    await change(office, owner, manager, VIEWER)
    with pytest.raises(NotPermitted):
        await invite(office, manager, VIEWER)
    with pytest.raises(NotProved):  # what he had given away and nobody had taken is withdrawn
        await redeem(office, invited.code, payer())


async def test_the_last_owner_stays_even_if_two_go_at_once(office: Office) -> None:
    _, owner = await office.active()
    with pytest.raises(NotPossible):
        await remove(office, owner, owner)
    with pytest.raises(NotPossible):
        await change(office, owner, owner, MANAGER)
    other = await office.joined(owner, Role.MERCHANT_OWNER)
    answers = await asyncio.gather(remove(office, owner, other), remove(office, other, owner), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in answers) == 1
    left = [each for each in (owner, other) if await office.merchants.role_of(owner.merchant_id, each.user_id)]
    assert await roles(office, left[0]) == [OWNER]
    third = await office.joined(left[0], Role.MERCHANT_OWNER)
    answers = await asyncio.gather(
        change(office, left[0], left[0], VIEWER), change(office, third, third, VIEWER), return_exceptions=True
    )
    assert sum(isinstance(each, NotPossible) for each in answers) == 1


async def test_new_owners_are_told_of(office: Office) -> None:
    _, owner = await office.active()
    manager = await office.joined(owner, Role.MERCHANT_MANAGER)
    assert not office.alerts
    await change(office, owner, manager, OWNER)
    await office.joined(owner, Role.MERCHANT_OWNER)
    assert [kind for _, kind, _ in office.alerts] == ["owner", "owner"]


async def test_whoever_is_nobody_there_reaches_nothing(office: Office) -> None:
    _, owner = await office.active()
    _, stranger = await office.active()
    forged = replace(stranger, merchant_id=owner.merchant_id)
    with pytest.raises(NotPermitted):
        await invite(office, forged, VIEWER)
    with pytest.raises(Missing):
        await remove(office, owner, stranger)
    request = pb.InviteRequest(merchant_id=owner.merchant_id, role=VIEWER)
    with pytest.raises(Missing):
        await office.service.Invite(request, stranger)
    with pytest.raises(Missing):
        await office.service.Invite(request, acquirer("other"))
    with pytest.raises(Invalid):
        await invite(office, owner, access_pb2.ROLE_REVIEWER)
    with pytest.raises(Invalid):
        await office.service.RemoveMember(
            pb.RemoveMemberRequest(merchant_id=owner.merchant_id, user_id=str(uuid4()) + "0"), owner
        )


async def leave(office: Office, who: Caller) -> None:
    assert who.user_id is not None
    await Leaving(PostgresMerchantAdministration(office.pool), office.clock).give_up(who.name, who.user_id)


async def test_who_closes_his_account_has_no_role_any_more(office: Office) -> None:
    merchant_id, owner = await office.active()
    manager = await office.joined(owner, Role.MERCHANT_MANAGER)
    await invite(office, manager, CASHIER)
    request = pb.CreateApiCredentialRequest(merchant_id=merchant_id, role=VIEWER, label="till")
    made = (await office.service.CreateApiCredential(request, manager)).credential
    waits = await office.applied(manager, legal_name="Another")
    await leave(office, manager)
    await leave(office, manager)
    listed = await office.service.ListMembers(pb.ListMembersRequest(merchant_id=merchant_id), owner)
    assert ([each.role for each in listed.members], list(listed.invitations)) == ([OWNER], [])
    assert made.credential_id in (await office.audited(merchant_id))[-1]["after"]
    state = await office.pool.fetchval("SELECT state FROM merchants WHERE merchant_id = $1", waits)
    assert state == MerchantState.REJECTED  # nobody makes a merchant of it whose owner is gone


async def test_an_only_owner_closes_no_account_and_keeps_every_role(office: Office) -> None:
    merchant_id, owner = await office.active()
    elsewhere, other = await office.active()
    code = (await invite(office, other, CASHIER)).code
    await redeem(office, code, owner)
    with pytest.raises(NotPossible, match=merchant_id):
        await leave(office, owner)
    memberships = (await office.service.ListMemberships(pb.ListMembershipsRequest(), owner)).memberships
    assert {each.merchant_id for each in memberships} == {merchant_id, elsewhere}
    await office.pool.execute(
        "UPDATE merchants SET state = $2 WHERE merchant_id = $1", merchant_id, MerchantState.CLOSED
    )
    await leave(office, owner)
    assert not (await office.service.ListMemberships(pb.ListMembershipsRequest(), owner)).memberships
