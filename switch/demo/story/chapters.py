"""The story's chapters, in their order: each says what was shown, or raises StoryWrong."""

from collections.abc import Awaitable, Callable

from switch.demo.story import (
    billing,
    casework,
    disputing,
    figures,
    judging,
    onboarding,
    payer,
    paying,
    refunding,
    settling,
    webhooks,
)
from switch.demo.story.stage import Story

Chapter = Callable[[Story], Awaitable[str]]

CHAPTERS: tuple[tuple[str, Chapter], ...] = (
    ("a merchant applies, two people approve", onboarding.applies),
    ("its contract, by two people", onboarding.agrees),
    ("a store, a terminal, people, a credential", onboarding.opens),
    ("webhooks are asked for", webhooks.are_asked_for),
    ("a payer registers", payer.registers),
    ("adds a card", payer.adds_a_card),
    ("enrols payment codes", payer.enrols_codes),
    ("pays by dynamic code", paying.by_code),
    ("pays by the merchant's QR", paying.by_merchant_qr),
    ("pays by NFC", paying.by_tap),
    ("pays by a sealed Bluetooth handover", paying.by_bluetooth),
    ("pays by the wallets' own codes", paying.by_wallets),
    ("a rule set goes live, by two people", judging.goes_live),
    ("what it is for is declined, and explained", judging.declines),
    ("a stolen card is tested, then stopped", judging.stops_a_stolen_card),
    ("the rule set is rolled back", judging.is_rolled_back),
    ("its case is taken, acted on and closed", casework.is_closed),
    ("a refund in two parts", refunding.in_two_parts),
    ("the payments, listed and exported", refunding.is_searched),
    ("the day is closed", settling.closes_the_day),
    ("the channels' bills agree", billing.agree),
    ("three planted breaks are found", billing.planted),
    ("the merchant is paid out, by two people", settling.pays_out),
    ("a chargeback is answered and lost", disputing.is_lost),
    ("the ledger holds", figures.ledger_holds),
    ("analytics agree", figures.analytics_agree),
    ("every webhook came", webhooks.all_came),
)
