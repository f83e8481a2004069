"""All that is kept of one merchant, on a connection whose transaction has locked the merchant's row."""

from datetime import date
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.domain.contract_version import ContractVersion
from switch.domain.merchant_people import ApiCredential, Invitation, Member, Store, StoreTerminal
from switch.domain.merchant_record import Document, MerchantRecord, Review, SettlementAccount, person_of
from switch.store import audit_trail
from switch.store import merchant_rows as rows
from switch.store.sessions import Connection

_KEEP_RECORD = """
INSERT INTO merchants (
    merchant_id, state, legal_name, registration_kind, registration, contact_name, contact_phone, contact_email,
    display_name, city, country, category_code, acquirer_id, applicant, round, applied_time_ms, reason, asked_state,
    asked_by, asked_reason, asked_time_ms, changed_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, now_ms())
ON CONFLICT (merchant_id) DO UPDATE SET
    state = $2, legal_name = $3, registration_kind = $4, registration = $5, contact_name = $6, contact_phone = $7,
    contact_email = $8, display_name = $9, city = $10, country = $11, category_code = $12, acquirer_id = $13,
    applicant = $14, round = $15, applied_time_ms = $16, reason = $17, asked_state = $18, asked_by = $19,
    asked_reason = $20, asked_time_ms = $21, changed_time_ms = now_ms()
"""

