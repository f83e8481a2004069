"""The SDK for issuers: learns the live switch processes, keeps a stream to each, and answers what comes."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import structlog

from adapters.issuer.messages import IssuerAnswer, IssuerNotice
from payswitch.v1 import issuer_pb2, issuer_pb2_grpc
from switch.client.connection import Backoff, ClientCredentials, open_channel
from switch.client.issuer_link import BillHandler, Handler, LinkEnded, SwitchLink, processes_of, sign_on
from switch.client.issuer_roster import Roster

__all__ = ["BillHandler", "Handler", "IssuerConnection", "NoticeRefused"]

log = structlog.get_logger()

_SIGN_ON_LIMIT_S = 10.0
# A process that is gone for the others may still answer for a moment; then its stream is cut.
_LEAVE_LIMIT_S = 5.0
# Of n processes behind one address a dial finds the one that is missing with chance 1/n: after 32 n in vain (which one
# in 10^13 takes by chance) it is not there, and is looked for again later.
_MISSES_PER_PROCESS = 32
_MISSES_PAUSE_S = 30.0
_FAILURES_TO_LOOK_ELSEWHERE = 3


class NoticeRefused(Exception):
    """The switch does not believe a notice. cause: one word."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(slots=True, eq=False)
class _Line:
    """A live stream. task: its conversation."""

    process: str
    address: str
    link: SwitchLink
    channel: Any
    stream: Any
    task: "asyncio.Task[None] | None" = None


@dataclass(slots=True)
class _Dialler:
    """How an address is dialled: one attempt at a time, so that none lands where the one before it has."""

    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.05))
    misses: int = 0
    failures: int = 0
    dialled: bool = False
    attempting: bool = False
    task: "asyncio.Task[None] | None" = None


