"""The working keys: the network's key resets, and asking for one."""

import asyncio
from dataclasses import dataclass

import structlog

from adapters.unionpay import metrics
from adapters.unionpay._codec import Header
from adapters.unionpay.format import Fields
from adapters.unionpay.identifiers import Identifiers
from adapters.unionpay.link import Link
from adapters.unionpay.mac import FINANCIAL, KEY_RESET, key_reset_text
from adapters.unionpay.replies import MAC_ERROR
from adapters.unionpay.settings import UnionPaySettings
from switch.ports import Hsm

log = structlog.get_logger()

PENDING = "?pending"  # after a key's label: the key that was imported and is not active yet
SIGN_ON, SIGN_OFF, ECHO, KEY_RESET_REQUEST = "001", "002", "301", "101"
_DOUBLE_LENGTH_MARK = b"NK"
_SINGLE, _DOUBLE = "0", "6"
_ATTEMPTS = 5  # to take over a key that other processes take over at the same moment
_NOT_HERE = bytes(8)


class BadKeyReset(ValueError):
    """A key reset that cannot be carried out. The text holds no key material."""


@dataclass(slots=True, frozen=True)
class NewKey:
    """label and usage as the HSM knows them; wrapped: 8 or 16 bytes under the transport key."""

    label: str
    usage: str
    wrapped: bytes


def new_key(fields: Fields, settings: UnionPaySettings) -> NewKey:
    """The key in an 0800: DE53 says which (1 PIN, 2 MAC) and how long (0 single, 6 double).

    A single-length key is DE96; of a double-length one DE96 is zero and DE48 is `NK` and the key. Raises BadKeyReset.
    """
    control, short, long = fields.get(53), fields.get(96), fields.get(48)
    if not isinstance(control, str) or not isinstance(short, bytes):
        raise BadKeyReset("DE53 or DE96 is missing")
    if control[0] not in "12":
        raise BadKeyReset("DE53 names neither the PIN key nor the MAC key")
    if control[1] == _DOUBLE:
        if not isinstance(long, bytes) or len(long) != 18 or long[:2] != _DOUBLE_LENGTH_MARK or short != _NOT_HERE:
            raise BadKeyReset("DE48 does not hold a double-length key")
        wrapped = long[2:]
    elif control[1] == _SINGLE:
        wrapped = short
    else:
        raise BadKeyReset("DE53 names an unknown key length")
    return NewKey(settings.pik, "PIN_KEY", wrapped) if control[0] == "1" else NewKey(settings.mak, "MAC_KEY", wrapped)


