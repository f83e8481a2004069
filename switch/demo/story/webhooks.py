"""The merchant's server: takes webhooks, believes those whose signature is right, and keeps each once."""

import json
import time
from collections import Counter
from typing import Any

from aiohttp import web

from payswitch.v1 import webhook_pb2 as pb
from switch.client.webhooks import NotGenuine, verify
from switch.demo.environment import HOST
from switch.demo.story.callers import expect, until
from switch.demo.story.stage import Story

_OF_A_DISPUTE = ("dispute.opened", "dispute.updated", "dispute.closed")


class Receiver:
    """messages: by webhook-id."""

    def __init__(self) -> None:
        self.secret = self.endpoint_id = ""
        self.messages: dict[str, dict[str, Any]] = {}
        self.refused = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Returns its address."""
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        return f"http://{HOST}:{self._runner.addresses[0][1]}/hook"

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            identity = verify(request.headers, body, [self.secret], time.time())
        except NotGenuine:
            self.refused += 1
            return web.Response(status=400)
        self.messages.setdefault(identity, json.loads(body))
        return web.Response(status=204)


async def are_asked_for(story: Story) -> str:
    receiver = story.receiver = Receiver()
    url = await receiver.start()
    request = pb.CreateEndpointRequest(merchant_id=story.merchant_id, url=url, event_types=["*"])
    made = await story.owner.ask(request)
    receiver.secret, receiver.endpoint_id = made.secret, made.endpoint.endpoint_id
    story.secrets.append(made.secret)
    ping = pb.PingEndpointRequest(merchant_id=story.merchant_id, endpoint_id=receiver.endpoint_id)
    delivery = (await story.owner.ask(ping)).delivery_id
    await until(lambda: _types(receiver), lambda each: each == ["ping"], "the ping")
    expect(f"msg_{delivery}" in receiver.messages, True, "the ping's id")
    return "an endpoint, its secret, a ping that was verified"


async def all_came(story: Story) -> str:
    """One message for each event, none else; the log says so, too. The dispute was opened, answered and lost."""
    refunds = sum(len(each.refunds) for each in story.sales.values())
    receiver = story.receiver
    wanted = {"ping": 1, "payment.refunded": refunds, **dict.fromkeys(_OF_A_DISPUTE, 1)}

    def complete(types: list[str]) -> bool:
        found = Counter(types)
        others = {name: found.pop(name, 0) for name in wanted}
        answers = {name.removeprefix("payment."): count for name, count in found.items()}
        return others == wanted and story.has_asked(answers)

    types = await until(lambda: _types(receiver), complete, "the webhooks")
    expect(receiver.refused, 0, "webhooks that were not genuine")
    told = [each["data"] for each in receiver.messages.values() if each["type"] == "payment.approved"]
    sales = sorted((each.authorization_id, each.amount_minor) for each in story.sales.values())
    expect(sorted((each["authorization_id"], each["amount_minor"]) for each in told), sales, "what they told")
    log = pb.ListDeliveriesRequest(
        merchant_id=story.merchant_id,
        endpoint_id=receiver.endpoint_id,
        state=pb.WEBHOOK_DELIVERY_STATE_DELIVERED,
        page_size=500,
    )
    await until(lambda: story.owner.ask(log), lambda each: len(each.deliveries) == len(types), "the delivery log")
    return f"{len(types)} delivered, every signature right"


async def _types(receiver: Receiver) -> list[str]:
    return sorted(each["type"] for each in receiver.messages.values())
