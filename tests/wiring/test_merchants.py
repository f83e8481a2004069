"""The merchant service as the switch wires it."""

from typing import Any, cast

import asyncpg
import grpc.aio

from payswitch.v1 import merchant_pb2
from switch.api.gate import Gate
from switch.api.guarded import add_guarded
from switch.config import load
from switch.ops.lifecycle import Lifecycle
from switch.pki import participant_of
from switch.store.merchants import PostgresMerchants
from switch.wiring.merchants import merchant_settings, merchant_standing, open_merchants
from switch.wiring.platform import Platform


async def test_every_method_is_served(database: asyncpg.Pool) -> None:
    settings, merchants = load(), PostgresMerchants(database)
    lifecycle, nothing = Lifecycle(grace_s=0), cast("Any", None)
    platform = Platform(settings, lifecycle, database, "", nothing, nothing, nothing, merchants, {})
    (served,) = open_merchants(platform)
    assert served.service is merchant_pb2.DESCRIPTOR.services_by_name["MerchantService"]
    add_guarded(served.service, served.servicer, Gate(participant_of, nothing, merchants), grpc.aio.server())


def test_the_settings_are_what_the_policy_keeps_to() -> None:
    section = {"account_cooling_off_h": 48, "invitation_h": 1, "credentials": 7, "acquirer_id": "house"}
    found = merchant_settings(load(merchants=section, issuers=["bank-1"]))
    assert (found.account_cooling_off_ms, found.invitation_ms) == (48 * 3_600_000, 3_600_000)
    assert (found.credentials, found.acquirer_id) == (7, "house")
    assert found.channels == ("unionpay", "alipay", "wechat", "issuer:bank-1")


async def test_the_standing_is_followed_until_the_end(database: asyncpg.Pool) -> None:
    lifecycle = Lifecycle(grace_s=0)
    standing = await merchant_standing(load(merchants={"only_onboarded": True}), lifecycle, database)
    refusal = standing("NOBODY", "T1")
    assert refusal is not None
    assert refusal.response_code == "03"
    lifecycle.stop("done")
    await lifecycle.run()
