"""What the demo shows: each scene sends real authorizations and says what should come of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from adapters.issuer.simulator_ledger import default_accounts as issuer_accounts
from adapters.unionpay.simulator import default_accounts as unionpay_accounts
from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2
from switch.client.acquirer import AcquirerClient, identify
from switch.client.errors import ConflictingPayment, PaymentError, SwitchUnavailable
from switch.demo.environment import Environment
from switch.demo.presenting import Card, Terminal, fresh_code
from switch.domain.identity import computed_id

BUDGET_MS = 200
_SETTLE_TIMEOUT_S = 20.0
_TRIES = 5
# UNSPECIFIED: the switch knows nothing of it, since it was killed before the intent was recorded.
_ENDED_WITHOUT_MONEY = (
    pb.AUTHORIZATION_STATE_REVERSED,
    pb.AUTHORIZATION_STATE_DECLINED,
    pb.AUTHORIZATION_STATE_UNSPECIFIED,
)


@dataclass(slots=True)
class Row:
    """One line of the table. problem: "" if everything was as expected."""

    name: str
    channel: str
    entry: str
    decision: str
    response_code: str
    latency_ms: float
    remark: str = ""
    problem: str = ""


@dataclass(slots=True)
class Stage:
    """Where scenes play."""

    environment: Environment
    client: AcquirerClient
    terminal: Terminal
    rich: Card
    poor: Card
    expired: Card
    issued: Card


Scene = Callable[[Stage], Awaitable[Row]]


def stage_for(environment: Environment, client: AcquirerClient) -> Stage:
    rich, poor, expired, _ = (Card(each.pan, each.expiry_yymm, each.pin) for each in unionpay_accounts())
    first = issuer_accounts()[0]
    issued = Card(first.pan.reveal(), first.expiry_yymm, first.pin)
    return Stage(environment, client, Terminal(environment.state_dir), rich, poor, expired, issued)


# --- plain payments -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expected:
    channel: str
    decision: str
    response_code: str


async def _pay(stage: Stage, name: str, request: pb.AuthorizeRequest, expected: Expected) -> Row:
    row = await _asked(stage, name, request)
    found = Expected(row.channel, row.decision, row.response_code)
    if found != expected:
        row.problem = f"expected {expected.channel or 'no channel'} {expected.decision} {expected.response_code}"
    if row.latency_ms > BUDGET_MS:
        row.problem = f"answered after {row.latency_ms:.0f} ms"
    return row


async def _asked(stage: Stage, name: str, request: pb.AuthorizeRequest) -> Row:
    """Send it; where the switch had no answer in time (a disk that stalls), send the same again, as acquirers do."""
    for attempt in range(1, _TRIES + 1):
        started_s = time.perf_counter()
        try:
            answer = await stage.client.authorize(request, BUDGET_MS)
        except SwitchUnavailable:
            if attempt == _TRIES:
                raise
            await asyncio.sleep(0.2)
            continue
        row = row_of(name, answer, time.perf_counter() - started_s)
        if attempt > 1:
            row.remark = f"asked {attempt} times: the switch was unavailable"
        return row
    raise AssertionError("unreachable")


def row_of(name: str, answer: pb.AuthorizeResponse, elapsed_s: float) -> Row:
    return Row(
        name,
        answer.channel,
        common_pb2.EntryMode.Name(answer.entry).removeprefix("ENTRY_MODE_").lower(),
        common_pb2.Decision.Name(answer.decision).removeprefix("DECISION_").lower(),
        answer.response_code,
        elapsed_s * 1000,
    )


def _approved(channel: str) -> Expected:
    return Expected(channel, "approved", "00")


async def nfc(stage: Stage) -> Row:
    request = stage.terminal.tap(stage.rich, 128_000, stage.rich.pin)
    return await _pay(stage, "NFC tap with EMV data and online PIN", request, _approved("unionpay"))


async def alipay(stage: Stage) -> Row:
    return await _pay(
        stage, "payer's Alipay barcode", stage.terminal.code(fresh_code("28"), 1_990), _approved("alipay")
    )


async def wechat(stage: Stage) -> Row:
    return await _pay(
        stage, "payer's WeChat barcode", stage.terminal.code(fresh_code("13"), 2_990), _approved("wechat")
    )


async def payer_qr(stage: Stage) -> Row:
    request = stage.terminal.payer_qr(stage.rich, 3_500)
    return await _pay(stage, "EMVCo payer-presented QR", request, _approved("unionpay"))


async def bluetooth(stage: Stage) -> Row:
    request = stage.terminal.bluetooth(stage.rich, 4_500)
    return await _pay(stage, "Bluetooth handover of the same card", request, _approved("unionpay"))


async def direct_issuer(stage: Stage) -> Row:
    request = stage.terminal.tap(stage.issued, 5_500, stage.issued.pin)
    return await _pay(stage, "a card of the direct issuer, with PIN", request, _approved("issuer:demo"))


async def insufficient_funds(stage: Stage) -> Row:
    request = stage.terminal.tap(stage.poor, 6_600)
    return await _pay(stage, "insufficient funds", request, Expected("unionpay", "declined", "51"))


async def wrong_pin(stage: Stage) -> Row:
    request = stage.terminal.tap(stage.rich, 7_700, "000000")
    row = await _pay(stage, "wrong PIN", request, Expected("unionpay", "declined", "55"))
    # The right PIN next, so that the network's count of wrong ones starts again.
    await stage.client.authorize(stage.terminal.tap(stage.rich, 100, stage.rich.pin), BUDGET_MS)
    return row


async def expired_card(stage: Stage) -> Row:
    request = stage.terminal.tap(stage.expired, 8_800)
    return await _pay(stage, "expired card", request, Expected("", "declined", "54"))


# --- payers who take their time --------------------------------------------------------------------------------------


async def user_paying(stage: Stage) -> Row:
    await stage.environment.scenario("wechat", behaviour="user_paying", delay_ms=1_000, times=1)
    request = stage.terminal.code(fresh_code("13"), 66_600)
    row = await _pay(stage, "USERPAYING that becomes approved", request, Expected("wechat", "awaiting_payer", "09"))
    started_s = time.perf_counter()
    last = await _settled(stage, request)
    row.remark = f"watched: {_state_name(last)} after {time.perf_counter() - started_s:.1f} s"
    if last.state != pb.AUTHORIZATION_STATE_APPROVED or last.answer.response_code != "00":
        row.problem = "the payer confirmed, the authorization did not become approved"
    return row


# --- repeats ---------------------------------------------------------------------------------------------------------


async def repeated(stage: Stage) -> Row:
    request = stage.terminal.tap(stage.rich, 9_901)
    row = await _pay(stage, "the same request twice", request, _approved("unionpay"))
    first = await stage.client.authorize(request, BUDGET_MS)
    second = await stage.client.authorize_unary(request, BUDGET_MS)
    effects = await _effects(stage, 9_901)
    row.remark = f"{effects} effect in the network's book"
    if first != second or effects != 1:
        row.problem = "the repeat had another answer or an effect of its own"
    return row


async def other_amount(stage: Stage) -> Row:
    request = stage.terminal.keyed(stage.rich, 9_902)
    await stage.client.authorize(request, BUDGET_MS)
    request.amount.amount_minor = 9_903
    started_s = time.perf_counter()
    row = Row("the same key with another amount", "", "keyed", "error", "", 0.0)
    try:
        await stage.client.authorize(request, BUDGET_MS)
        row.problem = "was answered as if it were new"
    except ConflictingPayment as error:
        row.remark = str(error.code.name)
    row.latency_ms = (time.perf_counter() - started_s) * 1000
    if await _effects(stage, 9_903):
        row.problem = "had an effect"
    return row


# --- channels that fail ----------------------------------------------------------------------------------------------


async def silent(stage: Stage) -> Row:
    await stage.environment.scenario("unionpay", behaviour="silent", amount_minor=9_904, times=1)
    request = stage.terminal.tap(stage.rich, 9_904)
    row = await _pay(stage, "a channel that stays silent", request, Expected("unionpay", "unknown", "68"))
    last = await _settled(stage, request)
    states = await _states(stage, 9_904)
    row.remark = f"then {_state_name(last)}; the network's book: {', '.join(states)}"
    if last.state != pb.AUTHORIZATION_STATE_REVERSED or states != ["reversed"]:
        row.problem = "was not reversed"
    return row


async def routed_elsewhere(stage: Stage) -> Row:
    await stage.environment.listening("issuer", False)
    try:
        request = stage.terminal.tap(stage.issued, 9_905, stage.issued.pin)
        row = await _pay(stage, "its issuer is down: routed elsewhere", request, _approved("unionpay"))
    finally:
        await stage.environment.listening("issuer", True)
    shown = await stage.client.get(_get(stage, request))
    row.remark = shown.authorization.route_explanation
    await stage.environment.until_ready()
    return row


async def down(stage: Stage) -> Row:
    await stage.environment.listening("alipay", False)
    try:
        request = stage.terminal.code(fresh_code("28"), 9_906)
        return await _pay(stage, "a channel that is down, no other", request, Expected("alipay", "declined", "91"))
    finally:
        await stage.environment.listening("alipay", True)
        await stage.environment.until_ready()


async def killed(stage: Stage) -> Row:
    """SIGKILL with authorizations in flight; a new process finds every one and ends it."""
    count = 20
    await stage.environment.scenario("unionpay", behaviour="delay", delay_ms=120, times=count)
    requests = [stage.terminal.keyed(stage.rich, 20_000 + n) for n in range(count)]
    for request in requests:
        identify(request)
    calls = [asyncio.ensure_future(_or_error(stage.client.authorize(each, BUDGET_MS))) for each in requests]
    await asyncio.sleep(0.08)
    await stage.environment.kill_switch()
    answers = await asyncio.gather(*calls)
    await stage.environment.clear_scenarios("unionpay")
    started_s = time.perf_counter()
    await stage.environment.start_switch()
    ends = [await _settled(stage, each) for each in requests]
    elapsed_s = time.perf_counter() - started_s
    name = "killed with SIGKILL in flight, restarted"
    row = row_of(name, ends[0].answer, 0.0)
    states = [_state_name(each) for each in ends]
    answered = sum(isinstance(each, pb.AuthorizeResponse) for each in answers)
    row.remark = f"{answered} answered before; all {count} ended after {elapsed_s:.1f} s: {_counted(states)}"
    for request, answer, end in zip(requests, answers, ends, strict=True):
        booked = await _states(stage, request.amount.amount_minor)
        row.problem = row.problem or _wrong_after_the_kill(answer, end, booked)
    return row


def _wrong_after_the_kill(answer: Any, end: pb.Authorization, booked: list[str]) -> str:
    """An answer that was given still stands; what was not answered holds no money anywhere."""
    if isinstance(answer, pb.AuthorizeResponse):
        return "" if end.answer == answer else "an answer that was given does not stand"
    if end.state not in _ENDED_WITHOUT_MONEY:
        return f"one stayed {_state_name(end)}"
    return "the network's book still holds one" if "approved" in booked else ""


SCENES: tuple[Scene, ...] = (
    nfc, alipay, wechat, payer_qr, bluetooth, direct_issuer, insufficient_funds, wrong_pin, expired_card, user_paying,
    repeated, other_amount, silent, routed_elsewhere, down, killed,
)  # fmt: skip


# --- what scenes look at ---------------------------------------------------------------------------------------------


def _get(stage: Stage, request: pb.AuthorizeRequest) -> pb.GetRequest:
    """By the id that the switch computes, whether or not an answer came."""
    identity = computed_id("demo", request.merchant_id, request.transmission_time_ms, request.idempotency_key)
    return pb.GetRequest(merchant_id=request.merchant_id, authorization_id=str(identity))


async def _settled(stage: Stage, request: pb.AuthorizeRequest) -> pb.Authorization:
    """The authorization once it is final, watched; empty if the switch knows of none."""
    wanted = _get(stage, request)
    watch = pb.WatchRequest(merchant_id=wanted.merchant_id, authorization_id=wanted.authorization_id)
    last = pb.Authorization()
    until_s = time.perf_counter() + _SETTLE_TIMEOUT_S
    while time.perf_counter() < until_s:
        try:
            async with asyncio.timeout(until_s - time.perf_counter()):
                async for each in stage.client.watch(watch):
                    last = each.authorization
            return last
        except TimeoutError:
            return last
        except PaymentError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return last
            await asyncio.sleep(0.1)  # the switch was restarted, the client is not connected again yet
    return last


def _state_name(shown: pb.Authorization) -> str:
    return pb.AuthorizationState.Name(shown.state).removeprefix("AUTHORIZATION_STATE_").lower()


async def _states(stage: Stage, amount_minor: int) -> list[str]:
    entries = await stage.environment.book("unionpay")
    return [each["state"] for each in entries if each["amount_minor"] == amount_minor and each["kind"] == "sale"]


async def _effects(stage: Stage, amount_minor: int) -> int:
    return sum(state == "approved" for state in await _states(stage, amount_minor))


async def _or_error(answer: Awaitable[pb.AuthorizeResponse]) -> Any:
    try:
        return await answer
    except PaymentError as error:
        return error


def _counted(states: list[str]) -> str:
    return ", ".join(f"{states.count(each)} {each}" for each in sorted(set(states))) or "none"
