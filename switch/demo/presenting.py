"""The payer's side of the demo: a tap, a code, a QR, a phone over Bluetooth, as an acquirer's terminal sends them."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from benchmarks.software_card import SoftwareCard, next_counter
from benchmarks.terminal import build_tap, pin_block_format0
from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2
from switch.demo.secrets import issuer_card_keys, zone_pin_key
from switch.entry.bluetooth import HandoverKind, build_handover
from switch.entry.payer_code import build_cpm

# The demo issuer's cards.
ISSUER_PREFIX = "6259"


@dataclass(frozen=True, slots=True)
class Card:
    """A test card."""

    pan: str
    expiry_yymm: str
    pin: str


class Terminal:
    """Builds requests. Amounts are fen."""

    def __init__(self, state_dir: Path, merchant_id: str = "104110053110001", terminal_id: str = "00000001") -> None:
        self._zone_pin_key = zone_pin_key(state_dir)
        self._issuer_keys = issuer_card_keys(state_dir)
        self._merchant_id = merchant_id
        self._terminal_id = terminal_id

    def _request(self, amount_minor: int, currency: str = "CNY") -> pb.AuthorizeRequest:
        return pb.AuthorizeRequest(
            merchant_id=self._merchant_id,
            terminal_id=self._terminal_id,
            amount=common_pb2.Money(amount_minor=amount_minor, currency=currency),
            merchant_name="Corner Shop",
            merchant_city="Shanghai",
        )

    def tap(self, card: Card, amount_minor: int, pin: str | None = None) -> pb.AuthorizeRequest:
        """An NFC tap, with an online PIN if one is given."""
        request = self._request(amount_minor)
        request.nfc.emv = self._read(card, amount_minor)
        return self.with_pin(request, card, pin)

    def _read(self, card: Card, amount_minor: int) -> bytes:
        """The card's EMV data; one of the demo issuer makes a cryptogram that its issuer can verify."""
        chip = None
        if card.pan.startswith(ISSUER_PREFIX):
            chip = SoftwareCard(self._issuer_keys, card.pan, card.expiry_yymm, card.pin or "0000")
        return build_tap(card.pan, card.expiry_yymm, amount_minor, "CNY", atc=next_counter(), card=chip)

    def bluetooth(self, card: Card, amount_minor: int, pin: str | None = None) -> pb.AuthorizeRequest:
        """The same tap, handed over by a phone."""
        request = self._request(amount_minor)
        request.bluetooth.record = build_handover(HandoverKind.EMV, self._read(card, amount_minor))
        return self.with_pin(request, card, pin)

    def code(self, code: str, amount_minor: int) -> pb.AuthorizeRequest:
        """What a scanner read."""
        request = self._request(amount_minor)
        request.payer_code.code = code
        return request

    def payer_qr(self, card: Card, amount_minor: int) -> pb.AuthorizeRequest:
        """An EMVCo payer-presented QR of the card."""
        cryptogram = {
            0x9F26: secrets.token_bytes(8),
            0x9F27: b"\x80",
            0x9F10: bytes.fromhex("07010103A0A802010A"),
            0x9F36: secrets.token_bytes(2),
            0x82: bytes.fromhex("7C00"),
            0x9F37: secrets.token_bytes(4),
        }
        return self.code(build_cpm(card.pan, card.expiry_yymm, cryptogram), amount_minor)

    def keyed(self, card: Card, amount_minor: int, currency: str = "CNY") -> pb.AuthorizeRequest:
        request = self._request(amount_minor, currency)
        request.keyed.pan, request.keyed.expiry = card.pan, card.expiry_yymm
        return request

    def with_pin(self, request: pb.AuthorizeRequest, card: Card, pin: str | None) -> pb.AuthorizeRequest:
        if pin is not None:
            request.pin.block = pin_block_format0(pin, card.pan, self._zone_pin_key)
            request.pin.format = 0
        return request


def fresh_code(prefix: str) -> str:
    """A wallet's payment code, never used before: 18 digits. The last digits choose no special payer."""
    return prefix + f"{secrets.randbelow(10**13):013d}"[: 18 - len(prefix) - 3] + "777"
