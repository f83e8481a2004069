"""From the journal's event to the receiver: once made, delivered until taken, nobody in another's way."""

import asyncio
import base64
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import asyncpg
import pytest
from transaction_scene import Scene, person

from hsm.direct import DirectHsm
from payswitch.v1 import webhook_pb2 as pb
from switch.api.errors import InvalidField
from switch.api.webhook_service import WebhookServicer
from switch.client.webhooks import NotGenuine, verify
from switch.domain.access import Role
from switch.domain.journal_event import EventKind
from switch.domain.money import Money
from switch.domain.refusals import Invalid, Missing, NotPossible, TooMany
from switch.domain.webhook import DeliveryState
from switch.merchants import webhooks as webhooks_module
from switch.merchants.webhook_delivery import LEASE_MS, WebhookWorker, WorkerLimits
from switch.merchants.webhook_sender import Result
from switch.merchants.webhook_target import TargetRules
from switch.merchants.webhooks import Webhooks
from switch.store import webhook_queue
from switch.store.feed_consumer import FeedConsumer
from switch.store.webhook_queue import Circuit, WebhookQueue
from switch.store.webhooks import PostgresWebhooks, queue_events

OWNER = person(Role.MERCHANT_OWNER)
HOUR_MS = 3_600_000
TAKEN, BROKEN = Result(200, "", "ok", 5), Result(500, "status", "sorry", 7)
NEXT_MS = """
SELECT d.due_time_ms, e.circuit_until_ms FROM webhook_deliveries AS d
JOIN webhook_endpoints AS e ON e.merchant_id = d.merchant_id AND e.id = d.endpoint_id WHERE d.merchant_id = $1
"""
_entropy = itertools.count(1)


def entropy(count: int) -> bytes:
    return next(_entropy).to_bytes(count, "big")


@dataclass
class Net:
    """Meets `Sender`. answers: by URL, else taken. hanging: URLs that answer when they are released."""

    answers: dict[str, Result] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def send(self, url: str, headers: dict[str, str], body: bytes) -> Result:
        self.sent.append((url, headers, body))
        if url in self.hanging:
            await self.released.wait()
        return self.answers.get(url, TAKEN)

    def ids(self, url: str = "") -> list[str]:
        return [headers["webhook-id"] for to, headers, _ in self.sent if url in (to, "")]


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def service(scene: Scene, hsm: DirectHsm) -> WebhookServicer:
    store = PostgresWebhooks(scene.database)
    return WebhookServicer(Webhooks(store, hsm, scene.clock, entropy, TargetRules(), most=3))


@pytest.fixture
def worker_of(scene: Scene, hsm: DirectHsm, net: Net) -> Callable[..., WebhookWorker]:
    """Another process's worker each time."""

    def make(at_once: int = 64, of_each: int = 4) -> WebhookWorker:
        queue = WebhookQueue(scene.database, Circuit())
        return WebhookWorker(queue, net, hsm, scene.clock, lambda: 0.5, WorkerLimits(at_once, of_each))

    return make


@pytest.fixture
def worker(worker_of: Callable[..., WebhookWorker]) -> WebhookWorker:
    return worker_of()


async def endpoint(
    service: WebhookServicer, scene: Scene, url: str = "https://a.example/", *types: str
) -> pb.CreateEndpointResponse:
    request = pb.CreateEndpointRequest(merchant_id=scene.merchant_id, url=url, event_types=types or ("*",))
    return await service.CreateEndpoint(request, OWNER)


async def happen(scene: Scene, count: int = 1, kind: EventKind = EventKind.APPROVED) -> None:
    """Payments of which the consumer "webhooks" has told."""
    for _ in range(count):
        await scene.tell(scene.event(await scene.paid(), kind))
    await FeedConsumer(scene.database, "webhooks", queue_events).catch_up()
    scene.clock.now_ms = max(scene.clock.now_ms, await scene.database.fetchval("SELECT now_ms()"))


async def run(worker: WebhookWorker) -> int:
    """Until nothing is due."""
    done = 0
    while begun := await worker.step():
        done += begun
        await worker.settled()
    return done


async def log_of(service: WebhookServicer, scene: Scene, endpoint_id: str, state: int = 0) -> list[pb.WebhookDelivery]:
    """All of it, in pages of two."""
    request = pb.ListDeliveriesRequest(merchant_id=scene.merchant_id, endpoint_id=endpoint_id, page_size=2)
    request.state = state  # type: ignore[assignment]
    found = []
    while True:
        page = await service.ListDeliveries(request, OWNER)
        found += page.deliveries
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def endpoint_of(service: WebhookServicer, scene: Scene) -> pb.WebhookEndpoint:
    request = pb.ListEndpointsRequest(merchant_id=scene.merchant_id)
    [listed] = (await service.ListEndpoints(request, OWNER)).endpoints
    return listed


