"""Refunds by people: limits, two persons, races, and the ways in which a refund stays open."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from transaction_scene import Road, Scene, person

from hsm.direct import DirectHsm
from payswitch.v1 import common_pb2
from payswitch.v1 import refund_pb2 as pb
from switch.api.errors import InvalidField
from switch.api.refund_service import RefundServicer
from switch.domain.access import Caller, Role
from switch.domain.authorization import Authorization
from switch.domain.journal_event import EventKind
from switch.domain.money import Money
from switch.domain.refund import Refund, RefundLimit, RefundState
from switch.domain.refusals import Exists, Invalid, Missing, NotPermitted, NotPossible
from switch.domain.states import Operation, State
from switch.merchants.page_tokens import PageTokens
from switch.merchants.refunds import Asked, Refunds
from switch.payments.errors import NotFound, TransmissionTimeRefused, Unavailable
from switch.store.feed_consumer import FeedConsumer
from switch.store.refunds import PostgresRefunds, finish_from_feed

OWNER, OTHER_OWNER = person(Role.MERCHANT_OWNER), person(Role.MERCHANT_OWNER)
MANAGER, CASHIER = person(Role.MERCHANT_MANAGER), person(Role.MERCHANT_CASHIER)


@pytest.fixture
def disputed() -> dict[UUID, int]:
    return {}


@pytest.fixture
def refunds(scene: Scene, road: Road, hsm: DirectHsm, disputed: dict[UUID, int]) -> Refunds:
    async def of(merchant_id: str, authorization_id: UUID) -> int:
        return disputed.get(authorization_id, 0)

    async def told(credential_id: str) -> frozenset[str]:
        return frozenset({MANAGER.name}) if credential_id == "c1" else frozenset()

    return Refunds(PostgresRefunds(scene.database), road, PageTokens(hsm), scene.clock, of, told)


def asked(record: Authorization, amount_minor: int, key: str = "", currency: str = "CNY") -> Asked:
    return Asked(record.merchant_id, record.id, Money(amount_minor, currency), "goods returned", key or uuid4().hex)


async def limit(refunds: Refunds, scene: Scene, holder: str, each: int, day: int, step_up: int = 10**9) -> None:
    await refunds.set_limit(OWNER, scene.merchant_id, RefundLimit(holder, "CNY", each, day, step_up))


async def refunded_minor(scene: Scene, record: Authorization) -> int:
    found = await scene.journal.find(record.merchant_id, record.id)
    assert found is not None
    return found.refunded_minor


async def test_an_owner_refunds_at_once(scene: Scene, refunds: Refunds, road: Road) -> None:
    record = await scene.paid(1_000)
    refund = await refunds.request(OWNER, asked(record, 400))
    assert (refund.state, refund.response_code) == (RefundState.DONE, "00")
    [request] = road.asked
    assert (request.operation, request.acquirer_id, request.money) == (
        Operation.REFUND,
        "acquirer",
        Money(400, "CNY"),
    )
    assert await refunded_minor(scene, record) == 400
    [entry] = await scene.audited("RefundService.RequestRefund")
    assert (entry["who"], entry["subject"]) == (OWNER.name, f"refund/{refund.id}")


async def test_a_repeat_moves_money_once(scene: Scene, refunds: Refunds, road: Road) -> None:
    record = await scene.paid(1_000)
    first = asked(record, 400, "key")
    once, twice = await asyncio.gather(refunds.request(OWNER, first), refunds.request(OWNER, first))
    again = await refunds.request(OWNER, first)
    assert once.id == twice.id == again.id
    assert again.state is RefundState.DONE
    assert await refunded_minor(scene, record) == 400
    for other in (asked(record, 401, "key"), replace(first, reason="other")):
        with pytest.raises(Exists):
            await refunds.request(OWNER, other)
    with pytest.raises(Exists):
        await refunds.request(MANAGER, first)


async def test_above_the_limit_another_person_decides(scene: Scene, refunds: Refunds, road: Road) -> None:
    record = await scene.paid(1_000)
    await limit(refunds, scene, "cashier", 100, 1_000)
    assert (await refunds.request(CASHIER, asked(record, 100))).state is RefundState.DONE
    waiting = await refunds.request(CASHIER, asked(record, 101))
    assert (waiting.state, len(road.asked)) == (RefundState.WAITING, 1)
    same_person = replace(MANAGER, name=CASHIER.name, user_id=CASHIER.user_id)
    credential = Caller("credential/c1", frozenset({Role.MERCHANT_OWNER}), merchant_id=scene.merchant_id)
    for nobody in (same_person, credential):
        with pytest.raises(NotPermitted):
            await refunds.approve(nobody, scene.merchant_id, waiting.id)
    approved = await refunds.approve(MANAGER, scene.merchant_id, waiting.id)
    assert (approved.state, approved.decided_by) == (RefundState.DONE, MANAGER.name)
    assert await refunds.approve(MANAGER, scene.merchant_id, waiting.id) == approved
    with pytest.raises(NotPossible, match="DONE"):
        await refunds.decline(OWNER, scene.merchant_id, waiting.id, "too late")
    assert await refunded_minor(scene, record) == 201
    [entry] = await scene.audited("RefundService.ApproveRefund")
    assert (entry["who"], entry["before"]) == (MANAGER.name, '{"state":"WAITING"}')


async def test_without_a_limit_others_than_owners_ask(scene: Scene, refunds: Refunds) -> None:
    record = await scene.paid(1_000)
    waiting = await refunds.request(MANAGER, asked(record, 1))
    assert waiting.state is RefundState.WAITING
    declined = await refunds.decline(OWNER, scene.merchant_id, waiting.id, "not ours")
    assert (declined.state, declined.decision_reason) == (RefundState.DECLINED, "not ours")
    with pytest.raises(NotPossible, match="DECLINED"):
        await refunds.approve(OWNER, scene.merchant_id, waiting.id)
    assert await refunded_minor(scene, record) == 0


async def test_nobody_approves_what_his_own_machine_asked_for(scene: Scene, refunds: Refunds) -> None:
    """Two people, not one and the credential that he made."""
    record = await scene.paid(1_000)
    credential = Caller("credential/c1", frozenset({Role.MERCHANT_MANAGER}), merchant_id=scene.merchant_id)
    waiting = await refunds.request(credential, asked(record, 400))
    with pytest.raises(NotPermitted, match="secret"):
        await refunds.approve(MANAGER, scene.merchant_id, waiting.id)
    other = person(Role.MERCHANT_MANAGER)
    assert (await refunds.approve(other, scene.merchant_id, waiting.id)).state is RefundState.DONE
    by_owner = await refunds.request(credential, asked(record, 400))
    assert (await refunds.approve(OWNER, scene.merchant_id, by_owner.id)).state is RefundState.DONE


async def test_the_limit_of_a_role_is_not_its_credentials(scene: Scene, refunds: Refunds) -> None:
    """Else ten credentials that a manager makes would refund ten times his day's sum."""
    record = await scene.paid(1_000)
    await limit(refunds, scene, "manager", 500, 500)
    credential = Caller("credential/c2", frozenset({Role.MERCHANT_MANAGER}), merchant_id=scene.merchant_id)
    assert (await refunds.request(credential, asked(record, 1))).state is RefundState.WAITING
    assert (await refunds.request(MANAGER, asked(record, 400))).state is RefundState.DONE


