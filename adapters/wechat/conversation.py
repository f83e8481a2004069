"""What the channel and its dialects agree on: a request becomes a conversation of one or several calls."""

from typing import Protocol

from adapters.wechat.calls import Call
from adapters.wechat.transport import Answer
from switch.domain.states import Operation
from switch.ports import ChannelRequest, ChannelResult


class Conversation(Protocol):
    """call: what to send first."""

    call: Call

    def heard(self, answer: Answer, now_s: float) -> "Call | ChannelResult":
        """What to send next, or what it came to. Raises UnverifiedAnswer; the same answer may be told again."""


class Dialect(Protocol):
    """signed: whether calls carry the signature of API v3 in their headers."""

    operations: frozenset[Operation]
    signed: bool

    def begin(self, request: ChannelRequest) -> Conversation:
        """Raises InvalidField for what the interface does not take."""


def notify_url(base: str, request: ChannelRequest) -> str:
    """Where the platform tells of this payment: the door finds its row by merchant and id. "" for no base."""
    authorization = request.authorization
    return f"{base}/{authorization.merchant_id}/{authorization.id.hex}" if base else ""
