"""One attempt to deliver one message: signed, bounded, no redirect followed, nothing of the answer trusted."""

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from switch.domain.refusals import Invalid
from switch.merchants.webhook_target import (
    AddressRefused,
    CheckedResolver,
    Lookup,
    TargetRules,
    checked_url,
    system_lookup,
)

SECRET_PREFIX: Final = "whsec_"  # noqa: S105, a prefix
_TOTAL_S: Final = 10.0
_LARGEST_ANSWER: Final = 64 * 1024
_KEPT: Final = 1024


@dataclass(frozen=True, slots=True)
class Result:
    """failure: "" if it was taken. status: 0 without an answer. answer: the first of it, for the log."""

    status: int
    failure: str
    answer: str
    latency_ms: int

    @property
    def taken(self) -> bool:
        return not self.failure


def signature(secret: bytes, webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """Standard Webhooks: base64 of HMAC-SHA-256 over `id.timestamp.body`.

    The published vector:

    >>> key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    >>> signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = f"{webhook_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def headers_of(secrets: Sequence[bytes], webhook_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """secrets: every one signs, so that a receiver may change over while two are in force."""
    return {
        "content-type": "application/json",
        "user-agent": "payswitch-webhooks/1",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signature(secret, webhook_id, timestamp_s, body) for secret in secrets),
    }


class WebhookSender:
    """Each attempt is a connection of its own, to the addresses that were checked for it."""

    def __init__(
        self,
        rules: TargetRules,
        lookup: Lookup = system_lookup,
        total_s: float = _TOTAL_S,
        socket_factory: "aiohttp.connector.SocketFactoryType | None" = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """socket_factory, tls: None for the usual ones."""
        self._rules = rules
        self._total_s = total_s
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(rules, lookup),
            use_dns_cache=False,
            force_close=True,
            limit=0,
            socket_factory=socket_factory,
            ssl=tls if tls is not None else True,
        )
        # trust_env off: a proxy would resolve the name by itself. Compressed answers are not unpacked.
        self._session = aiohttp.ClientSession(
            connector=connector, trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(self, url: str, headers: dict[str, str], body: bytes) -> Result:
        """Never raises for what the receiver or the network does."""
        begun_s = time.monotonic()
        status, failure, answer = await self._outcome(url, headers, body)
        return Result(status, failure, answer, int((time.monotonic() - begun_s) * 1000))

    async def _outcome(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, str, str]:
        try:
            async with asyncio.timeout(self._total_s):
                return await self._ask(url, headers, body)
        except TimeoutError:
            return 0, "timeout", ""
        except (AddressRefused, Invalid) as error:
            return 0, "address", str(error)
        except aiohttp.ClientSSLError:
            return 0, "tls", ""
        except aiohttp.ClientConnectionError:
            return 0, "connection", ""
        except (aiohttp.ClientError, ValueError):
            return 0, "protocol", ""
        except OSError as error:
            return 0, "connection", type(error).__name__

    async def _ask(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, str, str]:
        # As when it was stored, by the rules of today.
        target = URL(checked_url(url, self._rules))
        async with self._session.post(target, data=body, headers=headers, allow_redirects=False) as response:
            answer = await _read(response)
            if 200 <= response.status < 300:
                return response.status, "", answer
            failure = "redirect" if 300 <= response.status < 400 else "status"
            return response.status, failure, answer


async def _read(response: aiohttp.ClientResponse) -> str:
    """The first of the answer; whatever is longer than allowed is not read, and the connection given up."""
    kept, seen = b"", 0
    async for chunk in response.content.iter_any():
        kept += chunk[: _KEPT - len(kept)]
        seen += len(chunk)
        if seen > _LARGEST_ANSWER:
            response.close()
            break
    # PostgreSQL keeps no NUL.
    return kept.decode("utf-8", "replace").replace("\0", "\ufffd")
