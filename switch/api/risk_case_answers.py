"""Lists and cases of risk control on the wire."""

from typing import Final, TypeVar
from uuid import UUID

from payswitch.v1 import risk_cases_pb2 as pb
from switch.api.risk_answers import identity
from switch.domain.refusals import Invalid
from switch.domain.risk import ListKind, Subject
from switch.domain.risk_case import Case, CaseAction, CaseFile, CaseOutcome, CaseState
from switch.domain.risk_listing import ListingBatch, ListingKey, Marking, StoredListing
from switch.risk.sharing import Imported

_BY_NUMBER: Final = {pb.RiskSubject.Value(f"RISK_SUBJECT_{each.name}"): each for each in Subject}
_LAST: Final = 1 << 62
_UNDECIDED: Final = "UNSPECIFIED"

Number = TypeVar("Number", ListKind, CaseOutcome, CaseAction, CaseState)


# --- out --------------------------------------------------------------------------------------------------------------


def batch(each: ListingBatch) -> pb.ListingBatch:
    return pb.ListingBatch(
        id=str(each.id),
        kind=f"RISK_LIST_KIND_{each.kind.name}",
        name=each.name,
        reason=each.reason,
        source=each.source,
        size=each.size,
        state=f"LISTING_BATCH_STATE_{each.state.name}",
        why=each.why,
        marking=_marking(each.marking),
        created_by=each.created_by,
        created_time_ms=each.created_time_ms,
        decided_by=each.decided_by,
        decided_time_ms=each.decided_time_ms,
    )


def listing(each: StoredListing) -> pb.RiskListing:
    of = each.listing
    return pb.RiskListing(
        kind=f"RISK_LIST_KIND_{of.kind.name}",
        name=of.name,
        subject=f"RISK_SUBJECT_{of.subject.name}",
        key=of.key,
        shown=each.shown,
        reason=of.reason,
        source=of.source,
        expires_time_ms=of.expires_time_ms,
        marking=_marking(each.marking),
        batch_id=str(each.batch_id),
        created_by=each.created_by,
        second=each.second,
        changed_time_ms=each.changed_time_ms,
    )


def _marking(marking: Marking | None) -> str:
    return "SHARING_MARK_UNSPECIFIED" if marking is None else f"SHARING_MARK_{marking.name}"


def case(each: Case) -> pb.RiskCase:
    return pb.RiskCase(
        id=str(each.id),
        subject=f"RISK_SUBJECT_{each.subject.name}",
        key=each.key,
        state=f"RISK_CASE_STATE_{each.state.name}",
        severity=each.severity,
        assigned_to=each.assigned_to,
        outcome=f"RISK_CASE_OUTCOME_{_UNDECIDED if each.outcome is None else each.outcome.name}",
        alerts=each.alerts,
        opened_time_ms=each.opened_time_ms,
        last_time_ms=each.last_time_ms,
        closed_time_ms=each.closed_time_ms,
        version=each.version,
    )


def file(each: CaseFile) -> pb.GetCaseResponse:
    alerts = [
        pb.RiskAlert(
            id=one.id, kind=one.kind, severity=one.severity, text=one.text, facts=one.facts, count=one.count,
            time_ms=one.time_ms, last_time_ms=one.last_time_ms,
        )
        for one in each.alerts
    ]  # fmt: skip
    payments = [
        pb.RiskCasePayment(
            merchant_id=one.merchant_id, authorization_id=str(one.authorization_id), rule=one.rule, time_ms=one.time_ms
        )
        for one in each.payments
    ]
    events = [
        pb.RiskCaseEvent(number=one.number, who=one.who, act=one.act, text=one.text, time_ms=one.time_ms)
        for one in each.events
    ]
    others = map(case, each.others)
    return pb.GetCaseResponse(case=case(each.case), alerts=alerts, payments=payments, events=events, others=others)


def imported(each: Imported) -> pb.ImportIndicatorsResponse:
    return pb.ImportIndicatorsResponse(
        bundle_id=each.bundle_id,
        batch=None if each.batch is None else batch(each.batch),
        indicators=each.indicators,
        known=each.known,
        expired=each.expired,
        unusable=each.unusable,
        lifted=each.lifted,
    )


# --- in ---------------------------------------------------------------------------------------------------------------


def subject(field: str, number: int) -> Subject:
    found = _BY_NUMBER.get(number)
    if found is None:
        raise Invalid(field, "must be named")
    return found


def number_of(field: str, number: int, kind: type[Number]) -> Number:
    try:
        return kind(number)
    except ValueError:
        raise Invalid(field, "must be named") from None


def payment(field: str, name: pb.RiskPaymentName) -> tuple[str, UUID]:
    if not 0 < len(name.merchant_id) <= 15:
        raise Invalid(f"{field}.merchant_id", "must be 1 to 15 characters")
    return name.merchant_id, identity(f"{field}.authorization_id", name.authorization_id)


def listing_token(last: ListingKey) -> str:
    return f"{last.subject}.{last.key}.{last.kind.value}.{last.name}"


def listing_behind(token: str) -> ListingKey | None:
    if not token:
        return None
    try:
        of, key, kind, name = token.split(".")
        return ListingKey(ListKind(int(kind)), name, Subject(of), key)
    except ValueError:
        raise Invalid("page_token", "is not one of ours") from None


def batch_before(token: str) -> int:
    if not token:
        return 0
    if not token.isascii() or not token.isdigit() or not 0 < int(token) < _LAST:
        raise Invalid("page_token", "is not one of ours")
    return int(token)
