"""Dynamic payment codes on the road: a batch of codes becomes cards, each code once.

Facts first: the devices of all codes, their secrets, whether they are bound still. Then each is judged, and those that
are right are claimed in one statement, before any card number is fetched.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from switch.domain.authorization import AuthorizationRequest, CardCredential, CodeCredential, Credential, Holder
from switch.domain.code_device import CodeClaim, CodeDevice
from switch.domain.dynamic_code import NotACode, ReadCode, Verified, read_code, verify_code
from switch.ports import Clock, Hsm, NotOpened
from switch.ports.platform import Devices
from switch.ports.signals import UNHEARD, Signal, SignalKind, Signals
from switch.users.code_settings import CodeSettings
from switch.users.code_store import CardNumbers, CodeStore
from switch.users.wrong_codes import WrongCodes

ACCESS_REASON: Final = "payment code"

# A number that nobody has, a wrong value and a secret that cannot be read look the same from outside.
_WRONG: Final = NotOpened("14", "the payment code is not valid")
_LATE: Final = NotOpened("54", "the payment code has expired")
_EARLY: Final = NotOpened("54", "the payment code is not valid yet: the device's clock is ahead")
_USED: Final = NotOpened("57", "the payment code was used before")
_LOCKED: Final = NotOpened("75", "too many wrong payment codes of this device")
_REVOKED: Final = NotOpened("62", "the device of the payment code was revoked")
_NO_CARD: Final = NotOpened("62", "the payer has no card to pay with")
_TOO_MANY: Final = NotOpened("65", "too many wrong payment codes from here")


@dataclass(slots=True)
class _Code:
    """One code under way. refusal: why it buys nothing, once that is known."""

    authorization_id: UUID
    request: AuthorizationRequest
    read: ReadCode | None = None
    device: CodeDevice | None = None
    verified: Verified | None = None
    refusal: NotOpened | None = None


class PaymentCodes:
    """Meets `switch.ports.Opener` for the scheme "payswitch"."""

    def __init__(
        self,
        store: CodeStore,
        devices: Devices,
        cards: CardNumbers,
        hsm: Hsm,
        clock: Clock,
        settings: CodeSettings | None = None,
        signals: Signals = UNHEARD,
    ) -> None:
        self._store = store
        self._devices = devices
        self._cards = cards
        self._hsm = hsm
        self._clock = clock
        self._settings = settings or CodeSettings()
        self._signals = signals
        self._wrong = WrongCodes(self._settings.wrong_per_terminal, self._settings.wrong_per_acquirer)

    async def open(self, presented: Sequence[tuple[UUID, AuthorizationRequest]]) -> list[Credential | NotOpened]:
        """14 not valid, 54 expired or too early, 57 used, 62 revoked or no card, 65 and 75 too many wrong ones."""
        now_ms = self._clock.time_ms()
        codes = [_read(*each) for each in presented]
        await self._verify([each for each in codes if each.read is not None and each.refusal is None], now_ms)
        await self._claim([each for each in codes if each.verified is not None])
        await self._check_devices([each for each in codes if each.refusal is None])
        return await self._fetch(codes)

    # --- whose code it is, and whether its device made it -----------------------------------------------------------

    async def _verify(self, codes: Sequence[_Code], now_ms: int) -> None:
        if not codes:
            return
        found = await self._store.find(sorted({each.read.number for each in codes if each.read}))
        secrets = await self._secrets(list(found.values()))
        guessed: Counter[int] = Counter()
        for code in codes:
            assert code.read is not None
            number = code.read.number
            code.device = found.get(number)
            if self._wrong.too_many(code.request, now_ms):
                code.refusal = _TOO_MANY
                continue
            if code.device is not None and self._is_locked(code.device, guessed[number], now_ms):
                code.refusal = _LOCKED
                continue
            secret = secrets.get(number)
            code.verified = None if secret is None else verify_code(code.read, secret, now_ms)
            if code.verified is None:
                code.refusal = _WRONG
                self._wrong.count(code.request, now_ms)
                self._signals.report(_wrong_code(code.request, code.device))
                if code.device is not None:
                    guessed[number] += 1
        guessed = +guessed
        if guessed:
            await self._store.count_wrong(guessed, now_ms, self._settings.wrong_window_ms)

    def _is_locked(self, device: CodeDevice, in_this_batch: int, now_ms: int) -> bool:
        counts = now_ms - device.wrong_since_ms < self._settings.wrong_window_ms
        return (device.wrong if counts else 0) + in_this_batch >= self._settings.wrong_per_device

    async def _secrets(self, devices: Sequence[CodeDevice]) -> dict[int, bytes]:
        """Of those whose row is the one that was written. Raises the HSM's error if it is not there."""
        key = self._settings.seal_key
        opened = await self._hsm.unseal([(key, each.sealed_secret, bound_to(each.number)) for each in devices])
        secrets: dict[int, bytes] = {}
        for device, secret in zip(devices, opened, strict=True):
            if isinstance(secret, bytes):
                secrets[device.number] = secret
            elif type(secret).__name__ != "MacMismatch":
                raise secret
        return secrets

    # --- once -------------------------------------------------------------------------------------------------------

    async def _claim(self, codes: Sequence[_Code]) -> None:
        """A repeat of the same authorization finds its own claim, whatever the time is by then."""
        claims = [
            CodeClaim(each.read.number, each.verified.step, each.read.sequence, each.authorization_id, fresh)
            for each in codes
            if each.read is not None and each.verified is not None
            for fresh in [each.verified.late_steps == 0]
        ]
        holders = await self._store.claim(claims) if claims else []
        for code, holder in zip(codes, holders, strict=True):
            assert code.verified is not None
            if holder is None:
                code.refusal = _LATE if code.verified.late_steps > 0 else _EARLY
            elif holder != code.authorization_id:
                code.refusal = _USED

    async def _check_devices(self, codes: Sequence[_Code]) -> None:
        named = {(each.device.user_id, each.device.device_id) for each in codes if each.device is not None}
        ordered = sorted(named)
        found = dict(zip(ordered, await self._devices.devices(ordered), strict=True)) if ordered else {}
        for code in codes:
            assert code.device is not None
            device = found[code.device.user_id, code.device.device_id]
            if device is None or not device.active:
                code.refusal = _REVOKED
            elif not code.device.card_token:
                code.refusal = _NO_CARD

    # --- the card ---------------------------------------------------------------------------------------------------

    async def _fetch(self, codes: Sequence[_Code]) -> list[Credential | NotOpened]:
        standing = [each.device for each in codes if each.refusal is None and each.device is not None]
        pans = iter(await self._cards.reveal([each.card_token for each in standing], ACCESS_REASON) if standing else [])
        opened: list[Credential | NotOpened] = []
        for code in codes:
            if code.refusal is not None or code.device is None:
                opened.append(code.refusal or _WRONG)
                continue
            pan = next(pans)
            holder = Holder(code.device.user_id, code.device.device_id)
            card = None if pan is None else CardCredential(pan, code.device.card_expiry_yymm, holder=holder)
            opened.append(card or _NO_CARD)
        return opened


def _wrong_code(request: AuthorizationRequest, device: CodeDevice | None) -> Signal:
    """device: whose number was named, if it is anybody's."""
    return Signal(
        SignalKind.WRONG_CODE,
        None if device is None else device.user_id,
        None if device is None else device.device_id,
        request.payer.ip_address,
        (request.merchant.id, request.terminal_id),
        request.acquirer_id,
    )


def _read(authorization_id: UUID, request: AuthorizationRequest) -> _Code:
    code = _Code(authorization_id, request)
    assert isinstance(request.credential, CodeCredential)
    try:
        code.read = read_code(request.credential.code.reveal())
    except NotACode:
        code.refusal = _WRONG
    return code


def bound_to(number: int) -> bytes:
    """Associated data of a device's sealed secret."""
    return f"payment code secret 1|{number:011d}".encode()
