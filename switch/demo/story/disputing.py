"""A chargeback: opened, answered with evidence, lost; and what it does to the merchant's balance."""

from typing import Any
from uuid import uuid4

from payswitch.v1 import common_pb2
from payswitch.v1 import dispute_pb2 as pb
from switch.demo.story.callers import expect
from switch.demo.story.settling import balance_of
from switch.demo.story.stage import Story, yuan

_SLIP = b"%PDF-1.7\n% the slip, with the payer's signature\n%%EOF\n"


async def is_lost(story: Story) -> str:
    sale = story.sales["tap"]
    before = await balance_of(story)
    dispute = (await story.fay.ask(_opening(story))).dispute
    held = await balance_of(story)
    expect(held.now_minor, before.now_minor - sale.amount_minor, "the balance while it runs")
    expect(held.disputed_minor, sale.amount_minor, "what the dispute holds")
    named = {"merchant_id": story.merchant_id, "id": dispute.id}
    file = pb.AddEvidenceRequest(
        merchant_id=story.merchant_id, dispute_id=dispute.id, name="slip.pdf", content_type="application/pdf",
        content=_SLIP,
    )  # fmt: skip
    await story.manager.ask(file)
    await story.owner.step_up()
    answer = pb.AnswerDisputeRequest(**named, answer=pb.DISPUTE_ANSWER_CONTEST, statement="the payer typed the PIN")
    answered = (await story.owner.ask(answer)).dispute
    expect(answered.state, pb.DISPUTE_STATE_REPRESENTED, "the dispute that was answered")
    [evidence] = (await story.fay.ask(pb.GetDisputeRequest(**named))).dispute.evidence
    request = pb.GetEvidenceRequest(merchant_id=story.merchant_id, dispute_id=dispute.id, id=evidence.id)
    expect(b"".join(each.content for each in await story.fay.read(request)), _SLIP, "the evidence")
    decided = (await story.fay.ask(pb.DecideDisputeRequest(**named, won=False, text="as the scheme decided"))).dispute
    expect(decided.state, pb.DISPUTE_STATE_LOST, "the dispute")
    sale.charged_back_minor = sale.amount_minor
    after = await balance_of(story)
    found: Any = (after.now_minor, after.disputed_minor, after.reserve_minor)
    expect(found, (before.now_minor - sale.amount_minor, 0, before.reserve_minor), "the balance after it")
    return f"{yuan(sale.amount_minor)} taken back; the merchant stands at {yuan(after.now_minor)}"


def _opening(story: Story) -> pb.OpenDisputeRequest:
    sale = story.sales["tap"]
    return pb.OpenDisputeRequest(
        merchant_id=story.merchant_id,
        authorization_id=sale.authorization_id,
        kind=pb.DISPUTE_KIND_CHARGEBACK,
        case_number=uuid4().hex,
        amount=common_pb2.Money(amount_minor=sale.amount_minor, currency="CNY"),
        reason_code="4502",
        category=pb.REASON_CATEGORY_FRAUD,
        text="the cardholder does not know of it",
    )
