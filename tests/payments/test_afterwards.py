"""A request whose first sending met a database that was away, sent again as soon as the database is back."""

import asyncio

import pytest

from switch.domain.states import Decision, State
from switch.payments.errors import Unavailable

pytestmark = pytest.mark.usefixtures("own_time")


async def test_a_repeat_waits_until_the_lost_sending_is_settled_and_is_then_carried_out_once(town, request_of) -> None:
    request = request_of()
    town.journal.down = True
    with pytest.raises(Unavailable):
        await town.road.enter(request, 0.2)
    await asyncio.sleep(0.05)
    town.journal.down = False
    # The first sending's outcome ("not sent") must not be taken for this one's: the channel would have been paid.
    with pytest.raises(Unavailable):
        await town.road.enter(request, 0.2)
    assert town.first.sent == []
    await asyncio.sleep(0.6)
    record = await town.road.enter(request, 0.2)
    assert record.decision is Decision.APPROVED
    assert [row.state for row in town.journal.rows.values()] == [State.APPROVED]
    assert len(town.first.sent) == 1
