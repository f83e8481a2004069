"""Between an issuer's frames and the hub's plain values. Nothing is judged here but what no value can hold."""

from collections.abc import Iterable, Sequence
from datetime import date

from adapters.issuer.messages import (
    BillChunk,
    BillRequest,
    IssuerAnswer,
    IssuerBillLine,
    IssuerBillTotal,
    IssuerMessage,
    IssuerNotice,
    Outcome,
)
from payswitch.v1 import common_pb2, issuer_pb2
from switch.domain.bill import BillKind
from switch.domain.money import Money

_BILL_KINDS: dict[int, BillKind] = {
    issuer_pb2.ISSUER_BILL_KIND_PAYMENT: BillKind.PAYMENT,
    issuer_pb2.ISSUER_BILL_KIND_REFUND: BillKind.REFUND,
    issuer_pb2.ISSUER_BILL_KIND_REVERSAL: BillKind.REVERSAL,
}

Process = tuple[str, str]  # name, address


def plain_answers(answers: Iterable[issuer_pb2.IssuerAnswer]) -> list[IssuerAnswer]:
    """What is wrong with an answer is the channel's to judge: it leaves one payment unknown, and the link lives."""
    plain: list[IssuerAnswer] = []
    for answer in answers:
        outcome = None
        if answer.HasField("outcome"):
            said = answer.outcome
            part = _money(said.approved) if said.HasField("approved") else None
            outcome = Outcome(said.state, said.response_code, said.approval_code, part)
        plain.append(
            IssuerAnswer(
                answer.message_id,
                answer.response_code,
                answer.approval_code,
                _money(answer.approved) if answer.HasField("approved") else None,
                answer.emv_response,
                answer.reason,
                outcome,
            )
        )
    return plain


def plain_notice(notice: issuer_pb2.IssuerNotice) -> IssuerNotice:
    return IssuerNotice(notice.notice_id, notice.message_id, notice.refund_message_id, notice.state)


def plain_chunk(chunk: issuer_pb2.BillChunk) -> BillChunk:
    lines = [
        IssuerBillLine(
            _BILL_KINDS.get(line.kind),
            line.message_id,
            _money(line.amount),
            line.booked_time_ms,
            line.original_message_id,
            line.issuer_reference,
            line.fee_minor,
        )
        for line in chunk.lines
    ]
    totals = [
        IssuerBillTotal(_BILL_KINDS.get(each.kind), each.currency, each.lines, each.amount_minor, each.fee_minor)
        for each in chunk.totals
    ]
    return BillChunk(chunk.request_id, chunk.sequence, lines, totals, chunk.last, chunk.not_ready)


def bill_request_frame(request: BillRequest) -> issuer_pb2.ConnectResponse:
    day: date = request.day
    asked = issuer_pb2.BillRequest(request_id=request.request_id, day=day.isoformat())
    return issuer_pb2.ConnectResponse(bill_request=asked)


def notice_answer_frame(notice_id: str, cause: str) -> issuer_pb2.ConnectResponse:
    """cause: "" for an accepted notice."""
    answer = issuer_pb2.NoticeAnswer(notice_id=notice_id, accepted=not cause, cause=cause)
    return issuer_pb2.ConnectResponse(notice_answer=answer)


def processes_of(processes: Sequence[Process]) -> issuer_pb2.Processes:
    each = [issuer_pb2.SwitchProcess(name=name, address=address) for name, address in processes]
    return issuer_pb2.Processes(processes=each)


def _money(money: common_pb2.Money) -> Money:
    return Money(money.amount_minor, money.currency)


def messages_frame(messages: list[IssuerMessage]) -> issuer_pb2.ConnectResponse:
    frame = issuer_pb2.ConnectResponse()
    add = frame.messages.messages.add
    for message in messages:
        item = add(
            message_id=message.message_id,
            operation=message.operation.value if message.stand_in is None else issuer_pb2.ISSUER_OPERATION_ADVICE,
            authorization_id=message.authorization_id,
            original_message_id=message.original_message_id,
            pan=message.pan.reveal() if message.pan is not None else "",
            expiry=message.expiry_yymm,
            card_sequence_number=message.card_sequence_number,
            emv=message.emv,
            entry=message.entry.value if message.entry is not None else 0,
            acquirer_id=message.acquirer_id,
            merchant_id=message.merchant_id,
            merchant_name=message.merchant_name,
            merchant_category_code=message.merchant_category_code,
            terminal_id=message.terminal_id,
            transmission_time_ms=message.transmission_time_ms,
            budget_ms=message.budget_ms,
            repeat=message.repeat,
            track2=message.track2.reveal() if message.track2 is not None else "",
        )
        amount = item.amount
        amount.amount_minor = message.money.amount_minor
        amount.currency = message.money.currency
        if message.pin_block:
            item.pin.block = message.pin_block
        if message.stand_in is not None:
            item.stand_in.operation = message.operation.value  # type: ignore[assignment]  # the same numbers
            item.stand_in.approval_code = message.stand_in.approval_code
            item.stand_in.approved_time_ms = message.stand_in.approved_time_ms
    return frame
