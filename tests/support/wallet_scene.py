"""A wallet on a real token and a real PostgreSQL: a user with a bound device, a card, and codes."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from vault_scene import StillClock

from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token
from switch.client.payment_codes import CodeDevice, begin_enrolment, finish_enrolment
from switch.domain.authorization import AuthorizationRequest, CodeCredential, Merchant
from switch.domain.money import Money
from switch.domain.payment_codes import OWN_SCHEME
from switch.domain.payment_token import check_digit
from switch.domain.sensitive import Pan, PaymentCode
from switch.domain.states import EntryMode, Operation
from switch.domain.user import Device
from switch.ports import Opener
from switch.store.payment_codes import PostgresPaymentCodes
from switch.store.vault import PostgresTokenStore
from switch.users.code_enrolment import CodeEnrolments
from switch.users.code_settings import CodeSettings
from switch.users.payment_codes import PaymentCodes
from switch.vault.vault import Vault
from switch.wiring.codes import WalletVault

SEAL_KEY, ENVELOPE_KEY = "wallet/seal", "wallet/envelope"
_numbers = itertools.count(1)


def fresh_wallet_pan() -> Pan:
    """Of the UnionPay range, and no other test's."""
    body = f"622588{uuid4().int % 10**9:09d}"
    return Pan(body + check_digit(body))


class MemoryDevices:
    """Meets `switch.ports.platform.Devices`."""

    def __init__(self) -> None:
        self.known: dict[tuple[UUID, UUID], Device] = {}

    async def devices(self, named: Sequence[tuple[UUID, UUID]]) -> list[Device | None]:
        return [self.known.get(each) for each in named]


@dataclass
class Wallet:
    """Everything around the codes. `codes` as one process of the switch has it; `another()` as the next one does."""

    pool: asyncpg.Pool
    hsm: DirectHsm
    clock: StillClock
    devices: MemoryDevices = field(default_factory=MemoryDevices)
    settings: CodeSettings = field(default_factory=CodeSettings)

    def __post_init__(self) -> None:
        self.store = PostgresPaymentCodes(self.pool)
        self.vault = WalletVault(Vault(self.hsm, PostgresTokenStore(self.pool), self.clock))
        self.enrolments = CodeEnrolments(self.store, self.devices, self.hsm, self.clock, self.settings)
        self.codes = self.another()

    def another(self, **settings: Any) -> PaymentCodes:
        chosen = CodeSettings(**settings) if settings else self.settings
        return PaymentCodes(self.store, self.devices, self.vault, self.hsm, self.clock, chosen)

    async def card_of(self, user_id: UUID, pan: Pan) -> str:
        """An active default card; returns its token."""
        token = await self.vault.token_of(pan)
        await self.pool.execute(
            "INSERT INTO cards VALUES ($1, $2, 2, true, $3, 'unionpay', 'unionpay', $4, $5, '3012', $2, 0, 0, 0,"
            " true, 0, 0)",
            user_id, uuid4(), token, pan.reveal()[:6], pan.reveal()[-4:],
        )  # fmt: skip
        return token

    async def pay(self, code: str, opener: Opener | None = None, **fields: Any) -> Any:
        """What one authorization's code becomes."""
        [opened] = await (opener or self.codes).open([asked(code, **fields)])
        return opened


@dataclass
class Payer:
    user_id: UUID
    device_id: UUID
    device_key: ec.EllipticCurvePrivateKey
    pan: Pan
    shows: CodeDevice


def asked(code: str, **fields: Any) -> tuple[UUID, AuthorizationRequest]:
    values: dict[str, Any] = {
        "acquirer_id": "acme", "merchant": Merchant("shop"), "terminal_id": "t1", "idempotency_key": "k",
        "transmission_time_ms": 1, "operation": Operation.SALE, "money": Money(1200, "CNY"),
        "entry": EntryMode.PAYER_CODE, "credential": CodeCredential(OWN_SCHEME, PaymentCode(code)),
    }  # fmt: skip
    authorization_id = fields.pop("authorization_id", None) or uuid4()
    return authorization_id, AuthorizationRequest(**(values | fields))


async def bind(wallet: Wallet) -> tuple[UUID, UUID, ec.EllipticCurvePrivateKey]:
    """A user with one bound device."""
    key = ec.generate_private_key(ec.SECP256R1())
    user_id, device_id = uuid4(), uuid4()
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    wallet.devices.known[user_id, device_id] = Device(device_id, user_id, "phone", public, True, 0)
    return user_id, device_id, key


async def enrol(wallet: Wallet, user_id: UUID, device_id: UUID, key: ec.EllipticCurvePrivateKey) -> CodeDevice:
    seed, enrolment = begin_enrolment(wallet.hsm.store.public_key(ENVELOPE_KEY), user_id, device_id, key)
    who = f"user/{user_id}"
    enrolled = await wallet.enrolments.enrol(who, user_id, device_id, enrolment.envelope, enrolment.signature)
    return finish_enrolment(seed, enrolled.number, enrolled.salt)


async def make_payer(wallet: Wallet) -> Payer:
    user_id, device_id, key = await bind(wallet)
    pan = fresh_wallet_pan()
    await wallet.card_of(user_id, pan)
    return Payer(user_id, device_id, key, pan, await enrol(wallet, user_id, device_id, key))


@pytest.fixture(scope="session")
def wallet_token_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_token(tmp_path_factory.mktemp("wallet") / "token")


@pytest.fixture(scope="module")
def wallet_hsm(wallet_token_directory: Path) -> Iterator[DirectHsm]:
    hsm = DirectHsm.open(wallet_token_directory)
    for label, usage in (
        (SEAL_KEY, KeyUsage.SEALING), (ENVELOPE_KEY, KeyUsage.ENVELOPE), ("vault/hash", KeyUsage.HASHING),
        ("vault/wrapping", KeyUsage.KEY_WRAPPING), ("journal/hash", KeyUsage.HASHING),
        ("journal/seal", KeyUsage.SEALING), ("handover/envelope", KeyUsage.ENVELOPE),
        ("handover/sign", KeyUsage.SIGNING),
    ):  # fmt: skip
        hsm.store.ensure(label, usage)
    yield hsm
    hsm.close()


@pytest.fixture
def wallet_clock() -> StillClock:
    return StillClock()


@pytest.fixture
async def wallet(database: asyncpg.Pool, wallet_hsm: DirectHsm, wallet_clock: StillClock) -> Wallet:
    # Data keys are sealed by the token of the module that made them.
    await database.execute(
        "DELETE FROM token_accesses WHERE requester = 'wallet'; DELETE FROM payment_tokens WHERE requester = 'wallet';"
        " DELETE FROM token_data_keys WHERE requester = 'wallet'; DELETE FROM cards; DELETE FROM code_devices;"
        " DELETE FROM payment_code_claims"
    )
    return Wallet(database, wallet_hsm, wallet_clock)


@pytest.fixture
async def payer(wallet: Wallet) -> Payer:
    return await make_payer(wallet)
