"""A merchant's QR of ours names the order that the payment is to pay; any other is a merchant's and no more."""

from uuid import UUID

import pytest

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2
from switch.api.errors import InvalidField
from switch.api.requests import authorization_request
from switch.domain.authorization import Merchant
from switch.entry.errors import EntryError
from switch.entry.merchant_qr import build_merchant_qr, parse_merchant_qr
from switch.entry.order_code import Name, Named, emv_text

ID = UUID("018bcfe5-6800-7000-8000-00000000abcd")
SHOP = Merchant("104110053110001", "Corner Shop", "Shanghai", "CN", "5411")


def request_of(payload: str, merchant_id: str = SHOP.id) -> pb.AuthorizeRequest:
    card = pb.KeyedCard(pan="6225880000001231", expiry="4912")
    return pb.AuthorizeRequest(
        merchant_id=merchant_id, terminal_id="T9", idempotency_key="k", transmission_time_ms=1,
        amount=common_pb2.Money(amount_minor=1_250, currency="CNY"), merchant_category_code="5411",
        merchant_qr=pb.MerchantQr(payload=payload, card=card),
    )  # fmt: skip


def code(named: Named = Named.ORDER, merchant: Merchant = SHOP, amount_minor: int | None = 1_250) -> str:
    return emv_text(Name(named, merchant.id, ID), merchant, "CNY", amount_minor, {"15": "1" * 31})


def test_an_orders_code_names_it() -> None:
    assert authorization_request(request_of(code()), "bank").scanned_order == ID


def test_a_shops_printed_code_and_a_strangers_name_none() -> None:
    assert authorization_request(request_of(code(Named.SHOP_CODE, amount_minor=None)), "bank").scanned_order is None
    strangers = parse_merchant_qr(code())
    strangers.account_templates["26"]["00"] = "0" * 32
    assert authorization_request(request_of(build_merchant_qr(strangers)), "bank").scanned_order is None


def test_what_is_presented_otherwise_names_none() -> None:
    request = request_of(code())
    request.keyed.CopyFrom(request.merchant_qr.card)
    assert authorization_request(request, "bank").scanned_order is None


@pytest.mark.parametrize("named", Named)
def test_another_merchants_code_is_refused(named: Named) -> None:
    with pytest.raises(EntryError, match="names another merchant"):
        authorization_request(request_of(code(named), "104110053110002"), "bank")


def test_a_code_that_we_never_write_is_refused() -> None:
    with pytest.raises(EntryError, match="id 54 is missing"):
        authorization_request(request_of(code(amount_minor=None)), "bank")
    payload = parse_merchant_qr(code())
    payload.tip = {"55": "01"}
    with pytest.raises(EntryError, match="ids 55 to 57"):
        authorization_request(request_of(build_merchant_qr(payload)), "bank")
    payload = parse_merchant_qr(code())
    payload.account_templates["26"]["01"] = "nonsense"
    with pytest.raises(EntryError, match="no order"):
        authorization_request(request_of(build_merchant_qr(payload)), "bank")


def test_an_order_is_not_held_but_paid() -> None:
    request = request_of(code())
    request.kind = pb.AUTHORIZATION_KIND_PRE_AUTHORIZATION
    with pytest.raises(InvalidField, match="paid by a sale"):
        authorization_request(request, "bank")
