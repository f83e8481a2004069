"""The network's end of the links: TCP, sign-on, key resets, and what each scenario does to an answer."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import structlog

from adapters.simulation import NORMAL, Behaviour, Scenario, Scenarios
from adapters.unionpay._codec import Header, decode, encode_frame
from adapters.unionpay.format import Fields, MalformedMessage
from adapters.unionpay.frame import KEEP_ALIVE, Framer
from adapters.unionpay.simulator.accounts import Account, default_accounts
from adapters.unionpay.simulator.book import PAYMENTS, REVERSAL, Book, Entry
from adapters.unionpay.simulator.keys import DesKey
from adapters.unionpay.simulator.rules import Rules, Today, kind_of, lacks_fields

log = structlog.get_logger()

_ZONE = ZoneInfo("Asia/Shanghai")
_REPLY_MTI = {"010": "0110", "020": "0210", "022": "0230", "042": "0430"}
_ECHOED = (2, 3, 4, 7, 11, 12, 13, 18, 25, 32, 33, 37, 41, 42, 49, 90)
_RESPONSE_DATA_HEAD = bytes.fromhex("910A")  # EMV tag 91: ARPC (8) and the issuer's response code (2)
_SIGN_ON, _SIGN_OFF, _ECHO, _KEY_RESET = "001", "002", "301", "101"


def shanghai_now() -> datetime:
    return datetime.now(_ZONE)


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """mmk: the member's transport key in the clear, 16 bytes. port 0: any free one.

    double_length: of the working keys it hands out. book_limit: entries kept.
    """

    mmk: bytes = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    network: str = "00010344"
    double_length: bool = True
    key_reset_timeout_s: float = 5.0
    book_limit: int = 1_000_000


@dataclass(slots=True)
class WorkingKeyPair:
    """A MAC key and a PIN key, with their wrapped forms for the 0800."""

    mak: DesKey
    pik: DesKey
    wrapped_mak: bytes = field(repr=False)
    wrapped_pik: bytes = field(repr=False)


class Connection(asyncio.Protocol):
    """One member's link. It holds its own view of the keys: they change when this link has confirmed them."""

    def __init__(self, network: "UnionPaySimulator") -> None:
        self._network = network
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._confirmations: dict[str, asyncio.Future[Fields | None]] = {}
        self._one_reset_at_a_time = asyncio.Lock()
        self.signed_on = False
        self.maks: list[DesKey] = []  # current, pending, previous
        self.piks: list[DesKey] = []
        self.member = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the shape but not the type.
        self._transport = cast(asyncio.Transport, transport)
        self._network.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.signed_on = False
        self._network.connections.discard(self)
        for confirmation in self._confirmations.values():
            if not confirmation.done():
                confirmation.set_result(None)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        answers: list[bytes] = []
        for message in self._framer.feed(data):
            self._handle(message, answers)
        if self._framer.error is not None:
            log.warning("simulator_garbage", peer="unionpay member")
            self.abort()
        elif answers:
            self.write(b"".join(answers))

    def _handle(self, message: bytes, answers: list[bytes]) -> None:
        network = self._network
        try:
            header, mti, fields = decode(message)
        except MalformedMessage as error:
            network.malformed += 1
            log.warning("simulator_malformed", field=error.field, reason=error.reason)
            return
        if mti == "0820":
            answers.append(self._manage(header, fields))
        elif mti in ("0810", "0830"):
            confirmation = self._confirmations.get(str(fields.get(11)))
            if confirmation is not None and not confirmation.done():
                confirmation.set_result(fields)
        elif mti[:3] in _REPLY_MTI:
            self._serve(header, mti, fields, answers)

    # --- network management -----------------------------------------------------------------------------------------

    def _manage(self, header: Header, fields: Fields) -> bytes:
        code = fields.get(70)
        response: Fields = {number: fields[number] for number in (7, 11, 33, 70) if number in fields}
        response[39] = "00"
        response[100] = str(fields.get(33, "0"))
        if code == _SIGN_ON and 33 in fields:
            self.signed_on = True
            self.member = str(fields[33])
            self._network.spawn(self._network.hand_out_keys(self))
        elif code == _SIGN_OFF:
            self.signed_on = False
        elif code == _KEY_RESET:
            self._network.spawn(self._network.hand_out_keys(self))
        elif code != _ECHO:
            response[39] = "30"
        return encode_frame(header.reply(), "0830", response)

    async def take_over(self, keys: WorkingKeyPair) -> None:
        """Send both keys and use each once the member has confirmed it under that key."""
        async with self._one_reset_at_a_time:
            if await self._reset("2", keys.mak, keys.wrapped_mak, self.maks):
                await self._reset("1", keys.pik, keys.wrapped_pik, self.piks)

    async def _reset(self, which: str, key: DesKey, wrapped: bytes, ring: list[DesKey]) -> bool:
        fields = self._network.named()
        fields |= {53: f"{which}{'6' if key.is_double else '0'}".ljust(16, "0"), 70: _KEY_RESET, 100: self.member}
        if key.is_double:
            fields |= {48: b"NK" + wrapped, 96: bytes(8)}
        else:
            fields[96] = wrapped
        fields[128] = key.key_reset_mac("0800", fields)
        is_new = key not in ring
        if is_new:
            ring.insert(1, key)
        confirmed = await self._confirmed("0800", fields)
        accepted = confirmed is not None and confirmed.get(39) == "00" and key.key_reset_mac_fits("0810", confirmed)
        if not accepted:
            if is_new:
                ring.remove(key)
            self._network.failed_key_resets += 1
            log.warning("simulator_key_reset_refused", which=which)
            return False
        previous = [each for each in ring if each is not key][:1]
        ring[:] = [key, *previous]
        return True

    async def _confirmed(self, mti: str, fields: Fields) -> Fields | None:
        stan = str(fields[11])
        if self not in self._network.connections:
            return None
        confirmation: asyncio.Future[Fields | None] = asyncio.get_running_loop().create_future()
        self._confirmations[stan] = confirmation
        self.write(encode_frame(self._network.header_to(self.member), mti, fields))
        try:
            async with asyncio.timeout(self._network.settings.key_reset_timeout_s):
                return await confirmation
        except TimeoutError:
            return None
        finally:
            del self._confirmations[stan]

    async def echo(self) -> bool:
        """The network asks whether the member lives."""
        fields = self._network.named() | {70: _ECHO, 100: self.member}
        reply = await self._confirmed("0820", fields)
        return reply is not None and reply.get(39) == "00"

    # --- financial messages -----------------------------------------------------------------------------------------

    def _serve(self, header: Header, mti: str, fields: Fields, answers: list[bytes]) -> None:
        network = self._network
        kind = kind_of(mti, fields)
        code, entry, scenario = "", None, NORMAL
        if not self.signed_on:
            code = "77"
        elif kind is None:
            code = "12"
        elif lacks_fields(kind, fields):
            code = "30"
        elif not any(key.financial_mac_fits(mti, fields) for key in self.maks):
            code = "A0"
        else:
            if kind in PAYMENTS:
                scenario = network.scenarios.choose(int(fields[4]))
            code, entry = network.rules.process(mti, kind, fields, scenario, self.piks)
        answer = self._answer(header, mti, fields, code, entry, forged=scenario.behaviour is Behaviour.FORGED)
        if scenario.behaviour is Behaviour.NORMAL or scenario.behaviour is Behaviour.DECLINE:
            answers.append(answer)
        else:
            network.act(self, scenario, answer, answers)

    def _answer(
        self, header: Header, mti: str, request: Fields, code: str, entry: Entry | None, *, forged: bool
    ) -> bytes:
        fields = {number: request[number] for number in _ECHOED if number in request}
        fields[15] = self._network.today().mmdd
        fields[39] = code
        if entry is not None and entry.approval_code and entry.kind != REVERSAL:
            fields[38] = entry.approval_code
            if entry.approved_minor:
                fields[4] = f"{entry.approved_minor:012d}"
            if 55 in request:
                fields[55] = _RESPONSE_DATA_HEAD + os.urandom(8) + b"00"
        reply_mti = _REPLY_MTI[mti[:3]]
        if self.maks:
            mac = self.maks[0].financial_mac(reply_mti, fields)
            fields[128] = bytes(reversed(mac)) if forged and mac != mac[::-1] else mac
        return encode_frame(header.reply(), reply_mti, fields)


