"""What the road's observer counts: `switch.payments.observer.Observer`, met by shape."""

from collections.abc import Callable

from switch.domain.authorization import Authorization
from switch.domain.states import Decision, Operation
from switch.ops.metrics import (
    DEAD_LETTERS,
    FOLLOW_UPS,
    REFUSED_ADMISSIONS,
    STAGE_FAILURES,
    AnswerCounts,
    ChannelCounts,
    StageCounts,
)
from switch.ports import Approved, AwaitingPayer, ChannelResult, Declined, Phase

RPC = "authorize"


class RoadCounts:
    """One per process. on_result: told every channel's name and result, too: who measures how well it does."""

    def __init__(self, on_result: Callable[[str, ChannelResult], None] = lambda channel, result: None) -> None:
        self._on_result = on_result
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
        self._on_result(record.channel, result)

    def answered(self, record: Authorization, seconds: float) -> None:
        self._answers.observe(record.decision or Decision.UNKNOWN, record.response_code, record.channel, seconds)

    def refused(self, reason: str) -> None:
        REFUSED_ADMISSIONS.labels(reason).inc()

    def failed(self, stage: str) -> None:
        STAGE_FAILURES.labels(stage).inc()

    def followed_up(self, operation: Operation, channel: str, result: ChannelResult) -> None:
        FOLLOW_UPS.labels(operation.name.lower(), _outcome(result)).inc()

    def dead_letter(self, channel: str) -> None:
        DEAD_LETTERS.labels(channel).inc()


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
