"""A refund in two parts: within the manager's limit at once, above it once another person has approved it."""

import csv
import io
from collections import Counter
from typing import Any
from uuid import uuid4

from payswitch.v1 import common_pb2, order_pb2, refund_pb2, transaction_pb2
from switch.demo.story.callers import expect, until
from switch.demo.story.stage import Sale, Story, yuan

FIRST, SECOND = 4_001, 10_000
_LIMIT = 5_000


async def in_two_parts(story: Story) -> str:
    sale, manager, owner = story.sales["qr"], story.manager, story.owner
    limit = refund_pb2.RefundLimit(
        holder="manager", currency="CNY", each_minor=_LIMIT, day_minor=4 * _LIMIT, step_up_minor=_LIMIT
    )
    await owner.step_up()
    await owner.ask(refund_pb2.SetRefundLimitRequest(merchant_id=story.merchant_id, limit=limit))
    first = (await manager.ask(_asking(story, FIRST))).refund
    await _done(story, first.refund_id)
    sale.refunds.append(FIRST)
    await manager.step_up()
    second = (await manager.ask(_asking(story, SECOND))).refund
    expect(second.state, refund_pb2.MERCHANT_REFUND_STATE_WAITING, "the second part")
    approval = refund_pb2.ApproveRefundRequest(merchant_id=story.merchant_id, refund_id=second.refund_id)
    await manager.refused(approval, "PERMISSION_DENIED")
    await owner.ask(approval)
    await _done(story, second.refund_id)
    sale.refunds.append(SECOND)
    await owner.refused(_asking(story, sale.amount_minor - FIRST - SECOND + 1), "FAILED_PRECONDITION")
    await _order_shows_it(story)
    return f"{yuan(FIRST)} at once, {yuan(SECOND)} with another person's approval; no fen more than is left"


async def is_searched(story: Story) -> str:
    """Every payment is in the merchant's list, by any field, and in its file."""
    query = transaction_pb2.QueryTransactionsRequest(merchant_id=story.merchant_id, page_size=500)
    wanted = {each.authorization_id: _shown(each) for each in story.sales.values()}

    def complete(found: transaction_pb2.QueryTransactionsResponse) -> bool:
        listed = {
            each.authorization_id: (each.approved_minor, each.refunded_minor, each.channel)
            for each in found.transactions
        }
        return story.has_asked(Counter(map(_answered, found.transactions))) and listed.items() >= wanted.items()

    listed = len((await until(lambda: story.manager.ask(query), complete, "the merchant's list")).transactions)
    filter_ = transaction_pb2.TransactionFilter(
        channel="unionpay",
        entry=common_pb2.ENTRY_MODE_NFC,
        card_last_four=story.card.pan[-4:],
        state=transaction_pb2.TRANSACTION_STATE_APPROVED,
    )
    query.filter.CopyFrom(filter_)
    [tap] = (await story.manager.ask(query)).transactions
    expect(tap.authorization_id, story.sales["tap"].authorization_id, "found by entry and card")
    export = transaction_pb2.ExportTransactionsRequest(
        merchant_id=story.merchant_id, format=transaction_pb2.EXPORT_FORMAT_CSV
    )
    *parts, last = await story.owner.read(export)
    rows = list(csv.reader(io.StringIO(b"".join(each.data for each in parts).decode())))
    expect((len(rows) - 1, last.end.rows), (listed, listed), "rows of the file")
    return f"{listed} payments listed, searched and exported"


def _answered(transaction: transaction_pb2.Transaction) -> str:
    state = transaction_pb2.TransactionState.Name(transaction.state).removeprefix("TRANSACTION_STATE_").lower()
    return state if state in ("approved", "declined") else "unanswered"


def _shown(sale: Sale) -> tuple[int, int, str]:
    return sale.amount_minor, sum(sale.refunds), sale.channel


def _asking(story: Story, amount_minor: int) -> refund_pb2.RequestRefundRequest:
    return refund_pb2.RequestRefundRequest(
        merchant_id=story.merchant_id,
        authorization_id=story.sales["qr"].authorization_id,
        amount=common_pb2.Money(amount_minor=amount_minor, currency="CNY"),
        reason="the tea was cold",
        idempotency_key=uuid4().hex,
    )


async def _done(story: Story, refund_id: str) -> None:
    request = refund_pb2.GetRefundRequest(merchant_id=story.merchant_id, refund_id=refund_id)
    on_its_way = (refund_pb2.MERCHANT_REFUND_STATE_SENDING, refund_pb2.MERCHANT_REFUND_STATE_PENDING)
    ended: Any = await until(
        lambda: story.manager.ask(request), lambda each: each.refund.state not in on_its_way, "the refund's end"
    )
    expect(ended.refund.state, refund_pb2.MERCHANT_REFUND_STATE_DONE, f"the refund ({ended.refund.response_reason})")


async def _order_shows_it(story: Story) -> None:
    request = order_pb2.GetOrderRequest(merchant_id=story.merchant_id, order_id=story.order_id)
    shown: Any = await until(
        lambda: story.till.ask(request),
        lambda each: each.order.refunded_minor == FIRST + SECOND,
        "the refunds on the order",
    )
    expect(shown.order.state, order_pb2.ORDER_STATE_PARTLY_REFUNDED, "the order")
