"""The issuer's book accounts for every fen: what its accounts gained or lost is what the book says, and no more."""

import random
from typing import Any

import pytest

from adapters.issuer.messages import IssuerMessage
from adapters.issuer.simulator_bill import SimulatedBills
from adapters.issuer.simulator_card import CardKeys
from adapters.issuer.simulator_ledger import SimulatedLedger, default_accounts
from switch.domain.money import Money
from switch.domain.states import Operation

_BEGINNINGS = (Operation.SALE, Operation.PRE_AUTHORIZATION)
_LATER = (
    Operation.CAPTURE,
    Operation.CAPTURE,
    Operation.REFUND,
    Operation.VOID,
    Operation.REVERSAL,
    Operation.INCREMENT,
)


def effect_of(entry: dict[str, Any]) -> int:
    """Of the balance; holds leave it as it is."""
    if entry["state"] in ("reversed", "voided"):
        return 0
    return int(entry["refunded_minor"] - entry["captured_minor"])


def messages(chance: random.Random, pans: list[Any]) -> list[IssuerMessage]:
    """Payments, and what follows them in any order and by any amount."""
    payments: list[IssuerMessage] = []
    made: list[IssuerMessage] = []
    for step in range(400):
        amount = Money(chance.randint(1, 3_000), "CNY")
        if not payments or chance.random() < 0.4:
            kind = chance.choice(_BEGINNINGS)
            made.append(IssuerMessage(f"m{step}", kind, f"a{step}", amount, pan=chance.choice(pans)))
            payments.append(made[-1])
            continue
        first = chance.choice(payments[-6:])
        made.append(
            IssuerMessage(
                f"m{step}",
                chance.choice(_LATER),
                first.authorization_id,
                amount,
                original_message_id=first.message_id,
                pan=first.pan,
            )
        )
    return made


@pytest.mark.parametrize("seed", range(5))
def test_balances_and_holds_are_what_the_book_says(seed: int) -> None:
    accounts = default_accounts()[:2]
    opening = [each.balance_minor for each in accounts]
    keys, bills = CardKeys(bytes(16), bytes(16), bytes(16)), SimulatedBills(lambda: 1_767_225_600_000)
    ledger = SimulatedLedger(accounts, bytes(16), keys, lambda: "2601", bills)
    for message in messages(random.Random(seed), [each.pan for each in accounts]):
        ledger.process(message)
    payments = [each for each in ledger.book() if each["operation"] in ("sale", "pre_authorization")]
    assert {each["state"] for each in payments} >= {"approved", "held", "captured", "voided", "reversed", "declined"}
    for account, before_minor in zip(accounts, opening, strict=True):
        mine = [each for each in payments if each["masked_pan"] == account.pan.masked()]
        assert account.balance_minor == before_minor + sum(map(effect_of, mine))
        holds = [
            each["approved_minor"] - each["captured_minor"]
            for each in mine
            if each["operation"] == "pre_authorization" and each["state"] in ("held", "captured")
        ]
        assert account.held_minor == sum(holds)
