"""ReconciliationService: the days of channels and their breaks, for finance; operators read."""

import io
from datetime import date
from typing import Final, Protocol
from uuid import UUID

from payswitch.v1 import common_pb2
from payswitch.v1 import reconciliation_pb2 as pb
from switch.domain.access import Caller
from switch.domain.bill import Bill
from switch.domain.money import Money
from switch.domain.reconciliation import Break, BreakClass, BreakState, Run
from switch.domain.refusals import Invalid, Missing, NotPossible
from switch.payments.errors import Unavailable
from switch.ports import BillNotReady, BillRefused, Clock, StoreUnavailable
from switch.settlement.bill_file import read_bill
from switch.settlement.breaks import Breaks
from switch.settlement.reconcile import Reconciliations
from switch.store.breaks import Wanted

_DAY_MS: Final = 86_400_000
_LAST_DAY: Final = date(9999, 12, 31)
_FIRST: Final = ("", UUID(int=0))
_LARGEST_ASKED_AGE_DAYS: Final = 36_500


class Runs(Protocol):
    """Reconciliations as they are kept. Raises StoreUnavailable."""

    async def find(self, channel: str, day: date) -> Run | None: ...

    async def runs(self, channel: str, before: date, limit: int) -> list[Run]: ...


class ReconciliationServicer:
    def __init__(self, work: Reconciliations, runs: Runs, breaks: Breaks, clock: Clock) -> None:
        self._work = work
        self._runs = runs
        self._breaks = breaks
        self._clock = clock

    async def RunReconciliation(
        self, request: pb.RunReconciliationRequest, caller: Caller
    ) -> pb.RunReconciliationResponse:
        channel, day = _channel(request.channel), _day("day", request.day)
        try:
            bill = _bill(request.bill, channel, day) if request.bill else None
            run = await self._work.run(channel, day, caller.name, bill)
        except BillNotReady as error:
            raise NotPossible(f"the bill is not ready: {error}") from error
        except BillRefused as refused:
            raise Invalid("bill", str(refused)) from refused
        except StoreUnavailable:
            raise
        except OSError as error:
            raise Unavailable(f"the channel cannot be reached: {type(error).__name__}") from error
        return pb.RunReconciliationResponse(reconciliation=_run(run))

    async def GetReconciliation(
        self, request: pb.GetReconciliationRequest, caller: Caller
    ) -> pb.GetReconciliationResponse:
        run = await self._runs.find(_channel(request.channel), _day("day", request.day))
        if run is None:
            raise Missing("that day was never reconciled")
        return pb.GetReconciliationResponse(reconciliation=_run(run))

    async def ListReconciliations(
        self, request: pb.ListReconciliationsRequest, caller: Caller
    ) -> pb.ListReconciliationsResponse:
        before = _day("before_day", request.before_day) if request.before_day else _LAST_DAY
        limit = _page_size(request.page_size, 31, 100)
        runs = await self._runs.runs(_channel(request.channel), before, limit)
        return pb.ListReconciliationsResponse(reconciliations=[_run(each) for each in runs])

    async def ListBreaks(self, request: pb.ListBreaksRequest, caller: Caller) -> pb.ListBreaksResponse:
        limit = _page_size(request.page_size, 100, 500)
        found = await self._breaks.page(self._wanted(request), _after(request.page_token), limit)
        token = f"{found[-1].channel}|{found[-1].found.id}" if len(found) == limit else ""
        return pb.ListBreaksResponse(breaks=[self._break(each) for each in found], next_page_token=token)

    async def GetBreak(self, request: pb.GetBreakRequest, caller: Caller) -> pb.GetBreakResponse:
        found = await self._breaks.find(*_key(request))
        return pb.GetBreakResponse(found=self._break(found))

    async def GetBreakAges(self, request: pb.GetBreakAgesRequest, caller: Caller) -> pb.GetBreakAgesResponse:
        ages = [
            pb.BreakAge(
                from_days=each.from_days, to_days=-1 if each.to_days is None else each.to_days, count=each.count
            )
            for each in await self._breaks.ages(request.channel)
        ]
        return pb.GetBreakAgesResponse(ages=ages)

    async def AssignBreak(self, request: pb.AssignBreakRequest, caller: Caller) -> pb.AssignBreakResponse:
        found = await self._breaks.assign(*_key(request), caller, request.assignee)
        return pb.AssignBreakResponse(found=self._break(found))

    async def NoteBreak(self, request: pb.NoteBreakRequest, caller: Caller) -> pb.NoteBreakResponse:
        found = await self._breaks.note(*_key(request), caller, request.text)
        return pb.NoteBreakResponse(found=self._break(found))

    async def ResolveBreak(self, request: pb.ResolveBreakRequest, caller: Caller) -> pb.ResolveBreakResponse:
        found = await self._breaks.resolve(*_key(request), caller, request.reason)
        return pb.ResolveBreakResponse(found=self._break(found))

    async def ProposeWriteOff(self, request: pb.ProposeWriteOffRequest, caller: Caller) -> pb.ProposeWriteOffResponse:
        found = await self._breaks.propose_write_off(*_key(request), caller, request.reason)
        return pb.ProposeWriteOffResponse(found=self._break(found))

    async def ApproveWriteOff(self, request: pb.ApproveWriteOffRequest, caller: Caller) -> pb.ApproveWriteOffResponse:
        found = await self._breaks.approve_write_off(*_key(request), caller, request.difference_minor)
        return pb.ApproveWriteOffResponse(found=self._break(found))

    def _wanted(self, request: pb.ListBreaksRequest) -> Wanted:
        if not 0 <= request.least_age_days <= _LARGEST_ASKED_AGE_DAYS:
            raise Invalid("least_age_days", f"must be 0 to {_LARGEST_ASKED_AGE_DAYS}")
        try:
            states = tuple(BreakState(each) for each in request.states)
            classes = tuple(BreakClass(each) for each in request.classes)
        except ValueError:
            raise Invalid("states", "a state or class that there is not") from None
        return Wanted(
            channel=request.channel,
            states=states,
            classes=classes,
            assignee=request.assignee,
            from_day=_day("from_day", request.from_day) if request.from_day else None,
            until_day=_day("until_day", request.until_day) if request.until_day else None,
            opened_until_ms=self._clock.time_ms() - request.least_age_days * _DAY_MS,
        )

    def _break(self, each: Break) -> pb.Break:
        found = each.found
        until_ms = each.closed_time_ms or self._clock.time_ms()
        return pb.Break(
            channel=each.channel,
            id=str(found.id),
            day=each.day.isoformat(),
            break_class=f"BREAK_CLASS_{found.break_class.name}",
            state=f"BREAK_STATE_{each.state.name}",
            reference=found.reference,
            channel_reference=found.channel_reference,
            detail=found.detail,
            record=found.record,
            merchant_id=found.merchant_id,
            authorization_id=str(found.authorization_id or ""),
            ours=_money(found.ours),
            theirs=_money(found.theirs),
            difference_minor=found.difference_minor,
            suspense_minor=each.suspense_minor,
            currency=found.currency,
            assignee=each.assignee,
            proposed_by=each.proposed_by,
            reason=each.reason,
            opened_time_ms=each.opened_time_ms,
            closed_time_ms=each.closed_time_ms,
            closed_by=each.closed_by,
            age_days=max(0, until_ms - each.opened_time_ms) // _DAY_MS,
            notes=[pb.BreakNote(who=note.who, text=note.text, time_ms=note.time_ms) for note in each.notes],
        )


