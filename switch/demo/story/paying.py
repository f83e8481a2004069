"""The payer pays in every way; each payment is one authorization, whatever the way."""

import asyncio
from functools import partial
from typing import Any
from uuid import uuid4

import grpc.aio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2, handover_pb2, order_pb2, wallet_pb2
from switch.demo.handover_device import ByteLink, SimulatedPhone, exchange, tell
from switch.demo.story.asking import answered, decision, keep, sold
from switch.demo.story.callers import StoryWrong, expect, until
from switch.demo.story.stage import Sale, Story, yuan
from switch.domain.money import Money
from switch.entry.bluetooth import HandoverKind
from switch.entry.handover.phone import Phone, PhoneKeys
from switch.entry.handover.terminal import HandoverTerminal
from switch.payments.terminal_certificates import request_text

BY_CODE, BY_QR, BY_TAP, BY_BLUETOOTH, BY_ALIPAY, BY_WECHAT = 12_345, 25_600, 6_450, 1_830, 9_999, 3_210
_TRIES = 8
_SCANNED_AS = {"alipay": "qr_code", "wechat": "code_url"}


async def by_code(story: Story) -> str:
    """The phone shows a code, the till reads it; the same code pays nothing else."""
    assert story.codes is not None
    codes, shown = story.codes, ""

    def make() -> pb.AuthorizeRequest:
        nonlocal shown
        shown = codes.code(story.now_ms())
        story.secrets.append(shown)
        return story.terminal.code(shown, BY_CODE)

    sale = await sold(story, "code", make)
    expect((sale.channel, sale.entry), ("unionpay", "payer_code"), "the payment by code")
    again = await answered(story, lambda: story.terminal.code(shown, BY_CODE))
    expect((decision(again), again.response_code), ("declined", "57"), "the code again")
    return f"{yuan(BY_CODE)} by {shown[:4]}…; the same code again is declined with 57"


async def by_merchant_qr(story: Story) -> str:
    """The till makes an order and shows its QR; the payer's app reads it and pays with the card."""
    order = await _ordered(story, BY_QR, "tea for two")
    story.order_id = order.order_id
    presented = order_pb2.PresentOrderRequest(
        merchant_id=story.merchant_id, order_id=order.order_id, form=order_pb2.CODE_FORM_EMV
    )
    scanned = (await story.till.ask(presented)).text
    offer = await story.payer.ask(order_pb2.ScanOrderRequest(scanned=scanned))
    expect((offer.amount.amount_minor, offer.merchant_name), (BY_QR, "CORNER TEA HOUSE"), "what the app shows")
    paid = await _paid_by_app(story, scanned)
    late = order_pb2.PayOrderRequest(scanned=scanned, card_id=story.card_id, idempotency_key=uuid4().hex)
    await story.payer.refused(late, "FAILED_PRECONDITION")
    expect((await _order(story, order)).state, order_pb2.ORDER_STATE_PAID, "the order")
    keep(story, "qr", Sale("qr", "unionpay", "merchant_qr", paid.authorization_id, BY_QR))
    return f"{yuan(BY_QR)} for an order; who comes second is refused"


async def by_tap(story: Story) -> str:
    sale = await sold(story, "tap", lambda: story.terminal.tap(story.card, BY_TAP, story.card.pin))
    expect((sale.channel, sale.entry), ("unionpay", "nfc"), "the payment by tap")
    return f"{yuan(BY_TAP)} with EMV data and PIN"


