"""WebhookService: where a merchant is told of its payments, and how it went."""

from payswitch.v1 import webhook_pb2 as pb
from switch.api.errors import InvalidField
from switch.api.listed_fields import merchant_id, page_size, page_token, text, uuid_of
from switch.domain.access import Caller
from switch.domain.webhook import Attempt, Delivery, DeliveryState, Endpoint, EndpointState
from switch.merchants.webhooks import Changes, Range, Webhooks

_LONGEST_OVERLAP_HOURS = 72
_LARGEST_TIME_MS = (1 << 48) - 1


class WebhookServicer:
    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def CreateEndpoint(self, request: pb.CreateEndpointRequest, caller: Caller) -> pb.CreateEndpointResponse:
        endpoint, secret = await self._webhooks.create(
            caller, merchant_id(request.merchant_id), request.url, text(request.description, "description", 100),
            list(request.event_types),
        )  # fmt: skip
        return pb.CreateEndpointResponse(endpoint=_endpoint(endpoint), secret=secret)

    async def UpdateEndpoint(self, request: pb.UpdateEndpointRequest, caller: Caller) -> pb.UpdateEndpointResponse:
        described = request.HasField("description")
        if request.state not in (0, pb.WEBHOOK_ENDPOINT_STATE_ACTIVE, pb.WEBHOOK_ENDPOINT_STATE_PAUSED):
            raise InvalidField("state", "must be ACTIVE or PAUSED")
        changes = Changes(
            url=request.url or None,
            description=text(request.description, "description", 100) if described else None,
            event_types=tuple(request.event_types) or None,
            state=EndpointState(request.state) if request.state else None,
        )
        identity = uuid_of(request.endpoint_id, "endpoint_id")
        changed = await self._webhooks.update(caller, merchant_id(request.merchant_id), identity, changes)
        return pb.UpdateEndpointResponse(endpoint=_endpoint(changed))

    async def RemoveEndpoint(self, request: pb.RemoveEndpointRequest, caller: Caller) -> pb.RemoveEndpointResponse:
        identity = uuid_of(request.endpoint_id, "endpoint_id")
        await self._webhooks.remove(caller, merchant_id(request.merchant_id), identity)
        return pb.RemoveEndpointResponse()

    async def ListEndpoints(self, request: pb.ListEndpointsRequest, caller: Caller) -> pb.ListEndpointsResponse:
        found = await self._webhooks.endpoints(merchant_id(request.merchant_id))
        return pb.ListEndpointsResponse(endpoints=[_endpoint(each) for each in found])

    async def RotateSecret(self, request: pb.RotateSecretRequest, caller: Caller) -> pb.RotateSecretResponse:
        if request.overlap_hours > _LONGEST_OVERLAP_HOURS:
            raise InvalidField("overlap_hours", f"must be at most {_LONGEST_OVERLAP_HOURS}")
        identity = uuid_of(request.endpoint_id, "endpoint_id")
        secret = await self._webhooks.rotate(caller, merchant_id(request.merchant_id), identity, request.overlap_hours)
        return pb.RotateSecretResponse(secret=secret)

    async def PingEndpoint(self, request: pb.PingEndpointRequest, caller: Caller) -> pb.PingEndpointResponse:
        identity = uuid_of(request.endpoint_id, "endpoint_id")
        delivery_id = await self._webhooks.ping(merchant_id(request.merchant_id), identity)
        return pb.PingEndpointResponse(delivery_id=str(delivery_id))

    async def ListDeliveries(self, request: pb.ListDeliveriesRequest, caller: Caller) -> pb.ListDeliveriesResponse:
        try:
            state = DeliveryState(request.state) if request.state else None
        except ValueError as error:
            raise InvalidField("state", "is not a known state") from error
        identity = uuid_of(request.endpoint_id, "endpoint_id")
        rows, token = await self._webhooks.deliveries(
            merchant_id(request.merchant_id), identity, state, page_size(request.page_size),
            page_token(request.page_token),
        )  # fmt: skip
        return pb.ListDeliveriesResponse(deliveries=[_delivery(row) for row in rows], next_page_token=token)

    async def GetDelivery(self, request: pb.GetDeliveryRequest, caller: Caller) -> pb.GetDeliveryResponse:
        identity = uuid_of(request.delivery_id, "delivery_id")
        found, attempts = await self._webhooks.delivery(merchant_id(request.merchant_id), identity)
        return pb.GetDeliveryResponse(
            delivery=_delivery(found), payload=found.payload, attempts=[_attempt(each) for each in attempts]
        )

    async def ReplayDeliveries(
        self, request: pb.ReplayDeliveriesRequest, caller: Caller
    ) -> pb.ReplayDeliveriesResponse:
        merchant = merchant_id(request.merchant_id)
        if request.delivery_id:
            if request.endpoint_id or request.from_time_ms or request.until_time_ms:
                raise InvalidField("delivery_id", "stands alone")
            count = await self._webhooks.replay_one(caller, merchant, uuid_of(request.delivery_id, "delivery_id"))
            return pb.ReplayDeliveriesResponse(replayed=count)
        if not 0 <= request.from_time_ms < request.until_time_ms <= _LARGEST_TIME_MS:
            raise InvalidField("until_time_ms", "must be later than from_time_ms")
        wanted = Range(
            uuid_of(request.endpoint_id, "endpoint_id"), request.from_time_ms, request.until_time_ms, request.dead_only
        )
        count, resume_ms = await self._webhooks.replay_range(caller, merchant, wanted)
        return pb.ReplayDeliveriesResponse(replayed=count, resume_time_ms=resume_ms)


def _endpoint(endpoint: Endpoint) -> pb.WebhookEndpoint:
    """EndpointState and DeliveryState number their members as the contract does."""
    return pb.WebhookEndpoint(
        endpoint_id=str(endpoint.id),
        url=endpoint.url,
        description=endpoint.description,
        event_types=endpoint.event_types,
        state=int(endpoint.state),  # type: ignore[arg-type]
        failures=endpoint.failures,
        failing_since_ms=endpoint.failing_since_ms,
        created_time_ms=endpoint.created_time_ms,
    )


def _delivery(delivery: Delivery) -> pb.WebhookDelivery:
    waiting = delivery.state is DeliveryState.WAITING
    return pb.WebhookDelivery(
        delivery_id=str(delivery.id),
        endpoint_id=str(delivery.endpoint_id),
        event_type=delivery.event_type,
        state=int(delivery.state),  # type: ignore[arg-type]
        attempts=delivery.attempts,
        due_time_ms=delivery.due_time_ms if waiting else 0,
        created_time_ms=delivery.created_time_ms,
        ended_time_ms=delivery.ended_time_ms,
    )


def _attempt(attempt: Attempt) -> pb.WebhookAttempt:
    return pb.WebhookAttempt(
        number=attempt.number,
        time_ms=attempt.time_ms,
        latency_ms=attempt.latency_ms,
        status=attempt.status,
        failure=attempt.failure,
        answer=attempt.answer,
    )
