"""Cases: alerts become one, an analyst takes it, acts and closes it; its outcome labels its payments."""

import asyncio
import json
from uuid import UUID

import asyncpg
import pytest
from case_scene import DAY_MS, CaseScene, alert, case_scene, key
from desk_scene import ANN, BOB, NOW_MS

from switch.domain.refusals import Invalid, Missing, NotPermitted, NotPossible
from switch.domain.risk import Label, ListKind, Outcome, Subject
from switch.domain.risk_case import CaseAction, CaseOutcome, CaseQueue, CaseState
from switch.domain.risk_listing import BatchState
from switch.risk.case_desk import Deed
from switch.risk.payment_alerts import PaymentAlerts
from switch.risk.rules import RuleSet
from switch.risk.watch import rules_of
from switch.store.feed_consumer import FeedConsumer
from switch.store.payment_alerts import CONSUMER, telling
from switch.store.risk_cases import DisputeLabels
from switch.store.risk_releases import PostgresReleases

CARD, MERCHANT, USER = Subject.CARD, Subject.MERCHANT, Subject.USER


@pytest.fixture
async def scene(database: asyncpg.Pool) -> CaseScene:
    return await case_scene(database)


# --- alerts -----------------------------------------------------------------------------------------------------------


async def test_alerts_of_one_subject_are_one_case(scene: CaseScene) -> None:
    await scene.alerts.raise_alerts([alert(severity=300), alert(severity=700), alert(of=key(2))])
    first, second = await scene.desk.queue(CaseQueue(), None, 10)
    assert (first.key, first.severity, first.alerts) == (key(1), 700, 2)
    assert (second.key, second.severity, second.alerts) == (key(2), 400, 1)


async def test_an_alert_told_twice_is_one(scene: CaseScene) -> None:
    one = alert()
    await scene.alerts.raise_alerts([one, one])
    await asyncio.gather(*(scene.alerts.raise_alerts([one]) for _ in range(4)))
    [case] = await scene.desk.queue(CaseQueue(), None, 10)
    assert case.alerts == 1
    assert [each.count for each in (await scene.file(case.id)).alerts] == [1]


async def test_an_alert_told_by_several_at_once_opens_one_case(scene: CaseScene) -> None:
    one = alert()
    await asyncio.gather(*(scene.alerts.raise_alerts([one, alert()]) for _ in range(4)))
    [case] = await scene.desk.queue(CaseQueue(), None, 10)
    assert case.alerts == len((await scene.file(case.id)).alerts) == 5


async def test_after_it_is_closed_a_new_alert_opens_another_case(scene: CaseScene) -> None:
    first = await scene.opened()
    await scene.desk.close(first, CaseOutcome.UNDECIDED, "nothing found", 0, ANN)
    second = await scene.opened()
    assert first != second
    assert [each.id for each in (await scene.file(second)).others] == [first]
    with pytest.raises(NotPossible, match="another case"):
        await scene.desk.reopen(first, "again", ANN)


async def test_the_queue_is_by_severity_and_in_pages(scene: CaseScene) -> None:
    for number in range(5):
        await scene.opened(of=key(number), severity=100 * (number % 3 + 1))
    page = await scene.desk.queue(CaseQueue(), None, 3)
    rest = await scene.desk.queue(CaseQueue(), page[-1], 3)
    assert [each.severity for each in (*page, *rest)] == [300, 200, 200, 100, 100]
    assert len({each.id for each in (*page, *rest)}) == 5
    assert [each.severity for each in await scene.desk.queue(CaseQueue(least_severity=201), None, 9)] == [300]
    assert await scene.desk.queue(CaseQueue(subject=USER), None, 9) == []


# --- alerts of payments -----------------------------------------------------------------------------------------------

RULES = """
name = "t"
[[rules]]
id = "busy_user"
version = 1
owner = "ann"
when = "user_count_1h > 3"
action = "review"
reason = { en = "too much", zh = "过多" }
[[rules]]
id = "no_pin"
version = 1
owner = "ann"
when = "card_known && !pin_given"
action = "limit"
limit_minor = 100
response_code = "61"
reason = { en = "needs a PIN", zh = "需密码" }
"""


