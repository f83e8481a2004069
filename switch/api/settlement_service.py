"""SettlementService: finance closes days, settles and pays out; a merchant's people read what is theirs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from payswitch.v1 import settlement_pb2 as pb
from switch.api import settlement_answers as answers
from switch.domain.access import Caller
from switch.domain.books import StatementFrame, StatementLine
from switch.domain.refusals import Invalid, Missing, TooMany
from switch.domain.settlement import PayoutState
from switch.settlement.batches import Settlements
from switch.settlement.close import DayClose, checked_day
from switch.settlement.pricing import LatePricing
from switch.settlement.statement import StatementCsv, check_period
from switch.settlement.store import Accounts, Batches, Checker, Days

_LINES_IN_A_PART: Final = 500
_BYTES_IN_A_PART: Final = 256 * 1024
_MOST_PRICED: Final = 1_000
_FORMS: Final = {pb.PAYOUT_FILE_FORM_PAIN_001: "pain.001", pb.PAYOUT_FILE_FORM_CSV: "csv"}
# What a merchant need not know of.
_NOT_SHOWN: Final = frozenset({PayoutState.DRAFT, PayoutState.REJECTED})


class SettlementServicer:
    def __init__(
        self, close: DayClose, pricing: LatePricing, settlements: Settlements, days: Days, batches: Batches,
        accounts: Accounts, checker: Checker,
    ) -> None:  # fmt: skip
        self._close = close
        self._pricing = pricing
        self._settlements = settlements
        self._days = days
        self._batches = batches
        self._accounts = accounts
        self._checker = checker
        self._checking = asyncio.Lock()

    # --- the ledger's days --------------------------------------------------------------------------------------------

    async def CloseDay(self, request: pb.CloseDayRequest, caller: Caller) -> pb.CloseDayResponse:
        return pb.CloseDayResponse(day=answers.closed_day(await self._close.close(request.day, caller.name)))

    async def GetDay(self, request: pb.GetDayRequest, caller: Caller) -> pb.GetDayResponse:
        day = await self._days.day(checked_day(request.day))
        if day is None:
            raise Missing(f"{request.day} is not closed")
        totals, unpriced = await self._days.totals(request.day)
        return pb.GetDayResponse(
            day=answers.closed_day(day),
            totals=map(answers.total, totals),
            unpriced=map(answers.unpriced, unpriced),
        )

    async def PricePayments(self, request: pb.PricePaymentsRequest, caller: Caller) -> pb.PricePaymentsResponse:
        merchant_id = answers.merchant(request.merchant_id) if request.merchant_id else ""
        done = await self._pricing.price(caller.name, merchant_id)
        return pb.PricePaymentsResponse(
            payments=sum(each.payments for each in done), priced=map(answers.late_fees, done[:_MOST_PRICED])
        )

    async def CheckLedger(self, request: pb.CheckLedgerRequest, caller: Caller) -> pb.CheckLedgerResponse:
        if request.day:
            checked_day(request.day)
        if self._checking.locked():
            raise TooMany("the ledger is being checked just now")
        async with self._checking:
            faults = await self._checker.check(request.day)
        return pb.CheckLedgerResponse(faults=map(answers.fault, faults))

    async def ListBalances(self, request: pb.ListBalancesRequest, caller: Caller) -> pb.ListBalancesResponse:
        size = answers.page_size(request.page_size, usual=100, most=1000)
        found = await self._accounts.balances(answers.account_token(request.page_token), size + 1)
        page, token = found[:size], ""
        if len(found) > size:
            token = f"{page[-1].merchant_id}/{page[-1].currency}/{page[-1].account}"
        return pb.ListBalancesResponse(balances=map(answers.account_balance, page), next_page_token=token)

    # --- batches ------------------------------------------------------------------------------------------------------

    async def CreateBatch(self, request: pb.CreateBatchRequest, caller: Caller) -> pb.CreateBatchResponse:
        batch = await self._settlements.create(request.idempotency_key, request.currency, caller)
        return pb.CreateBatchResponse(batch=answers.batch(batch))

    async def ReleaseBatch(self, request: pb.ReleaseBatchRequest, caller: Caller) -> pb.ReleaseBatchResponse:
        batch = await self._settlements.release(answers.identity(request.batch_id, "batch_id"), caller)
        return pb.ReleaseBatchResponse(batch=answers.batch(batch))

    async def RejectBatch(self, request: pb.RejectBatchRequest, caller: Caller) -> pb.RejectBatchResponse:
        batch_id = answers.identity(request.batch_id, "batch_id")
        batch = await self._settlements.reject(batch_id, request.reason, caller)
        return pb.RejectBatchResponse(batch=answers.batch(batch))

    async def ListBatches(self, request: pb.ListBatchesRequest, caller: Caller) -> pb.ListBatchesResponse:
        size = answers.page_size(request.page_size, usual=20, most=100)
        found = await self._batches.batches(answers.moment_token(request.page_token), size + 1)
        page = found[:size]
        token = f"{page[-1].created_time_ms}.{page[-1].id}" if len(found) > size else ""
        return pb.ListBatchesResponse(batches=map(answers.batch, page), next_page_token=token)

    async def GetBatch(self, request: pb.GetBatchRequest, caller: Caller) -> AsyncIterator[pb.GetBatchResponse]:
        details = await self._settlements.details(answers.identity(request.batch_id, "batch_id"))
        batch, payouts, left_out = details
        yield pb.GetBatchResponse(batch=answers.batch(batch))
        for first in range(0, len(payouts), _LINES_IN_A_PART):
            part = payouts[first : first + _LINES_IN_A_PART]
            yield pb.GetBatchResponse(payouts=map(answers.payout, part))
        for first in range(0, len(left_out), _LINES_IN_A_PART):
            rest = left_out[first : first + _LINES_IN_A_PART]
            yield pb.GetBatchResponse(left_out=map(answers.left_out, rest))

    async def GetPayoutFile(
        self, request: pb.GetPayoutFileRequest, caller: Caller
    ) -> AsyncIterator[pb.GetPayoutFileResponse]:
        form = _FORMS.get(request.form)
        if form is None:
            raise Invalid("form", "must be PAIN_001 or CSV")
        file = await self._settlements.payout_file(answers.identity(request.batch_id, "batch_id"), form, caller)
        yield pb.GetPayoutFileResponse(name=file.name, digest=file.digest)
        for first in range(0, len(file.content), _BYTES_IN_A_PART):
            yield pb.GetPayoutFileResponse(content=file.content[first : first + _BYTES_IN_A_PART])

    async def ConfirmPayouts(self, request: pb.ConfirmPayoutsRequest, caller: Caller) -> pb.ConfirmPayoutsResponse:
        batch_id = answers.identity(request.batch_id, "batch_id")
        return pb.ConfirmPayoutsResponse(
            payouts=await self._settlements.confirm(batch_id, list(request.merchant_ids), caller)
        )

    async def ReturnPayout(self, request: pb.ReturnPayoutRequest, caller: Caller) -> pb.ReturnPayoutResponse:
        batch_id = answers.identity(request.batch_id, "batch_id")
        count = await self._settlements.give_back(batch_id, request.merchant_id, request.reason, caller)
        return pb.ReturnPayoutResponse(returned=count > 0)

    # --- a merchant's own ---------------------------------------------------------------------------------------------

    async def GetStatement(
        self, request: pb.GetStatementRequest, caller: Caller
    ) -> AsyncIterator[pb.GetStatementResponse]:
        lines: list[pb.StatementLine] = []
        frames = 0
        async for part in self._statement(request):
            if isinstance(part, StatementLine):
                lines.append(answers.line(part))
                if len(lines) == _LINES_IN_A_PART:
                    yield pb.GetStatementResponse(lines=lines)
                    lines = []
            elif frames == 0:
                frames = 1
                yield pb.GetStatementResponse(opening_balance_minor=part.balance_minor)
            else:
                yield pb.GetStatementResponse(lines=lines, closing_balance_minor=part.balance_minor)

    async def ExportStatement(
        self, request: pb.ExportStatementRequest, caller: Caller
    ) -> AsyncIterator[pb.ExportStatementResponse]:
        csv, buffer = StatementCsv(), bytearray()
        async for part in self._statement(request):
            buffer += csv.part(part)
            if len(buffer) >= _BYTES_IN_A_PART:
                yield pb.ExportStatementResponse(content=bytes(buffer))
                buffer.clear()
        yield pb.ExportStatementResponse(content=bytes(buffer))

    def _statement(
        self, request: pb.GetStatementRequest | pb.ExportStatementRequest
    ) -> AsyncIterator[StatementFrame | StatementLine]:
        check_period(request.from_day, request.until_day)
        merchant, currency = answers.merchant(request.merchant_id), answers.currency(request.currency)
        return self._accounts.statement(merchant, currency, request.from_day, request.until_day)

    async def ListPayouts(self, request: pb.ListPayoutsRequest, caller: Caller) -> pb.ListPayoutsResponse:
        size = answers.page_size(request.page_size, usual=20, most=100)
        merchant, before = answers.merchant(request.merchant_id), answers.moment_token(request.page_token)
        found = await self._batches.payouts_of(merchant, before, size + 1)
        page = found[:size]
        token = f"{page[-1].created_time_ms}.{page[-1].batch_id}" if len(found) > size else ""
        shown = [answers.payout(each) for each in page if each.state not in _NOT_SHOWN]
        return pb.ListPayoutsResponse(payouts=shown, next_page_token=token)

    async def GetBalance(self, request: pb.GetBalanceRequest, caller: Caller) -> pb.GetBalanceResponse:
        balances = await self._accounts.balances_of(answers.merchant(request.merchant_id))
        return pb.GetBalanceResponse(balances=answers.merchant_balances(balances))
