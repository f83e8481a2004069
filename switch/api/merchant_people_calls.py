"""MerchantService: stores and terminals, people, API credentials."""

from payswitch.v1 import merchant_pb2 as pb
from switch.api import merchant_answers as answers
from switch.api import merchant_fields as fields
from switch.api.merchant_parts import MerchantParts
from switch.domain.access import Caller


class PlaceCalls(MerchantParts):
    async def AddStore(self, request: pb.AddStoreRequest, caller: Caller) -> pb.AddStoreResponse:
        merchant_id, name = fields.merchant_id(request.merchant_id), fields.text(request.name, "name", 60)
        address = fields.text(request.address, "address", 200)
        return pb.AddStoreResponse(store=answers.store(await self.places.add_store(caller, merchant_id, name, address)))

    async def ChangeStore(self, request: pb.ChangeStoreRequest, caller: Caller) -> pb.ChangeStoreResponse:
        merchant_id, store_id = fields.merchant_id(request.merchant_id), fields.store_id(request.store_id)
        name = fields.text(request.name, "name", 60) if request.HasField("name") else None
        address = fields.text(request.address, "address", 200) if request.HasField("address") else None
        active = request.active if request.HasField("active") else None
        store = await self.places.change_store(caller, merchant_id, store_id, name, address, active)
        return pb.ChangeStoreResponse(store=answers.store(store))

    async def ListStores(self, request: pb.ListStoresRequest, caller: Caller) -> pb.ListStoresResponse:
        found = await self.places.stores(caller, fields.merchant_id(request.merchant_id))
        return pb.ListStoresResponse(stores=[answers.store(each) for each in found])

    async def AddTerminal(self, request: pb.AddTerminalRequest, caller: Caller) -> pb.AddTerminalResponse:
        merchant_id, terminal_id = fields.merchant_id(request.merchant_id), fields.terminal_id(request.terminal_id)
        store_id, label = fields.store_id(request.store_id), fields.text(request.label, "label", 60, 0)
        terminal = await self.places.add_terminal(caller, merchant_id, terminal_id, store_id, label)
        return pb.AddTerminalResponse(terminal=answers.terminal(terminal))

    async def ChangeTerminal(self, request: pb.ChangeTerminalRequest, caller: Caller) -> pb.ChangeTerminalResponse:
        merchant_id, terminal_id = fields.merchant_id(request.merchant_id), fields.terminal_id(request.terminal_id)
        store_id = fields.store_id(request.store_id) if request.HasField("store_id") else None
        label = fields.text(request.label, "label", 60, 0) if request.HasField("label") else None
        active = request.active if request.HasField("active") else None
        terminal = await self.places.change_terminal(caller, merchant_id, terminal_id, store_id, label, active)
        return pb.ChangeTerminalResponse(terminal=answers.terminal(terminal))

    async def ListTerminals(self, request: pb.ListTerminalsRequest, caller: Caller) -> pb.ListTerminalsResponse:
        merchant_id = fields.merchant_id(request.merchant_id)
        size, after = fields.page_size(request.page_size), fields.after_terminal(request.page_token)
        found = await self.places.terminals(caller, merchant_id, after, size + 1)
        return pb.ListTerminalsResponse(
            terminals=[answers.terminal(each) for each in found[:size]],
            next_page_token=found[size - 1].id if len(found) > size else "",
        )


