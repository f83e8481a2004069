"""One link as the network sees it: the stream, sign-on, echoes, cutovers and key resets."""

import asyncio
from typing import TYPE_CHECKING, cast

import structlog

from adapters.unionpay._codec import Header, decode, encode_frame
from adapters.unionpay.format import Fields, MalformedMessage
from adapters.unionpay.frame import Framer
from adapters.unionpay.simulator.keys import DesKey
from adapters.unionpay.simulator.members import Member, WorkingKeyPair
from adapters.unionpay.simulator.service import NOT_A_MEMBER, NOT_SIGNED_ON, SERVED, serve

if TYPE_CHECKING:
    from adapters.unionpay.simulator.server import UnionPaySimulator

log = structlog.get_logger()

SIGN_ON, SIGN_OFF, ECHO, KEY_RESET, CUTOVER_BEGINS, CUTOVER_ENDS = "001", "002", "301", "101", "201", "202"
_MANAGED = frozenset({7, 11, 33, 70})
_UNREADABLE = b"00030"  # reject code in the header of what is sent back unread: [U]
_REJECT_CODE = slice(41, 46)
_HEADER_LENGTH = 46


class Connection(asyncio.Protocol):
    """One member's link. mak: the MAC key that this link has confirmed last; answers are made under it."""

    def __init__(self, network: "UnionPaySimulator") -> None:
        self._network = network
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._confirmations: dict[str, asyncio.Future[Fields | None]] = {}
        self._one_reset_at_a_time = asyncio.Lock()
        self.signed_on = False
        self.mak: DesKey | None = None
        self.member: Member | None = None

    @property
    def institution(self) -> str:
        """Whose link it is; "" before the first sign-on."""
        return self.member.institution if self.member is not None else ""

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the shape but not the type.
        self._transport = cast(asyncio.Transport, transport)
        self._network.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
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
            self._network.refused["garbage"] += 1
            log.warning("simulator_garbage", peer="unionpay member")
            self.abort()
        elif answers:
            self.write(b"".join(answers))

    def _handle(self, message: bytes, answers: list[bytes]) -> None:
        try:
            header, mti, fields = decode(message)
        except MalformedMessage as error:
            self._network.refused["malformed"] += 1
            log.warning("simulator_malformed", field=error.field, reason=error.reason)
            if error.field is not None:
                answers.append(_sent_back(message))
            return
        if header.reject_code != "00000":
            self._network.refused["rejected"] += 1
        elif mti == "0820":
            answers.append(self._manage(header, fields))
        elif mti in ("0810", "0830", "0630"):
            confirmation = self._confirmations.get(str(fields.get(11)))
            if confirmation is not None and not confirmation.done():
                confirmation.set_result(fields)
            else:
                self._network.refused["unasked"] += 1
        elif mti in SERVED:
            serve(self._network, self, header, mti, fields, answers)
        else:
            self._network.refused["mti"] += 1
            answers.append(_sent_back(message))

    # --- network management -----------------------------------------------------------------------------------------

    def _manage(self, header: Header, fields: Fields) -> bytes:
        code = fields.get(70)
        response: Fields = {number: fields[number] for number in _MANAGED if number in fields}
        response[39] = "00"
        response[100] = str(fields.get(33, "0"))
        if not fields.keys() >= _MANAGED:
            response[39] = "30"
        elif code == SIGN_ON:
            response[39] = self._sign_on(header, fields)
        elif code == SIGN_OFF:
            self._leave()
        elif code == KEY_RESET:
            response[39] = self._reset_wanted()
        elif code != ECHO:
            response[39] = "40"
        if response[39] != "00":
            self._network.refused[str(response[39])] += 1
        return encode_frame(header.reply(), "0830", response)

    def _sign_on(self, header: Header, fields: Fields) -> str:
        """DE39. A link belongs to one member; who it is stands in the header and in DE33."""
        member = self._network.members.get(str(fields.get(33)))
        if member is None or header.source != member.institution or self.member not in (None, member):
            return NOT_A_MEMBER
        self.member = member
        self.signed_on = True
        member.links.add(self)
        self._network.spawn(self._network.hand_out_keys(self))
        return "00"

    def _reset_wanted(self) -> str:
        """DE39. The member asks for new keys: all its links get them."""
        if self.member is None or not self.signed_on:
            return NOT_SIGNED_ON
        self._network.spawn(self._network.reset_keys_of(self.member))
        return "00"

    def _leave(self) -> None:
        self.signed_on = False
        if self.member is not None:
            self.member.links.discard(self)

    # --- what the network says by itself ----------------------------------------------------------------------------

    async def take_over(self, keys: WorkingKeyPair) -> bool:
        """Send both keys; the member confirms each under that key. False if it did not."""
        async with self._one_reset_at_a_time:
            if not await self._reset("2", keys.mak, keys.wrapped_mak):
                return False
            self.mak = keys.mak
            return await self._reset("1", keys.pik, keys.wrapped_pik)

    async def _reset(self, which: str, key: DesKey, wrapped: bytes) -> bool:
        fields = self._network.named()
        fields |= {53: f"{which}{'6' if key.is_double else '0'}".ljust(16, "0"), 70: KEY_RESET, 100: self.institution}
        if key.is_double:
            fields |= {48: b"NK" + wrapped, 96: bytes(8)}
        else:
            fields[96] = wrapped
        fields[128] = key.key_reset_mac("0800", fields)
        confirmed = await self._confirmed("0800", fields)
        if confirmed is not None and confirmed.get(39) == "00" and key.key_reset_mac_fits("0810", confirmed):
            return True
        self._network.failed_key_resets += 1
        log.warning("simulator_key_reset_refused", which=which)
        return False

    async def announce(self, code: str, more: Fields) -> bool:
        """An 0820 of the network's; whether the member confirmed it."""
        fields = self._network.named() | {70: code, 100: self.institution} | more
        reply = await self._confirmed("0820", fields)
        return reply is not None and reply.get(39) == "00"

    async def echo(self) -> bool:
        """The network asks whether the member lives."""
        return await self.announce(ECHO, {})

    async def notify(self, text: str) -> bool:
        """An administrative notice (0620), which the member only confirms."""
        fields = self._network.named() | {33: self._network.settings.network, 48: text.encode("ascii")}
        reply = await self._confirmed("0620", fields)
        return reply is not None and reply.get(39) == "00"

    async def _confirmed(self, mti: str, fields: Fields) -> Fields | None:
        stan = str(fields[11])
        if self not in self._network.connections:
            return None
        confirmation: asyncio.Future[Fields | None] = asyncio.get_running_loop().create_future()
        self._confirmations[stan] = confirmation
        self.write(encode_frame(Header(self.institution, self._network.settings.network), mti, fields))
        try:
            async with asyncio.timeout(self._network.settings.key_reset_timeout_s):
                return await confirmation
        except TimeoutError:
            return None
        finally:
            del self._confirmations[stan]


def _sent_back(message: bytes) -> bytes:
    """A message that was not understood, framed: as it came, ids swapped, with a reject code in its header."""
    header = bytearray(message[:_HEADER_LENGTH])
    header[6:17], header[17:28] = header[17:28], header[6:17]
    header[_REJECT_CODE] = _UNREADABLE
    return b"%04d" % len(message) + bytes(header) + message[_HEADER_LENGTH:]
