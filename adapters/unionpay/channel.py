"""UnionPay as a `switch.ports.Channel`: batches of messages over persistent multiplexed links."""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from datetime import date

import structlog

from adapters.unionpay import metrics
from adapters.unionpay._codec import Header
from adapters.unionpay.bills import fetch_bill
from adapters.unionpay.format import Fields
from adapters.unionpay.identifiers import Identifiers
from adapters.unionpay.link import Link, LinkEvents, Reply, resolve
from adapters.unionpay.mac import FINANCIAL, financial_text
from adapters.unionpay.network_requests import NetworkRequests
from adapters.unionpay.outgoing import Outgoing, express, refuse, register
from adapters.unionpay.replies import MAC_ERROR, SIGN_ON_AGAIN, interpret, response_code
from adapters.unionpay.session import Session
from adapters.unionpay.settings import UnionPaySettings
from adapters.unionpay.working_keys import WorkingKeys
from switch.domain.bill import Bill
from switch.domain.states import Operation
from switch.ports import ChannelHealth, ChannelRequest, ChannelResult, Clock, Declined, Hsm, Phase, Unknown

log = structlog.get_logger()

_Future = asyncio.Future[ChannelResult]


class UnionPayChannel:
    """Meets `switch.ports.Channel` and `BilledChannel`. The dialect has no inquiry of a payment (an open outcome is
    reversed), no increment and no order: these are declined with 40, by name.

    `trace` holds stan, transmission (DE7), rrn, local_time, local_date. Create it inside the running loop.
    """

    name = "unionpay"
    operations = frozenset(
        {
            Operation.SALE,
            Operation.PRE_AUTHORIZATION,
            Operation.CAPTURE,
            Operation.VOID,
            Operation.REFUND,
            Operation.REVERSAL,
        }
    )
    pin_format = 0

    def __init__(
        self, settings: UnionPaySettings, hsm: Hsm, clock: Clock, randomness: random.Random | None = None
    ) -> None:
        self.pin_key = settings.pik
        self.reversal_after_s = settings.reversal_after_s
        self._settings = settings
        self._hsm = hsm
        self._identifiers = Identifiers(settings.slot, clock)
        self._keys = WorkingKeys(settings, hsm, self._identifiers)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = 0
        self._network_requests = NetworkRequests(settings)
        events = LinkEvents(replies=self._on_replies, network_request=self._on_network_request)
        randomness = randomness or random.Random()
        self._sessions = [
            Session(settings, events, self._keys, self._identifiers, randomness) for _ in range(settings.links)
        ]
        self._running: list[asyncio.Task[None]] = []

    # --- switch.ports.Channel ---------------------------------------------------------------------------------------

    def prepare(self, requests: Sequence[ChannelRequest]) -> None:
        """Name each message. A repeat keeps its name; a reversal carries the original's DE37."""
        for request in requests:
            if request.repeat and request.trace:
                continue
            request.trace = self._identifiers.next()
            if request.operation is Operation.REVERSAL and "rrn" in request.authorization.trace:
                request.trace["rrn"] = request.authorization.trace["rrn"]

    def send(self, requests: Sequence[ChannelRequest]) -> list[_Future]:
        futures: list[_Future] = [self._loop.create_future() for _ in requests]
        batch = []
        for request, future in zip(requests, futures, strict=True):
            if request.operation in self.operations:
                batch.append((request, future))
            else:
                future.set_result(Declined("40", f"{self.name} has no {request.operation.name.lower()}"))
        link, obstacle = self._choose_link()
        if link is not None and batch:
            self._spawn(self._transmit(link, batch))
            return futures
        metrics.NOT_SENT.labels(obstacle).inc(len(batch))
        for _, future in batch:
            future.set_result(Unknown(Phase.NOT_SENT, obstacle))
        return futures

    def health(self) -> ChannelHealth:
        link, obstacle = self._choose_link()
        ready = sum(1 for each in self._sessions if each.link is not None and each.link.ready)
        detail = f"{ready} of {len(self._sessions)} links ready"
        if self._network_requests.in_cutover:
            detail += ", cutover under way"
        if link is None:
            detail += f": {obstacle} ({self._sessions[0].trouble})"
        return ChannelHealth(ready=link is not None, detail=detail)

    async def bill(self, day: date) -> Bill:
        """That day's settlement files. Raises BillNotReady, BillRefused, ConnectionError."""
        return await fetch_bill(self.name, self._settings, day)

    async def start(self) -> None:
        for session in self._sessions:
            task = self._loop.create_task(session.run())
            task.add_done_callback(_log_death)
            self._running.append(task)

    async def close(self) -> None:
        """Let batches in flight reach the socket, sign off, close. What still waits becomes Unknown(SENT)."""
        links = [session.link for session in self._sessions if session.link is not None]
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.reply_timeout_s)
        await asyncio.gather(*(session.sign_off() for session in self._sessions))
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()
        for link in links:
            link.abort()
            await link.closed
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- out --------------------------------------------------------------------------------------------------------

    def _choose_link(self) -> tuple[Link | None, str]:
        """Of the links that may be written to the one with the least pending, in turn; or why there is none."""
        obstacle, chosen, fewest, count = "link_down", None, 0, len(self._sessions)
        for step in range(count):
            link = self._sessions[(self._turn + step) % count].link
            if link is None:
                continue
            if link.obstacle:
                obstacle = link.obstacle
            elif chosen is None or link.pending < fewest:
                chosen, fewest = link, link.pending
        self._turn = (self._turn + 1) % count
        return chosen, "" if chosen is not None else obstacle

    async def _transmit(self, link: Link, batch: list[tuple[ChannelRequest, _Future]]) -> None:
        try:
            await self._write(link, express(batch, self._settings, self._keys.pin_control))
        except BaseException:  # cancelled or a bug: the one write comes last, so nothing has left
            for _, future in batch:
                resolve(future, Unknown(Phase.NOT_SENT, "not_written"))
            raise

    async def _write(self, link: Link, outgoing: list[Outgoing]) -> None:
        try:
            items = [(self._settings.mak, FINANCIAL, each.text) for each in outgoing]
            macs = await self._hsm.macs(items) if items else []
        except Exception as error:  # the HSM is gone: nothing left this process
            log.error("unionpay_macs_failed", error=type(error).__name__)
            refuse(outgoing, "hsm_unavailable")
            return
        if link.obstacle:  # it died meanwhile; nothing has left, so another one may take all of it
            other, obstacle = self._choose_link()
            if other is None:
                refuse(outgoing, obstacle)
                return
            metrics.MOVED.inc(len(outgoing))
            link = other
        frames: list[bytes] = []
        for message, mac in zip(outgoing, macs, strict=True):
            if isinstance(mac, Exception):
                log.error("unionpay_mac_failed", error=type(mac).__name__)
                refuse([message], "no_mac")
                continue
            message.fields[128] = mac
            frame = register(link, message)
            if frame is not None:
                frames.append(frame)
        if frames:
            link.write(b"".join(frames))

    # --- in ---------------------------------------------------------------------------------------------------------

    def _on_replies(self, link: Link, replies: list[Reply]) -> None:
        self._spawn(self._settle(link, replies))

    async def _settle(self, link: Link, replies: list[Reply]) -> None:
        """Verify all, then resolve all. During a change of the MAC key a refusal is looked at again afterwards."""
        generation = self._keys.generation
        try:
            refused = await self._verify(replies)
            if refused and (self._keys.changing or self._keys.generation != generation):
                await self._keys.changed()
                refused = await self._verify(refused)
        finally:  # also when cancelled: nobody waits for ever
            for reply in replies:
                resolve(reply.waiting.future, Unknown(Phase.SENT, "the reply is not authentic"))
        if refused:
            metrics.REFUSED.labels("bad_mac").inc(len(refused))
            log.warning("unionpay_bad_mac", replies=len(refused))
        codes = {response_code(reply.fields) for reply in replies}
        if refused or MAC_ERROR in codes:
            self._spawn(self._keys.ask(link))
        if SIGN_ON_AGAIN in codes:
            for session in self._sessions:
                if session.link is link:
                    session.sign_on_again()

    async def _verify(self, replies: list[Reply]) -> list[Reply]:
        """Settle those with a good MAC, return the others."""
        items = [
            (self._settings.mak, FINANCIAL, financial_text(each.mti, each.fields), _mac_of(each.fields))
            for each in replies
        ]
        try:
            verdicts = await self._hsm.verify_macs(items)
        except Exception as error:  # the HSM is gone: nothing can be believed
            log.error("unionpay_verify_failed", error=type(error).__name__)
            for reply in replies:
                resolve(reply.waiting.future, Unknown(Phase.SENT, "the reply's MAC could not be verified"))
            return []
        refused = []
        undecided = 0
        for reply, verdict in zip(replies, verdicts, strict=True):
            if verdict is not None:
                refused.append(reply)
                continue
            result = interpret(reply.waiting.expected, reply.fields)
            undecided += isinstance(result, Unknown)
            resolve(reply.waiting.future, result)
        metrics.REPLIES.labels("undecided").inc(undecided)
        metrics.REPLIES.labels("settled").inc(len(replies) - len(refused) - undecided)
        return refused

    def _on_network_request(self, link: Link, header: Header, mti: str, fields: Fields) -> None:
        if mti == "0800":
            metrics.NETWORK_REQUESTS.labels("key_reset").inc()
            self._spawn(self._keys.answer(link, header, fields))
        else:
            self._network_requests.answer(link, header, mti, fields)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        _log_death(task)


def _mac_of(fields: Fields) -> bytes:
    mac = fields.get(128, b"")
    return mac if isinstance(mac, bytes) else b""


def _log_death(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("unionpay_task_died", error=type(error).__name__)
