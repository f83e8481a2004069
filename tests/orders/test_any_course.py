"""Whatever payers and cashiers do at once: one payment at most stands, and everything else went back."""

import asyncio
import random

import pytest

from switch.domain.order import PAYABLE, OrderState, PaymentState
from switch.domain.refusals import Refusal
from switch.payments.errors import Unavailable
from switch.ports import Approved, Declined, Unknown
from switch.ports.channels import Phase

ENDED = frozenset({PaymentState.WON, PaymentState.FAILED, PaymentState.UNDONE})


class Course:
    """What may happen to one order, each drawn by `draw`."""

    def __init__(self, scene, order, draw):
        self.scene, self.order, self.draw = scene, order, draw

    async def card(self):
        answers = [Approved(), Approved(), Declined("51"), Unknown(Phase.SENT, "silent")]
        self.scene.wallet.sale = self.draw.choice(answers)
        await self.scene.desk.pay(self.order, self.scene.paying())

    async def acquirer(self):
        answers = [Approved(), Approved(), Declined("51"), Unknown(Phase.SENT, "silent")]
        self.scene.wallet.sale = self.draw.choice(answers)
        await self.scene.ask(self.scene.scanned(self.order))

    async def code(self):
        await self.scene.desk.channel_code(self.order, "alipay")

    async def scan(self):
        payment = await self.scene.desk.channel_code(self.order, "alipay")
        await asyncio.sleep(0)
        self.scene.wallet.scan(payment, self.order.money.amount_minor)

    async def close(self):
        await self.scene.desk.close(self.scene.merchant_id, self.order.id, "user/ann")

    async def expire(self):
        self.scene.clock.ahead_ms += 30_000
        await self.scene.pursuit.expire()

    async def work(self):
        await self.scene.work(1)

    async def lost(self):
        """The answer of one authorization or undoing does not arrive, though it may have happened."""
        authorize = self.scene.payments.authorize

        async def once(request, budget_s):
            self.scene.payments.authorize = authorize
            if self.draw.random() < 0.5:
                await authorize(request, budget_s)
            raise Unavailable("lost")

        self.scene.payments.authorize = once

    async def happen(self):
        often = ("card", "acquirer", "scan", "work")
        names = (*often, *often, "code", "close", "expire", "lost")
        for _ in range(self.draw.randint(2, 4)):
            together = [getattr(self, self.draw.choice(names))() for _ in range(self.draw.randint(1, 3))]
            for result in await asyncio.gather(*together, return_exceptions=True):
                assert result is None or isinstance(result, Refusal), result


@pytest.mark.parametrize("seed", range(16))
async def test_one_payment_at_most_stands(scene, seed):
    draw = random.Random(seed)
    authorize = scene.payments.authorize
    order = await scene.create(lives_s=60)
    await Course(scene, order, draw).happen()
    scene.payments.authorize = authorize
    scene.clock.ahead_ms += 120_000
    for _ in range(6):
        await scene.work(2)
        await scene.pursuit.expire()
    order = await scene.now(order)
    rows = await scene.database.fetch("SELECT authorization_id, state FROM order_payments")
    states = {row["authorization_id"]: PaymentState(row["state"]) for row in rows}
    assert order.state not in PAYABLE
    assert set(states.values()) <= ENDED
    standing = {identity: held for identity, held in scene.wallet.held.items() if held}
    won = [identity for identity, state in states.items() if state is PaymentState.WON]
    if order.state is OrderState.PAID:
        assert won == [order.paid_by]
        assert standing == {order.paid_by: 1_250}
    else:
        assert (won, standing) == ([], {})