_REVIEWS = """
SELECT round, reviewer, approved, reason, time_ms FROM merchant_reviews WHERE merchant_id = $1 AND round = $2
ORDER BY time_ms, person
"""
_ADD_REVIEW = """
INSERT INTO merchant_reviews (merchant_id, round, person, reviewer, approved, reason, time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

_DOCUMENTS = """
SELECT id, kind, media_type, size_bytes, sha256, added_by, added_time_ms FROM merchant_documents
WHERE merchant_id = $1 ORDER BY added_time_ms, id
"""
_ADD_DOCUMENT = """
INSERT INTO merchant_documents (
    merchant_id, id, kind, media_type, size_bytes, sha256, content, added_by, added_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""

_ACCOUNTS = """
SELECT id, state, account_name, sealed_number, masked_number, bank_code, proposed_by, proposed_time_ms, decided_by,
       in_force_time_ms
FROM merchant_accounts WHERE merchant_id = $1 ORDER BY proposed_time_ms DESC, id DESC
"""
_KEEP_ACCOUNT = """
INSERT INTO merchant_accounts (
    merchant_id, id, state, account_name, sealed_number, masked_number, bank_code, proposed_by, proposed_time_ms,
    decided_by, in_force_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (merchant_id, id) DO UPDATE SET state = $3, decided_by = $10, in_force_time_ms = $11
"""

_CONTRACTS = """
SELECT merchant_id, version, state, from_day, currency, rates, reserve_basis_points, reserve_days, refunds_return_fee,
       proposed_by, proposed_time_ms, decided_by, decided_time_ms
FROM merchant_contracts WHERE merchant_id = $1 ORDER BY version DESC
"""
_KEEP_CONTRACT = """
INSERT INTO merchant_contracts (
    merchant_id, version, state, from_day, currency, rates, reserve_basis_points, reserve_days, refunds_return_fee,
    proposed_by, proposed_time_ms, decided_by, decided_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (merchant_id, version) DO UPDATE SET state = $3, decided_by = $12, decided_time_ms = $13
"""

_STORES = "SELECT store_id, name, address, active FROM merchant_stores WHERE merchant_id = $1 ORDER BY store_id"
_KEEP_STORE = """
INSERT INTO merchant_stores (merchant_id, store_id, name, address, active) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (merchant_id, store_id) DO UPDATE SET name = $3, address = $4, active = $5
"""

TERMINALS = """
SELECT m.terminal_id, m.store_id, m.label, m.active, t.terminal_id IS NOT NULL AS dials_in
FROM merchant_terminals AS m
LEFT JOIN terminals AS t ON t.merchant_id = m.merchant_id AND t.terminal_id = m.terminal_id
"""
_TERMINAL = TERMINALS + "WHERE m.merchant_id = $1 AND m.terminal_id = $2"
_COUNT_TERMINALS = "SELECT count(*) FROM merchant_terminals WHERE merchant_id = $1"
_KEEP_TERMINAL = """
INSERT INTO merchant_terminals (merchant_id, terminal_id, store_id, label, active, changed_time_ms)
VALUES ($1, $2, $3, $4, $5, now_ms())
ON CONFLICT (merchant_id, terminal_id) DO UPDATE SET store_id = $3, label = $4, active = $5, changed_time_ms = now_ms()
"""

_MEMBERS = """
SELECT user_id, role, added_by, added_time_ms FROM merchant_members WHERE merchant_id = $1
ORDER BY added_time_ms, user_id
"""
_KEEP_MEMBER = """
INSERT INTO merchant_members (merchant_id, user_id, role, added_by, added_time_ms) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (merchant_id, user_id) DO UPDATE SET role = $3
"""
_REMOVE_MEMBER = "DELETE FROM merchant_members WHERE merchant_id = $1 AND user_id = $2"

_INVITATIONS = """
SELECT id, role, label, code_hash, invited_by, expires_time_ms FROM merchant_invitations WHERE merchant_id = $1
ORDER BY expires_time_ms, id
"""
_KEEP_INVITATION = """
INSERT INTO merchant_invitations (merchant_id, id, role, label, code_hash, invited_by, expires_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_REMOVE_INVITATION = "DELETE FROM merchant_invitations WHERE merchant_id = $1 AND id = $2"

_CREDENTIALS = """
SELECT id, role, label, secret_hash, previous_hash, previous_until_ms, networks, created_by, created_time_ms,
       expires_time_ms, revoked_time_ms, last_used_time_ms, rotated_by
FROM merchant_credentials WHERE merchant_id = $1 AND revoked_time_ms = 0 ORDER BY created_time_ms, id
"""
_KEEP_CREDENTIAL = """
INSERT INTO merchant_credentials (
    merchant_id, id, role, label, secret_hash, previous_hash, previous_until_ms, networks, created_by, created_time_ms,
    expires_time_ms, revoked_time_ms, last_used_time_ms, rotated_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $13)
ON CONFLICT (merchant_id, id) DO UPDATE SET
    secret_hash = $5, previous_hash = $6, previous_until_ms = $7, expires_time_ms = $11, revoked_time_ms = $12,
    rotated_by = $13
"""


class PostgresBooks:
    """Meets `switch.merchants.store.Books`."""

    def __init__(self, connection: Connection, record: MerchantRecord) -> None:
        self._connection = connection
        self.record = record

    # --- onboarding ---------------------------------------------------------------------------------------------------

    async def keep_record(self, record: MerchantRecord) -> None:
        await self._connection.execute(_KEEP_RECORD, *rows.merchant_values(record))
        self.record = record

    async def reviews(self) -> list[Review]:
        found = await self._connection.fetch(_REVIEWS, self.record.id, self.record.round)
        return [rows.review_from(each) for each in found]

    async def add_review(self, review: Review) -> None:
        await self._connection.execute(
            _ADD_REVIEW, self.record.id, review.round, person_of(review.reviewer), review.reviewer, review.approved,
            review.reason, review.time_ms,
        )  # fmt: skip

    async def documents(self) -> list[Document]:
        return [rows.document_from(each) for each in await self._connection.fetch(_DOCUMENTS, self.record.id)]

    async def add_document(self, document: Document, content: bytes) -> None:
        await self._connection.execute(
            _ADD_DOCUMENT, self.record.id, document.id, document.kind, document.media_type, document.size_bytes,
            document.sha256, content, document.added_by, document.added_time_ms,
        )  # fmt: skip

    async def accounts(self) -> list[SettlementAccount]:
        return [rows.account_from(each) for each in await self._connection.fetch(_ACCOUNTS, self.record.id)]

    async def keep_account(self, account: SettlementAccount) -> None:
        await self._connection.execute(
            _KEEP_ACCOUNT, self.record.id, account.id, account.state, account.account_name, account.sealed_number,
            account.masked_number, account.bank_code, account.proposed_by, account.proposed_time_ms,
            account.decided_by, account.in_force_time_ms,
        )  # fmt: skip

    async def contracts(self) -> list[ContractVersion]:
        return [rows.contract_version_from(each) for each in await self._connection.fetch(_CONTRACTS, self.record.id)]

    async def keep_contract(self, version: ContractVersion) -> None:
        terms = version.contract
        await self._connection.execute(
            _KEEP_CONTRACT, self.record.id, terms.version, version.state, date.fromisoformat(terms.from_day),
            terms.currency, rows.rates_text(terms.rates), terms.reserve_basis_points, terms.reserve_days,
            terms.refunds_return_fee, version.proposed_by, version.proposed_time_ms, version.decided_by,
            version.decided_time_ms,
        )  # fmt: skip

    # --- stores and terminals -----------------------------------------------------------------------------------------

    async def stores(self) -> list[Store]:
        return [rows.store_from(each) for each in await self._connection.fetch(_STORES, self.record.id)]

    async def keep_store(self, store: Store) -> None:
        await self._connection.execute(_KEEP_STORE, self.record.id, store.id, store.name, store.address, store.active)

    async def terminal(self, terminal_id: str) -> StoreTerminal | None:
        row = await self._connection.fetchrow(_TERMINAL, self.record.id, terminal_id)
        return rows.terminal_from(row) if row else None

    async def count_terminals(self) -> int:
        return int(await self._connection.fetchval(_COUNT_TERMINALS, self.record.id))

    async def keep_terminal(self, terminal: StoreTerminal) -> None:
        await self._connection.execute(
            _KEEP_TERMINAL, self.record.id, terminal.id, terminal.store_id, terminal.label, terminal.active
        )

    # --- people and credentials ---------------------------------------------------------------------------------------

    async def members(self) -> list[Member]:
        return [rows.member_from(each) for each in await self._connection.fetch(_MEMBERS, self.record.id)]

    async def keep_member(self, member: Member) -> None:
        await self._connection.execute(
            _KEEP_MEMBER, self.record.id, member.user_id, member.role, member.added_by, member.added_time_ms
        )

    async def remove_member(self, user_id: UUID) -> None:
        await self._connection.execute(_REMOVE_MEMBER, self.record.id, user_id)

    async def invitations(self) -> list[Invitation]:
        return [rows.invitation_from(each) for each in await self._connection.fetch(_INVITATIONS, self.record.id)]

    async def keep_invitation(self, invitation: Invitation) -> None:
        await self._connection.execute(
            _KEEP_INVITATION, self.record.id, invitation.id, invitation.role, invitation.label, invitation.code_hash,
            invitation.invited_by, invitation.expires_time_ms,
        )  # fmt: skip

    async def remove_invitation(self, invitation_id: str) -> None:
        await self._connection.execute(_REMOVE_INVITATION, self.record.id, invitation_id)

    async def credentials(self) -> list[ApiCredential]:
        return [rows.credential_from(each) for each in await self._connection.fetch(_CREDENTIALS, self.record.id)]

    async def keep_credential(self, credential: ApiCredential) -> None:
        await self._connection.execute(
            _KEEP_CREDENTIAL, self.record.id, credential.id, credential.role, credential.label,
            credential.secret_hash, credential.previous_hash, credential.previous_until_ms,
            ",".join(credential.networks), credential.created_by, credential.created_time_ms,
            credential.expires_time_ms, credential.revoked_time_ms, credential.rotated_by,
        )  # fmt: skip

    async def audit(self, entry: AuditEntry) -> None:
        await audit_trail.append(self._connection, entry)
