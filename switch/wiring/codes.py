"""The wiring of the wallet: cards in the vault, payment codes and handovers on the road, and their services."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from payswitch.v1 import handover_pb2, wallet_pb2
from switch.api.handover_service import HandoverServicer
from switch.api.wallet_service import WalletServicer
from switch.domain.authorization import Merchant
from switch.domain.payment_codes import OWN_SCHEME
from switch.domain.payment_token import PaymentToken, Refusal, TokenState
from switch.domain.sensitive import Pan
from switch.entry.bluetooth import HANDOVER_SCHEME
from switch.payments.handovers import Handovers
from switch.payments.terminal_certificates import TerminalCertificates
from switch.ports import Clock, Hsm, Opener, StoreUnavailable
from switch.ports.platform import Devices
from switch.ports.signals import UNHEARD, Signals
from switch.store.cards import PostgresCards
from switch.store.handovers import PostgresHandovers, PostgresTrail
from switch.store.payment_codes import PostgresPaymentCodes
from switch.store.sessions import Pool
from switch.store.vault import PostgresTokenStore
from switch.users.cards import CardsOfUsers, VerificationSettings
from switch.users.code_enrolment import CodeEnrolments
from switch.users.payment_codes import PaymentCodes
from switch.vault.roles import Caller, Role
from switch.vault.vault import Vault
from switch.wiring.platform import Platform, Served

log = structlog.get_logger()
REQUESTER: Final = "wallet"
_WALLET: Final = Caller(REQUESTER, Role.REQUESTER)
_ROAD: Final = Caller("wallet", Role.PAYMENTS)
_KEEPER: Final = Caller("wallet", Role.OPERATOR)
_SWEEP_S: Final = 60.0
_SWEPT: Final = 1000


class WalletVault:
    """Meets `switch.users.code_store.CardNumbers`: the vault's tokens of the requester "wallet"."""

    def __init__(self, vault: Vault, max_batch: int = 256) -> None:
        self._vault = vault
        self._max_batch = max_batch

    async def token_of(self, pan: Pan) -> str:
        [token] = await self._vault.tokenize(_WALLET, REQUESTER, [pan])
        if isinstance(token, Refusal):
            raise ValueError(f"the vault refuses the card: {token}")
        return token.digits

    async def reveal(self, tokens: Sequence[str], reason: str) -> list[Pan | None]:
        found: list[Pan | None] = []
        for first in range(0, len(tokens), self._max_batch):
            part = tokens[first : first + self._max_batch]
            pans = await self._vault.detokenize(_ROAD, REQUESTER, part, reason)
            found += [pan if isinstance(pan, Pan) else None for pan in pans]
        return found

    async def is_active(self, token: str) -> bool:
        [shown] = await self._vault.show(_WALLET, REQUESTER, [token])
        return isinstance(shown, PaymentToken) and shown.state is TokenState.ACTIVE

    async def suspend(self, token: str) -> None:
        await self._vault.set_state(_KEEPER, REQUESTER, [token], TokenState.SUSPENDED)

    async def reactivate(self, token: str) -> None:
        await self._vault.set_state(_KEEPER, REQUESTER, [token], TokenState.ACTIVE)

    async def erase(self, token: str) -> None:
        await self._vault.set_state(_KEEPER, REQUESTER, [token], TokenState.DELETED)


def codes_opener(pool: Pool, hsm: Hsm, clock: Clock, devices: Devices, signals: Signals = UNHEARD) -> Opener:
    numbers = wallet_vault(pool, hsm, clock)
    return PaymentCodes(PostgresPaymentCodes(pool), devices, numbers, hsm, clock, signals=signals)


def road_openers(pool: Pool, hsm: Hsm, clock: Clock, devices: Devices, signals: Signals = UNHEARD) -> dict[str, Opener]:
    """`World.openers`, for the process that has the road."""
    handovers = Handovers(PostgresHandovers(pool), hsm, clock, signals=signals)
    return {OWN_SCHEME: codes_opener(pool, hsm, clock, devices, signals), HANDOVER_SCHEME: handovers}


def wallet_vault(pool: Pool, hsm: Hsm, clock: Clock) -> WalletVault:
    return WalletVault(Vault(hsm, PostgresTokenStore(pool), clock))


def cards_of(platform: Platform) -> CardsOfUsers:
    """Meets `switch.ports.platform.Cards`, for those who pay with a stored card."""
    section = platform.settings.wallet
    merchant = Merchant(section.merchant_id, section.merchant_name, section.merchant_city)
    settings = VerificationSettings(
        section.acquirer_id, merchant, section.terminal_id, platform.settings.budgets.answer_budget_ms / 1000
    )
    numbers = wallet_vault(platform.pool, platform.hsm, platform.clock)
    store, signals = PostgresCards(platform.pool), platform.signals
    return CardsOfUsers(store, numbers, platform.payments, platform.clock, settings, signals=signals)


def enrolments_of(platform: Platform, devices: Devices) -> CodeEnrolments:
    return CodeEnrolments(PostgresPaymentCodes(platform.pool), devices, platform.hsm, platform.clock)


def open_wallet(platform: Platform, devices: Devices) -> Sequence[Served]:
    """The wallet's service, and the sweep behind it, closed with the lifecycle."""
    cards = cards_of(platform)
    enrolments = enrolments_of(platform, devices)
    sweeping = asyncio.create_task(_sweep(cards), name="wallet sweep")

    async def close() -> None:
        sweeping.cancel()
        await asyncio.wait([sweeping])

    platform.lifecycle.on_close("wallet", close)
    servicer = WalletServicer(cards, enrolments, platform.hsm)
    return [Served(wallet_pb2.DESCRIPTOR.services_by_name["WalletService"], servicer)]


def open_handovers(platform: Platform) -> Sequence[Served]:
    """Certificates for terminals; opening is the road's (`road_openers`)."""
    trail = PostgresTrail(platform.pool)
    certificates = TerminalCertificates(platform.merchants, trail, platform.hsm, platform.clock)
    return [Served(handover_pb2.DESCRIPTOR.services_by_name["HandoverService"], HandoverServicer(certificates))]


async def _sweep(cards: CardsOfUsers) -> None:
    """Ends what processes that died, outages and payers left open, for ever."""
    while True:
        try:
            await cards.sweep(_SWEPT)
        except StoreUnavailable as error:
            log.warning("wallet_not_swept", reason=str(error))
        except Exception:
            log.exception("wallet_not_swept")
        await asyncio.sleep(_SWEEP_S)
