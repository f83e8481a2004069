"""A shop in front of the whole product: it pays, watches what becomes of it, and looks into the channels' own books."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from adapters.issuer.simulator_ledger import default_accounts as issuer_accounts
from adapters.unionpay.simulator import default_accounts as unionpay_accounts
from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2
from switch.client.acquirer import AcquirerClient, identify
from switch.client.errors import OutcomeUnknown, PaymentRefused, SwitchUnavailable
from switch.demo.environment import Environment
from switch.demo.presenting import Card, Terminal, fresh_code
from switch.demo.secrets import ACQUIRER
from switch.domain.identity import computed_id

PAID, REFUSED, UNDONE, WAITING = "paid", "refused", "undone", "waiting"
SETTLE_TIMEOUT_S = 60.0

RICH, POOR, EXPIRED, LONG = (Card(each.pan, each.expiry_yymm, each.pin) for each in unionpay_accounts())
ISSUED = [Card(each.pan.reveal(), each.expiry_yymm, each.pin) for each in issuer_accounts()]

# Each payment has an amount of its own, by which the books are searched; all are below the amounts with a meaning.
_amounts = count(20_000)


@dataclass(frozen=True, slots=True)
class Booked:
    """A payment as its channel sees it. captured_minor: of a sale, all of it."""

    standing: str
    captured_minor: int = 0
    refunded_minor: int = 0


def _in_unionpay(entry: dict[str, Any]) -> Booked | None:
    if entry["kind"] not in ("sale", "pre_authorization"):
        return None
    standing = {"approved": PAID, "refunded": PAID, "declined": REFUSED}.get(entry["state"], UNDONE)
    captured_minor = entry["approved_minor" if entry["kind"] == "sale" else "captured_minor"]
    return Booked(standing, captured_minor, entry["refunded_minor"])


def _in_alipay(entry: dict[str, Any]) -> Booked:
    if entry["status"] == "TRADE_CLOSED":
        standing = UNDONE if entry["cancelled"] else PAID if entry["refunds"] else REFUSED
    else:
        standing = {"TRADE_SUCCESS": PAID, "WAIT_BUYER_PAY": WAITING, "REFUSED": REFUSED}[entry["status"]]
    return Booked(standing, entry["payments"] * entry["amount_minor"], entry["refunded_minor"])


def _in_wechat(entry: dict[str, Any]) -> Booked | None:
    if entry["kind"] != "payment":
        return None
    standings = {"SUCCESS": PAID, "REFUND": PAID, "PAYERROR": REFUSED, "USERPAYING": WAITING}
    standing = standings.get(entry["trade_state"], UNDONE)
    return Booked(standing, entry["amount_minor"] if standing == PAID else 0, entry["refunded_minor"])


def _in_issuer(entry: dict[str, Any]) -> Booked | None:
    if entry["operation"] not in ("sale", "pre_authorization"):
        return None
    standing = {"approved": PAID, "held": PAID, "captured": PAID, "declined": REFUSED}.get(entry["state"], UNDONE)
    return Booked(standing, entry["captured_minor"], entry["refunded_minor"])


@dataclass(frozen=True, slots=True)
class Way:
    """One channel, how a payer presents for it, and how its simulator's book is read.

    undoes_after_s: how old a payment must be before the channel takes a cancellation.
    """

    channel: str
    simulator: str
    present: Callable[[Terminal, int], pb.AuthorizeRequest]
    read: Callable[[dict[str, Any]], Booked | None]
    undoes_after_s: float = 0.0

    def __str__(self) -> str:
        return self.simulator


UNIONPAY = Way("unionpay", "unionpay", lambda at, amount: at.keyed(RICH, amount), _in_unionpay)
ALIPAY = Way("alipay", "alipay", lambda at, amount: at.code(fresh_code("28"), amount), _in_alipay)
WECHAT = Way("wechat", "wechat", lambda at, amount: at.code(fresh_code("13"), amount), _in_wechat, 0.6)
ISSUER = Way("issuer:demo", "issuer", lambda at, amount: at.keyed(ISSUED[0], amount), _in_issuer)
WAYS = (UNIONPAY, ALIPAY, WECHAT, ISSUER)


def money(amount_minor: int) -> common_pb2.Money:
    return common_pb2.Money(amount_minor=amount_minor, currency="CNY")


def fresh_amount() -> int:
    return next(_amounts)


def id_of(request: pb.AuthorizeRequest, acquirer: str = ACQUIRER) -> str:
    """As the switch computes it, whether or not an answer came."""
    return str(computed_id(acquirer, request.merchant_id, request.transmission_time_ms, request.idempotency_key))


def named(request: pb.AuthorizeRequest) -> pb.FollowOn:
    """The head of a later operation on that authorization, with a key and a time of its own."""
    follow_on = pb.FollowOn(merchant_id=request.merchant_id, authorization_id=id_of(request))
    identify(follow_on)
    return follow_on


TRIES = 20
_A = TypeVar("_A")
_R = TypeVar("_R")


class Shop:
    """One acquirer's terminal, its client, and the environment they are in.

    slow: what the machine was too slow for, and was made anew.
    """

    def __init__(self, environment: Environment, client: AcquirerClient) -> None:
        self.environment = environment
        self.client = client
        self.terminal = Terminal(environment.state_dir)
        self.slow: list[pb.AuthorizeRequest] = []

    async def connected(self) -> None:
        """Wait until the client has a stream to the switch (again)."""
        await asyncio.wait_for(self.client.ready.wait(), SETTLE_TIMEOUT_S)

    def order(self, way: Way, amount_minor: int = 0) -> pb.AuthorizeRequest:
        """A request of an amount of its own (or that one), identified but not sent."""
        request = way.present(self.terminal, amount_minor or fresh_amount())
        identify(request)
        return request

    async def until_answered(self, call: Callable[[], Awaitable[_A]]) -> _A:
        """What the call answers, made again as an acquirer would where the machine was too slow for an answer."""
        for _ in range(TRIES):
            try:
                return await call()
            except (SwitchUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.1)
        raise AssertionError(f"no answer in {TRIES} tries")

    async def done(self, operation: Callable[[_R], Awaitable[_A]], request: _R) -> _A:
        """What becomes of a later operation: asked again, as an acquirer would, until its outcome is known."""
        until_s = time.monotonic() + SETTLE_TIMEOUT_S
        while True:
            answer: Any = await self.until_answered(lambda: operation(request))
            if answer.result.decision != common_pb2.DECISION_UNKNOWN:
                return answer  # type: ignore[no-any-return]
            assert time.monotonic() < until_s, f"still unknown: {answer}"
            await asyncio.sleep(0.1)

    async def ask(self, request: pb.AuthorizeRequest) -> pb.AuthorizeResponse:
        """The answer. What was declined since no time was left to ask the channel is tried anew, under a new key."""
        while True:
            answer = await self.until_answered(lambda: self.client.authorize(request))
            if answer.stage != "send":
                return answer
            self.slow.append(pb.AuthorizeRequest.FromString(request.SerializeToString()))
            request.idempotency_key, request.transmission_time_ms = "", 0
            identify(request)

    async def until_in_time(self, order: Callable[[], pb.AuthorizeRequest]) -> pb.AuthorizeResponse:
        """The answer to `order()`; to another one where the machine was too slow for its channel."""
        for _ in range(TRIES):
            request = order()
            identify(request)
            answer = await self.ask(request)
            if not too_slow(answer):
                break
            self.slow.append(request)
        return answer

    async def answered(
        self, way: Way, behaviour: str = "", *, pre_authorization: bool = False, **fields: Any
    ) -> tuple[pb.AuthorizeRequest, pb.AuthorizeResponse]:
        """A payment that the channel, behaving so, answered in time; another one where the machine was too slow."""
        for _ in range(TRIES):
            request = self.order(way)
            if pre_authorization:
                request.kind = pb.AUTHORIZATION_KIND_PRE_AUTHORIZATION
            if behaviour:
                await self.scripted(way, request, behaviour, **fields)
            answer = await self.ask(request)
            if not too_slow(answer):
                break
            self.slow.append(request)
        return request, answer

    async def held(self, way: Way) -> pb.AuthorizeRequest:
        """An approved pre-authorization."""
        request, answer = await self.answered(way, pre_authorization=True)
        assert decided(answer) == ("approved", "00"), answer
        return request

    async def pay(self, way: Way, amount_minor: int = 0) -> pb.AuthorizeRequest:
        """An approved payment; one of any amount is made anew where the machine was too slow for the channel."""
        for _ in range(TRIES):
            request = self.order(way, amount_minor)
            answer = await self.ask(request)
            if amount_minor or not too_slow(answer):
                break
            self.slow.append(request)
        assert (answer.decision, answer.response_code) == (common_pb2.DECISION_APPROVED, "00"), answer
        assert answer.channel == way.channel
        return request

    async def scripted(self, way: Way, request: pb.AuthorizeRequest, behaviour: str, **fields: Any) -> None:
        """What the simulator does with this payment, once."""
        amount_minor = request.amount.amount_minor
        await self.environment.scenario(
            way.simulator, behaviour=behaviour, amount_minor=amount_minor, times=1, **fields
        )

    async def booked(self, way: Way, request: pb.AuthorizeRequest) -> list[Booked]:
        """Every payment of that amount in the channel's book."""
        entries = await self.environment.book(way.simulator)
        of_amount = [way.read(each) for each in entries if each["amount_minor"] == request.amount.amount_minor]
        return [each for each in of_amount if each is not None]

    async def shown(self, request: pb.AuthorizeRequest) -> pb.Authorization:
        wanted = pb.GetRequest(merchant_id=request.merchant_id, authorization_id=id_of(request))
        return (await self.client.get(wanted)).authorization

    async def settled(self, request: pb.AuthorizeRequest) -> str:
        """The state it ends in, watched: "reversed"."""
        wanted = pb.WatchRequest(merchant_id=request.merchant_id, authorization_id=id_of(request))
        last = pb.Authorization()
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            async for each in self.client.watch(wanted):
                last = each.authorization
        return state_name(last)

    async def becomes(self, request: pb.AuthorizeRequest, state: str) -> None:
        """Wait until it is in that state, final or not."""
        until_s = time.monotonic() + SETTLE_TIMEOUT_S
        while (found := state_name(await self.shown(request))) != state:
            assert time.monotonic() < until_s, f"is {found}, not {state}"
            await asyncio.sleep(0.05)

    async def until_served(self, way: Way) -> None:
        """Wait until payments go through that channel again after it was broken."""
        until_s = time.monotonic() + SETTLE_TIMEOUT_S
        answer = pb.AuthorizeResponse()
        while (answer.decision, answer.channel) != (common_pb2.DECISION_APPROVED, way.channel):
            assert time.monotonic() < until_s, f"{way.channel} did not come back: {answer}"
            try:
                answer = await self.client.authorize(self.order(way))
            except (PaymentRefused, OutcomeUnknown):
                await asyncio.sleep(0.1)


def state_name(shown: pb.Authorization) -> str:
    return pb.AuthorizationState.Name(shown.state).removeprefix("AUTHORIZATION_STATE_").lower()


def too_slow(answer: pb.AuthorizeResponse) -> bool:
    """The channel was not asked since no time was left, or its answer did not come in time."""
    unknown = answer.decision == common_pb2.DECISION_UNKNOWN
    return answer.stage == "send" or (unknown and "in time" in answer.reason)


def decided(answer: pb.AuthorizeResponse | pb.FollowOnResult) -> tuple[str, str]:
    """("approved", "00")."""
    return common_pb2.Decision.Name(answer.decision).removeprefix("DECISION_").lower(), answer.response_code
