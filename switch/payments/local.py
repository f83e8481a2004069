"""The road of this process, as the platform's services know it (`switch.ports.platform.Payments`)."""

import asyncio
from uuid import UUID

from switch.domain.authorization import Authorization, AuthorizationRequest, FollowOn, FollowOnRequest
from switch.payments.follow_on import FollowOns
from switch.payments.road import Road
from switch.ports import Journal


class LocalPayments:
    def __init__(self, road: Road, follow_ons: FollowOns, journal: Journal) -> None:
        self._road = road
        self._follow_ons = follow_ons
        self._journal = journal

    async def authorize(self, request: AuthorizationRequest, budget_s: float) -> Authorization:
        # Shielded: a caller that goes away cancels nothing (DESIGN 3.7), and repeats share the future.
        return await asyncio.shield(self._road.enter(request, budget_s))

    async def follow_on(self, request: FollowOnRequest) -> FollowOn:
        return await asyncio.shield(self._follow_ons.carry_out(request))

    async def find(self, merchant_id: str, authorization_id: UUID) -> Authorization | None:
        return await self._journal.find(merchant_id, authorization_id)