def _money(money: Money | None) -> common_pb2.Money | None:
    return common_pb2.Money(amount_minor=money.amount_minor, currency=money.currency) if money is not None else None


def _run(run: Run) -> pb.Reconciliation:
    sums = [
        pb.BillSum(
            currency=currency,
            payments_minor=each.payments_minor,
            returned_minor=each.returned_minor,
            fees_minor=each.fees_minor,
            settlement_minor=each.settlement_minor,
        )
        for currency, each in sorted(run.sides.items())
    ]
    return pb.Reconciliation(
        channel=run.channel,
        day=run.day.isoformat(),
        bill_version=run.bill_version,
        bill_digest=run.bill_digest,
        lines=run.lines,
        compared_time_ms=run.compared_time_ms,
        runs=run.runs,
        counts=run.counts,
        sums=sums,
        active_breaks=run.active_breaks,
        trouble=run.trouble,
        next_time_ms=run.next_time_ms,
    )


def _bill(content: bytes, channel: str, day: date) -> Bill:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise BillRefused("malformed", "not UTF-8") from None
    return read_bill(io.StringIO(text, newline=""), channel, day)


class _Named(Protocol):
    channel: str
    id: str


def _key(request: _Named) -> tuple[str, UUID]:
    try:
        return _channel(request.channel), UUID(request.id)
    except ValueError:
        raise Invalid("id", "is not a UUID") from None


def _channel(text: str) -> str:
    if not 0 < len(text) <= 80 or not text.isascii() or not text.isprintable():
        raise Invalid("channel", "must be the name of a channel")
    return text


def _day(field: str, text: str) -> date:
    try:
        if len(text) != len("2026-01-02"):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid(field, "must be YYYY-MM-DD") from None


def _after(token: str) -> tuple[str, UUID]:
    if not token:
        return _FIRST
    channel, _, identity = token.rpartition("|")
    try:
        return channel, UUID(identity)
    except ValueError:
        raise Invalid("page_token", "is not one of a page") from None


def _page_size(asked: int, usual: int, most: int) -> int:
    if not 0 <= asked <= most:
        raise Invalid("page_size", f"must be 1 to {most}")
    return asked or usual
