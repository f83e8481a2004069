"""Payments, plans and channels to try them with."""

import hashlib
from typing import Any
from uuid import UUID

from switch.domain.routing_plan import PlanState, StoredPlan
from switch.domain.states import Operation
from switch.ports import StoreUnavailable
from switch.routing.bins import BinTable
from switch.routing.check import checked_table
from switch.routing.choose import ChannelFacts, Picture, Route, choose
from switch.routing.examples import request_of, time_ms_of
from switch.routing.plan import Example, Plan
from switch.routing.table import RoutingTable

CHANNELS = ("unionpay", "alipay", "wechat", "issuer:bank")
HEADER = b"low,high,length,scheme,issuer,issuer_name,type,country\n"
BINS = HEADER + b"62,,,unionpay,,,,CN\n622588,,16,unionpay,cmb,China Merchants Bank,debit,CN\n4,,16,visa,,,credit,US\n"
SHA256 = "0" * 64
BINS_SHA256 = hashlib.sha256(BINS).hexdigest()

READY = ChannelFacts(frozenset(Operation), True, True)


def plan_from(**fields: Any) -> Plan:
    """A plan of one rule for all to UnionPay, changed by `fields`."""
    values: dict[str, Any] = {"name": "test", "rules": [{"name": "all", "channels": ["unionpay"]}]}
    return Plan.model_validate(values | fields)


def table_from(plan: Plan, version: int = 7) -> RoutingTable:
    return RoutingTable(plan, version, {each.name: BinTable(BINS) for each in plan.bins})


def decide(
    table: RoutingTable, draw: int = 0, facts: dict[str, ChannelFacts | None] | None = None, **example: Any
) -> Route:
    """What the table decides for an example (default: a card 6225…) with all channels ready but as `facts` says."""
    known = dict.fromkeys(CHANNELS, READY) | (facts or {})
    payment = Example(**({} if "code_scheme" in example else {"card": "6225"}) | example)
    return choose(table, request_of(payment), UUID(int=draw), time_ms_of(payment), Picture(known.get))


def judge(plan: Plan, channels: tuple[str, ...] = CHANNELS) -> RoutingTable:
    """By the channels that there are, with a table `main`. Raises PlanRefused."""
    return checked_table(plan, 7, {"main": BinTable(BINS)}, channels)


class MemoryPlans:
    """Plans by version, and one BIN table in chunks of 10 bytes."""

    def __init__(self) -> None:
        self.live = 0
        self.contents: dict[int, str] = {}
        self.chunks = [BINS[at : at + 10] for at in range(0, len(BINS), 10)]
        self.down = False
        self.chunks_read = 0
        self.plans_read = 0

    async def live_version(self) -> int:
        if self.down:
            raise StoreUnavailable("down")
        return self.live

    async def find(self, version: int) -> StoredPlan | None:
        self.plans_read += 1
        if version not in self.contents:
            return None
        return StoredPlan(version, "x", self.contents[version], PlanState.LIVE, "me", 1, "me", 1)

    async def bin_table_chunks(self, sha256: str) -> tuple[int, int] | None:
        return (len(BINS), len(self.chunks)) if sha256 == BINS_SHA256 else None

    async def bin_table_chunk(self, sha256: str, number: int) -> bytes:
        self.chunks_read += 1
        return self.chunks[number]
