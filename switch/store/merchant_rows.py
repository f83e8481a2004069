"""Rows of the merchants' tables and the values that they stand for."""

import json
from dataclasses import astuple
from typing import Any

from asyncpg import Record

from switch.domain.access import Role
from switch.domain.contract import Contract, Rate
from switch.domain.contract_version import ContractState, ContractVersion
from switch.domain.merchant import MerchantState
from switch.domain.merchant_people import ApiCredential, Invitation, Member, Store, StoreTerminal
from switch.domain.merchant_record import (
    NONE_ASKED,
    AccountState,
    AskedMove,
    Business,
    Contact,
    Document,
    DocumentKind,
    MerchantRecord,
    Review,
    SettlementAccount,
)
from switch.domain.registration import RegistrationKind

MERCHANTS = """
SELECT merchant_id, state, legal_name, registration_kind, registration, contact_name, contact_phone, contact_email,
       display_name, city, country, category_code, acquirer_id, applicant, round, applied_time_ms, reason, asked_state,
       asked_by, asked_reason, asked_time_ms
FROM merchants
"""


def merchant_values(record: MerchantRecord) -> tuple[Any, ...]:
    """In the order of MERCHANTS."""
    business, asked = record.business, record.asked
    contact = business.contact
    return (
        record.id, record.state, business.legal_name, business.registration_kind, business.registration, contact.name,
        contact.phone, contact.email, business.display_name, business.city, business.country, business.category_code,
        record.acquirer_id, record.applicant, record.round, record.applied_time_ms, record.reason, asked.state or 0,
        asked.who, asked.reason, asked.time_ms,
    )  # fmt: skip


def merchant_from(row: Record) -> MerchantRecord:
    contact = Contact(row["contact_name"], row["contact_phone"], row["contact_email"])
    business = Business(
        row["legal_name"], RegistrationKind(row["registration_kind"]), row["registration"], contact,
        row["display_name"], row["city"], row["country"], row["category_code"],
    )  # fmt: skip
    asked = NONE_ASKED
    if row["asked_state"]:
        state = MerchantState(row["asked_state"])
        asked = AskedMove(state, row["asked_by"], row["asked_reason"], row["asked_time_ms"])
    return MerchantRecord(
        row["merchant_id"], MerchantState(row["state"]), business, row["acquirer_id"], row["applicant"], row["round"],
        row["applied_time_ms"], row["reason"], asked,
    )  # fmt: skip


def review_from(row: Record) -> Review:
    return Review(row["round"], row["reviewer"], row["approved"], row["reason"], row["time_ms"])


def document_from(row: Record) -> Document:
    return Document(
        row["id"], DocumentKind(row["kind"]), row["media_type"], row["size_bytes"], row["sha256"], row["added_by"],
        row["added_time_ms"],
    )  # fmt: skip


def account_from(row: Record) -> SettlementAccount:
    return SettlementAccount(
        row["id"], AccountState(row["state"]), row["account_name"], row["sealed_number"], row["masked_number"],
        row["bank_code"], row["proposed_by"], row["proposed_time_ms"], row["decided_by"], row["in_force_time_ms"],
    )  # fmt: skip


def rates_text(rates: tuple[Rate, ...]) -> str:
    return json.dumps([astuple(each) for each in rates], separators=(",", ":"))


def contract_from(row: Record) -> Contract:
    """Without the bank account."""
    rates = tuple(Rate(*each) for each in json.loads(row["rates"]))
    return Contract(
        row["merchant_id"], row["version"], row["from_day"].isoformat(), row["currency"], rates,
        row["reserve_basis_points"], row["reserve_days"], row["refunds_return_fee"],
    )  # fmt: skip


def contract_version_from(row: Record) -> ContractVersion:
    return ContractVersion(
        contract_from(row), ContractState(row["state"]), row["proposed_by"], row["proposed_time_ms"],
        row["decided_by"], row["decided_time_ms"],
    )  # fmt: skip


def store_from(row: Record) -> Store:
    return Store(row["store_id"], row["name"], row["address"], row["active"])


def terminal_from(row: Record) -> StoreTerminal:
    return StoreTerminal(row["terminal_id"], row["store_id"], row["label"], row["active"], row["dials_in"])


def member_from(row: Record) -> Member:
    return Member(row["user_id"], Role(row["role"]), row["added_by"], row["added_time_ms"])


def invitation_from(row: Record) -> Invitation:
    return Invitation(
        row["id"], Role(row["role"]), row["label"], row["code_hash"], row["invited_by"], row["expires_time_ms"]
    )


def credential_from(row: Record) -> ApiCredential:
    networks = tuple(row["networks"].split(",")) if row["networks"] else ()
    return ApiCredential(
        row["id"], Role(row["role"]), row["label"], row["secret_hash"], row["previous_hash"],
        row["previous_until_ms"], networks, row["created_by"], row["created_time_ms"], row["expires_time_ms"],
        row["revoked_time_ms"], row["last_used_time_ms"], row["rotated_by"],
    )  # fmt: skip
