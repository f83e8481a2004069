"""Certificates of terminals' keys: asked for with a proof of the key, signed by the HSM, kept in the audit trail."""

import hashlib
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from switch.domain.audit import AuditEntry
from switch.domain.merchant import MerchantProfile, MerchantState
from switch.domain.refusals import Invalid, Missing, NotPossible, NotProved
from switch.entry.handover.certificate import POINT_BYTES, TerminalCertificate
from switch.payments.handovers import HandoverSettings, certify
from switch.ports import Clock, Hsm
from switch.ports.platform import Merchants

LIFETIME_MS: Final = 365 * 86_400_000
_NAME_BYTES: Final = 127


class Trail(Protocol):
    async def keep(self, entry: AuditEntry) -> None:
        """Durable on return. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Certified:
    certificate: bytes = field(repr=False)
    not_after_ms: int


class TerminalCertificates:
    def __init__(
        self, merchants: Merchants, trail: Trail, hsm: Hsm, clock: Clock, settings: HandoverSettings | None = None
    ) -> None:
        self._merchants = merchants
        self._trail = trail
        self._hsm = hsm
        self._clock = clock
        self._settings = settings or HandoverSettings()

    async def certify(
        self, who: str, acquirer_id: str, merchant_id: str, terminal_id: str, public_key: bytes, signature: bytes
    ) -> Certified:
        """who: `Caller.name`. acquirer_id: of a caller who is one, else "". Raises refusals, or the HSM's error."""
        _verify(public_key, signature, request_text(merchant_id, terminal_id, public_key))
        profile = await self._profile(merchant_id, acquirer_id)
        name = profile.name.encode()[:_NAME_BYTES].decode(errors="ignore")
        not_after_ms = self._clock.time_ms() + LIFETIME_MS
        certificate = TerminalCertificate(merchant_id, terminal_id, name, public_key, not_after_ms)
        signed = await certify(self._hsm, certificate, self._settings)
        # A certificate that nobody hears of does no harm; one that is in no trail would.
        fingerprint = hashlib.sha256(public_key).hexdigest()[:16]
        after = {"public_key_sha256": fingerprint, "not_after_time_ms": not_after_ms}
        subject = f"terminal/{merchant_id}/{terminal_id}"
        await self._trail.keep(AuditEntry(merchant_id, who, "HandoverService.CertifyTerminal", subject, {}, after))
        return Certified(signed, not_after_ms)

    async def _profile(self, merchant_id: str, acquirer_id: str) -> MerchantProfile:
        profile = await self._merchants.profile(merchant_id)
        if profile is None or (acquirer_id and profile.acquirer_id != acquirer_id):
            raise Missing("there is no such merchant")
        if profile.state is not MerchantState.ACTIVE:
            raise NotPossible("the merchant is not active")
        return profile


def request_text(merchant_id: str, terminal_id: str, public_key: bytes) -> bytes:
    """What the terminal signs to show that it has the key."""
    return f"payswitch handover request 1|{merchant_id}|{terminal_id}|".encode() + public_key


def _verify(public_key: bytes, signature: bytes, text: bytes) -> None:
    if len(public_key) != POINT_BYTES:
        raise Invalid("public_key", f"must be {POINT_BYTES} bytes")
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
    except ValueError:
        raise Invalid("public_key", "is no point of P-256") from None
    try:
        key.verify(signature, text, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise NotProved("the signature is not made with that key") from None
