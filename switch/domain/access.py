"""Who is calling, and in which roles."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final
from uuid import UUID

# An API credential says what it is, so that one in a public place is recognized by scanners for secrets.
CREDENTIAL_PREFIX: Final = "payswitch_key_"


class Role(IntEnum):
    """The numbers are those of access.proto and are stored: they are never reused."""

    ANYONE = 1
    ACQUIRER = 2
    ISSUER = 3
    OPERATOR = 4
    REVIEWER = 5
    FINANCE = 6
    PLATFORM = 7
    RISK = 8
    MESSENGER = 9
    PAYER = 10
    MERCHANT_OWNER = 20
    MERCHANT_MANAGER = 21
    MERCHANT_CASHIER = 22
    MERCHANT_VIEWER = 23


MERCHANT_ROLES = frozenset({Role.MERCHANT_OWNER, Role.MERCHANT_MANAGER, Role.MERCHANT_CASHIER, Role.MERCHANT_VIEWER})


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever made a call; nobody in particular where it asks no credential.

    name: for the audit trail, `<kind>/<id>`: a certificate's role and id, `user/<uuid>` or `credential/<id>`; "" for
    nobody. person: the id alone; two-person rules compare it, so that nobody approves what he asked for under another
    role. merchant_id: whose MERCHANT roles these are, "" without any. stepped_up: a second factor was shown of late.
    address: gRPC's name of where the call came from ("ipv4:192.0.2.7:50123"), for limits and alerts.
    """

    name: str = ""
    roles: frozenset[Role] = frozenset()
    user_id: UUID | None = None
    session_id: UUID | None = None
    merchant_id: str = ""
    stepped_up: bool = False
    address: str = ""

    @property
    def person(self) -> str:
        """
        >>> Caller("finance/ann").person
        'ann'
        """
        return self.name.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Session:
    """A user's login, as its access token names it. stepped_up: a second factor was shown of late."""

    id: UUID
    user_id: UUID
    stepped_up: bool


@dataclass(frozen=True, slots=True)
class Credential:
    """A merchant's API credential: it acts for that merchant alone, in one role.

    networks: from where it may be used, in CIDR notation; empty: from anywhere.
    """

    id: str
    merchant_id: str
    role: Role
    networks: tuple[str, ...] = ()
