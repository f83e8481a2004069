"""From the domain to a terminal's answer. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from adapters.unionpay.pos.format import Fields
from switch.domain.authorization import Authorization, FollowOn
from switch.domain.states import Operation, State

_LARGEST_EMV_BYTES = 255
_ZONE = ZoneInfo("Asia/Shanghai")
# What an answer repeats of its question. The PAN only where it came as DE2; never track, PIN or chip data.
_REPEATED = (2, 3, 4, 11, 25, 41, 42, 49, 60, 61)


@dataclass(slots=True)
class Answer:
    """code: DE39. fields: what is said beside what is repeated. time_ms: DE12, 13 and 15."""

    code: str
    time_ms: int
    fields: Fields = field(default_factory=dict, repr=False)


def answer_fields(asked: Fields, answer: Answer, institution: str) -> Fields:
    """All but DE64."""
    moment = datetime.fromtimestamp(answer.time_ms / 1000, _ZONE)
    fields: Fields = {number: asked[number] for number in _REPEATED if number in asked}
    fields |= {
        12: moment.strftime("%H%M%S"), 13: moment.strftime("%m%d"), 15: moment.strftime("%m%d"), 32: institution,
        39: answer.code,
    }  # fmt: skip
    return fields | answer.fields


def authorized(record: Authorization, own_reference: str) -> Answer:
    """own_reference: DE37 where the channel gave none, or one that the dialect cannot say."""
    reference = record.retrieval_reference
    fields: Fields = {37: reference.ljust(12) if _sayable(reference, 12) else own_reference}
    if _sayable(record.approval_code, 6):
        fields[38] = record.approval_code.ljust(6)
    if 0 < len(record.emv_response) <= _LARGEST_EMV_BYTES:
        fields[55] = record.emv_response
    if record.approved_minor:
        fields[4] = f"{record.approved_minor:012d}"
    return Answer(record.response_code, record.answered_time_ms or record.created_time_ms, fields)


def _sayable(text: str, width: int) -> bool:
    """Letters and digits: what a channel says otherwise must not keep a terminal from its answer."""
    return 0 < len(text) <= width and text.isascii() and text.replace(" ", "").isalnum()


def followed(stored: FollowOn, own_reference: str) -> Answer:
    """A reversal is answered 00 as soon as it is durable: from then on it is the switch that pursues it."""
    is_pursued = stored.operation is Operation.REVERSAL and stored.state in (State.UNKNOWN, State.SENT)
    code = "00" if is_pursued else stored.response_code
    return Answer(code, stored.answered_time_ms or stored.created_time_ms, {37: own_reference})


def own_reference(time_ms: int, stan: int) -> str:
    """A retrieval reference number: YDDDhh of the arrival, then the terminal's STAN (ISO 8583 practice).

    >>> own_reference(1_700_000_000_000, 42)
    '331906000042'
    """
    moment = datetime.fromtimestamp(time_ms / 1000, _ZONE)
    return f"{moment.year % 10}{moment:%j%H}{stan:06d}"
