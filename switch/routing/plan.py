"""What a routing plan is: rules, contracts with their fees, names of BIN tables, expectations. As it is written down.

Each part is checked by itself here; `check.py` looks at the plan as a whole. docs/routing.md has a plan to copy.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR
from switch.domain.payment_codes import CODE_SCHEMES
from switch.domain.states import EntryMode, Operation
from switch.routing.bins import CARD_TYPES
from switch.routing.hours import read_hours

MOST_RULES: Final = 1_000
MOST_CHANNELS: Final = 16
MOST_CONTRACTS: Final = 10_000
MOST_EXPECTATIONS: Final = 1_000
MOST_BIN_TABLES: Final = 4
MOST_WEIGHT: Final = 1_000

ENTRIES: Final = {each.name.lower(): each for each in EntryMode}
OPERATIONS: Final = {each.name.lower(): each for each in (Operation.SALE, Operation.PRE_AUTHORIZATION, Operation.ORDER)}

_LONG_NUMBER: Final = re.compile(r"\d{12}")


def _without_long_numbers(text: str) -> str:
    """Names are shown by `Get`: nothing in them may look like a card number."""
    if _LONG_NUMBER.search(text) or not text.isprintable():
        raise ValueError("must be printable and without 12 digits in a row")
    return text


def _one_of(values: Iterable[str]) -> AfterValidator:
    known = tuple(values)

    def check(text: str) -> str:
        if text not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return text

    return AfterValidator(check)


def _readable(windows: tuple[str, ...]) -> tuple[str, ...]:
    read_hours(windows)
    return windows


def _categories(text: str) -> str:
    first, last = category_range(text)
    if first > last:
        raise ValueError("the first category is above the last")
    return text


def category_range(text: str) -> tuple[int, int]:
    """
    >>> category_range("5411"), category_range("4000-4999")
    ((5411, 5411), (4000, 4999))
    """
    first, _, last = text.partition("-")
    return int(first), int(last or first)


Name = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_without_long_numbers)]
ChannelName = Annotated[str, StringConstraints(min_length=1, max_length=71)]
Digits = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,11}$")]
Party = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Currency = Annotated[str, _one_of(CURRENCIES)]
Amount = Annotated[int, Field(strict=True, ge=0, le=LARGEST_AMOUNT_MINOR)]
Windows = Annotated[tuple[Annotated[str, StringConstraints(max_length=64)], ...], AfterValidator(_readable)]
Category = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}(-[0-9]{4})?$"), AfterValidator(_categories)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)


class When(Part):
    """Conditions of a rule: all that are given must hold; in a list one must. None given: every payment.

    card_*, issuer, country: as the BIN tables say. code_scheme: whose payment code. amounts: both ends included, minor
    units of the one currency that must be given with them. hours: Asia/Shanghai, see `hours.py`.
    """

    card: StrictBool = False  # any card: what pan_prefix and the BIN conditions imply
    pan_prefix: tuple[Digits, ...] = ()
    card_scheme: tuple[Party, ...] = ()
    issuer: tuple[Party, ...] = ()
    card_type: tuple[Annotated[str, _one_of(CARD_TYPES)], ...] = ()
    country: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")], ...] = ()
    code_scheme: tuple[Annotated[str, _one_of(CODE_SCHEMES)], ...] = ()
    entry: tuple[Annotated[str, _one_of(ENTRIES)], ...] = ()
    operation: tuple[Annotated[str, _one_of(OPERATIONS)], ...] = ()
    currency: tuple[Currency, ...] = ()
    amount_from_minor: Amount | None = None
    amount_to_minor: Amount | None = None
    merchant: tuple[Party, ...] = ()
    category: tuple[Category, ...] = ()
    acquirer: tuple[Party, ...] = ()
    hours: Windows = ()

    @property
    def of_bins(self) -> bool:
        return bool(self.card_scheme or self.issuer or self.card_type or self.country)

    @property
    def of_cards(self) -> bool:
        return bool(self.card or self.pan_prefix or self.of_bins)

    @property
    def of_amounts(self) -> bool:
        return self.amount_from_minor is not None or self.amount_to_minor is not None


class Order(StrEnum):
    """How a rule's channels are put in order: as listed, drawn by weight, or the cheapest first."""

    LISTED = "listed"
    WEIGHT = "weight"
    COST = "cost"


class Choice(Part):
    """A channel of a rule. weight: of ORDER weight only. hours: outside of them it is passed over; none: always."""

    name: ChannelName
    weight: Annotated[int, Field(strict=True, ge=1, le=MOST_WEIGHT)] | None = None
    hours: Windows = ()


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Rule(Part):
    """The first rule whose conditions hold decides; no other is asked, even if none of its channels can serve."""

    name: Name
    when: When = When()
    order: Order = Order.LISTED
    channels: Annotated[
        tuple[Annotated[Choice, BeforeValidator(_named)], ...], Field(min_length=1, max_length=MOST_CHANNELS)
    ]

    @model_validator(mode="after")
    def _bounded_weight(self) -> Self:
        if sum(each.weight or 0 for each in self.channels) > MOST_WEIGHT:
            raise ValueError(f"the weights add up to more than {MOST_WEIGHT}")
        return self


