"""The SDK for issuers: dials every switch process it is given, and keeps dialling."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import grpc
import grpc.aio
import structlog

from adapters.issuer.messages import IssuerAnswer
from payswitch.v1 import issuer_pb2_grpc
from switch.client.connection import Backoff, ClientCredentials, open_channel
from switch.client.issuer_link import Handler, LinkEnded, SwitchLink, sign_on

__all__ = ["Handler", "IssuerConnection"]

log = structlog.get_logger()

_SIGN_ON_LIMIT_S = 10.0


class IssuerConnection:
    """Keeps one stream to each target, signed on as `issuer_id`, and answers what comes.

    targets: `host:port`, one or several (switch processes; the same one twice makes two links). handler: takes a batch
    of messages and returns their answers; one that it leaves out may be given to `answer` later. credit: how many
    unanswered messages each link takes. credentials: None is for tests. silence_limit_s: without any frame for so long
    a link is taken for dead (the switch sends echoes every 15 s).

    ready: set while at least one link is signed on. pin_key_check_values: of the last sign-on per target, the KCV of
    the key under which PIN blocks come.
    """

    def __init__(
        self,
        targets: str | Sequence[str],
        issuer_id: str,
        handler: Handler,
        credentials: ClientCredentials | None = None,
        *,
        credit: int = 1024,
        server_name: str | None = None,
        max_frame_answers: int = 128,
        silence_limit_s: float = 60.0,
    ) -> None:
        self._targets = [targets] if isinstance(targets, str) else list(targets)
        self._issuer_id = issuer_id
        self._handler = handler
        self._credentials = credentials
        self._credit = credit
        self._server_name = server_name
        self._max_frame_answers = max_frame_answers
        self._silence_limit_s = silence_limit_s
        self._links: dict[asyncio.Task[None], SwitchLink] = {}
        self._dialling: set[asyncio.Task[None]] = set()
        self._conversations: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._closing = False
        self.ready = asyncio.Event()
        self.pin_key_check_values: dict[str, str] = {}

    async def run(self) -> None:
        """Dial, answer and redial until `close`. Raises only for a fault of our own."""
        try:
            async with asyncio.TaskGroup() as group:
                for target in self._targets:
                    self._dialling.add(group.create_task(self._keep_dialling(target)))
        finally:
            self._dialling.clear()

    def answer(self, answers: Sequence[IssuerAnswer]) -> None:
        """Answer messages that the handler left out; answers to messages of links that are gone go nowhere."""
        for link in self._links.values():
            mine = [answer for answer in answers if link.holds(answer.message_id)]
            if mine:
                link.answer(mine)

    async def sign_off(self, timeout_s: float = 5.0) -> None:
        """Take nothing new, answer what is open, hang up; `sign_on` dials again."""
        self._wanted.clear()
        for link in self._links.values():
            link.sign_off()
        if self._links:
            await asyncio.wait(list(self._links), timeout=timeout_s)
        self.disconnect()

    def sign_on(self) -> None:
        """Dial again after `sign_off`."""
        if not self._closing:
            self._wanted.set()

    def disconnect(self) -> None:
        """Cut every link at once, answered or not; `run` dials again."""
        for conversation in self._conversations:
            conversation.cancel()

    async def close(self, timeout_s: float = 5.0) -> None:
        """Sign off and stop: `run` returns."""
        self._closing = True
        await self.sign_off(timeout_s)
        dialling = list(self._dialling)
        for task in dialling:
            task.cancel()
        if dialling:
            await asyncio.wait(dialling)

    async def _keep_dialling(self, target: str) -> None:
        backoff = Backoff(first_s=0.05)
        while True:
            await self._wanted.wait()
            conversation = asyncio.create_task(self._converse(target, backoff), name=f"issuer-link-{target}")
            self._conversations.add(conversation)
            try:
                await asyncio.wait([conversation])
            finally:
                conversation.cancel()
                await asyncio.wait([conversation])
                self._conversations.discard(conversation)
            if not conversation.cancelled():
                conversation.result()
            await asyncio.sleep(backoff.next_s())

    async def _converse(self, target: str, backoff: Backoff) -> None:
        """One link from dialling to its end."""
        # A new channel every time: after a drain its name must be resolved and balanced anew.
        channel = open_channel(target, self._credentials, self._server_name)
        stream = issuer_pb2_grpc.IssuerServiceStub(channel).Connect()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(_SIGN_ON_LIMIT_S):
                signed_on = await sign_on(stream, self._issuer_id, self._credit)
            backoff.reset()
            self.pin_key_check_values[target] = signed_on.pin_key_check_value
            log.info("issuer_signed_on", issuer=self._issuer_id, target=target, process=signed_on.switch_process)
            await self._serve(stream)
        except LinkEnded as end:
            log.info("issuer_link_ended", issuer=self._issuer_id, target=target, reason=str(end), expected=end.expected)
        except TimeoutError:
            log.warning("issuer_link_failed", issuer=self._issuer_id, target=target, why="no answer to the sign-on")
        except grpc.aio.AioRpcError as error:
            details = error.details()
            log.warning(
                "issuer_link_failed", issuer=self._issuer_id, target=target, code=error.code().name, why=details
            )
        finally:
            stream.cancel()
            await channel.close(None)

    async def _serve(self, stream: object) -> None:
        link = SwitchLink(stream, self._handler, self._credit, self._max_frame_answers, self._silence_limit_s)
        conversation = asyncio.current_task()
        assert conversation is not None
        self._links[conversation] = link
        self.ready.set()
        try:
            # A write that finds the stream over says less than the read that finds out why.
            with suppress(asyncio.InvalidStateError):
                await link.serve()
        finally:
            del self._links[conversation]
            if not self._links:
                self.ready.clear()
