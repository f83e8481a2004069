"""WebAuthn (level 2) as we use it: options for an authenticator, and what its answers prove. No I/O.

User verification is required both ways. Attestation is not asked for: of what is shown all the same only "none" and
"packed" are read, and nothing is made of whose authenticator it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

import webauthn
from webauthn.helpers import (
    options_to_json,
    parse_attestation_object,
    parse_authentication_credential_json,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from switch.domain.refusals import NotProved

T = TypeVar("T")

_LARGEST_JSON: Final = 16_384
_LONGEST_ID: Final = 1023  # WebAuthn 2, 5.4.3
_ALGORITHMS: Final = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
_FORMATS: Final = (AttestationFormat.NONE, AttestationFormat.PACKED)
_NOT_RIGHT: Final = "the passkey's answer is not right"


@dataclass(frozen=True, slots=True)
class RelyingParty:
    id: str
    name: str
    origins: tuple[str, ...]
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class NewCredential:
    id: bytes
    public_key: bytes
    sign_count: int


def creation_options(
    party: RelyingParty, user_id: UUID, user_name: str, challenge: bytes, known: Sequence[bytes]
) -> str:
    """PublicKeyCredentialCreationOptions as JSON: a discoverable credential, on none that is `known`."""
    return options_to_json(
        webauthn.generate_registration_options(
            rp_id=party.id,
            rp_name=party.name,
            user_id=user_id.bytes,
            user_name=user_name,
            challenge=challenge,
            timeout=party.timeout_ms,
            attestation=AttestationConveyancePreference.NONE,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=each) for each in known],
            supported_pub_key_algs=_ALGORITHMS,
        )
    )


def request_options(party: RelyingParty, challenge: bytes, allowed: Sequence[bytes]) -> str:
    """PublicKeyCredentialRequestOptions as JSON; allowed: empty for a discoverable credential."""
    return options_to_json(
        webauthn.generate_authentication_options(
            rp_id=party.id,
            challenge=challenge,
            timeout=party.timeout_ms,
            allow_credentials=[PublicKeyCredentialDescriptor(id=each) for each in allowed],
            user_verification=UserVerificationRequirement.REQUIRED,
        )
    )


def verify_creation(party: RelyingParty, answer: str, challenge: bytes) -> NewCredential:
    """Raises NotProved."""

    def verify() -> NewCredential:
        credential = parse_registration_credential_json(_bounded(answer))
        # Before anything of the statement is read: the other formats bring certificates and parsers of their own.
        if parse_attestation_object(credential.response.attestation_object).fmt not in _FORMATS:
            raise NotProved(_NOT_RIGHT)
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            require_user_verification=True,
            supported_pub_key_algs=_ALGORITHMS,
        )
        if len(verified.credential_id) > _LONGEST_ID:
            raise NotProved(_NOT_RIGHT)
        return NewCredential(verified.credential_id, verified.credential_public_key, verified.sign_count)

    return _judged(verify)


def named_in(answer: str) -> tuple[UUID | None, bytes]:
    """(the user it says it is of, its credential's id): nothing of it is proved. Raises NotProved."""

    def read() -> tuple[UUID | None, bytes]:
        credential = parse_authentication_credential_json(_bounded(answer))
        handle = credential.response.user_handle
        return UUID(bytes=bytes(handle)) if handle else None, credential.raw_id

    return _judged(read)


def verify_assertion(party: RelyingParty, answer: str, challenge: bytes, public_key: bytes) -> int:
    """The counter that it shows, which is the caller's to judge: after the signature, not before. Raises NotProved."""

    def verify() -> int:
        return webauthn.verify_authentication_response(
            credential=_bounded(answer),
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            credential_public_key=public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        ).new_sign_count

    return _judged(verify)


def _bounded(answer: str) -> str:
    if len(answer) > _LARGEST_JSON:
        raise NotProved(_NOT_RIGHT)
    return answer


def _judged(work: Callable[[], T]) -> T:
    try:
        return work()
    except Exception:
        # Besides its own errors the library raises what its parsers raise on bytes that a stranger chose.
        raise NotProved(_NOT_RIGHT) from None
