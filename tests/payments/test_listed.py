"""What an analyst puts on a list declines the next payment on the road, and no longer once it is off."""

import asyncpg
import pytest
from case_scene import CaseScene, case_scene
from desk_scene import ANN

from switch.domain.risk import ListKind, Subject
from switch.domain.risk_listing import ListingEntry, ListingKey
from switch.domain.states import Decision
from switch.risk.listing_desk import Wanted
from switch.risk.lists_watch import ListsWatch


@pytest.fixture
async def scene(database: asyncpg.Pool) -> CaseScene:
    return await case_scene(database)


async def test_a_card_is_blocked_and_freed_on_the_road(scene: CaseScene, town, request_of) -> None:  # type: ignore[no-untyped-def]
    watch = ListsWatch(scene.listings, town.live, scene.clock)
    await watch.begin()
    paid = await town.road.enter(request_of(), 5.0)
    assert paid.decision is Decision.APPROVED
    card = paid.payer_key.hex()
    await scene.block(Subject.CARD, card)
    await watch.look()
    refused = await town.road.enter(request_of(), 5.0)
    assert (refused.decision, refused.response_code) == (Decision.DECLINED, "59")
    assert town.journal.judged[refused.id].judgement.fired == ("list:stolen",)
    assert (await town.road.enter(request_of(pan="6225880000000013"), 5.0)).decision is Decision.APPROVED
    await scene.lists.remove(ListingKey(ListKind.BLOCK, "stolen", Subject.CARD, card), "found again", ANN)
    await watch.look()
    assert (await town.road.enter(request_of(), 5.0)).decision is Decision.APPROVED
    assert len(town.first.sent) == 3


async def test_a_card_is_asked_for_proof(scene: CaseScene, town, request_of) -> None:  # type: ignore[no-untyped-def]
    watch = ListsWatch(scene.listings, town.live, scene.clock)
    await watch.begin()
    paid = await town.road.enter(request_of(), 5.0)
    [judged] = list(town.journal.judged.values())
    entry = ListingEntry(Subject.CARD, paid.payer_key.hex(), 0)
    await scene.lists.add(Wanted(ListKind.STEP_UP, "odd", "a test", ANN.name, [entry]), ANN)
    await watch.look()
    refused = await town.road.enter(request_of(), 5.0)
    assert not judged.judgement.declines
    assert refused.decision is Decision.DECLINED
    assert refused.reason == "payments of this card need a proof of identity"
