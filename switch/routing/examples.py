"""Payments that were made up to try a plan with: `[[expect]]` in a plan, `payswitch routes explain`."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta, timezone
from uuid import UUID

from switch.domain.authorization import AuthorizationRequest, CardCredential, CodeCredential, Merchant, PinBlock
from switch.domain.money import Money
from switch.domain.sensitive import Pan, PaymentCode
from switch.domain.states import EntryMode, Operation
from switch.routing.choose import ChannelFacts, Picture, Route, choose
from switch.routing.plan import ENTRIES, OPERATIONS, Example, Order
from switch.routing.table import RoutingTable

_SHANGHAI = timezone(timedelta(hours=8))
_ANYTHING = frozenset(Operation)


def request_of(example: Example) -> AuthorizationRequest:
    """A PAN of the example's first digits and zeros; a code of no digits, since only its scheme counts."""
    if example.code_scheme is not None:
        credential: CardCredential | CodeCredential = CodeCredential(example.code_scheme, PaymentCode(""))
    else:
        credential = CardCredential(Pan((example.card or "").ljust(example.length, "0")))
    usual = EntryMode.NFC if example.code_scheme is None else EntryMode.PAYER_CODE
    return AuthorizationRequest(
        example.acquirer,
        Merchant(example.merchant, category_code=example.category),
        "T0000001",
        "example",
        time_ms_of(example),
        OPERATIONS[example.operation],
        Money(example.amount_minor, example.currency),
        ENTRIES[example.entry] if example.entry else usual,
        credential,
        PinBlock(b"") if example.pin else None,
    )


def time_ms_of(example: Example) -> int:
    return int(datetime.fromisoformat(example.at).replace(tzinfo=_SHANGHAI).timestamp() * 1000)


def routes_of(table: RoutingTable, example: Example, channels: Collection[str]) -> Iterator[Route]:
    """What the plan decides: once, or for a rule by weight for every draw of its first channel."""
    request, time_ms = request_of(example), time_ms_of(example)
    picture = Picture(
        lambda name: ChannelFacts(_ANYTHING, True, name not in example.unready) if name in channels else None
    )
    rule = table.rule_for(request, time_ms)
    draws = 1
    if rule is not None and rule.order is Order.WEIGHT:
        draws = sum(each.weight for each in rule.choices)
    for draw in range(draws):
        yield choose(table, request, UUID(int=draw), time_ms, picture)
