"""WalletService at its edges: fields, sealed card numbers, and what it never says."""

from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from wallet_scene import Wallet, bind, fresh_wallet_pan, wallet, wallet_clock, wallet_hsm, wallet_token_directory

from payswitch.v1 import wallet_pb2 as pb
from switch.api.errors import InvalidField
from switch.api.guarded import access_of
from switch.api.wallet_service import CARD_INFO, WalletServicer
from switch.client.payment_codes import SUITE, begin_enrolment, finish_enrolment
from switch.domain.access import Caller, Role
from switch.domain.authorization import Authorization, AuthorizationRequest, CardCredential, FollowOn, FollowOnRequest
from switch.domain.identity import computed_id
from switch.domain.refusals import Missing, NotProved
from switch.domain.states import Decision, State
from switch.store.cards import PostgresCards
from switch.users.cards import CardsOfUsers

__all__ = ["wallet", "wallet_clock", "wallet_hsm", "wallet_token_directory"]


class ApprovingPayments:
    """An issuer that approves; its statement is `asked`."""

    def __init__(self) -> None:
        self.asked: list[AuthorizationRequest] = []
        self.undone: list[FollowOnRequest] = []

    async def authorize(self, request: AuthorizationRequest, budget_s: float) -> Authorization:
        self.asked.append(request)
        identity = computed_id(
            request.acquirer_id, request.merchant.id, request.transmission_time_ms, request.idempotency_key
        )
        return Authorization(
            identity, request.acquirer_id, request.merchant.id, request.terminal_id, "5999", request.operation,
            request.money, request.entry, "", state=State.APPROVED, decision=Decision.APPROVED, channel="unionpay",
        )  # fmt: skip

    async def follow_on(self, request: FollowOnRequest) -> FollowOn:
        self.undone.append(request)
        money = self.asked[-1].money
        return FollowOn(
            uuid4(), request.authorization_id, "wallet", "WALLET", request.operation, money, state=State.APPROVED
        )

    async def find(self, merchant_id: str, authorization_id: Any) -> Authorization | None:
        raise AssertionError("nobody asks")


@pytest.fixture
def payments() -> ApprovingPayments:
    return ApprovingPayments()


@pytest.fixture
def service(wallet: Wallet, payments: ApprovingPayments) -> WalletServicer:
    cards = CardsOfUsers(PostgresCards(wallet.pool), wallet.vault, payments, wallet.clock)
    return WalletServicer(cards, wallet.enrolments, wallet.hsm)


def caller_of(user_id: Any) -> Caller:
    return Caller(f"user/{user_id}", frozenset({Role.PAYER}), user_id, uuid4(), stepped_up=True)


async def test_a_sealed_card_is_added_proved_chosen_and_removed(
    service: WalletServicer, payments: ApprovingPayments
) -> None:
    caller, pan = caller_of(uuid4()), fresh_wallet_pan()
    keys = await service.GetKeys(pb.GetKeysRequest(), caller)
    public_key: Any = load_pem_public_key(keys.wallet_envelope.encode())
    clear = pb.CardNumber(pan=pan.reveal(), expiry="4912").SerializeToString()
    assert caller.user_id is not None
    sealed = SUITE.encrypt(clear, public_key, CARD_INFO + caller.user_id.bytes)

    card = (await service.AddCard(pb.AddCardRequest(sealed_card=sealed), caller)).card
    assert (card.state, card.masked) == (pb.CARD_STATE_PENDING, f"622588******{pan.reveal()[-4:]}")
    assert payments.asked[0].credential == CardCredential(pan, "4912")
    assert [each.authorization_id for each in payments.undone] == [
        computed_id("wallet", "WALLET", payments.asked[0].transmission_time_ms, payments.asked[0].idempotency_key)
    ]
    amount_minor = payments.asked[0].money.amount_minor
    request = pb.ProveCardRequest(card_id=card.card_id, amount_minor=amount_minor)
    proved = (await service.ProveCard(request, caller)).card
    assert (proved.state, proved.is_default, proved.channel) == (pb.CARD_STATE_ACTIVE, True, "unionpay")
    assert list((await service.ListCards(pb.ListCardsRequest(), caller)).cards) == [proved]
    assert pan.reveal() not in str(proved)
    chosen = await service.SetDefaultCard(pb.SetDefaultCardRequest(card_id=card.card_id), caller)
    assert chosen.card == proved
    await service.RemoveCard(pb.RemoveCardRequest(card_id=card.card_id), caller)
    assert list((await service.ListCards(pb.ListCardsRequest(), caller)).cards) == []


