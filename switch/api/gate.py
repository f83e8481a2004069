"""Who is calling, and may he: a client certificate, a user's access token or a merchant's API credential."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from payswitch.v1 import access_pb2
from switch.api.errors import NotAllowed, NotAuthenticated
from switch.domain.access import MERCHANT_ROLES, Caller, Role
from switch.ports.platform import MerchantAccess, Sessions

_OF_CERTIFICATES: Final = {
    "acquirer": Role.ACQUIRER,
    "issuer": Role.ISSUER,
    "operator": Role.OPERATOR,
    "reviewer": Role.REVIEWER,
    "finance": Role.FINANCE,
    "platform": Role.PLATFORM,
}
_BEARER: Final = "Bearer "
# An API credential says what it is, so that one in a public place is recognized by scanners for secrets.
CREDENTIAL_PREFIX: Final = "payswitch_key_"


class Gate:
    """parse: the URIs of a certificate -> (role, id), raising ValueError."""

    def __init__(
        self, parse: Callable[[list[str]], tuple[str, str]], sessions: Sessions, merchants: MerchantAccess
    ) -> None:
        self._parse = parse
        self._sessions = sessions
        self._merchants = merchants

    async def admit(self, context: Any, request: Any, access: access_pb2.Access) -> Caller:
        """The caller, with those of its roles that the method is open to. Raises NotAuthenticated or NotAllowed."""
        wanted = frozenset(Role(each) for each in access.roles)
        caller = replace(await self._caller(context, request, wanted), address=context.peer() or "")
        if Role.ANYONE in wanted:
            return caller
        if not caller.name:
            raise NotAuthenticated("show a client certificate, an access token or an API credential")
        if not caller.roles & wanted:
            raise NotAllowed("not open to the caller's role")
        if access.step_up and caller.session_id is not None and not caller.stepped_up:
            raise NotAllowed("step-up needed")
        return caller

    async def _caller(self, context: Any, request: Any, wanted: frozenset[Role]) -> Caller:
        names = tuple(context.peer_identities() or ())
        bearer = _bearer_of(context)
        if bearer.startswith(CREDENTIAL_PREFIX):
            return await self._by_credential(bearer, request)
        if bearer:
            return await self._by_session(bearer, request, wanted)
        return self._by_certificate(names) if names else Caller()

    def _by_certificate(self, names: tuple[bytes, ...]) -> Caller:
        try:
            role, participant = self._parse([name.decode("utf-8", "replace") for name in names])
        except ValueError as error:
            raise NotAuthenticated("the client certificate names no participant") from error
        return Caller(f"{role}/{participant}", frozenset({_OF_CERTIFICATES[role]}))

    async def _by_credential(self, secret: str, request: Any) -> Caller:
        credential = await self._merchants.credential(secret)
        if credential is None:
            raise NotAuthenticated("the API credential is not valid")
        if getattr(request, "merchant_id", "") != credential.merchant_id:
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


def _bearer_of(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value.startswith(_BEARER):
            return value.removeprefix(_BEARER)
    return ""
