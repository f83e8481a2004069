"""UserService: second factors, sessions and devices of a person."""

from payswitch.v1 import user_pb2 as pb
from switch.domain.access import Caller
from switch.domain.refusals import Missing
from switch.users.limits import ip_of
from switch.users.users import Users
from switch.users.world import parsed_id


class FactorCalls:
    def __init__(self, users: Users) -> None:
        self._users = users

    async def EnrollTotp(self, request: pb.EnrollTotpRequest, caller: Caller) -> pb.EnrollTotpResponse:
        secret, uri = await self._users.factors.enroll_totp(caller)
        return pb.EnrollTotpResponse(secret=secret, otpauth_uri=uri)

    async def ActivateTotp(self, request: pb.ActivateTotpRequest, caller: Caller) -> pb.ActivateTotpResponse:
        codes = await self._users.factors.activate_totp(caller, request.code, ip_of(caller.address))
        return pb.ActivateTotpResponse(recovery_codes=codes)

    async def DisableTotp(self, request: pb.DisableTotpRequest, caller: Caller) -> pb.DisableTotpResponse:
        await self._users.factors.disable_totp(caller, ip_of(caller.address))
        return pb.DisableTotpResponse()

    async def BeginPasskey(self, request: pb.BeginPasskeyRequest, caller: Caller) -> pb.BeginPasskeyResponse:
        ceremony_id, options = await self._users.factors.begin_passkey(caller)
        return pb.BeginPasskeyResponse(ceremony_id=ceremony_id, options_json=options)

    async def AddPasskey(self, request: pb.AddPasskeyRequest, caller: Caller) -> pb.AddPasskeyResponse:
        passkey, codes = await self._users.factors.add_passkey(
            caller, request.ceremony_id, request.passkey_json, request.name, ip_of(caller.address)
        )
        return pb.AddPasskeyResponse(passkey_id=str(passkey.id), recovery_codes=codes)

    async def ListPasskeys(self, request: pb.ListPasskeysRequest, caller: Caller) -> pb.ListPasskeysResponse:
        return pb.ListPasskeysResponse(
            passkeys=[
                pb.Passkey(
                    id=str(each.id),
                    name=each.name,
                    created_time_ms=each.created_time_ms,
                    used_time_ms=each.used_time_ms,
                )
                for each in await self._users.factors.passkeys(caller)
            ]
        )

    async def RenamePasskey(self, request: pb.RenamePasskeyRequest, caller: Caller) -> pb.RenamePasskeyResponse:
        await self._users.factors.rename_passkey(caller, request.passkey_id, request.name)
        return pb.RenamePasskeyResponse()

    async def RemovePasskey(self, request: pb.RemovePasskeyRequest, caller: Caller) -> pb.RemovePasskeyResponse:
        await self._users.factors.remove_passkey(caller, request.passkey_id, ip_of(caller.address))
        return pb.RemovePasskeyResponse()

    async def RegenerateRecoveryCodes(
        self, request: pb.RegenerateRecoveryCodesRequest, caller: Caller
    ) -> pb.RegenerateRecoveryCodesResponse:
        codes = await self._users.factors.regenerate(caller, ip_of(caller.address))
        return pb.RegenerateRecoveryCodesResponse(recovery_codes=codes)


class SessionCalls:
    def __init__(self, users: Users) -> None:
        self._users = users

    async def ListSessions(self, request: pb.ListSessionsRequest, caller: Caller) -> pb.ListSessionsResponse:
        account, current = await self._users.book.own(caller)
        return pb.ListSessionsResponse(
            sessions=[
                pb.UserSession(
                    id=str(each.id),
                    client_name=each.client_name,
                    address=each.address,
                    created_time_ms=each.created_time_ms,
                    refreshed_time_ms=each.refreshed_time_ms,
                    device_id="" if each.device_id is None else str(each.device_id),
                    current=each.id == current.id,
                )
                for each in await self._users.book.live(account.id)
            ]
        )

    async def RevokeSession(self, request: pb.RevokeSessionRequest, caller: Caller) -> pb.RevokeSessionResponse:
        account, _ = await self._users.book.own(caller)
        session_id = parsed_id(request.session_id)
        if session_id is None:
            raise Missing("no such session")
        await self._users.book.end(account.id, session_id, "RevokeSession")
        return pb.RevokeSessionResponse()

    async def LogOut(self, request: pb.LogOutRequest, caller: Caller) -> pb.LogOutResponse:
        account, current = await self._users.book.own(caller)
        await self._users.book.end(account.id, current.id, "LogOut")
        return pb.LogOutResponse()

    async def LogOutEverywhere(
        self, request: pb.LogOutEverywhereRequest, caller: Caller
    ) -> pb.LogOutEverywhereResponse:
        account, _ = await self._users.book.own(caller)
        await self._users.book.end_all(account.id)
        return pb.LogOutEverywhereResponse()


class DeviceCalls:
    def __init__(self, users: Users) -> None:
        self._users = users

    async def BeginDevice(self, request: pb.BeginDeviceRequest, caller: Caller) -> pb.BeginDeviceResponse:
        ceremony_id, challenge = await self._users.devices.begin(caller)
        return pb.BeginDeviceResponse(ceremony_id=ceremony_id, challenge=challenge)

    async def BindDevice(self, request: pb.BindDeviceRequest, caller: Caller) -> pb.BindDeviceResponse:
        device = await self._users.devices.bind(
            caller, request.ceremony_id, request.name, request.public_key, request.signature, request.attestation,
            ip_of(caller.address),
        )  # fmt: skip
        return pb.BindDeviceResponse(device_id=str(device.id))

    async def ListDevices(self, request: pb.ListDevicesRequest, caller: Caller) -> pb.ListDevicesResponse:
        return pb.ListDevicesResponse(
            devices=[
                pb.UserDevice(id=str(each.id), name=each.name, created_time_ms=each.created_time_ms, active=each.active)
                for each in await self._users.devices.all(caller)
            ]
        )

    async def RenameDevice(self, request: pb.RenameDeviceRequest, caller: Caller) -> pb.RenameDeviceResponse:
        await self._users.devices.rename(caller, request.device_id, request.name)
        return pb.RenameDeviceResponse()

    async def RevokeDevice(self, request: pb.RevokeDeviceRequest, caller: Caller) -> pb.RevokeDeviceResponse:
        await self._users.devices.revoke(caller, request.device_id)
        return pb.RevokeDeviceResponse()