class PeopleCalls(MerchantParts):
    async def Invite(self, request: pb.InviteRequest, caller: Caller) -> pb.InviteResponse:
        merchant_id, role = fields.merchant_id(request.merchant_id), fields.role(request.role)
        label = fields.text(request.label, "label", 60, 0)
        invitation, code = await self.people.invite(caller, merchant_id, role, label)
        return pb.InviteResponse(invitation=answers.invitation(invitation), code=code)

    async def RevokeInvitation(
        self, request: pb.RevokeInvitationRequest, caller: Caller
    ) -> pb.RevokeInvitationResponse:
        merchant_id = fields.merchant_id(request.merchant_id)
        invitation_id = fields.secret_id(request.invitation_id, "invitation_id")
        await self.people.revoke_invitation(caller, merchant_id, invitation_id)
        return pb.RevokeInvitationResponse()

    async def RedeemInvitation(
        self, request: pb.RedeemInvitationRequest, caller: Caller
    ) -> pb.RedeemInvitationResponse:
        merchant_id, role = await self.people.redeem(caller, request.code)
        return pb.RedeemInvitationResponse(merchant_id=merchant_id, role=int(role))  # type: ignore[arg-type]

    async def ChangeRole(self, request: pb.ChangeRoleRequest, caller: Caller) -> pb.ChangeRoleResponse:
        merchant_id, user_id = fields.merchant_id(request.merchant_id), fields.uuid(request.user_id, "user_id")
        member = await self.people.change_role(caller, merchant_id, user_id, fields.role(request.role))
        return pb.ChangeRoleResponse(member=answers.member(member))

    async def RemoveMember(self, request: pb.RemoveMemberRequest, caller: Caller) -> pb.RemoveMemberResponse:
        merchant_id, user_id = fields.merchant_id(request.merchant_id), fields.uuid(request.user_id, "user_id")
        return pb.RemoveMemberResponse(credential_ids=await self.people.remove(caller, merchant_id, user_id))

    async def ListMembers(self, request: pb.ListMembersRequest, caller: Caller) -> pb.ListMembersResponse:
        members, invitations = await self.people.of(caller, fields.merchant_id(request.merchant_id))
        return pb.ListMembersResponse(
            members=[answers.member(each) for each in members],
            invitations=[answers.invitation(each) for each in invitations],
        )

    async def ListMemberships(self, request: pb.ListMembershipsRequest, caller: Caller) -> pb.ListMembershipsResponse:
        memberships = [
            pb.Membership(
                merchant_id=record.id,
                display_name=record.business.display_name,
                state=int(record.state),  # type: ignore[arg-type]
                role=int(member.role),  # type: ignore[arg-type]
            )
            for record, member in await self.people.memberships(caller)
        ]
        return pb.ListMembershipsResponse(memberships=memberships)


class CredentialCalls(MerchantParts):
    async def CreateApiCredential(
        self, request: pb.CreateApiCredentialRequest, caller: Caller
    ) -> pb.CreateApiCredentialResponse:
        merchant_id, role = fields.merchant_id(request.merchant_id), fields.role(request.role)
        label, days = fields.text(request.label, "label", 60), fields.valid_days(request.valid_days)
        networks = fields.networks(request.networks)
        credential, secret = await self.credentials.create(caller, merchant_id, role, label, days, networks)
        told = answers.credential(credential, self.clock.time_ms())
        return pb.CreateApiCredentialResponse(credential=told, secret=secret)

    async def RotateApiCredential(
        self, request: pb.RotateApiCredentialRequest, caller: Caller
    ) -> pb.RotateApiCredentialResponse:
        merchant_id = fields.merchant_id(request.merchant_id)
        identity = fields.secret_id(request.credential_id, "credential_id")
        hours, days = fields.overlap_hours(request.overlap_hours), fields.valid_days(request.valid_days)
        credential, secret = await self.credentials.rotate(caller, merchant_id, identity, hours, days)
        told = answers.credential(credential, self.clock.time_ms())
        return pb.RotateApiCredentialResponse(credential=told, secret=secret)

    async def RevokeApiCredential(
        self, request: pb.RevokeApiCredentialRequest, caller: Caller
    ) -> pb.RevokeApiCredentialResponse:
        identity = fields.secret_id(request.credential_id, "credential_id")
        await self.credentials.revoke(caller, fields.merchant_id(request.merchant_id), identity)
        return pb.RevokeApiCredentialResponse()

    async def ListApiCredentials(
        self, request: pb.ListApiCredentialsRequest, caller: Caller
    ) -> pb.ListApiCredentialsResponse:
        found, now_ms = await self.credentials.of(caller, fields.merchant_id(request.merchant_id)), self.clock.time_ms()
        return pb.ListApiCredentialsResponse(credentials=[answers.credential(each, now_ms) for each in found])
