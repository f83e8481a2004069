"""An event of the journal beside what was judged of its payment."""

from dataclasses import dataclass
from uuid import UUID

from switch.domain.journal_event import EventKind


@dataclass(frozen=True, slots=True)
class JudgedEvent:
    """An event of the journal and the judgement of its payment. channel: "" where none was asked. packed_facts,
    packed_subjects: `switch.risk.packing`. amount_minor: of what went back.
    """

    kind: EventKind
    authorization_id: UUID
    follow_on_id: UUID
    channel: str
    response_code: str
    amount_minor: int
    currency: str
    time_ms: int
    packed_subjects: bytes
    packed_facts: bytes
