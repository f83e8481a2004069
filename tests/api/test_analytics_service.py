"""A merchant asks of its trade over a real socket, behind the gate."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from random import Random
from typing import Any, ClassVar
from uuid import uuid4

import asyncpg
import grpc
import grpc.aio
import pytest
from trade_told import FIRST_DAY, Trade, made_up, put

from payswitch.v1 import analytics_pb2 as pb
from payswitch.v1 import analytics_pb2_grpc as pb_grpc
from payswitch.v1 import common_pb2
from switch.api.analytics_service import AnalyticsServicer
from switch.api.gate import CREDENTIAL_PREFIX, Gate
from switch.api.guarded import access_of, add_guarded
from switch.domain.access import Credential, Role
from switch.domain.analytics import Days, Dimension, Measures
from switch.domain.contract import Contract
from switch.domain.journal_event import JournalEvent
from switch.domain.merchant import MerchantProfile
from switch.merchants.analytics.analytics import Analytics
from switch.store.analytics import PostgresAnalytics
from switch.store.analytics_rollups import analytics_consumer

LAST_DAY = FIRST_DAY + timedelta(days=9)
DAYS = Days(FIRST_DAY + timedelta(days=5), LAST_DAY)
RANGE = pb.DayRange(first_day=DAYS.first.isoformat(), last_day=DAYS.last.isoformat())
SERVICE = pb.DESCRIPTOR.services_by_name["AnalyticsService"]


class Shops:
    """Terminal t1 stands in one shop, t2 and what else there is in none."""

    stores: ClassVar = {"t1": "north"}

    async def profile(self, merchant_id: str) -> MerchantProfile | None:
        raise AssertionError("not asked for")

    async def contracts(self, merchant_ids: Sequence[str], day: str) -> dict[str, Contract]:
        raise AssertionError("not asked for")

    async def stores_of_terminals(self, merchant_id: str) -> dict[str, str]:
        return self.stores


class Keys:
    """API credentials `payswitch_key_<merchant>/<role>`."""

    async def session(self, token: str) -> None:
        return None

    async def role_of(self, merchant_id: str, user_id: Any) -> None:
        return None

    async def credential(self, secret: str) -> Credential | None:
        merchant_id, _, role = secret.removeprefix(CREDENTIAL_PREFIX).partition("/")
        return Credential("c1", merchant_id, Role[role])


@pytest.fixture
async def events(database: asyncpg.Pool) -> list[JournalEvent]:
    """Of a merchant of its own, worked into the roll-ups."""
    await database.execute("DELETE FROM journal_events; DELETE FROM feed_cursors")
    made = await put(database, made_up(Random(7), f"m{uuid4().hex[:12]}", 400, days=10))
    await analytics_consumer(database).catch_up()
    return made


@pytest.fixture
async def ask(database: asyncpg.Pool, events: list[JournalEvent]) -> AsyncIterator[Any]:
    server = grpc.aio.server()
    gate = Gate(lambda names: ("operator", "x"), Keys(), Keys())
    servicer = AnalyticsServicer(Analytics(PostgresAnalytics(database), Shops()))
    add_guarded(SERVICE, servicer, gate, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    stub: Any = pb_grpc.AnalyticsServiceStub(channel)

    async def call(method: str, role: str = "MERCHANT_VIEWER", of: str = "", **fields: Any) -> Any:
        merchant = events[0].merchant_id
        request = getattr(pb, f"{method}Request")(**{"merchant_id": merchant, "days": RANGE} | fields)
        metadata = (("authorization", f"Bearer {CREDENTIAL_PREFIX}{of or merchant}/{role}"),)
        return await getattr(stub, method)(request, metadata=metadata)

    yield call
    await channel.close()
    await server.stop(None)


def shown(measures: Measures) -> pb.Measures:
    names = [each.name for each in pb.Measures.DESCRIPTOR.fields]
    return pb.Measures(**{name: getattr(measures, name) for name in names})


def total(parts: dict[Any, Measures]) -> Measures:
    return sum(parts.values(), Measures())


async def test_the_summary_stands_beside_as_many_days_before(ask: Any, events: list[JournalEvent]) -> None:
    answer = await ask("GetSummary")
    assert (answer.previous_days.first_day, answer.previous_days.last_day) == ("2026-03-01", "2026-03-05")
    assert [each.currency for each in answer.summaries] == ["CNY", "USD"]
    for summary in answer.summaries:
        trade = Trade(events, summary.currency)
        assert summary.measures == shown(total(trade.by_day(DAYS)))
        assert summary.previous_measures == shown(total(trade.by_day(DAYS.before())))
        payers, before = trade.payers(DAYS), trade.payers(DAYS.before())
        assert (summary.payers.count, summary.payers.new_count) == (payers.count, payers.new)
        assert summary.payers.returning_count == payers.count - payers.new > 0
        assert (summary.previous_payers.count, summary.previous_payers.new_count) == (before.count, before.new)
    assert answer.events_behind == 0


async def test_sales_by_what_an_event_says(ask: Any, events: list[JournalEvent]) -> None:
    trade = Trade(events, "CNY")
    for dimension in (Dimension.HOUR, Dimension.CHANNEL, Dimension.TERMINAL):
        answer = await ask("GetSales", currency="CNY", grouping=f"SALES_GROUPING_{dimension.name}")
        now, before = trade.by(dimension, DAYS), trade.by(dimension, DAYS.before())
        assert [each.key for each in answer.groups] == sorted({*now, *before})
        for group in answer.groups:
            assert group.measures == shown(now.get(group.key, Measures()))
            assert group.previous_measures == shown(before.get(group.key, Measures()))


async def test_sales_by_entry_mode_name_it(ask: Any, events: list[JournalEvent]) -> None:
    answer = await ask("GetSales", currency="CNY", grouping=pb.SALES_GROUPING_ENTRY_MODE)
    assert [each.entry_mode for each in answer.groups] == [
        common_pb2.ENTRY_MODE_NFC, common_pb2.ENTRY_MODE_PAYER_CODE,
    ]  # fmt: skip
    assert answer.groups[0].measures == shown(Trade(events, "CNY").by(Dimension.ENTRY, DAYS)["1"])


async def test_sales_by_day_have_every_day(ask: Any, events: list[JournalEvent]) -> None:
    quiet = pb.DayRange(first_day="2026-03-08", last_day="2026-03-14")
    answer = await ask("GetSales", currency="CNY", grouping=pb.SALES_GROUPING_DAY, days=quiet)
    by_day = Trade(events, "CNY").by_day(Days(FIRST_DAY, date(2026, 4, 30)))
    assert [each.key for each in answer.groups] == [f"2026-03-{day:02}" for day in range(8, 15)]
    for group in answer.groups:
        day = date.fromisoformat(group.key)
        assert group.measures == shown(by_day.get(day, Measures()))
        assert group.previous_measures == shown(by_day.get(day - timedelta(days=7), Measures()))


async def test_a_terminal_that_moves_takes_its_past_with_it(
    ask: Any, events: list[JournalEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminals = Trade(events, "CNY").by(Dimension.TERMINAL, DAYS)
    for stores in ({"t1": "north"}, {"t1": "south", "t2": "south"}):
        monkeypatch.setattr(Shops, "stores", stores)
        answer = await ask("GetSales", currency="CNY", grouping=pb.SALES_GROUPING_STORE)
        found = {each.key: each.measures for each in answer.groups}
        for store in found:
            within = [each for each in terminals if stores.get(each, "") == store]
            assert found[store] == shown(total({each: terminals[each] for each in within}))
        assert set(found) == {"", *stores.values()}


async def test_declines_baskets_payers_and_peak_hours(ask: Any, events: list[JournalEvent]) -> None:
    trade = Trade(events, "USD")
    declines, baskets, payers, peaks = await asyncio.gather(
        *(ask(each, currency="USD") for each in ("GetDeclines", "GetBaskets", "GetPayers", "GetPeakHours"))
    )
    counted = {key: each.declined_count for key, each in trade.by(Dimension.DECLINE, DAYS).items()}
    assert {each.response_code: each.count for each in declines.reasons} == counted
    assert [each.count for each in declines.reasons] == sorted(counted.values(), reverse=True)
    assert "do not honour" in {each.meaning for each in declines.reasons}
    assert abs(sum(each.share_basis_points for each in declines.reasons) - 10_000) < len(declines.reasons)
    whole = total(trade.by_day(DAYS))
    assert sum(each.sales_count for each in baskets.baskets) == whole.sales_count
    for basket in baskets.baskets:
        assert basket.least_minor * basket.sales_count <= basket.sales_minor
        assert basket.below_minor == 0 or basket.sales_minor < basket.below_minor * basket.sales_count
    assert baskets.average_sale_minor == whole.average_sale_minor
    assert payers.payers.count == trade.payers(DAYS).count
    assert [each.payers.count for each in payers.days] == [
        trade.payers(Days(day, day)).count for day in (DAYS.first + timedelta(days=n) for n in range(DAYS.count))
    ]
    rates = [each.sales_count / each.days for each in peaks.hours]
    assert rates == sorted(rates, reverse=True)
    assert sum(each.sales_minor for each in peaks.hours) == whole.sales_minor


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"days": pb.DayRange(first_day="2026-03-02", last_day="2026-03-01")}, "days.last_day: is before first_day"),
    ({"days": pb.DayRange(first_day="20260302", last_day="2026-03-03")}, "days.first_day: is not a day"),
    ({"days": pb.DayRange(first_day="2026-03-02")}, "days.last_day: is not a day"),
    ({"days": pb.DayRange(first_day="0001-01-01", last_day="2026-03-03")}, "days.first_day: is not a day"),
    ({"days": pb.DayRange(first_day="2025-03-01", last_day="2026-03-03")}, "days: more than 366 days"),
    ({"currency": "cny"}, "currency: is not a currency"),
    ({"grouping": 99}, "grouping: is not one"),
    ({"grouping": 0}, "grouping: is not one"),
]


async def test_what_cannot_be_asked_is_refused(ask: Any) -> None:
    for fields, says in REFUSED:
        with pytest.raises(grpc.aio.AioRpcError, match=says) as refused:
            await ask("GetSales", **{"currency": "CNY", "grouping": pb.SALES_GROUPING_DAY} | fields)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_others_are_kept_out(ask: Any) -> None:
    for role, of in (("MERCHANT_CASHIER", ""), ("MERCHANT_OWNER", "another")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask("GetSummary", role=role, of=of)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_who_may_ask() -> None:
    for method in SERVICE.methods:
        assert {Role(each).name for each in access_of(method).roles} == {
            "MERCHANT_OWNER", "MERCHANT_MANAGER", "MERCHANT_VIEWER", "OPERATOR", "FINANCE",
        }  # fmt: skip
