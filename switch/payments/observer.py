"""Who watches the road and its way back; `switch.ops.road` meets it."""

from typing import Protocol

from switch.domain.authorization import Authorization
from switch.domain.states import Operation
from switch.ports import ChannelResult


class Observer(Protocol):
    """Counts; never raises, never waits."""

    def stage(self, name: str, batch: int, seconds: float) -> None:
        """A flush of `batch` transactions took so long."""

    def failed(self, stage: str) -> None:
        """A flush came to nothing: what it shares (the database, the HSM) could not be used."""

    def channel(self, record: Authorization, result: ChannelResult, seconds: float) -> None:
        """The record's channel came to that result after so long."""

    def answered(self, record: Authorization, seconds: float) -> None:
        """One caller got its answer after so long."""

    def refused(self, reason: str) -> None:
        """One request was not answered with a decision."""

    def followed_up(self, operation: Operation, channel: str, result: ChannelResult) -> None:
        """A reversal, inquiry or other follow-up was sent and came to that result."""

    def dead_letter(self, channel: str) -> None:
        """A follow-up could not be brought to its end: a person must look."""
