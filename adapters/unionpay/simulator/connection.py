"""One link as the network sees it: sign-on, key resets, and the answers to financial messages."""

import asyncio
import os
from typing import TYPE_CHECKING, cast

import structlog

from adapters.simulation import NORMAL, Behaviour
from adapters.unionpay._codec import Header, decode, encode_frame
from adapters.unionpay.format import Fields, MalformedMessage
from adapters.unionpay.frame import Framer
from adapters.unionpay.simulator.book import PAYMENTS, REVERSAL, Entry
from adapters.unionpay.simulator.keys import DesKey
from adapters.unionpay.simulator.members import Member, WorkingKeyPair
from adapters.unionpay.simulator.rules import kind_of, lacks_fields

if TYPE_CHECKING:
    from adapters.unionpay.simulator.server import UnionPaySimulator

log = structlog.get_logger()

_REPLY_MTI = {"010": "0110", "020": "0210", "022": "0230", "042": "0430"}
_ECHOED = (2, 3, 4, 7, 11, 12, 13, 18, 25, 32, 33, 37, 41, 42, 49, 90)
_RESPONSE_DATA_HEAD = bytes.fromhex("910A")  # EMV tag 91: ARPC (8) and the issuer's response code (2)
_SIGN_ON, _SIGN_OFF, _ECHO, _KEY_RESET = "001", "002", "301", "101"
_NOT_SIGNED_ON, _NOT_A_MEMBER = "77", "58"  # 58 for a stranger: [U]


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
        self.member: Member | None = None

    @property
    def _institution(self) -> str:
        return self.member.institution if self.member is not None else ""

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
        if code == _SIGN_ON:
            response[39] = self._sign_on(header, fields)
        elif code == _SIGN_OFF:
            self._leave()
        elif code == _KEY_RESET and not self.signed_on:
            response[39] = _NOT_SIGNED_ON
        elif code == _KEY_RESET:
            self._network.spawn(self._network.hand_out_keys(self))
        elif code != _ECHO:
            response[39] = "30"
        return encode_frame(header.reply(), "0830", response)

    def _sign_on(self, header: Header, fields: Fields) -> str:
        """DE39. A link belongs to one member; who it is stands in the header and in DE33."""
        member = self._network.members.get(str(fields.get(33)))
        if member is None or header.source != member.institution or self.member not in (None, member):
            return _NOT_A_MEMBER
        self.member = member
        self.signed_on = True
        member.links.add(self)
        self._network.spawn(self._network.hand_out_keys(self))
        return "00"

    def _leave(self) -> None:
        self.signed_on = False
        if self.member is not None:
            self.member.links.discard(self)

    async def take_over(self, keys: WorkingKeyPair) -> None:
        """Send both keys and use each once the member has confirmed it under that key."""
        async with self._one_reset_at_a_time:
            if await self._reset("2", keys.mak, keys.wrapped_mak, self.maks):
                await self._reset("1", keys.pik, keys.wrapped_pik, self.piks)

    async def _reset(self, which: str, key: DesKey, wrapped: bytes, ring: list[DesKey]) -> bool:
        fields = self._network.named()
        fields |= {53: f"{which}{'6' if key.is_double else '0'}".ljust(16, "0"), 70: _KEY_RESET, 100: self._institution}
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
        self.write(encode_frame(self._network.header_to(self._institution), mti, fields))
        try:
            async with asyncio.timeout(self._network.settings.key_reset_timeout_s):
                return await confirmation
        except TimeoutError:
            return None
        finally:
            del self._confirmations[stan]

    async def echo(self) -> bool:
        """The network asks whether the member lives."""
        fields = self._network.named() | {70: _ECHO, 100: self._institution}
        reply = await self._confirmed("0820", fields)
        return reply is not None and reply.get(39) == "00"

    # --- financial messages -----------------------------------------------------------------------------------------

    def _serve(self, header: Header, mti: str, fields: Fields, answers: list[bytes]) -> None:
        network = self._network
        kind = kind_of(mti, fields)
        code, entry, scenario = "", None, NORMAL
        if not self.signed_on:
            code = _NOT_SIGNED_ON
        elif header.source != self._institution or fields.get(33, self._institution) != self._institution:
            code = _NOT_A_MEMBER
        elif kind is None:
            code = "12"
        elif lacks_fields(kind, fields):
            code = "30"
        elif not any(key.financial_mac_fits(mti, fields) for key in self.maks):
            code = "A0"
        else:
            if kind in PAYMENTS:
                scenario = network.scenarios.choose(int(fields[4]))
                if scenario is NORMAL:
                    scenario = network.rules.scenario_of(fields)
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
