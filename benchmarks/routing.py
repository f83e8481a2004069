"""`python -m benchmarks.routing`: the BIN table beside `bisect` and a dictionary of prefixes; what a decision costs.

All in one run, over the same ranges and the same PANs. The ranges are single prefixes of 6 to 11 digits that nest,
since a dictionary can hold no others; the answers of all three are compared before anything is timed.
"""

import argparse
import sys
import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from switch.domain.authorization import AuthorizationRequest, CardCredential, Merchant
from switch.domain.money import Money
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation
from switch.routing._bins import HEADER
from switch.routing.bins import BinTable
from switch.routing.choose import ChannelFacts, Picture, choose
from switch.routing.live import plan_of_settings
from switch.routing.plan import Plan
from switch.routing.table import RoutingTable

BATCH = 128
_WIDTHS = range(11, 5, -1)
_ISSUERS = 20_000
_CHANNELS = ("unionpay", "issuer:bank", "alipay")

Find = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Figures:
    """Times in seconds unless named otherwise; look-ups: ns each, by way; memory: bytes a range, by way.

    longest_pause_s: how long another thread of the process was kept from running while the table was read.
    choose_us: of a payment, in batches, by plan.
    """

    ranges: int
    csv_bytes: int
    load_s: float
    longest_pause_s: float
    lookup_ns: dict[str, float]
    memory: dict[str, float]
    choose_us: dict[str, float]


# --- the ranges -------------------------------------------------------------------------------------------------------


