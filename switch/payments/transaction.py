"""What travels the road."""

import asyncio
from dataclasses import dataclass, field

from switch.domain.authorization import Authorization, AuthorizationRequest
from switch.domain.risk import Judged
from switch.ports import ChannelRequest, ChannelResult


@dataclass(slots=True, eq=False)
class Transaction:
    """One authorization under way.

    arrived_s, deadline_s: `loop.time()`; the caller wants its answer by the latter.
    answer: resolves to the durable record, or raises a `NotAnswered`.
    candidates: channels still to ask, in order. judged: by risk control, once it was asked.
    """

    request: AuthorizationRequest
    record: Authorization
    arrived_s: float
    deadline_s: float
    answer: "asyncio.Future[Authorization]"
    candidates: list[str] = field(default_factory=list)
    message: ChannelRequest | None = None
    reply: "asyncio.Future[ChannelResult] | None" = None
    sent_s: float = 0.0
    judged: Judged | None = None

    @property
    def decided(self) -> bool:
        return self.record.decision is not None

    def refuse(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
