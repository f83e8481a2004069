"""The way to Alipay's gateway for whoever asks: encrypt, sign, post, verify, decipher. Payments and probes alike."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from prometheus_client import Counter

from adapters.alipay.codec import (
    Answer,
    MalformedAnswer,
    SignedValue,
    UnknownCertificate,
    answer_of,
    base64_text,
    check_answer,
    ciphertext,
    deciphered_value,
    request_parameters,
    signed_text,
    split_answer,
)
from adapters.alipay.operations import Message
from adapters.alipay.settings import AlipaySettings
from adapters.alipay.transport import Transport
from adapters.alipay.trust import Trust
from switch.ports import Clock, Hsm

ERRORS = Counter("payswitch_alipay_errors_total", "Messages without a readable answer", ["reason"])

_ZERO_IV = bytes(16)

_log = structlog.get_logger()


class Gateway:
    """unknown_certificate: told the SN under which an answer came that could not be verified yet."""

    def __init__(
        self,
        settings: AlipaySettings,
        hsm: Hsm,
        clock: Clock,
        trust: Trust,
        unknown_certificate: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._hsm = hsm
        self._clock = clock
        self._trust = trust
        self._unknown_certificate = unknown_certificate
        self.transport = Transport(
            # One more than the lanes hold: the probe never waits behind payments.
            settings.gateway_url, settings.max_connections + 1, settings.connect_timeout_s, settings.timeout_s
        )  # fmt: skip
        self._common = {"app_cert_sn": trust.application_sn, "alipay_root_cert_sn": trust.root_sn}
        if settings.content_key:
            self._common["encrypt_type"] = "AES"

    async def signed(self, messages: Sequence[Message]) -> list[dict[str, str] | None]:
        """The parameters of each message with its signature, None where the HSM gave none. One HSM call, or two."""
        time_ms, settings = self._clock.time_ms(), self._settings
        contents = await self._contents(messages)
        unsigned = [
            request_parameters(
                settings.app_id, each.method, content, time_ms, {"notify_url": each.notify_url, **self._common}
            )
            for each, content in zip(messages, contents, strict=True)
            if content is not None
        ]
        texts = [(settings.signing_key, signed_text(each)) for each in unsigned]
        results = await _each(self._hsm.sign(texts), len(texts)) if texts else []
        signatures = iter(zip(unsigned, results, strict=True))
        signed: list[dict[str, str] | None] = []
        for content in contents:
            if content is None:
                signed.append(None)
                continue
            parameters, signature = next(signatures)
            if isinstance(signature, Exception):
                _failed("alipay_signing_failed", "not_signed", signature)
                signed.append(None)
            else:
                parameters["sign"] = base64_text(signature)
                signed.append(parameters)
        return signed

    async def ask(self, message: Message, parameters: dict[str, str]) -> Answer:
        """A verified answer. Raises NotSent, Unanswered or AlipayError."""
        signed = split_answer(await self.transport.post(parameters))
        try:
            check_answer(signed, message.method, self._trust.key(signed.certificate_sn))
        except UnknownCertificate as error:
            self._unknown_certificate(error.sn)
            raise
        return await self.opened(signed)

    async def opened(self, signed: SignedValue) -> Answer:
        """The answer that a verified value is, deciphered where it is encrypted. Raises MalformedAnswer."""
        if isinstance(signed.value, dict):
            return answer_of(signed.value)
        return answer_of(await self._deciphered(signed.value))

    async def _contents(self, messages: Sequence[Message]) -> Sequence[str | None]:
        """biz_content as it is sent: as it is, or encrypted; None where the HSM did not."""
        if not self._settings.content_key:
            return [each.biz_content for each in messages]
        key = self._settings.content_key
        items = [(key, "cbc", "pkcs7", _ZERO_IV, each.biz_content.encode()) for each in messages]
        contents: list[str | None] = []
        for result in await _each(self._hsm.run("encipher", items), len(items)):
            if isinstance(result, Exception):
                _failed("alipay_encryption_failed", "not_encrypted", result)
                contents.append(None)
            else:
                contents.append(base64_text(result))
        return contents

    async def _deciphered(self, value: str) -> object:
        """Raises MalformedAnswer. The signature was verified before: the padding tells nobody anything."""
        if not self._settings.content_key:
            raise MalformedAnswer("the value is encrypted")
        (result,) = await self._hsm.run(
            "decipher", [(self._settings.content_key, "cbc", "pkcs7", _ZERO_IV, ciphertext(value))]
        )
        if isinstance(result, Exception):
            raise MalformedAnswer("the value cannot be deciphered")
        return deciphered_value(result)


async def _each(call: Awaitable[Sequence[Any]], count: int) -> Sequence[Any]:
    """The results of one HSM call; where the HSM as a whole is away, that error for each: nothing leaves unsigned."""
    try:
        return await call
    except Exception as error:
        return [error] * count


def _failed(event: str, reason: str, error: Exception) -> None:
    _log.error(event, error=type(error).__name__)
    ERRORS.labels(reason).inc()