class WorkingKeys:
    """Answers key resets one at a time. generation grows with each activation of the MAC key.

    pin_control: DE53 for a message with a PIN block under the current PIN key.
    """

    def __init__(self, settings: UnionPaySettings, hsm: Hsm, identifiers: Identifiers) -> None:
        self._settings = settings
        self._hsm = hsm
        self._identifiers = identifiers
        self._loop = asyncio.get_running_loop()
        self._one_at_a_time = asyncio.Lock()
        self._check_values: dict[str, str] = {}
        self._renewed: set[str] = set()
        self._all_renewed = asyncio.Event()
        self._last_asked_s = float("-inf")
        self._last_reset_s = self._loop.time()
        self._links_ready = 0
        self.generation = 0
        self.pin_control = "2600000000000000"

    @property
    def changing(self) -> bool:
        return self._one_at_a_time.locked()

    def link_gained(self) -> None:
        self._links_ready += 1
        metrics.LINKS_READY.inc()

    def link_lost(self) -> None:
        """Once the last link is lost, the network may reset both keys at the next sign-on."""
        self._links_ready -= 1
        metrics.LINKS_READY.dec()
        if self._links_ready == 0:
            self._renewed.clear()
            self._all_renewed.clear()

    async def settle(self, patience_s: float) -> None:
        """Wait until both keys were reset since the links were last all down, but no longer than `patience_s`."""
        try:
            async with asyncio.timeout(patience_s):
                await self._all_renewed.wait()
        except TimeoutError:
            await self.changed()  # a reset that has begun is finished

    async def changed(self) -> None:
        """Return when no key reset is under way."""
        async with self._one_at_a_time:
            return

    async def usable(self) -> bool:
        """Whether the HSM holds a MAC key: it may have kept one from before."""
        [result] = await self._hsm.macs([(self._settings.mak, FINANCIAL, b"0820")])
        return not isinstance(result, Exception)

    async def renew(self, link: Link) -> None:
        """Ask for new keys when the present ones are as old as the settings allow.

        Each slot a little later than the one before: one process asks, and its reset reaches the others.
        """
        life_s = self._settings.key_life_s * (1 + self._settings.slot / 1000)
        if life_s and self._loop.time() - self._last_reset_s >= life_s:
            await self.ask(link)

    async def ask(self, link: Link, *, at_once: bool = False) -> None:
        """Ask the network for new keys, not more often than the settings allow. Never raises for the network."""
        now_s = self._loop.time()
        if not at_once and now_s - self._last_asked_s < self._settings.key_request_every_s:
            return
        self._last_asked_s = now_s
        self._check_values.clear()  # whatever comes is to be activated
        log.info("unionpay_key_reset_requested")
        try:
            await link.ask(network_fields(KEY_RESET_REQUEST, self._settings, self._identifiers))
        except (TimeoutError, ConnectionError) as error:
            log.warning("unionpay_key_reset_request_failed", error=type(error).__name__)

    async def answer(self, link: Link, header: Header, fields: Fields) -> None:
        """Carry out an 0800 and answer it under the new key."""
        async with self._one_at_a_time:
            response: Fields = {n: fields[n] for n in (7, 11, 53, 70, 100) if n in fields}
            response[33] = self._settings.forwarder
            response[39] = "00"
            label = ""
            try:
                key = new_key(fields, self._settings)
                label = key.label
                await self._take_over(key, fields, response)
            except Exception as error:  # whatever it was, the old key stays and the network is told
                metrics.KEY_RESETS.labels(label or "unknown", "refused").inc()
                metrics.REFUSED.labels("key_reset").inc()
                log.warning("unionpay_key_reset_refused", key=label, error=type(error).__name__)
                response[39] = MAC_ERROR
                response.pop(128, None)
            else:
                metrics.KEY_RESETS.labels(label, "activated").inc()
                log.info("unionpay_key_reset", key=label)
                self._note(key)
            if not link.closed.done():
                link.respond(header, "0800", response)

    async def _take_over(self, key: NewKey, request: Fields, response: Fields) -> None:
        """Import, verify the request under the new key, authenticate the response, activate.

        Another process of the same HSM gets the same key on a link of its own, and may take the pending one away at
        any of these steps by making it current: then all is done once more. Raises what the last attempt raised.
        """
        for attempt in range(_ATTEMPTS):
            try:
                await self._try_take_over(key, request, response)
            except Exception:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    async def _try_take_over(self, key: NewKey, request: Fields, response: Fields) -> None:
        """A key that is current already, sent again on another link, is confirmed but not activated a second time: that
        would push the one before it out of the HSM while replies under it are still on their way.
        """
        response.pop(128, None)
        check_value = await self._hsm.import_working_key(key.label, key.usage, self._settings.mmk, key.wrapped)
        claimed = request.get(128)
        if not isinstance(claimed, bytes):
            raise BadKeyReset("DE128 is missing")
        pending = key.label + PENDING
        [refusal] = await self._hsm.verify_macs([(pending, KEY_RESET, key_reset_text("0800", request), claimed)])
        if refusal is not None:
            raise refusal
        [mac] = await self._hsm.macs([(pending, KEY_RESET, key_reset_text("0810", response))])
        if isinstance(mac, Exception):
            raise mac
        if self._check_values.get(key.label) != check_value:
            await self._hsm.activate_working_key(key.label)
            self._check_values[key.label] = check_value
        response[128] = mac

    def _note(self, key: NewKey) -> None:
        if key.label == self._settings.mak:
            self.generation += 1
            self._last_reset_s = self._loop.time()
        else:
            self.pin_control = f"2{_DOUBLE if len(key.wrapped) == 16 else _SINGLE}".ljust(16, "0")
        self._renewed.add(key.label)
        if len(self._renewed) == 2:
            self._all_renewed.set()


def network_fields(code: str, settings: UnionPaySettings, identifiers: Identifiers) -> Fields:
    """An 0820 of ours: DE7, DE11, DE33, DE70."""
    trace = identifiers.next()
    return {7: trace["transmission"], 11: trace["stan"], 33: settings.forwarder, 70: code}
