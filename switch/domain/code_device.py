"""A device that makes dynamic payment codes, and one code on its way to being used."""

from dataclasses import dataclass, field
from uuid import UUID


@dataclass(frozen=True, slots=True)
class CodeDevice:
    """A device that makes codes. number: 11 digits, drawn at random, another one with every enrolment.

    sealed_secret: by the HSM, bound to the number. wrong, wrong_since_ms: wrong codes of late, and
    from when they are counted. card_token, card_expiry_yymm: of the user's default card, "" without one.
    """

    number: int
    user_id: UUID
    device_id: UUID
    sealed_secret: bytes = field(repr=False)
    wrong: int = 0
    wrong_since_ms: int = 0
    card_token: str = ""
    card_expiry_yymm: str = ""


@dataclass(frozen=True, slots=True)
class CodeClaim:
    """One code for one authorization. fresh: it is good now, and is claimed; else its holder is asked for only."""

    number: int
    step: int
    sequence: int
    authorization_id: UUID
    fresh: bool = True