class IssuerConnection:
    """Keeps streams to all switch processes, signed on as `issuer_id`, and answers what comes.

    targets: `host:port`, one or several, to begin with; the switch tells the addresses of all its living processes, and
    from then on each has `links_per_process` streams. All targets are of one switch. handler: takes a batch of messages
    and returns their answers; one that it leaves out may be given to `answer` later. bill: makes the lines of a day's
    bill, or returns None as long as it is not made. credit: how many unanswered messages each stream takes.
    credentials: None is for tests. silence_limit_s: without any frame for so long a stream is taken for dead (the
    switch sends echoes every 15 s).

    ready: set while at least one stream is signed on. pin_key_check_values: of the last sign-on per address, the KCV of
    the key under which PIN blocks come.
    """

    def __init__(
        self,
        targets: str | Sequence[str],
        issuer_id: str,
        handler: Handler,
        credentials: ClientCredentials | None = None,
        *,
        bill: BillHandler | None = None,
        credit: int = 1024,
        links_per_process: int = 1,
        server_name: str | None = None,
        max_frame_answers: int = 128,
        silence_limit_s: float = 60.0,
    ) -> None:
        self._roster = Roster([targets] if isinstance(targets, str) else targets, links_per_process)
        self._issuer_id = issuer_id
        self._handler = handler
        self._bill = bill
        self._credentials = credentials
        self._credit = credit
        self._server_name = server_name
        self._max_frame_answers = max_frame_answers
        self._silence_limit_s = silence_limit_s
        self._lines: set[_Line] = set()
        self._diallers: dict[str, _Dialler] = {}
        self._changed = asyncio.Event()
        self._wanted = True
        self._closing = False
        self._fault: Exception | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self.ready = asyncio.Event()
        self.pin_key_check_values: dict[str, str] = {}

    @property
    def processes(self) -> list[str]:
        """The switch processes that there is a stream to, by name; one with two streams twice."""
        return sorted(line.process for line in self._lines if not line.link.leaving)

    async def run(self) -> None:
        """Dial, answer and redial until `close`. Raises only for a fault of our own."""
        try:
            while not self._closing:
                self._changed.clear()
                self._reconcile()
                await self._changed.wait()
                if self._fault is not None:
                    raise self._fault
        finally:
            tasks = [each.task for each in self._diallers.values() if each.task is not None]
            tasks += [line.task for line in self._lines if line.task is not None]
            for task in (*tasks, *self._leaving):
                task.cancel()
            await asyncio.gather(*tasks, *self._leaving, return_exceptions=True)

    def answer(self, answers: Sequence[IssuerAnswer]) -> None:
        """Answer messages that the handler left out; answers to messages of streams that are gone go nowhere."""
        for line in self._lines:
            mine = [answer for answer in answers if line.link.holds(answer.message_id)]
            if mine:
                line.link.answer(mine)

    def change_credit(self, credit: int) -> None:
        """From now on each stream takes so many unanswered messages, at most 65,536; 0: nothing new for now."""
        self._credit = credit
        for line in self._lines:
            line.link.change_credit(credit)

    async def notify(self, notice: IssuerNotice) -> None:
        """Say that something became of a message, again and again until the switch has it. Raises NoticeRefused."""
        backoff = Backoff(first_s=0.05)
        while True:
            line = next((each for each in self._lines if not each.link.leaving), None)
            if line is not None:
                with suppress(LinkEnded):
                    cause = await line.link.notify(notice)
                    if not cause:
                        return
                    if cause != "unavailable":
                        raise NoticeRefused(cause)
            await asyncio.sleep(backoff.next_s())

    async def sign_off(self, timeout_s: float = 5.0) -> None:
        """Take nothing new, answer what is open, hang up; `sign_on` dials again."""
        self._wanted = False
        self._changed.set()
        for line in self._lines:
            line.link.sign_off()
        await self._ended(timeout_s)
        self.disconnect()

    def sign_on(self) -> None:
        """Dial again after `sign_off`."""
        self._wanted = not self._closing
        self._changed.set()

    def disconnect(self) -> None:
        """Cut every stream at once, answered or not; `run` dials again."""
        for line in self._lines:
            if line.task is not None:
                line.task.cancel()

    async def close(self, timeout_s: float = 5.0) -> None:
        """Sign off and stop: `run` returns."""
        await self.sign_off(timeout_s)
        self._closing = True
        self._wanted = False
        self._changed.set()
        await self._ended(timeout_s)

    async def _ended(self, timeout_s: float) -> None:
        tasks = [line.task for line in self._lines if line.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    # --- which streams there shall be -------------------------------------------------------------------------------

    def _held(self) -> list[tuple[str, str]]:
        return [(line.process, line.address) for line in self._lines if not line.link.leaving]

    def _reconcile(self) -> None:
        """Dial where a stream is missing, stop dialling where none is, leave who is gone."""
        unreachable = [at for at, each in self._diallers.items() if each.failures >= _FAILURES_TO_LOOK_ELSEWHERE]
        missing = self._roster.missing(self._held(), unreachable) if self._wanted else {}
        for address in missing:
            self._diallers.setdefault(address, _Dialler())
        for address, dialler in list(self._diallers.items()):
            task = dialler.task
            if task is not None and task.done():
                dialler.task = task = None if task.cancelled() else task.result()
            if address in missing and task is None:
                dialler.task = asyncio.create_task(self._dial(address, dialler), name=f"issuer-dial-{address}")
                dialler.task.add_done_callback(lambda _: self._changed.set())
            elif address not in missing and task is not None and not dialler.attempting:
                # A sign-on under way is not cut: the switch may send on that stream already. One too many is no harm.
                task.cancel()
        for line in self._lines:
            if self._roster.is_gone(line.process) and not line.link.leaving:
                log.info("switch_process_gone", process=line.process)
                self._leave(line)

    def _leave(self, line: _Line) -> None:
        async def leave() -> None:
            line.link.sign_off()
            assert line.task is not None
            await asyncio.wait([line.task], timeout=_LEAVE_LIMIT_S)
            line.task.cancel()

        task = asyncio.create_task(leave())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _dial(self, address: str, dialler: _Dialler) -> None:
        """Dial once, after a pause if it is not the first time."""
        if dialler.misses >= _MISSES_PER_PROCESS * self._roster.sharing(address):
            dialler.misses = 0
            await asyncio.sleep(_MISSES_PAUSE_S)
        elif dialler.misses:
            await asyncio.sleep(0.005)
        elif dialler.dialled:
            await asyncio.sleep(dialler.backoff.next_s())
        dialler.dialled = dialler.attempting = True
        # A new channel every time: after a drain its name must be resolved and balanced anew.
        channel = open_channel(address, self._credentials, self._server_name)
        stream = issuer_pb2_grpc.IssuerServiceStub(channel).Connect()  # type: ignore[no-untyped-call]
        begun = False
        credit = self._credit
        try:
            async with asyncio.timeout(_SIGN_ON_LIMIT_S):
                signed_on = await sign_on(stream, self._issuer_id, credit, self._roster.full(self._held()))
            dialler.misses = dialler.failures = 0
            # What follows a sign-on needs no pause, another process behind the same address for one.
            dialler.dialled = False
            dialler.backoff.reset()
            self._begin(address, channel, stream, credit, signed_on)
            begun = True
        except (LinkEnded, TimeoutError, grpc.aio.AioRpcError) as error:
            self._not_signed_on(address, dialler, error)
        finally:
            dialler.attempting = False
            if not begun:
                stream.cancel()
                await channel.close(None)

    def _not_signed_on(self, address: str, dialler: _Dialler, error: Exception) -> None:
        if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.ALREADY_EXISTS:
            dialler.misses += 1
            return
        dialler.failures += 1
        if not isinstance(error, grpc.aio.AioRpcError):
            why = str(error) or "no answer to the sign-on"
            log.warning("issuer_link_failed", issuer=self._issuer_id, target=address, why=why)
        else:
            log.warning(
                "issuer_link_failed", issuer=self._issuer_id, target=address, code=error.code().name,
                why=error.details(),
            )  # fmt: skip

    # --- one stream -------------------------------------------------------------------------------------------------

    def _begin(self, address: str, channel: Any, stream: Any, credit: int, signed_on: issuer_pb2.SignedOn) -> None:
        link = SwitchLink(
            stream, self._handler, credit, self._max_frame_answers, self._silence_limit_s, self._bill,
            self._learn,
        )  # fmt: skip
        line = _Line(signed_on.switch_process, address, link, channel, stream)
        self._lines.add(line)
        line.task = asyncio.create_task(self._converse(line), name=f"issuer-link-{address}")
        self.pin_key_check_values[address] = signed_on.pin_key_check_value
        log.info("issuer_signed_on", issuer=self._issuer_id, target=address, process=signed_on.switch_process)
        self._learn(processes_of(signed_on.processes))
        self.ready.set()
        if self._credit != credit:  # it was changed while we signed on
            link.change_credit(self._credit)
        if not self._wanted:
            link.sign_off()

    def _learn(self, processes: Mapping[str, str]) -> None:
        if self._roster.learn(processes):
            # Whoever is waiting before the next attempt has reason to look at once.
            for dialler in self._diallers.values():
                dialler.misses = dialler.failures = 0
                if dialler.task is not None and not dialler.attempting:
                    dialler.task.cancel()
        self._changed.set()

    async def _converse(self, line: _Line) -> None:
        """One stream from its sign-on to its end."""
        about = {"issuer": self._issuer_id, "target": line.address, "process": line.process}
        try:
            # A write that finds the stream over says less than the read that finds out why.
            with suppress(asyncio.InvalidStateError):
                await line.link.serve()
        except LinkEnded as end:
            log.info("issuer_link_ended", **about, reason=str(end), expected=end.expected)
        except grpc.aio.AioRpcError as error:
            log.warning("issuer_link_failed", **about, code=error.code().name, why=error.details())
        except Exception as error:
            self._fault = error
        finally:
            self._lines.discard(line)
            if not self._lines:
                self.ready.clear()
            # Not at once to where it was just lost.
            self._diallers.setdefault(line.address, _Dialler()).dialled = True
            self._changed.set()
            line.stream.cancel()
            await line.channel.close(None)
