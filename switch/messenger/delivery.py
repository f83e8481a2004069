"""Taking messages, delivering them, confirming them: at least once each, until it is delivered, dead or expired."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc.aio
import structlog

from payswitch.v1 import user_pb2 as pb
from payswitch.v1.user_pb2_grpc import UserServiceStub
from switch.client.connection import Backoff
from switch.domain.account import AlertKind
from switch.domain.login import LoginKind, parse_login
from switch.messenger.mail import MailSender
from switch.messenger.outcome import Fate, Outcome, Post
from switch.messenger.short_message import ShortMessageSender
from switch.users.messages import MessageKind

log = structlog.get_logger()

_IDLE_S: Final = 1.0
_CALL_S: Final = 10.0
# As long as the switch leases a message; one that expires before it is given out again was tried for the last time.
_LEASE_MS: Final = 60_000


class DeadLetters:
    """A line of JSON for each message that is given up: id, kind, reason, times; neither recipient nor code."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, post: Post, reason: str, now_ms: int) -> None:
        """Raises OSError."""
        fields = {
            "id": post.id, "kind": post.kind.name, "by": post.to.kind.name, "reason": reason,
            "created_time_ms": post.created_time_ms, "given_up_time_ms": now_ms,
        }  # fmt: skip
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(fields) + "\n")


@dataclass(frozen=True, slots=True)
class Ways:
    """None: no such way; its messages are left to another messenger until they expire."""

    mail: MailSender | None
    short: ShortMessageSender | None

    async def send(self, post: Post) -> Outcome:
        if post.to.kind is LoginKind.EMAIL and self.mail is not None:
            return await asyncio.to_thread(self.mail.send, post)
        if post.to.kind is LoginKind.PHONE and self.short is not None:
            return await self.short.send(post)
        return Outcome(Fate.LATER, "no-way")


class Delivery:
    """at_once: messages taken together; all of them end within a lease."""

    def __init__(
        self, stub: UserServiceStub, ways: Ways, dead: DeadLetters, at_once: int,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:  # fmt: skip
        self._stub = stub
        self._ways = ways
        self._dead = dead
        self._at_once = at_once
        self._now_ms = now_ms

    async def run(self, stopping: asyncio.Event) -> None:
        """Until it is stopped; what is under way then is finished and confirmed."""
        backoff = Backoff(1.0, 30.0)
        while not stopping.is_set():
            pause_s = 0.0
            try:
                if not await self.step():
                    pause_s = _IDLE_S
                backoff.reset()
            except grpc.aio.AioRpcError as error:
                pause_s = backoff.next_s()
                log.warning("messages_not_taken", code=error.code().name)
            if pause_s:
                await _unless(stopping, pause_s)

    async def step(self) -> int:
        """One batch; how many were taken. Raises AioRpcError."""
        answer = await self._stub.TakeMessages(pb.TakeMessagesRequest(limit=self._at_once), timeout=_CALL_S)
        ended = await asyncio.gather(*(self._deliver(each) for each in answer.messages))
        await self._confirm([identity for identity in ended if identity])
        return len(answer.messages)

    async def _deliver(self, message: Any) -> str:
        """The id of what is not to be given out again, else ""."""
        try:
            post = post_of(message)
        except ValueError:
            # Of a version after this one's: left to a messenger that knows it.
            log.error("message_not_known", message=message.id, kind=message.kind)
            return ""
        outcome = await self._ways.send(post)
        if outcome.fate is Fate.DELIVERED:
            log.info("message_delivered", message=post.id, kind=post.kind.name)
            return post.id
        last = self._now_ms() + _LEASE_MS >= post.expires_time_ms
        if outcome.fate is Fate.LATER and not last:
            log.warning("message_put_off", message=post.id, kind=post.kind.name, reason=outcome.reason)
            return ""
        log.error("message_dead", message=post.id, kind=post.kind.name, reason=outcome.reason)
        try:
            await asyncio.to_thread(self._dead.add, post, outcome.reason, self._now_ms())
        except OSError as error:
            # The log has it. Those that were delivered beside it are to be confirmed, and not sent once more.
            log.error("dead_letter_not_kept", message=post.id, reason=type(error).__name__)
        return post.id

    async def _confirm(self, ids: Sequence[str]) -> None:
        """What cannot be confirmed is delivered again: a code twice is better than none."""
        if ids:
            await self._stub.ConfirmMessages(pb.ConfirmMessagesRequest(ids=ids), timeout=_CALL_S)


def post_of(message: Any) -> Post:
    """Raises ValueError."""
    return Post(
        message.id,
        parse_login(message.to),
        MessageKind(message.kind),
        message.created_time_ms,
        message.expires_time_ms,
        message.code,
        AlertKind(message.alert) if message.alert else None,
    )


async def _unless(stopping: asyncio.Event, pause_s: float) -> None:
    try:
        async with asyncio.timeout(pause_s):
            await stopping.wait()
    except TimeoutError:
        pass
