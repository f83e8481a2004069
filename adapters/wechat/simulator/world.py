"""What the faces of the platform (v3, v2, control) share: its books, its keys, its clock and what it is told to do."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.simulation import Scenarios
from adapters.wechat.simulator.accounts import Payer, Payers
from adapters.wechat.simulator.bills import BillCounter
from adapters.wechat.simulator.book import Book
from adapters.wechat.simulator.merchants import WeChatMerchant
from adapters.wechat.simulator.notifications import SCHEDULE_S, Notifier
from adapters.wechat.simulator.orders import RefundEntry
from adapters.wechat.simulator.platform import Platform


@dataclass(slots=True)
class CallFault:
    """The next calls whose path ends with `path` are answered with this error, unprocessed. times: 0 for all."""

    path: str
    status: int
    code: str
    times: int = 1


class PlatformWorld:
    """Everything but HTTP. Times are the platform's own: `ahead_s` is how far its clock has run away."""

    def __init__(
        self,
        merchants: Sequence[WeChatMerchant],
        accounts: Mapping[str, Payer],
        *,
        public_key_id: str = "",
        private_key_pem: str = "",
        reversal_after_s: float = 15.0,
        refund_settles_after_s: float = 0.05,
        notification_pauses_s: Sequence[float] = SCHEDULE_S,
        bills_at_once: bool = False,
        time_s: Callable[[], float] = time.time,
    ) -> None:
        self.ahead_s = 0.0
        self.scenarios = Scenarios()
        self.faults: list[CallFault] = []
        self.payers = Payers(accounts)
        self.platform = Platform(self.now_s, public_key_id, time_s, private_key_pem)
        self.notifier = Notifier(self.platform, self.now_s, notification_pauses_s)
        self.bills = BillCounter(self.now_s, bills_at_once)
        self.merchants = {each.mchid: each for each in merchants}
        if len(self.merchants) != len(merchants):
            raise ValueError("two merchants have the same mchid")
        waits_ms = int(reversal_after_s * 1000), int(refund_settles_after_s * 1000)
        self.books = {each.mchid: Book(each, self.payers, *waits_ms) for each in merchants}
        # Which platform key each merchant named last: what it is told by itself is signed under the same.
        self.asked_serial: dict[str, str] = {}
        self._time_s = time_s
        self._tasks: set[asyncio.Task[None]] = set()

    def now_s(self) -> float:
        return self._time_s() + self.ahead_s

    def now_ms(self) -> int:
        return int(self.now_s() * 1000)

    def book_of(self, out_trade_no: str) -> Book:
        """The book that the order stands in. Raises KeyError."""
        now_ms = self.now_ms()
        for book in self.books.values():
            if any(each.out_trade_no == out_trade_no for each in book.orders(now_ms)):
                return book
        raise KeyError(out_trade_no)

    def fault_for(self, path: str) -> CallFault | None:
        fault = next((each for each in self.faults if path.endswith(each.path)), None)
        if fault is not None and fault.times:
            fault.times -= 1
            if fault.times == 0:
                self.faults.remove(fault)
        return fault

    def tell_of_refund(self, merchant: WeChatMerchant, refund: RefundEntry) -> None:
        """Once it has settled, whether anyone asks or not."""
        if refund.notify_url and not refund.told:
            refund.told = True
            self._run(self._tell_when_settled(merchant, refund), refund.refund_id)

    async def _tell_when_settled(self, merchant: WeChatMerchant, refund: RefundEntry) -> None:
        book = self.books[merchant.mchid]
        while True:
            if book.find_refund(refund.out_refund_no, self.now_ms()).status != "PROCESSING":
                break
            await asyncio.sleep(max(0.01, (refund.settles_ms - self.now_ms()) / 1000))
        self.notifier.refunded(merchant, refund, self.asked_serial.get(merchant.mchid, ""))

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.notifier.deliveries.close()
