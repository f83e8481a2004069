"""UserService: the account itself."""

from payswitch.v1 import user_pb2 as pb
from switch.domain.access import Caller
from switch.users.limits import ip_of
from switch.users.proofs import Factor, RecoveryCode, TotpCode
from switch.users.users import Users


class AccountCalls:
    def __init__(self, users: Users) -> None:
        self._users = users

    async def Register(self, request: pb.RegisterRequest, caller: Caller) -> pb.RegisterResponse:
        code = await self._users.registration.register(request.login, request.password, ip_of(caller.address))
        return pb.RegisterResponse(registration_id=str(code.id), expires_time_ms=code.expires_time_ms)

    async def Verify(self, request: pb.VerifyRequest, caller: Caller) -> pb.VerifyResponse:
        user_id = await self._users.registration.verify(request.registration_id, request.code, ip_of(caller.address))
        return pb.VerifyResponse(user_id=str(user_id))

    async def GetProfile(self, request: pb.GetProfileRequest, caller: Caller) -> pb.GetProfileResponse:
        profile = await self._users.account.profile(caller)
        account = profile.account
        return pb.GetProfileResponse(
            user_id=str(account.id),
            login=profile.login,
            totp=bool(account.totp_sealed),
            passkeys=account.passkeys,
            recovery_codes_left=profile.recovery_codes_left,
            created_time_ms=account.created_time_ms,
        )

    async def ChangePassword(self, request: pb.ChangePasswordRequest, caller: Caller) -> pb.ChangePasswordResponse:
        await self._users.account.change_password(
            caller, request.current_password, request.new_password, ip_of(caller.address)
        )
        return pb.ChangePasswordResponse()

    async def RequestPasswordReset(
        self, request: pb.RequestPasswordResetRequest, caller: Caller
    ) -> pb.RequestPasswordResetResponse:
        code = await self._users.reset.request(request.login, ip_of(caller.address))
        return pb.RequestPasswordResetResponse(reset_id=str(code.id), expires_time_ms=code.expires_time_ms)

    async def ResetPassword(self, request: pb.ResetPasswordRequest, caller: Caller) -> pb.ResetPasswordResponse:
        factor: Factor | None = None
        if request.WhichOneof("second_factor") == "totp_code":
            factor = TotpCode(request.totp_code)
        elif request.WhichOneof("second_factor") == "recovery_code":
            factor = RecoveryCode(request.recovery_code)
        await self._users.reset.reset(
            request.reset_id, request.code, request.new_password, factor, ip_of(caller.address)
        )
        return pb.ResetPasswordResponse()

    async def DeleteAccount(self, request: pb.DeleteAccountRequest, caller: Caller) -> pb.DeleteAccountResponse:
        await self._users.account.delete(caller)
        return pb.DeleteAccountResponse()

    async def ListAlerts(self, request: pb.ListAlertsRequest, caller: Caller) -> pb.ListAlertsResponse:
        alerts = await self._users.account.alerts(caller)
        return pb.ListAlertsResponse(
            alerts=[
                pb.Alert(
                    id=str(each.id),
                    kind=f"ALERT_KIND_{each.kind.name}",
                    time_ms=each.time_ms,
                    address=each.address,
                )
                for each in alerts
            ]
        )
