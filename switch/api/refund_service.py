"""RefundService: refunds by a merchant's people."""

import re
from typing import Final

from payswitch.v1 import common_pb2
from payswitch.v1 import refund_pb2 as pb
from switch.api.errors import InvalidField
from switch.api.listed_fields import merchant_id, page_size, page_token, text, uuid_of
from switch.api.requests import money
from switch.domain.access import Caller
from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR
from switch.domain.refund import HOLDERS, Refund, RefundLimit, RefundState
from switch.merchants.refunds import Asked, Refunds

_KEY: Final = re.compile(r"[ -~]{1,64}", re.ASCII).fullmatch
_HOLDER: Final = re.compile(r"user/[0-9a-f-]{36}|credential/[0-9A-Za-z_-]{1,64}", re.ASCII).fullmatch
_LARGEST_DAY_MINOR: Final = LARGEST_AMOUNT_MINOR * 1000


class RefundServicer:
    def __init__(self, refunds: Refunds) -> None:
        self._refunds = refunds

    async def RequestRefund(self, request: pb.RequestRefundRequest, caller: Caller) -> pb.RequestRefundResponse:
        if not _KEY(request.idempotency_key):
            raise InvalidField("idempotency_key", "must be 1 to 64 printable ASCII characters")
        asked = Asked(
            merchant_id(request.merchant_id),
            uuid_of(request.authorization_id, "authorization_id"),
            money(request.amount, "amount"),
            text(request.reason, "reason", 200, shortest=1),
            request.idempotency_key,
        )
        return pb.RequestRefundResponse(refund=_refund(await self._refunds.request(caller, asked)))

    async def ApproveRefund(self, request: pb.ApproveRefundRequest, caller: Caller) -> pb.ApproveRefundResponse:
        identity = uuid_of(request.refund_id, "refund_id")
        approved = await self._refunds.approve(caller, merchant_id(request.merchant_id), identity)
        return pb.ApproveRefundResponse(refund=_refund(approved))

    async def DeclineRefund(self, request: pb.DeclineRefundRequest, caller: Caller) -> pb.DeclineRefundResponse:
        identity = uuid_of(request.refund_id, "refund_id")
        reason = text(request.reason, "reason", 200, shortest=1)
        declined = await self._refunds.decline(caller, merchant_id(request.merchant_id), identity, reason)
        return pb.DeclineRefundResponse(refund=_refund(declined))

    async def GetRefund(self, request: pb.GetRefundRequest, caller: Caller) -> pb.GetRefundResponse:
        identity = uuid_of(request.refund_id, "refund_id")
        found = await self._refunds.find(caller, merchant_id(request.merchant_id), identity)
        return pb.GetRefundResponse(refund=_refund(found))

    async def ListRefunds(self, request: pb.ListRefundsRequest, caller: Caller) -> pb.ListRefundsResponse:
        try:
            state = RefundState(request.state) if request.state else None
        except ValueError as error:
            raise InvalidField("state", "is not a known state") from error
        rows, token = await self._refunds.listed(
            merchant_id(request.merchant_id), state, page_size(request.page_size), page_token(request.page_token)
        )
        return pb.ListRefundsResponse(refunds=[_refund(row) for row in rows], next_page_token=token)

    async def SetRefundLimit(self, request: pb.SetRefundLimitRequest, caller: Caller) -> pb.SetRefundLimitResponse:
        given = request.limit
        if given.holder not in HOLDERS and not _HOLDER(given.holder):
            raise InvalidField("limit.holder", "must be owner, manager, cashier, user/<uuid> or credential/<id>")
        if given.currency not in CURRENCIES:
            raise InvalidField("limit.currency", "is not a supported ISO 4217 alphabetic code")
        for name in ("each_minor", "day_minor", "step_up_minor"):
            if not 0 <= getattr(given, name) <= _LARGEST_DAY_MINOR:
                raise InvalidField(f"limit.{name}", f"must be 0 to {_LARGEST_DAY_MINOR}")
        limit = RefundLimit(given.holder, given.currency, given.each_minor, given.day_minor, given.step_up_minor)
        await self._refunds.set_limit(caller, merchant_id(request.merchant_id), limit)
        return pb.SetRefundLimitResponse(limit=_limit(limit))

    async def ListRefundLimits(
        self, request: pb.ListRefundLimitsRequest, caller: Caller
    ) -> pb.ListRefundLimitsResponse:
        limits = await self._refunds.limits(merchant_id(request.merchant_id))
        return pb.ListRefundLimitsResponse(limits=[_limit(each) for each in limits])


def _refund(refund: Refund) -> pb.MerchantRefund:
    """RefundState numbers its members as the contract does."""
    return pb.MerchantRefund(
        refund_id=str(refund.id),
        authorization_id=str(refund.authorization_id),
        amount=common_pb2.Money(amount_minor=refund.money.amount_minor, currency=refund.money.currency),
        reason=refund.reason,
        state=int(refund.state),  # type: ignore[arg-type]
        requested_by=refund.requested_by,
        decided_by=refund.decided_by,
        decision_reason=refund.decision_reason,
        operation_id=str(refund.follow_on_id) if refund.follow_on_id.int else "",
        response_code=refund.response_code,
        response_reason=refund.response_reason,
        created_time_ms=refund.created_time_ms,
        changed_time_ms=refund.changed_time_ms,
    )


def _limit(limit: RefundLimit) -> pb.RefundLimit:
    return pb.RefundLimit(
        holder=limit.holder,
        currency=limit.currency,
        each_minor=limit.each_minor,
        day_minor=limit.day_minor,
        step_up_minor=limit.step_up_minor,
    )