async def test_an_api_credential_has_no_limit_until_it_is_given_one(scene: Scene, refunds: Refunds) -> None:
    record = await scene.paid(200_000)
    credential = Caller("credential/c1", frozenset({Role.MERCHANT_OWNER}), merchant_id=scene.merchant_id)
    assert (await refunds.request(credential, asked(record, 1))).state is RefundState.WAITING
    await limit(refunds, scene, "credential/c1", 150_000, 150_000, step_up=0)
    assert (await refunds.request(credential, asked(record, 150_000))).state is RefundState.DONE
    assert (await refunds.request(credential, asked(record, 1))).state is RefundState.WAITING


async def test_two_who_decide_at_once(scene: Scene, refunds: Refunds, road: Road) -> None:
    record = await scene.paid(1_000)
    waiting = await refunds.request(CASHIER, asked(record, 700))
    results = await asyncio.gather(
        refunds.approve(OWNER, scene.merchant_id, waiting.id),
        refunds.approve(OTHER_OWNER, scene.merchant_id, waiting.id),
        refunds.decline(MANAGER, scene.merchant_id, waiting.id, "no"),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Refund) for each in results) == 1
    assert sum(isinstance(each, NotPossible) for each in results) == 2
    stored = await refunds.find(OWNER, scene.merchant_id, waiting.id)
    assert await refunded_minor(scene, record) == (700 if stored.state is RefundState.DONE else 0)