async def test_an_event_is_told_once_signed_and_without_a_card(
    scene: Scene, service: WebhookServicer, worker: WebhookWorker, net: Net
) -> None:
    made = await endpoint(service, scene)
    await endpoint(service, scene, "https://refunds.example/", "payment.refunded")
    record = await scene.paid(1_234)
    event = scene.event(record, EventKind.REFUNDED, follow_on_id=uuid4(), money=Money(34, "CNY"))
    await scene.tell(scene.event(record))
    await scene.tell(event)
    await FeedConsumer(scene.database, "webhooks", queue_events).catch_up()
    # The consumer's place is lost, as after a restored cursor: the messages are there, and stay one each.
    await scene.database.execute("DELETE FROM feed_cursors")
    await FeedConsumer(scene.database, "webhooks", queue_events).catch_up()
    await happen(scene, 0)
    assert await run(worker) == 3
    assert sorted(url for url, *_ in net.sent) == ["https://a.example/"] * 2 + ["https://refunds.example/"]
    assert len(set(net.ids())) == 3
    _, headers, body = next(each for each in net.sent if b"payment.approved" in each[2])
    assert verify(headers, body, [made.secret], scene.clock.now_ms / 1000) == headers["webhook-id"]
    assert b'"amount_minor":1234' in body
    assert str(record.id).encode() in body
    for secret in (b"622588", b"1234**", record.payer_key):
        assert secret not in body
    [approved] = [
        each for each in await log_of(service, scene, made.endpoint.endpoint_id) if "approved" in each.event_type
    ]
    assert (approved.state, approved.attempts) == (pb.WEBHOOK_DELIVERY_STATE_DELIVERED, 1)
    assert await run(worker) == 0


async def test_other_merchants_and_paused_or_removed_endpoints(
    scene: Scene, service: WebhookServicer, worker: WebhookWorker, net: Net
) -> None:
    paused, removed = await endpoint(service, scene), await endpoint(service, scene, "https://b.example/")
    update = pb.UpdateEndpointRequest(
        merchant_id=scene.merchant_id, endpoint_id=paused.endpoint.endpoint_id,
        state=pb.WEBHOOK_ENDPOINT_STATE_PAUSED,
    )  # fmt: skip
    await service.UpdateEndpoint(update, OWNER)
    key = {"merchant_id": scene.merchant_id, "endpoint_id": removed.endpoint.endpoint_id}
    await service.RemoveEndpoint(pb.RemoveEndpointRequest(**key), OWNER)
    await happen(scene)
    assert await run(worker) == 0
    update.state = pb.WEBHOOK_ENDPOINT_STATE_ACTIVE
    await service.UpdateEndpoint(update, OWNER)
    assert await run(worker) == 1
    assert [url for url, *_ in net.sent] == ["https://a.example/"]
    with pytest.raises(Missing):
        await service.RemoveEndpoint(pb.RemoveEndpointRequest(**key), OWNER)
    sealed = await scene.database.fetchval(
        "SELECT secret FROM webhook_endpoints WHERE merchant_id = $1 AND id = $2",
        scene.merchant_id, UUID(removed.endpoint.endpoint_id),
    )  # fmt: skip
    assert sealed == b""