async def test_a_card_sealed_by_another_user_or_badly_opens_nothing(service: WalletServicer) -> None:
    caller = caller_of(uuid4())
    keys = await service.GetKeys(pb.GetKeysRequest(), caller)
    public_key: Any = load_pem_public_key(keys.wallet_envelope.encode())
    clear = pb.CardNumber(pan=fresh_wallet_pan().reveal(), expiry="4912").SerializeToString()
    elses = SUITE.encrypt(clear, public_key, CARD_INFO + uuid4().bytes)
    assert caller.user_id is not None
    own = SUITE.encrypt(clear, public_key, CARD_INFO + caller.user_id.bytes)
    aes_256 = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    other_suite = aes_256.encrypt(clear, public_key, CARD_INFO + caller.user_id.bytes)
    for sealed in (elses, own[:-1], own[:70] + bytes([own[70] ^ 1]) + own[71:], bytes(100), other_suite):
        with pytest.raises(NotProved):
            await service.AddCard(pb.AddCardRequest(sealed_card=sealed), caller)
    garbage = SUITE.encrypt(b"\xff\xff", public_key, CARD_INFO + caller.user_id.bytes)
    for request in (
        pb.AddCardRequest(),
        pb.AddCardRequest(sealed_card=garbage),
        pb.AddCardRequest(sealed_card=b"x" * 300),
    ):
        with pytest.raises(InvalidField):
            await service.AddCard(request, caller)


async def test_a_device_is_enrolled_and_its_codes_are_good(service: WalletServicer, wallet: Wallet) -> None:
    user_id, device_id, key = await bind(wallet)
    caller, pan = caller_of(user_id), fresh_wallet_pan()
    await wallet.card_of(user_id, pan)
    keys = await service.GetKeys(pb.GetKeysRequest(), caller)
    seed, enrolment = begin_enrolment(keys.wallet_envelope.encode(), user_id, device_id, key)
    request = pb.EnrolPaymentCodesRequest(
        device_id=str(device_id), envelope=enrolment.envelope, signature=enrolment.signature
    )
    with pytest.raises(Missing):
        await service.EnrolPaymentCodes(request, caller_of(uuid4()))
    answer = await service.EnrolPaymentCodes(request, caller)
    device = finish_enrolment(seed, answer.device_number, answer.salt)
    assert isinstance(await wallet.pay(device.code(wallet.clock.now_ms)), CardCredential)
    await service.WithdrawPaymentCodes(pb.WithdrawPaymentCodesRequest(device_id=str(device_id)), caller)
    assert (await wallet.pay(device.code(wallet.clock.now_ms))).response_code == "14"


async def test_what_is_no_uuid_is_named(service: WalletServicer) -> None:
    with pytest.raises(InvalidField, match="card_id"):
        await service.RemoveCard(pb.RemoveCardRequest(card_id="1"), caller_of(uuid4()))
    with pytest.raises(InvalidField, match="device_id"):
        await service.WithdrawPaymentCodes(pb.WithdrawPaymentCodesRequest(), caller_of(uuid4()))


def test_what_changes_a_wallet_for_good_asks_for_a_second_factor() -> None:
    methods = pb.DESCRIPTOR.services_by_name["WalletService"].methods
    assert {each.name for each in methods if access_of(each).step_up} == {"AddCard", "RemoveCard", "EnrolPaymentCodes"}
    assert all(list(access_of(each).roles) == [Role.PAYER] for each in methods)
