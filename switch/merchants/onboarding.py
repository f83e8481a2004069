"""From an application over two reviews to a merchant."""

import hashlib
from base64 import b32encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from switch.domain.access import Caller, Role
from switch.domain.bank_account import BankAccount
from switch.domain.merchant import MerchantState
from switch.domain.merchant_people import Member
from switch.domain.merchant_record import (
    REVIEWS_NEEDED,
    AccountState,
    Business,
    Document,
    DocumentKind,
    MerchantRecord,
    Review,
    SettlementAccount,
)
from switch.domain.refusals import Exists, Invalid, Missing, NotPossible, TooMany
from switch.merchants.accounts import Accounts, as_given
from switch.merchants.reach import check_another, check_applicant, check_reach, check_state, entry, fields_of
from switch.merchants.settings import MerchantSettings
from switch.merchants.store import Books, MerchantStore
from switch.ports import Clock

S = MerchantState
Entropy = Callable[[int], bytes]
# To them every application is shown.
_OF_ALL = frozenset({Role.REVIEWER, Role.OPERATOR})

_MEDIA_TYPES = {b"%PDF-": "application/pdf", b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


class Onboarding:
    """entropy: number of bytes -> random bytes."""

    def __init__(
        self, store: MerchantStore, accounts: Accounts, clock: Clock, entropy: Entropy, settings: MerchantSettings
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._entropy = entropy
        self._settings = settings

    # --- applying -----------------------------------------------------------------------------------------------------

    async def apply(self, caller: Caller, business: Business, account: BankAccount) -> MerchantRecord:
        """A new merchant, APPLIED; a repeat gets the one that waits.

        Raises Exists if that waits with another account, TooMany, StoreUnavailable.
        """
        now_ms = self._clock.time_ms()
        identity = merchant_id_from(self._entropy(9))
        acquirer_id = caller.person if Role.ACQUIRER in caller.roles else self._settings.acquirer_id
        fresh = MerchantRecord(identity, S.APPLIED, business, acquirer_id, caller.name, 1, now_ms)
        proposed = await self._accounts.sealed(caller, identity, account, now_ms)

        most = self._settings.open_applications
        if Role.ACQUIRER in caller.roles:
            most = self._settings.open_applications_of_acquirer

        def decide(waiting: Sequence[MerchantRecord]) -> MerchantRecord:
            for each in waiting:
                if each.business == business:
                    return each
            if len(waiting) >= most:
                raise TooMany(f"{len(waiting)} applications wait for their reviews")
            return fresh

        async def then(books: Books) -> None:
            await books.keep_account(proposed)
            await books.audit(entry(caller, fresh, "Apply", f"merchant/{identity}", after=_shown(fresh, proposed)))

        record = await self._store.create(caller.name, decide, then)
        if record.id != identity:
            [first, *_] = await self._store.read(record.id, lambda books: books.accounts())
            if as_given(first) != as_given(proposed):
                raise Exists("the same business waits for its reviews with another account")
        return record

    async def apply_again(
        self, caller: Caller, merchant_id: str, business: Business, account: BankAccount
    ) -> MerchantRecord:
        """After a rejection. Raises Missing, NotPossible."""
        now_ms = self._clock.time_ms()
        proposed = await self._accounts.sealed(caller, merchant_id, account, now_ms)

        async def work(books: Books) -> MerchantRecord:
            before = books.record
            check_applicant(caller, before)
            check_state(before, frozenset({S.REJECTED}))
            record = MerchantRecord(
                before.id, S.APPLIED, business, before.acquirer_id, before.applicant, before.round + 1, now_ms
            )
            for each in await books.accounts():
                if each.state is AccountState.PROPOSED:
                    await books.keep_account(replace(each, state=AccountState.CANCELLED, decided_by=caller.name))
            await books.keep_account(proposed)
            await books.keep_record(record)
            old, new = _shown(before), _shown(record, proposed)
            await books.audit(entry(caller, record, "Apply", f"merchant/{record.id}", old, new))
            return record

        return await self._store.change(merchant_id, work)

    async def add_document(self, caller: Caller, merchant_id: str, kind: DocumentKind, content: bytes) -> Document:
        """Raises Missing, NotPossible once a reviewer has looked, TooMany, Invalid for another format."""
        digest = hashlib.sha256(content)
        document = Document(
            UUID(bytes=digest.digest()[:16]), kind, media_type_of(content), len(content), digest.hexdigest(),
            caller.name, self._clock.time_ms(),
        )  # fmt: skip

        async def work(books: Books) -> Document:
            check_applicant(caller, books.record)
            check_state(books.record, frozenset({S.APPLIED, S.REJECTED}))
            if books.record.state is S.APPLIED and await books.reviews():
                raise NotPossible("a reviewer has looked at the application already")
            there = await books.documents()
            for each in there:
                if each.sha256 == document.sha256:
                    return each
            if len(there) >= self._settings.documents:
                raise TooMany(f"there are {len(there)} documents")
            await books.add_document(document, content)
            subject = f"document/{document.id}"
            await books.audit(entry(caller, books.record, "AddDocument", subject, after=fields_of(document)))
            return document

        return await self._store.change(merchant_id, work)

    async def document(self, caller: Caller, merchant_id: str, document_id: UUID) -> tuple[Document, bytes]:
        """Raises Missing."""

        async def look(books: Books) -> None:
            if Role.REVIEWER not in caller.roles:
                check_applicant(caller, books.record)
            else:
                await books.audit(entry(caller, books.record, "GetDocument", f"document/{document_id}"))

        await self._store.read(merchant_id, look)
        found = await self._store.document(merchant_id, document_id)
        if found is None:
            raise Missing("document_id: there is no such document")
        return found

    async def applications(
        self, caller: Caller, state: int, before: tuple[int, str], limit: int
    ) -> list[MerchantRecord]:
        """Newest first; to an applicant its own. state: 0 is any."""
        applicant = "" if caller.roles & _OF_ALL else caller.name
        return await self._store.applications(applicant, state, before, limit)

    async def application(
        self, caller: Caller, merchant_id: str
    ) -> tuple[MerchantRecord, SettlementAccount | None, list[Review], list[Document]]:
        """With the account that it was applied with last. Raises Missing."""

        async def work(
            books: Books,
        ) -> tuple[MerchantRecord, SettlementAccount | None, list[Review], list[Document]]:
            if not caller.roles & _OF_ALL:
                check_applicant(caller, books.record)
            accounts = [each for each in await books.accounts() if each.proposed_by == books.record.applicant]
            account = accounts[0] if accounts else None
            return books.record, account, await books.reviews(), await books.documents()

        return await self._store.read(merchant_id, work)

    # --- reviewing ----------------------------------------------------------------------------------------------------

    async def review(self, caller: Caller, merchant_id: str, round_: int, approve: bool, reason: str) -> MerchantRecord:
        """Raises Missing, NotPermitted for the applicant and for a second review by one person, NotPossible."""
        now_ms = self._clock.time_ms()

        async def work(books: Books) -> MerchantRecord:
            before = books.record
            check_reach(caller, before)
            check_state(before, frozenset({S.APPLIED}))
            if before.round != round_:
                raise NotPossible(f"round: the merchant has applied again, this is round {before.round}")
            check_another(caller, before.applicant)
            reviews = await books.reviews()
            for each in reviews:
                check_another(caller, each.reviewer)
            if approve and all(each.kind is not DocumentKind.BUSINESS_LICENCE for each in await books.documents()):
                raise NotPossible("there is no business licence among the documents")
            review = Review(before.round, caller.name, approve, reason, now_ms)
            await books.add_review(review)
            record = before
            if not approve:
                record = replace(before, state=S.REJECTED, reason=reason)
            elif sum(each.approved for each in reviews) + 1 >= REVIEWS_NEEDED:
                record = replace(before, state=S.ACTIVE, reason=reason)
                await self._activate(books, caller, now_ms)
            if record is not before:
                await books.keep_record(record)
            after = fields_of(review) | {"state": record.state.name}
            old = {"state": before.state.name}
            await books.audit(entry(caller, record, "ReviewApplication", f"merchant/{record.id}", old, after))
            return record

        return await self._store.change(merchant_id, work)

    @staticmethod
    async def _activate(books: Books, caller: Caller, now_ms: int) -> None:
        """What was applied with is in force; a user that applied owns it."""
        proposed = next(each for each in await books.accounts() if each.state is AccountState.PROPOSED)
        await books.keep_account(
            replace(proposed, state=AccountState.APPROVED, decided_by=caller.name, in_force_time_ms=now_ms)
        )
        kind, _, identity = books.record.applicant.partition("/")
        if kind == "user":
            await books.keep_member(Member(UUID(identity), Role.MERCHANT_OWNER, caller.name, now_ms))


def merchant_id_from(random_9: bytes) -> str:
    """DE42: M and 14 characters of base 32, 70 random bits: nobody guesses one, and none comes twice.

    >>> merchant_id_from(bytes(9)), merchant_id_from(bytes.fromhex("0123456789abcdef01"))
    ('MAAAAAAAAAAAAAA', 'MAERUKZ4JVPG66A')
    """
    return "M" + b32encode(random_9).decode()[:14]


def media_type_of(content: bytes) -> str:
    """By its first bytes. Raises Invalid for another format."""
    for magic, media_type in _MEDIA_TYPES.items():
        if content.startswith(magic):
            return media_type
    raise Invalid("content", "must be a PDF, PNG or JPEG")


def _shown(record: MerchantRecord, account: SettlementAccount | None = None) -> dict[str, object]:
    """For the audit trail."""
    business = fields_of(record.business)
    contact = business.pop("contact")
    shown: dict[str, object] = {"state": record.state.name, "round": record.round} | business
    shown |= {f"contact_{name}": value for name, value in contact.items()}
    if account is not None:
        shown |= {"account_name": account.account_name, "account_number": account.masked_number}
        shown |= {"bank_code": account.bank_code}
    return shown