async def test_refunds_that_race_never_exceed_what_was_captured(scene: Scene, refunds: Refunds) -> None:
    record = await scene.paid(1_000)
    results = await asyncio.gather(
        *(refunds.request(OWNER, asked(record, 300)) for _ in range(6)), return_exceptions=True
    )
    done = [each for each in results if isinstance(each, Refund) and each.state is RefundState.DONE]
    assert len(done) == 3
    for each in results:
        if isinstance(each, Refund) and each.state is RefundState.FAILED:
            assert (each.response_code, each.response_reason) == ("64", "more than was captured")
        else:
            assert isinstance(each, Refund | NotPossible)
    assert await refunded_minor(scene, record) == 900
    with pytest.raises(NotPossible, match="at most 100 minor units remain"):
        await refunds.request(OWNER, asked(record, 101))


async def test_what_waits_or_is_disputed_cannot_be_promised_again(
    scene: Scene, refunds: Refunds, disputed: dict[UUID, int]
) -> None:
    record = await scene.paid(1_000)
    waiting = await refunds.request(CASHIER, asked(record, 600))
    with pytest.raises(NotPossible, match=r"at most 400 .* waiting for approval 600"):
        await refunds.request(OWNER, asked(record, 401))
    disputed[record.id] = 500
    with pytest.raises(NotPossible, match="disputed 500"):
        await refunds.approve(OWNER, scene.merchant_id, waiting.id)
    disputed[record.id] = 400
    assert (await refunds.approve(OWNER, scene.merchant_id, waiting.id)).state is RefundState.DONE


async def test_the_days_limit_counts_what_races_and_gives_back_what_failed(
    scene: Scene, refunds: Refunds, road: Road
) -> None:
    await limit(refunds, scene, MANAGER.name, 100, 250)
    records = [await scene.paid(1_000) for _ in range(5)]
    results = await asyncio.gather(*(refunds.request(MANAGER, asked(record, 100)) for record in records))
    assert [each.state for each in results].count(RefundState.DONE) == 2
    assert [each.state for each in results].count(RefundState.WAITING) == 3
    road.outcome = State.DECLINED
    failed = await refunds.request(MANAGER, asked(records[0], 50))
    assert (failed.state, failed.response_code, failed.counted) == (RefundState.FAILED, "57", False)
    road.outcome = State.APPROVED
    assert (await refunds.request(MANAGER, asked(records[0], 50))).state is RefundState.DONE
    assert (await refunds.request(MANAGER, asked(records[0], 1))).state is RefundState.WAITING
    scene.clock.now_ms += 86_400_000
    assert (await refunds.request(MANAGER, asked(await scene.paid(), 100))).state is RefundState.DONE


