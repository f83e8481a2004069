"""What is left at the end agrees: the ledger with itself and the journal, analytics with the story's own count."""

import csv
import io
from collections import Counter

from payswitch.v1 import analytics_pb2, common_pb2, settlement_pb2
from switch.demo.story.callers import expect, until
from switch.demo.story.reckoning import fee_kept, net_of
from switch.demo.story.stage import Story, yuan
from switch.domain.business_day import later


async def ledger_holds(story: Story) -> str:
    """Checked against itself and the journal; the merchant's statement adds up line by line."""
    checked = await story.gus.ask(settlement_pb2.CheckLedgerRequest())
    expect(list(checked.faults), [], "faults of the ledger")
    day = story.day.isoformat()
    request = settlement_pb2.ExportStatementRequest(
        merchant_id=story.merchant_id, currency="CNY", from_day=day, until_day=later(day, 80)
    )
    text = b"".join(each.content for each in await story.owner.read(request)).decode()
    opening, *lines, closing = csv.DictReader(io.StringIO(text, newline=""))
    sales = story.sales.values()
    paid = sum(1 + len(each.refunds) for each in sales)
    expect(len([each for each in lines if each["kind"] in ("PAYMENT", "REFUND")]), paid, "payments and refunds")
    fees = sum(round(float(each["fee"]) * 100) for each in lines)
    expect(fees, sum(fee_kept(each) for each in sales), "the statement's fees")
    assert story.payout is not None
    left = net_of(sales) - story.payout.net_minor - sum(each.charged_back_minor for each in sales)
    balances = (float(opening["balance"]) * 100, round(float(closing["balance"]) * 100))
    expect(balances, (0, left), "the statement's balances")
    return f"no fault; a statement of {len(lines)} lines, fees {yuan(fees)}"


async def analytics_agree(story: Story) -> str:
    days = analytics_pb2.DayRange(first_day=story.day.isoformat(), last_day=story.today().isoformat())
    request = analytics_pb2.GetSummaryRequest(merchant_id=story.merchant_id, days=days)
    sales = list(story.sales.values())
    refunds = [each for sale in sales for each in sale.refunds]

    def complete(found: analytics_pb2.GetSummaryResponse) -> bool:
        told = [story.has_asked(_answers(each.measures)) for each in found.summaries]
        return told == [True] and found.summaries[0].measures.refunds_minor == sum(refunds)

    [summary] = (await until(lambda: story.owner.ask(request), complete, "the day in figures")).summaries
    counts = summary.measures
    money = (counts.sales_count, counts.sales_minor, counts.refunds_count, counts.refunds_minor)
    sold = sum(each.amount_minor for each in sales)
    expect(money, (len(sales), sold, len(refunds), sum(refunds)), "sales and refunds")
    expect((summary.payers.count, summary.payers.new_count), (1, 1), "payers")
    by_entry = await _sales_by(story, days, analytics_pb2.SALES_GROUPING_ENTRY_MODE)
    expect(by_entry, dict(Counter(each.entry for each in sales)), "sales by entry mode")
    by_channel = await _sales_by(story, days, analytics_pb2.SALES_GROUPING_CHANNEL)
    expect(by_channel, dict(Counter(each.channel for each in sales)), "sales by channel")
    expect(await _sales_by(story, days, analytics_pb2.SALES_GROUPING_STORE), {story.store_id: len(sales)}, "by store")
    return f"{len(sales)} sales, {yuan(sold)}, {counts.declined_count} declined, as the story counted"


async def _sales_by(story: Story, days: analytics_pb2.DayRange, grouping: int) -> dict[str, int]:
    """Those with sales."""
    request = analytics_pb2.GetSalesRequest(
        merchant_id=story.merchant_id,
        days=days,
        currency="CNY",
        grouping=grouping,  # type: ignore[arg-type]
    )
    groups = (await story.owner.ask(request)).groups
    named = {each.key or _entry(each.entry_mode): each.measures.sales_count for each in groups}
    return {name: count for name, count in named.items() if count}


def _entry(mode: int) -> str:
    return common_pb2.EntryMode.Name(mode).removeprefix("ENTRY_MODE_").lower()


def _answers(measures: analytics_pb2.Measures) -> dict[str, int]:
    return {
        "approved": measures.approved_count,
        "declined": measures.declined_count,
        "unanswered": measures.unanswered_count,
    }
