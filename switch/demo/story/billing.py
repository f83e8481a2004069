"""The channels' bills of the day, three of them wrong in one line each, held against the journal."""

import io
from dataclasses import replace
from typing import Any
from uuid import uuid4

from payswitch.v1 import reconciliation_pb2 as pb
from payswitch.v1 import transaction_pb2
from switch.billing_through import bill_through
from switch.demo.story.callers import StoryWrong, expect
from switch.demo.story.stage import Story
from switch.domain.bill import Bill, BillKind, BillLine
from switch.settlement.bill_file import write_bill

CHANNELS = ("unionpay", "alipay", "wechat")
ADDED = 4_242
CHANGED_BY = 7


async def agree(story: Story) -> str:
    """As the channels wrote them there is nothing to find of the story's payments."""
    story.bills = dict.fromkeys(CHANNELS, Bill("", story.day, ()))
    await story.environment.bills_of(story.day)
    operator = story.environment.credentials("operator", "olga")
    for channel in CHANNELS:
        bill = await bill_through(story.environment.target, operator, channel, story.day)
        story.bills[channel] = bill
        run = await _reconciled(story, channel)
        expect((run.lines, run.trouble), (len(bill.lines), ""), f"{channel}'s bill")
        story.breaks_before |= set(await _breaks(story, channel))
    ours = {each.authorization_id for each in story.sales.values()}
    for channel in CHANNELS:
        for found in (await _breaks(story, channel)).values():
            if found.authorization_id in ours:
                raise StoryWrong(f"a break where there is none: {found}")
    lines = sum(len(each.lines) for each in story.bills.values())
    return f"{lines} lines of three channels, no break of the story's payments"


async def planted(story: Story) -> str:
    """A payment left out, a payment made up, an amount changed: each is found and named."""
    made_up = await _planted_in(story)
    found: dict[str, Any] = {}
    for channel in CHANNELS:
        await _reconciled(story, channel)
        new = [each for id_, each in (await _breaks(story, channel)).items() if id_ not in story.breaks_before]
        expect(len(new), 1, f"new breaks of {channel}")
        found[channel] = new[0]
    _missing(found["unionpay"], story)
    theirs = found["alipay"]
    said = (theirs.break_class, theirs.reference, theirs.theirs.amount_minor, theirs.difference_minor)
    expect(said, (pb.BREAK_CLASS_THEIRS_ONLY, made_up, ADDED, ADDED), "the payment that was made up")
    _changed(found["wechat"], story)
    await _ended(story, found)
    return f"left out ({found['unionpay'].reference}), made up, changed by ¥0.0{CHANGED_BY}: three found"


async def _planted_in(story: Story) -> str:
    """Spoils story.bills; returns the reference of the payment that was made up."""
    tap = await _line_of(story, "tap")
    story.bills["unionpay"] = _with(story, "unionpay", [each for each in story.bills["unionpay"].lines if each != tap])
    paid = await _line_of(story, "alipay")
    made_up = replace(
        paid, reference=uuid4().hex, channel_reference="", money=replace(paid.money, amount_minor=ADDED), fee_minor=0
    )
    story.bills["alipay"] = _with(story, "alipay", [*story.bills["alipay"].lines, made_up])
    scanned = await _line_of(story, "wechat")
    wrong = replace(scanned, money=replace(scanned.money, amount_minor=scanned.money.amount_minor + CHANGED_BY))
    lines = [wrong if each == scanned else each for each in story.bills["wechat"].lines]
    story.bills["wechat"] = _with(story, "wechat", lines)
    story.spoilt = True
    return made_up.reference


def _missing(found: Any, story: Story) -> None:
    sale = story.sales["tap"]
    said = (found.break_class, found.authorization_id, found.merchant_id, found.ours.amount_minor)
    wanted = (pb.BREAK_CLASS_OURS_ONLY, sale.authorization_id, story.merchant_id, sale.amount_minor)
    expect(said, wanted, "the payment that was left out")


def _changed(found: Any, story: Story) -> None:
    sale = story.sales["wechat"]
    said = (found.break_class, found.authorization_id, found.ours.amount_minor, found.theirs.amount_minor)
    wanted = (pb.BREAK_CLASS_AMOUNT, sale.authorization_id, sale.amount_minor, sale.amount_minor + CHANGED_BY)
    expect((*said, found.difference_minor), (*wanted, CHANGED_BY), "the amount that was changed")


async def _ended(story: Story, found: dict[str, Any]) -> None:
    """What was made up is written off by two persons; the other two end with the right bills."""
    theirs = {"channel": "alipay", "id": found["alipay"].id}
    await story.fay.ask(pb.AssignBreakRequest(**theirs))
    await story.fay.ask(pb.ProposeWriteOffRequest(**theirs, reason="nobody knows it"))
    approval = pb.ApproveWriteOffRequest(**theirs, difference_minor=ADDED)
    await story.fay.refused(approval, "PERMISSION_DENIED")
    written_off = (await story.gus.ask(approval)).found
    expect(written_off.state, pb.BREAK_STATE_WRITTEN_OFF, "the payment that was made up")
    for channel in ("unionpay", "wechat"):
        request = pb.RunReconciliationRequest(channel=channel, day=story.day.isoformat())
        await story.fay.ask(request)
        ended = (await story.fay.ask(pb.GetBreakRequest(channel=channel, id=found[channel].id))).found
        expect((ended.state, ended.closed_by), (pb.BREAK_STATE_RESOLVED, ""), f"{channel}'s break after the right bill")


async def _reconciled(story: Story, channel: str) -> Any:
    """As the channel says it, or with the bill that was spoilt."""
    request = pb.RunReconciliationRequest(channel=channel, day=story.day.isoformat())
    if story.spoilt:
        file = io.StringIO(newline="")
        write_bill(story.bills[channel], file)
        request.bill = file.getvalue().encode()
    return (await story.fay.ask(request)).reconciliation


async def _breaks(story: Story, channel: str) -> dict[str, Any]:
    day = story.day.isoformat()
    request = pb.ListBreaksRequest(
        channel=channel, from_day=day, until_day=day, page_size=500,
        states=[pb.BREAK_STATE_OPEN, pb.BREAK_STATE_ASSIGNED, pb.BREAK_STATE_PROPOSED],
    )  # fmt: skip
    return {each.id: each for each in (await story.fay.ask(request)).breaks}


async def _line_of(story: Story, name: str) -> BillLine:
    """Of that sale, by our name for it at the channel."""
    sale = story.sales[name]
    request = transaction_pb2.GetTransactionRequest(
        merchant_id=story.merchant_id, authorization_id=sale.authorization_id
    )
    reference = (await story.owner.ask(request)).transaction.reference
    lines = story.bills[sale.channel].lines
    [line] = [each for each in lines if each.kind is BillKind.PAYMENT and each.reference == reference]
    return line


def _with(story: Story, channel: str, lines: list[BillLine]) -> Bill:
    return Bill(channel, story.day, tuple(lines))
