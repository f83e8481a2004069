"""Keeps one link alive: connect, sign on, hold working keys, keep alive, and again with backoff when it is lost."""

import asyncio
import random

import structlog

from adapters.unionpay.identifiers import Identifiers
from adapters.unionpay.link import Link, LinkEvents
from adapters.unionpay.replies import response_code
from adapters.unionpay.settings import UnionPaySettings
from adapters.unionpay.working_keys import ECHO, SIGN_OFF, SIGN_ON, WorkingKeys, network_fields

log = structlog.get_logger()


class Session:
    """One of the channel's links over all its connections. `run` ends only by cancellation."""

    def __init__(
        self,
        settings: UnionPaySettings,
        events: LinkEvents,
        keys: WorkingKeys,
        identifiers: Identifiers,
        randomness: random.Random,
    ) -> None:
        self._settings = settings
        self._events = events
        self._keys = keys
        self._identifiers = identifiers
        self._random = randomness
        self._failures = 0
        self._sign_on_again = asyncio.Event()
        self.link: Link | None = None
        self.trouble = "not connected yet"

    def sign_on_again(self) -> None:
        """The network answered 77: it forgot us."""
        self._sign_on_again.set()

    async def run(self) -> None:
        while True:
            try:
                await self._one_connection()
            except Exception as error:  # the network's fault or the HSM's: either way, try again
                self.trouble = type(error).__name__
                log.warning("unionpay_link_down", error=self.trouble, failures=self._failures)
            await asyncio.sleep(self._backoff_s())

    async def sign_off(self) -> None:
        """Tell the network and close. A network that does not answer is left all the same."""
        link = self.link
        if link is None or link.closed.done():
            return
        was_ready, link.ready = link.ready, False
        try:
            if was_ready:
                await link.ask(network_fields(SIGN_OFF, self._settings, self._identifiers))
        except (TimeoutError, ConnectionError) as error:
            log.warning("unionpay_sign_off_unanswered", error=type(error).__name__)

    def _backoff_s(self) -> float:
        """Exponential with full jitter, never nought."""
        most_s = min(self._settings.backoff_most_s, self._settings.backoff_first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        jitter: float = self._random.uniform(0.1, 1.0)
        return most_s * jitter

    async def _one_connection(self) -> None:
        loop = asyncio.get_running_loop()
        link = Link(self._settings, self._events)
        try:
            # Not wait_for: in Python 3.11 it loses a cancellation that meets the connection's own failure.
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await loop.create_connection(lambda: link, self._settings.host, self._settings.port)
            self.link = link
            await self._sign_on(link)
            await self._obtain_keys(link)
            self._failures = 0
            link.ready = True
            self._keys.link_gained()
            log.info("unionpay_link_ready")
            try:
                await self._attend(link)
            finally:
                self._keys.link_lost()
        finally:
            link.ready = False
            link.abort()

    async def _sign_on(self, link: Link) -> None:
        reply = await link.ask(network_fields(SIGN_ON, self._settings, self._identifiers))
        if response_code(reply) != "00":
            raise ConnectionError("sign-on refused")

    async def _obtain_keys(self, link: Link) -> None:
        """Those the network sends by itself, those the HSM kept, or those we ask for, in this order."""
        await self._keys.settle(self._settings.settle_s)
        while not await self._keys.usable():
            self.trouble = "no working keys"
            await self._keys.ask(link, at_once=True)
            await self._keys.settle(self._settings.key_request_every_s)
            if link.closed.done():
                raise ConnectionError("link lost")

    async def _attend(self, link: Link) -> None:
        """Until the link is lost: keep-alives, echoes, sign-on when asked, and forgetting what waited too long."""
        while not link.closed.done():
            await asyncio.wait({link.closed}, timeout=self._settings.tick_s)
            link.sweep()
            if self._sign_on_again.is_set():
                self._sign_on_again.clear()
                await self._sign_on(link)
            await self._check_life(link)
            if not link.closed.done():
                await self._keys.renew(link)
        raise ConnectionError("link lost")

    async def _check_life(self, link: Link) -> None:
        if link.closed.done():
            return
        now_s = asyncio.get_running_loop().time()
        if now_s - link.last_received_s >= self._settings.echo_after_s:
            await link.ask(network_fields(ECHO, self._settings, self._identifiers))
        elif now_s - link.last_sent_s >= self._settings.keep_alive_s:
            link.keep_alive()
