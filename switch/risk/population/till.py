"""Makes payments: what the switch sees follows from how they are presented."""

from collections.abc import Generator
from random import Random
from typing import Final

from switch.domain.payer import Place
from switch.domain.risk import Subject
from switch.risk.population.events import Answer, Chip, Event, Payment, Truth
from switch.risk.population.world import Card, Device, Merchant

Script = Generator[Event, Answer | None, None]
"""Someone's life, in rising times. What it yields, happens; a payment is answered, the rest with None."""

NO_PIN_LIMIT_MINOR: Final = 100_000
_ENTRY: Final = {
    "tap": "nfc", "chip": "chip", "phone": "nfc", "payer_code": "payer_code", "wallet": "payer_code",
    "merchant_qr": "merchant_qr", "bluetooth": "bluetooth", "stripe": "stripe", "keyed": "keyed",
}  # fmt: skip
_AT_TERMINAL: Final = frozenset({"tap", "chip", "phone", "payer_code", "wallet", "bluetooth", "stripe", "keyed"})
_ASKS: Final = frozenset({"tap", "phone", "bluetooth", "stripe"})  # for a PIN, above the limit
_WITH_CHIP: Final = frozenset({"tap", "chip", "phone", "bluetooth"})
_BY_DEVICE: Final = frozenset({"phone", "payer_code", "merchant_qr", "bluetooth", "keyed"})
_SAYS_POSTURE: Final = frozenset({"phone", "merchant_qr", "bluetooth", "payer_code"})
_BY_NETWORK: Final = frozenset({"merchant_qr", "keyed"})


class Till:
    """Of one life; its name is in the ids."""

    def __init__(self, name: str, random: Random) -> None:
        self.random = random
        self._name = name
        self._made = 0

    def purchase(self) -> str:
        self._made += 1
        return f"{self._name}/{self._made}"

    def pay(
        self, way: str, time_ms: int, amount_minor: int, merchant: Merchant, truth: Truth, *, card: Card | None,
        user: str = "", device: Device | None = None, ip: str = "", place: Place | None = None, proved: bool = False,
        pin: bool = False,
    ) -> Payment:  # fmt: skip
        """way: of `world.ENTRIES`, or "keyed". card: None of another wallet's code. place: of who pays by phone, if he
        is not where the merchant is. pin: given without being asked for.
        """
        self._made += 1
        return Payment(
            id=f"{self._name}:{self._made}",
            time_ms=time_ms,
            amount_minor=max(1, amount_minor),
            entry=_ENTRY[way],
            operation="sale",
            merchant_category=merchant.trade.category,
            merchant_country=merchant.country,
            acquirer=merchant.acquirer,
            card_range=card.range if card is not None else "",
            code_scheme=self.random.choice(("alipay", "wechat")) if way == "wallet" else "",
            pin_given=pin or way == "chip" or (way in _ASKS and (proved or amount_minor > NO_PIN_LIMIT_MINOR)),
            proved=proved,
            subjects=self._subjects(way, merchant, card, user, device, ip),
            place=_place(way, merchant, place),
            posture=device.posture if device is not None and way in _SAYS_POSTURE else None,
            chip=_chip(way, card, truth) if way in _WITH_CHIP and card is not None else None,
            truth=truth,
        )

    def _subjects(
        self, way: str, merchant: Merchant, card: Card | None, user: str, device: Device | None, ip: str
    ) -> dict[Subject, str]:
        subjects = {Subject.MERCHANT: merchant.key}
        if card is not None:
            subjects[Subject.CARD] = card.key
        if way in _AT_TERMINAL:
            subjects[Subject.TERMINAL] = self.random.choice(merchant.terminals)
        if way in _BY_DEVICE:
            subjects |= {Subject.USER: user} if user else {}
            subjects |= {Subject.DEVICE: device.key} if device is not None else {}
        if way in _BY_NETWORK and ip:
            subjects[Subject.IP] = ip
        return subjects


def _place(way: str, merchant: Merchant, place: Place | None) -> Place | None:
    if way == "merchant_qr" or merchant.place is None:
        return place
    # Terminals of some merchants do not say where they stand.
    return None if merchant.key[0] == "0" else merchant.place


def _chip(way: str, card: Card, truth: Truth) -> Chip:
    card.counter += 1
    new, card.used = not card.used, True
    return Chip(
        counter=card.counter,
        new_card=new,
        cardholder_not_verified=truth.issuer_code == "55",
        pin_tries_exceeded=truth.issuer_code == "75",
        # Half of the cards check their PIN themselves.
        pin_verified=way == "chip" and card.key < "8" and truth.issuer_code not in ("55", "75"),
    )
