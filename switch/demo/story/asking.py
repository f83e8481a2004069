"""A terminal asks for payments, and the story counts every answer."""

import asyncio
from collections.abc import Callable

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2
from switch.client.errors import OutcomeUnknown, SwitchUnavailable
from switch.demo.story.callers import StoryWrong
from switch.demo.story.stage import Sale, Story

_TRIES = 8
# The road learns about once a second which merchants are active, and this one has just been approved.
_NOT_ACTIVE, _STANDING_S = "03", 1.0


async def sold(story: Story, name: str, make: Callable[[], pb.AuthorizeRequest]) -> Sale:
    """An approved payment. Made anew where the machine was too slow for the channel's answer."""
    for _ in range(_TRIES):
        answer = await answered(story, make, counted=False)
        if decision(answer) == "approved":
            entry = common_pb2.EntryMode.Name(answer.entry).removeprefix("ENTRY_MODE_").lower()
            sale = Sale(name, answer.channel, entry, answer.authorization_id, answer.approved.amount_minor)
            keep(story, name, sale)
            return sale
        story.asked.append("unanswered" if decision(answer) == "unknown" else "declined")
        if answer.response_code == _NOT_ACTIVE:
            await asyncio.sleep(_STANDING_S)
        elif decision(answer) == "declined" and answer.stage != "send":
            break
    raise StoryWrong(f"the payment {name} was answered {answer}")


async def answered(
    story: Story, make: Callable[[], pb.AuthorizeRequest], *, counted: bool = True
) -> pb.AuthorizeResponse:
    """To one request, asked again as acquirers do while there is none."""
    request = make()
    for _ in range(_TRIES):
        try:
            answer = await story.acquirer.authorize(request)
        except (SwitchUnavailable, OutcomeUnknown):
            continue
        if counted:
            story.asked.append({"unknown": "unanswered"}.get(decision(answer), decision(answer)))
        return answer
    raise StoryWrong("the switch did not answer")


def keep(story: Story, name: str, sale: Sale) -> None:
    story.sales[name] = sale
    story.asked.append("approved")


def decision(answer: pb.AuthorizeResponse) -> str:
    return common_pb2.Decision.Name(answer.decision).removeprefix("DECISION_").lower()
