"""The stolen card's decline became a case: an analyst takes it, freezes the card, lifts that, and closes it."""

import asyncio
from typing import Any

from payswitch.v1 import risk_cases_pb2 as pb
from payswitch.v1 import risk_pb2
from switch.demo.story.asking import answered, decision
from switch.demo.story.callers import expect, until
from switch.demo.story.judging import LARGE, SHOPS, TEST, judgement_of, keyed
from switch.demo.story.stage import Story, yuan

_FROZEN = "list:case_freeze"
_NOTE = "the cardholder did not pay; the bank sends another card"
# A card may be asked for 60 times a minute.
_PAUSE_S = 0.2


async def is_closed(story: Story) -> str:
    """One analyst has it at a time; what he does is in force in seconds, and what he found labels the payment."""
    case = await _case(story)
    expect(
        (case.subject, case.state, case.assigned_to), (pb.RISK_SUBJECT_CARD, pb.RISK_CASE_STATE_OPEN, ""), "the case"
    )
    taken = (await story.ida.ask(pb.TakeCaseRequest(id=case.id))).case
    expect(taken.assigned_to, "risk/ida", "whose case it is")
    await story.jon.refused(pb.TakeCaseRequest(id=case.id), "FAILED_PRECONDITION", "risk/ida")
    await _acts(story, case.id, pb.RISK_CASE_ACTION_FREEZE)
    frozen = await _until_it_is(story, "declined")
    expect((frozen.stage, frozen.response_code, frozen.channel), ("assess", "59", ""), "a payment by the frozen card")
    judgement = await judgement_of(story, SHOPS[0], frozen)
    expect([each.id for each in judgement.fired][:1], [_FROZEN], "what declined it")
    await _acts(story, case.id, pb.RISK_CASE_ACTION_LIFT)
    await _until_it_is(story, "approved")
    closing = pb.CloseCaseRequest(id=case.id, outcome=pb.RISK_CASE_OUTCOME_CONFIRMED_FRAUD, text=_NOTE)
    await story.jon.refused(closing, "FAILED_PRECONDITION", "risk/ida")
    closed = (await story.ida.ask(closing)).case
    expect((closed.state, closed.outcome), (pb.RISK_CASE_STATE_CLOSED, closing.outcome), "the closed case")
    await _is_labelled(story, case.id)
    return f"{yuan(LARGE)} became a case: card frozen (59), freed; confirmed fraud, labelled"


async def _case(story: Story) -> pb.RiskCase:
    """That has the payment."""
    wanted = (SHOPS[3], story.stolen_large)
    queue = pb.ListCasesRequest(unassigned=True, subject=pb.RISK_SUBJECT_CARD, page_size=100)

    async def found() -> list[pb.RiskCase]:
        cases = (await story.ida.ask(queue)).cases
        files = [await story.ida.ask(pb.GetCaseRequest(id=each.id)) for each in cases]
        return [
            each.case
            for each in files
            if wanted in {(paid.merchant_id, paid.authorization_id) for paid in each.payments}
        ]

    [case] = await until(found, lambda each: len(each) == 1, "the case of the stolen card")
    return case


async def _acts(story: Story, case_id: str, action: pb.RiskCaseAction) -> None:
    request = pb.ActOnCaseRequest(id=case_id, action=action, reason="tested, then spent")
    batch = (await story.ida.ask(request)).batch
    applied = pb.LISTING_BATCH_STATE_APPLIED if action == pb.RISK_CASE_ACTION_FREEZE else 0
    expect(batch.state, applied, "what was done")


async def _until_it_is(story: Story, wanted: str) -> Any:
    """The answer to a small payment by the card: every process hears of a list within about a second."""

    async def asked() -> Any:
        await asyncio.sleep(_PAUSE_S)
        return await answered(story, lambda: keyed(story, SHOPS[0], TEST), counted=False)

    return await until(asked, lambda each: decision(each) == wanted, f"a payment by the card that is {wanted}")


async def _is_labelled(story: Story, case_id: str) -> None:
    request = risk_pb2.GetJudgementRequest(merchant_id=SHOPS[3], authorization_id=story.stolen_large)
    labels = [(each.label, each.source) for each in (await story.ida.ask(request)).labels]
    expect(labels, [(risk_pb2.RISK_LABEL_FRAUD, f"case/{case_id}")], "the payment's labels")
