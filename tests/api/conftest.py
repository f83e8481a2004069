"""The AuthorizationService over a real socket, on a road in memory."""

import time
from contextlib import asynccontextmanager
from uuid import uuid4

import grpc.aio
import pytest
from town import request_of, town

from benchmarks.terminal import build_tap
from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import authorization_pb2_grpc as pb_grpc
from payswitch.v1 import common_pb2
from switch.api import wire
from switch.api.authorization_service import AuthorizationServicer
from switch.api.identity import Doorkeeper
from switch.payments.follow_on import FollowOns
from switch.payments.road import Road
from switch.payments.world import RoadSettings

__all__ = ["request_of", "town"]

PAN = "6225880000000019"


@pytest.fixture
async def channel(town):
    """The channel of a caller named "acme"."""
    async with serving(town, ("acquirer", "acme")) as channel:
        yield channel


@pytest.fixture
async def platform_channel(town):
    """The channel of another process of the switch."""
    async with serving(town, ("platform", "services")) as channel:
        yield channel


@asynccontextmanager
async def serving(town, caller):
    doorkeeper = Doorkeeper(lambda names: caller, anonymous=caller)
    # No machine is too slow for it: what is late in a test never comes.
    settings = RoadSettings(answer_budget_ms=20_000)
    town.road = Road(town.world, settings)
    follow_ons = FollowOns(town.world, settings)
    servicer = AuthorizationServicer(town.road, follow_ons, town.journal, doorkeeper, budget_s=20.0)
    server = grpc.aio.server()
    wire.add_to_server(pb_grpc.add_AuthorizationServiceServicer_to_server, servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0.1)
    await town.road.close()


@pytest.fixture
def stub(channel):
    return pb_grpc.AuthorizationServiceStub(channel)


@pytest.fixture
def tap():
    """A well-formed request; its fields may be changed before it is sent."""

    def build(amount_minor: int = 1200, pan: str = PAN) -> pb.AuthorizeRequest:
        return pb.AuthorizeRequest(
            merchant_id="m1",
            terminal_id="t1",
            idempotency_key=uuid4().hex,
            transmission_time_ms=time.time_ns() // 1_000_000,
            amount=common_pb2.Money(amount_minor=amount_minor, currency="CNY"),
            nfc=pb.NfcTap(emv=build_tap(pan, "4912", amount_minor, "CNY")),
        )

    return build