class UnionPaySimulator:
    """`await start()`, use `port`, `book()`, `scenarios`, `accounts`; `await close()`."""

    def __init__(
        self,
        settings: SimulatorSettings,
        accounts: Iterable[Account] | None = None,
        now: Callable[[], datetime] = shanghai_now,
    ) -> None:
        self.settings = settings
        self.scenarios = Scenarios()
        self.connections: set[Connection] = set()
        self.malformed = 0
        self.failed_key_resets = 0
        everyone = default_accounts() if accounts is None else accounts
        self._book = Book(settings.book_limit)
        self._now = now
        self._second = -1.0
        self._day = Today("", "")
        self.rules = Rules({each.pan: each for each in everyone}, self._book, self.today)
        self._transport_key = DesKey(settings.mmk)
        self._keys: WorkingKeyPair | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stan = 0
        self.port = settings.port

    @property
    def accounts(self) -> dict[str, Account]:
        """By PAN."""
        return self.rules.accounts

    def book(self) -> list[dict[str, Any]]:
        """Every entry, oldest first: key, stan, rrn, mti, kind, pan_masked, amounts, state, code, original_key."""
        return self._book.listing()

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), self.settings.host, self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop_listening(self) -> None:
        """Go down: refuse connections, cut the present ones. Book, accounts and keys stay."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop_links()
        await asyncio.sleep(0)

    async def resume(self) -> None:
        """Come back on the same port."""
        await self.start()

    def drop_links(self) -> None:
        for connection in list(self.connections):
            connection.abort()

    async def close(self) -> None:
        await self.stop_listening()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reset_keys(self) -> None:
        """New working keys for every link that is signed on, while traffic flows. Returns when they are confirmed."""
        self._keys = self._new_keys()
        signed_on = [each for each in self.connections if each.signed_on]
        await asyncio.gather(*(each.take_over(self._keys) for each in signed_on))

    async def hand_out_keys(self, connection: Connection) -> None:
        """The present keys to a link that signed on or asked: every link of a member works with the same ones."""
        if self._keys is None:
            self._keys = self._new_keys()
        await connection.take_over(self._keys)

    def _new_keys(self) -> WorkingKeyPair:
        length = 16 if self.settings.double_length else 8
        mak, pik = os.urandom(length), os.urandom(length)
        wrap = self._transport_key.encrypt
        return WorkingKeyPair(DesKey(mak), DesKey(pik), wrap(mak), wrap(pik))

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("simulator_task_died", error=type(error).__name__)

    # --- for its connections ----------------------------------------------------------------------------------------

    def today(self) -> Today:
        """Looked up once a second."""
        second = time.monotonic() // 1
        if second != self._second:
            self._second = second
            local = self._now()
            self._day = Today(f"{local:%m%d}", f"{local:%y%m}")
        return self._day

    def named(self) -> Fields:
        """DE7 and DE11 of a message of the network's own."""
        self._stan = self._stan % 999_999 + 1
        return {7: self._now().strftime("%m%d%H%M%S"), 11: f"{self._stan:06d}"}

    def header_to(self, member: str) -> Header:
        return Header(member, self.settings.network)

    def act(self, connection: Connection, scenario: Scenario, answer: bytes, answers: list[bytes]) -> None:
        """Do to a processed payment's answer what the scenario says. User-paying ones mean nothing here."""
        behaviour = scenario.behaviour
        if behaviour is Behaviour.SILENT:
            return
        if behaviour is Behaviour.DELAY:
            asyncio.get_running_loop().call_later(scenario.delay_ms / 1000, connection.write, answer)
        elif behaviour is Behaviour.DISCONNECT:
            connection.abort()
        elif behaviour is Behaviour.MALFORMED:
            answers.append(answer[:54] + b"\xff" * 8 + answer[62:])  # a bitmap of fields that do not exist
        elif behaviour is Behaviour.DUPLICATE:
            answers += (answer, KEEP_ALIVE, answer)
        else:
            answers.append(answer)
