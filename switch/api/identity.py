"""Who is calling: the URI name in the client certificate (RFC 5280 4.2.1.6)."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import grpc.aio

from switch.api.errors import NotAllowed, NotAuthenticated, status_of

Participant = tuple[str, str]  # role, id


class Doorkeeper:
    """Reads the participant from a call's certificate.

    parse: URIs of the certificate -> (role, id), raising ValueError. anonymous: who a caller without TLS is; only
    tests and a switch whose listener has TLS switched off set it.
    """

    def __init__(self, parse: Callable[[list[str]], Participant], anonymous: Participant | None = None) -> None:
        # The same few names over and over; parsing is pure.
        self._named = lru_cache(maxsize=1024)(lambda names: parse([name.decode("utf-8", "replace") for name in names]))
        self._anonymous = anonymous

    async def admit(self, context: grpc.aio.ServicerContext[Any, Any], role: str) -> str:
        """Like `participant`, but ends the call itself with the right status."""
        try:
            return self.participant(context, role)
        except (NotAllowed, NotAuthenticated) as error:
            await context.abort(*status_of(error))
            raise

    def participant(self, context: grpc.aio.ServicerContext[Any, Any], role: str) -> str:
        """The caller's id; raises NotAuthenticated without a usable certificate, NotAllowed in another role."""
        # Not auth_context(), which copies the whole certificate chain at every call.
        names = tuple(context.peer_identities() or ())
        if not names and self._anonymous is not None:
            found_role, participant = self._anonymous
        else:
            try:
                found_role, participant = self._named(names)
            except ValueError as error:
                raise NotAuthenticated("the client certificate names no participant") from error
        if found_role != role:
            raise NotAllowed(f"the client certificate is not an {role}'s")
        return participant