def follower(scene: CaseScene) -> FeedConsumer:
    rules: RuleSet = rules_of(RULES.encode(), 0)
    alerts = PaymentAlerts(PostgresReleases(scene.pool), rules, window_ms=3_600_000)
    return FeedConsumer(scene.pool, CONSUMER, telling(alerts))


async def test_a_thousand_payments_that_one_rule_fires_for_are_one_alert(scene: CaseScene) -> None:
    subjects = {CARD: key(1), USER: key(2), MERCHANT: key(3)}
    payments = [await scene.judged(subjects, Outcome.REVIEW, fired=("busy_user",)) for _ in range(40)]
    for each in payments:
        await scene.told(each, kind=1)
    await follower(scene).catch_up()
    [case] = await scene.desk.queue(CaseQueue(), None, 10)
    assert (case.subject, case.key, case.alerts) == (USER, key(2), 40)
    file = await scene.file(case.id)
    [told] = file.alerts
    assert (told.kind, told.count, told.text) == (
        "busy_user",
        40,
        "to be reviewed by busy_user: 1200 CNY (minor units)",
    )
    assert json.loads(told.facts)["fired"] == ["busy_user"]
    assert {each.authorization_id for each in file.payments} == set(payments)
    await follower(scene).catch_up()
    assert (await scene.file(case.id)).case.alerts == 40


async def test_the_next_window_is_another_alert_of_the_same_case(scene: CaseScene) -> None:
    for hour in (1, 3):
        identity = await scene.judged(
            {CARD: key(1)}, Outcome.DECLINE, fired=("list:stolen",), time_ms=NOW_MS - hour * 3_600_000
        )
        await scene.told(identity)
    await follower(scene).catch_up()
    [case] = await scene.desk.queue(CaseQueue(), None, 10)
    assert [each.kind for each in (await scene.file(case.id)).alerts] == ["list:stolen"] * 2


async def test_what_passed_and_what_asks_for_a_pin_is_no_alert(scene: CaseScene) -> None:
    for outcome, fired in ((Outcome.PASS, ()), (Outcome.STEP_UP, ()), (Outcome.DECLINE, ("no_pin",))):
        await scene.told(await scene.judged({CARD: key(1)}, outcome, fired=fired))
    assert await follower(scene).catch_up() == 3
    assert await scene.desk.queue(CaseQueue(), None, 10) == []


# --- working on a case ------------------------------------------------------------------------------------------------


async def test_of_two_who_take_it_at_once_one_has_it(scene: CaseScene) -> None:
    case_id = await scene.opened()
    both = await asyncio.gather(scene.desk.take(case_id, ANN), scene.desk.take(case_id, BOB), return_exceptions=True)
    assert sum(isinstance(each, NotPossible) for each in both) == 1
    file = await scene.file(case_id)
    assert file.case.assigned_to in (ANN.name, BOB.name)
    assert [each.act for each in file.events] == ["taken"]
    owner = ANN if file.case.assigned_to == ANN.name else BOB
    assert await scene.desk.take(case_id, owner) == file.case
    assert [each.id for each in await scene.desk.queue(CaseQueue(assigned_to=owner.name), None, 9)] == [case_id]
    assert await scene.desk.queue(CaseQueue(assigned_to=""), None, 9) == []


async def test_it_is_handed_over_as_it_was_seen(scene: CaseScene) -> None:
    case = await scene.desk.take(await scene.opened(), ANN)
    given = await scene.desk.assign(case.id, BOB.name, case.version, ANN)
    assert given.assigned_to == BOB.name
    with pytest.raises(NotPossible, match="version"):
        await scene.desk.assign(case.id, ANN.name, case.version, ANN)
    with pytest.raises(Invalid):
        await scene.desk.assign(case.id, "finance/eve", 0, ANN)


