"""Services in processes of their own: one has the road, another orders, users, merchants and settlement."""

from collections.abc import AsyncIterator

import grpc.aio
import pytest
import pytest_asyncio

from payswitch.v1 import merchant_pb2
from switch import config
from switch.demo.environment import HOST, Environment, Ports
from switch.demo.processes import Child
from switch.demo.story import figures, onboarding, payer, paying, refunding, settling
from switch.demo.story.callers import Caller
from switch.demo.story.stage import Story

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = "order,user,merchant,settlement"
PLAYED = (
    *(onboarding.applies, onboarding.agrees, onboarding.opens),
    *(payer.registers, payer.adds_a_card, payer.enrols_codes),
    *(paying.by_code, paying.by_merchant_qr, refunding.in_two_parts),
    *(settling.closes_the_day, figures.analytics_agree),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ports(road_alone: Environment) -> AsyncIterator[Ports]:
    """Of the process with the platform's services, which reaches the road over the network."""
    ports = Ports.free()
    settings = {
        config.CONFIG_VARIABLE: str(road_alone.config_path),
        "PAYSWITCH_LISTEN": f"{HOST}:{ports.switch}",
        "PAYSWITCH_PLATFORM__LISTEN": f"{HOST}:{ports.people}",
        "PAYSWITCH_PLATFORM__AUTHORIZATIONS": road_alone.target,
        "PAYSWITCH_OPERATIONS__LISTEN": f"{HOST}:{ports.operations}",
        "PAYSWITCH_OPERATIONS__GRPC_LISTEN": f"{HOST}:{ports.operations_grpc}",
        "PAYSWITCH_NOTIFICATIONS__LISTEN": f"{HOST}:{ports.notifications}",
    }
    arguments = ("serve", "--announce", "--services", SERVICES)
    log = road_alone.state_dir / "log" / "platform.log"
    child = Child("switch.cli", *arguments, log=log, environment=road_alone.overrides | settings)
    await child.start()
    yield ports
    assert await child.stop() == 0


@pytest.mark.usefixtures("clear_of_midnight")
@pytest.mark.timeout(180)
async def test_an_order_is_paid_and_refunded_through_another_process(road_alone: Environment, ports: Ports) -> None:
    at = {"people_target": f"{HOST}:{ports.people}", "staff_target": f"{HOST}:{ports.switch}"}
    async with road_alone.client() as client:
        await client.ready.wait()
        story = Story(road_alone, client, **at)
        try:
            for chapter in PLAYED:
                assert await chapter(story)
        finally:
            await story.close()


async def test_a_process_serves_only_what_it_was_told_to(road_alone: Environment, ports: Ports) -> None:
    async with road_alone.participants("reviewer", "ann") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await Caller(channel).ask(merchant_pb2.ListApplicationsRequest())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    async with road_alone.participants("reviewer", "ann", f"{HOST}:{ports.switch}") as channel:
        await Caller(channel).ask(merchant_pb2.ListApplicationsRequest())
