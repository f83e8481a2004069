"""The published list of facts: what a rule may read, and what a judgement stores.

A fact needs nothing, or one of the *known* facts: it is there only where that one is true. A rule that reads a fact is
judged only where what the fact needs is known, so that nothing unknown is ever compared; what is to fire on absence
reads the known fact itself: `!device_known && amount_minor > 50000`.

The order is stored with every judgement: facts are only ever added, at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from switch.domain.risk import Subject
from switch.domain.velocity import ACCOUNT_COUNTS as ACCOUNT_COUNTS
from switch.domain.velocity import ACCOUNT_COUNTS_OF as ACCOUNT_COUNTS_OF
from switch.domain.velocity import DISTINCT as DISTINCT
from switch.domain.velocity import DISTINCT_WINDOWS as DISTINCT_WINDOWS
from switch.domain.velocity import LATER_COUNTS as LATER_COUNTS
from switch.domain.velocity import LATER_OF as LATER_OF
from switch.domain.velocity import MARKS as MARKS
from switch.domain.velocity import NEVER as NEVER
from switch.domain.velocity import PAIRS as PAIRS
from switch.domain.velocity import WINDOWS as WINDOWS
from switch.domain.velocity import pair_name as pair_name


class FactType(StrEnum):
    """As CEL names them."""

    INT = "int"
    BOOL = "bool"
    TEXT = "string"
    TEXTS = "list(string)"


COUNTERS: Final = "counters"
MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class Fact:
    """needs: names of the known facts that must be true, "" for none. source: COUNTERS, MODEL, or "" for what the
    payment itself says and what this process holds in memory.
    """

    name: str
    type: FactType
    meaning: str
    needs: tuple[str, ...] = ()
    source: str = ""


def _known(subject: Subject) -> str:
    return f"{subject}_known"


def _payment() -> list[Fact]:
    texts = {
        "currency": "ISO 4217 alphabetic",
        "entry": "nfc, payer_code, payer_qr, merchant_qr, bluetooth, keyed, chip or stripe",
        "operation": "sale, pre-authorization or order",
        "merchant_category": "ISO 18245, four digits",
        "merchant_country": "ISO 3166-1 alpha-2",
        "acquirer": "participant id",
        "card_range": "first six digits of a card or token, else empty",
        "code_scheme": "alipay, wechat, unionpay or empty: of a payment code",
    }
    ints = {
        "amount_minor": "minor units of the currency",
        "hour": "0 to 23, of the business time zone",
        "weekday": "1 Monday to 7 Sunday, of the business time zone",
    }
    bools = {
        "pin_given": "a PIN block came with it",
        "chip_known": "it carries chip data",
        "place_known": "it says where it is made",
        "posture_known": "the device says something of itself",
    }
    return [
        *(Fact(name, FactType.INT, meaning) for name, meaning in ints.items()),
        *(Fact(name, FactType.TEXT, meaning) for name, meaning in texts.items()),
        *(Fact(name, FactType.BOOL, meaning) for name, meaning in bools.items()),
    ]


def _chip() -> list[Fact]:
    """EMV Book 3, annex C5 (terminal verification results, tag 95) and tag 9F34."""
    bools = {
        "chip_data_authentication_failed": "TVR byte 1, bits 7, 4 and 3: SDA, DDA or CDA failed",
        "chip_cardholder_not_verified": "TVR byte 3, bit 8: cardholder verification was not successful",
        "chip_pin_tries_exceeded": "TVR byte 3, bit 6",
        "chip_expired": "TVR byte 2, bit 7: expired application",
        "chip_new_card": "TVR byte 2, bit 4: new card",
        "chip_pin_verified": "tag 9F34: the card verified a PIN offline, successfully (EMV Book 3, annex C3)",
    }
    facts = [Fact(name, FactType.BOOL, meaning, ("chip_known",)) for name, meaning in bools.items()]
    facts.append(Fact("chip_counter", FactType.INT, "application transaction counter, tag 9F36", ("chip_known",)))
    return facts


def _posture() -> list[Fact]:
    names = ("attested", "emulator", "rooted", "debugged", "tampered")
    return [Fact(f"device_{name}", FactType.BOOL, "as the device says", ("posture_known",)) for name in names]


def _subjects() -> list[Fact]:
    facts = []
    for subject in Subject:
        facts.append(Fact(_known(subject), FactType.BOOL, f"the payment names its {subject}"))
        facts.append(
            Fact(f"{subject}_lists", FactType.TEXTS, f"names of the lists that its {subject} is on", (_known(subject),))
        )
    return facts


def _velocity(name: str, needs: tuple[str, ...]) -> list[Fact]:
    facts = []
    for window in WINDOWS:
        facts.append(
            Fact(f"{name}_count_{window}", FactType.INT, "payments asked for, this one included", needs, COUNTERS)
        )
        facts.append(
            Fact(f"{name}_sum_{window}", FactType.INT, "their amounts, minor units of the reference currency; others"
                 " count as 0", needs, COUNTERS)
        )  # fmt: skip
    facts.append(Fact(f"{name}_age_minutes", FactType.INT, "since the first payment; 0: this is it", needs, COUNTERS))
    facts.append(
        Fact(f"{name}_idle_minutes", FactType.INT, f"since the payment before; {NEVER}: there is none", needs, COUNTERS)
    )
    return facts


def _counted(names: Mapping[str, tuple[str, ...]], of: Mapping[str, tuple[Subject, ...]], meaning: str) -> list[Fact]:
    return [
        Fact(f"{subject}_{name}_{window}", FactType.INT, meaning, (_known(subject),), COUNTERS)
        for name, windows in names.items()
        for subject in of[name]
        for window in windows
    ]


def _distinct() -> list[Fact]:
    return [
        Fact(f"{subject}_{other}s_{window}", FactType.INT, f"different {other}s, this one's included; at most 1000",
             (_known(subject),), COUNTERS)
        for subject, other in DISTINCT
        for window in DISTINCT_WINDOWS
    ]  # fmt: skip


def _marks() -> list[Fact]:
    return [
        Fact(
            f"user_{mark}_minutes", FactType.INT, f"since it last was so; {NEVER}: not known", ("user_known",), COUNTERS
        )
        for mark in MARKS
    ]


def _travel() -> list[Fact]:
    needs = ("card_known", "place_known")
    return [
        Fact(
            "card_travel_km",
            FactType.INT,
            "from the place of the card's payment before; 0 without one",
            needs,
            COUNTERS,
        ),
        Fact("card_travel_kmh", FactType.INT, "the speed that this takes; 0 below 1 km", needs, COUNTERS),
    ]


def _all() -> tuple[Fact, ...]:
    facts = [*_payment(), *_chip(), *_posture(), *_subjects()]
    for subject in Subject:
        facts += _velocity(subject, (_known(subject),))
    for one, other in PAIRS:
        facts += _velocity(pair_name(one, other), (_known(one), _known(other)))
    facts += _counted(LATER_COUNTS, LATER_OF, "of payments of the last 30 days, once the switch knows of it")
    facts += _counted(ACCOUNT_COUNTS, ACCOUNT_COUNTS_OF, "at the switch's own doors")
    facts += [*_distinct(), *_marks(), *_travel()]
    facts.append(Fact("model_known", FactType.BOOL, "a model is in force and scored it"))
    facts.append(
        Fact("model_score", FactType.INT, "chance of fraud in thousandths, by the model", ("model_known",), MODEL)
    )
    return tuple(facts)


FACTS: Final = _all()
BY_NAME: Final = {each.name: each for each in FACTS}
NUMBER: Final = {each.name: number for number, each in enumerate(FACTS)}
"""A fact's place in the list: what a stored judgement names it by."""
