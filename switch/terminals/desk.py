"""One message of a terminal in, its answer out: who is it, may it, what does it want.

    find the terminal → verify the MAC → carry out → answer, with a MAC under the keys it spoke with

What is refused on the way has an effect on nothing, is answered with its code, and counted by its cause.
"""

from collections import deque

import structlog

from adapters.unionpay.pos.codec import Message, encode, encode_covered, sealed
from adapters.unionpay.pos.format import MAC_FIELD, Fields
from adapters.unionpay.pos.messages import REPLY_MTI, WITHOUT_MAC, PosKind, kind_of, management_of, private_field
from switch.domain.terminal import Terminal, WorkingKeys
from switch.ops.metrics import TERMINAL_MESSAGES, TERMINAL_REFUSALS
from switch.ports import Clock, StoreUnavailable
from switch.ports.signals import UNHEARD, Signal, SignalKind, Signals
from switch.terminals import requests
from switch.terminals.answers import Answer, answer_fields, own_reference
from switch.terminals.payments import TerminalPayments
from switch.terminals.refusals import HangUp, Refused
from switch.terminals.security import TerminalSecurity
from switch.terminals.settings import DeskSettings
from switch.terminals.store import TerminalStore

log = structlog.get_logger()

_AUTHORIZATIONS = frozenset({PosKind.SALE, PosKind.PRE_AUTHORIZATION})
_MINUTE_MS = 60_000
_SIGNALS = {
    "mac": SignalKind.BAD_SIGNATURE,
    "mac_missing": SignalKind.BAD_SIGNATURE,
    "mac_throttled": SignalKind.BAD_SIGNATURE,
    "unknown_terminal": SignalKind.UNKNOWN_PATH,
    "unknown_merchant": SignalKind.UNKNOWN_PATH,
}


class Desk:
    """Knows no sockets. Any process serves any terminal: what it must remember is in the database and the HSM."""

    def __init__(
        self, payments: TerminalPayments, security: TerminalSecurity, store: TerminalStore, clock: Clock,
        settings: DeskSettings, signals: Signals = UNHEARD,
    ) -> None:  # fmt: skip
        self._signals = signals
        self._payments = payments
        self._security = security
        self._store = store
        self._clock = clock
        self._settings = settings
        self._sign_ons: dict[tuple[str, str], deque[int]] = {}

    async def answer(self, message: Message) -> bytes:
        """The whole answer. Raises HangUp where there can be none."""
        reply_mti = REPLY_MTI.get(message.mti)
        if reply_mti is None:
            raise HangUp("message_type")
        if self._settings.networks and message.header.destination not in self._settings.networks:
            raise HangUp("network")
        fields = message.fields
        kind = kind_of(*_named(message.mti, fields))
        spoke: tuple[Terminal, WorkingKeys] | None = None
        try:
            terminal = await self._terminal(fields)
            if kind is None:
                raise Refused("40", "unsupported")
            if kind in WITHOUT_MAC:
                answer = await self._manage(terminal, kind, fields)
            else:
                keys = await self._verified(terminal, kind, message)
                spoke = None if keys is None else (terminal, keys)
                answer = await self._carry_out(terminal, kind, fields, keys)
        except Refused as refusal:
            self._report(refusal, fields)
            answer = self._refuse(refusal, fields)
        except StoreUnavailable:
            answer = self._refuse(Refused("96", "store"), fields)
        TERMINAL_MESSAGES.labels(kind or "unsupported", answer.code).inc()
        said = answer_fields(fields, answer, self._settings.institution)
        if spoke is None:
            return encode(message.header.reply(), reply_mti, said)
        covered = encode_covered(reply_mti, said)
        return sealed(message.header.reply(), covered, await self._security.mac(*spoke, covered))

    async def _terminal(self, fields: Fields) -> Terminal:
        requests.text(fields, 11)
        merchant_id, terminal_id = requests.identifiers(fields)
        terminal = await self._store.find(merchant_id, terminal_id)
        if terminal is not None:
            return terminal
        if await self._store.knows_merchant(merchant_id):
            raise Refused("97", "unknown_terminal")
        raise Refused("03", "unknown_merchant")

    async def _verified(self, terminal: Terminal, kind: PosKind, message: Message) -> WorkingKeys | None:
        """The working keys that the message was made with; None: a settlement without a MAC."""
        if not terminal.signed_on:
            raise Refused("77", "not_signed_on")
        if kind is PosKind.SETTLEMENT and MAC_FIELD not in message.fields:
            return None
        return await self._security.verify(terminal, message)

    async def _carry_out(self, terminal: Terminal, kind: PosKind, fields: Fields, keys: WorkingKeys | None) -> Answer:
        """A refusal from here on is answered with a MAC: the terminal has proved itself."""
        try:
            if kind is PosKind.SETTLEMENT:
                return await self._payments.settle(terminal, fields)
            assert keys is not None
            if kind in _AUTHORIZATIONS:
                return await self._payments.authorize(terminal, kind, fields, keys)
            if kind is PosKind.REVERSAL:
                return await self._payments.reverse(terminal, fields)
            return await self._payments.follow_on(terminal, kind, fields)
        except Refused as refusal:
            return self._refuse(refusal, fields)
        except StoreUnavailable:
            return self._refuse(Refused("96", "store"), fields)

    # --- signing on and off -------------------------------------------------------------------------------------------

    async def _manage(self, terminal: Terminal, kind: PosKind, fields: Fields) -> Answer:
        private = requests.text(fields, 60)
        time_ms = self._clock.time_ms()
        said: Fields = {37: own_reference(time_ms, int(requests.text(fields, 11)))}
        if kind is PosKind.SIGN_ON:
            self._check_pace(terminal, time_ms)
            keys, said[62] = await self._security.new_working_keys(terminal)
            await self._store.sign_on(terminal, keys)
            # The terminal's batch is the one that is open here, whatever it thought before.
            said[60] = private_field(private[:2], terminal.batch, management_of(private))
        elif kind is PosKind.SIGN_OFF:
            await self._store.sign_off(terminal)
        return Answer("00", time_ms, said)

    def _check_pace(self, terminal: Terminal, now_ms: int) -> None:
        """A sign-on proves nothing: who makes many ends the keys of the real terminal. Raises Refused (65)."""
        lately = self._sign_ons.setdefault((terminal.merchant.id, terminal.terminal_id), deque())
        while lately and lately[0] <= now_ms - _MINUTE_MS:
            lately.popleft()
        if len(lately) >= self._settings.sign_ons:
            raise Refused("65", "sign_on_pace")
        lately.append(now_ms)

    def _report(self, refusal: Refused, fields: Fields) -> None:
        """Whoever cannot sign as the terminal that he names, or names none that is here."""
        kind, named = _SIGNALS.get(refusal.cause), (fields.get(42), fields.get(41))
        if kind is not None and isinstance(named[0], str) and isinstance(named[1], str):
            self._signals.report(Signal(kind, terminal=(named[0].strip(), named[1].strip()), participant="terminal"))

    def _refuse(self, refusal: Refused, fields: Fields) -> Answer:
        TERMINAL_REFUSALS.labels(refusal.cause).inc()
        time_ms = self._clock.time_ms()
        stan = fields.get(11)
        reference = {37: own_reference(time_ms, int(stan))} if isinstance(stan, str) else {}
        return Answer(refusal.code, time_ms, {**reference})


def _named(mti: str, fields: Fields) -> tuple[str, str, str, str]:
    processing, condition, private = (str(fields.get(number, "")) for number in (3, 25, 60))
    return mti, processing, condition, management_of(private)