class Fee(Part):
    """What a payment costs: exact, in minor units of the contract's currency.

    >>> Fee(basis_points=38, fixed_minor=5, minimum_minor=10, maximum_minor=2000).of(12_345)
    52
    >>> Fee(basis_points=60, minimum_minor=10).of(100), Fee(basis_points=50, maximum_minor=2000).of(1_000_000)
    (10, 2000)
    """

    basis_points: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 0
    fixed_minor: Amount = 0
    minimum_minor: Amount = 0
    maximum_minor: Amount | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.maximum_minor is not None and self.maximum_minor < self.minimum_minor:
            raise ValueError("maximum_minor is below minimum_minor")
        return self

    def of(self, amount_minor: int) -> int:
        """Half a minor unit is rounded up."""
        fee = (amount_minor * self.basis_points + 5_000) // 10_000 + self.fixed_minor
        fee = max(fee, self.minimum_minor)
        return fee if self.maximum_minor is None else min(fee, self.maximum_minor)


class Contract(Part):
    """Who may use a channel for payments in a currency, and what it costs him.

    merchants, acquirers: empty for all. Of several the most particular counts: of a merchant of an acquirer, of a
    merchant, of an acquirer, of all.
    """

    name: Name
    channel: ChannelName
    merchants: tuple[Party, ...] = ()
    acquirers: tuple[Party, ...] = ()
    currency: Currency = "CNY"
    fee: Fee | None = None


class Success(Part):
    """When a channel counts as failing, and how it recovers. least_percent 0: never.

    It fails when of at least `least_results` results in `window_s` seconds less than `least_percent` were successes; it
    is well again when of its last `recovery_results` results at least `recovered_percent` were. Until then it comes
    behind the others, but for `probe_percent` of the payments.
    """

    least_percent: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    recovered_percent: Annotated[int, Field(strict=True, ge=0, le=100)] = 90
    window_s: Annotated[int, Field(strict=True, ge=1, le=3_600)] = 60
    least_results: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 20
    recovery_results: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 10
    probe_percent: Annotated[int, Field(strict=True, ge=1, le=100)] = 5

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        if self.least_percent > self.recovered_percent:
            raise ValueError("recovered_percent is below least_percent: a channel would fail and recover at once")
        return self


class BinReference(Part):
    """A BIN table, by the SHA-256 of its file. They are asked in the order of the plan; the first that knows tells."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,32}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _a_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


class Example(Part):
    """A payment to try a plan with. card: the leading digits of a PAN of `length` digits, zeros behind.

    code_scheme: or whose payment code. at: in Shanghai. unready: all other channels are ready and can do everything.
    """

    card: Digits | None = None
    length: Annotated[int, Field(strict=True, ge=12, le=19)] = 16
    code_scheme: Annotated[str, _one_of(CODE_SCHEMES)] | None = None
    entry: Annotated[str, _one_of(ENTRIES)] | None = None
    operation: Annotated[str, _one_of(OPERATIONS)] = "sale"
    amount_minor: Amount = 100
    currency: Currency = "CNY"
    merchant: Party = "M0000001"
    category: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")] = "5999"
    acquirer: Party = "acquirer"
    at: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d$"), AfterValidator(_a_time)] = (
        "2026-01-05T12:00"
    )
    pin: StrictBool = False
    unready: tuple[ChannelName, ...] = ()

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if (self.card is None) == (self.code_scheme is None):
            raise ValueError("exactly one of card and code_scheme must be given")
        return self


class Expectation(Example):
    """A test of the plan. first: the channels of which one must come first; all that can by weight are looked at.

    refused: instead, the response code of the refusal: 15 no rule fits, 40 none of the rule's channels can serve.
    """

    name: Name
    first: Annotated[
        tuple[ChannelName, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
    ] = ()
    refused: Literal["15", "40"] | None = None

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        if bool(self.first) == (self.refused is not None):
            raise ValueError("exactly one of first and refused must be given")
        return self


class Plan(Part):
    """A plan as a whole. Without contracts every channel may be used; with any, only under one that fits."""

    name: Name
    bins: Annotated[tuple[BinReference, ...], Field(max_length=MOST_BIN_TABLES)] = ()
    success: Success = Success()
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=MOST_RULES)]
    contracts: Annotated[tuple[Contract, ...], Field(max_length=MOST_CONTRACTS)] = ()
    expect: Annotated[tuple[Expectation, ...], Field(max_length=MOST_EXPECTATIONS)] = ()
