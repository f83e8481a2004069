"""Fetches the daily bills: asks for the offer, which is signed, then for the file, which is not but must hash to it."""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator
from datetime import date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from adapters.wechat import answers, calls, codec
from adapters.wechat.bill import LARGEST_PACKED_BYTES, Flow, check_against_flows, flows, trade_lines, unpacked
from adapters.wechat.metrics import REFUSED_BILLS
from adapters.wechat.settings import WeChatSettings
from adapters.wechat.transport import Answer
from switch.domain.bill import Bill
from switch.domain.packed_lines import PackedLines
from switch.ports import BillNotReady, BillRefused, Clock

_ZONE = ZoneInfo("Asia/Shanghai")
_NOT_YET = frozenset({"NO_STATEMENT_EXIST", "STATEMENT_CREATING"})


class Fetch(Protocol):
    def __call__(self, call: calls.Call, largest: int = ..., /) -> Awaitable[Answer]: ...


class Billing:
    def __init__(self, settings: WeChatSettings, keys: codec.PlatformKeys, fetch: Fetch, clock: Clock) -> None:
        self._settings = settings
        self._keys = keys
        self._fetch = fetch
        self._clock = clock

    async def bill(self, day: date) -> Bill:
        """Raises BillNotReady, BillRefused, ConnectionError."""
        try:
            trade = await self._file(calls.trade_bill(day), day)
            flow = await self._file(calls.fund_flow_bill(day), day) if self._settings.fund_flow_check else None
            return Bill("wechat", day, await asyncio.to_thread(self._lines, trade, flow, day))
        except BillRefused as refusal:
            REFUSED_BILLS.labels(refusal.cause).inc()
            raise

    async def fund_flow(self, day: date) -> tuple[Flow, ...]:
        """The movements of the basic account. Raises as `bill`."""
        try:
            chunks = await self._file(calls.fund_flow_bill(day), day)
            return await asyncio.to_thread(lambda: tuple(flows(chunks, day)))
        except BillRefused as refusal:
            REFUSED_BILLS.labels(refusal.cause).inc()
            raise

    def _lines(self, trade: Iterable[bytes], flow: Iterable[bytes] | None, day: date) -> PackedLines:
        lines = trade_lines(trade, self._settings.mchid, day)
        if flow is not None:
            check_against_flows(lines, flows(flow, day))
        return lines

    async def _file(self, call: calls.Call, day: date) -> Iterator[bytes]:
        if self._settings.v2_key:
            raise ConnectionError("bills are of API v3, and the merchant is one of v2")
        answer = await self._fetch(call)
        try:
            self._keys.verify(answer.headers, answer.body, self._clock.time_ms() / 1000)
            if answer.status != 200:
                raise self._refusal(answer, day)
            offer = answers.bill_offer_of(answer.body)
            file = await self._fetch(calls.download(offer.download_url), LARGEST_PACKED_BYTES)
        except codec.UnverifiedAnswer as error:
            raise ConnectionError(f"the offer of the bill is not believed: {error}") from None
        except codec.WeChatError as error:
            raise BillRefused("malformed", str(error)) from None
        if file.status != 200:
            raise ConnectionError(f"HTTP {file.status} for the bill's file")
        return unpacked(file.body, offer.sha1)

    def _refusal(self, answer: Answer, day: date) -> Exception:
        """Raises InvalidAnswer. A day that is not over has no bill, in whatever words the platform says so."""
        if answer.status >= 500:
            return ConnectionError(f"HTTP {answer.status}")
        code = answers.error_code(answer.body)
        today = datetime.fromtimestamp(self._clock.time_ms() / 1000, _ZONE).date()
        if code in _NOT_YET or (answer.status == 400 and day >= today):
            return BillNotReady(code)
        return ConnectionError(f"HTTP {answer.status}: {code}")
