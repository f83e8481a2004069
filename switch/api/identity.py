"""Who is calling: the URI name in the client certificate (RFC 5280 4.2.1.6)."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import grpc.aio
import structlog

from switch.api.errors import InvalidField, NotAllowed, NotAuthenticated, status_of
from switch.ops.metrics import PLATFORM_CALLS
from switch.ports.signals import UNHEARD, Signal, SignalKind, Signals
from switch.users.limits import ip_of

log = structlog.get_logger()

Participant = tuple[str, str]  # role, id
_ALTERNATIVE_NAME: Final = "x509_subject_alternative_name"
_ACQUIRER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII).fullmatch
_MOST_TOLD: Final = 10_000
_LONGEST_SHOWN: Final = 100


class Doorkeeper:
    """Reads the participant from a call's certificate.

    parse: URIs of the certificate -> (role, id), raising ValueError. anonymous: who a caller without TLS is; only
    tests and a switch whose listener has TLS switched off set it.
    """

    def __init__(
        self,
        parse: Callable[[list[str]], Participant],
        anonymous: Participant | None = None,
        signals: Signals = UNHEARD,
    ) -> None:
        # The same few names over and over; parsing is pure.
        self._named = lru_cache(maxsize=1024)(lambda names: parse([name.decode("utf-8", "replace") for name in names]))
        self._anonymous = anonymous
        self._signals = signals
        self._told: set[tuple[str, str]] = set()

    async def admit(self, context: grpc.aio.ServicerContext[Any, Any], role: str) -> str:
        """Like `participant`, but ends the call itself with the right status."""
        try:
            return self.participant(context, role)
        except (NotAllowed, NotAuthenticated) as error:
            await context.abort(*status_of(error))
            raise

    def acting_for(self, context: grpc.aio.ServicerContext[Any, Any], named: str | None) -> tuple[str, bool]:
        """(acquirer, whether another process of the switch acts for it).

        An acquirer acts for itself; a platform participant for the one it names. named: None where the call names
        none. Raises as `participant` does.
        """
        role, participant = self._found(context)
        if role == "platform":
            if named == "":
                raise NotAllowed("acquirer_id: a platform participant names the acquirer that it acts for")
            if named:
                self._acts(participant, named)
            return named or "", True
        if role != "acquirer":
            self._report(SignalKind.WRONG_ROLE, context)
            raise NotAllowed("the client certificate is not an acquirer's")
        return participant, False

    def _acts(self, participant: str, acquirer: str) -> None:
        """A platform participant may act for every acquirer: it is counted, and each of them is told of once."""
        if not _ACQUIRER_ID(acquirer):
            raise InvalidField("acquirer_id", "is no acquirer's")
        PLATFORM_CALLS.labels(participant).inc()
        if (participant, acquirer) not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add((participant, acquirer))
            log.info("platform_acts_for_acquirer", participant=participant, acquirer=acquirer)

    def participant(self, context: grpc.aio.ServicerContext[Any, Any], role: str) -> str:
        """The caller's id; raises NotAuthenticated without a usable certificate, NotAllowed in another role."""
        found_role, participant = self._found(context)
        if found_role != role:
            self._report(SignalKind.WRONG_ROLE, context)
            raise NotAllowed(f"the client certificate is not an {role}'s")
        return participant

    def _found(self, context: grpc.aio.ServicerContext[Any, Any]) -> Participant:
        names = alternative_names(context)
        if not names and self._anonymous is not None:
            return self._anonymous
        try:
            return self._named(names)
        except ValueError as error:
            self._report(SignalKind.CERTIFICATE_REFUSED, context)
            raise NotAuthenticated("the client certificate names no participant") from error

    def _report(self, kind: SignalKind, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        address = ip_of(context.peer() or "")
        self._signals.report(Signal(kind, address=address, participant=shown_name(context)))


def alternative_names(context: Any) -> tuple[bytes, ...]:
    """The subject alternative names of the caller's certificate; () without a certificate, or where it has none.

    Without them gRPC gives the common name instead: whoever may choose that would choose a role.
    """
    # Not auth_context(), which copies the whole certificate chain at every call.
    names = tuple(context.peer_identities() or ())
    return names if names and context.peer_identity_key() == _ALTERNATIVE_NAME else ()


def shown_name(context: Any) -> str:
    """The first name of the caller's certificate, as it is written there; "" without a certificate."""
    names = alternative_names(context)
    return names[0].decode("ascii", "replace")[:_LONGEST_SHOWN] if names else ""