async def test_a_second_factor_from_an_amount_on(scene: Scene, refunds: Refunds) -> None:
    record = await scene.paid(200_000)
    with pytest.raises(NotPermitted, match="step-up needed"):
        await refunds.request(OWNER, asked(record, 100_000))
    assert (await refunds.request(OWNER, asked(record, 99_999))).state is RefundState.DONE
    shown = replace(OWNER, stepped_up=True)
    assert (await refunds.request(shown, asked(record, 100_000))).state is RefundState.DONE


async def test_what_cannot_be_refunded(scene: Scene, refunds: Refunds) -> None:
    record = await scene.paid(1_000)
    with pytest.raises(Missing):
        await refunds.request(OWNER, replace(asked(record, 1), authorization_id=uuid4()))
    with pytest.raises(Missing):
        await refunds.request(OWNER, replace(asked(record, 1), merchant_id="another"))
    with pytest.raises(Invalid, match="currency"):
        await refunds.request(OWNER, asked(record, 1, currency="USD"))
    declined = await scene.paid(state=State.DECLINED, approved_minor=0, captured_minor=0)
    with pytest.raises(NotPossible, match="DECLINED"):
        await refunds.request(OWNER, asked(declined, 1))


async def test_an_unknown_refund_is_pending_until_the_feed_tells(scene: Scene, refunds: Refunds, road: Road) -> None:
    record = await scene.paid(1_000)
    road.outcome = State.UNKNOWN
    refund = await refunds.request(OWNER, asked(record, 400))
    assert refund.state is RefundState.PENDING
    event = scene.event(
        record, EventKind.REFUNDED, follow_on_id=refund.follow_on_id, money=refund.money, time_ms=scene.clock.now_ms
    )
    await scene.tell(event)
    await FeedConsumer(scene.database, "transactions", finish_from_feed).catch_up()
    assert (await refunds.find(OWNER, scene.merchant_id, refund.id)).state is RefundState.DONE


async def test_an_unknown_refund_that_was_refused_is_found(scene: Scene, refunds: Refunds, road: Road) -> None:
    record = await scene.paid(1_000)
    road.outcome = State.UNKNOWN
    refund = await refunds.request(OWNER, asked(record, 400))
    assert await refunds.resume() == 0  # not due yet
    await scene.database.execute(
        "UPDATE follow_ons SET state = 4, response_code = '57', reason = 'refused' WHERE merchant_id = $1 AND id = $2",
        scene.merchant_id, refund.follow_on_id,
    )  # fmt: skip
    scene.clock.now_ms += 60_000
    assert await refunds.resume() == 1
    found = await refunds.find(OWNER, scene.merchant_id, refund.id)
    assert (found.state, found.response_reason) == (RefundState.FAILED, "refused")
    assert await refunds.resume() == 0


async def test_a_refund_whose_process_died_is_sent_once(scene: Scene, refunds: Refunds, road: Road) -> None:
    record = await scene.paid(1_000)
    road.fails = Unavailable("gone")
    refund = await refunds.request(OWNER, asked(record, 400, "key"))
    assert refund.state is RefundState.SENDING
    road.fails = None
    scene.clock.now_ms += 60_000
    assert await refunds.resume() == 1
    assert (await refunds.request(OWNER, asked(record, 400, "key"))).state is RefundState.DONE
    assert await refunded_minor(scene, record) == 400
    assert len(road.asked) == 1


async def test_a_refund_too_old_to_send_is_what_the_journal_has_of_it(
    scene: Scene, refunds: Refunds, road: Road
) -> None:
    record = await scene.paid(1_000)
    road.fails = Unavailable("gone")
    never = await refunds.request(OWNER, asked(record, 100))
    road.fails = None
    sent = await refunds.request(OWNER, asked(record, 200))
    await scene.database.execute(
        "UPDATE merchant_refunds SET state = 2 WHERE merchant_id = $1 AND id = $2", scene.merchant_id, sent.id
    )
    road.fails = TransmissionTimeRefused("too old")
    scene.clock.now_ms += 90_000_000
    assert await refunds.resume() == 2
    found = await refunds.find(OWNER, scene.merchant_id, never.id)
    assert (found.state, found.response_reason) == (RefundState.FAILED, "it could not be sent in time: too old")
    assert (await refunds.find(OWNER, scene.merchant_id, sent.id)).state is RefundState.DONE


