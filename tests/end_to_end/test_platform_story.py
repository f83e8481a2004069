"""The platform's story, end to end: the same that `make demo` tells, and its money computed once more by hand."""

from fractions import Fraction

import pytest
from leaks import Canaries, seen_in

from switch.demo.environment import Environment
from switch.demo.story.chapters import CHAPTERS
from switch.demo.story.judging import ABOVE, HONEST
from switch.demo.story.onboarding import ACCOUNT_NUMBER
from switch.demo.story.paying import BY_ALIPAY, BY_BLUETOOTH, BY_CODE, BY_QR, BY_TAP, BY_WECHAT
from switch.demo.story.reckoning import fee_kept, fee_of, net_of
from switch.demo.story.refunding import FIRST, SECOND
from switch.demo.story.stage import Sale, Story

AMOUNTS = {
    "code": BY_CODE, "qr": BY_QR, "tap": BY_TAP, "bluetooth": BY_BLUETOOTH, "alipay": BY_ALIPAY, "wechat": BY_WECHAT,
    "honest": HONEST, "above": ABOVE,
}  # fmt: skip


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.usefixtures("clear_of_midnight")
@pytest.mark.timeout(180)
async def test_the_whole_story(environment: Environment) -> None:
    async with environment.client() as client:
        await client.ready.wait()
        story = Story(environment, client)
        try:
            for _, chapter in CHAPTERS:
                assert await chapter(story)
        finally:
            await story.close()
    canaries, secrets = Canaries(), story.every_secret()
    for number, secret in enumerate(secrets):
        canaries.text(f"secret {number}", secret)
    canaries.text("the merchant's account number", ACCOUNT_NUMBER)
    assert len(set(secrets)) >= 30  # passwords, tokens, recovery codes, credentials, a card, payment codes
    assert await seen_in(environment, canaries) == {}
    assert {name: sale.amount_minor for name, sale in story.sales.items()} == AMOUNTS
    assert {name: sale.refunds for name, sale in story.sales.items() if sale.refunds} == {"qr": [FIRST, SECOND]}
    # The code that was shown again, and what was above the rule's ceiling. A slow machine may add others.
    assert story.asked.count("declined") >= 2
    assert story.live_rules == 0
    # Sold 915.84, given back 140.01. Fees: 0.68 + 1.41 + 0.35 + 0.10 + 0.12 + 1.65 by UnionPay at 0.55 %, 0.50 (the
    # least) by Alipay, 0.20 by WeChat Pay at 0.60 % and a fen; 0.77 of the 1.41 went back with 140.01 of 256.00.
    payout = story.payout
    assert payout is not None
    assert (payout.net_minor, payout.reserve_minor, payout.payout_minor) == (77_159, 3_858, 73_301)
    assert payout.net_minor == 91_584 - 14_001 - (68 + 141 - 77 + 35 + 10 + 12 + 165 + 50 + 20)


def test_the_storys_arithmetic() -> None:
    """Of what the story's amounts do not reach: the cap, another channel, a refund of everything."""
    assert (fee_of("unionpay", 1_000_000), fee_of("issuer:demo", 500), fee_of("alipay", 100)) == (5_000, 2, 50)
    sale = Sale("s", "unionpay", "nfc", "", 12_345, [345, 12_000])
    assert (fee_kept(sale), net_of([sale])) == (0, 0)
    sale.refunds = [1_000]
    kept = Fraction(68) - Fraction(68 * 1_000, 12_345)
    assert abs(fee_kept(sale) - kept) <= Fraction(1, 2)
