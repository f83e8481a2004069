"""Orders and shop codes as QRs, as images and as what a tag carries."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import segno

from payswitch.v1 import order_pb2 as pb
from switch.api.errors import InvalidField
from switch.domain.authorization import Merchant
from switch.domain.order import Order, ShopCode
from switch.domain.refusals import NotPossible
from switch.entry.bluetooth import HandoverKind, build_handover
from switch.entry.ndef import type_2_data, type_4_file, uri_message
from switch.entry.order_code import Name, Named, address_of, emv_text

LARGEST_MODULE_PX: Final = 20
_USUAL_MODULE_PX: Final = 4
# Medium: 15 % of a worn sticker may be gone. Four modules of quiet zone (ISO/IEC 18004 6.3.8).
_LEVEL: Final = "m"
_BORDER: Final = 4


@dataclass(frozen=True, slots=True)
class CodeMaker:
    """public_url: "" for none. accounts_of: the accounts of other networks that a merchant's code also names."""

    public_url: str
    accounts_of: Callable[[str], dict[str, str]]

    def of_order(self, order: Order, form: int) -> str:
        merchant, money = order.merchant, order.money
        return self._text(name_of(order), form, merchant, money.currency, money.amount_minor)

    def of_shop(self, code: ShopCode, merchant: Merchant, form: int) -> str:
        return self._text(Name(Named.SHOP_CODE, code.merchant_id, code.id), form, merchant, code.currency, None)

    def tag(self, name: Name) -> bytes:
        """b"" without a public address."""
        return uri_message(address_of(name, self.public_url)) if self.public_url else b""

    def _text(self, name: Name, form: int, merchant: Merchant, currency: str, amount_minor: int | None) -> str:
        if form == pb.CODE_FORM_EMV:
            return emv_text(name, merchant, currency, amount_minor, self.accounts_of(merchant.id))
        if form not in (pb.CODE_FORM_UNSPECIFIED, pb.CODE_FORM_URL):
            raise InvalidField("form", "is not a known form")
        if not self.public_url:
            raise NotPossible("the switch has no public address: ask for the EMV form")
        return address_of(name, self.public_url)


def name_of(order: Order) -> Name:
    return Name(Named.ORDER, order.merchant.id, order.id)


def image_of(text: str, kind: int, module_px: int) -> tuple[bytes, str]:
    """(bytes, content type); nothing where no image is asked for. Raises InvalidField."""
    if kind == pb.IMAGE_KIND_UNSPECIFIED:
        return b"", ""
    if not 0 <= module_px <= LARGEST_MODULE_PX:
        raise InvalidField("module_px", f"must be 1 to {LARGEST_MODULE_PX}")
    out, scale = io.BytesIO(), module_px or _USUAL_MODULE_PX
    code = segno.make(text, error=_LEVEL, boost_error=False, micro=False)
    match kind:
        case pb.IMAGE_KIND_SVG:
            code.save(out, kind="svg", scale=scale, border=_BORDER)
            return out.getvalue(), "image/svg+xml"
        case pb.IMAGE_KIND_PNG:
            code.save(out, kind="png", scale=scale, border=_BORDER)
            return out.getvalue(), "image/png"
        case _:
            raise InvalidField("image", "is not a known kind")


def presented(text: str, tag: bytes, kind: int, module_px: int) -> pb.PresentOrderResponse:
    image, content_type = image_of(text, kind, module_px)
    return pb.PresentOrderResponse(
        text=text, image=image, content_type=content_type, ndef=tag, type_2_data=type_2_data(tag) if tag else b"",
        type_4_file=type_4_file(tag) if tag else b"",
        bluetooth_record=build_handover(HandoverKind.ORDER, tag) if tag else b"",
    )  # fmt: skip
