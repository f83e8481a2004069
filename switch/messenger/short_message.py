"""One short message, handed to the operator's own gateway by an HTTP hook, signed like a webhook (docs/messages.md)."""

import asyncio
import base64
import json
import ssl
import time
from typing import Final

import aiohttp

from switch.domain.refusals import Invalid
from switch.merchants.webhook_sender import SECRET_PREFIX, headers_of
from switch.messenger.outcome import Fate, Outcome, Post
from switch.messenger.texts import text_of

# What a gateway answers to a message that it will never take; everything else may pass.
_NEVER: Final = frozenset({400, 404, 410, 413, 422})


class ShortMessageSender:
    """secret: whsec_ and base64, at least 24 bytes. tls: None for the system's authorities."""

    def __init__(self, url: str, secret: str, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._key = key_of(secret)
        self._timeout_s = timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls if tls is not None else True),
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(self, post: Post) -> Outcome:
        """Never raises for what the gateway or the network does."""
        try:
            body = body_of(post)
        except KeyError:
            return Outcome(Fate.NEVER, "not-writable")
        headers = headers_of([self._key], f"msg_{post.id}", int(time.time()), body)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                status = response.status
        except TimeoutError:
            return Outcome(Fate.LATER, "timeout")
        except aiohttp.ClientSSLError:
            return Outcome(Fate.LATER, "tls")
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(Fate.LATER, f"connection {type(error).__name__}")
        if 200 <= status < 300:
            return Outcome(Fate.DELIVERED)
        return Outcome(Fate.NEVER if status in _NEVER else Fate.LATER, f"answer {status}")


def body_of(post: Post) -> bytes:
    """{"to": E.164, "text": …, "kind": …, "expires_time_ms": …} in UTF-8. Raises KeyError."""
    fields = {
        "to": post.to.text,
        "text": text_of(post.kind, post.code, post.alert).short,
        "kind": post.kind.name.lower(),
        "expires_time_ms": post.expires_time_ms,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def key_of(secret: str) -> bytes:
    """Raises Invalid."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) < 24:
        raise Invalid("messages.sms_secret", "must be whsec_ and base64 of at least 24 bytes")
    return key
