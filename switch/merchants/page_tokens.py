"""Where a list goes on: opaque to the caller, and good for the very question that it was given with."""

import base64
import binascii
import hmac
from typing import Final
from uuid import UUID

from switch.domain.refusals import Invalid
from switch.ports import Hsm

# HSM label, usage HASHING.
TOKEN_KEY: Final = "merchants/page-token"  # noqa: S105, a label
_TAG_BYTES: Final = 16


class PageTokens:
    """A token is an id and a truncated HMAC-SHA-256 over the question and the id, base64url without padding."""

    def __init__(self, hsm: Hsm) -> None:
        self._hsm = hsm

    async def issue(self, question: str, resume: UUID | None) -> str:
        """question: everything that the answer depends on, the merchant first. "" where there is no more."""
        if resume is None:
            return ""
        whole = resume.bytes + await self._tag(question, resume)
        return base64.urlsafe_b64encode(whole).decode().rstrip("=")

    async def read(self, question: str, token: str) -> UUID | None:
        """None for no token. Raises Invalid for one that was not given with this question."""
        if not token:
            return None
        try:
            whole = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            whole = b""
        if len(whole) != 16 + _TAG_BYTES:
            raise Invalid("page_token", "is not one of ours")
        resume = UUID(bytes=whole[:16])
        if not hmac.compare_digest(whole[16:], await self._tag(question, resume)):
            raise Invalid("page_token", "was given with another query")
        return resume

    async def _tag(self, question: str, resume: UUID) -> bytes:
        [tag] = await self._hsm.keyed_hashes([(TOKEN_KEY, resume.bytes + question.encode())])
        if isinstance(tag, Exception):
            raise tag
        return tag[:_TAG_BYTES]
