"""Sealed handovers on the road: opened by the HSM, each for the payment it was sealed for, once."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from switch.domain.authorization import AuthorizationRequest, CodeCredential, Credential
from switch.entry.bluetooth import parse_payload
from switch.entry.errors import EntryError
from switch.entry.handover.certificate import TerminalCertificate, build_certificate, to_be_signed
from switch.entry.handover.sealed import Binding, SealedPayload, binding_info, read_sealed
from switch.ports import Clock, HandoverClaim, HandoverClaims, Hsm, NotOpened
from switch.ports.signals import UNHEARD, Signal, SignalKind, Signals

_AES_128_GCM: Final = 1

_CHANGED: Final = NotOpened("34", "the handover is not of this payment, or was changed")
_LATE: Final = NotOpened("54", "the handover has expired")
_EARLY: Final = NotOpened("54", "the handover is not valid yet: the phone's clock is ahead")
_REPLAYED: Final = NotOpened("34", "the handover was used before")


@dataclass(frozen=True, slots=True)
class HandoverSettings:
    """envelope_key (ENVELOPE, EC-P256), signing_key (SIGNING, RSA-2048): labels of HSM keys.

    oldest_ms, ahead_ms: how far the phone's clock may be behind and ahead of the switch's when it seals, the way to the
    switch included.
    """

    envelope_key: str = "handover/envelope"
    signing_key: str = "handover/sign"
    oldest_ms: int = 120_000
    ahead_ms: int = 60_000


@dataclass(slots=True)
class _Handover:
    """One under way. refusal: why it buys nothing, once that is known. clear: what was inside."""

    authorization_id: UUID
    request: AuthorizationRequest
    sealed: SealedPayload | None = None
    clear: bytes = b""
    refusal: NotOpened | None = None


class Handovers:
    """Meets `switch.ports.Opener` for the scheme "handover"."""

    def __init__(
        self, claims: HandoverClaims, hsm: Hsm, clock: Clock, settings: HandoverSettings | None = None,
        signals: Signals = UNHEARD,
    ) -> None:  # fmt: skip
        self._claims = claims
        self._hsm = hsm
        self._clock = clock
        self._settings = settings or HandoverSettings()
        self._signals = signals

    async def open(self, presented: Sequence[tuple[UUID, AuthorizationRequest]]) -> list[Credential | NotOpened]:
        """30 malformed, 34 not of this payment or used before, 54 too old or of a clock that is ahead."""
        handovers = [_read(*each) for each in presented]
        await self._unseal([each for each in handovers if each.refusal is None])
        await self._claim([each for each in handovers if each.refusal is None], self._clock.time_ms())
        return [_credential(each) for each in handovers]

    async def _unseal(self, handovers: Sequence[_Handover]) -> None:
        items = [
            (self._settings.envelope_key, _AES_128_GCM, each.sealed.encapsulated, _info(each, each.sealed), b"",
             each.sealed.ciphertext)
            for each in handovers if each.sealed is not None
        ]  # fmt: skip
        opened = await self._hsm.run("open_envelopes", items) if items else []
        for handover, clear in zip(handovers, opened, strict=True):
            if isinstance(clear, bytes):
                handover.clear = clear
            elif type(clear).__name__ in ("MacMismatch", "InvalidCommand"):
                handover.refusal = _CHANGED
                request = handover.request
                terminal = request.merchant.id, request.terminal_id
                forged = Signal(SignalKind.BAD_SIGNATURE, terminal=terminal, participant=request.acquirer_id)
                self._signals.report(forged)
            else:
                raise clear

    async def _claim(self, handovers: Sequence[_Handover], now_ms: int) -> None:
        """After opening: what is not the phone's own spends nothing of it."""
        claims = [
            HandoverClaim(
                each.request.merchant.id, each.request.terminal_id, each.sealed.nonce, each.sealed.time_ms,
                each.authorization_id, self._is_fresh(each.sealed.time_ms, now_ms),
            )
            for each in handovers if each.sealed is not None
        ]  # fmt: skip
        holders = await self._claims.claim(claims) if claims else []
        for handover, claim, holder in zip(handovers, claims, holders, strict=True):
            if holder is None:
                handover.refusal = _LATE if claim.time_ms < now_ms else _EARLY
            elif holder != handover.authorization_id:
                handover.refusal = _REPLAYED

    def _is_fresh(self, time_ms: int, now_ms: int) -> bool:
        return -self._settings.ahead_ms <= now_ms - time_ms <= self._settings.oldest_ms


async def certify(hsm: Hsm, certificate: TerminalCertificate, settings: HandoverSettings | None = None) -> bytes:
    """The certificate that a terminal shows to phones. Whoever asks answers for the terminal's having that key."""
    label = (settings or HandoverSettings()).signing_key
    [signature] = await hsm.sign([(label, to_be_signed(certificate))])
    if isinstance(signature, Exception):
        raise signature
    return build_certificate(certificate, signature)


def _read(authorization_id: UUID, request: AuthorizationRequest) -> _Handover:
    handover = _Handover(authorization_id, request)
    assert isinstance(request.credential, CodeCredential)
    try:
        handover.sealed = read_sealed(base64.b64decode(request.credential.code.reveal(), validate=True))
    except (EntryError, binascii.Error):
        handover.refusal = NotOpened("30", "the handover is malformed")
    return handover


def _info(handover: _Handover, sealed: SealedPayload) -> bytes:
    request = handover.request
    return binding_info(Binding(request.merchant.id, request.terminal_id, request.money, sealed.nonce, sealed.time_ms))


def _credential(handover: _Handover) -> Credential | NotOpened:
    """As if it had been tapped or scanned."""
    if handover.refusal is not None:
        return handover.refusal
    try:
        return parse_payload(handover.clear[0], handover.clear[1:], handover.request.money)
    except (EntryError, IndexError) as error:
        return NotOpened("30", str(error) if isinstance(error, EntryError) else "the handover is empty")
