"""A small model, trained in a second on a history with a plain law: fraud is dear, keyed, and of busy cards."""

from collections.abc import Iterator, Mapping
from functools import cache
from random import Random

from switch.domain.risk import FactValue
from switch.risk.training import Example, Plan, train

PLAN = Plan(features=12, rounds=30, scout_rounds=10, leaves=8, least_in_leaf=20, every=1, threads=1)


def history(count: int, seed: int = 1, dearer: float = 1.0) -> Iterator[Example]:
    random = Random(f"small model {seed}")
    for number in range(count):
        fraud = random.random() < 0.08
        amount = int(random.lognormvariate(8.5, 0.8) * (4 if fraud else 1) * dearer)
        facts: dict[str, FactValue] = {
            "amount_minor": amount,
            "hour": random.randrange(24),
            "entry": random.choice(("keyed", "keyed", "nfc") if fraud else ("nfc", "nfc", "keyed", "merchant_qr")),
            "pin_given": random.random() < 0.3,
            "card_known": True,
            "card_lists": [],
            "acquirer": "acquirer1",
            "card_count_1d": random.randrange(1, 5) + (4 if fraud else 0),
        }
        if random.random() < (0.5 if fraud else 0.95):  # that it is not known says something, too
            facts["terminal_count_1d"] = random.randrange(50)
        if random.random() < 0.5:
            facts["merchant_category"] = random.choice(("5411", "5812"))
        yield Example(1_000_000 + number * 1000, fraud, facts, amount)


@cache
def content() -> bytes:
    return train(history(4000), PLAN, "a small history")


def facts_of(count: int, seed: int = 2, dearer: float = 1.0) -> list[Mapping[str, FactValue]]:
    return [each.facts for each in history(count, seed, dearer)]
