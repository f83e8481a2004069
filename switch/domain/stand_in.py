"""Stand-in: what may be approved in an issuer's place while it cannot be reached, decided from facts. Pure."""

import hashlib
from dataclasses import dataclass

from switch.domain.money import Money
from switch.domain.states import EntryMode


@dataclass(frozen=True, slots=True)
class StandInLimits:
    """What one issuer leaves to the switch. Amounts are minor units of `currency`.

    largest_minor: of one approval. card_minor, card_count: of one card in any `window_s`; total_minor, total_count: of
    all cards together. pan_prefixes, entries: which cards, and how presented.
    """

    currency: str
    largest_minor: int
    card_minor: int
    card_count: int
    total_minor: int
    total_count: int
    window_s: int
    pan_prefixes: tuple[str, ...]
    entries: frozenset[EntryMode]

    def refusal(self, pan: str, entry: EntryMode, money: Money, has_pin: bool) -> str:
        """Why this payment is never stood in for, or "". A PIN can be verified by the issuer alone."""
        if has_pin:
            return "a PIN is to be verified"
        if entry not in self.entries:
            return "entry mode"
        if not pan.startswith(self.pan_prefixes):
            return "card range"
        if money.currency != self.currency:
            return "currency"
        return "" if 0 < money.amount_minor <= self.largest_minor else "amount"


@dataclass(frozen=True, slots=True)
class Used:
    """What has been approved in the window."""

    amount_minor: int = 0
    count: int = 0

    def and_one(self, amount_minor: int) -> "Used":
        return Used(self.amount_minor + amount_minor, self.count + 1)


def over_limit(limits: StandInLimits, amount_minor: int, card: Used, total: Used) -> str:
    """Which limit one more approval would break, or "".

    >>> limits = StandInLimits("CNY", 100, 150, 5, 1_000, 5, 3600, ("62",), frozenset({EntryMode.NFC}))
    >>> over_limit(limits, 50, Used(100, 1), Used(100, 1)), over_limit(limits, 51, Used(100, 1), Used(100, 1))
    ('', 'card amount')
    """
    card, total = card.and_one(amount_minor), total.and_one(amount_minor)
    if card.count > limits.card_count:
        return "card count"
    if card.amount_minor > limits.card_minor:
        return "card amount"
    if total.count > limits.total_count:
        return "total count"
    return "total amount" if total.amount_minor > limits.total_minor else ""


def approval_code(message_id: str) -> str:
    """DE38 of a stand-in approval: computed from the message's id, so that a repeat has the same.

    >>> approval_code("a-1"), approval_code("a-1") == approval_code("a-2")
    ('S59738', False)
    """
    return f"S{int.from_bytes(hashlib.sha256(message_id.encode()).digest()[:4], 'big') % 100_000:05d}"
