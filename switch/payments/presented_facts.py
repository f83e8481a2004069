"""What a payment says of itself to risk control: facts and subjects, pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from switch.domain.authorization import Authorization, AuthorizationRequest, CardCredential, CodeCredential, Holder
from switch.domain.payer import Payer, Posture
from switch.domain.risk import FactValue, Subject
from switch.domain.states import EntryMode, Operation
from switch.entry._tlv import parse_flat
from switch.ports.risk import Sighting
from switch.risk.monitor import Presented
from switch.risk.subjects import address_key, card_key, device_key, merchant_key, own, terminal_key, user_key

_BUSINESS_ZONE: Final = ZoneInfo("Asia/Shanghai")
_ENTRIES: Final = {each: each.name.lower() for each in EntryMode}
_OPERATIONS: Final = {each: each.words for each in Operation}

_TVR, _CVM_RESULTS, _COUNTER = 0x95, 0x9F34, 0x9F36
# EMV Book 3, annex C3: offline PIN by the card, plain or enciphered, with or without a signature.
_OFFLINE_PIN: Final = frozenset({0x01, 0x03, 0x04, 0x05})
_SUCCESSFUL: Final = 0x02

_POSTURES: Final = {each: f"device_{each.name.lower()}" for each in Posture if each.name}


@dataclass(frozen=True, slots=True)
class Moment:
    """The business time of a batch. weekday: 1 Monday to 7 Sunday."""

    hour: int
    weekday: int

    @classmethod
    def of(cls, time_ms: int) -> "Moment":
        """
        >>> Moment.of(1_790_000_000_000)
        Moment(hour=22, weekday=1)
        """
        local = datetime.fromtimestamp(time_ms / 1000, _BUSINESS_ZONE)
        return cls(local.hour, local.isoweekday())


def presented(
    request: AuthorizationRequest, record: Authorization, moment: Moment, reference_currency: str
) -> Presented:
    payer, credential = payer_of_request(request), request.credential
    subjects = _subjects(record, payer, isinstance(credential, CardCredential))
    money, merchant = request.money, request.merchant
    facts: dict[str, FactValue] = {
        "amount_minor": money.amount_minor,
        "hour": moment.hour,
        "weekday": moment.weekday,
        "currency": money.currency,
        "entry": _ENTRIES[request.entry],
        "operation": _OPERATIONS[request.operation],
        "merchant_category": merchant.category_code,
        "merchant_country": merchant.country,
        "acquirer": request.acquirer_id,
        "card_range": record.masked_credential[:6] if Subject.CARD in subjects else "",
        "code_scheme": credential.scheme if isinstance(credential, CodeCredential) else "",
        "pin_given": request.pin is not None,
        "place_known": payer.place is not None,
        "posture_known": bool(payer.posture),
        "chip_known": False,
        **{name: subject in subjects for subject, name in _KNOWN.items()},
    }
    if isinstance(credential, CardCredential) and credential.emv:
        facts |= _chip_facts(credential.emv)
    if payer.posture:
        facts |= {name: posture in payer.posture for posture, name in _POSTURES.items()}
    counted_minor = money.amount_minor if money.currency == reference_currency else 0
    return Presented(facts, Sighting(record.id.hex, subjects, counted_minor, payer.place))


_KNOWN: Final = {subject: f"{subject}_known" for subject in Subject}


def payer_of_request(request: AuthorizationRequest) -> Payer:
    """The switch's own wallet knows better than whoever sent the payment."""
    payer, credential = request.payer, request.credential
    holder: Holder | None = credential.holder if isinstance(credential, CardCredential) else None
    if holder is None:
        return payer
    device = own(holder.device_id) if holder.device_id is not None else payer.device
    return Payer(own(holder.user_id), device, payer.ip_address, payer.place, payer.posture)


def _subjects(record: Authorization, payer: Payer, has_card: bool) -> dict[Subject, str]:
    """A wallet's code is good once, and an order has no payer yet: neither is a card."""
    subjects = {
        Subject.MERCHANT: merchant_key(record.merchant_id),
        Subject.TERMINAL: terminal_key(record.merchant_id, record.terminal_id),
    }
    if has_card:
        subjects[Subject.CARD] = card_key(record.payer_key)
    if payer.user:
        subjects[Subject.USER] = user_key(payer)
    if payer.device:
        subjects[Subject.DEVICE] = device_key(payer)
    if payer.ip_address:
        subjects[Subject.IP] = address_key(payer.ip_address)
    return subjects


def _chip_facts(emv: bytes) -> dict[str, FactValue]:
    """EMV Book 3, annex C5 and C3. emv: as `switch.entry.emv.parse_tap` left it."""
    tags = parse_flat(emv, "emv")
    tvr, cvm = tags.get(_TVR, bytes(5)), tags.get(_CVM_RESULTS, bytes(3))
    return {
        "chip_known": True,
        "chip_data_authentication_failed": bool(tvr[0] & 0b0100_1100),
        "chip_cardholder_not_verified": bool(tvr[2] & 0x80),
        "chip_pin_tries_exceeded": bool(tvr[2] & 0x20),
        "chip_expired": bool(tvr[1] & 0x40),
        "chip_new_card": bool(tvr[1] & 0x08),
        "chip_pin_verified": cvm[0] & 0x3F in _OFFLINE_PIN and cvm[2] == _SUCCESSFUL,
        "chip_counter": int.from_bytes(tags.get(_COUNTER, b"")),
    }
