"""TransactionService: a merchant's payments."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from payswitch.v1 import authorization_pb2, common_pb2
from payswitch.v1 import transaction_pb2 as pb
from switch.api.answers import follow_on_result
from switch.api.errors import InvalidField
from switch.api.listed_fields import merchant_id, page_size, page_token, text, uuid_of
from switch.domain.access import Caller
from switch.domain.authorization import Authorization, FollowOn
from switch.domain.identity import transmission_time_ms_of
from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR
from switch.domain.states import EntryMode, Operation, State
from switch.domain.transaction import Transaction, TransactionFilter
from switch.merchants.exports import End, Exports, Format
from switch.merchants.transactions import Selection, Transactions
from switch.store.transactions import refunded_and_captured

M = TypeVar("M", State, EntryMode)

_LARGEST_TIME_MS: Final = (1 << 48) - 1
_TERMINAL_ID: Final = re.compile(r"[0-9A-Za-z]{1,8}", re.ASCII).fullmatch
_CODE: Final = re.compile(r"[0-9A-Za-z]{2}", re.ASCII).fullmatch
_FIRST_SIX: Final = re.compile(r"[0-9]{6}", re.ASCII).fullmatch
_LAST_FOUR: Final = re.compile(r"[0-9]{4}", re.ASCII).fullmatch
_KINDS: Final = {
    Operation.PRE_AUTHORIZATION: authorization_pb2.AUTHORIZATION_KIND_PRE_AUTHORIZATION,
}
_OPERATIONS: Final = {
    Operation.CAPTURE: authorization_pb2.OPERATION_KIND_CAPTURE,
    Operation.VOID: authorization_pb2.OPERATION_KIND_VOID,
    Operation.REFUND: authorization_pb2.OPERATION_KIND_REFUND,
    Operation.REVERSAL: authorization_pb2.OPERATION_KIND_REVERSAL,
    Operation.INCREMENT: authorization_pb2.OPERATION_KIND_INCREMENT,
}
_FORMATS: Final = {
    pb.EXPORT_FORMAT_CSV: Format.CSV,
    pb.EXPORT_FORMAT_CSV_WITH_BOM: Format.CSV_WITH_BOM,
    pb.EXPORT_FORMAT_XLSX: Format.XLSX,
}


class TransactionServicer:
    def __init__(self, transactions: Transactions, exports: Exports) -> None:
        self._transactions = transactions
        self._exports = exports

    async def QueryTransactions(
        self, request: pb.QueryTransactionsRequest, caller: Caller
    ) -> pb.QueryTransactionsResponse:
        found = await self._transactions.query(
            caller, merchant_id(request.merchant_id), selection_from(request.filter), page_size(request.page_size),
            page_token(request.page_token),
        )  # fmt: skip
        return pb.QueryTransactionsResponse(
            transactions=[_transaction(row, found.stores) for row in found.rows], next_page_token=found.next_page_token
        )

    async def GetTransaction(self, request: pb.GetTransactionRequest, caller: Caller) -> pb.GetTransactionResponse:
        identity = uuid_of(request.authorization_id, "authorization_id")
        record, later, reference, store_id = await self._transactions.get(
            caller, merchant_id(request.merchant_id), identity
        )
        row = _listed(record, later, reference)
        return pb.GetTransactionResponse(
            transaction=_transaction(row, {row.terminal_id: store_id}), operations=[_operation(each) for each in later]
        )

    async def ExportTransactions(
        self, request: pb.ExportTransactionsRequest, caller: Caller
    ) -> AsyncIterator[pb.ExportTransactionsResponse]:
        form = _FORMATS.get(request.format)
        if form is None:
            raise InvalidField("format", "is not a known format")
        parts = self._exports.export(caller, merchant_id(request.merchant_id), selection_from(request.filter), form)
        async for part in parts:
            if isinstance(part, End):
                yield pb.ExportTransactionsResponse(end=pb.ExportEnd(rows=part.rows, truncated=part.truncated))
            else:
                yield pb.ExportTransactionsResponse(data=part)


def selection_from(message: pb.TransactionFilter) -> Selection:
    """Raises InvalidField."""
    ids = (uuid_of(message.authorization_id, "filter.authorization_id"),) if message.authorization_id else None
    terminals = (_matching(message.terminal_id, _TERMINAL_ID, "terminal_id"),) if message.terminal_id else None
    currency, at_least_minor, at_most_minor = _amounts(message)
    wanted = TransactionFilter(
        from_ms=_time(message.from_time_ms, "from_time_ms"),
        until_ms=_time(message.until_time_ms, "until_time_ms"),
        authorization_ids=ids,
        terminal_ids=terminals,
        state=_member(State, message.state, "state"),
        channel=text(message.channel, "filter.channel", 64),
        entry=_member(EntryMode, message.entry, "entry"),
        response_code=_matching(message.response_code, _CODE, "response_code"),
        reference=text(message.reference, "filter.reference", 64),
        channel_reference=text(message.channel_reference, "filter.channel_reference", 64),
        retrieval_reference=text(message.retrieval_reference, "filter.retrieval_reference", 12),
        approval_code=text(message.approval_code, "filter.approval_code", 6),
        card_first_six=_matching(message.card_first_six, _FIRST_SIX, "card_first_six"),
        card_last_four=_matching(message.card_last_four, _LAST_FOUR, "card_last_four"),
        currency=currency,
        at_least_minor=at_least_minor,
        at_most_minor=at_most_minor,
    )
    if wanted.until_ms and wanted.until_ms <= wanted.from_ms:
        raise InvalidField("filter.until_time_ms", "must be later than from_time_ms")
    payer = uuid_of(message.same_payer_as, "filter.same_payer_as") if message.same_payer_as else None
    store_id = text(message.store_id, "filter.store_id", 64)
    return Selection(wanted, store_id, payer, text(message.order_number, "filter.order_number", 64))


def _amounts(message: pb.TransactionFilter) -> tuple[str, int, int]:
    lowest, highest, currency = message.at_least_minor, message.at_most_minor, message.currency
    for name, value in (("at_least_minor", lowest), ("at_most_minor", highest)):
        if not 0 <= value <= LARGEST_AMOUNT_MINOR:
            raise InvalidField(f"filter.{name}", f"must be 0 to {LARGEST_AMOUNT_MINOR}")
    if highest and highest < lowest:
        raise InvalidField("filter.at_most_minor", "must not be less than at_least_minor")
    if currency and currency not in CURRENCIES:
        raise InvalidField("filter.currency", "is not a supported ISO 4217 alphabetic code")
    if (lowest or highest) and not currency:
        raise InvalidField("filter.currency", "is needed with an amount")
    return currency, lowest, highest


def _time(value: int, field: str) -> int:
    if not 0 <= value <= _LARGEST_TIME_MS:
        raise InvalidField(f"filter.{field}", "must be Unix milliseconds")
    return value


def _matching(value: str, matches: Callable[[str], object], field: str) -> str:
    if value and not matches(value):
        raise InvalidField(f"filter.{field}", "is malformed")
    return value


def _member(kind: type[M], value: int, field: str) -> M | None:
    """State and EntryMode number their members as the contract does."""
    try:
        return kind(value) if value else None
    except ValueError as error:
        raise InvalidField(f"filter.{field}", "is not a known value") from error


def _transaction(row: Transaction, stores: dict[str, str]) -> pb.Transaction:
    return pb.Transaction(
        authorization_id=str(row.id),
        time_ms=transmission_time_ms_of(row.id),
        answered_time_ms=row.answered_time_ms,
        state=int(row.state),  # type: ignore[arg-type]
        kind=_KINDS.get(row.operation, authorization_pb2.AUTHORIZATION_KIND_SALE),
        amount=common_pb2.Money(amount_minor=row.money.amount_minor, currency=row.money.currency),
        approved_minor=row.approved_minor,
        captured_minor=row.captured_minor,
        refunded_minor=row.refunded_minor,
        entry=int(row.entry),  # type: ignore[arg-type]
        terminal_id=row.terminal_id,
        store_id=stores.get(row.terminal_id, ""),
        channel=row.channel,
        response_code=row.response_code,
        reason=row.reason,
        approval_code=row.approval_code,
        retrieval_reference=row.retrieval_reference,
        channel_reference=row.channel_reference,
        reference=row.reference,
        masked_credential=row.masked_credential,
    )


def _listed(record: Authorization, later: list[FollowOn], reference: str) -> Transaction:
    captured_minor, refunded_minor = refunded_and_captured(record, later)
    return Transaction(
        record.merchant_id, record.id, record.answered_time_ms, record.operation, record.state, record.money,
        record.approved_minor, captured_minor, refunded_minor, record.entry, record.terminal_id, record.channel,
        record.response_code, record.reason, record.approval_code, record.retrieval_reference,
        record.channel_reference, reference, record.masked_credential,
    )  # fmt: skip


def _operation(follow_on: FollowOn) -> pb.TransactionOperation:
    result = follow_on_result(follow_on)
    return pb.TransactionOperation(
        operation_id=result.operation_id,
        kind=_OPERATIONS[follow_on.operation],
        amount=result.amount,
        decision=result.decision,
        response_code=result.response_code,
        reason=result.reason,
        channel_reference=result.channel_reference,
        created_time_ms=follow_on.created_time_ms,
        answered_time_ms=follow_on.answered_time_ms,
    )
