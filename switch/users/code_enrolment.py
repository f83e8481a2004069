"""A bound device is enrolled for payment codes: it and the switch agree on a secret that is kept sealed."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from switch.domain.code_device import CodeDevice
from switch.domain.code_enrolment import (
    ENCAPSULATED_BYTES,
    ENVELOPE_BYTES,
    SALT_BYTES,
    SEED_BYTES,
    agreed_secret,
    envelope_info,
    signed_text,
)
from switch.domain.dynamic_code import NUMBER_DIGITS
from switch.domain.refusals import Invalid, Missing, NotProved, TooMany
from switch.ports import Clock, Hsm
from switch.ports.platform import Devices
from switch.users.code_settings import CodeSettings
from switch.users.code_store import CodeStore
from switch.users.payment_codes import bound_to

_AES_128_GCM: Final = 1
_TRIES: Final = 8
"""Numbers drawn. Of 10^11 numbers a hundred million devices take one in a thousand."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What the device needs to compute its secret. salt: 32 bytes."""

    number: int
    salt: bytes = field(repr=False)


class CodeEnrolments:
    """entropy(n) -> n random bytes."""

    def __init__(
        self,
        store: CodeStore,
        devices: Devices,
        hsm: Hsm,
        clock: Clock,
        settings: CodeSettings | None = None,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._devices = devices
        self._hsm = hsm
        self._clock = clock
        self._settings = settings or CodeSettings()
        self._entropy = entropy

    async def enrol(self, who: str, user_id: UUID, device_id: UUID, envelope: bytes, signature: bytes) -> Enrolled:
        """In place of what the device had before. who: `Caller.name`.

        Raises Missing (no such device, or revoked), Invalid, NotProved (the signature is not the device's, or the
        envelope is not for the HSM, this user and this device).
        """
        if len(envelope) != ENVELOPE_BYTES:
            raise Invalid("envelope", f"must be {ENVELOPE_BYTES} bytes")
        [device] = await self._devices.devices([(user_id, device_id)])
        if device is None or not device.active:
            raise Missing("there is no such device")
        _verify(device.public_key, signature, signed_text(user_id, device_id, envelope))
        seed = await self._opened(envelope_info(user_id, device_id), envelope)
        for _ in range(_TRIES):
            number = int.from_bytes(self._entropy(16), "big") % 10**NUMBER_DIGITS
            salt = self._entropy(SALT_BYTES)
            secret = agreed_secret(seed, salt, number)
            [sealed] = await self._hsm.seal([(self._settings.seal_key, secret, bound_to(number))])
            if isinstance(sealed, Exception):
                raise sealed
            row = CodeDevice(number, user_id, device_id, sealed)
            if await self._store.enrol(row, who, self._clock.time_ms()):
                return Enrolled(number, salt)
        raise TooMany("no device number was free")

    async def withdraw(self, who: str, user_id: UUID, device_id: UUID) -> None:
        """The device's codes are worth nothing from now on. Raises Missing."""
        if not await self._store.withdraw(user_id, device_id, who):
            raise Missing("the device makes no payment codes")

    async def give_up(self, who: str, user_id: UUID) -> None:
        """Of all his devices. Meets `switch.ports.platform.Belongings`."""
        await self._store.withdraw_all(user_id, who)

    async def _opened(self, info: bytes, envelope: bytes) -> bytes:
        encapsulated, ciphertext = envelope[:ENCAPSULATED_BYTES], envelope[ENCAPSULATED_BYTES:]
        item = (self._settings.envelope_key, _AES_128_GCM, encapsulated, info, b"", ciphertext)
        [seed] = await self._hsm.run("open_envelopes", [item])
        if isinstance(seed, Exception):
            if type(seed).__name__ in ("MacMismatch", "InvalidCommand"):
                raise NotProved("the envelope does not open")
            raise seed
        assert len(seed) == SEED_BYTES  # as its envelope is of that length
        return bytes(seed)


def _verify(public_key: bytes, signature: bytes, text: bytes) -> None:
    """Raises NotProved."""
    try:
        key = load_der_public_key(public_key)
    except ValueError as error:
        raise NotProved("the device's key is not usable") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise NotProved("the device's key is not of P-256")
    try:
        key.verify(signature, text, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise NotProved("the signature is not the device's") from None
