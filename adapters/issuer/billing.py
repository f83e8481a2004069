"""Asking an issuer for its bill: one question, an answer in parts on the same link, never an endless wait."""

import asyncio
from dataclasses import dataclass
from datetime import date
from uuid import uuid4

from adapters.issuer.bill import BillReader
from adapters.issuer.hub import IssuerHub, IssuerLink
from adapters.issuer.messages import BillChunk, BillRequest
from adapters.issuer.metrics import REFUSED
from switch.domain.bill import Bill
from switch.ports import BillNotReady, BillRefused


@dataclass(slots=True)
class _Asked:
    reader: BillReader
    bill: "asyncio.Future[Bill]"
    link: IssuerLink
    limit: asyncio.Timeout


class Bills:
    """The bills that one issuer has been asked for. silence_s: the longest wait for the next part."""

    def __init__(self, issuer_id: str, channel: str, hub: IssuerHub, silence_s: float) -> None:
        self._issuer_id = issuer_id
        self._channel = channel
        self._hub = hub
        self._silence_s = silence_s
        self._asked: dict[str, _Asked] = {}

    async def fetch(self, day: date) -> Bill:
        """Raises BillNotReady, BillRefused, or ConnectionError where none can be had now."""
        loop = asyncio.get_running_loop()
        request = BillRequest(uuid4().hex, day)
        link = self._hub.ask_bill(self._issuer_id, request)
        if link is None:
            raise ConnectionError("the issuer is not signed on")
        future: asyncio.Future[Bill] = loop.create_future()
        try:
            async with asyncio.timeout(self._silence_s) as limit:
                self._asked[request.request_id] = _Asked(BillReader(self._channel, day), future, link, limit)
                return await future
        except TimeoutError:
            raise ConnectionError("the issuer sends no more of its bill") from None
        except BillRefused as refused:
            REFUSED.labels(self._issuer_id, f"bill_{refused.cause}").inc()
            raise
        finally:
            self._asked.pop(request.request_id, None)

    def take(self, chunk: BillChunk) -> None:
        asked = self._asked.get(chunk.request_id)
        if asked is None or asked.bill.done():
            # Not asked for, or given up by now.
            REFUSED.labels(self._issuer_id, "bill_unmatched").inc()
            return
        asked.limit.reschedule(asyncio.get_running_loop().time() + self._silence_s)
        try:
            bill = asked.reader.take(chunk)
        except (BillNotReady, BillRefused) as error:
            asked.bill.set_exception(error)
            return
        if bill is not None:
            asked.bill.set_result(bill)

    def link_lost(self, link: IssuerLink) -> None:
        self._fail("the link was lost", link)

    def close(self) -> None:
        self._fail("the switch is closing")

    def _fail(self, why: str, link: IssuerLink | None = None) -> None:
        for asked in self._asked.values():
            if link in (None, asked.link) and not asked.bill.done():
                asked.bill.set_exception(ConnectionError(why))
