"""A device that shows payment codes: enrolled once with the switch, then offline. docs/payment_codes.md has the layout.

seed, enrolment = begin_enrolment(switch_key, user_id, device_id, device_key)      # WalletService.EnrolPaymentCodes
codes = finish_enrolment(seed, number, salt)                                      # from its answer
codes.code(now_ms)
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from switch.domain.code_enrolment import SEED_BYTES, agreed_secret, envelope_info, signed_text
from switch.domain.dynamic_code import SEQUENCES, STEP_MS, build_code

SUITE = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_128_GCM)


class NoCodeLeft(Exception):
    """Ten codes were made in these ten seconds: the next step has others. wait_ms: until then."""

    def __init__(self, wait_ms: int) -> None:
        super().__init__(f"the next code can be made in {wait_ms} ms")
        self.wait_ms = wait_ms


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the device sends: envelope, 113 bytes, and signature, DER."""

    envelope: bytes
    signature: bytes


@dataclass(slots=True)
class CodeDevice:
    """number, secret: of its enrolment; the secret belongs into the device's key store.

    last_step, last_sequence: of the last code. Keep them over a restart, or the device may show a code again that was
    used within these ten seconds.
    """

    number: int
    secret: bytes = field(repr=False)
    last_step: int = -1
    last_sequence: int = 0

    def code(self, now_ms: int) -> str:
        """A code that was not shown before: 24 digits, to be shown for 60 s. Raises NoCodeLeft.

        now_ms: Unix time. The switch bears a clock that is up to 20 s ahead; behind, a code lives so much less. A clock
        that was set back makes codes under the last step, until it has caught up.
        """
        step = max(now_ms // STEP_MS, self.last_step)
        sequence = self.last_sequence + 1 if step == self.last_step else 0
        if sequence == SEQUENCES:
            raise NoCodeLeft((step + 1) * STEP_MS - now_ms)
        self.last_step, self.last_sequence = step, sequence
        return build_code(self.number, self.secret, step, sequence)


def begin_enrolment(
    switch_key_pem: bytes,
    user_id: UUID,
    device_id: UUID,
    device_key: ec.EllipticCurvePrivateKey,
    entropy: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[bytes, Enrolment]:
    """(seed, what is sent). switch_key_pem: the switch's EC-P256 public key, known beforehand. device_key: the private
    half of the key that the device is bound by.
    """
    public_key = load_pem_public_key(switch_key_pem)
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise ValueError("the switch's key is one of P-256")
    seed = entropy(SEED_BYTES)
    envelope = SUITE.encrypt(seed, public_key, envelope_info(user_id, device_id))
    signature = device_key.sign(signed_text(user_id, device_id, envelope), ec.ECDSA(SHA256()))
    return seed, Enrolment(envelope, signature)


def finish_enrolment(seed: bytes, number: int, salt: bytes) -> CodeDevice:
    """Forget the seed afterwards."""
    return CodeDevice(number, agreed_secret(seed, salt, number))