async def test_its_history_and_the_audit_trail_have_everything(scene: CaseScene) -> None:
    case_id = await scene.opened()
    await scene.desk.take(case_id, ANN)
    await scene.desk.note(case_id, "the payer was called\nand knows nothing", ANN)
    await scene.desk.close(case_id, CaseOutcome.CONFIRMED_FRAUD, "card stolen", 0, ANN)
    await scene.desk.reopen(case_id, "the payer remembers", BOB)
    file = await scene.file(case_id)
    assert [(each.number, each.who, each.act) for each in file.events] == [
        (1, ANN.name, "taken"), (2, ANN.name, "noted"), (3, ANN.name, "closed as CONFIRMED_FRAUD"),
        (4, BOB.name, "reopened"),
    ]  # fmt: skip
    assert file.case.state is CaseState.OPEN
    assert file.case.outcome is None
    assert await scene.audited() == [
        "risk/ann TakeCase", "risk/ann AddCaseNote", "risk/ann CloseCase", "risk/bob ReopenCase",
    ]  # fmt: skip


async def test_a_closed_case_is_not_worked_on(scene: CaseScene) -> None:
    case_id = await scene.opened()
    await scene.desk.close(case_id, CaseOutcome.UNDECIDED, "nothing", 0, ANN)
    for work in (
        scene.desk.note(case_id, "more", ANN),
        scene.desk.take(case_id, BOB),
        scene.desk.close(case_id, CaseOutcome.FALSE_ALARM, "no", 0, ANN),
        scene.desk.act(case_id, Deed(CaseAction.FREEZE, "now"), ANN),
    ):
        with pytest.raises(NotPossible):
            await work
    with pytest.raises(Missing):
        await scene.desk.file(UUID(int=7))


async def test_nobody_closes_another_ones_case(scene: CaseScene) -> None:
    case_id = await scene.opened()
    await scene.desk.take(case_id, ANN)
    with pytest.raises(NotPossible, match="risk/ann"):
        await scene.desk.close(case_id, CaseOutcome.UNDECIDED, "nothing", 0, BOB)


@pytest.mark.parametrize(
    ("outcome", "label"),
    [
        (CaseOutcome.CONFIRMED_FRAUD, Label.FRAUD),
        (CaseOutcome.FALSE_ALARM, Label.LEGITIMATE),
        (CaseOutcome.UNDECIDED, None),
    ],
)
async def test_an_outcome_labels_the_payments(scene: CaseScene, outcome: CaseOutcome, label: Label | None) -> None:
    payment = await scene.judged({CARD: key(1)}, Outcome.DECLINE, fired=("list:stolen",))
    await scene.told(payment)
    await follower(scene).catch_up()
    [case] = await scene.desk.queue(CaseQueue(), None, 9)
    await scene.desk.close(case.id, outcome, "looked into", 0, ANN)
    assert await scene.labels() == ({} if label is None else {payment: ("case", label)})
    await scene.desk.reopen(case.id, "once more", ANN)
    assert await scene.labels() == {}


async def test_chargebacks_for_fraud_label_until_they_are_won(scene: CaseScene) -> None:
    fraud, late = [await scene.judged({CARD: key(number)}) for number in range(2)]
    for number, (identity, category) in enumerate(((fraud, 1), (late, 4))):
        await scene.pool.execute(
            "INSERT INTO disputes VALUES"
            " ('m1', $1, $2, 'unionpay', 2, 1, '', 100, 'CNY', '', $3, '', '', '', '', $4, 0, 0, 1)",
            UUID(int=number), identity, category, NOW_MS,
        )  # fmt: skip
    labels = DisputeLabels(scene.pool)
    await labels.bring()
    await labels.bring()
    assert await scene.labels() == {fraud: ("dispute", Label.FRAUD)}
    await scene.pool.execute("UPDATE disputes SET state = 5")
    await labels.bring()
    assert await scene.labels() == {}


# --- acting -----------------------------------------------------------------------------------------------------------


