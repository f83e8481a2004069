"""UserService (payswitch.v1): docs/users.md."""

from payswitch.v1 import user_pb2 as pb
from switch.api.user_accounts import AccountCalls
from switch.api.user_belongings import DeviceCalls, FactorCalls, SessionCalls
from switch.api.user_rescues import RescueCalls
from switch.api.user_sign_in import SignInCalls
from switch.domain.access import Caller
from switch.domain.refusals import Invalid
from switch.users.messages import OutboxMessenger, TakenMessage
from switch.users.users import Users
from switch.users.world import parsed_id

_MOST = 100


class OutboxCalls:
    """For whoever delivers the messages."""

    def __init__(self, outbox: OutboxMessenger) -> None:
        self._outbox = outbox

    async def TakeMessages(self, request: pb.TakeMessagesRequest, caller: Caller) -> pb.TakeMessagesResponse:
        if not 1 <= request.limit <= _MOST:
            raise Invalid("limit", f"must be 1 to {_MOST}")
        return pb.TakeMessagesResponse(
            messages=[shown_message(each) for each in await self._outbox.take(request.limit)]
        )

    async def ConfirmMessages(self, request: pb.ConfirmMessagesRequest, caller: Caller) -> pb.ConfirmMessagesResponse:
        if len(request.ids) > _MOST:
            raise Invalid("ids", f"must be at most {_MOST}")
        ids = [parsed_id(each) for each in request.ids]
        await self._outbox.confirm([each for each in ids if each is not None])
        return pb.ConfirmMessagesResponse()


class UserServicer(AccountCalls, SignInCalls, FactorCalls, SessionCalls, DeviceCalls, RescueCalls, OutboxCalls):
    """Every method of the contract, by its name."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._outbox = users.outbox


def shown_message(taken: TakenMessage) -> pb.UserMessage:
    message = taken.message
    return pb.UserMessage(
        id=str(taken.id),
        to=message.to.text,
        kind=f"MESSAGE_KIND_{message.kind.name}",
        code=message.code,
        alert=f"ALERT_KIND_{message.alert.name}" if message.alert else None,
        created_time_ms=taken.created_time_ms,
        expires_time_ms=message.expires_time_ms,
    )
