"""DisputeService: the payer's bank, finance and the merchant, each with what is theirs to do."""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from payswitch.v1 import common_pb2
from payswitch.v1 import dispute_pb2 as pb
from switch.domain.access import Caller
from switch.domain.dispute import Dispute, DisputeKind, DisputeState, Evidence, ReasonCategory
from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR, Money
from switch.domain.refusals import Invalid
from switch.settlement.disputes import Claim, Disputes

_PART_BYTES: Final = 65_536
_MOST_A_PAGE: Final = 500
_USUAL_PAGE: Final = 100


class DisputeServicer:
    def __init__(self, disputes: Disputes) -> None:
        self._disputes = disputes

    async def OpenDispute(self, request: pb.OpenDisputeRequest, caller: Caller) -> pb.OpenDisputeResponse:
        claim = Claim(
            merchant_id=_merchant(request.merchant_id),
            authorization_id=_uuid("authorization_id", request.authorization_id),
            kind=_kind(request.kind),
            case=request.case_number,
            money=_money(request.amount),
            reason_code=request.reason_code,
            category=_category(request.category),
            text=request.text,
        )
        return pb.OpenDisputeResponse(dispute=_dispute(await self._disputes.open(claim, caller)))

    async def GetDispute(self, request: pb.GetDisputeRequest, caller: Caller) -> pb.GetDisputeResponse:
        found, evidence = await self._disputes.find(*_key(request.merchant_id, request.id), caller)
        return pb.GetDisputeResponse(dispute=_dispute(found, evidence))

    async def ListDisputes(self, request: pb.ListDisputesRequest, caller: Caller) -> pb.ListDisputesResponse:
        if not 0 <= request.page_size <= _MOST_A_PAGE:
            raise Invalid("page_size", f"must be 1 to {_MOST_A_PAGE}")
        limit = request.page_size or _USUAL_PAGE
        try:
            states = tuple(DisputeState(each) for each in request.states)
        except ValueError:
            raise Invalid("states", "a state that there is not") from None
        merchant_id = _merchant(request.merchant_id) if request.merchant_id else ""
        found = await self._disputes.page(merchant_id, _after(request.page_token), states, limit)
        token = f"{found[-1].merchant_id}|{found[-1].id}" if len(found) == limit else ""
        return pb.ListDisputesResponse(disputes=[_dispute(each) for each in found], next_page_token=token)

    async def AddEvidence(self, request: pb.AddEvidenceRequest, caller: Caller) -> pb.AddEvidenceResponse:
        kept = await self._disputes.add_evidence(
            *_key(request.merchant_id, request.dispute_id), caller, request.name, request.content_type, request.content
        )
        return pb.AddEvidenceResponse(evidence=_evidence(kept))

    async def GetEvidence(
        self, request: pb.GetEvidenceRequest, caller: Caller
    ) -> AsyncIterator[pb.GetEvidenceResponse]:
        key = _key(request.merchant_id, request.dispute_id)
        content = await self._disputes.content(*key, _uuid("id", request.id))
        for first in range(0, len(content), _PART_BYTES):
            yield pb.GetEvidenceResponse(content=content[first : first + _PART_BYTES])

    async def AnswerDispute(self, request: pb.AnswerDisputeRequest, caller: Caller) -> pb.AnswerDisputeResponse:
        key = _key(request.merchant_id, request.id)
        match request.answer:
            case pb.DISPUTE_ANSWER_CONTEST:
                done = await self._disputes.contest(*key, caller, request.statement)
            case pb.DISPUTE_ANSWER_ACCEPT:
                done = await self._disputes.accept(*key, caller)
            case _:
                raise Invalid("answer", "must be CONTEST or ACCEPT")
        return pb.AnswerDisputeResponse(dispute=_dispute(done))

    async def EscalateDispute(self, request: pb.EscalateDisputeRequest, caller: Caller) -> pb.EscalateDisputeResponse:
        done = await self._disputes.escalate(*_key(request.merchant_id, request.id), caller, request.text)
        return pb.EscalateDisputeResponse(dispute=_dispute(done))

    async def DecideDispute(self, request: pb.DecideDisputeRequest, caller: Caller) -> pb.DecideDisputeResponse:
        key = _key(request.merchant_id, request.id)
        done = await self._disputes.decide(*key, caller, won=request.won, text=request.text)
        return pb.DecideDisputeResponse(dispute=_dispute(done))

    async def WithdrawDispute(self, request: pb.WithdrawDisputeRequest, caller: Caller) -> pb.WithdrawDisputeResponse:
        done = await self._disputes.withdraw(*_key(request.merchant_id, request.id), caller)
        return pb.WithdrawDisputeResponse(dispute=_dispute(done))


def _dispute(each: Dispute, evidence: Sequence[Evidence] = ()) -> pb.Dispute:
    return pb.Dispute(
        merchant_id=each.merchant_id,
        id=str(each.id),
        authorization_id=str(each.authorization_id),
        channel=each.channel,
        kind=f"DISPUTE_KIND_{each.kind.name}",
        state=f"DISPUTE_STATE_{each.state.name}",
        case_number=each.case,
        amount=common_pb2.Money(amount_minor=each.money.amount_minor, currency=each.money.currency),
        reason_code=each.reason_code,
        category=f"REASON_CATEGORY_{each.category.name}",
        text=each.text,
        statement=each.statement,
        outcome=each.outcome,
        opened_by=each.opened_by,
        opened_time_ms=each.opened_time_ms,
        due_time_ms=each.due_time_ms,
        ended_time_ms=each.ended_time_ms,
        evidence=[_evidence(file) for file in evidence],
    )


def _evidence(each: Evidence) -> pb.Evidence:
    return pb.Evidence(
        id=str(each.id),
        name=each.name,
        content_type=each.content_type,
        size_bytes=each.size_bytes,
        sha256=each.sha256,
        who=each.who,
        time_ms=each.time_ms,
    )


def _money(money: common_pb2.Money) -> Money:
    if money.currency not in CURRENCIES:
        raise Invalid("amount.currency", "is not one of ISO 4217 that is known here")
    if not 0 < money.amount_minor <= LARGEST_AMOUNT_MINOR:
        raise Invalid("amount.amount_minor", "must be positive, twelve digits at most")
    return Money(money.amount_minor, money.currency)


def _kind(number: int) -> DisputeKind:
    try:
        return DisputeKind(number)
    except ValueError:
        raise Invalid("kind", "must be RETRIEVAL or CHARGEBACK") from None


def _category(number: int) -> ReasonCategory:
    try:
        return ReasonCategory(number)
    except ValueError:
        raise Invalid("category", "must be one of those that there are") from None


def _key(merchant_id: str, identity: str) -> tuple[str, UUID]:
    return _merchant(merchant_id), _uuid("id", identity)


def _merchant(text: str) -> str:
    if not 0 < len(text) <= 15 or not text.isascii() or not text.isprintable():
        raise Invalid("merchant_id", "must be 1 to 15 characters")
    return text


def _uuid(field: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Invalid(field, "is not a UUID") from None


def _after(token: str) -> tuple[str, UUID]:
    if not token:
        return "", UUID(int=0)
    merchant_id, _, identity = token.rpartition("|")
    return merchant_id, _uuid("page_token", identity)
