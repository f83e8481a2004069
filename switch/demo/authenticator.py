"""An authenticator in software (WebAuthn 2, section 6): for the demo and the tests, never for people.

It keeps P-256 passkeys, counts, says that the user was verified, and attests "none" or "packed" by itself. It speaks
the JSON of PublicKeyCredential. `Lies` make it a hostile one.
"""

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any, Final

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

_AAGUID: Final = bytes(16)
_ES256: Final = -7
_USER_PRESENT, _USER_VERIFIED, _ATTESTED = 0x01, 0x04, 0x40


@dataclass(frozen=True, slots=True)
class Lies:
    """What it says in place of the truth. counter: shown instead of the next one. signed: False: over other bytes."""

    origin: str | None = None
    rp_id: str | None = None
    challenge: str | None = None
    kind: str | None = None
    user_verified: bool = True
    user_present: bool = True
    counter: int | None = None
    signed: bool = True
    user_handle: str | None = None


@dataclass
class Resident:
    """A passkey in the authenticator. counter: as shown last."""

    id: bytes
    rp_id: str
    user_handle: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    counter: int = 0


class SoftwareAuthenticator:
    """origin: of the page that asks. attestation: "none" or "packed". counts: False: it shows 0, as synced ones do."""

    def __init__(self, origin: str, attestation: str = "none", *, counts: bool = True) -> None:
        self.origin = origin
        self.passkeys: list[Resident] = []
        self._attestation = attestation
        self._counts = counts

    def create(self, options_json: str, lies: Lies = Lies()) -> str:
        """navigator.credentials.create(): RegistrationResponseJSON. Raises ValueError for one it has already."""
        options = json.loads(options_json)
        excluded = {each["id"] for each in options.get("excludeCredentials", [])}
        if any(encoded(each.id) in excluded for each in self.passkeys):
            raise ValueError("it has a passkey for this user already")
        key = ec.generate_private_key(ec.SECP256R1())
        passkey = Resident(os.urandom(32), options["rp"]["id"], options["user"]["id"], key)
        self.passkeys.append(passkey)
        client_data = self._client_data("webauthn.create", options["challenge"], lies)
        attested = _AAGUID + len(passkey.id).to_bytes(2, "big") + passkey.id + _cose(key)
        data = self._authenticator_data(passkey, lies, _ATTESTED) + attested
        attestation = {"fmt": self._attestation, "attStmt": self._statement(key, data, client_data), "authData": data}
        response = {
            "clientDataJSON": encoded(client_data),
            "attestationObject": encoded(cbor2.dumps(attestation)),
            "transports": ["internal"],
        }
        return _credential(passkey, response)

    def get(self, options_json: str, lies: Lies = Lies()) -> str:
        """navigator.credentials.get(): AuthenticationResponseJSON. Raises ValueError where it has no such passkey."""
        options = json.loads(options_json)
        passkey = self._chosen(options)
        client_data = self._client_data("webauthn.get", options["challenge"], lies)
        data = self._authenticator_data(passkey, lies, 0)
        signed = data + hashlib.sha256(client_data).digest() if lies.signed else b"something else"
        response = {
            "clientDataJSON": encoded(client_data),
            "authenticatorData": encoded(data),
            "signature": encoded(passkey.key.sign(signed, ec.ECDSA(SHA256()))),
            "userHandle": passkey.user_handle if lies.user_handle is None else lies.user_handle,
        }
        return _credential(passkey, response)

    def _chosen(self, options: dict[str, Any]) -> Resident:
        allowed = [each["id"] for each in options.get("allowCredentials", [])]
        for each in reversed(self.passkeys):
            if each.rp_id == options["rpId"] and (not allowed or encoded(each.id) in allowed):
                return each
        raise ValueError("it has no such passkey")

    def _client_data(self, kind: str, challenge: str, lies: Lies) -> bytes:
        said = {
            "type": lies.kind or kind,
            "challenge": lies.challenge or challenge,
            "origin": lies.origin or self.origin,
            "crossOrigin": False,
        }
        return json.dumps(said).encode()

    def _authenticator_data(self, passkey: Resident, lies: Lies, flags: int) -> bytes:
        flags |= _USER_PRESENT if lies.user_present else 0
        flags |= _USER_VERIFIED if lies.user_verified else 0
        passkey.counter += 1 if self._counts else 0
        counter = passkey.counter if lies.counter is None else lies.counter
        rp_id_hash = hashlib.sha256((lies.rp_id or passkey.rp_id).encode()).digest()
        return rp_id_hash + bytes([flags]) + counter.to_bytes(4, "big")

    def _statement(self, key: ec.EllipticCurvePrivateKey, data: bytes, client_data: bytes) -> dict[str, Any]:
        """Self attestation: by the passkey's own key (WebAuthn 2, 8.2)."""
        if self._attestation == "none":
            return {}
        signed = data + hashlib.sha256(client_data).digest()
        return {"alg": _ES256, "sig": key.sign(signed, ec.ECDSA(SHA256()))}


def encoded(data: bytes) -> str:
    """Base64url without padding, as WebAuthn's JSON has it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _cose(key: ec.EllipticCurvePrivateKey) -> bytes:
    """COSE_Key (RFC 9053 7.1.1): kty EC2, ES256, P-256."""
    numbers = key.public_key().public_numbers()
    point = {-2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
    return cbor2.dumps({1: 2, 3: _ES256, -1: 1, **point})


def _credential(passkey: Resident, response: dict[str, Any]) -> str:
    return json.dumps(
        {
            "id": encoded(passkey.id),
            "rawId": encoded(passkey.id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }
    )
