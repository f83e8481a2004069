"""What issuers say by themselves: read, and handed on as a reason to ask."""

from collections.abc import Awaitable, Callable

import structlog

from adapters.issuer.messages import IssuerNotice
from switch.ports import Notice, NotificationRefused, StoreUnavailable

log = structlog.get_logger()


class IssuerNotices:
    """read: an issuer's notice in the house's words; raises NotificationRefused. act: makes it a durable reason to
    inquire; raises NotificationRefused where no such payment is ours, StoreUnavailable."""

    def __init__(self, read: Callable[[str, IssuerNotice], Notice], act: Callable[[Notice], Awaitable[None]]) -> None:
        self._read = read
        self._act = act

    async def take(self, issuer_id: str, notice: IssuerNotice) -> str:
        """ "" once it is durable that somebody asks, else the cause of its refusal; "unavailable": come again."""
        try:
            await self._act(self._read(issuer_id, notice))
        except NotificationRefused as refused:
            log.warning("issuer_notice_refused", issuer=issuer_id, cause=refused.cause)
            return refused.cause
        except StoreUnavailable:
            return "unavailable"
        return ""
