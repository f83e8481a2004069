"""UserService: logging in, refreshing, and proving oneself again."""

from typing import assert_never

from payswitch.v1 import user_pb2 as pb
from switch.api.user_counts import counted
from switch.domain.access import Caller
from switch.domain.refusals import Invalid
from switch.ops.metrics import USER_LOG_INS, USER_STEP_UPS
from switch.users.limits import ip_of
from switch.users.names import name_from
from switch.users.proofs import DeviceProof, PasskeyAnswer, RecoveryCode, TotpCode
from switch.users.session_book import Tokens
from switch.users.sign_in import Ticket
from switch.users.users import Users
from switch.users.world import parsed_id

_Proved = pb.LogInRequest | pb.LogInWithPasskeyRequest | pb.RefreshRequest


class SignInCalls:
    def __init__(self, users: Users) -> None:
        self._users = users

    async def LogIn(self, request: pb.LogInRequest, caller: Caller) -> pb.LogInResponse:
        name = name_from(request.client_name, "client_name", empty=True)
        with counted(USER_LOG_INS, "password") as count:
            outcome = await self._users.sign_in.log_in(
                request.login, request.password, name, _device_proof(request), ip_of(caller.address)
            )
            if isinstance(outcome, Ticket):
                count.result = "second_factor_needed"
        if isinstance(outcome, Ticket):
            return pb.LogInResponse(
                second_factor_needed=pb.SecondFactorNeeded(
                    ticket=outcome.text, totp=outcome.totp, passkey_options_json=outcome.passkey_options
                )
            )
        return pb.LogInResponse(tokens=_tokens(outcome))

    async def FinishLogIn(self, request: pb.FinishLogInRequest, caller: Caller) -> pb.FinishLogInResponse:
        factor: TotpCode | RecoveryCode | PasskeyAnswer
        match request.WhichOneof("second_factor"):
            case "totp_code":
                factor = TotpCode(request.totp_code)
            case "recovery_code":
                factor = RecoveryCode(request.recovery_code)
            case "passkey_json":
                factor = PasskeyAnswer(request.passkey_json)
            case None:
                raise Invalid("second_factor", "is missing")
            case other:
                assert_never(other)
        with counted(USER_LOG_INS, "second_factor"):
            tokens = await self._users.sign_in.finish(request.ticket, factor, ip_of(caller.address))
        return pb.FinishLogInResponse(tokens=_tokens(tokens))

    async def BeginPasskeyLogIn(
        self, request: pb.BeginPasskeyLogInRequest, caller: Caller
    ) -> pb.BeginPasskeyLogInResponse:
        ceremony_id, options = await self._users.sign_in.begin_passkey(ip_of(caller.address))
        return pb.BeginPasskeyLogInResponse(ceremony_id=ceremony_id, options_json=options)

    async def LogInWithPasskey(
        self, request: pb.LogInWithPasskeyRequest, caller: Caller
    ) -> pb.LogInWithPasskeyResponse:
        name = name_from(request.client_name, "client_name", empty=True)
        answer = PasskeyAnswer(request.passkey_json, request.ceremony_id)
        with counted(USER_LOG_INS, "passkey"):
            tokens = await self._users.sign_in.by_passkey(answer, name, _device_proof(request), ip_of(caller.address))
        return pb.LogInWithPasskeyResponse(tokens=_tokens(tokens))

    async def Refresh(self, request: pb.RefreshRequest, caller: Caller) -> pb.RefreshResponse:
        proof = _device_proof(request)
        with counted(USER_LOG_INS, "refresh"):
            tokens = await self._users.book.refresh(request.refresh_token, proof, ip_of(caller.address))
        return pb.RefreshResponse(tokens=_tokens(tokens))

    async def BeginStepUp(self, request: pb.BeginStepUpRequest, caller: Caller) -> pb.BeginStepUpResponse:
        ceremony_id, options = await self._users.step_up.begin(caller)
        return pb.BeginStepUpResponse(ceremony_id=ceremony_id, options_json=options)

    async def StepUp(self, request: pb.StepUpRequest, caller: Caller) -> pb.StepUpResponse:
        with counted(USER_STEP_UPS, (request.WhichOneof("proof") or "none").removesuffix("_code")):
            return pb.StepUpResponse(until_time_ms=await self._step_up(request, caller))

    async def _step_up(self, request: pb.StepUpRequest, caller: Caller) -> int:
        """Until when it is good, Unix milliseconds."""
        step_up, address = self._users.step_up, ip_of(caller.address)
        match request.WhichOneof("proof"):
            case "totp_code":
                return await step_up.by_factor(caller, TotpCode(request.totp_code), address)
            case "recovery_code":
                return await step_up.by_factor(caller, RecoveryCode(request.recovery_code), address)
            case "passkey":
                answer = PasskeyAnswer(request.passkey.passkey_json, request.passkey.ceremony_id)
                return await step_up.by_factor(caller, answer, address)
            case "password":
                return await step_up.by_password(caller, request.password, address)
            case None:
                raise Invalid("proof", "is missing")
            case other:
                assert_never(other)


def _device_proof(request: _Proved) -> DeviceProof | None:
    if not request.HasField("device_proof"):
        return None
    given = request.device_proof
    device_id = parsed_id(given.device_id)
    if device_id is None:
        raise Invalid("device_proof.device_id", "is no id")
    return DeviceProof(device_id, given.time_ms, given.signature)


def _tokens(tokens: Tokens) -> pb.Tokens:
    return pb.Tokens(
        access_token=tokens.access.text(),
        access_expires_time_ms=tokens.access_expires_time_ms,
        refresh_token=tokens.refresh.text(),
        refresh_expires_time_ms=tokens.refresh_expires_time_ms,
        session_id=str(tokens.access.session_id),
        user_id=str(tokens.access.user_id),
    )
