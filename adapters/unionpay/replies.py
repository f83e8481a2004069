"""Replies to results: what the network's answer means to the switch."""

from dataclasses import dataclass

from adapters.unionpay.format import Fields
from switch.domain.response_codes import RESPONSE_CODES, meaning
from switch.domain.states import Operation
from switch.ports import Approved, ChannelResult, Declined, Phase, Unknown

PARTIALLY_APPROVED = "10"
MAC_ERROR = "A0"
SIGN_ON_AGAIN = "77"
_APPROVED = frozenset({"00", "11", PARTIALLY_APPROVED})
# The original never arrived, or the network keeps a tombstone for it: either way it has no effect, as was asked.
_REVERSED = frozenset({"00", "25"})
# What may be approved in part; of anything else it is not known how much was done.
_PARTIAL = frozenset({Operation.SALE, Operation.PRE_AUTHORIZATION})
_STILL_OPEN = frozenset({"09"})


@dataclass(slots=True)
class Expected:
    """What a reply must agree with."""

    operation: Operation
    mti: str
    transmission: str
    amount_minor: int


def _text(fields: Fields, number: int) -> str:
    value = fields.get(number, "")
    return value if isinstance(value, str) else ""


def _binary(fields: Fields, number: int) -> bytes:
    value = fields.get(number, b"")
    return value if isinstance(value, bytes) else b""


def response_code(fields: Fields) -> str:
    return _text(fields, 39)


def interpret(expected: Expected, fields: Fields) -> ChannelResult:
    """The result of an authenticated reply.

    A code that the dialect does not know, a missing code and an amount that was not asked for are Unknown: nobody may
    guess from them. `channel_reference` is DE7 and DE11, by which the network's files name the transaction.
    """
    code = response_code(fields)
    if code not in RESPONSE_CODES or code in _STILL_OPEN:
        return Unknown(Phase.SENT, "a response code that decides nothing")
    reference = expected.transmission + _text(fields, 11)
    emv_response = _binary(fields, 55)
    if code in (_REVERSED if expected.operation is Operation.REVERSAL else _APPROVED):
        amount_minor = int(_text(fields, 4) or expected.amount_minor)
        partial = code == PARTIALLY_APPROVED
        if partial and expected.operation not in _PARTIAL:
            return Unknown(Phase.SENT, "an approval that does not fit the operation")
        if not (0 < amount_minor < expected.amount_minor if partial else amount_minor == expected.amount_minor):
            return Unknown(Phase.SENT, "the reply's amount differs")
        return Approved(
            response_code=code,
            approval_code=_text(fields, 38).strip(),
            retrieval_reference=_text(fields, 37),
            channel_reference=reference,
            emv_response=emv_response,
            approved_minor=amount_minor if partial else None,
        )
    if code in _APPROVED:
        return Unknown(Phase.SENT, "an approval that does not fit the operation")
    return Declined(code, reason=meaning(code), channel_reference=reference, emv_response=emv_response)
