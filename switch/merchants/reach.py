"""Whose merchant it is: what every call of the service asks first, and what many write of themselves."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from switch.domain.access import Caller, Role
from switch.domain.audit import AuditEntry
from switch.domain.merchant import MerchantState
from switch.domain.merchant_record import MerchantRecord, person_of
from switch.domain.refusals import Missing, NotPermitted, NotPossible

_OF_ANY_MERCHANT = frozenset({Role.REVIEWER, Role.OPERATOR, Role.FINANCE})
_ZONE = ZoneInfo("Asia/Shanghai")
WORKING = frozenset({MerchantState.ACTIVE, MerchantState.SUSPENDED})


def check_reach(caller: Caller, record: MerchantRecord) -> None:
    """Raises Missing for a merchant that is not the caller's: that it exists is not told."""
    if caller.roles & _OF_ANY_MERCHANT or caller.merchant_id == record.id:
        return
    if Role.ACQUIRER in caller.roles and record.acquirer_id == caller.person:
        return
    raise Missing("merchant_id: there is no such merchant")


def check_applicant(caller: Caller, record: MerchantRecord) -> None:
    """Raises Missing for anybody but who applied."""
    if not caller.name or caller.name != record.applicant:
        raise Missing("merchant_id: there is no such application")


def check_state(record: MerchantRecord, states: frozenset[MerchantState] = WORKING) -> None:
    if record.state not in states:
        raise NotPossible(f"the merchant is {record.state.name}")


def check_another(caller: Caller, first: str) -> None:
    """The second person of a two-person act is not the first, in whatever role. first: `Caller.name`."""
    if not caller.person or caller.person == person_of(first):
        raise NotPermitted("another person must do this")


def entry(
    caller: Caller,
    record: MerchantRecord,
    act: str,
    subject: str,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> AuditEntry:
    """Of before and after, the fields that differ."""
    before, after = before or {}, after or {}
    same = {name for name in before if name in after and before[name] == after[name]}
    left = [{name: value for name, value in each.items() if name not in same} for each in (before, after)]
    return AuditEntry(record.id, caller.name, f"MerchantService.{act}", subject, *left)


def fields_of(value: Any) -> dict[str, Any]:
    """Of a dataclass, for the audit trail: enums by name, never what is secret."""
    fields = asdict(value)
    return {name: _shown(each) for name, each in fields.items() if name not in _SECRET}


_SECRET = frozenset({"sealed_number", "code_hash", "secret_hash", "previous_hash"})


def _shown(value: Any) -> Any:
    return value.name if hasattr(value, "name") and hasattr(value, "value") else value


def business_day(time_ms: int) -> str:
    """
    >>> business_day(1_764_258_000_000), business_day(1_764_259_200_000)
    ('2025-11-27', '2025-11-28')
    """
    return datetime.fromtimestamp(time_ms / 1000, _ZONE).date().isoformat()