def prefixes(count: int, random: Random) -> list[str]:
    """Different ones, of every length; those that begin like another are more common than chance would have it."""
    made: dict[str, None] = {}
    heads = [f"{random.randrange(10**6):06d}" for _ in range(max(1, count // 50))]
    while len(made) < count:
        head = random.choice(heads)
        made[head + "".join(random.choices("0123456789", k=random.randrange(6)))] = None
    return list(made)


def csv_of(table: Sequence[str], random: Random) -> bytes:
    lines = [HEADER.decode()]
    for prefix in table:
        issuer = random.randrange(_ISSUERS)
        lines.append(f"{prefix},,16,unionpay,{issuer:08d},Bank {issuer},{'debit' if issuer % 2 else 'credit'},CN")
    return "\n".join([*lines, ""]).encode()


def pans_for(table: Sequence[str], count: int, random: Random) -> list[str]:
    """Half of them in some range, half anywhere."""
    heads = [random.choice(table) if n % 2 else "" for n in range(count)]
    return [head + "".join(random.choices("0123456789", k=16 - len(head))) for head in heads]


# --- what it is compared with -----------------------------------------------------------------------------------------


def by_dictionary(ranges: Sequence[str], values: Sequence[int]) -> tuple[Find, int]:
    """The longest prefix of the PAN that is in a dictionary. (look-up, bytes)"""
    known = dict(zip(ranges, values, strict=True))

    def find(pan: str) -> int:
        for width in _WIDTHS:
            value = known.get(pan[:width])
            if value is not None:
                return value
        return -1

    return find, sys.getsizeof(known) + sum(map(sys.getsizeof, known))


def by_bisection(ranges: Sequence[str], find_slowly: Find) -> tuple[Find, int]:
    """Cut into segments as the BIN table is, in `array`s, bisected by the standard library. (look-up, bytes)"""
    bounds = {0}
    for prefix in ranges:
        scale = 10 ** (16 - len(prefix))
        bounds |= {int(prefix) * scale, (int(prefix) + 1) * scale}
    starts = array("Q", sorted(bounds))
    values = array("q", (find_slowly(f"{start:016d}") if start < 10**16 else -1 for start in starts))

    def find(pan: str) -> int:
        return values[bisect_right(starts, int(pan)) - 1]

    return find, starts.itemsize * len(starts) + values.itemsize * len(values)


# --- measuring --------------------------------------------------------------------------------------------------------


def load(data: bytes) -> tuple[BinTable, float, float]:
    """(table, seconds, the longest time that another thread did not get to run meanwhile)."""
    made: list[BinTable] = []
    reader = threading.Thread(target=lambda: made.append(BinTable(data)))
    longest_s, started_s = 0.0, time.perf_counter()
    reader.start()
    before_s = time.perf_counter()
    while reader.is_alive():
        now_s = time.perf_counter()
        longest_s, before_s = max(longest_s, now_s - before_s), now_s
        time.sleep(0)
    return made[0], time.perf_counter() - started_s, longest_s


def lookup_ns(find: Find, pans: Sequence[str]) -> float:
    """Of one call, the loop's own cost taken off."""
    started_s = time.perf_counter()
    for pan in pans:
        find(pan)
    ended_s = time.perf_counter()
    for _ in pans:
        pass
    return (2 * ended_s - started_s - time.perf_counter()) / len(pans) * 1e9


def requests_for(pans: Sequence[str]) -> list[AuthorizationRequest]:
    return [
        AuthorizationRequest(
            "acme", Merchant(f"M{n % 50}", category_code="5411"), "T1", f"key-{n}", 0, Operation.SALE,
            Money(100 + 997 * n, "CNY"), EntryMode.NFC, CardCredential(Pan(pan)),
        )
        for n, pan in enumerate(pans)
    ]  # fmt: skip


def choose_us(table: RoutingTable, requests: Sequence[AuthorizationRequest], rounds: int) -> float:
    """Of one payment, in batches with a picture of their own; the best of the rounds."""
    facts = ChannelFacts(frozenset(Operation), True, True)
    look = dict.fromkeys(_CHANNELS, facts).get
    ids = [UUID(int=n * 0x9E3779B97F4A7C15) for n in range(BATCH)]
    best_s = float("inf")
    for _ in range(rounds):
        for at in range(0, len(requests) - BATCH + 1, BATCH):
            batch = requests[at : at + BATCH]
            started_s = time.perf_counter()
            picture = Picture(look)
            for request, identity in zip(batch, ids, strict=True):
                choose(table, request, identity, 1_700_000_000_000, picture)
            best_s = min(best_s, time.perf_counter() - started_s)
    return best_s / BATCH * 1e6


@dataclass(frozen=True, slots=True)
class PlainRule:
    name: str
    channels: list[str]
    pan_prefix: str | None = None
    scheme: str | None = None


def settings_routes() -> RoutingTable:
    """Three rules, as in the demo."""
    rules = [
        PlainRule("own", ["issuer:bank", "unionpay"], "6259"),
        PlainRule("cards", ["unionpay"], ""),
        PlainRule("codes", ["alipay"], scheme="alipay"),
    ]
    return RoutingTable(plan_of_settings(rules))


def rich_plan(bins: BinTable, order: str) -> RoutingTable:
    """100 rules on BINs, amounts, merchants and hours; contracts with fees where channels are ordered by cost."""
    channels = [{"name": name, **({"weight": 3} if order == "weight" else {})} for name in _CHANNELS]
    rules: list[dict[str, Any]] = [
        {
            "name": f"issuer {n}",
            "channels": channels,
            "order": order,
            "when": {
                "issuer": [f"{n:08d}"],
                "currency": ["CNY"],
                "amount_to_minor": 1_000 * n,
                "merchant": [f"M{n}"],
                "hours": ["mon-fri 08:00-20:00"],
            },
        }
        for n in range(98)
    ]
    rules.append({"name": "debit", "channels": channels, "order": order, "when": {"card_type": ["debit"]}})
    rules.append({"name": "rest", "channels": channels, "order": order})
    contracts = [
        {"name": name, "channel": name, "fee": {"basis_points": 38 + n, "minimum_minor": 10}}
        for n, name in enumerate(_CHANNELS)
    ]
    plan = {
        "name": order,
        "rules": rules,
        "contracts": contracts if order == "cost" else [],
        "bins": [{"name": "main", "sha256": "0" * 64}],
    }
    return RoutingTable(Plan.model_validate(plan), 1, {"main": bins})


def run(count: int, lookups: int, rounds: int, seed: int = 1) -> Figures:
    random = Random(seed)
    ranges = prefixes(count, random)
    data = csv_of(ranges, random)
    bins, load_s, longest_pause_s = load(data)
    # What each line says of itself, read once more without the table.
    numbers = {each.issuer: index for index, each in enumerate(bins.bins)}
    values = [numbers[line.split(",")[4]] for line in data.decode().splitlines()[1:]]
    dictionary, dictionary_bytes = by_dictionary(ranges, values)
    bisection, bisection_bytes = by_bisection(ranges, dictionary)
    ways: dict[str, Find] = {"BIN table": bins.index_of, "bisect": bisection, "dictionary": dictionary}
    pans = pans_for(ranges, lookups, random)
    for pan in pans:
        answers = {find(pan) for find in ways.values()}
        if len(answers) != 1:
            raise AssertionError(f"the ways differ: {answers}")
    times = {name: min(lookup_ns(find, pans) for _ in range(rounds)) for name, find in ways.items()}
    requests = requests_for(pans[: 8 * BATCH] if len(pans) >= 8 * BATCH else (pans * BATCH)[: 8 * BATCH])
    plans = {"settings": settings_routes()}
    plans |= {f"100 rules, {order}": rich_plan(bins, order) for order in ("listed", "weight", "cost")}
    return Figures(
        len(ranges),
        len(data),
        load_s,
        longest_pause_s,
        times,
        {
            "BIN table": bins.memory_bytes / count,
            "bisect": bisection_bytes / count,
            "dictionary": dictionary_bytes / count,
        },
        {name: choose_us(table, requests, rounds) for name, table in plans.items()},
    )


def page(figures: Figures) -> str:
    """Markdown."""
    lines = [
        f"{figures.ranges:,} ranges ({figures.csv_bytes / 1e6:.0f} MB of CSV) loaded in {figures.load_s:.2f} s; "
        f"another thread waited {figures.longest_pause_s * 1000:.0f} ms at most meanwhile",
        "",
        "| way | ns a look-up | × the BIN table's | bytes a range |",
        "|---|---|---|---|",
    ]
    own_ns = figures.lookup_ns["BIN table"]
    lines += [
        f"| {name} | {each_ns:.0f} | {each_ns / own_ns:.1f} | {figures.memory[name]:.0f} |"
        for name, each_ns in figures.lookup_ns.items()
    ]
    lines += ["", "| plan | µs a decision, in batches of 128 |", "|---|---|"]
    lines += [f"| {name} | {each_us:.2f} |" for name, each_us in figures.choose_us.items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing", description=__doc__)
    parser.add_argument("--ranges", type=int, default=1_000_000)
    parser.add_argument("--lookups", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    print(page(run(options.ranges, options.lookups, options.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
