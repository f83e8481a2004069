"""Between the switch's frames and an issuer's plain values, and its bill in parts."""

from collections.abc import Iterator, Sequence
from datetime import date

from adapters.issuer.messages import (
    BillRequest,
    IssuerAnswer,
    IssuerBillLine,
    IssuerMessage,
    IssuerNotice,
    StandInApproval,
)
from payswitch.v1 import common_pb2, issuer_pb2
from switch.domain.bill import BillKind
from switch.domain.money import Money
from switch.domain.sensitive import Pan, Sensitive
from switch.domain.states import EntryMode, Operation

CHUNK_LINES = 500

_NAMES = ("SALE", "PRE_AUTHORIZATION", "CAPTURE", "VOID", "REFUND", "REVERSAL", "INQUIRY", "INCREMENT")
_OPERATIONS: dict[int, Operation] = {Operation[name].value: Operation[name] for name in _NAMES}
_ADVISED = {each.value: each for each in (Operation.SALE, Operation.PRE_AUTHORIZATION)}
_ENTRIES = {entry.value: entry for entry in EntryMode}
_BILL_KINDS = {
    BillKind.PAYMENT: issuer_pb2.ISSUER_BILL_KIND_PAYMENT,
    BillKind.REFUND: issuer_pb2.ISSUER_BILL_KIND_REFUND,
    BillKind.REVERSAL: issuer_pb2.ISSUER_BILL_KIND_REVERSAL,
}


def plain_message(message: issuer_pb2.IssuerMessage) -> IssuerMessage | None:
    """None for an operation that this SDK does not know.

    An advice is given with the operation that it stands for, and `stand_in`.
    """
    if message.operation == issuer_pb2.ISSUER_OPERATION_ADVICE:
        operation = _ADVISED.get(message.stand_in.operation)
    else:
        operation = _OPERATIONS.get(message.operation)
    return None if operation is None else _plain(message, operation)


def _plain(message: issuer_pb2.IssuerMessage, operation: Operation) -> IssuerMessage:
    return IssuerMessage(
        message_id=message.message_id,
        operation=operation,
        authorization_id=message.authorization_id,
        money=Money(message.amount.amount_minor, message.amount.currency),
        original_message_id=message.original_message_id,
        pan=Pan(message.pan) if message.pan else None,
        expiry_yymm=message.expiry,
        card_sequence_number=message.card_sequence_number,
        pin_block=message.pin.block,
        emv=message.emv,
        entry=_ENTRIES.get(message.entry),
        acquirer_id=message.acquirer_id,
        merchant_id=message.merchant_id,
        merchant_name=message.merchant_name,
        merchant_category_code=message.merchant_category_code,
        terminal_id=message.terminal_id,
        transmission_time_ms=message.transmission_time_ms,
        budget_ms=message.budget_ms,
        repeat=message.repeat,
        track2=Sensitive(message.track2) if message.track2 else None,
        stand_in=_stand_in(message),
    )


def _stand_in(message: issuer_pb2.IssuerMessage) -> StandInApproval | None:
    if message.operation != issuer_pb2.ISSUER_OPERATION_ADVICE:
        return None
    return StandInApproval(message.stand_in.approval_code, message.stand_in.approved_time_ms)


def answers_frame(answers: list[IssuerAnswer]) -> issuer_pb2.ConnectRequest:
    frame = issuer_pb2.ConnectRequest()
    add = frame.answers.answers.add
    for answer in answers:
        item = add(
            message_id=answer.message_id,
            response_code=answer.response_code,
            approval_code=answer.approval_code,
            emv_response=answer.emv_response,
            reason=answer.reason,
        )
        if answer.approved is not None:
            item.approved.CopyFrom(_money(answer.approved))
        if answer.outcome is not None:
            outcome = answer.outcome
            item.outcome.state = outcome.state  # type: ignore[assignment]  # the stubs want the enum, the wire a number
            item.outcome.response_code = outcome.response_code
            item.outcome.approval_code = outcome.approval_code
            if outcome.approved is not None:
                item.outcome.approved.CopyFrom(_money(outcome.approved))
    return frame


def notice_frame(notice: IssuerNotice) -> issuer_pb2.ConnectRequest:
    said = issuer_pb2.IssuerNotice(
        notice_id=notice.notice_id,
        message_id=notice.message_id,
        refund_message_id=notice.refund_message_id,
        state=notice.state,  # type: ignore[arg-type]  # as above
    )
    return issuer_pb2.ConnectRequest(notice=said)


def bill_request(request: issuer_pb2.BillRequest) -> BillRequest | None:
    """None if the day is none."""
    try:
        return BillRequest(request.request_id, date.fromisoformat(request.day))
    except ValueError:
        return None


def not_ready_frame(request_id: str) -> issuer_pb2.ConnectRequest:
    return issuer_pb2.ConnectRequest(bill_chunk=issuer_pb2.BillChunk(request_id=request_id, not_ready=True))


def bill_frames(request_id: str, lines: Sequence[IssuerBillLine]) -> Iterator[issuer_pb2.ConnectRequest]:
    """The bill in parts, made one by one; the last one carries the totals, and alone an empty bill."""
    parts = max(1, -(-len(lines) // CHUNK_LINES))
    for sequence in range(parts):
        frame = issuer_pb2.ConnectRequest()
        chunk = frame.bill_chunk
        chunk.request_id, chunk.sequence, chunk.last = request_id, sequence, sequence == parts - 1
        for line in lines[sequence * CHUNK_LINES : (sequence + 1) * CHUNK_LINES]:
            _add_line(chunk, line)
        if chunk.last:
            chunk.totals.extend(_totals(lines))
        yield frame


def _add_line(chunk: issuer_pb2.BillChunk, line: IssuerBillLine) -> None:
    chunk.lines.add(
        kind=_BILL_KINDS[line.kind] if line.kind is not None else issuer_pb2.ISSUER_BILL_KIND_UNSPECIFIED,
        message_id=line.message_id,
        original_message_id=line.original_message_id,
        amount=_money(line.money),
        fee_minor=line.fee_minor,
        booked_time_ms=line.booked_time_ms,
        issuer_reference=line.issuer_reference,
    )


def _totals(lines: Sequence[IssuerBillLine]) -> list[issuer_pb2.IssuerBillTotal]:
    totals: dict[tuple[BillKind | None, str], issuer_pb2.IssuerBillTotal] = {}
    for line in lines:
        of = (line.kind, line.money.currency)
        if of not in totals:
            kind = _BILL_KINDS[line.kind] if line.kind is not None else issuer_pb2.ISSUER_BILL_KIND_UNSPECIFIED
            totals[of] = issuer_pb2.IssuerBillTotal(kind=kind, currency=line.money.currency)
        totals[of].lines += 1
        totals[of].amount_minor += line.money.amount_minor
        totals[of].fee_minor += line.fee_minor
    return list(totals.values())


def _money(money: Money) -> common_pb2.Money:
    return common_pb2.Money(amount_minor=money.amount_minor, currency=money.currency)
