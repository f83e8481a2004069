"""A payer: account with two factors, a phone bound by its key, a card that is proved, payment codes."""

import secrets
from uuid import UUID

import grpc.aio

from benchmarks.terminal import load_account
from payswitch.v1 import user_pb2, wallet_pb2
from switch.client.payment_codes import begin_enrolment, finish_enrolment
from switch.demo.presenting import Card
from switch.demo.simulators.cards import LOAD_ACCOUNTS
from switch.demo.story.callers import StoryWrong, expect
from switch.demo.story.people import register
from switch.demo.story.stage import Story

# Additions of cards in 24 hours are few.
_TRIES = 4


async def registers(story: Story) -> str:
    payer = story.payer = await register(story.people, story.mailbox, "payer")
    await payer.set_up_totp()
    await payer.log_in_with_totp()
    await payer.add_passkey()
    await payer.log_in_with_passkey()
    await payer.bind_phone()
    profile = await payer.ask(user_pb2.GetProfileRequest())
    expect((profile.totp, profile.passkeys, profile.recovery_codes_left), (True, 1, 10), "the payer's factors")
    [device] = (await payer.ask(user_pb2.ListDevicesRequest())).devices
    expect((device.id, device.active), (payer.phone.id, True), "the payer's phone")
    return "TOTP (a used code is refused), passkey, phone bound by key"


async def adds_a_card(story: Story) -> str:
    """The bank shows its customer what was held for a moment; who names it owns the card."""
    card = await _added(story)
    story.card_id = card.card_id
    amount_minor = (await _held(story))[-1]
    wrong = wallet_pb2.ProveCardRequest(card_id=card.card_id, amount_minor=amount_minor % 999 + 1)
    await story.payer.refused(wrong, "UNAUTHENTICATED")
    proved = await story.payer.ask(wallet_pb2.ProveCardRequest(card_id=card.card_id, amount_minor=amount_minor))
    expect((proved.card.state, proved.card.is_default), (wallet_pb2.CARD_STATE_ACTIVE, True), "the card")
    if story.card.pan in str(proved):
        raise StoryWrong("the card's number was shown")
    return f"{proved.card.masked}, proved by the amount that its bank showed"


async def enrols_codes(story: Story) -> str:
    """The secret is agreed once; the codes are made offline."""
    payer = story.payer
    keys = await payer.ask(wallet_pb2.GetKeysRequest())
    seed, enrolment = begin_enrolment(
        keys.wallet_envelope.encode(), UUID(payer.user_id), UUID(payer.phone.id), payer.phone.key
    )
    request = wallet_pb2.EnrolPaymentCodesRequest(
        device_id=payer.phone.id, envelope=enrolment.envelope, signature=enrolment.signature
    )
    answer = await payer.ask(request)
    story.codes = finish_enrolment(seed, answer.device_number, answer.salt)
    return "the phone shows payment codes, without a network"


async def _added(story: Story) -> wallet_pb2.Card:
    """Another card where the machine was too slow for the answer of its bank."""
    for attempt in range(_TRIES):
        story.card = Card(*load_account(secrets.randbelow(LOAD_ACCOUNTS)))
        number = wallet_pb2.CardNumber(pan=story.card.pan, expiry=story.card.expiry_yymm)
        try:
            card: wallet_pb2.Card = (await story.payer.ask(wallet_pb2.AddCardRequest(card=number))).card
            return card
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION or attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


async def _held(story: Story) -> list[int]:
    """What the card's bank shows of the wallet's verifications, oldest first."""
    book = await story.environment.book("unionpay")
    return [
        each["amount_minor"]
        for each in book
        if each["kind"] == "pre_authorization" and each["merchant"][:6] == "WALLET"
    ]
