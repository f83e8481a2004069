"""`AnalyticsService`: a merchant's trade, as its people ask for it."""

from typing import Final

from payswitch.v1 import analytics_pb2 as pb
from payswitch.v1 import common_pb2
from switch.domain.access import Caller
from switch.domain.analytics import Days, Measures, Payers, basket_bounds
from switch.domain.refusals import Invalid
from switch.domain.response_codes import meaning
from switch.merchants.analytics.analytics import Analytics, Group, Grouping, Summary, days_of

_GROUPINGS: Final = {
    pb.SALES_GROUPING_HOUR: Grouping.HOUR,
    pb.SALES_GROUPING_DAY: Grouping.DAY,
    pb.SALES_GROUPING_CHANNEL: Grouping.CHANNEL,
    pb.SALES_GROUPING_ENTRY_MODE: Grouping.ENTRY,
    pb.SALES_GROUPING_STORE: Grouping.STORE,
    pb.SALES_GROUPING_TERMINAL: Grouping.TERMINAL,
}
_LONGEST_ID: Final = 15  # DE42


class AnalyticsServicer:
    """Behind `switch.api.guarded`: a merchant's people reach their own merchant only."""

    def __init__(self, analytics: Analytics) -> None:
        self._analytics = analytics

    async def GetSummary(self, request: pb.GetSummaryRequest, caller: Caller) -> pb.GetSummaryResponse:
        merchant_id, days = _asked(request.merchant_id, request.days)
        summaries = await self._analytics.summary(merchant_id, days)
        return pb.GetSummaryResponse(
            summaries=[_summary(each) for each in summaries],
            previous_days=_range(days.before()),
            events_behind=await self._analytics.events_behind(),
        )

    async def GetSales(self, request: pb.GetSalesRequest, caller: Caller) -> pb.GetSalesResponse:
        merchant_id, days = _asked(request.merchant_id, request.days)
        grouping = _GROUPINGS.get(request.grouping)
        if grouping is None:
            raise Invalid("grouping", "is not one of the groupings")
        groups = await self._analytics.sales(merchant_id, request.currency, days, grouping)
        by_entry = grouping is Grouping.ENTRY
        return pb.GetSalesResponse(
            groups=[_group(each, by_entry) for each in groups], previous_days=_range(days.before())
        )

    async def GetDeclines(self, request: pb.GetDeclinesRequest, caller: Caller) -> pb.GetDeclinesResponse:
        merchant_id, days = _asked(request.merchant_id, request.days)
        declines = await self._analytics.declines(merchant_id, request.currency, days)
        total = sum(count for _, count in declines)
        return pb.GetDeclinesResponse(
            reasons=[
                pb.DeclineReason(
                    response_code=code, meaning=meaning(code), count=count,
                    share_basis_points=(20_000 * count + total) // (2 * total),
                )
                for code, count in declines
            ]
        )  # fmt: skip

    async def GetBaskets(self, request: pb.GetBasketsRequest, caller: Caller) -> pb.GetBasketsResponse:
        merchant_id, days = _asked(request.merchant_id, request.days)
        baskets = await self._analytics.baskets(merchant_id, request.currency, days)
        whole = sum(baskets.values(), Measures())
        response = pb.GetBasketsResponse(average_sale_minor=whole.average_sale_minor)
        for bucket, measures in baskets.items():
            least, below = basket_bounds(bucket)
            response.baskets.add(
                least_minor=least, below_minor=below, sales_count=measures.sales_count, sales_minor=measures.sales_minor
            )
        return response

    async def GetPayers(self, request: pb.GetPayersRequest, caller: Caller) -> pb.GetPayersResponse:
        merchant_id, days = _asked(request.merchant_id, request.days)
        whole, by_day = await self._analytics.payers(merchant_id, request.currency, days)
        return pb.GetPayersResponse(
            payers=_payers(whole),
            days=[pb.PayersOfDay(day=day.isoformat(), payers=_payers(each)) for day, each in by_day.items()],
        )

    async def GetPeakHours(self, request: pb.GetPeakHoursRequest, caller: Caller) -> pb.GetPeakHoursResponse:
        merchant_id, days = _asked(request.merchant_id, request.days)
        hours = await self._analytics.peak_hours(merchant_id, request.currency, days)
        return pb.GetPeakHoursResponse(
            hours=[
                pb.PeakHour(
                    weekday=each.weekday, hour=each.hour, days=each.days,
                    sales_count=each.measures.sales_count, sales_minor=each.measures.sales_minor,
                )
                for each in hours
            ]
        )  # fmt: skip


def _asked(merchant_id: str, days: pb.DayRange) -> tuple[str, Days]:
    if not 0 < len(merchant_id) <= _LONGEST_ID:
        raise Invalid("merchant_id", f"must be 1 to {_LONGEST_ID} characters")
    return merchant_id, days_of(days.first_day, days.last_day)


def _range(days: Days) -> pb.DayRange:
    return pb.DayRange(first_day=days.first.isoformat(), last_day=days.last.isoformat())


def _summary(summary: Summary) -> pb.CurrencySummary:
    return pb.CurrencySummary(
        currency=summary.currency,
        measures=_measures(summary.measures),
        previous_measures=_measures(summary.previous),
        payers=_payers(summary.payers),
        previous_payers=_payers(summary.previous_payers),
    )


def _group(group: Group, by_entry: bool) -> pb.SalesGroup:
    """The contract numbers entry modes as we do."""
    return pb.SalesGroup(
        key="" if by_entry else group.key,
        entry_mode=common_pb2.EntryMode.Name(int(group.key)) if by_entry else None,
        measures=_measures(group.measures),
        previous_measures=_measures(group.previous),
    )


def _measures(measures: Measures) -> pb.Measures:
    return pb.Measures(
        approved_count=measures.approved_count,
        declined_count=measures.declined_count,
        unanswered_count=measures.unanswered_count,
        sales_count=measures.sales_count,
        sales_minor=measures.sales_minor,
        refunds_count=measures.refunds_count,
        refunds_minor=measures.refunds_minor,
        undone_count=measures.undone_count,
        undone_minor=measures.undone_minor,
        net_minor=measures.net_minor,
        approval_basis_points=measures.approval_basis_points,
        average_sale_minor=measures.average_sale_minor,
    )


def _payers(payers: Payers) -> pb.PayerCounts:
    return pb.PayerCounts(count=payers.count, new_count=payers.new, returning_count=payers.returning)
