"""From a request to the record that stands for it: pure."""

import hashlib
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from switch.domain.authorization import (
    Authorization,
    AuthorizationRequest,
    CardCredential,
    ChannelOrder,
    CodeCredential,
    Credential,
)
from switch.domain.identity import computed_id
from switch.domain.sensitive import Sensitive

_BUSINESS_ZONE = ZoneInfo("Asia/Shanghai")


def new_record(request: AuthorizationRequest, now_ms: int) -> Authorization:
    """The journal's row for a request, its identity computed."""
    identity = computed_id(
        request.acquirer_id, request.merchant.id, request.transmission_time_ms, request.idempotency_key
    )
    return Authorization(
        identity, request.acquirer_id, request.merchant.id, request.terminal_id, request.merchant.category_code,
        request.operation, request.money, request.entry, masked_credential(request.credential),
        created_time_ms=now_ms,
    )  # fmt: skip


def masked_credential(credential: Credential) -> str:
    return "" if isinstance(credential, ChannelOrder) else _number(credential).masked()


def credential_bytes(credential: Credential, identity: UUID) -> bytes:
    """The PAN or wallet code: what is sealed, and what names the payer once hashed.

    Nobody knows yet who pays an order of a channel: each is a payer of its own, and there is nothing to seal.
    """
    if isinstance(credential, ChannelOrder):
        return f"order {credential.scheme} {identity}".encode()
    return _number(credential).reveal().encode()


def _number(credential: CardCredential | CodeCredential) -> Sensitive:
    return credential.pan if isinstance(credential, CardCredential) else credential.code


def fingerprint(request: AuthorizationRequest, payer_hash: bytes) -> bytes:
    """What makes two requests the same: who pays how much to whom, for what order, how. Keyed, as it covers the PAN.

    Cryptograms and PIN blocks stay out: they may not be stored, not even hashed (PCI DSS 3.3).
    """
    money = request.money
    parts = (
        request.terminal_id, str(request.operation.value), str(money.amount_minor), money.currency,
        str(request.entry.value), request.merchant.category_code,
        *(() if request.scanned_order is None else (request.scanned_order.hex,)),
    )  # fmt: skip
    return hashlib.sha256(payer_hash + "\x1f".join(parts).encode()).digest()[:16]


def expired(request: AuthorizationRequest) -> bool:
    """A card is good to the last day of its month, in the business time zone (ISO/IEC 7813)."""
    credential = request.credential
    if not isinstance(credential, CardCredential) or not credential.expiry_yymm:
        return False
    today = datetime.fromtimestamp(request.transmission_time_ms / 1000, _BUSINESS_ZONE)
    return credential.expiry_yymm < f"{today.year % 100:02d}{today.month:02d}"
