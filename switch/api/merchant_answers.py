"""From a merchant's values to the wire. Account numbers are masked; hashes and sealed numbers never leave.

The domain's enums number their members as the contract does.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from payswitch.v1 import merchant_pb2 as pb
from switch.domain.audit import AuditEntry
from switch.domain.contract_version import ContractVersion
from switch.domain.merchant_people import ApiCredential, Invitation, Member, Store, StoreTerminal
from switch.domain.merchant_record import (
    AccountState,
    Business,
    Document,
    MerchantRecord,
    Review,
    SettlementAccount,
    account_in_force,
)


def business(value: Business) -> pb.MerchantBusiness:
    contact = value.contact
    return pb.MerchantBusiness(
        legal_name=value.legal_name,
        registration_kind=int(value.registration_kind),  # type: ignore[arg-type]
        registration=value.registration,
        contact=pb.MerchantContact(name=contact.name, phone=contact.phone, email=contact.email),
        display_name=value.display_name,
        city=value.city,
        country=value.country,
        category_code=value.category_code,
    )


def bank_account(value: SettlementAccount) -> pb.BankAccount:
    return pb.BankAccount(
        account_name=value.account_name, account_number=value.masked_number, bank_code=value.bank_code
    )


def application(
    record: MerchantRecord,
    account: SettlementAccount | None = None,
    reviews: Sequence[Review] = (),
    documents: Sequence[Document] = (),
) -> pb.MerchantApplication:
    return pb.MerchantApplication(
        merchant_id=record.id,
        state=int(record.state),  # type: ignore[arg-type]
        business=business(record.business),
        account=bank_account(account) if account else None,
        round=record.round,
        reviews=[_review(each) for each in reviews],
        documents=[document(each) for each in documents],
        applicant=record.applicant,
        applied_time_ms=record.applied_time_ms,
    )


def _review(value: Review) -> pb.ReviewRecord:
    return pb.ReviewRecord(reviewer=value.reviewer, approved=value.approved, reason=value.reason, time_ms=value.time_ms)


def document(value: Document) -> pb.DocumentRecord:
    return pb.DocumentRecord(
        document_id=str(value.id),
        kind=int(value.kind),  # type: ignore[arg-type]
        media_type=value.media_type,
        size_bytes=value.size_bytes,
        sha256=value.sha256,
        added_by=value.added_by,
        added_time_ms=value.added_time_ms,
    )


def merchant(record: MerchantRecord, account: SettlementAccount | None = None) -> pb.Merchant:
    asked = record.asked
    return pb.Merchant(
        merchant_id=record.id,
        state=int(record.state),  # type: ignore[arg-type]
        business=business(record.business),
        acquirer_id=record.acquirer_id,
        state_reason=record.reason,
        asked_state=int(asked.state or 0),  # type: ignore[arg-type]
        asked_by=asked.who,
        asked_time_ms=asked.time_ms,
        account=bank_account(account) if account else None,
    )


def change(time_ms: int, entry: AuditEntry) -> pb.MerchantChange:
    return pb.MerchantChange(
        time_ms=time_ms,
        who=entry.who,
        act=entry.act,
        subject=entry.subject,
        before=_json(entry.before),
        after=_json(entry.after),
    )


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def settlement_account(
    value: SettlementAccount, accounts: Sequence[SettlementAccount], now_ms: int
) -> pb.SettlementAccount:
    """accounts: all of the merchant's: which one is in force is a matter of the others."""
    return pb.SettlementAccount(
        account_id=str(value.id),
        state=_account_state(value, accounts, now_ms),
        account=bank_account(value),
        proposed_by=value.proposed_by,
        proposed_time_ms=value.proposed_time_ms,
        decided_by=value.decided_by,
        in_force_time_ms=value.in_force_time_ms,
    )


def _account_state(
    value: SettlementAccount, accounts: Sequence[SettlementAccount], now_ms: int
) -> pb.SettlementAccountState:
    if value.state is AccountState.PROPOSED:
        return pb.SETTLEMENT_ACCOUNT_STATE_PROPOSED
    if value.state is AccountState.CANCELLED:
        return pb.SETTLEMENT_ACCOUNT_STATE_CANCELLED
    if now_ms < value.in_force_time_ms:
        return pb.SETTLEMENT_ACCOUNT_STATE_COOLING_OFF
    if value == account_in_force([*accounts], now_ms):
        return pb.SETTLEMENT_ACCOUNT_STATE_IN_FORCE
    return pb.SETTLEMENT_ACCOUNT_STATE_REPLACED


def contract(value: ContractVersion) -> pb.ContractRecord:
    terms = value.contract
    rates = [
        pb.ContractRate(
            channel=each.channel,
            card_type=each.card_type,
            from_minor=each.from_minor,
            basis_points=each.basis_points,
            fixed_minor=each.fixed_minor,
            minimum_minor=each.minimum_minor,
            cap_minor=each.cap_minor,
        )
        for each in terms.rates
    ]
    return pb.ContractRecord(
        version=terms.version,
        state=int(value.state),  # type: ignore[arg-type]
        terms=pb.ContractTerms(
            from_day=terms.from_day,
            currency=terms.currency,
            rates=rates,
            reserve_basis_points=terms.reserve_basis_points,
            reserve_days=terms.reserve_days,
            refunds_return_fee=terms.refunds_return_fee,
        ),
        proposed_by=value.proposed_by,
        proposed_time_ms=value.proposed_time_ms,
        decided_by=value.decided_by,
        decided_time_ms=value.decided_time_ms,
    )


def store(value: Store) -> pb.MerchantStore:
    return pb.MerchantStore(
        store_id=value.id, name=value.name, address=value.address, active=value.active, time_zone="Asia/Shanghai"
    )


def terminal(value: StoreTerminal) -> pb.StoreTerminal:
    return pb.StoreTerminal(
        terminal_id=value.id,
        store_id=value.store_id,
        label=value.label,
        active=value.active,
        dials_in=value.dials_in,
    )


def member(value: Member) -> pb.MerchantMember:
    return pb.MerchantMember(
        user_id=str(value.user_id),
        role=int(value.role),  # type: ignore[arg-type]
        added_by=value.added_by,
        added_time_ms=value.added_time_ms,
    )


def invitation(value: Invitation) -> pb.MerchantInvitation:
    return pb.MerchantInvitation(
        invitation_id=value.id,
        role=int(value.role),  # type: ignore[arg-type]
        label=value.label,
        invited_by=value.invited_by,
        expires_time_ms=value.expires_time_ms,
    )


def credential(value: ApiCredential, now_ms: int) -> pb.ApiCredential:
    return pb.ApiCredential(
        credential_id=value.id,
        role=int(value.role),  # type: ignore[arg-type]
        label=value.label,
        created_by=value.created_by,
        created_time_ms=value.created_time_ms,
        expires_time_ms=value.expires_time_ms,
        networks=value.networks,
        last_used_time_ms=value.last_used_time_ms,
        previous_until_time_ms=value.previous_until_ms if now_ms < value.previous_until_ms else 0,
    )
