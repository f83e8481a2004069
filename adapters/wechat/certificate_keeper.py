"""Keeps the platform certificates fresh in the background: no payment waits for it whose answer can be verified."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from adapters.wechat import calls
from adapters.wechat.certificates import PlatformCertificate, load_root, read_certificates
from adapters.wechat.codec import InvalidAnswer, PlatformKeys, UnverifiedAnswer
from adapters.wechat.metrics import CERTIFICATE_REFRESHES, REFUSED_CERTIFICATES
from adapters.wechat.settings import WeChatSettings
from adapters.wechat.transport import Answer
from switch.ports import Clock

log = structlog.get_logger()

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 60.0
# New certificates are listed some days before the old ones end; this much before, one looks again.
_BEFORE_EXPIRY_S = 24 * 3_600.0


class CertificateKeeper:
    """Fills `keys`. Downloads at start, every `certificate_refresh_s`, a day before the last one expires, and when an
    answer names a certificate that is not known; after a failure again and again, with growing pauses.

    What is downloaded counts only if its answer is signed by a certificate that is good itself.
    """

    def __init__(
        self,
        settings: WeChatSettings,
        keys: PlatformKeys,
        fetch: Callable[[calls.Call], Awaitable[Answer]],
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._fetch = fetch
        self._clock = clock
        self._root = load_root(settings.platform_root_pem)
        self._known: list[PlatformCertificate] = []
        self._refreshing: asyncio.Task[bool] | None = None
        self._last_begun_s = float("-inf")

    @property
    def ready(self) -> bool:
        return bool(self._known)

    async def run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            if await self.refresh():
                pause_s = _FIRST_PAUSE_S
                await asyncio.sleep(self._until_next_s())
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def refresh(self) -> bool:
        """One download at a time, whoever asks; whether it brought anything good."""
        if self._refreshing is None or self._refreshing.done():
            self._last_begun_s = asyncio.get_running_loop().time()
            self._refreshing = asyncio.create_task(self._refresh(), name="wechat_certificates")
        return await asyncio.shield(self._refreshing)

    async def learn(self) -> None:
        """An answer names an unknown certificate: look for it, but not at anyone's pleasure."""
        under_way = self._refreshing is not None and not self._refreshing.done()
        if under_way or asyncio.get_running_loop().time() >= self._last_begun_s + self._settings.certificate_pause_s:
            await self.refresh()

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)

    def _until_next_s(self) -> float:
        last_s = max(each.expires_s for each in self._known) - self._clock.time_ms() / 1000 - _BEFORE_EXPIRY_S
        return max(_LONGEST_PAUSE_S, min(self._settings.certificate_refresh_s, last_s))

    async def _refresh(self) -> bool:
        try:
            good = self._judged(await self._fetch(calls.CERTIFICATES))
        except (ConnectionError, InvalidAnswer, UnverifiedAnswer) as error:
            if isinstance(error, UnverifiedAnswer):
                REFUSED_CERTIFICATES.labels("unsigned").inc()
            CERTIFICATE_REFRESHES.labels("failed").inc()
            log.warning("wechat_certificates_not_fetched", error=str(error))
            return False
        self._known = good
        self._keys.replace_certificates({each.serial_no: each.key for each in good})
        CERTIFICATE_REFRESHES.labels("done").inc()
        return True

    def _judged(self, answer: Answer) -> list[PlatformCertificate]:
        """Raises InvalidAnswer if there is no good one, UnverifiedAnswer if the answer was not signed by a good one."""
        if answer.status != 200:
            raise InvalidAnswer(f"HTTP {answer.status}")
        now_s = self._clock.time_ms() / 1000
        good, refused = read_certificates(answer.body, self._settings.apiv3_key, self._root, now_s)
        for each in refused:
            REFUSED_CERTIFICATES.labels(each.cause).inc()
            log.warning("wechat_certificate_refused", cause=each.cause)
        if not good:
            raise InvalidAnswer("there is no good certificate in it")
        judges = PlatformKeys(self._settings.platform_public_key_pem, self._settings.platform_public_key_id)
        judges.replace_certificates({each.serial_no: each.key for each in good + self._known})
        judges.verify(answer.headers, answer.body, now_s)
        return good
