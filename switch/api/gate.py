"""Who is calling, and may he: a client certificate, a user's access token or a merchant's API credential."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote

from payswitch.v1 import access_pb2
from switch.api.errors import NotAllowed, NotAuthenticated
from switch.api.identity import alternative_names, shown_name
from switch.domain.access import CREDENTIAL_PREFIX, MERCHANT_ROLES, Caller, Role
from switch.domain.merchant_people import within_networks
from switch.ports.platform import MerchantAccess, Sessions
from switch.ports.signals import NOBODY_BLOCKED, UNHEARD, Blocked, Signal, SignalKind, Signals
from switch.users.limits import ip_of as canonical_ip_of

_OF_CERTIFICATES: Final = {
    "acquirer": Role.ACQUIRER,
    "issuer": Role.ISSUER,
    "operator": Role.OPERATOR,
    "reviewer": Role.REVIEWER,
    "finance": Role.FINANCE,
    "platform": Role.PLATFORM,
    "risk": Role.RISK,
    "messenger": Role.MESSENGER,
}
_BEARER: Final = "bearer "


class Gate:
    """parse: the URIs of a certificate -> (role, id), raising ValueError.

    blocked: addresses from which nobody is admitted; but whoever shows a certificate is.
    """

    def __init__(
        self, parse: Callable[[list[str]], tuple[str, str]], sessions: Sessions, merchants: MerchantAccess,
        signals: Signals = UNHEARD, blocked: Blocked = NOBODY_BLOCKED,
    ) -> None:  # fmt: skip
        self._signals = signals
        self._blocked = blocked
        self._parse = parse
        self._sessions = sessions
        self._merchants = merchants

    async def admit(self, context: Any, request: Any, access: access_pb2.Access) -> Caller:
        """The caller, with those of its roles that the method is open to. Raises NotAuthenticated or NotAllowed."""
        wanted = frozenset(Role(each) for each in access.roles)
        address = context.peer() or ""
        if not alternative_names(context) and self._blocked.refuses(canonical_ip_of(address)):
            raise NotAllowed("calls from this address are not taken for a while")
        if Role.ANYONE in wanted:
            return await self._anyone(context, request, address)
        caller = await self._caller(context, request, wanted)
        if not caller.name:
            raise NotAuthenticated("show a client certificate, an access token or an API credential")
        if not caller.roles & wanted:
            self._report(SignalKind.NOT_PERMITTED, context, caller)
            raise NotAllowed("not open to the caller's role")
        if access.step_up and caller.session_id is not None and not caller.stepped_up:
            raise NotAllowed("step-up needed")
        roles = caller.roles & wanted
        merchant_id = caller.merchant_id if roles & MERCHANT_ROLES else ""
        return replace(caller, roles=roles, merchant_id=merchant_id, address=address)

    async def _anyone(self, context: Any, request: Any, address: str) -> Caller:
        """Whoever logs in anew may still send the token that has expired: that is no reason to refuse him."""
        try:
            caller = await self._caller(context, request, frozenset())
        except (NotAuthenticated, NotAllowed):
            caller = Caller()
        return replace(caller, address=address)

    async def _caller(self, context: Any, request: Any, wanted: frozenset[Role]) -> Caller:
        """A token or credential speaks for the call; a certificate beside it is then the connection's alone."""
        bearer = _bearer_of(context)
        if bearer.startswith(CREDENTIAL_PREFIX):
            return await self._by_credential(bearer, request, context)
        if bearer:
            return await self._by_session(bearer, request, wanted)
        names = alternative_names(context)
        return self._by_certificate(names, context) if names else Caller()

    def _by_certificate(self, names: tuple[bytes, ...], context: Any) -> Caller:
        try:
            role, participant = self._parse([name.decode("utf-8", "replace") for name in names])
        except ValueError as error:
            self._report(SignalKind.CERTIFICATE_REFUSED, context)
            raise NotAuthenticated("the client certificate names no participant") from error
        return Caller(f"{role}/{participant}", frozenset({_OF_CERTIFICATES[role]}))

    async def _by_credential(self, secret: str, request: Any, context: Any) -> Caller:
        credential = await self._merchants.credential(secret)
        if credential is None:
            self._report(SignalKind.WRONG_CREDENTIAL, context)
            raise NotAuthenticated("the API credential is not valid")
        if not within_networks(ip_of(context.peer() or ""), credential.networks):
            self._report(SignalKind.WRONG_CREDENTIAL, context)
            raise NotAllowed("the API credential may not be used from this address")
        if getattr(request, "merchant_id", "") != credential.merchant_id:
            self._report(SignalKind.NOT_PERMITTED, context)
            raise NotAllowed("the API credential is another merchant's")
        return Caller(f"credential/{credential.id}", frozenset({credential.role}), merchant_id=credential.merchant_id)

    async def _by_session(self, token: str, request: Any, wanted: frozenset[Role]) -> Caller:
        session = await self._sessions.session(token)
        if session is None:
            raise NotAuthenticated("the access token is not valid")
        roles = {Role.PAYER}
        merchant_id = getattr(request, "merchant_id", "") if wanted & MERCHANT_ROLES else ""
        role = await self._merchants.role_of(merchant_id, session.user_id) if merchant_id else None
        if role is not None:
            roles.add(role)
        return Caller(
            f"user/{session.user_id}", frozenset(roles), session.user_id, session.id,
            merchant_id if role is not None else "", session.stepped_up,
        )  # fmt: skip

    # --- telling risk control ---------------------------------------------------------------------------------------

    def malformed(self, context: Any) -> None:
        """What came was no message of its method."""
        self._report(SignalKind.MALFORMED, context)

    def _report(self, kind: SignalKind, context: Any, caller: Caller | None = None) -> None:
        """A certificate is vouched for by its authority: its bearer is told of, and not turned away."""
        user_id = None if caller is None else caller.user_id
        address = canonical_ip_of(context.peer() or "")
        self._signals.report(Signal(kind, user_id, address=address, participant=shown_name(context)))


def _bearer_of(context: Any) -> str:
    """The scheme's name is in any case (RFC 9110 11.1)."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value[: len(_BEARER)].lower() == _BEARER:
            return value[len(_BEARER) :].strip()
    return ""


def ip_of(peer: str) -> str:
    """The IP address in gRPC's name of a peer; "" for a socket that has none.

    >>> ip_of("ipv4:10.1.2.3:5678"), ip_of("ipv6:%5B2001:db8::1%5D:443"), ip_of("unix:/run/x")
    ('10.1.2.3', '2001:db8::1', '')
    """
    scheme, _, rest = unquote(peer).partition(":")
    if scheme not in ("ipv4", "ipv6"):
        return ""
    return rest.rpartition(":")[0].strip("[]").partition("%")[0]
