"""The door for issuers: `IssuerService.Connect`, protobuf outside, the hub's plain messages inside."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
import structlog

from adapters.issuer.hub import IssuerHub
from adapters.issuer.messages import IssuerNotice
from adapters.issuer.metrics import REFUSED
from payswitch.v1 import issuer_pb2, issuer_pb2_grpc
from switch.api.issuer_frames import Process, processes_of
from switch.api.issuer_link import MOST_CREDIT, Context, Link, LinkFault, LinkLimits, TakeNotice, malformed, read
from switch.ports.signals import UNHEARD, Signal, SignalKind, Signals

__all__ = ["IssuerServicer", "LinkFault", "LinkLimits"]

_DEFAULT_CREDIT = 1024
_MOST_PROCESSES_HELD = 256
_LIMITS = LinkLimits()
_SIGNALS = {
    grpc.StatusCode.INVALID_ARGUMENT: SignalKind.MALFORMED,
    grpc.StatusCode.PERMISSION_DENIED: SignalKind.WRONG_ROLE,
}
_DRAINING = LinkFault(grpc.StatusCode.UNAVAILABLE, "draining", "draining")

log = structlog.get_logger()


async def _no_notices(issuer_id: str, notice: IssuerNotice) -> str:
    return "unavailable"


class IssuerServicer(issuer_pb2_grpc.IssuerServiceServicer):
    """Signs issuers on and keeps their streams.

    authenticate: the participant id in the peer's certificate, or ends the call by itself (may be a coroutine
    function). pin_key_check_value: from a key label (`issuer/<id>/zpk`) to its KCV, six hex digits, or a LinkFault (may
    be one, too). process_name: of this process, as `tell_processes` has it, now. take_notice: "" if a notice was taken,
    else the cause of its refusal, one word.
    """

    def __init__(
        self,
        hub: IssuerHub,
        authenticate: Callable[[Any], str | Awaitable[str]],
        pin_key_check_value: Callable[[str], str | Awaitable[str]],
        process_name: Callable[[], str],
        limits: LinkLimits = _LIMITS,
        take_notice: TakeNotice = _no_notices,
        signals: Signals = UNHEARD,
    ) -> None:
        self._signals = signals
        self._hub = hub
        self._authenticate = authenticate
        self._pin_key_check_value = pin_key_check_value
        self._process_name = process_name
        self._limits = limits
        self._take_notice = take_notice
        self._processes: tuple[Process, ...] = ()
        self._links: set[Link] = set()
        self._draining = False
        self._emptied = asyncio.Event()

    async def Connect(self, request_iterator: object, context: Context) -> None:
        """One issuer's stream, from sign-on to its end."""
        identity = self._authenticate(context)
        issuer_id = await identity if inspect.isawaitable(identity) else identity
        try:
            link = await self._sign_on(issuer_id, context)
            await self._serve(link)
        except LinkFault as fault:
            REFUSED.labels(issuer_id if self._hub.knows(issuer_id) else "unknown", f"link_{fault.cause}").inc()
            if fault.code in _SIGNALS:
                self._signals.report(Signal(_SIGNALS[fault.code], participant=f"issuer/{issuer_id}"))
            log.warning("issuer_link_refused", issuer=issuer_id, code=fault.code.name, why=fault.message)
            await context.abort(fault.code, fault.message)

    def tell_processes(self, processes: Sequence[Process]) -> None:
        """The switch processes that live and serve, this one among them; every issuer is told what has changed."""
        if tuple(processes) == self._processes:
            return
        self._processes = tuple(processes)
        log.info("switch_processes_changed", processes=len(processes))
        for link in self._links:
            link.tell_processes(processes_of(self._processes))

    async def drain(self, limit_s: float = 10.0) -> None:
        """Tell every issuer to dial elsewhere, let what is open be answered, end the streams. New ones are refused."""
        self._draining = True
        for link in self._links:
            link.drain()
        if self._links:
            self._emptied.clear()
            try:
                await asyncio.wait_for(self._emptied.wait(), limit_s)
            except TimeoutError:
                log.warning("issuer_drain_incomplete", links=len(self._links))
        for link in self._links:
            link.hang_up()

    async def _sign_on(self, issuer_id: str, context: Context) -> Link:
        sign_on = await self._read_sign_on(context)
        if self._draining:
            raise _DRAINING
        if sign_on.issuer_id != issuer_id:
            raise LinkFault(grpc.StatusCode.PERMISSION_DENIED, "sign_on.issuer_id: not the certificate's", "foreign")
        if not self._hub.knows(issuer_id):
            text = f"sign_on.issuer_id: {issuer_id} is no issuer here"
            raise LinkFault(grpc.StatusCode.PERMISSION_DENIED, text, "no_issuer")
        credit = sign_on.credit or _DEFAULT_CREDIT
        if credit > MOST_CREDIT:
            raise malformed(f"sign_on.credit: at most {MOST_CREDIT}", "credit")
        if len(sign_on.switch_processes_held) > _MOST_PROCESSES_HELD:
            raise malformed(f"sign_on.switch_processes_held: at most {_MOST_PROCESSES_HELD}", "processes_held")
        name = self._process_name()
        if name in sign_on.switch_processes_held:
            raise LinkFault(grpc.StatusCode.ALREADY_EXISTS, f"this is {name}", "held_already")
        found = self._pin_key_check_value(f"issuer/{issuer_id}/zpk")
        check_value = await found if inspect.isawaitable(found) else found
        # From here on nothing is waited for: what is checked still holds when the link is attached.
        if self._draining:
            raise _DRAINING
        if self._hub.link_count(issuer_id) >= self._limits.links_per_issuer:
            raise LinkFault(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams of this issuer", "too_many")
        signed_on = issuer_pb2.SignedOn(
            switch_process=name,
            pin_key_check_value=check_value,
            processes=processes_of(self._processes),
        )
        link = Link(issuer_id, credit, context, self._hub, self._limits, self._take_notice)
        link.say(issuer_pb2.ConnectResponse(signed_on=signed_on))
        return link

    async def _read_sign_on(self, context: Context) -> issuer_pb2.SignOn:
        try:
            async with asyncio.timeout(self._limits.sign_on_s):
                frame = await read(context)
        except TimeoutError:
            raise LinkFault(grpc.StatusCode.DEADLINE_EXCEEDED, "no sign_on came", "no_sign_on") from None
        if frame is None or frame.WhichOneof("frame") != "sign_on":
            raise malformed("frame: the first must be sign_on", "no_sign_on")
        return frame.sign_on

    async def _serve(self, link: Link) -> None:
        self._links.add(link)
        self._hub.attach(link)
        log.info("issuer_signed_on", issuer=link.issuer_id, credit=link.credit)
        try:
            await link.serve()
        finally:
            self._links.discard(link)
            self._hub.detach(link, link.unsent_message_ids())
            if not self._links:
                self._emptied.set()
            log.info("issuer_link_closed", issuer=link.issuer_id)
