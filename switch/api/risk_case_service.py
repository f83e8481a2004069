"""RiskCaseService: lists, cases and what is shared with partners."""

import ipaddress
from collections.abc import Sequence
from typing import Final, Protocol

from payswitch.v1 import risk_cases_pb2 as pb
from switch.api import risk_case_answers as answers
from switch.api.risk_answers import identity, page_size
from switch.domain.access import Caller
from switch.domain.payer import Payer
from switch.domain.refusals import Invalid, Missing, NotPossible
from switch.domain.risk import ListKind, Subject
from switch.domain.risk_case import Case, CaseAction, CaseOutcome, CaseQueue, CaseState
from switch.domain.risk_listing import MOST_A_BATCH, ListingEntry, ListingKey
from switch.ports.risk_cases import Traffic
from switch.risk.case_desk import CaseDesk, Deed
from switch.risk.listing_desk import ListingDesk, Wanted
from switch.risk.packing import unpack_subjects
from switch.risk.sharing import Sharing
from switch.risk.subjects import address_key, device_key, merchant_key, terminal_key, user_key

_LONGEST_TEXT: Final = 120
# Subjects of one call that something must be asked for: a token, a payment.
_MOST_LOOKED_UP: Final = 500


class CardKeys(Protocol):
    async def of_tokens(self, tokens: Sequence[str]) -> list[str | None]:
        """Keys of the cards behind tokens of the wallet's vault; None for one that names none."""


class RiskCaseServicer:
    def __init__(
        self, listings: ListingDesk, cases: CaseDesk, sharing: Sharing, traffic: Traffic, cards: CardKeys
    ) -> None:
        self._listings = listings
        self._cases = cases
        self._sharing = sharing
        self._names = SubjectNames(traffic, cards)

    # --- lists --------------------------------------------------------------------------------------------------------

    async def AddListings(self, request: pb.AddListingsRequest, caller: Caller) -> pb.AddListingsResponse:
        kind = answers.number_of("kind", request.kind, ListKind)
        if not 0 < len(request.subjects) <= MOST_A_BATCH:
            raise Invalid("subjects", f"must be 1 to {MOST_A_BATCH:,}")
        entries = await self._names.entries(request.subjects, request.expires_time_ms)
        wanted = Wanted(kind, request.name, request.reason, caller.name, entries)
        return pb.AddListingsResponse(batch=answers.batch(await self._listings.add(wanted, caller)))

    async def DecideListings(self, request: pb.DecideListingsRequest, caller: Caller) -> pb.DecideListingsResponse:
        decided = await self._listings.decide(identity("batch_id", request.batch_id), request.approve, caller)
        return pb.DecideListingsResponse(batch=answers.batch(decided))

    async def RemoveListing(self, request: pb.RemoveListingRequest, caller: Caller) -> pb.RemoveListingResponse:
        kind = answers.number_of("kind", request.kind, ListKind)
        [entry] = await self._names.entries([request.subject], 0)
        await self._listings.remove(ListingKey(kind, request.name, entry.subject, entry.key), request.reason, caller)
        return pb.RemoveListingResponse()

    async def ListListings(self, request: pb.ListListingsRequest, caller: Caller) -> pb.ListListingsResponse:
        size, subject, key = page_size(request.page_size), None, ""
        if request.HasField("subject"):
            [entry] = await self._names.entries([request.subject], 0)
            subject, key = entry.subject, entry.key
        behind = answers.listing_behind(request.page_token)
        found = await self._listings.page(subject, key, request.name, behind, size + 1)
        page, token = found[:size], ""
        if len(found) > size:
            of = page[-1].listing
            token = answers.listing_token(ListingKey(of.kind, of.name, of.subject, of.key))
        return pb.ListListingsResponse(listings=map(answers.listing, page), next_page_token=token)

    async def ListListingBatches(
        self, request: pb.ListListingBatchesRequest, caller: Caller
    ) -> pb.ListListingBatchesResponse:
        size = page_size(request.page_size)
        found = await self._listings.batches(request.waiting, answers.batch_before(request.page_token), size + 1)
        page = found[:size]
        token = str(page[-1].created_time_ms) if len(found) > size else ""
        return pb.ListListingBatchesResponse(batches=map(answers.batch, page), next_page_token=token)

    # --- cases --------------------------------------------------------------------------------------------------------

    async def ListCases(self, request: pb.ListCasesRequest, caller: Caller) -> pb.ListCasesResponse:
        size = page_size(request.page_size)
        behind = await self._behind(request.page_token)
        found = await self._cases.queue(_queue(request, caller), behind, size + 1)
        page = found[:size]
        token = str(page[-1].id) if len(found) > size else ""
        return pb.ListCasesResponse(cases=map(answers.case, page), next_page_token=token)

    async def _behind(self, token: str) -> Case | None:
        return None if not token else (await self._cases.file(identity("page_token", token))).case

    async def GetCase(self, request: pb.GetCaseRequest, caller: Caller) -> pb.GetCaseResponse:
        return answers.file(await self._cases.file(identity("id", request.id)))

    async def TakeCase(self, request: pb.TakeCaseRequest, caller: Caller) -> pb.TakeCaseResponse:
        return pb.TakeCaseResponse(case=answers.case(await self._cases.take(identity("id", request.id), caller)))

    async def AssignCase(self, request: pb.AssignCaseRequest, caller: Caller) -> pb.AssignCaseResponse:
        case = await self._cases.assign(identity("id", request.id), request.assigned_to, request.version, caller)
        return pb.AssignCaseResponse(case=answers.case(case))

    async def AddCaseNote(self, request: pb.AddCaseNoteRequest, caller: Caller) -> pb.AddCaseNoteResponse:
        case = await self._cases.note(identity("id", request.id), request.text, caller)
        return pb.AddCaseNoteResponse(case=answers.case(case))

    async def CloseCase(self, request: pb.CloseCaseRequest, caller: Caller) -> pb.CloseCaseResponse:
        outcome = answers.number_of("outcome", request.outcome, CaseOutcome)
        case = await self._cases.close(identity("id", request.id), outcome, request.text, request.version, caller)
        return pb.CloseCaseResponse(case=answers.case(case))

    async def ReopenCase(self, request: pb.ReopenCaseRequest, caller: Caller) -> pb.ReopenCaseResponse:
        case = await self._cases.reopen(identity("id", request.id), request.text, caller)
        return pb.ReopenCaseResponse(case=answers.case(case))

    async def ActOnCase(self, request: pb.ActOnCaseRequest, caller: Caller) -> pb.ActOnCaseResponse:
        deed = Deed(
            answers.number_of("action", request.action, CaseAction),
            request.reason,
            answers.subject("subject", request.subject) if request.subject else None,
            answers.payment("payment", request.payment) if request.HasField("payment") else None,
            request.expires_time_ms,
        )
        case, batch = await self._cases.act(identity("id", request.id), deed, caller)
        told = None if batch is None else answers.batch(batch)
        return pb.ActOnCaseResponse(case=answers.case(case), batch=told)

    # --- sharing ------------------------------------------------------------------------------------------------------

    async def ExportIndicators(
        self, request: pb.ExportIndicatorsRequest, caller: Caller
    ) -> pb.ExportIndicatorsResponse:
        return pb.ExportIndicatorsResponse(bundle=await self._sharing.tell(request.partner))

    async def ImportIndicators(
        self, request: pb.ImportIndicatorsRequest, caller: Caller
    ) -> pb.ImportIndicatorsResponse:
        taken = await self._sharing.take(request.partner, request.bundle, request.signature, caller)
        return answers.imported(taken)


