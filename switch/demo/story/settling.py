"""The day is closed, the merchant is paid out by two persons, and the bank has paid."""

import csv
import hashlib
import io
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree

import grpc.aio

from payswitch.v1 import settlement_pb2 as pb
from switch.demo.story.callers import StoryWrong, expect
from switch.demo.story.onboarding import ACCOUNT_NUMBER
from switch.demo.story.reckoning import net_of, reserve_of
from switch.demo.story.stage import Payout, Story, yuan
from switch.domain.business_day import later

_PAIN = "{urn:iso:std:iso:20022:tech:xsd:pain.001.001.09}"


async def closes_the_day(story: Story) -> str:
    """What we owe the merchant is what arithmetic of its own says."""
    day = await _first_open_day(story)
    closed = (await story.fay.ask(pb.CloseDayRequest(day=day))).day
    expect((closed.day, closed.closed_by, bool(closed.closed_time_ms)), (day, "finance/fay", True), "the closed day")
    expect((await story.gus.ask(pb.CloseDayRequest(day=day))).day, closed, "the day closed again")
    shown = await story.fay.ask(pb.GetDayRequest(day=day))
    expect(sum(each.amount_minor for each in shown.totals if each.currency == "CNY"), 0, "the day's sum")
    expect([each for each in shown.unpriced if each.merchant_id == story.merchant_id], [], "payments without a rate")
    balance = await balance_of(story)
    net = net_of(story.sales.values())
    expect((balance.closed_minor, balance.now_minor), (net, net), "what the merchant has coming")
    return f"{yuan(net)} for the merchant, {closed.transactions} entered, digest {closed.digest.hex()[:8]}"


async def pays_out(story: Story) -> str:
    request = pb.CreateBatchRequest(idempotency_key=uuid4().hex, currency="CNY")
    batch = (await story.fay.ask(request)).batch
    expect((await story.fay.ask(request)).batch.id, batch.id, "the batch asked for again")
    release = pb.ReleaseBatchRequest(batch_id=batch.id)
    await story.fay.refused(release, "PERMISSION_DENIED")
    released = (await story.gus.ask(release)).batch
    expect(released.state, pb.PAYOUT_STATE_RELEASED, "the batch")
    payout = await _payout(story, batch.id)
    net = net_of(story.sales.values())
    reserve = reserve_of(net)
    expect((payout.net_minor, payout.reserve_minor, payout.payout_minor), (net, reserve, net - reserve), "the payout")
    story.payout = Payout(batch.id, payout.net_minor, payout.reserve_minor, payout.payout_minor)
    await _files_agree(story, released, payout.end_to_end_id)
    await _is_paid(story, batch.id)
    return f"{yuan(payout.payout_minor)} paid, {yuan(reserve)} held back; CSV and pain.001 read back"


async def balance_of(story: Story) -> Any:
    [balance] = (await story.owner.ask(pb.GetBalanceRequest(merchant_id=story.merchant_id))).balances
    return balance


async def _first_open_day(story: Story) -> str:
    """Today, unless this story was told today before: days stay closed."""
    day = story.day.isoformat()
    while True:
        try:
            await story.fay.ask(pb.GetDayRequest(day=day))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return day
            raise
        day = later(day, 1)


async def _payout(story: Story, batch_id: str) -> Any:
    parts = await story.gus.read(pb.GetBatchRequest(batch_id=batch_id))
    [payout] = [each for part in parts for each in part.payouts if each.merchant_id == story.merchant_id]
    return payout


async def _files_agree(story: Story, batch: Any, end_to_end_id: str) -> None:
    """Both forms say the same as the batch, to the merchant's account."""
    assert story.payout is not None
    amount = f"{story.payout.payout_minor // 100}.{story.payout.payout_minor % 100:02d}"
    total = f"{batch.total_minor // 100}.{batch.total_minor % 100:02d}"
    rows = csv.DictReader(io.StringIO((await _file(story, batch.id, pb.PAYOUT_FILE_FORM_CSV)).decode(), newline=""))
    [row] = [each for each in rows if each["merchant_id"] == story.merchant_id]
    said = (row["amount"], row["currency"], row["account_number"], row["end_to_end_id"])
    expect(said, (amount, "CNY", ACCOUNT_NUMBER, end_to_end_id), "the payout in the CSV")
    pain = await _file(story, batch.id, pb.PAYOUT_FILE_FORM_PAIN_001)
    document = ElementTree.fromstring(pain)  # noqa: S314 - the switch that we started wrote it
    head = (document.findtext(f".//{_PAIN}MsgId"), document.findtext(f".//{_PAIN}CtrlSum"))
    expect(head, (batch.message_id, total), "the head of the pain.001")
    payments = document.iter(f"{_PAIN}CdtTrfTxInf")
    [payment] = [each for each in payments if each.findtext(f".//{_PAIN}EndToEndId") == end_to_end_id]
    instructed = payment.find(f".//{_PAIN}InstdAmt")
    if instructed is None:
        raise StoryWrong("the pain.001 names no amount")
    expect((instructed.text, instructed.get("Ccy")), (amount, "CNY"), "the payout in the pain.001")


async def _file(story: Story, batch_id: str, form: int) -> bytes:
    """The same bytes each time."""
    request = pb.GetPayoutFileRequest(batch_id=batch_id, form=form)  # type: ignore[arg-type]
    first, again = await story.gus.read(request), await story.gus.read(request)
    content = b"".join(each.content for each in first)
    expect(hashlib.sha256(content).digest(), first[0].digest, "the file's digest")
    expect(b"".join(each.content for each in again), content, "the file, fetched again")
    return content


async def _is_paid(story: Story, batch_id: str) -> None:
    assert story.payout is not None
    confirm = pb.ConfirmPayoutsRequest(batch_id=batch_id)
    expect((await story.gus.ask(confirm)).payouts > 0, True, "payouts confirmed")
    expect((await story.gus.ask(confirm)).payouts, 0, "payouts confirmed twice")
    [paid] = (await story.owner.ask(pb.ListPayoutsRequest(merchant_id=story.merchant_id))).payouts
    expect((paid.state, paid.payout_minor), (pb.PAYOUT_STATE_PAID, story.payout.payout_minor), "what was paid")
    balance = await balance_of(story)
    found = (balance.now_minor, balance.reserve_minor, balance.in_transit_minor)
    expect(found, (0, story.payout.reserve_minor, 0), "the balance after the payout")
