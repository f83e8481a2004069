"""Where and with what a payer pays, as far as it is known: for risk control alone, never for the channel."""

from dataclasses import dataclass
from enum import IntFlag
from typing import Final


class Posture(IntFlag):
    """What a device says or proves of itself; nothing set: nothing is known. The numbers are stored."""

    ATTESTED = 1  # by the platform's attestation, verified by whoever says so
    EMULATOR = 2
    ROOTED = 4  # or jailbroken
    DEBUGGED = 8
    TAMPERED = 16  # the app is not the publisher's


NOTHING_SAID: Final = Posture(0)


@dataclass(frozen=True, slots=True)
class Place:
    """WGS 84, millionths of a degree."""

    latitude_e6: int
    longitude_e6: int


@dataclass(frozen=True, slots=True)
class Payer:
    """user, device: whose they are, ":", their id there (":<uuid>" for our own users and devices, else
    "<acquirer>:<its number>"); "" where unknown. ip_address: canonical text, or "".
    """

    user: str = ""
    device: str = ""
    ip_address: str = ""
    place: Place | None = None
    posture: Posture = NOTHING_SAID


UNKNOWN_PAYER: Final = Payer()