async def test_a_refund_that_the_road_refuses_has_failed(scene: Scene, refunds: Refunds, road: Road) -> None:
    road.fails = NotFound("no such authorization")
    refund = await refunds.request(OWNER, asked(await scene.paid(), 100))
    assert (refund.state, refund.response_reason) == (RefundState.FAILED, "no such authorization")


async def test_what_nobody_approves_expires(scene: Scene, refunds: Refunds) -> None:
    record = await scene.paid(1_000)
    waiting = await refunds.request(CASHIER, asked(record, 600))
    scene.clock.now_ms += 8 * 86_400_000
    with pytest.raises(NotPossible, match="in time"):
        await refunds.approve(OWNER, scene.merchant_id, waiting.id)
    assert (await refunds.find(OWNER, scene.merchant_id, waiting.id)).state is RefundState.EXPIRED
    assert (await refunds.request(OWNER, asked(record, 1_000))).state is RefundState.DONE


async def test_a_cashier_finds_his_own(scene: Scene, refunds: Refunds) -> None:
    record = await scene.paid(1_000)
    mine = await refunds.request(CASHIER, asked(record, 1))
    others = await refunds.request(OWNER, asked(record, 1))
    assert (await refunds.find(CASHIER, scene.merchant_id, mine.id)).id == mine.id
    with pytest.raises(Missing):
        await refunds.find(CASHIER, scene.merchant_id, others.id)
    with pytest.raises(Missing):
        await refunds.find(OWNER, "another", mine.id)


async def test_the_calls(scene: Scene, refunds: Refunds) -> None:
    service, record = RefundServicer(refunds), await scene.paid(1_000)
    limit_ = pb.RefundLimit(holder="manager", currency="CNY", each_minor=10, day_minor=100, step_up_minor=5)
    request = pb.SetRefundLimitRequest(merchant_id=scene.merchant_id, limit=limit_)
    assert (await service.SetRefundLimit(request, OWNER)).limit == limit_
    request.limit.each_minor = 20
    await service.SetRefundLimit(request, OWNER)
    changes = await scene.audited("RefundService.SetRefundLimit")
    assert [('"each_minor":10' in each["before"], '"each_minor":20' in each["after"]) for each in changes] == [
        (False, False),
        (True, True),
    ]
    listed = await service.ListRefundLimits(pb.ListRefundLimitsRequest(merchant_id=scene.merchant_id), OWNER)
    assert [each.each_minor for each in listed.limits] == [20]
    for index in range(3):
        wanted = pb.RequestRefundRequest(
            merchant_id=scene.merchant_id, authorization_id=str(record.id), reason="r", idempotency_key=f"k{index}",
            amount=common_pb2.Money(amount_minor=10 + index, currency="CNY"),
        )  # fmt: skip
        refund = (await service.RequestRefund(wanted, OWNER)).refund
        assert refund.state == pb.MERCHANT_REFUND_STATE_DONE
        scene.clock.now_ms += 1
    listing = pb.ListRefundsRequest(merchant_id=scene.merchant_id, page_size=2, state=pb.MERCHANT_REFUND_STATE_DONE)
    first = await service.ListRefunds(listing, OWNER)
    listing.page_token = first.next_page_token
    second = await service.ListRefunds(listing, OWNER)
    assert [each.amount.amount_minor for each in (*first.refunds, *second.refunds)] == [12, 11, 10]
    assert second.next_page_token == ""
    for wrong in ("boss", "user/1", "credential/"):
        request.limit.holder = wrong
        with pytest.raises(InvalidField, match="holder"):
            await service.SetRefundLimit(request, OWNER)
