"""The story's chapters, in their order: each says what was shown, or raises StoryWrong."""

from collections.abc import Awaitable, Callable

from switch.demo.story import onboarding, paying, paying_people
from switch.demo.story.stage import Story

Chapter = Callable[[Story], Awaitable[str]]

CHAPTERS: tuple[tuple[str, Chapter], ...] = (
    ("a merchant applies, two people approve", onboarding.applies),
    ("its contract, by two people", onboarding.agrees),
    ("a store, a terminal, people, a credential", onboarding.opens),
    ("a payer registers", paying_people.registers),
    ("adds a card", paying_people.adds_a_card),
    ("enrols payment codes", paying_people.enrols_codes),
    ("pays by dynamic code", paying.by_code),
    ("pays by the merchant's QR", paying.by_merchant_qr),
    ("pays by NFC", paying.by_tap),
    ("pays by a sealed Bluetooth handover", paying.by_bluetooth),
    ("pays by the wallets' own codes", paying.by_wallets),
)
