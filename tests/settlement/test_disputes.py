"""Disputes against a real database: stages, deadlines, evidence, races with refunds, and a ledger that balances."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from settlement_books import NOON_MS, SetClock, balances
from settlement_books import sell as insert_sale

from switch.domain.access import Caller, Role
from switch.domain.authorization import Authorization, FollowOn
from switch.domain.dispute import (
    EXPIRES_AS,
    RUNNING,
    TRANSITIONS,
    Dispute,
    DisputeKind,
    DisputeState,
    ReasonCategory,
)
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.refusals import Exists, Invalid, Missing, NotPossible
from switch.domain.states import Operation, State
from switch.settlement.disputes import Claim, Disputes, Rules, due_time_ms
from switch.settlement.evidence import LARGEST_FILE_BYTES, MOST_FILES
from switch.store.disputes import PostgresDisputes
from switch.store.journal import PostgresJournal
from switch.store.pool import create_pool

Sell = Callable[..., Any]
FINANCE = Caller("finance/ann", frozenset({Role.FINANCE}))
ISSUER = Caller("issuer/bank", frozenset({Role.ISSUER}))
OTHER_ISSUER = Caller("issuer/other", frozenset({Role.ISSUER}))
OWNER = Caller("user/owner", frozenset({Role.MERCHANT_OWNER}), merchant_id="m1")
PDF = b"%PDF-1.7 a receipt"
DAY_MS = 86_400_000
OPEN, REPRESENTED, SECOND = DisputeState.OPEN, DisputeState.REPRESENTED, DisputeState.SECOND
WON, LOST = DisputeState.WON, DisputeState.LOST


@pytest.fixture
def store(books: asyncpg.Pool) -> PostgresDisputes:
    return PostgresDisputes(books)


@pytest.fixture
def disputes(store: PostgresDisputes, clock: SetClock) -> Disputes:
    return Disputes(store, clock, Rules(fee_minor=15))


def claim(payment: Authorization, amount_minor: int = 1_000, case: str = "C-1", **fields: Any) -> Claim:
    values: dict[str, Any] = {"kind": DisputeKind.CHARGEBACK, "money": Money(amount_minor, "CNY")}
    values |= {"reason_code": "10.4", "category": ReasonCategory.FRAUD}
    return Claim(payment.merchant_id, payment.id, case=case, **(values | fields))


def key(dispute: Dispute) -> tuple[str, UUID]:
    return dispute.merchant_id, dispute.id


# --- the stages -------------------------------------------------------------------------------------------------------


async def test_a_chargeback_that_is_won_gives_the_money_back(
    disputes: Disputes, sell: Sell, books: asyncpg.Pool
) -> None:
    opened = await disputes.open(claim(await sell("a"), 600), FINANCE)
    assert await balances(books) == {("m1", "merchant"): 615, ("m1", "disputed"): -600, ("m1", "fees"): -15}
    await disputes.add_evidence(*key(opened), OWNER, "receipt.pdf", "application/pdf", PDF)
    assert (await disputes.contest(*key(opened), OWNER, "it was delivered")).state is REPRESENTED
    won = await disputes.decide(*key(opened), FINANCE, won=True, text="the issuer agrees")
    assert (won.state, won.outcome) == (WON, "the issuer agrees")
    assert await balances(books) == {("m1", "merchant"): 15, ("m1", "fees"): -15}
    acts = await books.fetch("SELECT who, act, merchant_id FROM audit_trail ORDER BY id")
    assert [(row["who"], row["act"].removeprefix("DisputeService.")) for row in acts] == [
        ("finance/ann", "OpenDispute"),
        ("user/owner", "AddEvidence"),
        ("user/owner", "AnswerDispute"),
        ("finance/ann", "DecideDispute"),
    ]
    assert {row["merchant_id"] for row in acts} == {"m1"}


async def test_a_chargeback_that_is_lost_goes_to_the_channel(
    disputes: Disputes, sell: Sell, books: asyncpg.Pool
) -> None:
    opened = await disputes.open(claim(await sell("a", channel="issuer:bank")), ISSUER)
    assert opened.channel == "issuer:bank"
    assert (await disputes.accept(*key(opened), OWNER)).state is LOST
    assert await balances(books) == {
        ("m1", "merchant"): 1_015,
        ("m1", "channel:issuer:bank"): -1_000,
        ("m1", "fees"): -15,
    }


async def test_an_issuer_that_insists_goes_to_arbitration(disputes: Disputes, sell: Sell) -> None:
    opened = await disputes.open(claim(await sell("a", channel="issuer:bank")), ISSUER)
    with pytest.raises(NotPossible):
        await disputes.escalate(*key(opened), ISSUER, "not answered yet")
    with pytest.raises(NotPossible):
        await disputes.contest(*key(opened), OWNER, " ")
    await disputes.contest(*key(opened), OWNER, "it was delivered")
    with pytest.raises(NotPossible):
        await disputes.contest(*key(opened), OWNER, "again")
    with pytest.raises(Missing):
        await disputes.escalate(*key(opened), OTHER_ISSUER, "not theirs")
    assert (await disputes.escalate(*key(opened), ISSUER, "the signature is another one")).state is SECOND
    last = await disputes.contest(*key(opened), OWNER, "it is not")
    assert (last.state, last.due_time_ms) == (DisputeState.ARBITRATION, 0)
    assert (await disputes.decide(*key(opened), FINANCE, won=False, text="")).outcome == "lost"
    for act in (disputes.withdraw(*key(opened), ISSUER), disputes.decide(*key(opened), FINANCE, won=True, text="")):
        with pytest.raises(NotPossible):
            await act


async def test_a_retrieval_request_moves_no_money(
    disputes: Disputes, sell: Sell, books: asyncpg.Pool, store: PostgresDisputes
) -> None:
    payment = await sell("a")
    opened = await disputes.open(claim(payment, kind=DisputeKind.RETRIEVAL), FINANCE)
    with pytest.raises(NotPossible):
        await disputes.accept(*key(opened), OWNER)
    assert (await disputes.contest(*key(opened), OWNER, "see the receipt")).state is DisputeState.ANSWERED
    assert await balances(books) == {}
    assert await store.disputed_minor("m1", payment.id) == 0
    assert (await disputes.open(claim(payment), FINANCE)).state is OPEN  # a chargeback under the same case number


async def test_whoever_says_nothing_has_agreed(disputes: Disputes, sell: Sell, clock: SetClock) -> None:
    silent = await disputes.open(claim(await sell("a")), FINANCE)
    asked = await disputes.open(claim(await sell("b"), kind=DisputeKind.RETRIEVAL), FINANCE)
    answered = await disputes.open(claim(await sell("c")), FINANCE)
    await disputes.contest(*key(answered), OWNER, "no")
    assert await disputes.expire() == 0
    clock.now_ms = silent.due_time_ms - 1
    assert await disputes.expire() == 1
    clock.now_ms = silent.due_time_ms
    with pytest.raises(NotPossible, match="deadline"):
        await disputes.contest(*key(silent), OWNER, "too late, though nobody has looked yet")
    with pytest.raises(NotPossible):
        await disputes.add_evidence(*key(silent), OWNER, "a.pdf", "application/pdf", PDF)
    assert sum(await asyncio.gather(disputes.expire(), disputes.expire(), disputes.expire())) == 1
    clock.now_ms += 31 * DAY_MS
    assert await disputes.expire() == 1
    states = [(await disputes.find(*key(each), FINANCE))[0].state for each in (silent, asked, answered)]
    assert states == [LOST, DisputeState.UNANSWERED, WON]
    assert await disputes.expire() == 0


def test_deadlines_end_with_their_day_in_shanghai() -> None:
    midnight_ms = NOON_MS + DAY_MS // 2
    assert due_time_ms(NOON_MS, 1) == due_time_ms(midnight_ms - 1, 1) == midnight_ms + DAY_MS
    assert due_time_ms(midnight_ms, 1) == midnight_ms + 2 * DAY_MS


def test_every_running_stage_has_its_ways_out() -> None:
    reachable = {(kind, state) for kind, state in TRANSITIONS if state in RUNNING}
    assert set(EXPIRES_AS) == reachable - {(DisputeKind.CHARGEBACK, DisputeState.ARBITRATION)}
    assert all(EXPIRES_AS[each] in TRANSITIONS[each] for each in EXPIRES_AS)


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_a_case_is_opened_once(disputes: Disputes, sell: Sell, books: asyncpg.Pool, clock: SetClock) -> None:
    payment = await sell("a")
    done = await asyncio.gather(*(disputes.open(claim(payment, 400), FINANCE) for _ in range(4)))
    assert len({(each.id, each.version) for each in done}) == 1
    assert (await balances(books))["m1", "disputed"] == -400
    clock.now_ms += DAY_MS
    assert await disputes.open(claim(payment, 400), FINANCE) == done[0]
    for other in (claim(payment, 401), claim(payment, 400, reason_code="13.1"), claim(payment, 400, text="more")):
        with pytest.raises(Exists):
            await disputes.open(other, FINANCE)


async def test_never_more_than_is_left(disputes: Disputes, sell: Sell, books: asyncpg.Pool) -> None:
    payment = await sell("a", 1_000, refunded_minor=100)
    done = await asyncio.gather(
        *(disputes.open(claim(payment, 300, f"C-{n}"), FINANCE) for n in range(5)), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in done) == ["Dispute"] * 3 + ["NotPossible"] * 2
    assert (await balances(books))["m1", "disputed"] == -900
    first = next(each for each in done if isinstance(each, Dispute))
    await disputes.withdraw(*key(first), FINANCE)
    assert (
        await disputes.open(claim(payment, 300, "C-9"), FINANCE)
    ).state is OPEN  # what was won may be charged back anew


@pytest.mark.parametrize("state", [State.DECLINED, State.UNKNOWN, State.REVERSED, State.VOIDED])
async def test_what_the_merchant_does_not_have_is_not_disputed(disputes: Disputes, sell: Sell, state: State) -> None:
    with pytest.raises(NotPossible):
        await disputes.open(claim(await sell("a", state=state)), FINANCE)


async def test_whose_payment_it_is(disputes: Disputes, sell: Sell) -> None:
    payment = await sell("a", channel="issuer:bank")
    with pytest.raises(Missing):
        await disputes.open(claim(payment), OTHER_ISSUER)
    with pytest.raises(Missing):
        await disputes.open(replace(claim(payment), merchant_id="m2"), FINANCE)
    opened = await disputes.open(claim(payment), ISSUER)
    with pytest.raises(Missing):
        await disputes.open(claim(payment), OTHER_ISSUER)
    with pytest.raises(Missing):
        await disputes.find(*key(opened), OTHER_ISSUER)
    with pytest.raises(Missing):
        await disputes.withdraw(*key(opened), OTHER_ISSUER)


@pytest.mark.parametrize(
    "change",
    [
        {"money": Money(100, "HKD")},
        {"money": Money(0, "CNY")},
        {"case": ""},
        {"case": "a b"},
        {"case": "x" * 65},
        {"reason_code": "\n"},
        {"text": "bell \a"},
        {"text": "x" * 4_001},
    ],
)
async def test_bad_claims(disputes: Disputes, sell: Sell, books: asyncpg.Pool, change: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        await disputes.open(replace(claim(await sell("a")), **change), FINANCE)
    assert await balances(books) == {}


# --- refunds beside them ----------------------------------------------------------------------------------------------


def follow_on(payment: Authorization, operation: Operation, amount_minor: int, name: str = "r") -> FollowOn:
    identity = computed_id("acq", payment.merchant_id, NOON_MS, name)
    return FollowOn(
        identity, payment.id, "acq", payment.merchant_id, operation, Money(amount_minor, "CNY"), b"f",
        trace={"out_refund_no": name}, created_time_ms=NOON_MS,
    )  # fmt: skip


async def test_what_is_charged_back_is_not_refunded_as_well(
    disputes: Disputes, sell: Sell, books: asyncpg.Pool
) -> None:
    payment, journal = await sell("a", 1_000), PostgresJournal(books, reversal_after_s=0)
    opened = await disputes.open(claim(payment, 700), FINANCE)
    refused, _ = await journal.begin_follow_on(follow_on(payment, Operation.REFUND, 301, "r1"), None)
    assert (refused.state, refused.response_code) == (State.DECLINED, "64")
    for number, operation in enumerate((Operation.VOID, Operation.REVERSAL)):
        refused, _ = await journal.begin_follow_on(follow_on(payment, operation, 0, f"u{number}"), None)
        assert (refused.state, refused.response_code) == (State.DECLINED, "12")
    taken, _ = await journal.begin_follow_on(follow_on(payment, Operation.REFUND, 300, "r2"), None)
    assert taken.state is State.SENT
    await disputes.withdraw(*key(opened), FINANCE)
    taken, _ = await journal.begin_follow_on(follow_on(payment, Operation.REFUND, 700, "r3"), None)
    assert taken.state is State.SENT


async def test_a_refund_and_a_chargeback_race_for_the_same_money(
    disputes: Disputes, sell: Sell, books: asyncpg.Pool
) -> None:
    journal = PostgresJournal(books, reversal_after_s=0)
    for number in range(6):
        payment = await sell(f"a{number}", 1_000)
        refund = follow_on(payment, Operation.REFUND, 600, f"r{number}")
        outcome, begun = await asyncio.gather(
            disputes.open(claim(payment, 600), FINANCE), journal.begin_follow_on(refund, None), return_exceptions=True
        )
        charged_back = isinstance(outcome, Dispute)
        assert charged_back or isinstance(outcome, NotPossible)
        assert isinstance(begun, tuple)
        assert (begun[0].state is State.SENT) != charged_back


async def test_a_payment_that_is_being_undone_is_not_charged_back(
    disputes: Disputes, sell: Sell, books: asyncpg.Pool
) -> None:
    payment, journal = await sell("a"), PostgresJournal(books, reversal_after_s=0)
    begun, _ = await journal.begin_follow_on(follow_on(payment, Operation.VOID, 0), None)
    assert begun.state is State.SENT
    with pytest.raises(NotPossible):
        await disputes.open(claim(payment), FINANCE)


# --- evidence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content_type", "content"),
    [
        ("a.exe", "application/octet-stream", b"MZ"),
        ("a.pdf", "application/pdf", b"MZ"),
        ("a.png", "image/png", PDF),
        ("a.jpg", "image/jpeg", b"\xff\xd8"),
        ("a.txt", "text/plain", b"\xff\xfe"),
        ("a.txt", "text/plain", b"a\0b"),
        ("a.html", "text/html", b"<script>"),
        ("a.pdf", "application/pdf", b""),
        ("a.pdf", "application/pdf", PDF + b" " * LARGEST_FILE_BYTES),
        ("../a.pdf", "application/pdf", PDF),
        ("..", "application/pdf", PDF),
        ("a\r\nb.pdf", "application/pdf", PDF),
        ("a\u202efdp.exe", "application/pdf", PDF),
        ("x" * 101, "application/pdf", PDF),
        ("", "application/pdf", PDF),
    ],
)
async def test_bad_evidence(disputes: Disputes, sell: Sell, name: str, content_type: str, content: bytes) -> None:
    opened = await disputes.open(claim(await sell("a")), FINANCE)
    with pytest.raises(Invalid):
        await disputes.add_evidence(*key(opened), OWNER, name, content_type, content)
    assert (await disputes.find(*key(opened), FINANCE))[1] == []


async def test_evidence_is_kept_as_it_was(disputes: Disputes, sell: Sell, books: asyncpg.Pool) -> None:
    opened = await disputes.open(claim(await sell("a")), FINANCE)
    kept = await disputes.add_evidence(*key(opened), OWNER, "Beleg é.pdf", "application/pdf", PDF)
    assert await disputes.add_evidence(*key(opened), OWNER, "again.pdf", "application/pdf", PDF) == kept
    assert (await disputes.find(*key(opened), OWNER))[1] == [kept]
    assert await disputes.content(*key(opened), kept.id) == PDF
    with pytest.raises(Missing):
        await disputes.content("m2", opened.id, kept.id)
    await asyncio.gather(
        *(disputes.add_evidence(*key(opened), OWNER, f"{n}", "text/plain", b"%d" % n) for n in range(MOST_FILES + 2)),
        return_exceptions=True,
    )
    assert await books.fetchval("SELECT count(*) FROM dispute_evidence") == MOST_FILES
    await disputes.contest(*key(opened), OWNER, "")
    with pytest.raises(NotPossible):
        await disputes.add_evidence(*key(opened), OWNER, "late.txt", "text/plain", b"late")


async def test_pages(disputes: Disputes, sell: Sell, store: PostgresDisputes) -> None:
    for number in range(5):
        await disputes.open(claim(await sell(f"a{number}", merchant_id=f"m{number % 2}")), FINANCE)
    seen: list[Dispute] = []
    after = "", UUID(int=0)
    while page := await disputes.page("", after, (), 2):
        seen += page
        after = key(page[-1])
    assert len({each.id for each in seen}) == 5
    assert [each.merchant_id for each in seen] == ["m0"] * 3 + ["m1"] * 2
    assert len(await disputes.page("m1", ("", UUID(int=0)), (OPEN,), 10)) == 2
    assert await disputes.page("m1", ("", UUID(int=0)), (LOST,), 10) == []


# --- any sequence -----------------------------------------------------------------------------------------------------


_ACTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["open", "open", "retrieve", "contest", "accept", "escalate", "won", "lost", "withdraw", "wait", "refund"]
        ),
        st.integers(0, 2),
        st.sampled_from([400, 700, 300, 1_000, 1, 1_200]),  # so that few acts come to more than there is
    ),
    min_size=1,
    max_size=12,
)


def test_any_sequence_balances_and_never_gives_back_more_than_was_captured(
    postgres_dsn: str, request: pytest.FixtureRequest
) -> None:
    loop = asyncio.new_event_loop()
    request.addfinalizer(loop.close)
    pool = loop.run_until_complete(create_pool(postgres_dsn, size=1))
    numbers = iter(range(10**9))

    @settings(max_examples=60)
    @given(_ACTS)
    def run(acts: list[tuple[str, int, int]]) -> None:
        loop.run_until_complete(_story(pool, acts, f"h{next(numbers)}"))

    try:
        run()
    finally:
        loop.run_until_complete(pool.close())


async def _story(pool: asyncpg.Pool, acts: list[tuple[str, int, int]], merchant_id: str) -> None:
    payment = await insert_sale(pool, merchant_id, 1_000, merchant_id=merchant_id)
    clock = SetClock(NOON_MS)
    disputes = Disputes(PostgresDisputes(pool), clock, Rules(fee_minor=15))
    journal = PostgresJournal(pool, reversal_after_s=0)
    opened: list[Dispute] = []
    for number, (act, which, amount_minor) in enumerate(acts):
        chosen = opened[which % len(opened)] if opened else None
        try:
            if act in ("open", "retrieve"):
                kind = DisputeKind.CHARGEBACK if act == "open" else DisputeKind.RETRIEVAL
                opened.append(await disputes.open(claim(payment, amount_minor, f"C-{number}", kind=kind), FINANCE))
            elif act == "refund":
                refund = follow_on(payment, Operation.REFUND, amount_minor, f"{merchant_id}-{number}")
                await journal.begin_follow_on(refund, None)
            elif act == "wait":
                clock.now_ms += amount_minor * DAY_MS // 40
                await disputes.expire()
            elif chosen is not None:
                await _act(disputes, act, chosen)
        except NotPossible:
            pass
        await _hold(pool, payment)


async def _act(disputes: Disputes, act: str, chosen: Dispute) -> None:
    match act:
        case "contest":
            await disputes.contest(*key(chosen), OWNER, "no")
        case "accept":
            await disputes.accept(*key(chosen), OWNER)
        case "escalate":
            await disputes.escalate(*key(chosen), FINANCE, "yes")
        case "withdraw":
            await disputes.withdraw(*key(chosen), FINANCE)
        case _:
            await disputes.decide(*key(chosen), FINANCE, won=act == "won", text="")


async def _hold(pool: asyncpg.Pool, payment: Authorization) -> None:
    """The invariants, recomputed from the rows themselves."""
    merchant_id = payment.merchant_id
    rows = await pool.fetch("SELECT state, amount_minor FROM disputes WHERE merchant_id = $1 AND kind = 2", merchant_id)
    running = sum(row["amount_minor"] for row in rows if DisputeState(row["state"]) in RUNNING)
    lost = sum(row["amount_minor"] for row in rows if DisputeState(row["state"]) is LOST)
    refunded = await pool.fetchval("SELECT refunded_minor FROM authorizations WHERE merchant_id = $1", merchant_id)
    assert refunded + running + lost <= payment.captured_minor
    fees = 15 * len(rows)
    expected = {"merchant": running + lost + fees, "disputed": -running, "channel:pay": -lost, "fees": -fees}
    found = {account: each for (_, account), each in (await balances(pool, merchant_id)).items()}
    assert found == {account: each for account, each in expected.items() if each}
