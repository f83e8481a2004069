from types import SimpleNamespace

from switch.domain.states import Operation
from switch.ops.road import RoadCounts
from switch.ports import Approved, Phase, Unknown


def test_who_measures_channels_is_told_every_result() -> None:
    told = []
    counts = RoadCounts(lambda channel, result: told.append((channel, result)))
    record = SimpleNamespace(channel="told", operation=Operation.SALE)
    results = [Approved(), Unknown(Phase.SENT, "silent"), Unknown(Phase.NOT_SENT, "no link")]
    for result in results:
        counts.channel(record, result, 0.01)  # type: ignore[arg-type]
    assert told == [("told", result) for result in results]