def _queue(request: pb.ListCasesRequest, caller: Caller) -> CaseQueue:
    if request.mine and request.unassigned:
        raise Invalid("mine", "or unassigned, not both")
    if not 0 <= request.least_severity <= 1000:
        raise Invalid("least_severity", "must be 0 to 1000")
    assigned_to = caller.name if request.mine else "" if request.unassigned else None
    return CaseQueue(
        answers.number_of("state", request.state or CaseState.OPEN, CaseState),
        request.least_severity,
        assigned_to,
        answers.subject("subject", request.subject) if request.subject else None,
    )


class SubjectNames:
    """From what a caller names to the key that lists have. A card is never named by its number."""

    def __init__(self, traffic: Traffic, cards: CardKeys) -> None:
        self._traffic = traffic
        self._cards = cards

    async def entries(self, names: Sequence[pb.RiskSubjectName], expires_time_ms: int) -> list[ListingEntry]:
        """In order. Raises Invalid with the place, Missing, NotPossible."""
        tokens = [each.card_token for each in names if _by_token(each)]
        if len(tokens) + sum(each.HasField("payment") for each in names) > _MOST_LOOKED_UP:
            raise Invalid("subjects", f"at most {_MOST_LOOKED_UP} by a token or a payment")
        keys = iter(await self._cards.of_tokens(tokens) if tokens else [])
        found = []
        for number, each in enumerate(names):
            place = f"subjects[{number}]"
            subject = answers.subject(f"{place}.subject", each.subject)
            key, shown = await self._key(place, subject, each, next(keys) if _by_token(each) else None)
            found.append(ListingEntry(subject, key, expires_time_ms, shown))
        return found

    async def _key(self, place: str, subject: Subject, name: pb.RiskSubjectName, card: str | None) -> tuple[str, str]:
        match name.WhichOneof("by"):
            case "card_token":
                if subject is not Subject.CARD:
                    raise Invalid(f"{place}.card_token", "names a card")
                if card is None:
                    raise Missing(f"{place}: there is no such token of the wallet's vault")
                return card, ""
            case "payment":
                return await self._of_payment(place, subject, name.payment), ""
            case "key":
                return name.key, ""
            case "text":
                return _of_text(f"{place}.text", subject, name.text)
        raise Invalid(place, "must say by what it is named")

    async def _of_payment(self, place: str, subject: Subject, name: pb.RiskPaymentName) -> str:
        packed = await self._traffic.subjects(*answers.payment(f"{place}.payment", name))
        if packed is None:
            raise Missing(f"{place}: there is no judgement of such a payment")
        key = unpack_subjects(packed).get(subject) if packed else None
        if key is None:
            raise NotPossible(f"{place}: that payment names no {subject}")
        return key


def _by_token(name: pb.RiskSubjectName) -> bool:
    return name.HasField("card_token")


def _of_text(field: str, subject: Subject, text: str) -> tuple[str, str]:
    """(key, what may be shown of it)"""
    if not 0 < len(text) <= _LONGEST_TEXT or not text.isprintable():
        raise Invalid(field, f"printable, 1 to {_LONGEST_TEXT} characters")
    match subject:
        case Subject.CARD:
            raise Invalid(field, "a card is named by a token or a payment, never by its number")
        case Subject.USER:
            return user_key(Payer(user=text)), ""
        case Subject.DEVICE:
            return device_key(Payer(device=text)), ""
        case Subject.MERCHANT:
            return merchant_key(text), text
        case Subject.TERMINAL:
            merchant_id, between, terminal_id = text.rpartition(" ")
            if not between:
                raise Invalid(field, "must be the merchant's id, a space, the terminal's")
            return terminal_key(merchant_id, terminal_id), text
    try:
        given = ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(field, "is no address") from None
    address = str(getattr(given, "ipv4_mapped", None) or given)
    return address_key(address), address
