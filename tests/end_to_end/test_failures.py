"""Servers that stop and processes that die: nothing is approved that is not durable, and everything ends."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from shop import PAID, SETTLE_TIMEOUT_S, UNDONE, UNIONPAY, WAYS, Shop, Way, decided, state_name, too_slow

from payswitch.v1 import authorization_pb2 as pb
from switch.client.acquirer import AcquirerClient
from switch.client.errors import OutcomeUnknown, PaymentError, SwitchUnavailable
from switch.demo.environment import HOST, Environment
from switch.store.embedded import EmbeddedPostgres, EmbeddedRedis

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def store(breakable: Environment) -> AsyncIterator[Shop]:
    """A shop of the environment that may be broken."""
    async with breakable.client() as client:
        shop = Shop(breakable, client)
        await shop.connected()
        yield shop


def postgres_of(environment: Environment) -> EmbeddedPostgres:
    return environment.postgres


def redis_of(environment: Environment) -> EmbeddedRedis:
    return environment.redis


async def _readiness(environment: Environment) -> str:
    """Not what was remembered from before."""
    await asyncio.sleep(0.6)
    return await environment.get_text(f"{environment.operations_url}/readyz?verbose")


async def answered(client: AcquirerClient, request: pb.AuthorizeRequest) -> pb.AuthorizeResponse | PaymentError:
    try:
        return await client.authorize(request)
    except PaymentError as error:
        return error


async def refused(client: AcquirerClient, request: pb.AuthorizeRequest) -> PaymentError:
    """What the switch says of it, asked again where it was too slow to say anything."""
    for _ in range(200):
        answer = await answered(client, request)
        if not isinstance(answer, OutcomeUnknown):
            break
    assert isinstance(answer, PaymentError), answer
    return answer


async def until_answered(client: AcquirerClient, request: pb.AuthorizeRequest) -> pb.AuthorizeResponse:
    """Send the same request again until the switch takes it on."""
    for _ in range(200):
        answer = await answered(client, request)
        if isinstance(answer, pb.AuthorizeResponse):
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError(f"still {answer}")


async def recorded(shop: Shop, request: pb.AuthorizeRequest) -> bool:
    try:
        await shop.shown(request)
    except PaymentError as error:
        if error.code is grpc.StatusCode.NOT_FOUND:
            return False
        raise
    return True


async def ends_as_told(shop: Shop, way: Way, request: pb.AuthorizeRequest, answer: object) -> str:
    """The state it ends in: as the acquirer was told if it was told anything, and the channel's book agrees."""
    if not isinstance(answer, pb.AuthorizeResponse) and not await recorded(shop, request):
        assert await shop.booked(way, request) == []
        return "never recorded"
    state = await shop.settled(request)
    if isinstance(answer, pb.AuthorizeResponse):
        assert (await shop.shown(request)).answer == answer
        assert state == ("reversed" if decided(answer)[0] == "unknown" else decided(answer)[0])
    booked = [each.standing for each in await shop.booked(way, request)]
    if state == "approved":
        assert booked == [PAID]
    else:
        assert state in ("declined", "reversed")
        assert booked in ([], [UNDONE])
    return state


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


async def test_without_the_database_nothing_is_approved_and_afterwards_the_same_request_is_answered(
    store: Shop,
) -> None:
    before = await store.pay(UNIONPAY)
    sent = [(way, store.order(way)) for way in WAYS * 3]
    await postgres_of(store.environment).stop()
    try:
        for _, request in sent:
            assert isinstance(await refused(store.client, request), SwitchUnavailable)
        assert [await store.booked(way, each) for way, each in sent] == [[]] * len(sent)
        assert "[-] database" in await _readiness(store.environment)
    finally:
        await postgres_of(store.environment).start()
    for way in WAYS:
        await store.until_served(way)
    states = []
    for way, request in sent:
        answer = await until_answered(store.client, request)
        assert decided(answer) == ("approved", "00") or too_slow(answer)
        states.append(await ends_as_told(store, way, request, answer))
    # A machine too slow for all three of a channel would not have served it just now.
    assert {way for (way, _), state in zip(sent, states, strict=True) if state == "approved"} == set(WAYS)
    assert state_name(await store.shown(before)) == "approved"


async def test_a_database_that_goes_while_payments_are_in_flight_loses_none(store: Shop) -> None:
    sent: list[tuple[Way, pb.AuthorizeRequest]] = []
    for way in WAYS:
        for _ in range(5):
            request = store.order(way)
            await store.scripted(way, request, "delay", delay_ms=100)
            sent.append((way, request))
    calls = [asyncio.ensure_future(answered(store.client, each)) for _, each in sent]
    await asyncio.sleep(0.03)
    await postgres_of(store.environment).stop()
    answers = await asyncio.gather(*calls)
    await postgres_of(store.environment).start()
    await store.environment.until_ready()
    for (way, request), answer in zip(sent, answers, strict=True):
        await ends_as_told(store, way, request, answer)


# --- Redis -----------------------------------------------------------------------------------------------------------


async def test_without_redis_payments_go_on_by_policy(store: Shop) -> None:
    environment = store.environment
    await redis_of(environment).stop()
    try:
        for way in WAYS:
            for _ in range(3):
                await store.pay(way)
        ready = await _readiness(environment)
        assert ready.splitlines()[-1] == "ready, degraded"
        assert "[!] counters" in ready
    finally:
        await redis_of(environment).start()
    await environment.until_ready()
    await store.pay(UNIONPAY)


# --- the network -----------------------------------------------------------------------------------------------------


