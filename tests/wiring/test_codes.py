"""The wallet and the handovers as a process of the platform has them."""

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from wallet_scene import (
    Payer,
    Wallet,
    asked,
    payer,
    wallet,
    wallet_clock,
    wallet_hsm,
    wallet_token_directory,
)

from payswitch.v1 import handover_pb2, wallet_pb2
from switch.api.errors import InvalidField
from switch.config import load
from switch.domain.access import Caller, Role
from switch.domain.authorization import CardCredential
from switch.domain.merchant import MerchantProfile, MerchantState
from switch.domain.refusals import Invalid, Missing, NotPossible, NotProved
from switch.entry.handover.certificate import verify_certificate
from switch.entry.handover.session import point_of
from switch.ops.lifecycle import Lifecycle
from switch.payments.terminal_certificates import LIFETIME_MS, request_text
from switch.wiring.codes import open_handovers, open_wallet, road_openers
from switch.wiring.platform import Platform

__all__ = ["payer", "wallet", "wallet_clock", "wallet_hsm", "wallet_token_directory"]


class OneMerchant:
    def __init__(self) -> None:
        self.state = MerchantState.ACTIVE

    async def profile(self, merchant_id: str) -> MerchantProfile | None:
        if merchant_id != "shop":
            return None
        return MerchantProfile("shop", "Corner Shop 小店", "Shanghai", "CN", "5411", "acme", self.state)


@pytest.fixture
def platform(wallet: Wallet) -> Any:
    lifecycle = Lifecycle(0)
    merchants: Any = OneMerchant()
    nobody: Any = SimpleNamespace()
    return Platform(load(), lifecycle, wallet.pool, "", wallet.hsm, wallet.clock, nobody, merchants, {})


async def test_the_wallet_is_served_and_ends_with_the_process(platform: Platform, wallet: Wallet) -> None:
    [served] = open_wallet(platform, wallet.devices)
    assert served.service.name == "WalletService"
    servicer: Any = served.servicer
    caller = Caller("user/x", frozenset({Role.PAYER}), uuid4())
    keys = await servicer.GetKeys(wallet_pb2.GetKeysRequest(), caller)
    for pem in (keys.wallet_envelope, keys.handover_envelope, keys.handover_signing):
        load_pem_public_key(pem.encode())
    assert list((await servicer.ListCards(wallet_pb2.ListCardsRequest(), caller)).cards) == []
    [sweep] = [each for each in asyncio.all_tasks() if each.get_name() == "wallet sweep"]
    platform.lifecycle.stop("test")
    await platform.lifecycle.run()
    assert sweep.done()


async def test_the_road_opens_codes(wallet: Wallet, payer: Payer) -> None:
    openers = road_openers(wallet.pool, wallet.hsm, wallet.clock, wallet.devices)
    assert set(openers) == {"payswitch", "handover"}
    code = payer.shows.code(wallet.clock.now_ms)
    [opened] = await openers["payswitch"].open([asked(code)])
    assert isinstance(opened, CardCredential)


# --- certificates -----------------------------------------------------------------------------------------------------

ACQUIRER = Caller("acquirer/acme", frozenset({Role.ACQUIRER}))
OWNER = Caller("user/1", frozenset({Role.MERCHANT_OWNER}), uuid4(), merchant_id="shop")


def wanted(key: ec.EllipticCurvePrivateKey, **fields: Any) -> handover_pb2.CertifyTerminalRequest:
    point = point_of(key.public_key())
    values: dict[str, Any] = {
        "merchant_id": "shop", "terminal_id": "t1", "public_key": point,
        "signature": key.sign(request_text("shop", "t1", point), ec.ECDSA(SHA256())),
    }  # fmt: skip
    return handover_pb2.CertifyTerminalRequest(**(values | fields))


async def test_a_terminal_is_certified_by_its_acquirer_or_merchant(platform: Platform, wallet: Wallet) -> None:
    [served] = open_handovers(platform)
    servicer: Any = served.servicer
    signing: Any = load_pem_public_key(wallet.hsm.store.public_key("handover/sign"))
    key, now_ms = ec.generate_private_key(ec.SECP256R1()), wallet.clock.now_ms
    for caller in (ACQUIRER, OWNER):
        answer = await servicer.CertifyTerminal(wanted(key), caller)
        certificate = verify_certificate(answer.certificate, signing, now_ms + LIFETIME_MS)
        assert (certificate.merchant_id, certificate.terminal_id) == ("shop", "t1")
        assert certificate.merchant_name == "Corner Shop 小店"
        assert certificate.public_key == point_of(key.public_key())
        assert answer.not_after_time_ms == now_ms + LIFETIME_MS
    trail = await wallet.pool.fetch("SELECT who FROM audit_trail WHERE subject = 'terminal/shop/t1' ORDER BY id")
    assert {each["who"] for each in trail} >= {"acquirer/acme", "user/1"}


async def test_what_is_not_certified(platform: Platform) -> None:
    servicer: Any = open_handovers(platform)[0].servicer
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    elsewhere = Caller("acquirer/other", frozenset({Role.ACQUIRER}))
    for request, caller, refusal in (
        (wanted(key, signature=b""), OWNER, NotProved),
        (wanted(key, public_key=point_of(other.public_key())), OWNER, NotProved),
        (wanted(key, terminal_id="t2"), OWNER, NotProved),
        (wanted(key, public_key=b"\x04" + bytes(64)), OWNER, Invalid),
        (wanted(key, public_key=b"\x04"), OWNER, Invalid),
        (wanted(key, terminal_id="t|1"), OWNER, InvalidField),
        (wanted(key), elsewhere, Missing),
    ):
        with pytest.raises(refusal):
            await servicer.CertifyTerminal(request, caller)
    merchants: Any = platform.merchants
    merchants.state = MerchantState.SUSPENDED
    with pytest.raises(NotPossible):
        await servicer.CertifyTerminal(wanted(key), OWNER)