async def test_a_target_that_answers_500_for_a_day(
    scene: Scene, service: WebhookServicer, worker: WebhookWorker, net: Net
) -> None:
    made = await endpoint(service, scene)
    identity = made.endpoint.endpoint_id
    net.answers["https://a.example/"] = BROKEN
    await happen(scene)
    begun_ms = scene.clock.now_ms
    tries = []
    while (await log_of(service, scene, identity))[0].state == pb.WEBHOOK_DELIVERY_STATE_WAITING:
        tries.append((scene.clock.now_ms - begun_ms) // 1000)
        assert await run(worker) == 1
        await worker.sweep()
        scene.clock.now_ms = max(await scene.database.fetchrow(NEXT_MS, scene.merchant_id))
    # After 5 and 30 s, 2, 5, 15 and 30 minutes, 1, 2, 4 hours and then every 4.
    assert tries == [0, 5, 35, 155, 455, 1_355, 3_155, 6_755, 13_955, 28_355, 42_755, 57_155, 71_555, 85_955]
    assert (await endpoint_of(service, scene)).state == pb.WEBHOOK_ENDPOINT_STATE_ACTIVE
    scene.clock.now_ms = begun_ms + 24 * HOUR_MS
    await worker.sweep()
    assert len(set(net.ids())) == 1
    [dead] = await log_of(service, scene, identity)
    assert (dead.state, dead.attempts) == (pb.WEBHOOK_DELIVERY_STATE_DEAD, len(tries))
    listed = await endpoint_of(service, scene)
    assert (listed.state, listed.failing_since_ms) == (pb.WEBHOOK_ENDPOINT_STATE_DISABLED, begun_ms)
    alerts = await scene.database.fetch("SELECT * FROM webhook_alerts WHERE merchant_id = $1", scene.merchant_id)
    assert [(str(each["endpoint_id"]), each["kind"]) for each in alerts] == [(identity, "disabled")]
    request = pb.GetDeliveryRequest(merchant_id=scene.merchant_id, delivery_id=dead.delivery_id)
    attempts = (await service.GetDelivery(request, OWNER)).attempts
    assert [each.number for each in attempts] == list(range(1, len(tries) + 1))
    assert (attempts[0].status, attempts[0].failure, attempts[0].answer) == (500, "status", "sorry")
    await happen(scene)
    assert len(await log_of(service, scene, identity)) == 1  # for a disabled one no more are made
    await service.UpdateEndpoint(
        pb.UpdateEndpointRequest(
            merchant_id=scene.merchant_id, endpoint_id=identity, state=pb.WEBHOOK_ENDPOINT_STATE_ACTIVE
        ),
        OWNER,
    )
    net.answers.clear()
    replay = pb.ReplayDeliveriesRequest(merchant_id=scene.merchant_id, delivery_id=dead.delivery_id)
    assert (await service.ReplayDeliveries(replay, OWNER)).replayed == 1
    assert await run(worker) == 1
    assert len(set(net.ids())) == 1  # the same id: a receiver that had taken it knows it
    [again] = await log_of(service, scene, identity)
    assert (again.state, again.attempts) == (pb.WEBHOOK_DELIVERY_STATE_DELIVERED, len(tries) + 1)


async def test_one_that_hangs_takes_its_own_places_and_no_others(
    scene: Scene, service: WebhookServicer, worker_of: Callable[..., WebhookWorker], net: Net
) -> None:
    await endpoint(service, scene, "https://slow.example/")
    await endpoint(service, scene, "https://fast.example/")
    net.hanging.add("https://slow.example/")
    await happen(scene, 20)
    worker = worker_of(at_once=8, of_each=4)
    for _ in range(40):
        await worker.step()
        await asyncio.sleep(0.005)
        if len(net.ids("https://fast.example/")) == 20:
            break
    assert len(net.ids("https://slow.example/")) == 4
    assert len(net.ids("https://fast.example/")) == 20
    net.released.set()
    net.hanging.clear()
    await worker.settled()
    await run(worker)
    assert len(net.ids("https://slow.example/")) == 20


async def test_what_is_under_way_counts(scene: Scene, service: WebhookServicer) -> None:
    made = await endpoint(service, scene)
    identity = UUID(made.endpoint.endpoint_id)
    await happen(scene, 10)
    queue = WebhookQueue(scene.database, Circuit())

    async def claimed(under_way: int) -> int:
        return len(await queue.claim(scene.clock.now_ms, 1_000, 4, 10, {identity: under_way}))

    assert [await claimed(count) for count in (3, 4, 9, 0)] == [1, 0, 0, 4]
    await scene.database.execute("UPDATE webhook_endpoints SET failures = 1 WHERE id = $1", identity)
    assert [await claimed(count) for count in (1, 0)] == [0, 1]


async def test_the_circuit_leaves_a_failing_one_alone(
    scene: Scene, service: WebhookServicer, worker: WebhookWorker, net: Net
) -> None:
    await endpoint(service, scene)
    net.answers["https://a.example/"] = BROKEN
    await happen(scene, 50)
    await run(worker)
    sent = len(net.sent)
    assert sent <= 8  # four at once, then one at a time up to five failures
    assert await run(worker) == 0
    scene.clock.now_ms += 60_000
    assert await run(worker) == 1
    net.answers.clear()
    scene.clock.now_ms += 60_000
    await run(worker)
    scene.clock.now_ms += 60_000
    await run(worker)
    assert len(set(net.ids())) == 50


async def test_killed_between_sending_and_recording(
    scene: Scene, service: WebhookServicer, worker_of: Callable[..., WebhookWorker], net: Net
) -> None:
    made = await endpoint(service, scene)
    net.hanging.add("https://a.example/")
    await happen(scene)
    killed = worker_of()
    assert await killed.step() == 1
    while not net.sent:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
    await killed.close()
    net.hanging.clear()
    other = worker_of()
    assert await run(other) == 0  # the lease runs
    scene.clock.now_ms += LEASE_MS
    assert await run(other) == 1
    assert len(net.ids()) == 2
    assert len(set(net.ids())) == 1
    assert net.sent[0][2] == net.sent[1][2]
    [delivery] = await log_of(service, scene, made.endpoint.endpoint_id)
    assert (delivery.state, delivery.attempts) == (pb.WEBHOOK_DELIVERY_STATE_DELIVERED, 1)


async def test_an_attempt_that_outlived_its_lease_records_nothing(scene: Scene, service: WebhookServicer) -> None:
    await endpoint(service, scene)
    await happen(scene)
    queue = WebhookQueue(scene.database, Circuit())
    [(late, _)] = await queue.claim(scene.clock.now_ms, 10, 4, 10, {})
    assert await queue.claim(scene.clock.now_ms, 10, 4, 10, {}) == []
    [(current, _)] = await queue.claim(scene.clock.now_ms + 10, 10, 4, 10, {})
    attempt = webhooks_module.Attempt(1, scene.clock.now_ms, 1, 500, "status", "")
    assert await queue.record(late, attempt, DeliveryState.DEAD, 0) is False
    assert await queue.record(current, attempt, DeliveryState.DELIVERED, 0) is True


async def test_workers_of_several_processes_share_the_queue(
    scene: Scene, service: WebhookServicer, worker_of: Callable[..., WebhookWorker], net: Net
) -> None:
    await endpoint(service, scene)
    await happen(scene, 12)
    workers = [worker_of() for _ in range(3)]
    await asyncio.gather(*(run(each) for each in workers))
    for each in workers:
        await run(each)
    assert len(net.ids()) == len(set(net.ids())) == 12


async def test_both_secrets_sign_while_one_replaces_the_other(
    scene: Scene, service: WebhookServicer, worker: WebhookWorker, net: Net
) -> None:
    made = await endpoint(service, scene)
    key = {"merchant_id": scene.merchant_id, "endpoint_id": made.endpoint.endpoint_id}
    rotated = await service.RotateSecret(pb.RotateSecretRequest(**key, overlap_hours=2), OWNER)  # type: ignore[arg-type]

    async def told() -> tuple[dict[str, str], bytes]:
        await happen(scene)
        await run(worker)
        return net.sent[-1][1:]

    now = lambda: scene.clock.now_ms / 1000  # noqa: E731
    headers, body = await told()
    for secret in (made.secret, rotated.secret):
        verify(headers, body, [secret], now())
    scene.clock.now_ms += 2 * HOUR_MS
    headers, body = await told()
    verify(headers, body, [rotated.secret], now())
    with pytest.raises(NotGenuine):
        verify(headers, body, [made.secret], now())
    at_once = await service.RotateSecret(pb.RotateSecretRequest(**key), OWNER)  # type: ignore[arg-type]
    headers, body = await told()
    verify(headers, body, [at_once.secret], now())
    with pytest.raises(NotGenuine):
        verify(headers, body, [rotated.secret], now())
    audited = await scene.audited("WebhookService.RotateSecret")
    text = str([dict(each) for each in audited])
    for secret in (made.secret, rotated.secret, at_once.secret):
        assert secret not in text
        assert secret.removeprefix("whsec_") not in text


async def test_a_range_is_replayed(
    scene: Scene, service: WebhookServicer, worker: WebhookWorker, net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await endpoint(service, scene)
    key = {"merchant_id": scene.merchant_id, "endpoint_id": made.endpoint.endpoint_id}
    await happen(scene, 5)
    request = pb.ReplayDeliveriesRequest(**key, from_time_ms=1, until_time_ms=scene.clock.now_ms + 1)  # type: ignore[arg-type]
    assert (await service.ReplayDeliveries(request, OWNER)).replayed == 0  # they wait as it is
    assert await run(worker) == 5
    assert len(await log_of(service, scene, made.endpoint.endpoint_id)) == 5
    assert len(await log_of(service, scene, made.endpoint.endpoint_id, pb.WEBHOOK_DELIVERY_STATE_DELIVERED)) == 5
    assert await log_of(service, scene, made.endpoint.endpoint_id, pb.WEBHOOK_DELIVERY_STATE_DEAD) == []
    request.dead_only = True
    assert (await service.ReplayDeliveries(request, OWNER)).replayed == 0
    request.dead_only = False
    monkeypatch.setattr(webhooks_module, "REPLAYED_AT_ONCE", 3)
    first = await service.ReplayDeliveries(request, OWNER)
    assert first.replayed == 3
    request.from_time_ms = first.resume_time_ms
    second = await service.ReplayDeliveries(request, OWNER)
    assert (second.replayed, second.resume_time_ms) == (2, 0)
    assert await run(worker) == 5
    assert sorted(net.ids()[:5]) == sorted(net.ids()[5:])
    assert len(await scene.audited("WebhookService.ReplayDeliveries")) == 4
    request.endpoint_id = str(uuid4())
    with pytest.raises(Missing):
        await service.ReplayDeliveries(request, OWNER)


async def test_pings(scene: Scene, service: WebhookServicer, worker: WebhookWorker, net: Net) -> None:
    made = await endpoint(service, scene, "https://a.example/", "payment.refunded")
    request = pb.PingEndpointRequest(merchant_id=scene.merchant_id, endpoint_id=made.endpoint.endpoint_id)
    identity = (await service.PingEndpoint(request, OWNER)).delivery_id
    assert await run(worker) == 1
    assert net.ids() == [f"msg_{identity}"]
    assert b'"type":"ping"' in net.sent[0][2]
    for _ in range(4):
        await service.PingEndpoint(request, OWNER)
    with pytest.raises(TooMany):
        await service.PingEndpoint(request, OWNER)
    scene.clock.now_ms += 61_000
    await service.PingEndpoint(request, OWNER)


async def test_what_is_refused(scene: Scene, service: WebhookServicer) -> None:
    with pytest.raises(Invalid, match="event_types"):
        await endpoint(service, scene, "https://a.example/", "payment.stolen")
    with pytest.raises(Invalid, match="url"):
        await endpoint(service, scene, "https://169.254.169.254/")
    for _ in range(3):
        made = await endpoint(service, scene)
    with pytest.raises(NotPossible, match="3 endpoints"):
        await endpoint(service, scene)
    update = pb.UpdateEndpointRequest(merchant_id=scene.merchant_id, endpoint_id=made.endpoint.endpoint_id)
    update.state = pb.WEBHOOK_ENDPOINT_STATE_DISABLED
    with pytest.raises(InvalidField, match="state"):
        await service.UpdateEndpoint(update, OWNER)
    update.state, update.url = pb.WEBHOOK_ENDPOINT_STATE_UNSPECIFIED, "https://[::1]/"
    with pytest.raises(Invalid, match="url"):
        await service.UpdateEndpoint(update, OWNER)
    update.url, update.merchant_id = "", "another"
    with pytest.raises(Missing):
        await service.UpdateEndpoint(update, OWNER)
    with pytest.raises(Missing):
        await service.GetDelivery(pb.GetDeliveryRequest(merchant_id="another", delivery_id=str(uuid4())), OWNER)


async def test_a_secret_is_in_no_table_and_no_repr(scene: Scene, service: WebhookServicer) -> None:
    made = await endpoint(service, scene)
    clear = base64.b64decode(made.secret.removeprefix("whsec_"))
    stored = await PostgresWebhooks(scene.database).endpoints(scene.merchant_id)
    assert clear not in stored[0].secret
    assert str(stored[0].secret) not in repr(stored[0])
    [entry] = await scene.audited("WebhookService.CreateEndpoint")
    assert "secret" not in entry["after"]


async def test_the_queue_reads_only_what_is_due(database: asyncpg.Pool) -> None:
    """The plan of a claim, made for unknown values under the pool's own settings, walks the index of what waits."""
    async with database.acquire() as connection:
        await connection.execute(f"PREPARE claiming AS {webhook_queue._CLAIM}")
        rows = await connection.fetch("EXPLAIN EXECUTE claiming (0, 0, 1, 1, '{}', '{}')")
        await connection.execute("DEALLOCATE claiming")
    plan = "\n".join(row[0] for row in rows)
    assert plan.count("webhook_deliveries_waiting") == 3
    assert "due_time_ms <= " in plan
    assert "Seq Scan" not in plan
