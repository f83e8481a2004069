"""A merchant that may take no new payments is declined before any channel is asked."""

from typing import Any

from switch.domain.authorization import Merchant
from switch.domain.merchant_standing import Refusal
from switch.payments.road import Road
from switch.payments.world import RoadSettings


async def test_a_suspended_merchant_gets_what_it_had_and_nothing_new(town: Any, request_of: Any) -> None:
    stood: dict[str, Refusal] = {}
    town.world.standing = lambda merchant_id, terminal_id: stood.get(merchant_id)
    road = Road(town.world, RoadSettings(answer_budget_ms=20_000))
    before = request_of(merchant=Merchant("m1"))
    approved = await road.enter(before, 20.0)
    assert approved.response_code == "00"
    stood["m1"] = Refusal("03", "the merchant is suspended")
    declined = await road.enter(request_of(merchant=Merchant("m1")), 20.0)
    assert (declined.response_code, declined.reason, declined.stage) == ("03", "the merchant is suspended", "assess")
    assert declined.channel == ""
    assert (await road.enter(before, 20.0)).response_code == "00"
    assert (await road.enter(request_of(merchant=Merchant("m2")), 20.0)).response_code == "00"
    await road.close()
