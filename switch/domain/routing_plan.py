"""A routing plan as it is kept: what was loaded, by whom, and whether it decides."""

from dataclasses import dataclass
from enum import IntEnum


class PlanState(IntEnum):
    """Where a plan stands. The numbers are stored: they are never reused. At most one plan is LIVE."""

    DRAFT = 1
    LIVE = 2
    RETIRED = 3  # was live; a rollback makes it live again


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """content: TOML or JSON, as it was loaded. changed: when its state last changed. Times are Unix milliseconds."""

    version: int
    name: str
    content: str
    state: PlanState
    created_by: str
    created_time_ms: int
    changed_by: str
    changed_time_ms: int


@dataclass(frozen=True, slots=True)
class PlanChange:
    """One change of what is in force: `version` instead of `previous`; 0 stands for the settings' routes."""

    version: int
    previous: int
    who: str
    time_ms: int
