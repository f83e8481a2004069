"""The merchant service on a real database and a real token, with a clock that stands where the test puts it."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token
from payswitch.v1 import merchant_pb2 as pb
from switch.api.merchant_service import MerchantServicer
from switch.domain.access import Caller, Role
from switch.domain.registration import check_character
from switch.merchants.settings import MerchantSettings
from switch.store.merchants import SEAL_KEY, PostgresMerchants
from switch.wiring.merchants import merchant_servicer

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
ANN = Caller("reviewer/ann", frozenset({Role.REVIEWER}))
BOB = Caller("reviewer/bob", frozenset({Role.REVIEWER}))
NOON_MS = 1_764_216_000_000  # 2025-11-27 12:00 in Shanghai
HOUR_MS = 3_600_000
_numbers = itertools.count(1)

TABLES = (
    *("merchant_credentials", "merchant_invitations", "merchant_members", "merchant_terminals", "merchant_stores"),
    *("merchant_contracts", "merchant_accounts", "merchant_documents", "merchant_reviews", "merchant_applicants"),
    *("merchants", "audit_trail"),
)


class StandingClock:
    def __init__(self) -> None:
        self.now_ms = NOON_MS

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000


def payer(user_id: UUID | None = None) -> Caller:
    user_id = user_id or uuid4()
    return Caller(f"user/{user_id}", frozenset({Role.PAYER}), user_id, uuid4(), stepped_up=True)


def acting(user: Caller, merchant_id: str, role: Role) -> Caller:
    """The user as the gate lets it in at a merchant."""
    return Caller(user.name, frozenset({role}), user.user_id, user.session_id, merchant_id, stepped_up=True)


def acquirer(name: str = "acme") -> Caller:
    return Caller(f"acquirer/{name}", frozenset({Role.ACQUIRER}))


def credit_code() -> str:
    """A unified social credit code of its own."""
    first = f"91310000MA{next(_numbers):07d}"
    return first + check_character(first)


def business(**changes: Any) -> pb.MerchantBusiness:
    made = pb.MerchantBusiness(
        legal_name="上海街角商店有限公司",
        registration_kind=pb.REGISTRATION_KIND_UNIFIED_SOCIAL_CREDIT,
        registration=credit_code(),
        contact=pb.MerchantContact(name="王伟", phone="+8613800000000", email="wang@example.cn"),
        display_name="CORNER SHOP",
        city="SHANGHAI",
        category_code="5411",
    )
    made.MergeFrom(pb.MerchantBusiness(**changes))
    return made


def account(number: str = "6222021234567890") -> pb.BankAccount:
    return pb.BankAccount(account_name="上海街角商店有限公司", account_number=number, bank_code="102290002916")


def terms(from_day: str = "2025-11-27", *rates: pb.ContractRate, **fields: Any) -> pb.ContractTerms:
    lines = rates or (pb.ContractRate(basis_points=38),)
    return pb.ContractTerms(from_day=from_day, currency="CNY", rates=lines, **fields)


@dataclass
class Office:
    service: MerchantServicer
    merchants: PostgresMerchants
    pool: asyncpg.Pool
    clock: StandingClock
    alerts: list[tuple[str, str, str]] = field(default_factory=list)

    async def applied(self, who: Caller, **changes: Any) -> str:
        """An application with its licence; the merchant's id."""
        request = pb.ApplyRequest(business=business(**changes), account=account())
        merchant_id = (await self.service.Apply(request, who)).application.merchant_id
        document = pb.AddDocumentRequest(merchant_id=merchant_id, kind=pb.DOCUMENT_KIND_BUSINESS_LICENCE, content=PNG)
        await self.service.AddDocument(document, who)
        return merchant_id

    async def active(self, who: Caller | None = None) -> tuple[str, Caller]:
        """(merchant, its owner), reviewed by Ann and Bob."""
        who = who or payer()
        merchant_id = await self.applied(who)
        for reviewer in (ANN, BOB):
            await self.service.ReviewApplication(
                pb.ReviewApplicationRequest(merchant_id=merchant_id, round=1, approve=True), reviewer
            )
        return merchant_id, acting(who, merchant_id, Role.MERCHANT_OWNER)

    async def joined(self, owner: Caller, role: Role) -> Caller:
        """Another of its people, in that role."""
        invite = pb.InviteRequest(merchant_id=owner.merchant_id, role=role)  # type: ignore[arg-type]
        code = (await self.service.Invite(invite, owner)).code
        user = payer()
        await self.service.RedeemInvitation(pb.RedeemInvitationRequest(code=code), user)
        return acting(user, owner.merchant_id, role)

    async def audited(self, merchant_id: str) -> list[asyncpg.Record]:
        return await self.pool.fetch(
            "SELECT who, act, subject, before, after FROM audit_trail WHERE merchant_id = $1 ORDER BY id", merchant_id
        )


@pytest.fixture(scope="session")
def merchant_token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_token(tmp_path_factory.mktemp("merchants") / "token")


@pytest.fixture(scope="module")
def merchant_hsm(merchant_token: Path) -> Iterator[DirectHsm]:
    hsm = DirectHsm.open(merchant_token)
    hsm.store.ensure(SEAL_KEY, KeyUsage.SEALING)
    yield hsm
    hsm.close()


@pytest.fixture
async def office(database: asyncpg.Pool, merchant_hsm: DirectHsm) -> Office:
    await database.execute("; ".join(f"DELETE FROM {each}" for each in TABLES))
    clock = StandingClock()
    alerts: list[tuple[str, str, str]] = []
    counter = itertools.count()

    def entropy(size: int) -> bytes:
        """Another one each time, the same in every run."""
        return (next(counter) << 8).to_bytes(6, "big").rjust(size, b"\x5a")[-size:]

    settings = MerchantSettings(channels=("unionpay", "alipay"), credentials=3, invitations=5, stores=3, documents=3)
    service = merchant_servicer(database, merchant_hsm, clock, settings, entropy, lambda *alert: alerts.append(alert))
    return Office(service, PostgresMerchants(database, merchant_hsm, clock.time_ms), database, clock, alerts)