async def test_a_network_that_sends_garbage_is_left_and_found_again(store: Shop) -> None:
    """Something else listens where UnionPay's network was, and talks nonsense."""
    environment = store.environment
    talked = asyncio.Event()

    async def talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 8)
        await reader.read(1024)
        writer.close()
        talked.set()

    await environment.listening("unionpay", False)
    nonsense = await asyncio.start_server(talk_nonsense, HOST, environment.ports.unionpay)
    try:
        await asyncio.wait_for(talked.wait(), 30)
        request = store.order(UNIONPAY)
        assert decided(await until_answered(store.client, request))[0] in ("declined", "unknown")
        assert "[!] channel/unionpay" in await _readiness(environment)
    finally:
        nonsense.close()
        await nonsense.wait_closed()
        await environment.listening("unionpay", True)
    await store.until_served(UNIONPAY)
    assert await store.settled(request) in ("declined", "reversed")


# --- the switch ------------------------------------------------------------------------------------------------------


async def _scripted(shop: Shop, behaviour: str, count: int) -> list[tuple[Way, pb.AuthorizeRequest]]:
    made = [(way, shop.order(way)) for way in itertools.islice(itertools.cycle(WAYS), count)]
    for way, request in made:
        await shop.scripted(way, request, behaviour, delay_ms=60)
    return made


async def _calling(shop: Shop, request: pb.AuthorizeRequest) -> "asyncio.Future[pb.AuthorizeResponse | PaymentError]":
    call = asyncio.ensure_future(answered(shop.client, request))
    await asyncio.sleep(0.004)
    return call


async def test_what_a_killed_switch_left_in_flight_ends_and_what_it_answered_stands(store: Shop) -> None:
    """Killed while some are answered, some are at their channel and some are at the door."""
    first, silent = await _scripted(store, "delay", 20), await _scripted(store, "silent", 12)
    last = await _scripted(store, "delay", 8)
    sent = [*first, *silent, *last]
    calls = [await _calling(store, request) for _, request in first]
    for each in asyncio.as_completed(calls):
        if isinstance(await each, pb.AuthorizeResponse):
            break
    # Killed as soon as a channel has one of those that it never answers, and with it some that have hardly left.
    calls += [await _calling(store, request) for _, request in silent]
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while not any([await store.booked(way, request) for way, request in silent[: len(WAYS)]]):
            continue
    calls += [await _calling(store, request) for _, request in last]
    await store.environment.kill_switch()
    answers = await asyncio.gather(*calls)
    told = [isinstance(each, pb.AuthorizeResponse) for each in answers]
    assert any(told), "the switch was killed before it answered anything"
    assert not all(told), "the switch was killed after it had answered everything"
    await store.environment.start_switch()
    await store.connected()
    states = [
        await ends_as_told(store, way, request, answer) for (way, request), answer in zip(sent, answers, strict=True)
    ]
    assert "reversed" in states
    # Whatever became of it, the same request sent again is answered and has no second effect.
    for (way, request), answer in zip(sent, answers, strict=True):
        again = await until_answered(store.client, request)
        if isinstance(answer, pb.AuthorizeResponse):
            assert again == answer
        assert len(await store.booked(way, request)) <= 1


async def test_sigterm_tells_health_first_and_answers_what_is_in_flight(store: Shop) -> None:
    environment = store.environment
    sent: list[tuple[Way, pb.AuthorizeRequest]] = []
    for way in WAYS * 5:
        sent.append((way, store.order(way)))
        await store.scripted(way, sent[-1][1], "delay", delay_ms=50)
    afterwards = store.order(UNIONPAY)

    async def pay_once_not_serving() -> pb.AuthorizeResponse | PaymentError:
        """Health says so before anybody is refused: balancers need the time to look."""
        async with grpc.aio.insecure_channel(f"{HOST}:{environment.ports.operations_grpc}") as channel:
            watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            started.set_result(await watching.read())
            while (await watching.read()).status != health_pb2.HealthCheckResponse.NOT_SERVING:
                continue
            answer = await answered(store.client, afterwards)
            watching.cancel()
        return answer

    started: asyncio.Future[health_pb2.HealthCheckResponse] = asyncio.get_running_loop().create_future()
    late = asyncio.ensure_future(pay_once_not_serving())
    assert (await started).status == health_pb2.HealthCheckResponse.SERVING
    calls = [asyncio.ensure_future(answered(store.client, each)) for _, each in sent]
    await asyncio.sleep(0.02)
    try:
        assert await environment.stop_switch() == 0
        answers = await asyncio.gather(*calls, late)
    finally:
        await environment.start_switch()
        await store.connected()
    # Every one has its answer, and it stands; unknown where the machine was too slow for the channel's or for ours.
    said = {each.code if isinstance(each, PaymentError) else decided(each) for each in answers}
    assert said <= {("approved", "00"), ("unknown", "68"), grpc.StatusCode.DEADLINE_EXCEEDED}
    for (way, request), answer in zip((*sent, (UNIONPAY, afterwards)), answers, strict=True):
        await ends_as_told(store, way, request, answer)


async def test_a_switch_without_its_parent_ends_by_itself(store: Shop) -> None:
    """A demo that was killed leaves no process behind."""
    process = store.environment.switch
    assert process is not None
    running = process._process
    assert running is not None
    assert running.stdin is not None
    running.stdin.close()
    assert await asyncio.wait_for(running.wait(), 30) == 0
    await store.environment.start_switch()
    await store.until_served(UNIONPAY)
