"""`payswitch authorize`: one authorization by hand, with a test card or code."""

import asyncio
from decimal import Decimal, InvalidOperation

from rich.console import Console

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2
from switch.client.acquirer import AcquirerClient
from switch.client.connection import ClientCredentials
from switch.client.errors import PaymentError
from switch.config import Settings
from switch.demo.presenting import Card, Terminal
from switch.domain.money import CURRENCIES
from switch.pki import Authority


def main(
    *,
    settings: Settings,
    target: str,
    acquirer: str,
    amount: str,
    currency: str,
    code: str | None,
    card: str | None,
    expiry: str,
    pin: str | None,
    tap: bool,
    merchant: str,
    terminal: str,
    key: str | None,
) -> int:
    """Print the answer. The exit code: 0 approved, 1 any other answer, 2 no answer."""
    console = Console()
    try:
        amount_minor = _minor(amount, currency)
    except ValueError as error:
        console.print(f"payswitch: {error}", highlight=False)
        return 2
    counter = Terminal(settings.state_dir, merchant, terminal)
    if card is not None:
        payer = Card(card, expiry, pin or "")
        request = counter.tap(payer, amount_minor, pin) if tap else counter.keyed(payer, amount_minor)
        if not tap:
            counter.with_pin(request, payer, pin)
    else:
        request = counter.code(code or "", amount_minor)
    request.amount.currency = currency
    if key is not None:
        request.idempotency_key = key
    authority = Authority(settings.state_dir / "pki")
    pair = authority.participant("acquirer", acquirer)
    credentials = ClientCredentials(
        authority.ensure().read_bytes(), pair.certificate.read_bytes(), pair.private_key.read_bytes()
    )
    return asyncio.run(_send(console, target, credentials, request))


def _minor(amount: str, currency: str) -> int:
    """Major units as written, exactly, or ValueError."""
    if currency not in CURRENCIES:
        raise ValueError(f"{currency} is not a supported currency")
    try:
        minor = Decimal(amount).scaleb(CURRENCIES[currency][1])
    except InvalidOperation:
        raise ValueError("the amount must be a number such as 12.34") from None
    if minor != minor.to_integral_value():
        raise ValueError(f"{currency} has {CURRENCIES[currency][1]} decimals")
    return int(minor)


async def _send(console: Console, target: str, credentials: ClientCredentials, request: pb.AuthorizeRequest) -> int:
    async with AcquirerClient(target, credentials=credentials) as client:
        try:
            answer = await client.authorize_unary(request)
        except PaymentError as error:
            console.print(f"payswitch: {error}", highlight=False, soft_wrap=True)
            return 2
    console.print(str(answer).rstrip(), highlight=False)
    return 0 if answer.decision == common_pb2.DECISION_APPROVED else 1
