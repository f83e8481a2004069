"""Lists that would stop honest trade: what a batch of entries would have met last week, before it stands. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from switch.domain.risk import ListKind, Subject
from switch.domain.risk_listing import Impact, ListingEntry
from switch.ports.risk_cases import Keys
from switch.risk.packing import unpack_subjects

_PAYER: Final = (Subject.CARD, Subject.USER, Subject.DEVICE)
# A small installation's share of one payer is large, and means nothing.
_FEW_PAYERS: Final = 5

# WATCH decides nothing by itself; ALLOW spares scores and reviews, which many at once would switch off.
WEIGHED: Final = frozenset({ListKind.BLOCK, ListKind.STEP_UP, ListKind.ALLOW})


@dataclass(frozen=True, slots=True)
class PoisonRules:
    """Above these shares of what was let pass, hundredths of a percent, a second person confirms.

    days: that are looked back.
    """

    payer_basis_points: int = 50
    merchant_basis_points: int = 100
    days: int = 7


def keys_of(entries: Iterable[ListingEntry]) -> dict[Subject, frozenset[str]]:
    found: dict[Subject, set[str]] = {}
    for each in entries:
        found.setdefault(each.subject, set()).add(each.key)
    return {subject: frozenset(keys) for subject, keys in found.items()}


def united(one: Keys, other: Keys) -> dict[Subject, frozenset[str]]:
    return {each: one.get(each, frozenset()) | other.get(each, frozenset()) for each in {*one, *other}}


class Impacts:
    """Adds up, payment by payment, what keys would have met."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._merchants = dict.fromkeys(keys.get(Subject.MERCHANT, ()), 0)
        self._payments = self._hit = 0
        self._payers: set[str] = set()
        self._payers_hit: set[str] = set()

    def add(self, packed: Sequence[bytes]) -> None:
        """Subjects as judgements store them."""
        for each in packed:
            self._add(unpack_subjects(each) if each else {})

    def _add(self, subjects: dict[Subject, str]) -> None:
        payer = next((subjects[each] for each in _PAYER if each in subjects), None)
        self._payments += 1
        if payer is not None:
            self._payers.add(payer)
        if not any(key in self._keys.get(subject, ()) for subject, key in subjects.items()):
            return
        self._hit += 1
        if payer is not None:
            self._payers_hit.add(payer)
        merchant = subjects.get(Subject.MERCHANT, "")
        if merchant in self._merchants:
            self._merchants[merchant] += 1

    def impact(self) -> Impact:
        return Impact(self._payments, self._hit, len(self._payers), len(self._payers_hit), self._merchants)


def needs_second(impact: Impact, rules: PoisonRules) -> tuple[str, ...]:
    """Why a second person must confirm; empty where nobody must."""
    why = []
    if impact.payers_hit >= _FEW_PAYERS and impact.payer_basis_points > rules.payer_basis_points:
        why.append(
            f"it would have met {impact.payers_hit} of {impact.payers} payers of the last {rules.days} days,"
            f" {impact.payer_basis_points / 100:.2f} %, more than {rules.payer_basis_points / 100:.2f} %"
        )
    if impact.merchant_basis_points > rules.merchant_basis_points:
        why.append(
            f"one of its merchants had {impact.merchant_basis_points / 100:.2f} % of the payments of the last"
            f" {rules.days} days, more than {rules.merchant_basis_points / 100:.2f} %"
        )
    return tuple(why)
