"""Authorization requests from plain values."""

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2

SALE = pb.AUTHORIZATION_KIND_SALE
PRE_AUTHORIZATION = pb.AUTHORIZATION_KIND_PRE_AUTHORIZATION


def nfc_payment(
    merchant_id: str, terminal_id: str, money: tuple[int, str], emv: bytes, pin_block: bytes = b""
) -> pb.AuthorizeRequest:
    """A tap: `emv` is the terminal's BER-TLV. money: (minor units, ISO 4217 code). pin_block: format 0.

    >>> nfc_payment("m1", "t1", (1250, "CNY"), b"\\x9f\\x36\\x02\\x00\\x01").amount.amount_minor
    1250
    """
    request = _payment(merchant_id, terminal_id, money)
    request.nfc.emv = emv
    if pin_block:
        request.pin.CopyFrom(common_pb2.PinBlock(block=pin_block, format=0))
    return request


def code_payment(merchant_id: str, terminal_id: str, money: tuple[int, str], code: str) -> pb.AuthorizeRequest:
    """What the scanner read from the payer's screen: digits, or the base64 of an EMVCo payer-presented code."""
    request = _payment(merchant_id, terminal_id, money)
    request.payer_code.code = code
    return request


def card_payment(
    merchant_id: str, terminal_id: str, money: tuple[int, str], pan: str, expiry_yymm: str
) -> pb.AuthorizeRequest:
    """A card number or token without chip data."""
    request = _payment(merchant_id, terminal_id, money)
    request.keyed.CopyFrom(pb.KeyedCard(pan=pan, expiry=expiry_yymm))
    return request


def _payment(merchant_id: str, terminal_id: str, money: tuple[int, str]) -> pb.AuthorizeRequest:
    amount_minor, currency = money
    amount = common_pb2.Money(amount_minor=amount_minor, currency=currency)
    return pb.AuthorizeRequest(merchant_id=merchant_id, terminal_id=terminal_id, amount=amount, kind=SALE)
