"""Lists and cases as a process opens and closes them."""

import asyncio
from typing import Any, cast

import asyncpg
import pytest
from case_scene import case_scene, key
from desk_scene import ANN

from payswitch.v1 import risk_cases_pb2 as pb
from switch.api.guarded import access_of
from switch.api.risk_case_service import RiskCaseServicer
from switch.config import Settings
from switch.domain.risk import ListKind, Outcome, Subject
from switch.domain.risk_listing import Marking
from switch.ops.lifecycle import EXIT_CLEAN, Lifecycle
from switch.wiring.foundation import SystemClock
from switch.wiring.platform import Platform
from switch.wiring.risk_cases import open_risk_cases, partners_of

PARTNER = {
    "id": "bank",
    "public_key": "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
    "trust": "block", "marking": "amber_strict", "card_key": "0f" * 64,
}  # fmt: skip


async def test_a_reviewed_payment_becomes_a_case(database: asyncpg.Pool) -> None:
    scene = await case_scene(database)
    nothing: Any = None
    lifecycle = Lifecycle(grace_s=0)
    platform = Platform(Settings(), lifecycle, database, "", nothing, SystemClock(), nothing, nothing, {})
    [served] = open_risk_cases(platform)
    assert all(access_of(each).roles and hasattr(served.servicer, each.name) for each in served.service.methods)
    await scene.told(await scene.judged({Subject.CARD: key(1)}, Outcome.REVIEW, fired=("odd",)), kind=1)
    servicer = cast(RiskCaseServicer, served.servicer)
    async with asyncio.timeout(30):
        while True:
            found = (await servicer.ListCases(pb.ListCasesRequest(), ANN)).cases
            if found:
                break
            await asyncio.sleep(0.05)
    assert [(each.key, each.alerts) for each in found] == [(key(1), 1)]
    lifecycle.stop("done")
    assert await lifecycle.run() == EXIT_CLEAN


def test_partners_are_what_the_settings_say() -> None:
    settings = Settings(risk_share={"partners": [PARTNER]})  # type: ignore[arg-type]
    partner = partners_of(settings)["bank"]
    assert (partner.trust, partner.days, partner.marking) == (ListKind.BLOCK, 30, Marking.AMBER_STRICT)
    assert partner.card_key == bytes([15] * 64)
    assert "0f0f" not in repr(settings.risk_share)
    assert "\\x0f" not in repr(partner)


@pytest.mark.parametrize(
    ("change", "told"),
    [({"public_key": "x"}, "PEM"), ({"card_key": "0f"}, "128 hexadecimal"), ({"id": "The Bank"}, "pattern")],
    ids=["key", "card_key", "id"],
)
def test_a_partner_that_is_wrong_is_refused(change: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Settings(risk_share={"partners": [PARTNER | change]})  # type: ignore[arg-type]


def test_no_partner_is_there_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        Settings(risk_share={"partners": [PARTNER, PARTNER]})  # type: ignore[arg-type]