async def by_bluetooth(story: Story) -> str:
    """The terminal has a certificate of the switch; the phone seals a payment code to the HSM."""
    assert story.codes is not None
    codes = story.codes
    keys = await story.payer.ask(wallet_pb2.GetKeysRequest())
    phone_keys: Any = PhoneKeys(
        load_pem_public_key(keys.handover_signing.encode()),  # type: ignore[arg-type]
        load_pem_public_key(keys.handover_envelope.encode()),  # type: ignore[arg-type]
    )
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    signature = key.sign(request_text(story.merchant_id, story.terminal_id, point), ec.ECDSA(SHA256()))
    asked = handover_pb2.CertifyTerminalRequest(
        merchant_id=story.merchant_id, terminal_id=story.terminal_id, public_key=point, signature=signature
    )
    certificate = (await story.owner.ask(asked)).certificate
    sessions = []

    def make() -> pb.AuthorizeRequest:
        code = codes.code(story.now_ms()).encode()
        phone = SimulatedPhone(Phone(phone_keys), HandoverKind.PAYER_CODE, code)
        terminal, link = HandoverTerminal(key, certificate, Money(BY_BLUETOOTH, "CNY")), ByteLink()
        request = story.terminal.code("", BY_BLUETOOTH)
        request.bluetooth.record = exchange(phone, terminal, link, story.now_ms())
        if any(code in each for each in link.sent):
            raise StoryWrong("the code went over the air in the clear")
        sessions.append((phone, terminal, link))
        return request

    sale = await sold(story, "bluetooth", make)
    expect((sale.channel, sale.entry), ("unionpay", "bluetooth"), "the payment by Bluetooth")
    phone, terminal, link = sessions[-1]
    tell(phone, terminal, link, "00", story.now_ms())
    expect(phone.phone.result, "00", "what the phone was told")
    return f"{yuan(BY_BLUETOOTH)}, the code sealed from phone to HSM"


async def by_wallets(story: Story) -> str:
    """One order each; the payer's own app scans the wallet's code."""
    await asyncio.gather(_scanned(story, "alipay", BY_ALIPAY), _scanned(story, "wechat", BY_WECHAT))
    return f"{yuan(BY_ALIPAY)} by Alipay, {yuan(BY_WECHAT)} by WeChat Pay, scanned"


async def _scanned(story: Story, scheme: str, amount_minor: int) -> None:
    order, text = await _wallet_code(story, amount_minor, scheme)
    await story.environment.scan(scheme, **{_SCANNED_AS[scheme]: text})
    paid = await until(
        partial(_order, story, order),
        lambda each: each.state == order_pb2.ORDER_STATE_PAID,
        f"the payment by {scheme}",
    )
    expect(paid.paid_scheme, scheme, "who paid the order")
    keep(story, scheme, Sale(scheme, scheme, "merchant_qr", paid.authorization_id, amount_minor))


# --- asking ---------------------------------------------------------------------------------------------------------


async def _paid_by_app(story: Story, scanned: str) -> order_pb2.PayOrderResponse:
    """Paid anew where the machine was too slow for the channel's answer; that one is given back by itself."""
    for _ in range(_TRIES):
        request = order_pb2.PayOrderRequest(scanned=scanned, card_id=story.card_id, idempotency_key=uuid4().hex)
        paid: order_pb2.PayOrderResponse = await until(
            partial(story.payer.ask, request),
            lambda each: each.outcome != order_pb2.PAYMENT_OUTCOME_UNDER_WAY,
            "the order's payment",
        )
        if paid.outcome == order_pb2.PAYMENT_OUTCOME_PAID:
            return paid
        story.more_were_asked = True
    raise StoryWrong(f"the order was not paid: {paid}")


async def _wallet_code(story: Story, amount_minor: int, scheme: str) -> tuple[order_pb2.Order, str]:
    """Of another order where the machine was too slow for the wallet's answer."""
    for _ in range(_TRIES):
        order = await _ordered(story, amount_minor, f"tea by {scheme}")
        code = order_pb2.GetChannelCodeRequest(merchant_id=story.merchant_id, order_id=order.order_id, scheme=scheme)
        try:
            return order, (await story.till.ask(code)).text
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE):
                raise
            story.more_were_asked = True
    raise StoryWrong(f"{scheme} gave no code")


async def _ordered(story: Story, amount_minor: int, subject: str) -> order_pb2.Order:
    request = order_pb2.CreateOrderRequest(
        merchant_id=story.merchant_id,
        idempotency_key=uuid4().hex,
        amount=common_pb2.Money(amount_minor=amount_minor, currency="CNY"),
        subject=subject,
        store_id=story.store_id,
        terminal_id=story.terminal_id,
    )
    order: order_pb2.Order = (await story.till.ask(request)).order
    return order


async def _order(story: Story, order: order_pb2.Order) -> order_pb2.Order:
    request = order_pb2.GetOrderRequest(merchant_id=story.merchant_id, order_id=order.order_id)
    found: order_pb2.Order = (await story.till.ask(request)).order
    return found
