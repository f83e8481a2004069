"""UserService: a user who has lost every factor."""

from payswitch.v1 import user_pb2 as pb
from switch.domain.access import Caller
from switch.users.users import Users


class RescueCalls:
    def __init__(self, users: Users) -> None:
        self._users = users

    async def RequestRescue(self, request: pb.RequestRescueRequest, caller: Caller) -> pb.RequestRescueResponse:
        rescue = await self._users.rescue.request(caller, request.login, request.reason)
        return pb.RequestRescueResponse(rescue_id=str(rescue.id), expires_time_ms=rescue.expires_time_ms)

    async def ApproveRescue(self, request: pb.ApproveRescueRequest, caller: Caller) -> pb.ApproveRescueResponse:
        rescue = await self._users.rescue.approve(caller, request.rescue_id)
        return pb.ApproveRescueResponse(from_time_ms=rescue.from_time_ms, expires_time_ms=rescue.expires_time_ms)

    async def CompleteRescue(self, request: pb.CompleteRescueRequest, caller: Caller) -> pb.CompleteRescueResponse:
        await self._users.rescue.complete(caller, request.rescue_id)
        return pb.CompleteRescueResponse()

    async def StopRescue(self, request: pb.StopRescueRequest, caller: Caller) -> pb.StopRescueResponse:
        await self._users.rescue.stop(caller, request.rescue_id)
        return pb.StopRescueResponse()
