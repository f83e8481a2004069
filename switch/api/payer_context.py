"""The payer's context, from the wire and back (`switch.domain.payer`)."""

import re
from ipaddress import ip_address
from typing import Final

from payswitch.v1 import authorization_pb2 as pb
from switch.api.errors import InvalidField
from switch.domain.payer import NOTHING_SAID, Payer, Place, Posture

_NUMBER: Final = re.compile(r"[ -~]{0,64}", re.ASCII).fullmatch
_LONGEST_ADDRESS: Final = 45
_MOST_POSTURES: Final = 8
_NORTH_E6, _EAST_E6 = 90_000_000, 180_000_000

_POSTURES: Final = {
    pb.DEVICE_POSTURE_ATTESTED: Posture.ATTESTED,
    pb.DEVICE_POSTURE_EMULATOR: Posture.EMULATOR,
    pb.DEVICE_POSTURE_ROOTED: Posture.ROOTED,
    pb.DEVICE_POSTURE_DEBUGGED: Posture.DEBUGGED,
    pb.DEVICE_POSTURE_TAMPERED: Posture.TAMPERED,
}


def payer_of(context: pb.PaymentContext, prefix: str) -> Payer:
    """Raises InvalidField. prefix: goes before the payer's and the device's number: an acquirer's are its own."""
    for field, value in (("payer_id", context.payer_id), ("device_id", context.device_id)):
        if not _NUMBER(value):
            raise InvalidField(f"context.{field}", "must be at most 64 printable ASCII characters")
    return Payer(
        prefix + context.payer_id if context.payer_id else "",
        prefix + context.device_id if context.device_id else "",
        _address(context.ip_address),
        _place(context),
        _posture(context),
    )


def context_of(payer: Payer) -> pb.PaymentContext:
    """As another process of the switch reads it, without a prefix of its own."""
    context = pb.PaymentContext(payer_id=payer.user, device_id=payer.device, ip_address=payer.ip_address)
    if payer.place is not None:
        context.latitude_e6, context.longitude_e6 = payer.place.latitude_e6, payer.place.longitude_e6
    context.posture.extend(number for number, posture in _POSTURES.items() if posture in payer.posture)
    return context


def _address(text: str) -> str:
    if not text:
        return ""
    if len(text) > _LONGEST_ADDRESS or "%" in text:  # a zone (RFC 4007) is of one machine: its address has no one name
        raise InvalidField("context.ip_address", "is not an IPv4 or IPv6 address")
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidField("context.ip_address", "is not an IPv4 or IPv6 address") from None
    return str(getattr(address, "ipv4_mapped", None) or address)


def _place(context: pb.PaymentContext) -> Place | None:
    has_latitude, has_longitude = context.HasField("latitude_e6"), context.HasField("longitude_e6")
    if has_latitude is not has_longitude:
        raise InvalidField("context", "has one of latitude_e6 and longitude_e6")
    if not has_latitude:
        return None
    if abs(context.latitude_e6) > _NORTH_E6:
        raise InvalidField("context.latitude_e6", f"must be -{_NORTH_E6} to {_NORTH_E6}")
    if abs(context.longitude_e6) > _EAST_E6:
        raise InvalidField("context.longitude_e6", f"must be -{_EAST_E6} to {_EAST_E6}")
    return Place(context.latitude_e6, context.longitude_e6)


def _posture(context: pb.PaymentContext) -> Posture:
    if len(context.posture) > _MOST_POSTURES:
        raise InvalidField("context.posture", f"may have {_MOST_POSTURES} values at most")
    posture = NOTHING_SAID
    for number in context.posture:
        known = _POSTURES.get(number)
        if known is None:
            raise InvalidField("context.posture", "is not a known posture")
        posture |= known
    return posture
