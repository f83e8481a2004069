"""What the road's observer counts: `switch.payments.stop.Observer`, met by shape."""

from switch.domain.authorization import Authorization
from switch.domain.states import Decision
from switch.ops.metrics import REFUSED_ADMISSIONS, AnswerCounts, ChannelCounts, StageCounts
from switch.ports import Approved, AwaitingPayer, ChannelResult, Declined, Phase

RPC = "authorize"


class RoadCounts:
    """One per process."""

    def __init__(self) -> None:
        self._answers = AnswerCounts(RPC)
        self._stages: dict[str, StageCounts] = {}
        self._channels: dict[str, ChannelCounts] = {}

    def stage(self, name: str, batch: int, seconds: float) -> None:
        counts = self._stages.get(name)
        if counts is None:
            counts = self._stages[name] = StageCounts(name)
        counts.observe_flush(batch, seconds)

    def channel(self, record: Authorization, result: ChannelResult, seconds: float) -> None:
        counts = self._channels.get(record.channel)
        if counts is None:
            counts = self._channels[record.channel] = ChannelCounts(record.channel)
        outcome = _outcome(result)
        counts.observe(record.operation, outcome, None if outcome == "not_sent" else seconds)

    def answered(self, record: Authorization, seconds: float) -> None:
        self._answers.observe(record.decision or Decision.UNKNOWN, record.response_code, record.channel, seconds)

    def refused(self, reason: str) -> None:
        REFUSED_ADMISSIONS.labels(reason).inc()


def _outcome(result: ChannelResult) -> str:
    match result:
        case Approved():
            return "approved"
        case Declined():
            return "declined"
        case AwaitingPayer():
            return "awaiting_payer"
        case _:
            return "not_sent" if result.phase is Phase.NOT_SENT else "unknown"
