"""What becomes of a notice, by whichever way its channel brought it: one question, asked at once, and nothing else."""

import re
from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog

from switch.ops.metrics import NOTIFICATIONS
from switch.ports import Hastened, Journal, Notice, NotificationRefused, StoreUnavailable

log = structlog.get_logger()

# After these the peer need not come again.
SETTLED: Final = frozenset({Hastened.DUE, Hastened.REPEATED, Hastened.BEING_REVERSED, Hastened.FINAL})

_REMEMBERED: Final = 10_000

ID: Final = r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
# A channel knows a payment by its id, some with the number of the attempt behind it.
_REFERENCE = re.compile(rf"(?P<id>{ID})(-\d{{1,3}})?", re.ASCII).fullmatch


class Notices:
    """wake: tells the resolver that something is due. Notices that come here have been verified by their channel."""

    def __init__(self, journal: Journal, wake: Callable[[], None]) -> None:
        self._journal = journal
        self._wake = wake
        self._acted_on: dict[tuple[str, str, str], None] = {}

    async def take(
        self, notice: Notice, merchant_id: str | None = None, authorization_id: UUID | None = None
    ) -> Hastened:
        """merchant_id, authorization_id: where the peer was told them. Raises StoreUnavailable; all is counted."""
        event = (notice.channel, notice.reference, notice.event)
        if event in self._acted_on:
            count(notice.channel, Hastened.REPEATED)
            return Hastened.REPEATED
        reference = _REFERENCE(notice.reference)
        named = authorization_id or (UUID(reference["id"]) if reference is not None else None)
        try:
            hastened = Hastened.UNKNOWN if named is None else await self._journal.hasten(notice, merchant_id, named)
        except StoreUnavailable as error:
            log.warning("notice_waits_for_database", reason=str(error))
            count(notice.channel, "unavailable")
            raise
        if hastened is Hastened.DUE:
            self._remember(event)
            self._wake()
        log.info(
            "notice", channel=notice.channel, outcome=hastened.value, authorization=str(named or ""),
            event_name=notice.event, said=notice.said,
        )  # fmt: skip
        count(notice.channel, hastened)
        return hastened

    async def act(self, notice: Notice) -> None:
        """For a peer that hears why: raises NotificationRefused where nothing of ours is named, and StoreUnavailable
        where it should come again."""
        hastened = await self.take(notice)
        if hastened is Hastened.IN_FLIGHT:
            raise StoreUnavailable("our own message has no recorded answer yet")
        if hastened not in SETTLED:
            raise NotificationRefused(hastened.value)

    def _remember(self, event: tuple[str, str, str]) -> None:
        if event[-1]:
            self._acted_on[event] = None
        if len(self._acted_on) > _REMEMBERED:
            del self._acted_on[next(iter(self._acted_on))]


def count(channel: str, outcome: str) -> None:
    NOTIFICATIONS.labels(channel, outcome).inc()
