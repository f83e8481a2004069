"""What is told to people outside of the app: an e-mail or a short message, as their login is.

Here a message is only written down, sealed, in a durable outbox; whoever can deliver takes it from there, and it is
erased once he confirms. Nothing calls a message sent that was not.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol
from uuid import UUID

import structlog

from switch.domain.account import Account, Alert, AlertKind, OutgoingMessage
from switch.domain.login import Login, LoginKind
from switch.ports.signals import Signal, SignalKind
from switch.users.limits import network_of
from switch.users.world import World

log = structlog.get_logger()

_LEASE_MS: Final = 60_000
_ALERT_MS: Final = 86_400_000
# The HSM's error by its name: nothing of ours is imported from it.
_BROKEN: Final = "MacMismatch"
# What a user must hear of that risk control hears of in the same breath; of the rest whoever knows more tells it.
_SIGNALS: Final = {
    AlertKind.LOCKED_OUT: SignalKind.LOGIN_LOCKED,
    AlertKind.PASSWORD_CHANGED: SignalKind.PASSWORD_CHANGED,
    AlertKind.PASSWORD_RESET: SignalKind.PASSWORD_RESET,
    AlertKind.RECOVERY_CODE_USED: SignalKind.RECOVERY_CODE_USED,
    AlertKind.TOKEN_REUSED: SignalKind.TOKEN_REUSED,
    AlertKind.PASSKEY_COPIED: SignalKind.PASSKEY_COPIED,
    AlertKind.SECOND_FACTOR_CHANGED: SignalKind.FACTOR_CHANGED,
    AlertKind.RESCUED: SignalKind.PASSWORD_RESET,
}


class MessageKind(IntEnum):
    """The numbers are those of user.proto and are stored: they are never reused."""

    REGISTRATION_CODE = 1
    ALREADY_REGISTERED = 2
    RESET_CODE = 3
    ALERT = 4


@dataclass(frozen=True, slots=True)
class Message:
    """alert: of an ALERT. expires_time_ms: not to be delivered later; not after now: not at all."""

    to: Login
    kind: MessageKind
    expires_time_ms: int
    code: str = field(default="", repr=False)
    alert: AlertKind | None = None


@dataclass(frozen=True, slots=True)
class TakenMessage:
    id: UUID
    message: Message
    created_time_ms: int


class Messenger(Protocol):
    async def send(self, message: Message) -> None:
        """Durable on return; delivered later, or never. Raises StoreUnavailable."""


class OutboxMessenger:
    """Meets `Messenger`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, message: Message) -> None:
        world = self._world
        message_id = world.timed_id()
        content = {
            "to": message.to.text,
            "to_kind": message.to.kind,
            "kind": message.kind,
            "code": message.code,
            "alert": message.alert or 0,
        }
        sealed = await world.seals.seal("message", message_id.bytes, json.dumps(content).encode())
        await world.stores.notices.add_message(
            OutgoingMessage(message_id, sealed, world.now_ms(), message.expires_time_ms)
        )

    async def take(self, limit: int) -> list[TakenMessage]:
        """To deliver within a minute, and to confirm; else they are given out again."""
        world = self._world
        taken = await world.stores.notices.take_messages(limit, world.now_ms(), _LEASE_MS)
        opened = [await self._opened(each) for each in taken]
        return [each for each in opened if each is not None]

    async def confirm(self, ids: Sequence[UUID]) -> None:
        await self._world.stores.notices.confirm_messages(ids)

    async def _opened(self, taken: OutgoingMessage) -> TakenMessage | None:
        """None for a row that is not the one that was written: it holds no other message up."""
        try:
            content = json.loads(await self._world.seals.unseal("message", taken.id.bytes, taken.sealed))
        except Exception as error:
            if type(error).__name__ != _BROKEN:
                raise
            log.error("message_broken", message=taken.id)
            return None
        message = Message(
            Login(LoginKind(content["to_kind"]), content["to"]),
            MessageKind(content["kind"]),
            taken.expires_time_ms,
            content["code"],
            AlertKind(content["alert"]) if content["alert"] else None,
        )
        return TakenMessage(taken.id, message, taken.created_time_ms)


class Alerts:
    """What a user must hear of, in his list and by message; and risk control with him."""

    def __init__(self, world: World, messenger: Messenger) -> None:
        self._world = world
        self._messenger = messenger

    async def tell(self, account: Account, kind: AlertKind, address: str) -> None:
        world = self._world
        if kind in _SIGNALS:
            world.signals.report(Signal(_SIGNALS[kind], account.id, address=address))
        now_ms = world.now_ms()
        await world.stores.notices.add_alert(Alert(world.timed_id(), account.id, kind, now_ms, address))
        to = await world.seals.login_of(account.login_hash, account.login_kind, account.login_sealed)
        await self._messenger.send(Message(to, MessageKind.ALERT, now_ms + _ALERT_MS, alert=kind))

    async def used_from(self, account: Account, address: str, on_device: bool) -> bool:
        """A log-in from there: an alert where the network is new to an account that knows others; whether it is."""
        network = network_of(address, 24, 48)
        if not network:
            return False
        world = self._world
        network_hash = await world.seals.hash("network", account.id.bytes + network.encode())
        new = await world.stores.notices.seen(account.id, network_hash, world.now_ms())
        if new and not on_device:
            await self.tell(account, AlertKind.NEW_NETWORK, address)
        return new