async def test_a_frozen_card_is_blocked_for_a_time_and_lifted_again(scene: CaseScene) -> None:
    case_id = await scene.opened()
    _, batch = await scene.desk.act(case_id, Deed(CaseAction.FREEZE, "stolen"), ANN)
    assert batch is not None
    assert batch.state is BatchState.APPLIED
    assert await scene.blocked(CARD, key(1))
    [listed] = await scene.lists.page(CARD, key(1), "", None, 9)
    assert listed.listing.source == f"case/{case_id}"
    assert listed.listing.expires_time_ms == NOW_MS + 30 * DAY_MS
    await scene.desk.act(case_id, Deed(CaseAction.LIFT, "found again"), BOB)
    assert not await scene.blocked(CARD, key(1))
    assert [each.text for each in (await scene.file(case_id)).events] == [
        "FREEZE of the card, APPLIED: stolen", "LIFT: 1 entries; found again",
    ]  # fmt: skip


async def test_a_false_alarm_frees_what_the_case_froze(scene: CaseScene) -> None:
    case_id = await scene.opened()
    await scene.desk.act(case_id, Deed(CaseAction.STEP_UP, "odd"), ANN)
    await scene.block(CARD, key(1), name="stolen")
    await scene.desk.close(case_id, CaseOutcome.FALSE_ALARM, "it was the payer", 0, ANN)
    assert [each.listing.name for each in await scene.lists.page(CARD, key(1), "", None, 9)] == ["stolen"]


async def test_a_merchant_is_frozen_by_two_persons(scene: CaseScene) -> None:
    case_id = await scene.opened(MERCHANT, key(3))
    _, batch = await scene.desk.act(case_id, Deed(CaseAction.FREEZE, "a front"), ANN)
    assert batch is not None
    assert batch.state is BatchState.WAITING
    assert not await scene.blocked(MERCHANT, key(3))
    with pytest.raises(NotPermitted):
        await scene.lists.decide(batch.id, True, ANN)
    await scene.lists.decide(batch.id, True, BOB)
    assert await scene.blocked(MERCHANT, key(3))


async def test_a_freeze_that_waits_is_refused_with_the_lift(scene: CaseScene) -> None:
    case_id = await scene.opened(MERCHANT, key(3))
    _, batch = await scene.desk.act(case_id, Deed(CaseAction.FREEZE, "a front"), ANN)
    assert batch is not None
    await scene.desk.close(case_id, CaseOutcome.FALSE_ALARM, "an honest shop", 0, ANN)
    with pytest.raises(NotPossible, match="REFUSED"):
        await scene.lists.decide(batch.id, True, BOB)
    assert not await scene.blocked(MERCHANT, key(3))


async def test_of_two_who_close_it_at_once_one_has_the_last_word(scene: CaseScene) -> None:
    case_id = await scene.opened()
    both = await asyncio.gather(
        scene.desk.close(case_id, CaseOutcome.CONFIRMED_FRAUD, "stolen", 0, ANN),
        scene.desk.close(case_id, CaseOutcome.FALSE_ALARM, "honest", 0, BOB),
        return_exceptions=True,
    )
    assert sum(isinstance(each, NotPossible) for each in both) == 1
    assert len((await scene.file(case_id)).events) == 1


async def test_another_subject_is_taken_from_a_payment_of_the_case(scene: CaseScene) -> None:
    subjects = {CARD: key(1), USER: key(2)}
    payment, foreign = [await scene.judged(subjects, Outcome.DECLINE, fired=("list:stolen",)) for _ in range(2)]
    await scene.told(payment)
    await follower(scene).catch_up()
    [case] = await scene.desk.queue(CaseQueue(), None, 9)
    for deed in (
        Deed(CaseAction.FREEZE, "his, too", USER),
        Deed(CaseAction.FREEZE, "his, too", USER, ("m1", foreign)),
        Deed(CaseAction.FREEZE, "his, too", None, ("m1", payment)),
    ):
        with pytest.raises(Invalid):
            await scene.desk.act(case.id, deed, ANN)
    with pytest.raises(NotPossible):
        await scene.desk.act(case.id, Deed(CaseAction.FREEZE, "his, too", Subject.DEVICE, ("m1", payment)), ANN)
    await scene.desk.act(case.id, Deed(CaseAction.FREEZE, "his, too", USER, ("m1", payment)), ANN)
    assert await scene.blocked(USER, key(2))
    [listed] = await scene.lists.page(USER, key(2), "", None, 9)
    assert listed.listing.kind is ListKind.BLOCK
