"""Keeps the platform's certificates current, beside the payments: no payment ever waits for it.

Alipay names the certificate under which it answers. When that is one we do not have, it is fetched and believed if its
chain leads to one of our roots; until then, what was answered under it is asked again.
"""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import structlog
from prometheus_client import Counter

from adapters.alipay.certificates import CertificateRefused
from adapters.alipay.codec import AlipayError, check_answer, split_answer
from adapters.alipay.gateway import Gateway
from adapters.alipay.messages import certificate_content
from adapters.alipay.operations import Message
from adapters.alipay.transport import NotSent, Unanswered
from adapters.alipay.trust import Trust
from switch.ports import Approved, Clock

_CERTIFICATES = Counter(
    "payswitch_alipay_certificates_total", "Platform certificates fetched, by what became of them", ["outcome"]
)

CERTIFICATE: Final = "alipay.open.app.alipaycert.download"
# An answer names what it likes: neither many names nor one again and again make many requests.
_MOST_WANTED: Final = 4
_AGAIN_AFTER_S: Final = 30.0
_LONGEST_CERTIFICATE: Final = 64 * 1024

_log = structlog.get_logger()


class CertificateWatch:
    """probe: asks Alipay anything, so that it names its certificate. check_s: how often that is done."""

    def __init__(self, trust: Trust, clock: Clock, check_s: float, probe: Callable[[], Awaitable[object]]) -> None:
        self._trust = trust
        self._clock = clock
        self._check_s = check_s
        self._probe = probe
        self._wanted: set[str] = set()
        self._refused_s: dict[str, float] = {}
        self._called = asyncio.Event()

    def want(self, sn: str) -> None:
        """An answer came under a certificate that we do not have."""
        now_s = self._clock.monotonic_s()
        self._refused_s = {
            each: since_s for each, since_s in self._refused_s.items() if now_s - since_s < _AGAIN_AFTER_S
        }
        if sn not in self._wanted | self._refused_s.keys() and len(self._wanted) + len(self._refused_s) < _MOST_WANTED:
            self._wanted.add(sn)
            self._called.set()

    async def run(self, gateway: Gateway) -> None:
        """For ever."""
        while True:
            try:
                await asyncio.wait_for(self._called.wait(), self._check_s)
            except TimeoutError:
                await self._probe()
            self._called.clear()
            while self._wanted:
                sn = next(iter(self._wanted))
                outcome = await self._fetched(gateway, sn)
                _CERTIFICATES.labels(outcome).inc()
                _log.info("alipay_certificate", outcome=outcome, sn=sn)
                if outcome != "admitted":
                    self._refused_s[sn] = self._clock.monotonic_s()
                # Only now: what came meanwhile under the same certificate asked for nothing more.
                self._wanted.discard(sn)

    async def _fetched(self, gateway: Gateway, sn: str) -> str:
        """What became of it, in one word."""
        message = Message(CERTIFICATE, certificate_content(sn), lambda answer: Approved(response_code=answer.code))
        try:
            (parameters,) = await gateway.signed([message])
            if parameters is None:
                return "not_asked"
            await self._admit(gateway, sn, await gateway.transport.post(parameters))
        except CertificateRefused as refusal:
            return refusal.cause
        except AlipayError:
            return "forged"
        except (NotSent, Unanswered):
            return "not_answered"
        except Exception as error:
            # The watch outlives a failing HSM.
            _log.error("alipay_certificate_failed", kind=type(error).__name__)
            return "not_asked"
        return "admitted"

    async def _admit(self, gateway: Gateway, sn: str, body: bytes) -> None:
        """Raises CertificateRefused or AlipayError.

        The answer may be signed with the very key that it brings: first the chain is verified, then the signature.
        """
        signed = split_answer(body)
        answer = await gateway.opened(signed)
        content = answer.fields.get("alipay_cert_content", "")
        if not isinstance(content, str) or not 0 < len(content) <= _LONGEST_CERTIFICATE:
            raise CertificateRefused("missing")
        try:
            pem = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            raise CertificateRefused("malformed") from None
        now = datetime.fromtimestamp(self._clock.time_ms() / 1_000, UTC)
        key = self._trust.examine(sn, pem, now)
        named = signed.certificate_sn.lower()
        check_answer(signed, CERTIFICATE, key if named == sn else self._trust.key(named))
        self._trust.admit(sn, key)
